/** Payments recorded on the platform, whatever Xero knows of them: what they come to, what is refused, and what looks like the same money. */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { until, update } from "./support/links.js";
import { change, paymentsOf, recordPayment } from "./support/payments.js";
import { type InvoiceState, readInvoice, runSql, saveInvoice, syncedInvoice, untilPaid } from "./support/records.js";
import { type Service, startService } from "./support/service.js";

let service: Service;
let client: GraphqlClient;

beforeAll(async () => {
  service = await startService();
  client = await service.readyClient();
});

afterAll(() => service.close());

interface Refusal {
  code: string;
  fields?: { field: string; reason: string }[];
}

async function refused(work: Promise<unknown>): Promise<Refusal> {
  try {
    await work;
  } catch (error) {
    const [first] = (error as { cause: { extensions: Refusal }[] }).cause;
    if (first) return first.extensions;
  }
  throw new Error("it was not refused");
}

/** The kinds of the invoice's payment events so far, by a last one to wait for. */
async function kindsOf(invoiceId: string, count: number): Promise<string[]> {
  const kinds: string[] = [];
  const events = client.watch<{ payments: { kind: string } }>(
    'subscription ($id: ID!) { payments(invoiceId: $id, after: "0") { kind } }',
    { id: invoiceId },
  );
  for await (const { payments } of events) if (kinds.push(payments.kind) === count) break;
  return kinds;
}

