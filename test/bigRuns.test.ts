/** Runs of many invoices: how few calls they take, what some poisoned ones cost, and what a preview says of each beforehand. */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { copyInvoices, runNow } from "./support/bulk.js";
import { apiCalls, callsOf, newLink, type Link, untilDone } from "./support/links.js";
import { runSql, saveInvoice, saveParticipant, syncedInvoice, untilSync } from "./support/records.js";
import { type Service, startService } from "./support/service.js";

let service: Service;

beforeAll(async () => {
  service = await startService();
});

afterAll(() => service.close());

describe("a run of 1,000 invoices of 250 participants", () => {
  let link: Link;
  /** Made for the run: once a day the organisation itself is asked for. */
  const calls = async (): Promise<number> =>
    (await apiCalls(link)).filter(({ path }) => !path.endsWith("/Organisation")).length;

  it("takes at most 40 calls when no contact is linked, and each invoice is in Xero once", async () => {
    link = await newLink(service, "thousand");
    await saveInvoice(link.client, {}, { approve: false });
    await copyInvoices(link, 250, 4);
    await service.control("calls/clear", {});
    const run = await runNow(link);
    expect(run).toMatchObject({ status: "SUCCEEDED", total: 1000, created: 1000 });
    expect(run.xeroCalls).toBeLessThanOrEqual(40);
    // Webhooks told of each of the thousand, which was known, so nothing was read for them.
    await service.control("webhooks/drain", {});
    await untilDone(link);
    expect(run.xeroCalls).toBe(await calls());
    const invoices = await service.control<{ Url: string }[]>(`invoices?tenant=${link.tenantId}`);
    expect(new Set(invoices.map(({ Url }) => Url)).size).toBe(1000);
    expect(invoices).toHaveLength(1000);
    const contacts = await service.control<object[]>(`contacts?tenant=${link.tenantId}`);
    expect(contacts.filter((contact) => JSON.stringify(contact).includes("BULK-"))).toHaveLength(250);
  }, 120_000);

  it("takes at most 25 when they are linked and unchanged", async () => {
    await runSql(
      service,
      `UPDATE invoice SET xero_id = NULL, sync_status = 'NOT_SYNCED', number = 'AGAIN-' || number WHERE workspace_id = $1 AND xero_id IS NOT NULL`,
      [link.workspace],
    );
    await service.control("calls/clear", {});
    const run = await runNow(link);
    expect(run).toMatchObject({ status: "SUCCEEDED", total: 1000, created: 1000 });
    expect(await calls()).toBeLessThanOrEqual(25);
  }, 120_000);
});

it("500 invoices of which 25 are poisoned in five ways: the others arrive, and a poisoned one costs a call at most", async () => {
  const link = await newLink(service, "poison");
  const { client } = link;
  const sane = await saveParticipant(client);
  await syncedInvoice(client, { participantId: sane.id });
  await copyInvoices(link, 95, 5);
  const poisoned: string[] = [];
  const poison = async (input: object): Promise<void> => {
    for (let n = 0; n < 5; n += 1) poisoned.push((await saveInvoice(client, input)).id);
  };
  // An account that Xero archived unseen, a day in closed books, an archived contact, nobody to bill, and a contact that Xero never knew.
  const { xeroAccounts } = await client.ask<{ xeroAccounts: { accountId: string; code: string }[] }>(
    "{ xeroAccounts(use: REVENUE_ACCOUNTS) { accountId code } }",
  );
  const doomed = xeroAccounts.find(({ code }) => code !== "201");
  const lineItems = [{ description: "Support", quantity: "1", unitAmount: "1.00", salesAccountId: doomed?.accountId }];
  await poison({ participantId: sane.id, lineItems });
  await service.control("accounts/archive", { account: doomed?.code, tenantId: link.tenantId });
  await poison({ participantId: sane.id, date: "2026-01-15", dueDate: "2026-01-31" });
  await service.control("lock", { periodLockDate: "2026-01-31", tenantId: link.tenantId });
  const archived = await saveParticipant(client);
  await syncedInvoice(client, { participantId: archived.id });
  await service.control("contacts/archive", { contactNumber: archived.contactNumber, tenantId: link.tenantId });
  await poison({ participantId: archived.id });
  await poison({ participantId: (await saveParticipant(client, { planManagement: "PLAN_MANAGED" })).id });
  const unknown = await saveParticipant(client);
  await syncedInvoice(client, { participantId: unknown.id });
  await runSql(service, "UPDATE contact_link SET contact_id = gen_random_uuid() WHERE participant_id = $1", [
    unknown.id,
  ]);
  await runSql(service, "UPDATE xero_contact SET contact_number = 'GONE' WHERE contact_number = $1", [
    unknown.contactNumber,
  ]);
  await service.control("contacts/edit", {
    contactNumber: unknown.contactNumber,
    tenantId: link.tenantId,
    changes: { Name: "Somebody Else", EmailAddress: "else@example.com" },
  });
  await poison({ participantId: unknown.id });
  await service.control("calls/clear", {});
  const run = await runNow(link);
  const failed = await client.ask<{
    invoices: { nodes: { id: string; syncError: { code: string; xeroMessages: string[] } }[] };
  }>("{ invoices(first: 100, filter: { syncStatus: [FAILED] }) { nodes { id syncError { code xeroMessages } } } }");
  expect(run).toMatchObject({ status: "PARTIALLY_SUCCEEDED", total: 500, created: 475, failed: 25 });
  expect(failed.invoices.nodes.map(({ id }) => id).sort()).toEqual([...poisoned].sort());
  const codes = failed.invoices.nodes.map(({ syncError }) => syncError.code);
  expect([...new Set(codes)].sort()).toEqual([
    "CONTACT_AMBIGUOUS",
    "CONTACT_ARCHIVED",
    "INVALID_INVOICE",
    "INVALID_MAPPING",
    "PERIOD_LOCKED",
  ]);
  const invoicePuts = (await callsOf(service, { kind: "api", path: "/Invoices$", method: "PUT" })).length;
  // Ten for the invoices and two for the contacts, as without any poison; and at most one for each that is poisoned.
  expect(run.xeroCalls).toBeLessThanOrEqual(12 + 25);
  expect(invoicePuts).toBeGreaterThanOrEqual(10);
}, 180_000);

