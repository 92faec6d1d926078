/**
 * What must never get out does not: broad traffic with canary values in every place that is personal or secret, at the most talkative level of
 * operation, leaves none of them in log and metrics; and no secret is in any column in plain text.
 */
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { createLogger } from "../src/logger.js";
import { Vault } from "../src/xero/Vault.js";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { callsOf, until, untilDone, update } from "./support/links.js";
import { recordPayment } from "./support/payments.js";
import {
  runSql,
  saveInvoice,
  saveParticipant,
  syncedInvoice,
  syncInvoice,
  untilPaid,
  untilSync,
} from "./support/records.js";
import { secret, type Service, startService } from "./support/service.js";

let service: Service;
let client: GraphqlClient;
let logged = "";

const person = {
  name: "Canaryname Birdsong",
  firstName: "Canaryname",
  lastName: "Birdsong",
  email: "canarymail@birdsong.example",
  phone: "0491 570 156",
  ndisNumber: "430987654",
};
const canaries = [
  ...Object.values(person),
  "canarywords",
  "canaryreference",
  "canaryalert@example.com",
  "canarycharge",
];

beforeAll(async () => {
  const logger = createLogger("debug", { write: (line: string) => void (logged += line) });
  service = await startService({ logger });
  client = await service.readyClient();
});

afterAll(() => service.close());

const refusedQuietly = (work: Promise<unknown>): Promise<unknown> => work.catch(() => undefined);

it("broad traffic leaves nothing personal and nothing secret in log and metrics", async () => {
  await update(client, { alertEmails: ["canaryalert@example.com"] });
  const { id: participantId, contactNumber } = await saveParticipant(client, person);
  const lineItems = [{ description: "canarywords of care", quantity: "1", unitAmount: "100.00" }];
  const invoice = await syncedInvoice(client, { participantId, lineItems });
  await service.control("pay", { invoiceId: invoice.xeroId, amount: "10.00", paymentReference: "canaryreference" });
  await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "10.00");
  await recordPayment(client, invoice.id, {
    amount: "5.00",
    reference: "canaryreference",
    financeExternalId: "canarycharge",
  });
  // Xero refuses, and quotes.
  await service.control("contacts/archive", { contactNumber });
  const refused = await saveInvoice(client, { participantId, lineItems });
  await syncInvoice(client, refused.id);
  await untilSync(client, refused.id, "FAILED");
  for (const fault of ["500-after-write", "garbage-200", "lost-answer", "503-unavailable"]) {
    await service.control("faults", { match: { path: "/Contacts$" }, fault, times: 1 });
    await client.ask("mutation { importContacts { id } }");
  }
  // The database refuses, with the values of the statement in hand.
  await runSql(service, "ALTER TABLE participant RENAME COLUMN phone TO gone");
  await refusedQuietly(saveParticipant(client, person));
  await runSql(service, "ALTER TABLE participant RENAME COLUMN gone TO phone");
  await runSql(service, "ALTER TABLE participant ADD CONSTRAINT odd CHECK (name <> 'Canaryname Birdsong') NOT VALID");
  await refusedQuietly(saveParticipant(client, person));
  await runSql(service, "ALTER TABLE participant DROP CONSTRAINT odd");
  // Callers who are refused: with a bad token, bad input, a bad document.
  const ask = (body: object, authorization?: string) =>
    fetch(`${service.url}/graphql`, {
      method: "POST",
      headers: { "content-type": "application/json", ...(authorization !== undefined && { authorization }) },
      body: JSON.stringify(body),
    });
  await ask({ query: "{ viewer { role } }" }, "Bearer canarytoken.canarytoken.canarytoken");
  await ask({ query: 'mutation { saveParticipant(input: { name: "Canaryname Birdsong", email: 5 }) { id } }' });
  await ask({ query: "{ canarywords" }, "Bearer canarytoken");
  await fetch(`${service.url}/oauth/xero/callback?state=canarytoken&code=canarytoken`, { redirect: "manual" });
  await fetch(`${service.url}/webhooks/xero`, {
    method: "POST",
    body: "canarywords",
    headers: { "x-xero-signature": "canarytoken" },
  });
  await untilDone({ service, workspace: "one" });

  expect(logged).toContain('"xero call"');
  expect(logged).toMatch(/"level":"error"/);
  const metrics = await (await fetch(`${service.url}/metrics`)).text();
  expect(metrics).toContain("ledgerline_");
  const lines = [...logged.split("\n"), ...metrics.split("\n")].filter((line) => line !== "");
  for (const canary of [...canaries, "canarytoken"]) {
    expect(lines.filter((line) => line.toLowerCase().includes(canary.toLowerCase()))).toEqual([]);
  }
  for (const kept of await secrets()) expect(lines.filter((line) => line.includes(kept))).toEqual([]);
});

