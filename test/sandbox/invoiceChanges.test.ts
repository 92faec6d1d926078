/**
 * Owns the checks of changes and lists of invoices: the status machine, locks, edits, filters (docs/xero-facts.md sections
 * 5, 7). Wording that no source records is matched loosely.
 */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { allocated, line, locked, one, startBooks, type Books } from "./books.js";
import { at, listAt, messagesOf } from "./harness.js";

let x: Books;

beforeAll(async () => {
  x = await startBooks();
});

afterAll(async () => {
  await x.close();
});

describe("changing", () => {
  it.each([
    ["DRAFT", "SUBMITTED", 200],
    ["DRAFT", "AUTHORISED", 200],
    ["DRAFT", "DELETED", 200],
    ["DRAFT", "VOIDED", 400],
    ["SUBMITTED", "DRAFT", 200],
    ["SUBMITTED", "DELETED", 200],
    ["AUTHORISED", "VOIDED", 200],
    ["AUTHORISED", "DRAFT", 400],
    ["AUTHORISED", "DELETED", 400],
    ["AUTHORISED", "PAID", 400],
  ])("from %s to %s answers %i", async (Status, next, status) => {
    const id = await x.added({ Status });
    const answer = await x.change(id, { Status: next });
    expect(answer.status).toBe(status);
    if (status === 400) {
      expect(messagesOf(answer)).toEqual([locked]);
      expect(at(answer.body, "Elements.0")).toMatchObject({ InvoiceID: id, Status: next });
    }
    expect(one(await x.get(id), "Status")).toBe(status === 200 ? next : Status);
  });

  it.each(["VOIDED", "DELETED"])("takes no edit once it is %s, whose amounts stay", async (Status) => {
    const id = await x.added({ Status: Status === "VOIDED" ? "AUTHORISED" : "DRAFT" });
    const ended = await x.change(id, { Status });
    expect([one(ended, "AmountDue"), listAt(one(ended), "LineItems").length]).toEqual([20, 1]);
    expect(messagesOf(await x.change(id, { Reference: "no" }))).toEqual([locked]);
  });

  it("updates named lines, remakes the others, and keeps all where none are sent", async () => {
    const id = await x.added({ LineItems: [line, line] });
    const ids = async () => listAt(one(await x.get(id)), "LineItems").map((item) => at(item, "LineItemID"));
    const [first] = await ids();
    await x.change(id, { Reference: "only this" });
    expect((await ids())[0]).toBe(first);
    const answer = await x.change(id, {
      LineItems: [
        { LineItemID: first, Quantity: 3 },
        { ...line, Description: "new" },
      ],
    });
    expect(listAt(one(answer), "LineItems").map((item) => [at(item, "Description"), at(item, "LineAmount")])).toEqual([
      ["Support", 30],
      ["new", 20],
    ]);
    expect((await ids())[0]).toBe(first);
    expect(one(answer, "Total")).toBe(50);
  });

  it("by number with POST changes the invoice; an unknown id is a page", async () => {
    const id = await x.added({ InvoiceNumber: "UP-1" });
    const answer = await x.api("POST", "Invoices", {
      Invoices: [x.invoice({ InvoiceNumber: "UP-1", Reference: "changed" })],
    });
    expect([one(answer, "InvoiceID"), one(answer, "Reference")]).toEqual([id, "changed"]);
    expect((await x.change("11111111-1111-4111-8111-111111111111", { Reference: "x" })).status).toBe(404);
    expect((await x.api("PUT", "Invoices", { Invoices: [x.invoice({ InvoiceID: id })] })).status).toBe(400);
  });

  it.each(["pay", "credit"])("is refused, in two sentences, after a %s", async (how) => {
    const id = await x.added();
    await x.control(how, { invoiceId: id, amount: 5 });
    expect(messagesOf(await x.change(id, { Reference: "x" }))).toEqual([locked, allocated]);
    expect(messagesOf(await x.change(id, { Status: "VOIDED" }))).toEqual([locked, allocated]);
  });

  it.each([
    ["periodLockDate", "The document date cannot be before the period lock date, currently set at 31/10/2026"],
    ["endOfYearLockDate", "The document date cannot be before the end of year lock date, currently set at 31/10/2026"],
  ])("is refused on or before the %s", async (name, message) => {
    const id = await x.added({ Date: "2026-10-31" });
    await x.control("lock", { [name]: "2026-10-31" });
    expect(messagesOf(await x.put({ Date: "2026-10-31" }))).toEqual([message]);
    expect(messagesOf(await x.change(id, { Status: "VOIDED" }))).toEqual([message]);
    expect((await x.put({ Date: "2026-11-01" })).status).toBe(200);
    expect(
      at((await x.api("GET", "Organisation")).body, `Organisations.0.${name[0]?.toUpperCase()}${name.slice(1)}`),
    ).toBe("/Date(1793404800000+0000)/");
    await x.control("lock", { [name]: null });
    expect(at((await x.api("GET", "Organisation")).body, "Organisations.0")).not.toHaveProperty("PeriodLockDate");
  });

  it("stops approving when the plan's limit is reached, drafts go on", async () => {
    await x.control("approvals", { left: 1 });
    expect((await x.put()).status).toBe(200);
    expect(messagesOf(await x.put())).toEqual(["You have reached the limit of invoices you can approve"]);
    expect((await x.put({ Status: "DRAFT" })).status).toBe(200);
    const actions = listAt((await x.api("GET", "Organisation/Actions")).body, "Actions");
    expect(actions).toContainEqual({ Name: "CreateApprovedInvoice", Status: "NOT-ALLOWED" });
    await x.control("approvals", { left: null });
  });
});

