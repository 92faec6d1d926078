/**
 * Owns the checks of payments, credits and the organisation's settings (docs/xero-facts.md sections 8, 9). Wording that no
 * source records is matched loosely.
 */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { one, startBooks, type Books } from "./books.js";
import { at, listAt, messagesOf } from "./harness.js";

let x: Books;

beforeAll(async () => {
  x = await startBooks();
});

afterAll(async () => {
  await x.close();
});

describe("payments", () => {
  const account = { Code: "090" };

  it("make an invoice PAID when nothing is due, and due again when deleted", async () => {
    const id = await x.added();
    const part = await x.pay({
      Invoice: { InvoiceID: id },
      Account: account,
      Date: "2026-11-10",
      Amount: 5,
      Reference: "EFT",
    });
    expect(at(part.body, "Payments.0")).toMatchObject({
      PaymentType: "ACCRECPAYMENT",
      Status: "AUTHORISED",
      Amount: 5,
      Date: "/Date(1794268800000+0000)/",
      Account: { Code: "090", Name: "Business Bank Account" },
      Invoice: { InvoiceID: id, AmountDue: 15, AmountPaid: 5, Status: "AUTHORISED" },
      HasValidationErrors: false,
    });
    const rest = await x.api("POST", "Payments", { Invoice: { InvoiceID: id }, Account: { Code: "970" }, Amount: 15 });
    expect(at(rest.body, "Payments.0.Invoice.Status")).toBe("PAID");
    const paid = await x.get(id);
    expect(one(paid)).toMatchObject({
      Status: "PAID",
      AmountDue: 0,
      FullyPaidOnDate: expect.stringMatching(/^\/Date/),
    });
    expect(Object.keys(one(paid, "Payments.0") as object).sort()).toEqual(
      ["Amount", "CurrencyRate", "Date", "HasAccount", "HasValidationErrors", "PaymentID", "Reference"].sort(),
    );
    const paymentId = String(at(rest.body, "Payments.0.PaymentID"));
    const deleted = await x.api("POST", `Payments/${paymentId}`, { Payments: [{ Status: "DELETED" }] });
    expect(at(deleted.body, "Payments.0")).toMatchObject({
      Status: "DELETED",
      Invoice: { Status: "AUTHORISED", AmountDue: 15 },
    });
    expect(listAt(one(await x.get(id)), "Payments")).toHaveLength(1);
    expect((await x.api("POST", `Payments/${paymentId}`, { Status: "DELETED" })).status).toBe(400);
    const list = async () =>
      listAt(
        (await x.api("GET", `Payments?where=${encodeURIComponent(`Invoice.InvoiceID==guid("${id}")`)}&page=1`)).body,
        "Payments",
      );
    expect((await list()).map((each) => at(each, "Status")).sort()).toEqual(["AUTHORISED", "DELETED"]);
    await x.control("switches", { listDeletedPayments: false });
    expect(await list()).toHaveLength(1);
    await x.control("switches", { listDeletedPayments: true });
  });

  it.each<[string, object, string[]]>([
    ["no account", { Account: undefined }, ["You must specify an Account code or Account ID for the payment"]],
    ["an unknown account", { Account: { Code: "nope" } }, ["Account could not be found"]],
    [
      "an account that takes none",
      { Account: { Code: "200" } },
      ["Account type is invalid for making a payment to/from"],
    ],
    ["too much", { Amount: 20.01 }, ["Payment amount exceeds the amount outstanding on this document"]],
    ["nothing", { Amount: 0 }, [expect.stringContaining("greater than zero") as unknown as string]],
  ])("refuse %s", async (_name, fields, messages) => {
    const answer = await x.pay({ Invoice: { InvoiceID: await x.added() }, Account: account, Amount: 1, ...fields });
    expect([answer.status, messagesOf(answer)]).toEqual([400, messages]);
  });

  it.each(["DRAFT", "PAID"])("refuse an invoice that is %s in two sentences", async (Status) => {
    const id = await x.added(Status === "PAID" ? {} : { Status });
    if (Status === "PAID") await x.control("pay", { invoiceId: id });
    const answer = await x.pay({ Invoice: { InvoiceID: id }, Account: account, Amount: 1 });
    expect(messagesOf(answer)).toEqual([
      "Payment amount exceeds the amount outstanding on this document",
      "Payments can only be made against Authorised documents",
    ]);
  });

  it("are many by PUT, one by POST, and name their invoice by number too", async () => {
    const numbers = [one(await x.put(), "InvoiceNumber"), one(await x.put(), "InvoiceNumber")];
    const Payments = numbers.map((InvoiceNumber) => ({ Invoice: { InvoiceNumber }, Account: account, Amount: 1 }));
    expect((await x.api("POST", "Payments", { Payments })).status).toBe(400);
    expect(listAt((await x.api("PUT", "Payments", { Payments })).body, "Payments")).toHaveLength(2);
    const lost = { Invoice: { InvoiceID: "11111111-1111-4111-8111-111111111111" }, Account: account, Amount: 1 };
    expect((await x.pay(lost)).status).toBe(404);
  });

  it("answer each for itself when not summarising", async () => {
    const Payments = [1, 999].map((Amount) => ({ Invoice: { InvoiceID: "" }, Account: account, Amount }));
    const id = await x.added();
    for (const payment of Payments) payment.Invoice.InvoiceID = id;
    const answer = await x.api("PUT", "Payments?summarizeErrors=false", { Payments });
    expect(listAt(answer.body, "Payments").map((each) => at(each, "StatusAttributeString"))).toEqual(["OK", "ERROR"]);
    expect(at(answer.body, "Payments.1.HasValidationErrors")).toBe(true);
  });

  it("of one batch carry it, cannot be deleted singly, and end together", async () => {
    const batchId = randomUUID();
    const ids = [await x.added(), await x.added()];
    const paid = [];
    for (const invoiceId of ids) paid.push(at(await x.control("pay", { invoiceId, batchId }), "paymentId"));
    const first = `Payments/${String(paid[0])}`;
    expect(at((await x.api("GET", first)).body, "Payments.0")).toMatchObject({
      BatchPaymentID: batchId,
      BatchPayment: { Type: "RECBATCH", TotalAmount: "40.00" },
    });
    expect((await x.api("POST", first, { Status: "DELETED" })).status).toBe(400);
    await x.control("unpay", { paymentId: paid[0] });
    for (const id of ids) expect(one(await x.get(id), "AmountDue")).toBe(20);
  });

  it("of a person that reconciled cannot be deleted by the API", async () => {
    const id = await x.added();
    const paid = await x.control("pay", { invoiceId: id, isReconciled: true });
    const paymentId = String(at(paid, "paymentId"));
    expect((await x.api("POST", `Payments/${paymentId}`, { Status: "DELETED" })).status).toBe(400);
    expect(await x.control("unpay", { paymentId })).toMatchObject({ status: "AUTHORISED", amountDue: "20.00" });
  });
});

