/** Records that many tests need, made through the front door; and waiting for what happens to them by subscription, never by sleeping. */
import pg from "pg";
import { type GraphqlClient } from "../../demo/graphqlClient.js";
import { type Service } from "./service.js";

export interface InvoiceState {
  id: string;
  number: string;
  status: string;
  subtotal: string;
  totalTax: string;
  total: string;
  totalPaymentAmount: string;
  totalCreditAmount: string;
  amountDue: string;
  lastPaymentDate: string | null;
  syncStatus: string;
  syncError: { code: string; message: string; xeroMessages: string[]; resolution: string; retryable: boolean } | null;
  syncWarnings: string[];
  xeroInvoiceNumber: string | null;
  xeroId: string | null;
  xeroStatus: string | null;
  payments: {
    id: string;
    amount: string;
    paid: boolean;
    paidOn: string;
    type: string;
    source: string;
    financeExternalId: string;
  }[];
  syncAttempts: { outcome: string; contactAction: string | null }[];
}

const fields = `id number status subtotal totalTax total totalPaymentAmount totalCreditAmount amountDue lastPaymentDate syncStatus
  syncError { code message xeroMessages resolution retryable } syncWarnings xeroInvoiceNumber xeroId xeroStatus
  payments { id amount paid paidOn type source financeExternalId } syncAttempts { outcome contactAction }`;

export async function saveParticipant(
  client: GraphqlClient,
  input: object = {},
): Promise<{ id: string; contactNumber: string }> {
  const { saveParticipant: saved } = await client.ask<{ saveParticipant: { id: string; contactNumber: string } }>(
    "mutation ($input: SaveParticipantInput!) { saveParticipant(input: $input) { id contactNumber } }",
    { input: { name: `Participant ${Math.random().toString(36).slice(2)}`, planManagement: "SELF_MANAGED", ...input } },
  );
  return saved;
}

/** An invoice of one line over 100.00 unless told otherwise; approved unless `approve` is false. */
export async function saveInvoice(
  client: GraphqlClient,
  input: object = {},
  { approve = true } = {},
): Promise<InvoiceState> {
  const participantId = "participantId" in input ? input.participantId : (await saveParticipant(client)).id;
  const lineItems = [{ description: "Support", quantity: "1", unitAmount: "100.00" }];
  const { saveInvoice: saved } = await client.ask<{ saveInvoice: InvoiceState }>(
    `mutation ($input: SaveInvoiceInput!) { saveInvoice(input: $input) { ${fields} } }`,
    { input: { date: "2026-11-16", dueDate: "2026-11-30", lineItems, ...input, participantId } },
  );
  if (approve) await client.ask("mutation ($id: ID!) { approveInvoice(id: $id) { id } }", { id: saved.id });
  return saved;
}

export async function readInvoice(client: GraphqlClient, id: string): Promise<InvoiceState> {
  return (await client.ask<{ invoice: InvoiceState }>(`query ($id: ID!) { invoice(id: $id) { ${fields} } }`, { id }))
    .invoice;
}

export async function syncInvoice(client: GraphqlClient, id: string): Promise<{ id: string; status: string }> {
  return (
    await client.ask<{ syncInvoice: { id: string; status: string } }>(
      "mutation ($id: ID!) { syncInvoice(id: $id) { id status } }",
      { id },
    )
  ).syncInvoice;
}

/** The invoice once its sync status is one of these, told by the subscription from the log's beginning. */
export async function untilSync(client: GraphqlClient, id: string, ...statuses: string[]): Promise<InvoiceState> {
  const events = client.watch<{ syncStatus: { syncStatus: string | null } }>(
    'subscription ($id: ID!) { syncStatus(invoiceId: $id, after: "0") { syncStatus } }',
    { id },
  );
  for await (const { syncStatus: event } of events) {
    if (!statuses.includes(event.syncStatus ?? "")) continue;
    const invoice = await readInvoice(client, id);
    if (statuses.includes(invoice.syncStatus)) return invoice;
  }
  throw new Error("the subscription ended");
}

/** The invoice once it looks as wanted, looked at after each of its payment events from the log's beginning. */
export async function untilPaid(
  client: GraphqlClient,
  id: string,
  wanted: (invoice: InvoiceState) => boolean,
): Promise<InvoiceState> {
  const events = client.watch<unknown>('subscription ($id: ID!) { payments(invoiceId: $id, after: "0") { cursor } }', {
    id,
  });
  for await (const _event of events) {
    const invoice = await readInvoice(client, id);
    if (wanted(invoice)) return invoice;
  }
  throw new Error("the subscription ended");
}

/** An invoice that is in Xero. */
export async function syncedInvoice(client: GraphqlClient, input: object = {}): Promise<InvoiceState> {
  const { id } = await saveInvoice(client, input);
  await syncInvoice(client, id);
  return untilSync(client, id, "SYNCED", "FAILED");
}

/** Every sync status that the invoice's events told, from the log's beginning to the first of these that is still true. */
export async function syncStory(client: GraphqlClient, id: string, ...ends: string[]): Promise<string[]> {
  const events = client.watch<{ syncStatus: { syncStatus: string | null } }>(
    'subscription ($id: ID!) { syncStatus(invoiceId: $id, after: "0") { syncStatus } }',
    { id },
  );
  const story: string[] = [];
  for await (const { syncStatus: event } of events) {
    if (event.syncStatus === null) continue;
    story.push(event.syncStatus);
    if (ends.includes(event.syncStatus) && (await readInvoice(client, id)).syncStatus === event.syncStatus)
      return story;
  }
  throw new Error("the subscription ended");
}

/** The sandbox's invoices with this reference: one, if all is well. */
export async function inXero(service: Service, reference: string): Promise<Record<string, unknown>[]> {
  const all = await service.control<Record<string, unknown>[]>("invoices");
  return all.filter(({ Reference }) => Reference === reference);
}

/** Runs a statement as the owner of the service's database: for what only time or a crash would bring about. */
export async function runSql<T extends pg.QueryResultRow>(
  service: Service,
  statement: string,
  values: unknown[] = [],
): Promise<T[]> {
  const client = new pg.Client(service.database.url);
  await client.connect();
  try {
    return (await client.query<T>(statement, values)).rows;
  } finally {
    await client.end();
  }
}
