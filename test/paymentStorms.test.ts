/**
 * Storms of changes in Xero: whatever the order, the number and the company in which they are announced, in the end the books here are as Xero's
 * are, and telling it all again changes nothing.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { differences, ourBooks, xeroBooks } from "./support/books.js";
import { type BulkInvoice, invoicesInXero } from "./support/bulk.js";
import { shuffled } from "../sandbox/random.js";
import { apiCalls, callsOf, type Link, newLink } from "./support/links.js";
import { readInvoice, runSql, syncedInvoice, untilPaid } from "./support/records.js";
import { type Service, startService } from "./support/service.js";
import { atOnce, Chances, deliver, untilApplied, type XeroEvent } from "./support/storms.js";

let service: Service;

beforeAll(async () => {
  service = await startService();
});

afterAll(() => service.close());

const seed = 20261126;

const hourMs = 3_600_000;

type CreditKind = "CREDITNOTE" | "OVERPAYMENT" | "PREPAYMENT";

/** One of our invoices as it stands in Xero, in cents, and the chances of what happens to it next. */
class Subject {
  private due = 100_00;
  private payments: { id: string; cents: number }[] = [];
  private credits: { id: string; cents: number; kind: CreditKind }[] = [];
  private lastDate = "";
  private readonly chances: Chances;

  constructor(
    private readonly link: Link,
    private readonly invoice: BulkInvoice,
    private readonly how: { index: number; namesCredits: boolean },
  ) {
    this.chances = new Chances(seed + how.index);
  }

  /** Makes one change; the events that tell of it, by one category or by several. */
  async change(): Promise<XeroEvent[]> {
    const { chances } = this;
    const can: (() => Promise<Partial<XeroEvent> | null>)[] = [];
    if (this.due > 0)
      can.push(
        () => this.pay(),
        () => this.pay(),
        () => this.credit(),
      );
    if (this.payments.length > 0) can.push(() => this.unpay());
    if (this.credits.length > 0) can.push(() => this.uncredit());
    if (this.payments.length > 0 || this.credits.length === 0) can.push(() => this.moveDueDate());
    const own = await chances.of(can)();
    const date = chances.percent(30) && this.lastDate ? this.lastDate : this.newDate();
    this.lastDate = date;
    const event = { tenantId: this.link.tenantId, eventType: "UPDATE", eventDateUtc: date };
    const ofInvoice = { ...event, eventCategory: "INVOICE", resourceId: this.invoice.xeroId };
    if (own === null || (own.data && !this.how.namesCredits)) return [ofInvoice];
    const ofOwn = { ...event, eventCategory: "", resourceId: "", ...own };
    return chances.of([[ofInvoice], [ofInvoice], [ofInvoice], [ofOwn], [ofInvoice, ofOwn]]);
  }

  /** Without a zone, as Xero writes it; some are of an hour ago. */
  private newDate(): string {
    return new Date(Date.now() - (this.chances.percent(10) ? hourMs : 0)).toISOString().slice(0, -1);
  }

  private async pay(): Promise<Partial<XeroEvent>> {
    const cents = this.chances.percent(15) ? this.due : this.chances.between(1, Math.max(1, Math.floor(this.due / 2)));
    const { paymentId: id } = await this.control<{ paymentId: string }>("pay", { amount: (cents / 100).toFixed(2) });
    this.payments.push({ id, cents });
    this.due -= cents;
    return { eventCategory: "PAYMENT", eventType: "CREATE", resourceId: id };
  }

  private async unpay(): Promise<Partial<XeroEvent>> {
    const gone = this.chances.of(this.payments);
    await this.link.service.control("unpay", { paymentId: gone.id });
    this.payments = this.payments.filter((one) => one !== gone);
    this.due += gone.cents;
    return { eventCategory: "PAYMENT", resourceId: gone.id };
  }

  private async credit(): Promise<Partial<XeroEvent>> {
    const kind = this.chances.of(["CREDITNOTE", "OVERPAYMENT", "PREPAYMENT"] as const);
    const cents = this.chances.between(1, Math.max(1, Math.floor(this.due / 3)));
    const { creditId: id } = await this.control<{ creditId: string }>("credit", {
      amount: (cents / 100).toFixed(2),
      kind,
    });
    this.credits.push({ id, cents, kind });
    this.due -= cents;
    return { eventCategory: kind, eventType: "CREATE", resourceId: id, data: { Status: "PAID" } };
  }