it("one correlation id leads from a request through its jobs to the calls to Xero, which are named by Xero's own", async () => {
  await service.control("faults/clear", {});
  const { id } = await saveInvoice(client);
  // A job that is at it already takes on what comes, and goes by the id that it was begun for.
  await untilDone({ service, workspace: "one" });
  logged = "";
  await syncInvoice(client, id);
  await untilSync(client, id, "SYNCED");
  const calls = logged
    .split("\n")
    .flatMap((line) => (line.includes('"xero call"') ? [JSON.parse(line) as Record<string, string>] : []));
  const put = calls.find(({ operation }) => operation === "putInvoices");
  expect(put?.["xeroCorrelationId"]).toMatch(/^[\w-]{10,}$/);
  const { auditLog } = await client.ask<{ auditLog: { nodes: { action: string; correlationId: string }[] } }>(
    "{ auditLog(first: 5) { nodes { action correlationId } } }",
  );
  const press = auditLog.nodes.find(({ action }) => action === "syncInvoice");
  expect(put?.["correlationId"]).toBe(press?.correlationId);
  expect(await callsOf(service, { method: "PUT", path: "/Invoices$" })).not.toEqual([]);
});

it("and from a delivery to the read that follows it", async () => {
  const invoice = await syncedInvoice(client);
  await untilDone({ service, workspace: "one" });
  logged = "";
  await service.control("pay", { invoiceId: invoice.xeroId, amount: "10.00" });
  await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "10.00");
  const read = logged
    .split("\n")
    .flatMap((line) => (line.includes('"xero call"') ? [JSON.parse(line) as Record<string, string>] : []))
    .find(({ operation }) => operation === "fetchInvoices");
  // A request's id, and not one that a job was given for want of it.
  expect(read?.["correlationId"]).toMatch(/^[\da-f]{8}-[\da-f-]{27}$/);
});

/** Everything secret that the service holds, as it is when it is of use to somebody. */
async function secrets(): Promise<string[]> {
  const { config } = service;
  const vault = new Vault(config.encryptionKeys);
  const sets = await runSql<{ xero_user_id: string; access_token: string; refresh_token: string }>(
    service,
    "SELECT xero_user_id, access_token, refresh_token FROM xero_grant",
  );
  const tokens = sets.flatMap((set) =>
    (["access_token", "refresh_token"] as const).map((column) =>
      vault.decrypt(set[column], `xero_grant/${set.xero_user_id}/${column}`),
    ),
  );
  expect(tokens.length).toBeGreaterThan(0);
  const keys = config.encryptionKeys.map(({ key }) => key.toString("base64"));
  return [...tokens, ...keys, config.xero.clientSecret, ...config.xero.webhookKeys, secret];
}

it("no secret is in any column of any table in plain text", async () => {
  await until(async () => (await runSql(service, "SELECT 1 FROM webhook_event")).length > 0);
  const columns = await runSql<{ table: string; schema: string }>(
    service,
    `SELECT table_schema AS schema, table_name AS table FROM information_schema.tables
     WHERE table_schema IN ('public', 'graphile_worker') AND table_type = 'BASE TABLE'`,
  );
  expect(columns.length).toBeGreaterThan(30);
  const kept = await secrets();
  for (const { schema, table } of columns) {
    const rows = await runSql<{ whole: string }>(
      service,
      `SELECT to_jsonb(t)::text AS whole FROM "${schema}"."${table}" t`,
    );
    for (const each of kept) expect([table, rows.filter(({ whole }) => whole.includes(each))]).toEqual([table, []]);
  }
});
