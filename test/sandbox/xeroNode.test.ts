/**
 * Owns the check that xero-node 20.0.0 can drive the sandbox, traps included (docs/xero-facts.md section 11), and that the
 * sandbox runs as a process of its own. Leaves Xero's rules to the other files.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { AccountingApi, Contacts, Invoice, Invoices, LineAmountTypes, Payment, PaymentDelete } from "xero-node";
import { at, startHarness, type Harness } from "./harness.js";

let x: Harness;
let api: AccountingApi;
let contactID = "";

beforeAll(async () => {
  x = await startHarness();
  api = new AccountingApi(`${x.url}/api.xro/2.0`);
  api.accessToken = x.token;
  const { body } = await api.createContacts(
    x.tenantId,
    contactsOf([{ name: "Ada", contactNumber: "P-1" }]),
    false,
    "c-1",
  );
  contactID = body.contacts?.[0]?.contactID ?? "";
});

afterAll(async () => {
  await x.close();
});

const wish = (reference: string) => ({
  type: Invoice.TypeEnum.ACCREC,
  contact: { contactID },
  date: "2026-11-01",
  dueDate: "2026-11-20",
  status: Invoice.StatusEnum.AUTHORISED,
  lineAmountTypes: LineAmountTypes.Exclusive,
  reference,
  lineItems: [{ description: "Support", quantity: 2, unitAmount: 33.3333, accountCode: "201" }],
});

// Its models are classes, its serialiser reads plain fields: the lists are made, what is in them need not be
const contactsOf = (contacts: object[]) => Object.assign(new Contacts(), { contacts });
const invoicesOf = (invoices: object[]) => Object.assign(new Invoices(), { invoices });

/** What xero-node throws is a text that holds the answer. */
const rejection = async (call: Promise<unknown>): Promise<unknown> => {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(typeof error).toBe("string");
  return JSON.parse(String(error)) as unknown;
};

describe("xero-node", () => {
  it("reads settings", async () => {
    const organisation = (await api.getOrganisations(x.tenantId)).body.organisations?.[0];
    expect(organisation).toMatchObject({ organisationID: x.tenantId, shortCode: "!Qj35V", isDemoCompany: true });
    const accounts = (await api.getAccounts(x.tenantId, undefined, 'Status=="ACTIVE"')).body.accounts;
    expect(accounts?.find((one) => one.code === "610")?.systemAccount).toBe("DEBTORS");
    expect((await api.getTaxRates(x.tenantId)).body.taxRates?.length).toBeGreaterThan(5);
    expect((await api.getContactGroups(x.tenantId)).body.contactGroups?.[0]?.name).toBe("Plan Managers");
  });

  it("writes and reads contacts", async () => {
    const updated = await api.updateOrCreateContacts(
      x.tenantId,
      contactsOf([{ contactID, emailAddress: "ada@b.example" }]),
      false,
    );
    expect(updated.body.contacts?.[0]).toMatchObject({ name: "Ada", emailAddress: "ada@b.example" });
    const one = await api.updateContact(x.tenantId, contactID, contactsOf([{ firstName: "A" }]), "c-2");
    expect(one.body.contacts?.[0]?.firstName).toBe("A");
    const page = await api.getContacts(
      x.tenantId,
      new Date(0),
      undefined,
      "Name",
      undefined,
      1,
      true,
      undefined,
      undefined,
      2,
    );
    expect([page.body.contacts?.length, page.body.pagination?.pageSize]).toEqual([2, 2]);
    const failed = await rejection(api.createContacts(x.tenantId, contactsOf([{ name: "ADA" }])));
    expect([at(failed, "response.statusCode"), at(failed, "response.body.Type")]).toEqual([400, "ValidationException"]);
  });

  it("writes and reads invoices and payments", async () => {
    const bad = { ...wish("N-2"), dueDate: undefined };
    const { body } = await api.createInvoices(x.tenantId, invoicesOf([wish("N-1"), bad]), false, 4, "i-1");
    expect(body.invoices?.map((one) => [one.reference, one.statusAttributeString, one.total])).toEqual([
      ["N-1", "OK", 66.67],
      ["N-2", "ERROR", undefined],
    ]);
    const invoiceID = body.invoices?.[0]?.invoiceID ?? "";
    const read = (await api.getInvoice(x.tenantId, invoiceID, 4)).body.invoices?.[0];
    expect(read?.lineItems?.[0]?.unitAmount).toBe(33.3333);
    expect(read?.date).toEqual(new Date("2026-11-01T00:00:00Z"));
    const again = await api.createInvoices(x.tenantId, invoicesOf([wish("N-1"), bad]), false, 4, "i-1");
    expect(again.body.invoices?.[0]?.invoiceID).toBe(invoiceID);
    const paid = await api.createPayment(
      x.tenantId,
      Object.assign(new Payment(), { invoice: { invoiceID }, account: { code: "090" }, amount: 66.67 }),
      "p-1",
    );
    expect(paid.body.payments?.[0]?.invoice?.status).toBe("PAID");
    const paymentID = paid.body.payments?.[0]?.paymentID ?? "";
    expect((await api.getPayments(x.tenantId, new Date(0), undefined, undefined, 1)).body.payments).toHaveLength(1);
    await api.deletePayment(x.tenantId, paymentID, Object.assign(new PaymentDelete(), { status: "DELETED" }), "p-2");
    expect((await api.getPayment(x.tenantId, paymentID)).body.payments?.[0]?.status).toBe("DELETED");
    const voided = await api.updateInvoice(x.tenantId, invoiceID, invoicesOf([{ status: Invoice.StatusEnum.VOIDED }]));
    expect(voided.body.invoices?.[0]?.status).toBe("VOIDED");
    const found = await api.getInvoices(
      x.tenantId,
      undefined,
      'Reference=="N-1"',
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
      1,
    );
    expect(found.body.invoices?.map((one) => one.invoiceID)).toEqual([invoiceID]);
  });

  it.each([
    ["404", {}, () => api.getInvoice(x.tenantId, "INV-404"), 404],
    ["429", { fault: "429-minute" }, () => api.getAccounts(x.tenantId), 429],
    ["503", { fault: "503-maintenance" }, () => api.getAccounts(x.tenantId), 503],
    ["a lost answer", { fault: "lost-answer" }, () => api.getAccounts(x.tenantId), 0],
  ])("rejects with a text for %s", async (_name, fault, attempt, status) => {
    if ("fault" in fault) await x.control("faults", fault);
    expect(at(await rejection(attempt()), "response.statusCode")).toBe(status);
  });

  it.each(["garbage-200", "empty-200"])("resolves with nothing in it for %s", async (fault) => {
    await x.control("faults", { fault });
    expect((await api.getAccounts(x.tenantId)).body.accounts).toBeUndefined();
  });
});

describe("the process", () => {
  it("prints one line, serves, and ends with its parent", async () => {
    const main = new URL("../../sandbox/main.ts", import.meta.url).pathname;
    const child = spawn(process.execPath, ["--import", "tsx", main, "--with-parent"], {
      env: {},
      stdio: ["pipe", "pipe", "inherit"],
    });
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    const printed: unknown = JSON.parse(line.toString());
    expect(Object.keys(printed as object)).toEqual(["url", "clientId", "clientSecret", "webhookKey"]);
    const answer = await fetch(`${String(at(printed, "url"))}/sandbox/state`);
    expect(answer.status).toBe(200);
    child.stdin.end();
    expect(await once(child, "exit")).toEqual([0, null]);
  });
});