  private async uncredit(): Promise<Partial<XeroEvent>> {
    const gone = this.chances.of(this.credits);
    await this.link.service.control("uncredit", { creditId: gone.id });
    this.credits = this.credits.filter((one) => one !== gone);
    this.due += gone.cents;
    return { eventCategory: gone.kind, resourceId: gone.id, data: { Status: "AUTHORISED" } };
  }

  private async moveDueDate(): Promise<null> {
    await this.control("invoices/edit", { changes: { DueDate: `2026-12-${this.chances.between(10, 31)}` } });
    return null;
  }

  private control<T>(call: string, body: object): Promise<T> {
    return this.link.service.control<T>(call, {
      invoiceId: this.invoice.xeroId,
      tenantId: this.link.tenantId,
      ...body,
    });
  }
}

/** The events in another order, in deliveries of one to twenty. */
function deliveries(events: XeroEvent[], chances: Chances): XeroEvent[][] {
  const left = shuffled(events, chances.next);
  const all: XeroEvent[][] = [];
  while (left.length > 0) all.push(left.splice(0, chances.between(1, 20)));
  return all;
}

/** The books, which must be the same on both sides, and nothing be left out. */
async function sameBooks(link: Link, count: number): Promise<void> {
  const [ours, theirs] = await Promise.all([ourBooks(link.client), xeroBooks(link)]);
  expect(ours).toHaveLength(count);
  expect(differences(ours, theirs)).toEqual([]);
  const here = ours.map(({ totalPaymentAmount, totalCreditAmount, amountDue }) => [
    totalPaymentAmount,
    totalCreditAmount,
    amountDue,
  ]);
  const there = ours.map(({ xeroId }) => {
    const invoice = theirs.invoices.get(xeroId);
    return [invoice?.AmountPaid, invoice?.AmountCredited, invoice?.AmountDue].map((amount) => amount?.toFixed(2));
  });
  expect(here).toEqual(there);
}

/** Everything that a change could leave behind, but for when it was last looked. */
async function rows(links: Link[]): Promise<object[]> {
  const [all] = await runSql<{ invoices: object[]; payments: object[]; events: string }>(
    service,
    `SELECT (SELECT json_agg(to_jsonb(i) - 'pulled_at' ORDER BY i.id) FROM invoice i WHERE i.workspace_id = ANY($1)) AS invoices,
            (SELECT json_agg(to_jsonb(p) ORDER BY p.id) FROM payment p WHERE p.workspace_id = ANY($1)) AS payments,
            (SELECT count(*) FROM event_log e WHERE e.workspace_id = ANY($1)) AS events`,
    [links.map(({ workspace }) => workspace)],
  );
  return [...(all?.invoices ?? []), ...(all?.payments ?? []), { events: all?.events }];
}

