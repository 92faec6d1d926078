/**
 * The main job, done for real over real sockets and told as it happens: a participant is billed, the invoices reach Xero, their payments come
 * back, and a subscription sees each step. Every claim it prints was checked; the first that does not hold throws.
 */
import { type GraphqlClient } from "./graphqlClient.js";
import { type Mailbox, type ReceivedMail } from "./Mailbox.js";
import { type SandboxProcess } from "./SandboxProcess.js";
import { configure, consent } from "./setUp.js";

interface SyncEvent {
  syncStatus: {
    cursor: string;
    syncStatus: string | null;
    runStatus: string | null;
    invoice: { number: string } | null;
  };
}

interface PaymentEvent {
  payments: { cursor: string; kind: string; payment: { amount: string; paidOn: string }; invoice: InvoiceState };
}

interface InvoiceState {
  id: string;
  number: string;
  status: string;
  total: string;
  totalPaymentAmount: string;
  amountDue: string;
  syncStatus: string;
  xeroInvoiceNumber: string | null;
  xeroId: string | null;
}

const invoiceFields = "id number status total totalPaymentAmount amountDue syncStatus xeroInvoiceNumber xeroId";

/** How the story is told: a heading, something done, something that a subscription brought. */
export interface Teller {
  chapter: (title: string) => void;
  done: (what: string) => void;
  event: (what: string) => void;
  mail: (mail: ReceivedMail) => void;
}

/** Waits for events as they come; each is told once. */
class Watch<T> {
  private readonly seen: T[] = [];
  private waiting: (() => void)[] = [];
  private failure: unknown;

  constructor(events: AsyncIterable<T>, tell: (event: T) => void) {
    void (async () => {
      try {
        for await (const event of events) {
          tell(event);
          this.seen.push(event);
          this.wake();
        }
      } catch (error) {
        this.failure = error;
        this.wake();
      }
    })();
  }