describe("credits", () => {
  it.each([
    ["CREDITNOTE", "CreditNotes", "CreditNoteID"],
    ["OVERPAYMENT", "Overpayments", "OverpaymentID"],
    ["PREPAYMENT", "Prepayments", "PrepaymentID"],
  ])(
    "of kind %s raise what is credited, not what is paid, and can make an invoice PAID",
    async (kind, plural, idName) => {
      const id = await x.added();
      await x.control("credit", { invoiceId: id, amount: 5, kind });
      expect(one(await x.get(id))).toMatchObject({
        AmountPaid: 0,
        AmountCredited: 5,
        AmountDue: 15,
        Status: "AUTHORISED",
      });
      const applied = await x.control("credit", { invoiceId: id, kind });
      const paid = await x.get(id);
      expect(one(paid)).toMatchObject({ Status: "PAID", AmountPaid: 0, Payments: [] });
      const listed = listAt(one(paid), plural);
      expect(listed.map((each) => at(each, "AppliedAmount"))).toEqual([5, 15]);
      const read = await x.api("GET", `${plural}/${String(at(listed[0], idName))}`);
      expect(at(read.body, `${plural}.0`)).toMatchObject({
        RemainingCredit: 0,
        Allocations: [{ Amount: 5, Invoice: { InvoiceID: id } }],
      });
      await x.control("uncredit", { creditId: at(applied, "creditId") });
      expect(one(await x.get(id))).toMatchObject({ Status: "AUTHORISED", AmountDue: 15 });
    },
  );
});

