/** Every way into the sync but the one press on one invoice: many at once, "Run Now", the schedule, an approval, a change that mends. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "@jest/globals";
import { consent } from "../demo/setUp.js";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import {
  type InvoiceState,
  inXero,
  readInvoice,
  runSql,
  saveInvoice,
  saveParticipant,
  syncedInvoice,
  syncInvoice,
  untilSync,
} from "./support/records.js";
import { type Service, startService } from "./support/service.js";

let service: Service;
let workspaces = 0;

beforeAll(async () => {
  // The period makes the worker look for due ticks twice a second.
  service = await startService({ environment: { CONNECTION_CHECK_EVERY: "2s" } });
});

beforeEach(() => service.control("faults/clear", {}));

afterAll(() => service.close());

/** A workspace that nobody else uses, connected to an organisation of its own and set up. */
async function fresh(): Promise<{ client: GraphqlClient; tenantId: string; workspace: string }> {
  workspaces += 1;
  const workspace = `entry-${workspaces}`;
  const name = `Organisation ${workspaces} Pty Ltd`;
  const { tenantId } = await service.control<{ tenantId: string }>("organisations/add", { name });
  await service.control("consent/next", { organisations: [tenantId] });
  return { client: await service.readyClient(workspace), tenantId, workspace };
}

interface Run {
  id: string;
  trigger: string;
  status: string;
  requestedBy: string | null;
  total: number;
  pending: number;
  created: number;
  unchanged: number;
  skipped: number;
  failed: number;
  cancelled: number;
}

const runFields = "id trigger status requestedBy total pending created unchanged skipped failed cancelled";

async function runOf(client: GraphqlClient, mutation: string, variables: object = {}): Promise<Run> {
  const answer = await client.ask<Record<string, Run>>(mutation.replace("RUN", `{ ${runFields} }`), variables);
  return Object.values(answer)[0] as Run;
}

const runNow = (client: GraphqlClient) => runOf(client, "mutation { runInvoiceSync RUN }");
const syncAll = (client: GraphqlClient, ids: string[]) =>
  runOf(client, "mutation ($ids: [ID!]!) { syncInvoices(ids: $ids) RUN }", { ids });

async function runs(client: GraphqlClient): Promise<Run[]> {
  const { syncRuns } = await client.ask<{ syncRuns: { nodes: Run[] } }>(
    `{ syncRuns(first: 100) { nodes { ${runFields} } } }`,
  );
  return syncRuns.nodes;
}

/** The run once it is over, told by subscription. */
async function untilOver(client: GraphqlClient, id: string): Promise<Run> {
  const events = client.watch<{ syncStatus: { runStatus: string | null } }>(
    'subscription ($id: ID!) { syncStatus(runId: $id, after: "0") { runStatus } }',
    { id },
  );
  for await (const { syncStatus } of events) {
    if (syncStatus.runStatus === null || ["QUEUED", "RUNNING"].includes(syncStatus.runStatus)) continue;
    const run = await runOf(client, "query ($id: ID!) { syncRun(id: $id) RUN }", { id });
    if (!["QUEUED", "RUNNING"].includes(run.status)) return run;
  }
  throw new Error("the subscription ended");
}

/** The first run with this trigger that the workspace's events tell of. */
async function untilRun(client: GraphqlClient, trigger: string): Promise<Run> {
  const events = client.watch<{ syncStatus: { run: { id: string; trigger: string } | null } }>(
    'subscription { syncStatus(after: "0") { run { id trigger } } }',
  );
  for await (const { syncStatus } of events) {
    if (syncStatus.run?.trigger === trigger) return untilOver(client, syncStatus.run.id);
  }
  throw new Error("the subscription ended");
}

const update = (client: GraphqlClient, input: object) =>
  client.ask("mutation ($input: UpdateIntegrationInput!) { updateIntegration(input: $input) { enabled } }", { input });

async function refusal(client: GraphqlClient, query: string, variables: object = {}) {
  const { errors } = await client.send(query, variables);
  const { code, fields } = (errors?.[0]?.extensions ?? {}) as { code?: string; fields?: { field: string }[] };
  return { code, fields: fields?.map(({ field }) => field) };
}

