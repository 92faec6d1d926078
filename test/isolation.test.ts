/** Two workspaces in one database, both connected to one organisation in Xero and to one more each: neither finds anything of the other. */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import pg from "pg";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { configure, consent } from "../demo/setUp.js";
import {
  readInvoice,
  runSql,
  saveInvoice,
  saveParticipant,
  syncedInvoice,
  syncInvoice,
  untilPaid,
  untilSync,
} from "./support/records.js";
import { type Service, startService } from "./support/service.js";

interface Workspace {
  name: string;
  client: GraphqlClient;
  /** One id of each kind. */
  ids: {
    invoice: string;
    draft: string;
    participant: string;
    supportItem: string;
    taxRate: string;
    connection: string;
    payment: string;
    run: string;
    attempt: string;
    webhookEvent: string;
    /** Of the organisation that only this workspace has connected. */
    account: string;
  };
  xeroId: string;
}

let service: Service;
let a: Workspace;
let b: Workspace;

async function furnish(name: string, demo: string): Promise<Workspace> {
  const own = await service.control<{ tenantId: string }>("organisations/add", { name: `Only ${name} Pty Ltd` });
  await service.control("consent/next", { organisations: [demo, own.tenantId] });
  const client = await service.client("admin", name);
  await consent(client);
  const { xeroOrganisations } = await client.ask<{ xeroOrganisations: { id: string; tenantId: string }[] }>(
    "{ xeroOrganisations { id tenantId } }",
  );
  const connection = xeroOrganisations.find(({ tenantId }) => tenantId === demo)?.id ?? "";
  await client.ask("mutation ($id: ID!) { selectXeroOrganisation(id: $id) { id } }", { id: connection });
  await configure(client);
  const { taxRates } = await client.ask<{ taxRates: { id: string }[] }>("{ taxRates { id } }");
  const { saveSupportItem } = await client.ask<{ saveSupportItem: { id: string } }>(
    'mutation { saveSupportItem(input: { itemNumber: "01_011", name: "Self-care", unit: "H" }) { id } }',
  );
  const participant = await saveParticipant(client, { name: "Ada Okafor", contactNumber: "C-1" });
  const line = { supportItemId: saveSupportItem.id, quantity: "1", unitAmount: "100.00" };
  const invoice = await syncedInvoice(client, { participantId: participant.id, number: "I-1", lineItems: [line] });
  await service.control("pay", { invoiceId: invoice.xeroId, amount: "10.00" });
  const paid = await untilPaid(client, invoice.id, ({ status }) => status === "PARTIALLY_PAID");
  const draft = await saveInvoice(client, { participantId: participant.id, number: "I-2" }, { approve: false });
  const { invoice: shown } = await client.ask<{ invoice: { syncAttempts: { id: string; runId: string }[] } }>(
    "query ($id: ID!) { invoice(id: $id) { syncAttempts { id runId } } }",
    { id: invoice.id },
  );
  const { webhookEvents } = await client.ask<{ webhookEvents: { nodes: { id: string }[] } }>(
    "{ webhookEvents(first: 1) { nodes { id } } }",
  );
  const accounts = await service.control<{ id: string; type: string }[]>(`accounts?tenant=${own.tenantId}`);
  return {
    name,
    client,
    xeroId: invoice.xeroId ?? "",
    ids: {
      invoice: invoice.id,
      draft: draft.id,
      participant: participant.id,
      supportItem: saveSupportItem.id,
      taxRate: taxRates[0]?.id ?? "",
      connection: xeroOrganisations.find(({ tenantId }) => tenantId === own.tenantId)?.id ?? "",
      payment: paid.payments[0]?.id ?? "",
      run: shown.syncAttempts[0]?.runId ?? "",
      attempt: shown.syncAttempts[0]?.id ?? "",
      webhookEvent: webhookEvents.nodes[0]?.id ?? "",
      account: accounts.find(({ type }) => type === "REVENUE")?.id ?? "",
    },
  };
}