describe("a preview", () => {
  it("says of each invoice what would be done, writes nothing and calls nobody", async () => {
    const link = await newLink(service, "preview");
    const { client } = link;
    const known = await saveParticipant(client, { name: "Known Person" });
    const synced = await syncedInvoice(client, { participantId: known.id });
    const next = await saveInvoice(client, { participantId: known.id });
    const fresh = await saveInvoice(client);
    const draft = await saveInvoice(client, {}, { approve: false });
    const nobody = await saveParticipant(client, { planManagement: "PLAN_MANAGED" });
    const unbilled = await saveInvoice(client, { participantId: nobody.id });
    await service.control("calls/clear", {});
    const ids = [synced, next, fresh, draft, unbilled].map(({ id }) => id);
    const query = `query ($ids: [ID!]!) { previewSync(invoiceIds: $ids) {
      invoice { id } action contactAction expectedSubtotal expectedTax expectedTotal problems { code message } } }`;
    const { previewSync } = await client.ask<{ previewSync: object[] }>(query, { ids });
    expect(previewSync).toMatchObject([
      { invoice: { id: synced.id }, action: "SKIP", contactAction: null, problems: [] },
      { invoice: { id: next.id }, action: "CREATE", contactAction: "UNCHANGED", expectedTotal: "100.00", problems: [] },
      { invoice: { id: fresh.id }, action: "CREATE", contactAction: "CREATED", expectedTax: "0.00", problems: [] },
      { invoice: { id: draft.id }, action: "BLOCKED", problems: [{ code: "INVALID_INVOICE" }] },
      { invoice: { id: unbilled.id }, action: "BLOCKED", problems: [{ code: "INVALID_INVOICE" }] },
    ]);
    expect(await callsOf(service, { kind: "api" })).toEqual([]);
    expect(await runSql(service, "SELECT FROM sync_attempt WHERE workspace_id = 'preview'")).toHaveLength(1);
    await client.ask("mutation ($id: ID!) { syncInvoice(id: $id) { id } }", { id: fresh.id });
    expect((await untilSync(client, fresh.id, "SYNCED", "FAILED")).total).toBe("100.00");
    const other = await service.client("viewer", "preview-of-nobody");
    const refused = await other.send(query, { ids });
    expect(refused.errors?.[0]?.extensions).toMatchObject({ code: "BAD_USER_INPUT" });
  });

  it("says what keeps everything back", async () => {
    const client = await service.client("admin", "nothing-set-up");
    const { id } = await saveInvoice(client);
    const query = "query ($ids: [ID!]!) { previewSync(invoiceIds: $ids) { action problems { code } } }";
    const { previewSync } = await client.ask<{ previewSync: object[] }>(query, { ids: [id] });
    expect(previewSync).toEqual([
      { action: "BLOCKED", problems: [{ code: "XERO_NOT_CONNECTED" }, { code: "INVALID_MAPPING" }] },
    ]);
    const twice = await client.send(query, { ids: [id, id] });
    expect(twice.errors?.[0]?.extensions).toMatchObject({
      code: "BAD_USER_INPUT",
      fields: [{ field: "invoiceIds[1]" }],
    });
  });
});