const statusOf = async (client: GraphqlClient, ...invoices: { id: string }[]) =>
  Promise.all(invoices.map(async ({ id }) => (await readInvoice(client, id)).syncStatus));

describe("many invoices at once", () => {
  it("are one run, each in Xero once, whose counts add up", async () => {
    const { client } = await fresh();
    const invoices = await Promise.all([1, 2, 3].map(() => saveInvoice(client)));
    const there = await syncedInvoice(client);
    const queued = await syncAll(
      client,
      [...invoices, there].map(({ id }) => id),
    );
    expect(queued).toMatchObject({ trigger: "MANUAL", total: 4, unchanged: 1 });
    expect(await untilOver(client, queued.id)).toMatchObject({
      status: "SUCCEEDED",
      total: 4,
      created: 3,
      unchanged: 1,
    });
    for (const { number } of invoices) expect(await inXero(service, number)).not.toEqual([]);
    expect((await runs(client)).map(({ id }) => id)).toContain(queued.id);
  });

  it("that one run is at already are answered with that run; part of them is skipped", async () => {
    const { client, tenantId } = await fresh();
    const match = { path: "/Contacts", tenant: tenantId };
    await service.control("hold", { name: "slow", match, phase: "before" });
    const [one, two, three] = await Promise.all([1, 2, 3].map(() => saveInvoice(client)));
    const ids = [one, two].map((invoice) => invoice?.id ?? "");
    const first = await syncAll(client, ids);
    expect((await syncAll(client, ids)).id).toBe(first.id);
    const second = await syncAll(client, [...ids, three?.id ?? ""]);
    expect(second).toMatchObject({ total: 3, skipped: 2, pending: 1 });
    await service.control("release", { name: "slow" });
    expect(await untilOver(client, first.id)).toMatchObject({ created: 2 });
    expect(await untilOver(client, second.id)).toMatchObject({ created: 1, skipped: 2, status: "SUCCEEDED" });
  });

  it("are refused, each by its place, before anything is queued", async () => {
    const { client } = await fresh();
    const good = await saveInvoice(client);
    const draft = await saveInvoice(client, {}, { approve: false });
    const unknown = "01890000-0000-7000-8000-000000000000";
    const mutation = "mutation ($ids: [ID!]!) { syncInvoices(ids: $ids) { id } }";
    const ask = (ids: string[]) => refusal(client, mutation, { ids });
    expect(await ask([good.id, draft.id, unknown, "x", good.id.toUpperCase()])).toEqual({
      code: "BAD_USER_INPUT",
      fields: ["ids[1]", "ids[2]", "ids[3]", "ids[4]"],
    });
    expect(await ask([])).toEqual({ code: "BAD_USER_INPUT", fields: ["ids"] });
    expect(await ask(Array.from({ length: 1_001 }, () => good.id))).toEqual({
      code: "BAD_USER_INPUT",
      fields: ["ids"],
    });
    expect(await runs(client)).toEqual([]);
    expect(await statusOf(client, good)).toEqual(["NOT_SYNCED"]);
  });
});

