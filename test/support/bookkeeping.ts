/** A client app, a bookkeeper and a person in Xero who all do what they like with the same invoices, by a seeded plan. */
import { expect } from "@jest/globals";
import { type BulkInvoice } from "./bulk.js";
import { type Link } from "./links.js";
import { readInvoice } from "./records.js";
import { Chances } from "./storms.js";

/** How often each operation is chosen. */
const weights = {
  recordPart: 24,
  recordAll: 4,
  recordTooMuch: 4,
  recordUnpaid: 6,
  setPaid: 6,
  replay: 7,
  reverse: 6,
  setIncluded: 8,
  pay: 13,
  unpay: 8,
  credit: 5,
  uncredit: 3,
  voidUnpaid: 1,
};

type Operation = keyof typeof weights;

/** One step of the plan: what, of which invoice, and chances for the rest. */
interface Step {
  what: Operation;
  invoice: number;
  chances: Chances;
}

interface Recorded {
  id: string;
  input: { invoiceId: string; amount: string; financeExternalId: string };
}

const cents = (amount: number): string => (amount / 100).toFixed(2);

/** A client, a person in Xero, and what they have done so far. */
export class Bookkeeping {
  readonly recorded: Recorded[] = [];
  readonly madeInXero = new Set<string>();
  private readonly credits: string[] = [];
  private next = 0;

  constructor(
    private readonly link: Link,
    private readonly invoices: BulkInvoice[],
  ) {}

  async do({ what, invoice: index, chances }: Step): Promise<void> {
    const invoice = this.invoices[index];
    if (!invoice) throw new Error("no such invoice");
    switch (what) {
      case "recordPart":
        return this.record(invoice, cents(chances.between(1, 300_00)), chances);
      case "recordAll":
        return this.record(invoice, (await readInvoice(this.link.client, invoice.id)).amountDue, chances);
      case "recordUnpaid":
        return this.record(invoice, cents(chances.between(1, 300_00)), chances, { paid: false });
      case "recordTooMuch":
        return this.recordTooMuch(invoice);
      case "replay":
        return this.replay(chances);
      case "setPaid":
        return this.change("setPaymentPaid(id: $id, paid: true)", this.anyRecorded(chances));
      case "reverse":
        return this.change("reversePayment(id: $id)", this.anyRecorded(chances));
      case "setIncluded": {
        const { payments } = await readInvoice(this.link.client, invoice.id);
        const one = payments.length > 0 ? chances.of(payments).id : undefined;
        return this.change(`setPaymentIncluded(id: $id, include: ${String(chances.percent(50))})`, one);
      }
      case "pay":
      case "credit":
      case "voidUnpaid":
        return this.inXero(what, invoice, chances);
      case "unpay": {
        const { payments } = await this.payments(invoice);
        const there = payments.flatMap(({ xeroPaymentId }) => xeroPaymentId ?? []);
        if (there.length === 0) return;
        return this.person(what, "unpay", { paymentId: chances.of(there) });
      }
      case "uncredit":
        if (this.credits.length > 0) await this.person(what, "uncredit", { creditId: chances.of(this.credits) });
    }
  }

  private anyRecorded(chances: Chances): string | undefined {
    return this.recorded.length > 0 ? chances.of(this.recorded).id : undefined;
  }

  private async payments({ id }: BulkInvoice): Promise<{ payments: { xeroPaymentId: string | null }[] }> {
    const query = "query ($id: ID!) { invoice(id: $id) { payments { xeroPaymentId } } }";
    return (await this.link.client.ask<{ invoice: { payments: { xeroPaymentId: string | null }[] } }>(query, { id }))
      .invoice;
  }

  private async record(
    invoice: BulkInvoice,
    amount: string,
    chances: Chances,
    more: { paid?: boolean } = {},
  ): Promise<void> {
    const input = {
      invoiceId: invoice.id,
      type: chances.of(["STRIPE", "MANUAL"]),
      amount,
      paymentDate: "2026-11-20T00:00:00Z",
      financeExternalId: `ch_${(this.next += 1)}`,
      ...more,
    };
    // A client that is not answered at once asks again.
    const asked = chances.percent(20) ? [input, input] : [input];
    const ids = await Promise.all(asked.map((each) => this.send("recordPart", record, { input: each })));
    expect(new Set(ids).size).toBe(1);
    if (ids[0] !== undefined) this.recorded.push({ id: ids[0], input });
  }

  private async recordTooMuch({ id }: BulkInvoice): Promise<void> {
    const input = { invoiceId: id, amount: "1000.01", paymentDate: "2026-11-20T00:00:00Z" };
    const { errors } = await this.link.client.send(record, { input });
    expect(errors?.[0]?.extensions).toMatchObject({ code: "BAD_USER_INPUT" });
    expect(["input.amount", "input.invoiceId"]).toContain(
      (errors?.[0]?.extensions["fields"] as { field: string }[])[0]?.field,
    );
  }

  private async replay(chances: Chances): Promise<void> {
    if (this.recorded.length === 0) return;
    const { id, input } = chances.of(this.recorded);
    expect(await this.send("replay", record, { input })).toBe(id);
    const other = { ...input, amount: "0.02" };
    const { errors } = await this.link.client.send(record, { input: other });
    if (input.amount !== other.amount) expect(errors?.[0]?.extensions).toMatchObject({ code: "BAD_USER_INPUT" });
  }

  private async change(mutation: string, id: string | undefined): Promise<void> {
    if (id !== undefined) await this.send("setPaid", `mutation ($id: ID!) { done: ${mutation} { id } }`, { id });
  }

  /** The id that is answered; undefined where it is refused for what it asks, which is for the service to say and no more. */
  private async send(what: Operation, query: string, variables: object): Promise<string | undefined> {
    const { data, errors } = await this.link.client.send<{ done: { id: string } }>(query, variables);
    if (!errors) return data?.done.id;
    expect(errors[0]?.extensions).toMatchObject({ code: "BAD_USER_INPUT" });
    return undefined;
  }

  private async inXero(
    what: "pay" | "credit" | "voidUnpaid",
    { xeroId }: BulkInvoice,
    chances: Chances,
  ): Promise<void> {
    const key = { tenantId: this.link.tenantId, invoiceId: xeroId };
    if (what === "voidUnpaid") return this.person(what, "invoices/void", key);
    const amount = cents(chances.between(1, what === "pay" ? 300_00 : 100_00));
    if (what === "pay") return this.person(what, "pay", { ...key, amount });
    return this.person(what, "credit", {
      ...key,
      amount,
      kind: chances.of(["CREDITNOTE", "OVERPAYMENT", "PREPAYMENT"]),
    });
  }

  /** What Xero's pages don't allow is not done. */
  private async person(what: Operation, call: string, body: object): Promise<void> {
    try {
      const { paymentId, creditId } = await this.link.service.control<{ paymentId?: string; creditId?: string }>(
        call,
        body,
      );
      if (what === "pay" && paymentId) this.madeInXero.add(paymentId);
      if (what === "credit" && creditId) this.credits.push(creditId);
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith("sandbox")) throw error;
    }
  }
}

const record = "mutation ($input: RecordPaymentInput!) { done: recordPayment(input: $input) { id } }";

export function planned(seed: number, { steps, invoices }: { steps: number; invoices: number }): Step[] {
  const chances = new Chances(seed);
  const bag = Object.entries(weights).flatMap(([what, weight]) => Array<Operation>(weight).fill(what as Operation));
  return Array.from({ length: steps }, (_, index) => ({
    what: chances.of(bag),
    invoice: chances.between(0, invoices - 1),
    chances: new Chances(seed + index),
  }));
}
