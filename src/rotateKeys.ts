/**
 * `npm run rotate-keys`: encrypts with the first of ENCRYPTION_KEYS whatever is encrypted with another, while the service runs. Afterwards the
 * other keys may be taken out of ENCRYPTION_KEYS.
 */
import { existsSync } from "node:fs";
import { ConfigError, readConfig } from "./config.js";
import { openDatabase } from "./database.js";
import { startEmbedded } from "./embedded.js";
import { createLogger, messageOf } from "./logger.js";
import { Grants } from "./xero/Grants.js";
import { Vault } from "./xero/Vault.js";
import { XeroIdentity } from "./xero/XeroIdentity.js";

const say = (text: string): boolean => process.stdout.write(text);

async function main(): Promise<number> {
  if (existsSync(".env")) process.loadEnvFile(".env");
  const config = readConfig();
  const embedded = config.database.url === null ? await startEmbedded({ dataDir: config.database.dataDir }) : null;
  const database = await openDatabase({
    ...config.database,
    url: config.database.url ?? embedded?.url ?? "",
    logger: createLogger("silent"),
  });
  try {
    await database.migrate();
    const identity = new XeroIdentity({ ...config.xero, redirectUri: "" });
    const grants = new Grants(database, identity, new Vault(config.encryptionKeys), config.xero.timeoutMs * 2);
    let total = 0;
    for (;;) {
      const { renewed, unreadable } = await grants.encryptAnew((done, of) => say(`\r${done} of ${of} token sets`));
      total += renewed;
      if (unreadable > 0) {
        say(
          `\n${unreadable} token sets could not be read with these keys and are as they were. Give all keys, and run it again.\n`,
        );
        return 1;
      }
      // Sets that were refreshed meanwhile come round once more.
      if (renewed === 0 && (await grants.countOld()) === 0) break;
    }
    const [first, ...others] = config.encryptionKeys;
    say(
      `${total > 0 ? "\n" : ""}${total} token sets were encrypted anew; all are with the key ${first?.id ?? ""} now. `,
    );
    say(
      others.length > 0
        ? `Once every process runs with it as the first key, ${others.map(({ id }) => id).join(", ")} may be taken out of ENCRYPTION_KEYS.\n`
        : "\n",
    );
    return 0;
  } finally {
    await database.close();
    await embedded?.close();
  }
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    const message = error instanceof ConfigError ? error.message : `The keys were not rotated: ${messageOf(error)}`;
    process.stderr.write(`${message}\n`);
    process.exit(1);
  },
);