describe("Run Now", () => {
  it("takes what is approved, of the start date or later, not ignored and not in Xero, and nothing else", async () => {
    const { client } = await fresh();
    await update(client, { syncStartDate: "2026-11-10" });
    const due = await saveInvoice(client, { date: "2026-11-10" });
    const another = await saveInvoice(client);
    const early = await saveInvoice(client, { date: "2026-11-09" });
    const draft = await saveInvoice(client, {}, { approve: false });
    const ignored = await saveInvoice(client);
    await client.ask("mutation ($id: ID!) { setInvoiceIgnored(id: $id, ignored: true) { syncStatus } }", {
      id: ignored.id,
    });
    const there = await syncedInvoice(client);
    const run = await runNow(client);
    expect(run).toMatchObject({ trigger: "RUN_NOW", total: 2 });
    expect(await untilOver(client, run.id)).toMatchObject({ created: 2, status: "SUCCEEDED" });
    expect(await statusOf(client, due, another, early, draft, ignored, there)).toEqual([
      "SYNCED",
      "SYNCED",
      "NOT_SYNCED",
      "NOT_SYNCED",
      "IGNORED",
      "SYNCED",
    ]);
  });

  it("says so when there is nothing to do, and is one run when it is pressed twice", async () => {
    const { client, tenantId } = await fresh();
    expect(await runNow(client)).toMatchObject({ status: "NOTHING_TO_DO", total: 0 });
    await service.control("hold", { name: "slow", match: { path: "/Contacts", tenant: tenantId }, phase: "before" });
    await Promise.all([1, 2, 3].map(() => saveInvoice(client)));
    const pressed = await Promise.all([runNow(client), runNow(client), runNow(client)]);
    expect(new Set(pressed.map(({ id }) => id)).size).toBe(1);
    await service.control("release", { name: "slow" });
    expect(await untilOver(client, pressed[0].id)).toMatchObject({ total: 3, created: 3 });
  });

  it("tries again what was refused before, and is overtaken by a press", async () => {
    const { client, tenantId } = await fresh();
    const participant = await saveParticipant(client, { planManagement: "AGENCY_MANAGED" });
    const refused = await syncedInvoice(client, { participantId: participant.id });
    expect(refused.syncError?.code).toBe("INVALID_INVOICE");
    await service.control("hold", { name: "slow", match: { path: "/Contacts", tenant: tenantId }, phase: "before" });
    await Promise.all(Array.from({ length: 55 }, () => saveInvoice(client)));
    const run = await runNow(client);
    expect(run.total).toBe(56);
    await service.control("hold/await", { name: "slow", count: 1 });
    // The first batch of 50 is under way; this one goes with the next, before the rest.
    const pressed = await saveInvoice(client);
    await syncInvoice(client, pressed.id);
    await service.control("release", { name: "slow" });
    const over = await untilOver(client, run.id);
    expect(over).toMatchObject({ created: 55, failed: 1, status: "PARTIALLY_SUCCEEDED" });
    expect((await untilSync(client, pressed.id, "SYNCED", "FAILED")).syncStatus).toBe("SYNCED");
  });
});

describe("a run", () => {
  it("that is cancelled finishes what is in flight and takes back the rest", async () => {
    const { client, tenantId } = await fresh();
    const { id: known } = await saveParticipant(client);
    await syncedInvoice(client, { participantId: known });
    const { id: unknown } = await saveParticipant(client);
    const invoices = await Promise.all(
      Array.from({ length: 60 }, (_, n) => saveInvoice(client, { participantId: n < 50 ? known : unknown })),
    );
    // What is sent waits, and so does what some of it needs before it can be.
    for (const path of ["/Contacts$", "/Invoices$"]) {
      await service.control("hold", { name: path, match: { method: "PUT", path, tenant: tenantId }, phase: "before" });
    }
    const run = await runNow(client);
    await service.control("hold/await", { name: "/Contacts$", count: 1 });
    await service.control("hold/await", { name: "/Invoices$", count: 1 });
    const cancelled = await runOf(client, "mutation ($id: ID!) { cancelSyncRun(id: $id) RUN }", { id: run.id });
    expect(cancelled).toMatchObject({ status: "RUNNING", pending: 50, cancelled: 10 });
    for (const name of ["/Contacts$", "/Invoices$"]) await service.control("release", { name });
    expect(await untilOver(client, run.id)).toMatchObject({ created: 50, cancelled: 10, status: "SUCCEEDED" });
    const statuses = await statusOf(client, ...invoices);
    expect(statuses.filter((status) => status === "SYNCED")).toHaveLength(50);
    expect(statuses.filter((status) => status === "NOT_SYNCED")).toHaveLength(10);
    const again = await runOf(client, "mutation ($id: ID!) { cancelSyncRun(id: $id) RUN }", { id: run.id });
    expect(again).toMatchObject({ created: 50, cancelled: 10, status: "SUCCEEDED" });
  });

  it("that failed is tried again as a run of what is still failed", async () => {
    const { client } = await fresh();
    const agency = await saveParticipant(client, { planManagement: "AGENCY_MANAGED" });
    const bad = await saveInvoice(client, { participantId: agency.id });
    const good = await saveInvoice(client);
    const run = await syncAll(client, [bad.id, good.id]);
    expect(await untilOver(client, run.id)).toMatchObject({ created: 1, failed: 1 });
    const retry = "mutation ($id: ID!) { retrySyncRun(id: $id) RUN }";
    const second = await runOf(client, retry, { id: run.id });
    expect(second).toMatchObject({ trigger: "RETRY", total: 1 });
    expect(await untilOver(client, second.id)).toMatchObject({ failed: 1, status: "FAILED" });
  });
});

