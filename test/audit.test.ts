/** Who did what: every mutation leaves a line that nobody can change, with what it changed and nothing that is personal. */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { buildASTSchema, parse } from "graphql";
import { readFile } from "node:fs/promises";
import pg from "pg";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { callBack, agree, disconnect, idle, newLink, unconnected, until, update } from "./support/links.js";
import { recordPayment } from "./support/payments.js";
import { runSql, saveInvoice, saveParticipant, syncedInvoice, syncInvoice, untilSync } from "./support/records.js";
import { type Service, startService } from "./support/service.js";

let service: Service;
let client: GraphqlClient;

interface Entry {
  at: string;
  actor: string;
  action: string;
  subjectType: string;
  subjectId: string | null;
  changes: string | null;
  correlationId: string | null;
}

beforeAll(async () => {
  service = await startService({ environment: { PAYMENT_CATCH_UP_EVERY: "2s" } });
  client = await service.readyClient();
});

afterAll(() => service.close());

/** The newest entries, the newest first. */
async function log(of: GraphqlClient = client, first = 20): Promise<Entry[]> {
  const { auditLog } = await of.ask<{ auditLog: { nodes: Entry[] } }>(
    "query ($first: Int) { auditLog(first: $first) { nodes { at actor action subjectType subjectId changes correlationId } } }",
    { first },
  );
  return auditLog.nodes;
}

const changesOf = (entry: Entry | undefined): Record<string, unknown> =>
  JSON.parse(entry?.changes ?? "{}") as Record<string, unknown>;

describe("the audit log", () => {
  it("has what an administrator changed of the settings, old and new, and not to whom mail goes", async () => {
    await update(client, { paidTolerance: "0.05", timeZone: "Australia/Perth", alertEmails: ["secret@example.com"] });
    const [entry] = await log();
    expect(entry).toMatchObject({ action: "updateIntegration", subjectType: "Integration", subjectId: "one" });
    expect(entry?.actor).not.toBe("");
    expect(entry?.correlationId).toMatch(/^[\w-]{20,}$/);
    expect(changesOf(entry)).toEqual({
      paidTolerance: { old: 0, new: 0.05 },
      timeZone: { old: null, new: "Australia/Perth" },
      alertEmails: "changed",
    });
  });

  it("says that what is personal changed, and not to what", async () => {
    const person = {
      name: "Canary Person",
      email: "canary@example.com",
      phone: "0400 123 456",
      ndisNumber: "430123456",
    };
    const { id } = await saveParticipant(client, person);
    const [made] = await log();
    expect(made).toMatchObject({ action: "saveParticipant", subjectType: "Participant", subjectId: id });
    expect(changesOf(made)).toMatchObject({
      name: "changed",
      email: "changed",
      planManagement: { new: "SELF_MANAGED" },
    });
    await client.ask("mutation ($input: SaveParticipantInput!) { saveParticipant(input: $input) { id } }", {
      input: { ...person, id, name: "Canary Renamed", planManagement: "NOT_NDIS" },
    });
    const [renamed] = await log();
    expect(changesOf(renamed)).toEqual({ name: "changed", planManagement: { old: "SELF_MANAGED", new: "NOT_NDIS" } });
    expect(JSON.stringify(await log(client, 100))).not.toMatch(/Canary|canary|0400|430123456/);
  });

  it("has invoices from saving to voiding, and payments, each step once", async () => {
    const { id, number } = await saveInvoice(client);
    await recordPayment(client, id, { amount: "10.00" });
    await client.ask("mutation ($id: ID!) { setInvoiceIgnored(id: $id, ignored: true) { id } }", { id });
    const steps = (await log()).slice(0, 5).reverse();
    expect(steps.map(({ action, subjectType }) => `${action} ${subjectType}`)).toEqual([
      "saveInvoice Invoice",
      "approveInvoice Invoice",
      // The payment, and the invoice that it pays a part of.
      "recordPayment Payment",
      "recordPayment Invoice",
      "setInvoiceIgnored Invoice",
    ]);
    expect(changesOf(steps[0])).toMatchObject({ number: { new: number }, total: { new: 100 } });
    expect(changesOf(steps[1])).toEqual({ status: { old: "DRAFT", new: "APPROVED" } });
    expect(changesOf(steps[3])).toEqual({ status: { old: "APPROVED", new: "PARTIALLY_PAID" } });
    const [ignored] = await log();
    expect(changesOf(ignored)).toEqual({ ignored: { old: false, new: true } });
  });

  it("has a press of sync as one line, however many invoices, and one that changed nothing too", async () => {
    const invoices = [await saveInvoice(client), await saveInvoice(client)];
    await client.ask("mutation ($ids: [ID!]!) { syncInvoices(ids: $ids) { id } }", {
      ids: invoices.map(({ id }) => id),
    });
    const [entry, before] = await log();
    expect(entry).toMatchObject({ action: "syncInvoices", subjectType: "SyncRun" });
    expect(before?.action).toBe("approveInvoice");
    for (const { id } of invoices) await untilSync(client, id, "SYNCED");
    await syncInvoice(client, invoices[0]?.id ?? "");
    await client.ask("mutation ($id: ID!) { approveInvoice(id: $id) { id } }", { id: invoices[0]?.id });
    expect((await log()).slice(0, 2)).toMatchObject([
      { action: "approveInvoice", subjectId: invoices[0]?.id, changes: null },
      { action: "syncInvoice", subjectId: invoices[0]?.id },
    ]);
    // What the service did on its own is nobody's.
    expect((await log(client, 100)).filter(({ action }) => action === "keepLink")).toEqual([]);
  });

  it("has who connected and disconnected, and what the service did to a link by itself", async () => {
    const link = await unconnected(service, "linked");
    expect(await callBack(await agree(link))).toBe("connected");
    const connects = (await log(link.client)).filter(({ action }) => action === "connect");
    expect(connects.map(({ subjectType }) => subjectType)).toContain("XeroOrganisation");
    const { xeroOrganisations } = await link.client.ask<{ xeroOrganisations: { id: string }[] }>(
      "{ xeroOrganisations { id } }",
    );
    await disconnect({ client: link.client, id: xeroOrganisations[0]?.id ?? "" });
    const [ended] = await log(link.client);
    expect(ended).toMatchObject({ action: "disconnectXero", actor: connects[0]?.actor });
    expect(changesOf(ended)).toMatchObject({ connectionStatus: { old: "CONNECTED", new: "DISCONNECTED" } });
    const lapsing = await newLink(service, "lapsing");
    await idle(lapsing, 61);
    await until(async () => (await log(lapsing.client))[0]?.actor === "ledgerline");
    expect(changesOf((await log(lapsing.client))[0])).toEqual({
      connectionStatus: { old: "CONNECTED", new: "DISCONNECTED_INACTIVE" },
    });
  });

  it("has refused access once a minute for each caller and operation", async () => {
    const viewer = await service.client("viewer");
    for (let count = 0; count < 3; count += 1) await expect(update(viewer, {})).rejects.toThrow(/role/);
    await expect(viewer.ask("{ auditLog { totalCount } }")).rejects.toThrow(/role/);
    await expect((await service.client("bookkeeper")).ask("{ auditLog { totalCount } }")).rejects.toThrow(/role/);
    const refused = (await log(client, 100)).filter(({ action }) => action === "refused");
    expect(
      refused
        .map(({ subjectType }) => subjectType)
        .sort()
        .filter((name) => name === "updateIntegration"),
    ).toHaveLength(1);
    await runSql(service, "UPDATE audit_entry SET at = at - interval '61 seconds' WHERE action = 'refused'");
    await expect(update(viewer, {})).rejects.toThrow(/role/);
    expect(
      (await log(client, 100)).filter(
        ({ action, subjectType }) => action === "refused" && subjectType === "updateIntegration",
      ),
    ).toHaveLength(2);
  });

  it("can't be written, changed or emptied by the role that requests run as", async () => {
    const database = new pg.Client(service.database.url);
    await database.connect();
    try {
      for (const statement of [
        "UPDATE audit_entry SET actor = 'nobody'",
        "DELETE FROM audit_entry",
        "INSERT INTO audit_entry (workspace_id, id, at, actor, action, subject_type) VALUES ('one', gen_random_uuid(), now(), 'x', 'x', 'x')",
        "TRUNCATE audit_entry",
        "ALTER TABLE invoice DISABLE TRIGGER audit",
        "SELECT set_config('session_replication_role', 'replica', true)",
      ]) {
        await database.query("BEGIN");
        await database.query("SELECT set_config('role', $1, true), set_config('app.workspace_id', 'one', true)", [
          service.config.database.appRole,
        ]);
        await expect(database.query(statement)).rejects.toMatchObject({ code: "42501" });
        await database.query("ROLLBACK");
      }
    } finally {
      await database.end();
    }
  });

  it("shows a workspace its own, page by page", async () => {
    const stranger = await service.client("admin", "stranger");
    expect(await log(stranger)).toEqual([]);
    const { auditLog } = await client.ask<{ auditLog: { totalCount: number; pageInfo: { endCursor: string } } }>(
      "{ auditLog(first: 2) { totalCount pageInfo { endCursor } } }",
    );
    expect(auditLog.totalCount).toBeGreaterThan(5);
    const next = await client.ask<{ auditLog: { nodes: Entry[] } }>(
      "query ($after: String) { auditLog(first: 2, after: $after) { nodes { at action } } }",
      { after: auditLog.pageInfo.endCursor },
    );
    const [, , third] = await log();
    expect(next.auditLog.nodes[0]).toMatchObject({ at: third?.at, action: third?.action });
  });
});