beforeAll(async () => {
  service = await startService();
  await service.control("switches", { minuteLimit: 1_000 });
  const { organisations } = await service.control<{ organisations: { tenantId: string }[] }>("state");
  const demo = organisations[0]?.tenantId ?? "";
  a = await furnish("workspace-a", demo);
  b = await furnish("workspace-b", demo);
  // What no client can bring about and keep: these rows come and go with a link's troubles.
  for (const { name, ids } of [a, b]) {
    await runSql(
      service,
      `INSERT INTO alert (workspace_id, id, kind, subject, state, message, resolution, first_seen_at, last_seen_at)
       VALUES ('${name}', gen_random_uuid(), 'CONNECTION_LOST', 'x', 'OPEN', 'x', 'x', now(), now())`,
    );
    await runSql(
      service,
      `INSERT INTO release (workspace_id, id, connection_id, xero_connection_id, xero_user_id, due_at)
       VALUES ('${name}', gen_random_uuid(), '${ids.connection}', gen_random_uuid(), 'x', now() + interval '1 day')`,
    );
    await runSql(
      service,
      `INSERT INTO mail (workspace_id, id, alert_id, occasion, address)
       SELECT workspace_id, gen_random_uuid(), id, 'OPENED', 'x@example.com' FROM alert WHERE workspace_id = '${name}'`,
    );
    // Comes with time.
    await runSql(
      service,
      `INSERT INTO payment_poll (workspace_id, connection_id, due_at) VALUES ('${name}', '${ids.connection}', now() + interval '1 day') ON CONFLICT DO NOTHING`,
    );
    // Comes with an uploaded catalogue.
    await runSql(
      service,
      `INSERT INTO support_item_price (workspace_id, support_item_id, valid_from) VALUES ('${name}', '${ids.supportItem}', '2026-07-01')`,
    );
  }
});

afterAll(() => service.close());

