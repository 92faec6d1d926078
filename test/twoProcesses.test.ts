/**
 * Two real processes over one PostgreSQL and one Xero: what both are asked at once is done once, and what one leaves behind when it is
 * killed, the other finishes.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { GraphqlClient, signToken } from "../demo/graphqlClient.js";
import {
  inXero,
  readInvoice,
  runSql,
  saveInvoice,
  saveParticipant,
  syncInvoice,
  untilSync,
} from "./support/records.js";
import { secret, type Service, startService } from "./support/service.js";

const onPostgres = process.env.DATABASE_URL !== undefined;
if (!onPostgres) process.stdout.write("twoProcesses: skipped, the embedded database takes one process only.\n");

/** A lease that a test can wait for, and that outlasts a call by far. */
const times = { XERO_REQUEST_TIMEOUT: "4s", SYNC_LEASE: "5s" };

interface Peer {
  process: ChildProcess;
  client: GraphqlClient;
}

/** Another process of the same service: the production entry point, told of everything by its environment. */
async function startPeer(service: Service): Promise<Peer> {
  const { config, sandbox, database } = service;
  const child = spawn("node", ["--import", "tsx", "src/main.ts"], {
    stdio: ["ignore", "pipe", "inherit"],
    env: {
      PATH: process.env.PATH,
      NODE_ENV: "test",
      PORT: "0",
      APP_URL: service.url,
      DATABASE_URL: database.url,
      DATABASE_APP_ROLE: database.appRole,
      XERO_CLIENT_ID: sandbox.clientId,
      XERO_CLIENT_SECRET: sandbox.clientSecret,
      XERO_WEBHOOK_KEYS: sandbox.webhookKey,
      XERO_LOGIN_URL: sandbox.url,
      XERO_IDENTITY_URL: sandbox.url,
      XERO_API_URL: sandbox.url,
      XERO_REQUEST_TIMEOUT: `${config.xero.timeoutMs}ms`,
      SYNC_LEASE: `${config.syncLeaseMs}ms`,
      ENCRYPTION_KEYS: config.encryptionKeys.map(({ id, key }) => `${id}:${key.toString("base64")}`).join(","),
      AUTH_JWT_SECRET: secret,
      LOG_LEVEL: "info",
    },
  });
  for await (const text of createInterface({ input: child.stdout })) {
    const { msg, url } = JSON.parse(text) as { msg?: string; url?: string };
    if (msg !== "listening" || url === undefined) continue;
    child.stdout.resume();
    return {
      process: child,
      client: new GraphqlClient(url, await signToken(secret, { workspace: "one", role: "admin" })),
    };
  }
  throw new Error("the other process ended before it listened");
}

async function end({ process: child, client }: Peer, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
  await client.close();
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill(signal);
  await exit;
}

(onPostgres ? describe : describe.skip)("two processes over one database", () => {
  let service: Service;
  let client: GraphqlClient;
  let one: Peer;
  let other: Peer;

  beforeAll(async () => {
    // This process only watches and prepares; all work is the two others'.
    const environment = { ROLE: "api", DATABASE_URL: process.env.DATABASE_URL ?? "", ...times };
    service = await startService({ environment });
    client = await service.readyClient();
    await service.control("switches", { minuteLimit: 10_000 });
    [one, other] = await Promise.all([startPeer(service), startPeer(service)]);
  });

  afterAll(async () => {
    await Promise.all([one, other].map((peer) => end(peer, "SIGTERM")));
    await service.close();
  });

  it("bring each invoice to Xero once when both are asked at once, and make its contact once", async () => {
    const participant = await saveParticipant(client);
    const invoices = await Promise.all(
      Array.from({ length: 20 }, () => saveInvoice(client, { participantId: participant.id })),
    );
    await Promise.all(
      invoices.flatMap(({ id }) => [
        syncInvoice(one.client, id),
        syncInvoice(other.client, id),
        syncInvoice(client, id),
      ]),
    );
    for (const { id, number } of invoices) {
      const { syncStatus, syncAttempts, xeroId } = await untilSync(client, id, "SYNCED", "FAILED");
      const found = await inXero(service, number);
      expect([syncStatus, ...found.map(({ InvoiceID }) => InvoiceID)]).toEqual(["SYNCED", xeroId]);
      // A press that came when all was over says UNCHANGED.
      expect(syncAttempts.filter(({ outcome }) => outcome !== "UNCHANGED")).toHaveLength(1);
    }
    const contacts = await service.control<{ ContactNumber?: string }[]>("contacts");
    expect(contacts.filter(({ ContactNumber }) => ContactNumber === participant.contactNumber)).toHaveLength(1);
  });

  it("refresh an expired token once", async () => {
    await runSql(service, "UPDATE xero_grant SET access_expires_at = now()");
    await service.control("clock/advance", { ms: 1_900_000 });
    await service.control("calls/clear", {});
    const clients = [one.client, other.client, one.client, other.client];
    await Promise.all(clients.map((each) => each.ask("mutation { refreshXeroData { enabled } }")));
    const { calls } = await service.control<{ calls: { grantType?: string }[] }>("calls?path=/connect/token");
    expect(calls.map(({ grantType }) => grantType)).toEqual(["refresh_token"]);
  });

  it("refresh once a token that Xero turned down before its time", async () => {
    await service.control("clock/advance", { ms: 1_900_000 });
    await service.control("calls/clear", {});
    const clients = [one.client, other.client, one.client, other.client];
    await Promise.all(clients.map((each) => each.ask("mutation { refreshXeroData { enabled } }")));
    const { calls } = await service.control<{ calls: { grantType?: string }[] }>("calls?path=/connect/token");
    expect(calls.map(({ grantType }) => grantType)).toEqual(["refresh_token"]);
  });

  it("finish what the other had written when it was killed", async () => {
    const invoice = await saveInvoice(client);
    await service.control("hold", {
      name: "written",
      match: { method: "PUT", path: "/Invoices$" },
      phase: "after",
      times: 1,
    });
    await end(other, "SIGTERM");
    await syncInvoice(client, invoice.id);
    await service.control("hold/await", { name: "written", count: 1 });
    await end(one, "SIGKILL");
    expect(["SYNCING", "UNCERTAIN"]).toContain((await readInvoice(client, invoice.id)).syncStatus);
    other = await startPeer(service);
    const synced = await untilSync(client, invoice.id, "SYNCED", "FAILED");
    await service.control("release", { name: "written" });
    const found = await inXero(service, invoice.number);
    expect([synced.syncStatus, ...found.map(({ InvoiceID }) => InvoiceID)]).toEqual(["SYNCED", synced.xeroId]);
  });
});
