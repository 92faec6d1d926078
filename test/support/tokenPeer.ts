/**
 * A process that does nothing but call Xero, with tokens as the service keeps them: told of everything by its environment as the service is,
 * and by its arguments of the workspace and how many connections to the database it may open. A line on its standard input says how many
 * calls to make at once; it answers each line with what went wrong, and ends with its input.
 */
import { createInterface } from "node:readline";
import { type Pool } from "pg";
import { readConfig } from "../../src/config.js";
import { openDatabase } from "../../src/database.js";
import { Connection } from "../../src/entities/Connection.js";
import { createLogger, messageOf } from "../../src/logger.js";
import { Grants } from "../../src/xero/Grants.js";
import { Vault } from "../../src/xero/Vault.js";
import { type XeroGateway } from "../../src/xero/XeroGateway.js";
import { XeroIdentity } from "../../src/xero/XeroIdentity.js";

const [workspaceId = "", most = "1"] = process.argv.slice(2);
const config = readConfig();
const logger = createLogger(config.logLevel);
const database = await openDatabase({ ...config.database, url: config.database.url ?? "", logger });
// Eight processes with a pool each as the service has would be all that the server takes, and other tests are at it too.
(database.source.driver as unknown as { master: Pool }).master.options.max = Number(most);

const { apiUrl, timeoutMs } = config.xero;
const identity = new XeroIdentity({ ...config.xero, redirectUri: "" });
const grants = new Grants(database, identity, new Vault(config.encryptionKeys), timeoutMs * 2);
const connection = await database.inWorkspace(workspaceId, (tx) =>
  tx.manager.findOneByOrFail(Connection, { workspaceId }),
);

/** The whole way of a call. Loaded where it is wanted only: most of these processes are killed soon. */
async function openGateway(): Promise<XeroGateway> {
  const { XeroGateway: Gateway } = await import("../../src/xero/XeroGateway.js");
  const { CallLimits } = await import("../../src/xero/CallLimits.js");
  const { LinkWatch } = await import("../../src/services/LinkWatch.js");
  const linkWatch = new LinkWatch(database);
  const onFailure = linkWatch.note.bind(linkWatch);
  return new Gateway(database, grants, new CallLimits(database, timeoutMs), { apiUrl, timeoutMs, logger, onFailure });
}

let gateway: Promise<XeroGateway> | undefined;

/** Every fifth call goes the whole way, the others are the lightest there are, for the machine's sake. */
async function call(index: number): Promise<void> {
  if (index % 5 === 4) {
    await (await (gateway ??= openGateway())).call(connection, (accounting) => accounting.fetchOrganisation());
  } else {
    await grants.use(connection.xeroUserId, (token) => identity.connections(token));
  }
}

const say = (answer: unknown): boolean => process.stdout.write(`${JSON.stringify(answer)}\n`);
say("ready");
for await (const line of createInterface({ input: process.stdin })) {
  const calls = await Promise.allSettled(Array.from({ length: Number(line) }, (_, index) => call(index)));
  say(calls.flatMap((each) => (each.status === "rejected" ? [messageOf(each.reason)] : [])));
}
await database.close();
