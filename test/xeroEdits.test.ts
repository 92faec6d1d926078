/** What people do to our invoices in Xero: it is seen here and named, and nothing of it is changed back. */
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { callsOf, newLink, until, untilDone } from "./support/links.js";
import {
  type InvoiceState,
  readInvoice,
  runSql,
  saveInvoice,
  syncedInvoice,
  syncInvoice,
  untilSync,
} from "./support/records.js";
import { type Service, startService } from "./support/service.js";

let service: Service;
let client: GraphqlClient;

beforeAll(async () => {
  service = await startService();
  client = await service.readyClient();
});

afterAll(() => service.close());

/** The invoice once it looks as wanted, looked at after each event of it from the log's beginning. */
async function untilSeen(id: string, wanted: (invoice: InvoiceState) => boolean): Promise<InvoiceState> {
  const events = client.watch<unknown>(
    'subscription ($id: ID!) { syncStatus(invoiceId: $id, after: "0") { cursor } }',
    { id },
  );
  for await (const _event of events) {
    const invoice = await readInvoice(client, id);
    if (wanted(invoice)) return invoice;
  }
  throw new Error("the subscription ended");
}

const edit = (invoice: InvoiceState, changes: object) =>
  service.control("invoices/edit", { invoiceId: invoice.xeroId, changes });

const line = (description: string, amount: number) => ({
  Description: description,
  Quantity: 1,
  UnitAmount: amount,
  AccountCode: "201",
  TaxType: "EXEMPTOUTPUT",
});

it("one that is voided there is VOIDED here, and says where", async () => {
  const invoice = await syncedInvoice(client);
  await service.control("invoices/void", { invoiceId: invoice.xeroId });
  const voided = await untilSeen(invoice.id, ({ status }) => status === "VOIDED");
  expect(voided).toMatchObject({
    xeroStatus: "VOIDED",
    syncStatus: "SYNCED",
    syncWarnings: ["It was voided in Xero."],
  });
});

it("a draft that is deleted there is VOIDED here, and never sent again", async () => {
  const link = await newLink(service, "drafts");
  const mine = link.client;
  await mine.ask("mutation { updateIntegration(input: { initialInvoiceStatus: DRAFT }) { enabled } }");
  const invoice = await syncedInvoice(mine);
  await service.control("invoices/delete", { invoiceId: invoice.xeroId });
  await until(async () => (await readInvoice(mine, invoice.id)).status === "VOIDED");
  expect(await readInvoice(mine, invoice.id)).toMatchObject({
    xeroStatus: "DELETED",
    syncWarnings: ["It was deleted in Xero."],
  });
  await expect(syncInvoice(mine, invoice.id)).rejects.toThrow(/voided/);
});

it("lines, dates, reference and contact that were changed there are named, each", async () => {
  const invoice = await syncedInvoice(client);
  await service.control("contacts/add", { contact: { Name: "Somebody Else" } });
  await edit(invoice, { LineItems: [line("Support", 90), line("Travel", 10)] });
  const lines = await untilSeen(invoice.id, ({ syncWarnings }) => syncWarnings.length > 0);
  expect(lines).toMatchObject({
    syncWarnings: ["Its lines were changed in Xero."],
    total: "100.00",
    syncStatus: "SYNCED",
  });
  const contacts = await service.control<{ Name: string; ContactID: string }[]>("contacts");
  await edit(invoice, {
    Contact: { ContactID: contacts.find(({ Name }) => Name === "Somebody Else")?.ContactID },
    DueDate: "2026-12-24",
    Reference: "PO 7",
    LineItems: [line("Support", 90)],
  });
  const all = await untilSeen(invoice.id, ({ syncWarnings }) => syncWarnings.length > 1);
  expect(all.syncWarnings).toEqual([
    "Its contact was changed in Xero, to Somebody Else.",
    'Its due date was changed in Xero, from "2026-11-30" to "2026-12-24".',
    `Its reference was changed in Xero, from "${invoice.number}" to "PO 7".`,
    "Its lines were changed in Xero.",
    "The subtotal is 90.00 in Xero and 100.00 here.",
    "The total is 90.00 in Xero and 100.00 here.",
  ]);
  const [theirs] = await service
    .control<{ InvoiceID: string; Total: number }[]>("invoices")
    .then((found) => found.filter(({ InvoiceID }) => InvoiceID === invoice.xeroId));
  expect(theirs?.Total).toBe(90);
});