describe("lists", () => {
  it("show lines on pages only, and little in a summary", async () => {
    const id = await x.added({ Reference: "LIST" });
    const query = `IDs=${id}`;
    const lines = async (more: string) =>
      listAt((await x.api("GET", `Invoices?${query}${more}`)).body, "Invoices.0.LineItems").length;
    expect([await lines(""), await lines("&page=1")]).toEqual([0, 1]);
    const summary = await x.api("GET", `Invoices?${query}&summaryOnly=true`);
    for (const key of ["LineItems", "Payments", "HasAttachments"]) expect(one(summary)).not.toHaveProperty(key);
    expect(at(summary.body, "pagination.itemCount")).toBe(1);
    expect(one(await x.api("GET", `Invoices?${query}`), "Contact")).toMatchObject({
      Name: "Payer",
      Phones: [],
      Addresses: [],
    });
  });

  it.each([
    ["IDs", (each: unknown) => String(at(each, "InvoiceID"))],
    ["InvoiceNumbers", (each: unknown) => String(at(each, "InvoiceNumber"))],
    ["where", (each: unknown) => encodeURIComponent(`Reference=="${String(at(each, "Reference"))}"`)],
    ["where", (each: unknown) => encodeURIComponent(`InvoiceID==Guid("${String(at(each, "InvoiceID"))}")`)],
    ["searchTerm", (each: unknown) => String(at(each, "Reference"))],
  ])("find one by %s", async (parameter, value) => {
    const answer = await x.put({ Reference: `FIND-${Math.random()}` });
    const found = await x.api("GET", `Invoices?page=1&${parameter}=${value(one(answer))}`);
    expect(listAt(found.body, "Invoices").map((each) => at(each, "InvoiceID"))).toEqual([one(answer, "InvoiceID")]);
  });

  it("filter by status, contact, type and amounts, and tell the app's own from others", async () => {
    const contact = { Name: "Filtered" };
    const draft = String(one(await x.put({ Contact: contact, Status: "DRAFT" }), "InvoiceID"));
    const id = String(one(await x.get(draft), "Contact.ContactID"));
    await x.control("invoices/add", { invoice: x.invoice({ Contact: { ContactID: id } }) });
    const found = async (query: string) =>
      listAt((await x.api("GET", `Invoices?ContactIDs=${id}&${query}`)).body, "Invoices").length;
    const where = (text: string) => found(`where=${encodeURIComponent(text)}`);
    expect([await found(""), await found("Statuses=DRAFT,SUBMITTED"), await found("createdByMyApp=true")]).toEqual([
      2, 1, 1,
    ]);
    expect(await where(`Contact.ContactID==guid("${id}")&&Status=="AUTHORISED"&&Type=="ACCREC"`)).toBe(1);
    expect(
      await where('AmountDue>=20 AND AmountPaid==0 AND Date<=DateTime(2026,11,01) AND Contact.Name=="filtered"'),
    ).toBe(2);
  });

  it("are in the order of their last change", async () => {
    const [first, second] = [await x.added({ Reference: "ORD" }), await x.added({ Reference: "ORD" })];
    await x.control("clock/advance", { ms: 5000 });
    await x.change(first, { Url: "http://localhost/1" });
    const found = await x.api("GET", "Invoices?page=1&searchTerm=ORD");
    expect(listAt(found.body, "Invoices").map((each) => at(each, "InvoiceID"))).toEqual([second, first]);
  });

  it("has an address for paying online once approved", async () => {
    const online = async (id: string) => x.api("GET", `Invoices/${id}/OnlineInvoice`);
    expect(at((await online(await x.added())).body, "OnlineInvoices.0.OnlineInvoiceUrl")).toMatch(
      /^https:\/\/in\.xero\.com\//,
    );
    expect((await online(await x.added({ Status: "DRAFT" }))).status).toBe(404);
  });

  it("keeps notes in the history", async () => {
    const id = await x.added();
    const written = await x.api("PUT", `Invoices/${id}/History`, { HistoryRecords: [{ Details: "Hello" }] });
    expect(Object.keys(at(written.body, "HistoryRecords.0") as object)).toEqual([
      "DateUTCString",
      "DateUTC",
      "Details",
      "ValidationErrors",
    ]);
    const read = await x.api("GET", `Invoices/${id}/History`);
    expect(at(read.body, "HistoryRecords.0")).toMatchObject({ User: "System Generated", Details: "Hello" });
  });
});