it("every mutation of the schema leaves a line when it succeeds", async () => {
  const schema = buildASTSchema(parse(await readFile("schema.graphql", "utf8")));
  const names = Object.keys(schema.getMutationType()?.getFields() ?? {});
  const everyone = await service.readyClient("everything");
  const invoice = await syncedInvoice(everyone);
  const draft = await saveInvoice(everyone, {}, { approve: false });
  const id = { id: invoice.id };
  expect(names.length).toBeGreaterThan(25);
  await everyone.ask("mutation ($id: ID!) { approveInvoice(id: $id) { id } }", { id: draft.id });
  for (const [query, variables] of [
    ["mutation { connectXero { expiresAt } }", {}],
    ["mutation { refreshXeroData { enabled } }", {}],
    ["mutation { importContacts { id } }", {}],
    ["mutation { runInvoiceSync { id } }", {}],
    ["mutation ($id: ID!) { syncPayments(invoiceId: $id) { id } }", id],
    ["mutation ($id: ID!) { syncInvoice(id: $id) { id } }", id],
    ['mutation { saveTaxRate(input: { name: "Levy", components: [{ name: "Levy", rate: 2 }] }) { id } }', {}],
    ['mutation { saveSupportItem(input: { itemNumber: "X", name: "X", unit: "H" }) { id } }', {}],
  ] as const) {
    await everyone.ask(query, variables);
    const action = /\{ (\w+)/.exec(query)?.[1];
    const newest = (await log(everyone)).find(({ actor }) => actor !== "ledgerline");
    expect(newest?.action).toBe(action);
  }
});