describe(`500 invoices of two organisations with six changes each (seed ${seed})`, () => {
  const rounds = 30;
  const each = 6;
  // A credit that is told as such has all invoices looked at that changed since, which would hide what is wrong with the other events.
  let links: Link[];
  const told: XeroEvent[] = [];
  const settled = async (atMost?: number): Promise<void> => {
    for (const link of links) await untilApplied(link, atMost);
  };

  beforeAll(async () => {
    await service.control("webhooks", { categories: [] });
    links = [await newLink(service, "storm"), await newLink(service, "storm-of-invoices")];
  });

  it("end as Xero has them, however they were told", async () => {
    const subjects: Subject[] = [];
    for (const link of links) {
      for (const invoice of await invoicesInXero(link, 250)) {
        subjects.push(new Subject(link, invoice, { index: subjects.length, namesCredits: link === links[0] }));
      }
    }
    const chances = new Chances(seed);
    // Each event goes out one to five times, all of them after what it tells of; some after everything.
    const toTell = Array.from({ length: rounds + 3 }, (): XeroEvent[] => []);
    const toChange = Array.from({ length: rounds }, (): Subject[] => []);
    for (const subject of subjects) {
      const when = new Set<number>();
      while (when.size < each) when.add(chances.between(0, rounds - 1));
      for (const round of when) toChange[round]?.push(subject);
    }
    const changed = async (round: number): Promise<void> => {
      const made = new Map<Subject, XeroEvent[]>();
      const changing = toChange[round] ?? [];
      await atOnce(8, changing, async (subject) => made.set(subject, await subject.change()));
      for (const event of changing.flatMap((subject) => made.get(subject) ?? [])) {
        told.push(event);
        const [isLate, isOfInvoice] = [chances.percent(15), event.eventCategory === "INVOICE"];
        for (let copies = chances.between(1, 5); copies > 0; copies -= 1) {
          const soon = chances.between(round + 1, Math.min(rounds, round + 8));
          // Invoices of payments and credits are looked up seldom, so those come together, and before the last of the invoices' own.
          const then = isOfInvoice ? soon : soon <= rounds / 2 ? rounds / 2 : rounds;
          toTell[isLate ? rounds + (isOfInvoice ? 2 : 1) : then]?.push(event);
        }
      }
    };
    const tell = async (round: number): Promise<void> => {
      await atOnce(4, deliveries(toTell[round] ?? [], chances), (events) => deliver(service, events));
    };
    for (let round = 0; round < rounds; round += 1) {
      await Promise.all([changed(round), tell(round)]);
      // No faster than it is applied, so that reads lie between the changes.
      await settled(500);
    }
    for (const late of [rounds, rounds + 1, rounds + 2]) {
      await tell(late);
      await settled();
    }
    for (const link of links) await sameBooks(link, 250);
    const statuses = "SELECT DISTINCT status FROM webhook_event WHERE workspace_id = ANY($1)";
    expect(await runSql(service, statuses, [links.map(({ workspace }) => workspace)])).toEqual([{ status: "APPLIED" }]);
  }, 120_000);

  it("are not changed by being told of all of it again", async () => {
    const before = await rows(links);
    await service.control("calls/clear", {});
    await atOnce(4, deliveries(told, new Chances(seed + 1)), (events) => deliver(service, events));
    await settled();
    expect(await rows(links)).toEqual(before);
    expect((await callsOf(service, { path: "/Invoices$", method: "GET" })).length).toBeGreaterThanOrEqual(13);
  }, 120_000);
});

describe("a burst of 200 changes of one invoice", () => {
  let link: Link;
  const quiet = { webhookPaused: false, webhookBatchSize: 100, paymentEvents: ["INVOICE"] };

  beforeAll(async () => {
    link = await newLink(service, "burst");
    await service.control("webhooks", { categories: ["INVOICE", "PAYMENT", "CREDITNOTE"] });
  });

  afterEach(() => service.control("switches", quiet));

  it.each([
    ["payments, each in a delivery of its own", "pay", { webhookBatchSize: 1 }],
    ["payments, all in one delivery", "pay", { webhookBatchSize: 500, webhookPaused: true }],
    ["payments, told as such too", "pay", { webhookBatchSize: 2, paymentEvents: ["INVOICE", "PAYMENT"] }],
    ["payments, told as such alone", "pay", { webhookBatchSize: 1, paymentEvents: ["PAYMENT"] }],
    ["credits, told as such too", "credit", { webhookBatchSize: 2 }],
  ])("of %s, takes two reads, and all of them count", async (_how, call, switches) => {
    const invoice = await syncedInvoice(link.client);
    await service.control("webhooks/drain", {});
    await untilApplied(link);
    await service.control("calls/clear", {});
    await service.control("switches", switches);
    const startedAt = Date.now();
    for (let count = 0; count < 200; count += 1) {
      await service.control(call, { invoiceId: invoice.xeroId, amount: "0.01" });
    }
    await service.control("switches", { webhookPaused: false });
    await service.control("webhooks/drain", {});
    await untilPaid(link.client, invoice.id, ({ amountDue }) => amountDue === "98.00");
    await untilApplied(link);
    const after = await readInvoice(link.client, invoice.id);
    expect(after).toMatchObject({ amountDue: "98.00", status: "PARTIALLY_PAID" });
    expect(new Set(after.payments.map(({ financeExternalId }) => financeExternalId)).size).toBe(200);
    expect(after.payments).toHaveLength(200);
    // One at once and one in the end; what goes on for long is looked at every half a minute besides.
    const most = 2 + Math.floor((Date.now() - startedAt) / 30_000);
    const reads = (await apiCalls(link, "GET")).map(({ path }) => path.split("/").at(3));
    expect(reads.filter((read) => read === "Invoices").length).toBeLessThanOrEqual(most);
    expect(reads.filter((read) => read === "Payments").length).toBeLessThanOrEqual(most - 1);
  });
});