describe("a payment that is recorded", () => {
  it("counts at once, is told of, and pays the invoice", async () => {
    const { id } = await saveInvoice(client);
    const first = await recordPayment(client, id, {
      type: "STRIPE",
      financeExternalId: "ch_1",
      reference: " Card  payment ",
    });
    expect(first).toMatchObject({
      type: "STRIPE",
      source: "PLATFORM",
      paid: true,
      include: true,
      amount: "40.00",
      paymentDate: "2026-11-20T03:00:00.000Z",
      reference: "Card payment",
      financeExternalId: "ch_1",
      xeroPaymentId: null,
      syncStatus: "NOT_SYNCED",
    });
    expect(await readInvoice(client, id)).toMatchObject({
      status: "PARTIALLY_PAID",
      totalPaymentAmount: "40.00",
      amountDue: "60.00",
      lastPaymentDate: "2026-11-20T03:00:00.000Z",
    });
    await recordPayment(client, id, { amount: 60, paymentDate: "2026-11-21T03:00:00Z" });
    expect(await readInvoice(client, id)).toMatchObject({
      status: "PAID",
      amountDue: "0.00",
      lastPaymentDate: "2026-11-21T03:00:00.000Z",
    });
    expect(await kindsOf(id, 2)).toEqual(["RECEIVED", "RECEIVED"]);
  });

  it.each([
    ["2026-11-20T12:59:59Z", "2026-11-20"],
    ["2026-11-20T13:00:00Z", "2026-11-21"],
    ["2026-07-01T14:00:00Z", "2026-07-02"],
  ])("of %s counts for %s, the day in Sydney", async (paymentDate, paidOn) => {
    await update(client, { timeZone: "Australia/Sydney" });
    const { id } = await saveInvoice(client);
    expect((await recordPayment(client, id, { paymentDate })).paidOn).toBe(paidOn);
  });

  it("under one financeExternalId is one, however often and at once it is recorded, also when the invoice is paid by it", async () => {
    const { id } = await saveInvoice(client);
    const input = { amount: "100.00", financeExternalId: "ch_once", type: "STRIPE" };
    const answers = await Promise.all([1, 2, 3, 4].map(() => recordPayment(client, id, input)));
    answers.push(await recordPayment(client, id, input));
    expect(new Set(answers.map((payment) => payment.id)).size).toBe(1);
    expect(await readInvoice(client, id)).toMatchObject({ status: "PAID", totalPaymentAmount: "100.00" });
    expect(await paymentsOf(client, id)).toHaveLength(1);
  });

  it("under a financeExternalId that is another payment's is refused, at once with it too", async () => {
    const [one, two] = [await saveInvoice(client), await saveInvoice(client)];
    const outcomes = await Promise.allSettled(
      [one, two].map(({ id }) => recordPayment(client, id, { financeExternalId: "ch_two" })),
    );
    expect(outcomes.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    const other = refused(recordPayment(client, one.id, { financeExternalId: "ch_two", amount: "1.00" }));
    expect((await other).fields).toMatchObject([{ field: "input.financeExternalId" }]);
    // Another workspace knows nothing of it.
    const stranger = await service.client("admin", "stranger");
    const theirs = await saveInvoice(stranger);
    expect(await recordPayment(stranger, theirs.id, { financeExternalId: "ch_two" })).toMatchObject({ paid: true });
  });

  it.each<[string, object, string]>([
    ["over what is due", { amount: "100.01" }, "input.amount"],
    ["of nothing", { amount: "0" }, "input.amount"],
    ["of less than nothing", { amount: "-1.00" }, "input.amount"],
    ["of half a cent", { amount: "1.005" }, "input.amount"],
    ["over all bounds", { amount: "999999999999999" }, "input.amount"],
    [
      "of the day after tomorrow",
      { paymentDate: new Date(Date.now() + 87_000_000).toISOString() },
      "input.paymentDate",
    ],
    ["with a long reference", { reference: "x".repeat(256) }, "input.reference"],
    ["with a long id", { financeExternalId: "x".repeat(256) }, "input.financeExternalId"],
  ])("%s is refused, and the field named", async (_name, input, field) => {
    const { id } = await saveInvoice(client);
    expect(await refused(recordPayment(client, id, input))).toMatchObject({
      code: "BAD_USER_INPUT",
      fields: [{ field }],
    });
    expect(await paymentsOf(client, id)).toEqual([]);
  });

  it("of today in whichever time zone, or of long ago, is taken", async () => {
    const { id } = await saveInvoice(client);
    const soon = new Date(Date.now() + 80_000_000).toISOString();
    expect(await recordPayment(client, id, { paymentDate: soon })).toMatchObject({ paid: true });
    expect(await recordPayment(client, id, { paymentDate: "2001-01-01T00:00:00+10:00" })).toMatchObject({
      paidOn: "2001-01-01",
    });
  });

  it("on a draft, a voided or an unknown invoice is refused", async () => {
    const draft = await saveInvoice(client, {}, { approve: false });
    expect(await refused(recordPayment(client, draft.id))).toMatchObject({
      code: "BAD_USER_INPUT",
      fields: [{ field: "input.invoiceId" }],
    });
    const voided = await saveInvoice(client);
    await client.ask("mutation ($id: ID!) { voidInvoice(id: $id) { id } }", { id: voided.id });
    expect(await refused(recordPayment(client, voided.id))).toMatchObject({ fields: [{ field: "input.invoiceId" }] });
    expect(await refused(recordPayment(client, "0191e3a4-0000-7000-8000-000000000000"))).toMatchObject({
      code: "NOT_FOUND",
    });
    expect(await refused(recordPayment(client, "no id"))).toMatchObject({ fields: [{ field: "input.invoiceId" }] });
  });

  it("is a bookkeeper's to record and not a viewer's", async () => {
    const { id } = await saveInvoice(client);
    expect(await refused(recordPayment(await service.client("viewer"), id))).toMatchObject({ code: "FORBIDDEN" });
    expect(await recordPayment(await service.client("bookkeeper"), id)).toMatchObject({ paid: true });
  });

  it("at once with others never pays more than is due", async () => {
    const { id } = await saveInvoice(client);
    const outcomes = await Promise.allSettled([1, 2, 3, 4, 5].map(() => recordPayment(client, id)));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(2);
    expect(await readInvoice(client, id)).toMatchObject({ totalPaymentAmount: "80.00", amountDue: "20.00" });
  });
});

describe("a payment that is started", () => {
  it("counts once it has gone through, and no more once it has not after all", async () => {
    const { id } = await saveInvoice(client);
    const started = await recordPayment(client, id, { paid: false, amount: "100.00" });
    expect(await readInvoice(client, id)).toMatchObject({
      status: "APPROVED",
      amountDue: "100.00",
      lastPaymentDate: null,
    });
    expect(await change(client, "setPaymentPaid", started.id, { paid: true })).toMatchObject({ paid: true });
    await change(client, "setPaymentPaid", started.id, { paid: true });
    expect(await readInvoice(client, id)).toMatchObject({ status: "PAID" });
    expect(await change(client, "reversePayment", started.id)).toMatchObject({ paid: false });
    await change(client, "setPaymentPaid", started.id, { paid: false });
    expect(await readInvoice(client, id)).toMatchObject({
      status: "APPROVED",
      totalPaymentAmount: "0.00",
      lastPaymentDate: null,
    });
    expect(await kindsOf(id, 3)).toEqual(["RECEIVED", "CHANGED", "REVERSED"]);
  });

  it("can be left out of the total and taken in again, and the status follows", async () => {
    const { id } = await saveInvoice(client);
    const payment = await recordPayment(client, id, { amount: "100.00" });
    expect(await change(client, "setPaymentIncluded", payment.id, { include: false })).toMatchObject({
      include: false,
      paid: true,
    });
    expect(await readInvoice(client, id)).toMatchObject({
      status: "APPROVED",
      totalPaymentAmount: "0.00",
      amountDue: "100.00",
    });
    await change(client, "setPaymentIncluded", payment.id, { include: false });
    await change(client, "setPaymentIncluded", payment.id, { include: true });
    expect(await readInvoice(client, id)).toMatchObject({ status: "PAID", totalPaymentAmount: "100.00" });
    expect(await kindsOf(id, 3)).toEqual(["RECEIVED", "CHANGED", "CHANGED"]);
  });
});

describe("what came from Xero", () => {
  const pay = (invoice: InvoiceState, amount: string, date = "2026-11-18") =>
    service.control<{ paymentId: string }>("pay", { invoiceId: invoice.xeroId, amount, date });

  it("is Xero's to take back, and ours to leave out", async () => {
    const invoice = await syncedInvoice(client);
    await pay(invoice, "30.00");
    const { payments } = await untilPaid(
      client,
      invoice.id,
      ({ totalPaymentAmount }) => totalPaymentAmount === "30.00",
    );
    const id = payments[0]?.id ?? "";
    for (const what of ["reversePayment", "retryPayment"] as const) {
      expect(await refused(change(client, what, id))).toMatchObject({
        code: "BAD_USER_INPUT",
        fields: [{ field: "id" }],
      });
    }
    expect(await refused(change(client, "setPaymentPaid", id, { paid: true }))).toMatchObject({
      fields: [{ field: "id" }],
    });
    await change(client, "setPaymentIncluded", id, { include: false });
    expect(await readInvoice(client, invoice.id)).toMatchObject({ totalPaymentAmount: "0.00", amountDue: "100.00" });
    // It stays left out, whatever Xero tells next.
    await pay(invoice, "20.00");
    const later = await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "20.00");
    expect(later.amountDue).toBe("80.00");
  });

  it("as credit is one record each of its own type, and can be left out too", async () => {
    const invoice = await syncedInvoice(client);
    const credits: Record<string, string> = {};
    for (const [kind, amount] of [
      ["CREDITNOTE", 10],
      ["OVERPAYMENT", 20],
      ["PREPAYMENT", 30],
    ] as const) {
      credits[kind] = (
        await service.control<{ creditId: string }>("credit", { invoiceId: invoice.xeroId, amount, kind })
      ).creditId;
    }
    const credited = await untilPaid(client, invoice.id, ({ totalCreditAmount }) => totalCreditAmount === "60.00");
    expect(credited).toMatchObject({
      totalPaymentAmount: "0.00",
      amountDue: "40.00",
      lastPaymentDate: null,
      status: "PARTIALLY_PAID",
    });
    const records = await paymentsOf(client, invoice.id);
    expect(
      records
        .map(({ type, amount, paid, financeExternalId, xeroPaymentId }) => [
          type,
          amount,
          paid,
          financeExternalId,
          xeroPaymentId,
        ])
        .sort(),
    ).toEqual([
      ["CREDIT_NOTE", "10.00", true, credits["CREDITNOTE"], null],
      ["OVERPAYMENT", "20.00", true, credits["OVERPAYMENT"], null],
      ["PREPAYMENT", "30.00", true, credits["PREPAYMENT"], null],
    ]);
    const note = records.find(({ type }) => type === "CREDIT_NOTE");
    await change(client, "setPaymentIncluded", note?.id ?? "", { include: false });
    expect(await readInvoice(client, invoice.id)).toMatchObject({ totalCreditAmount: "50.00", amountDue: "50.00" });
    await service.control("uncredit", { creditId: credits["OVERPAYMENT"] });
    const less = await untilPaid(client, invoice.id, ({ totalCreditAmount }) => totalCreditAmount === "30.00");
    expect(less.amountDue).toBe("70.00");
    expect((await paymentsOf(client, invoice.id)).find(({ type }) => type === "OVERPAYMENT")).toMatchObject({
      paid: false,
      amount: "20.00",
    });
  });

  it("and looks like a Stripe payment is named with it once the invoice is overpaid, and no more when one is left out", async () => {
    const invoice = await syncedInvoice(client);
    const stripe = await recordPayment(client, invoice.id, {
      type: "STRIPE",
      amount: "100.00",
      financeExternalId: "ch_same",
    });
    const { paymentId } = await pay(invoice, "100.00");
    const both = await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "200.00");
    expect(both).toMatchObject({ amountDue: "-100.00", status: "PAID" });
    const [warning, ...others] = both.syncWarnings;
    expect(others).toEqual([]);
    expect(warning).toContain("ch_same");
    expect(warning).toContain(paymentId);
    expect(warning).toMatch(/same money/);
    await change(client, "setPaymentIncluded", stripe.id, { include: false });
    expect(await readInvoice(client, invoice.id)).toMatchObject({
      totalPaymentAmount: "100.00",
      amountDue: "0.00",
      syncWarnings: [],
    });
  });

  it("and is of another amount or of another week is not called the same money", async () => {
    const invoice = await syncedInvoice(client);
    await recordPayment(client, invoice.id, { type: "STRIPE", amount: "60.00" });
    await pay(invoice, "50.00");
    await pay(invoice, "50.00", "2026-11-02");
    const both = await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "160.00");
    expect(both).toMatchObject({ amountDue: "-60.00", syncWarnings: [] });
  });
});