describe("an approval", () => {
  it("sends the invoice where the setting says so", async () => {
    const { client } = await fresh();
    await update(client, { syncOnApproval: true, syncStartDate: "2026-11-01" });
    const invoice = await saveInvoice(client);
    expect((await untilSync(client, invoice.id, "SYNCED", "FAILED")).syncStatus).toBe("SYNCED");
    const early = await saveInvoice(client, { date: "2026-10-31" });
    expect(await statusOf(client, early)).toEqual(["NOT_SYNCED"]);
    expect((await runs(client)).map(({ trigger }) => trigger)).toEqual(["ON_APPROVAL"]);
  });

  it("while the switch is off is not forgotten: it goes when the switch is on, once", async () => {
    const { client } = await fresh();
    await update(client, { syncOnApproval: true, enabled: false });
    const invoice = await saveInvoice(client);
    expect((await readInvoice(client, invoice.id)).syncError?.code).toBe("XERO_DISABLED");
    await update(client, { enabled: true });
    await update(client, { enabled: true });
    expect((await untilSync(client, invoice.id, "SYNCED")).syncError).toBeNull();
    expect(await inXero(service, invoice.number)).not.toEqual([]);
    expect((await runs(client)).map(({ trigger }) => trigger)).toEqual(["RECONNECTED", "ON_APPROVAL"]);
  });

  it("while the link is down goes when it is up again", async () => {
    const { client, tenantId } = await fresh();
    await update(client, { syncOnApproval: true });
    await service.control("disconnect", { tenantId });
    const lost = await saveInvoice(client);
    expect((await untilSync(client, lost.id, "FAILED")).syncError?.code).toBe("XERO_NOT_CONNECTED");
    const later = await saveInvoice(client);
    expect((await readInvoice(client, later.id)).syncError?.code).toBe("XERO_NOT_CONNECTED");
    await service.control("consent/next", { organisations: [tenantId] });
    await consent(client);
    for (const { id } of [lost, later]) await untilSync(client, id, "SYNCED");
  });
});