describe("settings", () => {
  it("list accounts with their system roles, archived ones too", async () => {
    const accounts = listAt((await x.api("GET", "Accounts")).body, "Accounts");
    const byCode = (code: string) => accounts.find((each) => at(each, "Code") === code);
    expect(byCode("090")).toMatchObject({ Type: "BANK", EnablePaymentsToAccount: false, CurrencyCode: "AUD" });
    expect(byCode("880")).toMatchObject({ EnablePaymentsToAccount: true, Class: "EQUITY" });
    expect(byCode("610")).toMatchObject({ SystemAccount: "DEBTORS" });
    expect(byCode("201")).toMatchObject({ TaxType: "EXEMPTOUTPUT", Class: "REVENUE", SystemAccount: "" });
    expect(byCode("299")).toMatchObject({ Status: "ARCHIVED" });
    const where = encodeURIComponent('Status=="ACTIVE" AND Class=="REVENUE"');
    expect(
      listAt((await x.api("GET", `Accounts?where=${where}&order=Code`)).body, "Accounts").map((each) =>
        at(each, "Code"),
      ),
    ).toEqual(["200", "201", "260", "270"]);
  });

  it("list tax rates, deleted ones too, and show a compound rate either way", async () => {
    const rates = listAt((await x.api("GET", "TaxRates")).body, "TaxRates");
    const byType = (type: string) => rates.find((each) => at(each, "TaxType") === type);
    expect(byType("TAX001")).toMatchObject({ Status: "DELETED", EffectiveRate: 12.5 });
    expect(byType("OUTPUT")).toMatchObject({ EffectiveRate: 10, CanApplyToRevenue: true, CanApplyToExpenses: false });
    await x.control("tax-rates/add", {
      taxType: "TAX9",
      name: "Two",
      components: [
        { name: "A", rate: 5 },
        { name: "B", rate: 10, isCompound: true },
      ],
    });
    const shown = async () => at((await x.api("GET", "TaxRates/TAX9")).body, "TaxRates.0.DisplayTaxRate");
    expect(await shown()).toBe(15);
    await x.control("switches", { compoundDisplayRate: "effective" });
    expect(await shown()).toBe(15.5);
    await x.control("switches", { compoundDisplayRate: "sum" });
  });

  it("describe the organisation", async () => {
    expect(at((await x.api("GET", "Organisation")).body, "Organisations.0")).toMatchObject({
      OrganisationID: x.tenantId,
      BaseCurrency: "AUD",
      CountryCode: "AU",
      IsDemoCompany: true,
      Timezone: "AUSEASTERNSTANDARDTIME",
      ShortCode: expect.stringMatching(/^!/),
    });
  });

  it.each([
    ["POST", "Organisation", 501],
    ["PUT", "TaxRates", 501],
    ["GET", "Items", 501],
    ["GET", "Nothing", 404],
    ["GET", "constructor", 404],
    ["GET", "Invoices/INV-404", 404],
  ])("%s %s answers %i", async (method, path, status) => {
    expect((await x.api(method, path, method === "GET" ? undefined : {})).status).toBe(status);
  });
});
