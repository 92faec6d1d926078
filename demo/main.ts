/**
 * `npm run demo`: the service on its embedded database and the stand-in Xero in a process of its own, with no account and no configuration.
 * Does the main job once, visibly, then stays up; `-- --once` exits instead, with 0 only if all of it happened.
 */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { startApp } from "../src/app.js";
import { readConfig } from "../src/config.js";
import { createLogger, messageOf } from "../src/logger.js";
import { GraphqlClient, signToken } from "./graphqlClient.js";
import { pasteIns } from "./pasteIns.js";
import { Mailbox } from "./Mailbox.js";
import { type SandboxAddress, SandboxProcess } from "./SandboxProcess.js";
import { type Teller, tellStory } from "./story.js";

const { values } = parseArgs({ options: { once: { type: "boolean", default: false } } });

/** A demo that hangs has failed. */
const patienceMs = 60_000;
const workspace = "demo";

const started = performance.now();
const color = process.stdout.isTTY && !process.env["NO_COLOR"];
const paint = (code: number, text: string): string => (color ? `\u001b[${code}m${text}\u001b[0m` : text);
const clock = (): string => paint(2, `${((performance.now() - started) / 1000).toFixed(1).padStart(5)} s`);
const teller: Teller = {
  chapter: (title) => console.log(`\n${clock()}  ${paint(1, title)}`),
  done: (what) => console.log(`${clock()}    ${paint(32, "✓")} ${what}`),
  event: (what) => console.log(`${clock()}    ${paint(36, "⇠ live:")} ${what}`),
  mail: ({ to, subject, text }) => {
    console.log(`${clock()}    ${paint(35, "✉ mail")} to ${to}: ${subject}`);
    for (const line of text.trim().split("\n")) console.log(`              ${line}`.trimEnd());
  },
};

/** 4000 if nobody has it, else any free port. */
async function choosePort(): Promise<string> {
  const probe = createServer();
  return new Promise((resolve) => {
    probe.once("error", () => resolve("0"));
    probe.listen(4000, "127.0.0.1", () => probe.close(() => resolve("4000")));
  });
}

function environment(
  sandbox: SandboxAddress,
  mailbox: Mailbox,
  secret: string,
  dataDir: string,
  port: string,
): Record<string, string> {
  return {
    PORT: port,
    SMTP_URL: mailbox.url,
    MAIL_FROM: "Ledgerline <ledgerline@example.com>",
    DATA_DIR: dataDir,
    XERO_CLIENT_ID: sandbox.clientId,
    XERO_CLIENT_SECRET: sandbox.clientSecret,
    // With what it takes to send payments, so that pushPayments can be tried.
    XERO_SCOPES:
      "openid profile email offline_access accounting.invoices accounting.payments accounting.contacts accounting.settings.read",
    XERO_WEBHOOK_KEYS: sandbox.webhookKey,
    XERO_LOGIN_URL: sandbox.url,
    XERO_IDENTITY_URL: sandbox.url,
    XERO_API_URL: sandbox.url,
    ENCRYPTION_KEYS: `demo:${randomBytes(32).toString("base64")}`,
    AUTH_JWT_SECRET: secret,
    LOG_LEVEL: "error",
  };
}

async function main(): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), "ledgerline-demo-"));
  const closers: (() => Promise<unknown>)[] = [() => rm(dataDir, { recursive: true, force: true })];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  let stopping = false;
  const stop = (): void => {
    if (stopping) return; // A terminal tells the whole group, and npm and tsx pass it on once more.
    stopping = true;
    void close().then(() => process.exit(0));
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  try {
    teller.chapter("Starting");
    const sandbox = await SandboxProcess.start();
    closers.push(() => sandbox.stop());
    teller.done(`stand-in Xero at ${sandbox.address.url}, a process of its own`);
    const mailbox = await new Mailbox().start();
    closers.push(() => mailbox.stop());
    const secret = randomBytes(48).toString("base64url");
    const config = readConfig(
      environment(sandbox.address, mailbox, secret, dataDir, values.once ? "0" : await choosePort()),
    );
    const app = await startApp(config, createLogger(config.logLevel));
    closers.push(() => app.close());
    teller.done(`Ledgerline at ${app.url}, on its embedded database`);
    await sandbox.control("webhooks", { url: `${app.url}/webhooks/xero`, categories: ["CONTACT", "INVOICE"] });

    const token = (role: string): Promise<string> => signToken(secret, { workspace, role });
    const client = new GraphqlClient(app.url, await token("admin"));
    closers.push(() => client.close());
    const impatience = new AbortController();
    const tooLate = delay(patienceMs - performance.now() + started, undefined, { signal: impatience.signal }).then(
      () => {
        throw new Error(`not done after ${patienceMs / 1000} s`);
      },
    );
    const [invoice] = await Promise.race([tellStory(client, { xero: sandbox, mailbox }, teller), tooLate]);
    tooLate.catch(() => undefined);
    impatience.abort();
    console.log(`\n${clock()}  ${paint(1, "All of it happened.")}`);
    if (values.once) {
      await close();
      process.exit(0);
    }
    const tokens = {
      viewer: await token("viewer"),
      bookkeeper: await token("bookkeeper"),
      admin: await token("admin"),
    };
    console.log(pasteIns({ url: app.url, sandboxUrl: sandbox.address.url, tokens, invoiceId: invoice?.id ?? "" }));
  } catch (error) {
    console.error(`\n${clock()}  ${paint(31, "The demo failed:")} ${messageOf(error)}`);
    if (error instanceof Error && error.cause) console.error(`          because: ${messageOf(error.cause)}`);
    await close();
    process.exit(1);
  }
}

await main();