describe("what was refused is queued by the change that mends it:", () => {
  const refused = async (client: GraphqlClient, input: object, code: string): Promise<InvoiceState> => {
    const invoice = await syncedInvoice(client, input);
    expect(invoice.syncError?.code).toBe(code);
    return invoice;
  };

  it("its participant", async () => {
    const { client } = await fresh();
    const { id: participantId } = await saveParticipant(client, { planManagement: "AGENCY_MANAGED" });
    const { id } = await refused(client, { participantId }, "INVALID_INVOICE");
    await saveParticipant(client, { id: participantId, planManagement: "SELF_MANAGED" });
    expect((await untilSync(client, id, "SYNCED")).syncAttempts.map(({ outcome }) => outcome)).toEqual([
      "CREATED",
      "FAILED",
    ]);
    expect((await runs(client))[0]).toMatchObject({ trigger: "MENDED", requestedBy: null });
  });

  it("the invoice itself", async () => {
    const { client, tenantId } = await fresh();
    await service.control("lock", { tenantId, periodLockDate: "2026-11-20" });
    const { id: participantId } = await saveParticipant(client);
    const { id } = await refused(client, { participantId }, "PERIOD_LOCKED");
    const lineItems = [{ description: "Support", quantity: "1", unitAmount: "100.00" }];
    const input = { id, participantId, date: "2026-11-21", dueDate: "2026-11-30", lineItems };
    await client.ask("mutation ($input: SaveInvoiceInput!) { saveInvoice(input: $input) { id } }", { input });
    await untilSync(client, id, "SYNCED");
  });

  it.each<[string, (client: GraphqlClient, tenantId: string) => Promise<unknown>, string]>([
    ["the switch is off", (client) => update(client, { enabled: false }), "XERO_DISABLED"],
    ["the link is down", (_client, tenantId) => service.control("disconnect", { tenantId }), "XERO_NOT_CONNECTED"],
  ])("though %s just then: it is queued when that is over", async (_when, stop, code) => {
    const { client, tenantId } = await fresh();
    const { id: participantId } = await saveParticipant(client, { planManagement: "AGENCY_MANAGED" });
    const { id } = await refused(client, { participantId }, "INVALID_INVOICE");
    await stop(client, tenantId);
    if (code === "XERO_NOT_CONNECTED") await client.send("mutation { refreshXeroData { enabled } }");
    await saveParticipant(client, { id: participantId, planManagement: "SELF_MANAGED" });
    expect((await readInvoice(client, id)).syncError?.code).toBe(code);
    if (code === "XERO_DISABLED") await update(client, { enabled: true });
    else {
      await service.control("consent/next", { organisations: [tenantId] });
      await consent(client);
    }
    await untilSync(client, id, "SYNCED");
  });

  it("its mapping", async () => {
    const { client } = await fresh();
    const { taxRates } = await client.ask<{ taxRates: { id: string; xeroTaxRate: { taxType: string } | null }[] }>(
      "{ taxRates { id xeroTaxRate { taxType } } }",
    );
    const { id: taxRateId, xeroTaxRate } = taxRates.find((rate) => rate.xeroTaxRate !== null) ?? {
      id: "",
      xeroTaxRate: null,
    };
    const invoice = await saveInvoice(client, {
      lineItems: [{ description: "Support", quantity: "1", unitAmount: "100.00", taxRateId }],
    });
    const map = (xeroTaxType: string | null) =>
      client.ask("mutation ($id: ID!, $type: ID) { mapTaxRate(taxRateId: $id, xeroTaxType: $type) { id } }", {
        id: taxRateId,
        type: xeroTaxType,
      });
    await map(null);
    await syncInvoice(client, invoice.id);
    expect((await untilSync(client, invoice.id, "FAILED")).syncError?.code).toBe("INVALID_MAPPING");
    await map(xeroTaxRate?.taxType ?? null);
    await untilSync(client, invoice.id, "SYNCED");
  });
});

describe("the schedule", () => {
  it("fires a tick that has come, and one run for any number that were missed", async () => {
    const { client, workspace } = await fresh();
    const invoice = await saveInvoice(client);
    await update(client, { schedule: { enabled: true, cron: "0 3 * * *", timeZone: "Australia/Perth" } });
    await runSql(
      service,
      "UPDATE integration SET schedule_next_run_at = now() - interval '3 days' WHERE workspace_id = $1",
      [workspace],
    );
    expect(await untilRun(client, "SCHEDULED")).toMatchObject({ total: 1, created: 1, requestedBy: null });
    expect(await statusOf(client, invoice)).toEqual(["SYNCED"]);
    const { integration } = await client.ask<{
      integration: { schedule: { enabled: boolean; cron: string; nextRunAt: string; lastRun: { created: number } } };
    }>("{ integration { schedule { enabled cron timeZone nextRunAt lastRun { created } } } }");
    const { schedule } = integration;
    expect(schedule).toMatchObject({
      enabled: true,
      cron: "0 3 * * *",
      timeZone: "Australia/Perth",
      lastRun: { created: 1 },
    });
    // Three in the morning in Perth, which knows no daylight saving, is seven in the evening of the day before in UTC.
    expect(schedule.nextRunAt).toMatch(/T19:00:00\.000Z$/);
    expect(new Date(schedule.nextRunAt).getTime() - Date.now()).toBeLessThanOrEqual(86_400_000);
    expect((await runs(client)).filter(({ trigger }) => trigger === "SCHEDULED")).toHaveLength(1);
  });

  it("leaves alone what waits for a change", async () => {
    const { client, workspace } = await fresh();
    const { id: participantId } = await saveParticipant(client, { planManagement: "AGENCY_MANAGED" });
    await syncedInvoice(client, { participantId });
    await update(client, { schedule: { enabled: true } });
    await runSql(service, "UPDATE integration SET schedule_next_run_at = now() WHERE workspace_id = $1", [workspace]);
    expect(await untilRun(client, "SCHEDULED")).toMatchObject({ total: 0, status: "NOTHING_TO_DO" });
  });

  it("waits while the switch is off, and makes up for it by one run", async () => {
    const { client, workspace } = await fresh();
    await update(client, { schedule: { enabled: true }, enabled: false });
    await runSql(
      service,
      "UPDATE integration SET schedule_next_run_at = now() - interval '1 hour' WHERE workspace_id = $1",
      [workspace],
    );
    const invoice = await saveInvoice(client);
    await update(client, { enabled: true });
    expect(await untilRun(client, "SCHEDULED")).toMatchObject({ total: 1, created: 1 });
    expect(await statusOf(client, invoice)).toEqual(["SYNCED"]);
  });

  it.each([
    ["cron", { cron: "every hour" }],
    ["cron", { cron: "0 0 * * * *" }],
    ["cron", { cron: "61 * * * *" }],
    ["cron", { cron: "0 0 31 2 *" }],
    ["timeZone", { timeZone: "Sydney" }],
    ["enabled", { enabled: null }],
  ])("refuses a bad %s: %j", async (field, schedule) => {
    const client = await service.client("admin", "bad-schedule");
    const mutation = "mutation ($input: UpdateIntegrationInput!) { updateIntegration(input: $input) { enabled } }";
    expect(await refusal(client, mutation, { input: { schedule } })).toEqual({
      code: "BAD_USER_INPUT",
      fields: [`input.schedule.${field}`],
    });
  });
});