describe("with one workspace's token", () => {
  const line = (more: string): string =>
    `lineItems: [{ description: "x", quantity: 1, unitAmount: 1${more && `, ${more}`} }], date: "2026-11-16", dueDate: "2026-11-30"`;

  /** Every argument that takes an id; `$x` is the other's, `#x` one's own. */
  const places: string[] = [
    "{ invoice(id: $invoice) { id } }",
    "{ participant(id: $participant) { id } }",
    "{ syncRun(id: $run) { id } }",
    "{ payments(invoiceId: $invoice) { nodes { id } } }",
    'mutation { recordPayment(input: { invoiceId: $invoice, amount: 1, paymentDate: "2026-11-20T00:00:00Z" }) { id } }',
    "mutation { reversePayment(id: $payment) { id } }",
    "mutation { retryPayment(id: $payment) { id } }",
    "mutation { setPaymentIncluded(id: $payment, include: false) { id } }",
    "mutation { setPaymentPaid(id: $payment, paid: false) { id } }",
    "mutation { syncPayments(invoiceId: $invoice) { id } }",
    "mutation { approveInvoice(id: $draft) { id } }",
    "mutation { syncInvoice(id: $invoice) { id } }",
    "mutation { retrySyncRun(id: $run) { id } }",
    "mutation { cancelSyncRun(id: $run) { id } }",
    "mutation { setInvoiceIgnored(id: $draft, ignored: true) { id } }",
    "mutation { replayWebhookEvent(id: $webhookEvent) { id } }",
    "mutation { linkContact(participantId: $participant) { id } }",
    "mutation { selectXeroOrganisation(id: $connection) { id } }",
    "mutation { disconnectXero(organisationId: $connection) { id } }",
    'mutation { mapTaxRate(taxRateId: $taxRate, xeroTaxType: "OUTPUT") { id } }',
    'mutation { saveTaxRate(input: { id: $taxRate, name: "x", components: [{ name: "x", rate: 1 }] }) { id } }',
    'mutation { saveParticipant(input: { id: $participant, name: "x", planManagement: NOT_NDIS }) { id } }',
    'mutation { saveParticipant(input: { planManagerId: $participant, name: "x", planManagement: PLAN_MANAGED }) { id } }',
    'mutation { saveSupportItem(input: { itemNumber: "x", name: "x", unit: "H", taxRateId: $taxRate }) { id } }',
    'mutation { saveSupportItem(input: { itemNumber: "x", name: "x", unit: "H", salesAccountId: $account }) { id } }',
    "mutation { updateIntegration(input: { defaultTaxRateId: $taxRate }) { enabled } }",
    "mutation { updateIntegration(input: { salesAccountId: $account }) { enabled } }",
    "mutation { updateIntegration(input: { paymentAccountId: $account }) { enabled } }",
    `mutation { saveInvoice(input: { id: $draft, participantId: #participant, ${line("")} }) { id } }`,
    `mutation { saveInvoice(input: { participantId: $participant, ${line("")} }) { id } }`,
    `mutation { saveInvoice(input: { participantId: #participant, ${line("supportItemId: $supportItem")} }) { id } }`,
    `mutation { saveInvoice(input: { participantId: #participant, ${line("taxRateId: $taxRate")} }) { id } }`,
    `mutation { saveInvoice(input: { participantId: #participant, ${line("salesAccountId: $account")} }) { id } }`,
  ];

  const fill = (query: string, theirs: Workspace, own: Workspace): string =>
    query
      .replace(/\$(\w+)/g, (_all, kind: string) => JSON.stringify(theirs.ids[kind as keyof Workspace["ids"]]))
      .replace(/#(\w+)/g, (_all, kind: string) => JSON.stringify(own.ids[kind as keyof Workspace["ids"]]));

  it.each(places)("another's id is NOT_FOUND in %s", async (query) => {
    for (const [theirs, own] of [
      [a, b],
      [b, a],
    ] as const) {
      const { errors, data } = await own.client.send<Record<string, unknown>>(fill(query, theirs, own));
      expect([errors?.[0]?.extensions.code, Object.values(data ?? {}).filter((value) => value !== null)]).toEqual([
        "NOT_FOUND",
        [],
      ]);
      const unknown = query.replace(/\$\w+/g, '"01890000-0000-7000-8000-000000000000"');
      const { errors: asUnknown } = await own.client.send(fill(unknown, theirs, own));
      expect(errors?.[0]?.message).toBe(asUnknown?.[0]?.message);
    }
  });

  it.each([
    "syncStatus(invoiceId: $invoice) { cursor }",
    "syncStatus(runId: $run) { cursor }",
    "payments(invoiceId: $invoice) { cursor }",
  ])("another's id is NOT_FOUND in the subscription %s", async (field) => {
    await expect(b.client.watch(`subscription { ${fill(field, a, b)} }`).next()).rejects.toThrow(/There is no such/);
  });

  it("lists hold one's own rows and no others", async () => {
    const query = `{ invoices { totalCount nodes { id payments { id } lineItems { supportItem { id } taxRate { id } } syncAttempts { id runId } participant { id } xeroOrganisation { id } } }
      participants { totalCount nodes { id invoices { totalCount nodes { id } } } } payments { totalCount nodes { id } } supportItems { totalCount nodes { id } } webhookEvents { totalCount nodes { id } }
      taxRates { id } xeroOrganisations { id } integration { activeOrganisation { id } defaultTaxRate { id } } }`;
    for (const [own, theirs] of [
      [a, b],
      [b, a],
    ] as const) {
      const text = JSON.stringify(await own.client.ask(query));
      for (const [kind, id] of Object.entries(theirs.ids)) expect([kind, text.includes(id)]).toEqual([kind, false]);
      for (const kind of [
        "invoice",
        "draft",
        "participant",
        "supportItem",
        "taxRate",
        "connection",
        "payment",
        "run",
        "attempt",
        "webhookEvent",
      ] as const)
        expect([kind, text.includes(own.ids[kind])]).toEqual([kind, true]);
    }
  });

  it("a filter by another's participant, and another's cursor, find nothing of it", async () => {
    const { invoices } = await b.client.ask<{ invoices: object }>(
      "query ($id: ID) { invoices(filter: { participantId: $id }) { totalCount nodes { id } } }",
      { id: a.ids.participant },
    );
    expect(invoices).toEqual({ totalCount: 0, nodes: [] });
    const { invoices: page } = await a.client.ask<{ invoices: { pageInfo: { endCursor: string } } }>(
      "{ invoices(first: 1, orderBy: OLDEST_FIRST) { pageInfo { endCursor } } }",
    );
    const { invoices: rest } = await b.client.ask<{ invoices: { nodes: { id: string }[] } }>(
      "query ($after: String) { invoices(after: $after, orderBy: OLDEST_FIRST) { nodes { id } } }",
      { after: page.pageInfo.endCursor },
    );
    for (const { id } of rest.nodes) expect([b.ids.invoice, b.ids.draft]).toContain(id);
  });

  it("equal invoice, contact and item numbers are no clash; within one workspace they are", async () => {
    expect((await readInvoice(a.client, a.ids.invoice)).number).toBe(
      (await readInvoice(b.client, b.ids.invoice)).number,
    );
    const again = await a.client.send("mutation ($input: SaveInvoiceInput!) { saveInvoice(input: $input) { id } }", {
      input: {
        number: "i-1",
        participantId: a.ids.participant,
        date: "2026-11-16",
        dueDate: "2026-11-16",
        lineItems: [{ description: "x", quantity: 1, unitAmount: 1 }],
      },
    });
    expect(again.errors?.[0]?.extensions).toMatchObject({
      code: "BAD_USER_INPUT",
      fields: [{ field: "input.number" }],
    });
  });

  it("a payment for one's invoice changes nothing of the other's, nor is it told of it", async () => {
    const before = await readInvoice(b.client, b.ids.invoice);
    await service.control("pay", { invoiceId: a.xeroId, amount: "20.00" });
    await untilPaid(a.client, a.ids.invoice, ({ totalPaymentAmount }) => totalPaymentAmount === "30.00");
    await syncedInvoice(a.client);
    const { id } = await saveInvoice(b.client);
    await syncInvoice(b.client, id);
    await untilSync(b.client, id, "SYNCED");
    await service.control("pay", { invoiceId: (await readInvoice(b.client, id)).xeroId });
    await untilPaid(b.client, id, ({ status }) => status === "PAID");
    expect(await readInvoice(b.client, b.ids.invoice)).toEqual(before);

    // All that b was ever told, up to its own last event, which came after a's.
    const told: string[] = [];
    const sync = b.client.watch<{ syncStatus: { invoice: { id: string } | null; syncStatus: string | null } }>(
      'subscription { syncStatus(after: "0") { syncStatus invoice { id } } }',
    );
    for await (const { syncStatus } of sync) {
      if (syncStatus.invoice) told.push(syncStatus.invoice.id);
      if (syncStatus.invoice?.id === id && syncStatus.syncStatus === "SYNCED") break;
    }
    const payments = b.client.watch<{ payments: { invoice: { id: string } } }>(
      'subscription { payments(after: "0") { invoice { id } } }',
    );
    for await (const { payments: event } of payments) {
      told.push(event.invoice.id);
      if (event.invoice.id === id) break;
    }
    expect(new Set(told)).toEqual(new Set([b.ids.invoice, id]));
  });
});

describe("the unprivileged role", () => {
  let database: pg.Client;

  beforeAll(async () => {
    database = new pg.Client(service.database.url);
    await database.connect();
  });

  afterAll(() => database.end());

  /** Runs the statements as requests do, and takes everything back: the embedded database has one session for all, so nothing may stay set. */
  async function asRole<T>(workspace: string | null, work: () => Promise<T>): Promise<T> {
    await database.query("BEGIN");
    try {
      if (workspace !== null) await database.query("SELECT set_config('app.workspace_id', $1, true)", [workspace]);
      await database.query(`SET LOCAL ROLE ${service.database.appRole}`);
      return await work();
    } finally {
      await database.query("ROLLBACK");
    }
  }

  const system = ["consent", "schema_migration", "tenant_limit", "webhook_state", "xero_grant"];

  async function workspaceTables(): Promise<string[]> {
    const { rows } = await database.query<{ tablename: string }>(
      "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename",
    );
    return rows.map(({ tablename }) => tablename).filter((name) => !system.includes(name));
  }

  async function codeOf(work: () => Promise<unknown>): Promise<string | undefined> {
    try {
      await work();
      return undefined;
    } catch (error) {
      return (error as { code?: string }).code;
    }
  }

  it("is no superuser and bypasses nothing, nor does the login that takes it", async () => {
    const { rows } = await database.query<{ bypasses: boolean }>(
      "SELECT rolsuper OR rolbypassrls AS bypasses FROM pg_roles WHERE rolname = ANY($1)",
      [[service.database.appRole, ...(service.database.embedded ? [] : [new URL(service.database.url).username])]],
    );
    expect(rows.every(({ bypasses }) => !bypasses)).toBe(true);
  });

  it("sees its own workspace's rows and no others in every table, without a condition", async () => {
    for (const own of [a, b]) {
      for (const table of await workspaceTables()) {
        const { rows } = await asRole(own.name, () =>
          database.query<{ workspace_id: string }>(`SELECT * FROM ${table}`),
        );
        expect([table, ...new Set(rows.map(({ workspace_id }) => workspace_id))]).toEqual([table, own.name]);
      }
    }
  });

  it("sees nothing in a session that never named a workspace", async () => {
    for (const table of await workspaceTables())
      expect([table, (await asRole(null, () => database.query(`SELECT * FROM ${table}`))).rows]).toEqual([table, []]);
  });

  it("sees nothing once the transaction that named a workspace is over, nor with an empty name", async () => {
    const resource = "4f1d0c6e-0000-4000-8000-000000000001";
    await service.control("webhooks/send", {
      events: [
        {
          resourceId: resource,
          tenantId: "4f1d0c6e-0000-4000-8000-000000000002",
          eventCategory: "INVOICE",
          eventType: "UPDATE",
          eventDateUtc: "2026-11-21T03:04:05.678",
        },
      ],
    });
    await asRole(a.name, () => database.query("SELECT 1"));
    for (const name of [null, ""]) {
      for (const table of await workspaceTables())
        expect([table, (await asRole(name, () => database.query(`SELECT * FROM ${table}`))).rows]).toEqual([table, []]);
    }
  });

  it("can neither write a row of another workspace nor move one there", async () => {
    for (const table of await workspaceTables()) {
      const { rows } = await database.query<{ row: object }>(
        `SELECT to_jsonb(t) AS row FROM ${table} t WHERE workspace_id = $1 LIMIT 1`,
        [a.name],
      );
      const insert = () =>
        database.query(`INSERT INTO ${table} SELECT * FROM jsonb_populate_record(NULL::${table}, $1)`, [rows[0]?.row]);
      expect([table, await codeOf(() => asRole(b.name, insert))]).toEqual([table, "42501"]);
      const move = () => database.query(`UPDATE ${table} SET workspace_id = $1`, [a.name]);
      expect([table, await codeOf(() => asRole(b.name, move))]).toEqual([table, "42501"]);
    }
  });

  it("changes and deletes nothing of another workspace", async () => {
    for (const table of await workspaceTables()) {
      for (const statement of [
        `UPDATE ${table} SET workspace_id = workspace_id WHERE workspace_id = '${a.name}'`,
        `DELETE FROM ${table} WHERE workspace_id = '${a.name}'`,
      ]) {
        const result = await asRole(b.name, async () => {
          const code = await codeOf(async () => {
            const { rowCount } = await database.query(statement);
            expect(rowCount).toBe(0);
          });
          return code;
        });
        expect([undefined, "42501"]).toContain(result);
      }
    }
  });

  it("can't read what belongs to no workspace, nor the queue", async () => {
    const { rows } = await database.query<{ name: string }>(
      "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) AS name FROM pg_tables WHERE schemaname = 'graphile_worker'",
    );
    expect(rows.length).toBeGreaterThan(0);
    for (const name of [...system, ...rows.map((row) => row.name)]) {
      const read = () => database.query(`SELECT * FROM ${name}`);
      expect([name, await codeOf(() => asRole(b.name, read))]).toEqual([name, "42501"]);
    }
  });

  it("may queue a job of its own workspace and of no other", async () => {
    const enqueue = (workspace: string | null, payload: string) =>
      codeOf(() =>
        asRole(workspace, () =>
          database.query("SELECT ledgerline_enqueue('push', $1, 'isolation', NULL, 0)", [payload]),
        ),
      );
    expect(await enqueue(b.name, JSON.stringify({ workspaceId: b.name }))).toBeUndefined();
    expect(await enqueue(b.name, JSON.stringify({ workspaceId: a.name }))).toBe("P0001");
    expect(await enqueue(b.name, "{}")).toBe("P0001");
    expect(await enqueue(b.name, "null")).toBe("P0001");
    expect(await enqueue(b.name, `{"workspaceId":"${b.name}","workspaceId":"${a.name}"}`)).toBe("P0001");
    expect(await enqueue(null, "{}")).toBe("P0001");
    const direct = () => database.query("SELECT graphile_worker.add_job('push', '{}')");
    expect(await codeOf(() => asRole(b.name, direct))).toBe("42501");
  });
});