describe("syncPayments", () => {
  const sync = (invoiceId: string, as = client) =>
    as.ask<{ syncPayments: InvoiceState }>(
      "mutation ($id: ID!) { syncPayments(invoiceId: $id) { totalPaymentAmount payments { source } } }",
      {
        id: invoiceId,
      },
    );

  it("reads now what no webhook told of", async () => {
    const invoice = await syncedInvoice(client);
    await service.control("webhooks/drain", {});
    // Whatever the sync itself announced is read by then.
    await until(
      async () => (await runSql(service, "SELECT 1 FROM webhook_event WHERE status = 'RECEIVED'")).length === 0,
    );
    await service.control("webhooks", { categories: [] });
    await service.control("pay", { invoiceId: invoice.xeroId, amount: "15.00" });
    expect((await sync(invoice.id)).syncPayments).toMatchObject({
      totalPaymentAmount: "15.00",
      payments: [{ source: "XERO_SYNC" }],
    });
    await service.control("webhooks", { categories: ["CONTACT", "INVOICE", "PAYMENT"] });
  });

  it("is refused where there is nothing to read or nobody to ask", async () => {
    const unsent = await saveInvoice(client);
    expect(await refused(sync(unsent.id))).toMatchObject({ code: "BAD_USER_INPUT", fields: [{ field: "invoiceId" }] });
    const invoice = await syncedInvoice(client);
    expect(await refused(sync(invoice.id, await service.client("viewer")))).toMatchObject({ code: "FORBIDDEN" });
    expect(await refused(sync(invoice.id, await service.client("admin", "stranger")))).toMatchObject({
      code: "NOT_FOUND",
    });
    await update(client, { enabled: false });
    expect(await refused(sync(invoice.id))).toMatchObject({ code: "XERO_DISABLED" });
    await update(client, { enabled: true });
    await service.control("faults", {
      match: { method: "GET", path: "/Invoices$" },
      fault: "429-minute",
      retryAfterSeconds: 7,
      times: 1,
    });
    expect(await refused(sync(invoice.id))).toMatchObject({ code: "XERO_RATE_LIMITED", retryAfterSeconds: 7 });
  });
});
