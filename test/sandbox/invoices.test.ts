/**
 * Owns the checks of creating invoices: arithmetic, refusals by their exact words, numbers, contacts (docs/xero-facts.md
 * sections 5, 7). Wording that no source records is matched loosely.
 */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { line, locked, one, startBooks, type Books } from "./books.js";
import { at, listAt, messagesOf } from "./harness.js";

let x: Books;

beforeAll(async () => {
  x = await startBooks();
});

afterAll(async () => {
  await x.close();
});

describe("the arithmetic", () => {
  it.each([
    ["exclusive, each line rounded", "Exclusive", "TAXNZ", [25.06, 25.61, 25.63], [76.3, 11.44, 87.74]],
    ["inclusive, tax is what is left of the line", "Inclusive", "TAXNZ", [541.25], [470.65, 70.6, 541.25]],
    ["inclusive, another recorded one", "Inclusive", "TAXNZ", [500], [434.78, 65.22, 500]],
    ["half a cent goes up", "Exclusive", "TAXNZ", [14.4333333], [14.43, 2.16, 16.59]],
    ["no tax", "NoTax", "OUTPUT", [100], [100, 0, 100]],
    ["ten percent", "Exclusive", "OUTPUT", [21.65], [21.65, 2.17, 23.82]],
    ["GST free", "Exclusive", "EXEMPTOUTPUT", [193.99], [193.99, 0, 193.99]],
    ["compound: on the amount and the earlier tax", "Exclusive", "TAXCOMP", [100], [100, 15.5, 115.5]],
  ])("%s", async (_name, LineAmountTypes, TaxType, amounts, sums) => {
    await x.control("tax-rates/add", { taxType: "TAXNZ", name: "15%", components: [{ name: "GST", rate: 15 }] });
    const components = [
      { name: "A", rate: 5 },
      { name: "B", rate: 10, isCompound: true },
    ];
    await x.control("tax-rates/add", { taxType: "TAXCOMP", name: "Compound", components });
    const LineItems = amounts.map((UnitAmount) => ({
      Description: "x",
      UnitAmount,
      Quantity: 1,
      AccountCode: "200",
      TaxType,
    }));
    const answer = await x.put({ LineAmountTypes, LineItems });
    expect([one(answer, "SubTotal"), one(answer, "TotalTax"), one(answer, "Total")]).toEqual(sums);
  });

  it.each([
    ["", 1.23, 12.3, 1.23],
    ["?unitdp=4", 1.2345, 12.35, 1.2345],
  ])("rounds the unit amount first with query '%s'", async (query, unit, total, shown) => {
    const LineItems = [{ ...line, Quantity: 10, UnitAmount: 1.2345 }];
    const answer = await x.put({ LineItems }, query);
    expect([one(answer, "LineItems.0.UnitAmount"), one(answer, "Total")]).toEqual([unit, total]);
    const id = String(one(answer, "InvoiceID"));
    expect(one(await x.get(id, "?unitdp=4"), "LineItems.0.UnitAmount")).toBe(shown);
    expect(one(await x.get(id), "LineItems.0.UnitAmount")).toBe(1.23);
  });

  it("takes discounts on sales, and a given tax amount", async () => {
    const LineItems = [
      { ...line, DiscountRate: 15 },
      { ...line, DiscountAmount: 0.5 },
      { ...line, AccountCode: "200", TaxAmount: 1.99 },
    ];
    const answer = await x.put({ LineItems });
    expect(listAt(one(answer), "LineItems").map((item) => at(item, "LineAmount"))).toEqual([17, 19.5, 20]);
    expect([one(answer, "TotalTax"), one(answer, "IsDiscounted")]).toEqual([1.99, true]);
  });

  it("takes the account's tax where none is sent, and BAS Excluded for NONE", async () => {
    const LineItems = [
      line,
      { ...line, AccountCode: "200" },
      { ...line, TaxType: "NONE" },
      { Description: "a remark" },
    ];
    const answer = await x.put({ LineItems });
    expect(listAt(one(answer), "LineItems").map((item) => at(item, "TaxType"))).toEqual([
      "EXEMPTOUTPUT",
      "OUTPUT",
      "BASEXCLUDED",
      undefined,
    ]);
    const bill = await x.put({ Type: "ACCPAY", LineItems: [{ ...line, AccountCode: "429", TaxType: "NONE" }] });
    expect(one(bill, "LineItems.0.TaxType")).toBe("EXEMPTEXPENSES");
  });
});