describe("an invoice", () => {
  it("that is ignored is refused by a press, and put back goes again", async () => {
    const { client } = await fresh();
    const invoice = await saveInvoice(client);
    const ignore = (ignored: boolean) =>
      client.ask<{ setInvoiceIgnored: { syncStatus: string } }>(
        "mutation ($id: ID!, $ignored: Boolean!) { setInvoiceIgnored(id: $id, ignored: $ignored) { syncStatus } }",
        { id: invoice.id, ignored },
      );
    expect((await ignore(true)).setInvoiceIgnored.syncStatus).toBe("IGNORED");
    const press = "mutation ($id: ID!) { syncInvoice(id: $id) { id } }";
    expect((await refusal(client, press, { id: invoice.id })).code).toBe("BAD_USER_INPUT");
    expect((await ignore(false)).setInvoiceIgnored.syncStatus).toBe("NOT_SYNCED");
    await syncInvoice(client, invoice.id);
    await untilSync(client, invoice.id, "SYNCED");
    const mutation = "mutation ($id: ID!) { setInvoiceIgnored(id: $id, ignored: true) { id } }";
    expect((await refusal(client, mutation, { id: invoice.id })).code).toBe("INVOICE_LOCKED");
  });

  it("tells by its checklist why it is not in Xero, and then that it is", async () => {
    const { client } = await fresh();
    await update(client, { syncStartDate: "2026-11-10" });
    const { id: participantId } = await saveParticipant(client, { planManagement: "AGENCY_MANAGED" });
    const invoice = await saveInvoice(client, { participantId, date: "2026-11-09" }, { approve: false });
    const failing = async (id: string) => {
      const { invoice: shown } = await client.ask<{
        invoice: { syncChecklist: { name: string; passed: boolean; detail: string | null }[] };
      }>("query ($id: ID!) { invoice(id: $id) { syncChecklist { name passed detail } } }", { id });
      expect(shown.syncChecklist).toHaveLength(10);
      return shown.syncChecklist.filter(({ passed }) => !passed).map(({ name }) => name);
    };
    expect(await failing(invoice.id)).toEqual([
      "It is approved",
      "It is dated on or after the sync start date",
      "Whom it bills, its accounts and its tax rates are right",
      "Xero has accepted it",
    ]);
    expect(await failing((await syncedInvoice(client)).id)).toEqual([]);
    const unset = await service.client("admin", "never-connected");
    const waiting = await saveInvoice(unset);
    const { invoice: shown } = await unset.ask<{ invoice: { syncChecklist: { passed: boolean }[] } }>(
      "query ($id: ID!) { invoice(id: $id) { syncChecklist { passed } } }",
      { id: waiting.id },
    );
    expect(shown.syncChecklist.map(({ passed }) => passed)).toEqual([
      true,
      false,
      true,
      false,
      true,
      true,
      true,
      true,
      false,
      false,
    ]);
  });
});