  /** The first event that matches, past or to come. */
  async until(matches: (event: T) => boolean): Promise<T> {
    for (;;) {
      const found = this.seen.find(matches);
      if (found !== undefined) return found;
      if (this.failure) throw new Error("the subscription ended", { cause: this.failure });
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
  }

  private wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}

function check(holds: boolean, claim: string): void {
  if (!holds) throw new Error(`it did not happen as it should: ${claim}`);
}

/** Tells the whole story. Throws at the first thing that does not happen. */
export async function tellStory(
  client: GraphqlClient,
  { xero, mailbox }: { xero: SandboxProcess; mailbox: Mailbox },
  tell: Teller,
): Promise<InvoiceState[]> {
  tell.chapter("Connecting to Xero by the OAuth code flow");
  const end = await consent(client);
  check(end.searchParams.get("xero") === "connected", `the consent ended at ${end.search}`);
  const { integration } = await client.ask<{
    integration: { activeOrganisation: { name: string; baseCurrency: string } };
  }>("{ integration { activeOrganisation { name baseCurrency } } }");
  tell.done(
    `connected to ${integration.activeOrganisation.name}, books in ${integration.activeOrganisation.baseCurrency}`,
  );
  for (const said of await configure(client)) tell.done(said);

  tell.chapter("Watching by GraphQL subscriptions");
  const sync = new Watch<SyncEvent>(
    client.watch('subscription { syncStatus(after: "0") { cursor syncStatus runStatus invoice { number } } }'),
    ({ syncStatus: event }) =>
      tell.event(
        event.invoice
          ? `invoice ${event.invoice.number} is ${event.syncStatus ?? ""}`
          : `the run is ${event.runStatus ?? ""}`,
      ),
  );
  const payments = new Watch<PaymentEvent>(
    client.watch(
      `subscription { payments(after: "0") { cursor kind payment { amount paidOn } invoice { ${invoiceFields} } } }`,
    ),
    ({ payments: { kind, payment, invoice } }) =>
      tell.event(
        `payment of ${payment.amount} ${kind}: invoice ${invoice.number} is ${invoice.status}, paid ${invoice.totalPaymentAmount}, due ${invoice.amountDue}`,
      ),
  );
  tell.done("syncStatus and payments");

  tell.chapter("Keeping a participant, support items and invoices");
  const invoices = await keepRecords(client, tell);

  tell.chapter("Syncing with Xero");
  for (const { id } of invoices) await client.ask("mutation ($id: ID!) { syncInvoice(id: $id) { id } }", { id });
  const synced: InvoiceState[] = [];
  for (const { id, number } of invoices) {
    await sync.until(
      ({ syncStatus: { invoice, syncStatus } }) => invoice?.number === number && syncStatus === "SYNCED",
    );
    const state = await readInvoice(client, id);
    check(state.xeroId !== null && state.xeroInvoiceNumber !== null, `invoice ${number} has its Xero number and id`);
    tell.done(`${number} is ${state.xeroInvoiceNumber ?? ""} in Xero (${state.xeroId ?? ""}), total ${state.total}`);
    synced.push(state);
  }

  tell.chapter("Paying in Xero: signed webhooks bring the payments back");
  const [first, second] = synced;
  if (!first || !second) throw new Error("two invoices are missing");
  await xero.control("pay", { invoiceId: first.xeroId, amount: "150.00", paymentReference: "Part payment" });
  tell.done(`a part payment of 150.00 on ${first.xeroInvoiceNumber ?? ""}`);
  await payments.until(({ payments: { payment, invoice } }) => invoice.id === first.id && payment.amount === "150.00");
  const part = await readInvoice(client, first.id);
  check(part.status === "PARTIALLY_PAID" && part.totalPaymentAmount === "150.00", `${part.number} is part paid`);
  for (const { id, xeroId, xeroInvoiceNumber, total } of [first, second]) {
    await xero.control("pay", { invoiceId: xeroId });
    tell.done(`${xeroInvoiceNumber ?? ""} paid in full`);
    await payments.until(({ payments: { invoice } }) => invoice.id === id && invoice.status === "PAID");
    const paid = await readInvoice(client, id);
    check(
      paid.status === "PAID" && paid.totalPaymentAmount === total && paid.amountDue === "0.00",
      `${paid.number} is paid`,
    );
  }
  await tellTrouble(client, { sync, mailbox }, tell);
  return Promise.all(synced.map(({ id }) => readInvoice(client, id)));
}

/** One invoice can't be sent as it is: somebody is told, once, and that it is put right. */
async function tellTrouble(
  client: GraphqlClient,
  { sync, mailbox }: { sync: Watch<SyncEvent>; mailbox: Mailbox },
  tell: Teller,
): Promise<void> {
  tell.chapter("When something goes wrong: people are told by e-mail, once, and when it is put right");
  await client.ask(
    'mutation { updateIntegration(input: { alertEmails: ["bookkeeper@example.com"] }) { alertEmails } }',
  );
  const { participants } = await client.ask<{ participants: { nodes: { id: string }[] } }>(
    "{ participants(first: 1) { nodes { id } } }",
  );
  const save = (input: object) =>
    client.ask<{ saveInvoice: { id: string; number: string } }>(
      "mutation ($input: SaveInvoiceInput!) { saveInvoice(input: $input) { id number } }",
      {
        input: {
          participantId: participants.nodes[0]?.id,
          number: "DEMO-1",
          date: "2026-11-16",
          dueDate: "2026-11-30",
          lineItems: [{ description: "Gardening", quantity: "1", unitAmount: "80.00" }],
          ...input,
        },
      },
    );
  const { id, number } = (await save({ currency: "USD" })).saveInvoice;
  await client.ask("mutation ($id: ID!) { approveInvoice(id: $id) { id } }", { id });
  tell.done(`invoice ${number} is in USD, by mistake`);
  await client.ask("mutation ($id: ID!) { syncInvoice(id: $id) { id } }", { id });
  const told = await mailbox.next();
  check(told.text.includes(number), "the mail names the invoice");
  tell.mail(told);
  await save({ id, currency: "AUD" });
  tell.done(`invoice ${number} is saved in AUD, and queued by that`);
  await sync.until(({ syncStatus: { invoice, syncStatus } }) => invoice?.number === number && syncStatus === "SYNCED");
  const resolved = await mailbox.next();
  check(resolved.subject.includes("resolved"), "the second mail says that it is put right");
  tell.mail(resolved);
}

async function readInvoice(client: GraphqlClient, id: string): Promise<InvoiceState> {
  return (
    await client.ask<{ invoice: InvoiceState }>(`query ($id: ID!) { invoice(id: $id) { ${invoiceFields} } }`, { id })
  ).invoice;
}

const supports = [
  {
    itemNumber: "01_011_0107_1_1",
    name: "Assistance With Self-Care Activities - Standard - Weekday Daytime",
    unit: "H",
    priceLimit: "70.23",
  },
  {
    itemNumber: "04_104_0125_6_1",
    name: "Access Community Social and Rec Activ - Standard - Weekday",
    unit: "H",
    priceLimit: "70.23",
  },
  {
    itemNumber: "15_056_0128_1_3",
    name: "Assessment Recommendation Therapy or Training - Other Professional",
    unit: "H",
    priceLimit: "193.99",
  },
];

async function keepRecords(client: GraphqlClient, tell: Teller): Promise<{ id: string; number: string }[]> {
  const { saveParticipant: participant } = await client.ask<{ saveParticipant: { id: string; name: string } }>(
    "mutation ($input: SaveParticipantInput!) { saveParticipant(input: $input) { id name } }",
    {
      input: {
        name: "Ada Okafor",
        firstName: "Ada",
        lastName: "Okafor",
        email: "ada.okafor@example.com",
        ndisNumber: "430123456",
        planManagement: "SELF_MANAGED",
      },
    },
  );
  tell.done(`participant ${participant.name}, self-managed`);
  const items: string[] = [];
  for (const input of supports) {
    const { saveSupportItem } = await client.ask<{ saveSupportItem: { id: string } }>(
      "mutation ($input: SaveSupportItemInput!) { saveSupportItem(input: $input) { id } }",
      { input },
    );
    items.push(saveSupportItem.id);
  }
  tell.done(`${items.length} support items of the NDIS catalogue`);
  const line = (item: number, quantity: string, unitAmount: string, serviceDate: string) => ({
    supportItemId: items[item],
    quantity,
    unitAmount,
    serviceDate,
  });
  const dates = { date: "2026-11-16", dueDate: "2026-11-30" };
  const kept = [];
  for (const lineItems of [
    [
      line(0, "3.5", "70.23", "2026-11-09"),
      line(1, "2", "70.23", "2026-11-11"),
      { description: "Travel, 14.6 km", quantity: "14.6", unitAmount: "0.9900" },
    ],
    [line(2, "1.25", "193.99", "2026-11-12"), line(0, "4", "68.5025", "2026-11-13")],
  ]) {
    const { saveInvoice } = await client.ask<{ saveInvoice: { id: string; number: string; total: string } }>(
      "mutation ($input: SaveInvoiceInput!) { saveInvoice(input: $input) { id number total } }",
      { input: { participantId: participant.id, ...dates, lineItems } },
    );
    await client.ask("mutation ($id: ID!) { approveInvoice(id: $id) { id } }", { id: saveInvoice.id });
    tell.done(`invoice ${saveInvoice.number} with ${lineItems.length} lines, total ${saveInvoice.total}, approved`);
    kept.push(saveInvoice);
  }
  return kept;
}