describe("creating", () => {
  it("answers with the parts a write has, and a read adds the others", async () => {
    const answer = await x.put({ Reference: "R", Url: "http://localhost:4000/invoices/1" });
    expect(one(answer)).toMatchObject({
      InvoiceNumber: expect.stringMatching(/^INV-\d{4}$/),
      Status: "AUTHORISED",
      AmountDue: 20,
      AmountPaid: 0,
      Prepayments: [],
      Overpayments: [],
      Contact: { ContactID: x.contactId, Phones: expect.any(Array), IsCustomer: true },
      Date: "/Date(1793491200000+0000)/",
      DateString: "2026-11-01T00:00:00",
      DueDateString: "2026-11-15T00:00:00",
      UpdatedDateUTCString: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
      LineItems: [{ LineItemID: expect.any(String), AccountID: expect.any(String), AccountCode: "201" }],
      Url: "http://localhost:4000/invoices/1",
      HasErrors: false,
    });
    for (const key of ["Payments", "CreditNotes", "AmountCredited", "HasAttachments"])
      expect(one(answer)).not.toHaveProperty(key);
    expect(one(await x.get(String(one(answer, "InvoiceID"))))).toMatchObject({
      Payments: [],
      CreditNotes: [],
      AmountCredited: 0,
    });
  });

  it.each<[string, object, string | RegExp]>([
    ["no contact", { Contact: undefined }, "A Contact must be specified for this type of transaction"],
    [
      "a contact that is archived",
      { Contact: { ContactNumber: "OLD-1" } },
      /^The contact with the specified contact details has been archived\. The contact must be un-archived before creating new invoices or credit notes\.$/,
    ],
    ["no due date", { DueDate: undefined }, /due date cannot be empty/i],
    ["no lines", { LineItems: [] }, /line items must be specified/],
    ["a type that is none", { Type: "INVOICE" }, /ACCREC/],
    ["a status of an end", { Status: "PAID" }, locked],
    [
      "an account that is none",
      { LineItems: [{ ...line, AccountCode: "999" }] },
      "Account code '999' is not a valid code for this document.",
    ],
    [
      "a bank account",
      { LineItems: [{ ...line, AccountCode: "090" }] },
      "Account code '090' is not a valid code for this document.",
    ],
    [
      "a system account",
      { LineItems: [{ ...line, AccountCode: "610" }] },
      "Account code '610' is not a valid code for this document.",
    ],
    [
      "an archived account",
      { LineItems: [{ ...line, AccountCode: "299" }] },
      "Account code '299' has been archived, or has been deleted. Each line item must reference a valid account.",
    ],
    ["no account", { LineItems: [{ Description: "x", UnitAmount: 1 }] }, /Account code '' is not a valid code/],
    [
      "a tax for expenses",
      { LineItems: [{ ...line, TaxType: "INPUT" }] },
      "The TaxType code 'INPUT' cannot be used with account code '201'.",
    ],
    ["a deleted tax rate", { LineItems: [{ ...line, TaxType: "TAX001" }] }, /The TaxType code 'TAX001'/],
    [
      "a line total that is wrong",
      { LineItems: [{ ...line, Quantity: 1, UnitAmount: 100, LineAmount: 1 }] },
      "The line total 1.00 does not match the expected line total 100.00",
    ],
    ["a line without description", { LineItems: [{ ...line, Description: "" }] }, /Description/],
    ["a negative total", { LineItems: [{ ...line, UnitAmount: -1 }] }, /negative/],
    ["another currency", { CurrencyCode: "EUR" }, "Organisation is not subscribed to currency EUR"],
    ["an address that names Xero", { Url: "https://xero.example/1" }, /Url/],
    ["a number that is too long", { InvoiceNumber: "x".repeat(256) }, /255/],
    [
      "a discount on a bill",
      { Type: "ACCPAY", LineItems: [{ ...line, AccountCode: "429", TaxType: "INPUT", DiscountRate: 1 }] },
      /Discounts/,
    ],
  ])("refuses %s", async (_name, fields, message) => {
    const answer = await x.put(fields);
    expect([answer.status, at(answer.body, "ErrorNumber")]).toEqual([400, 10]);
    expect(at(answer.body, "Elements.0")).toMatchObject({
      InvoiceID: "00000000-0000-0000-0000-000000000000",
      HasErrors: true,
    });
    expect(messagesOf(answer)).toEqual([typeof message === "string" ? message : expect.stringMatching(message)]);
  });

  it("names everything that is wrong at once", async () => {
    const answer = await x.put({ DueDate: undefined, LineItems: [{ ...line, AccountCode: "999" }] });
    expect(messagesOf(answer)).toHaveLength(2);
  });

  it("numbers by itself past what is taken, and keeps numbers unique on sales only", async () => {
    const own = await x.put({ InvoiceNumber: "OWN-1" });
    expect(one(own, "InvoiceNumber")).toBe("OWN-1");
    expect(messagesOf(await x.put({ InvoiceNumber: "own-1" }))).toEqual(["Invoice # must be unique."]);
    const bill = { Type: "ACCPAY", InvoiceNumber: "OWN-1", LineItems: [{ ...line, AccountCode: "429" }] };
    expect([(await x.put(bill)).status, (await x.put(bill)).status]).toEqual([200, 200]);
    const next = Number(/\d+/.exec(String(one(await x.put(), "InvoiceNumber")))?.[0]) + 1;
    const taken = `INV-${String(next).padStart(4, "0")}`;
    await x.added({ InvoiceNumber: taken });
    expect(one(await x.put(), "InvoiceNumber")).toBe(`INV-${String(next + 1).padStart(4, "0")}`);
  });

  it("keeps the number of a deleted invoice taken, unless switched", async () => {
    const id = await x.added({ InvoiceNumber: "DEL-1", Status: "DRAFT" });
    await x.change(id, { Status: "DELETED" });
    expect((await x.put({ InvoiceNumber: "DEL-1" })).status).toBe(400);
    await x.control("switches", { reuseRemovedNumbers: true });
    expect((await x.put({ InvoiceNumber: "DEL-1" })).status).toBe(200);
    await x.control("switches", { reuseRemovedNumbers: false });
  });

  it("makes a contact of an unknown name, and none when the invoice is refused", async () => {
    const search = async (term: string) =>
      listAt((await x.api("GET", `Contacts?searchTerm=${term}`)).body, "Contacts").length;
    await x.put({ Contact: { Name: "Freshly Made" } });
    await x.put({ Contact: { Name: "Never Made" }, DueDate: undefined });
    expect([await search("freshly"), await search("never")]).toEqual([1, 0]);
  });

  it("overwrites a contact that comes with more than its id, and drops its persons", async () => {
    const contact = { Name: "Full", ContactPersons: [{ FirstName: "P" }] };
    const id = String(at((await x.api("PUT", "Contacts", contact)).body, "Contacts.0.ContactID"));
    await x.put({ Contact: { ContactID: id } });
    const persons = async () => listAt((await x.api("GET", `Contacts/${id}`)).body, "Contacts.0.ContactPersons").length;
    expect(await persons()).toBe(1);
    await x.put({ Contact: { ContactID: id, EmailAddress: "full@b.example" } });
    expect(await persons()).toBe(0);
  });

  it.each([{ ContactID: "11111111-1111-4111-8111-111111111111" }])(
    "answers an unknown contact with a page for the whole call",
    async (Contact) => {
      const body = { Invoices: [x.invoice({ Reference: "LOST" }), x.invoice({ Contact })] };
      const answer = await x.api("PUT", "Invoices?summarizeErrors=false", body);
      expect([answer.status, answer.headers.get("content-type")]).toEqual([404, "text/html; charset=utf-8"]);
      expect(listAt((await x.api("GET", "Invoices?searchTerm=LOST")).body, "Invoices")).toEqual([]);
    },
  );

  it("saves the good ones of a call only when not summarising", async () => {
    const body = { Invoices: [x.invoice({ Reference: "MIX" }), x.invoice({ Reference: "MIX", DueDate: undefined })] };
    expect((await x.api("PUT", "Invoices", body)).status).toBe(400);
    const mixed = await x.api("PUT", "Invoices?summarizeErrors=false", body);
    expect(listAt(mixed.body, "Invoices").map((each) => at(each, "StatusAttributeString"))).toEqual(["OK", "ERROR"]);
    expect(at(mixed.body, "Invoices.1.HasErrors")).toBe(true);
    expect(listAt((await x.api("GET", "Invoices?searchTerm=MIX")).body, "Invoices")).toHaveLength(1);
  });

  it("dates an invoice by the organisation's own day", async () => {
    const now = String(at(await x.control("state"), "now"));
    const sydney = new Intl.DateTimeFormat("en-CA", { timeZone: "Australia/Sydney" }).format(new Date(now));
    expect(one(await x.put({ Date: undefined }), "DateString")).toBe(`${sydney}T00:00:00`);
  });

  it("pays an invoice of nothing at once", async () => {
    expect(one(await x.put({ LineItems: [{ ...line, UnitAmount: 0 }] }), "Status")).toBe("PAID");
  });
});