it("what was put back there is no warning any more, and neither is what was sent from here since", async () => {
  const invoice = await syncedInvoice(client);
  await edit(invoice, { DueDate: "2026-12-24" });
  await untilSeen(invoice.id, ({ syncWarnings }) => syncWarnings.length === 1);
  await edit(invoice, { DueDate: "2026-11-30" });
  await untilSeen(invoice.id, ({ syncWarnings }) => syncWarnings.length === 0);
  await edit(invoice, { LineItems: [line("Support", 80)] });
  await untilSeen(invoice.id, ({ syncWarnings }) => syncWarnings.length > 0);
  const { id, participantId } = (
    await client
      .ask<{ invoice: { participant: { id: string } } }>(
        "query ($id: ID!) { invoice(id: $id) { participant { id } } }",
        { id: invoice.id },
      )
      .then(({ invoice: found }) => ({ invoice: { id: invoice.id, participantId: found.participant.id } }))
  ).invoice;
  await saveInvoice(
    client,
    { id, participantId, lineItems: [{ description: "Support", quantity: "2", unitAmount: "60.00" }] },
    { approve: false },
  );
  const sent = await untilSeen(invoice.id, ({ total, syncStatus }) => total === "120.00" && syncStatus === "SYNCED");
  expect(sent.syncWarnings).toEqual([]);
});

it("an invoice that is only read again is not called changed, with as many kinds of line as there are", async () => {
  const invoice = await syncedInvoice(client, {
    lineItems: [
      { description: "Support", quantity: "1.5", unitAmount: "33.3333" },
      { description: "Free of charge", quantity: "1", unitAmount: "0" },
      { description: "Discount", quantity: "-1", unitAmount: "5.00" },
    ],
  });
  await service.control("pay", { invoiceId: invoice.xeroId, amount: "1.00" });
  await until(async () => (await readInvoice(client, invoice.id)).totalPaymentAmount === "1.00");
  expect((await readInvoice(client, invoice.id)).syncWarnings).toEqual([]);
});

it("payments of an invoice that was found there after its answer was lost are read with it", async () => {
  const link = await newLink(service, "adopted");
  await service.control("webhooks", { categories: [] });
  await service.control("faults", {
    match: { method: "PUT", path: "/Invoices$", tenant: link.tenantId },
    fault: "500-after-write",
    times: 1,
  });
  await service.control("hold", {
    name: "found",
    match: { method: "GET", path: "/Invoices$", tenant: link.tenantId },
    phase: "before",
    times: 1,
  });
  const { id, number } = await saveInvoice(link.client);
  await syncInvoice(link.client, id);
  await service.control("hold/await", { name: "found" });
  const [theirs] = (
    await service.control<{ InvoiceID: string; Reference: string; tenantId: string }[]>("invoices")
  ).filter(({ Reference, tenantId }) => Reference === number && tenantId === link.tenantId);
  await service.control("pay", { invoiceId: theirs?.InvoiceID, amount: "25.00" });
  await service.control("release", { name: "found" });
  await untilSync(link.client, id, "SYNCED");
  await until(async () => (await readInvoice(link.client, id)).totalPaymentAmount === "25.00");
  await untilDone(link);
  const reads = await callsOf(service, { method: "GET", path: "/Invoices$" });
  expect(reads.filter(({ tenantId }) => tenantId === link.tenantId)).toHaveLength(2);
  expect(await runSql(service, "SELECT 1 FROM invoice WHERE pull_due_at IS NOT NULL")).toEqual([]);
});
