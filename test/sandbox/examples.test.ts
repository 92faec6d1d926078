/**
 * Holds the sandbox against Xero's own examples, where its OpenAPI file lies beside the repository (it is not ours to
 * copy): every example request of a served endpoint is accepted, or refused for the reason named here, and every
 * answer has the keys that the example answer has, but for those named here.
 */
import { randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { parse } from "yaml";
import { at, listAt, startHarness, type Answer, type Harness } from "./harness.js";

const file = fileURLToPath(new URL("../../../shared/data/xero_accounting.yaml", import.meta.url));
const isPresent = existsSync(file);
if (!isPresent) process.stdout.write(`examples of Xero's OpenAPI file skipped: no ${file}\n`);
const described = isPresent ? describe : describe.skip;

/** Ids that the requests need, put in place of the examples' own. */
interface Known {
  readonly contact: string;
  readonly group: string;
  readonly account: string;
  /** Paid and credited in part by every means. */
  readonly invoice: string;
  readonly approved: string;
  readonly draft: string;
  readonly payment: string;
  readonly spentPayment: string;
  readonly creditNote: string;
  readonly overpayment: string;
  readonly prepayment: string;
}

interface Case {
  readonly operation: string;
  /** Where it is sent to; as in the specification where it has no ids. */
  readonly path?: (known: Known) => string;
  /** The example, made to fit what exists here. */
  readonly body?: (example: unknown, known: Known) => unknown;
  /** Keys of the example answer that this one lacks, and why. */
  readonly lacks?: Readonly<Record<string, string>>;
  readonly status?: number;
}

const attachments = "attachments are not served";
const unsent = "the example answers with what its request did not send";
const lineless = "control applies credits without lines";
const contradictory = "the example is a success and an error at once";

const cases: readonly Case[] = [
  {
    operation: "get /Organisation",
    lacks: {
      "Organisations.APIKey": "no longer given out",
      "Organisations.TaxNumber": "not entered",
      "Organisations.PeriodLockDate": "only when set",
      "Organisations.EndOfYearLockDate": "only when set",
    },
  },
  { operation: "get /Organisation/Actions" },
  { operation: "get /Accounts" },
  {
    operation: "get /Accounts/{AccountID}",
    path: ({ account }) => `Accounts/${account}`,
    lacks: { "Accounts.ReportingCodeName": "no reporting codes" },
  },
  { operation: "get /TaxRates" },
  { operation: "get /TaxRates/{TaxType}", path: () => "TaxRates/OUTPUT" },
  {
    operation: "get /Contacts",
    path: () => "Contacts?page=1",
    lacks: { "Contacts.TaxNumbeType": "misspelt in the file" },
  },
  {
    operation: "get /Contacts/{ContactID}",
    path: ({ contact }) => `Contacts/${contact}`,
    lacks: { "Contacts.Attachments": attachments, "Contacts.BrandingTheme": "branding themes are not served" },
  },
  {
    operation: "get /Contacts/{ContactNumber}",
    path: () => "Contacts/EX-1",
    lacks: { "Contacts.Attachments": attachments, "Contacts.BrandingTheme": "branding themes are not served" },
  },
  {
    operation: "put /Contacts",
    body: (example) => without(example, "ContactID"),
    lacks: {
      "Contacts.CompanyNumber": unsent,
      "Contacts.PurchasesDefaultLineAmountType": unsent,
      "Contacts.SalesDefaultLineAmountType": unsent,
    },
  },
  {
    operation: "post /Contacts",
    lacks: {
      "Contacts.CompanyNumber": unsent,
      "Contacts.PurchasesDefaultLineAmountType": unsent,
      "Contacts.SalesDefaultLineAmountType": unsent,
    },
  },
  { operation: "post /Contacts/{ContactID}", path: ({ contact }) => `Contacts/${contact}` },
  { operation: "get /ContactGroups" },
  { operation: "put /ContactGroups" },
  { operation: "get /ContactGroups/{ContactGroupID}", path: ({ group }) => `ContactGroups/${group}` },
  { operation: "post /ContactGroups/{ContactGroupID}", path: ({ group }) => `ContactGroups/${group}` },
  {
    operation: "put /ContactGroups/{ContactGroupID}/Contacts",
    path: ({ group }) => `ContactGroups/${group}/Contacts`,
    body: (_example, { contact }) => ({ Contacts: [{ ContactID: contact }] }),
  },
  {
    operation: "get /Invoices",
    path: () => "Invoices?page=1",
    lacks: { "Invoices.RepeatingInvoiceID": "no repeating invoices" },
  },
  {
    operation: "get /Invoices/{InvoiceID}",
    path: ({ invoice }) => `Invoices/${invoice}`,
    lacks: {
      "Invoices.Attachments": attachments,
      "Invoices.LineItems.ItemCode": "no items",
      "Invoices.StatusAttributeString": contradictory,
      "Invoices.ValidationErrors": contradictory,
    },
  },
  { operation: "put /Invoices", path: () => "Invoices?summarizeErrors=false", body: withContact },
  { operation: "post /Invoices", path: () => "Invoices?summarizeErrors=false", body: withContact },
  { operation: "post /Invoices/{InvoiceID}", path: ({ draft }) => `Invoices/${draft}` },
  { operation: "get /Invoices/{InvoiceID}/OnlineInvoice", path: ({ invoice }) => `Invoices/${invoice}/OnlineInvoice` },
  {
    operation: "get /Payments",
    path: () => "Payments?page=1",
  },
  {
    operation: "get /Payments/{PaymentID}",
    path: ({ payment }) => `Payments/${payment}`,
  },
  { operation: "put /Payments", body: withInvoice, lacks: { "Payments.ValidationErrors": contradictory } },
  { operation: "post /Payments", body: withInvoice, lacks: { "Payments.ValidationErrors": contradictory } },
  { operation: "post /Payments/{PaymentID}", path: ({ spentPayment }) => `Payments/${spentPayment}` },
  {
    operation: "get /CreditNotes/{CreditNoteID}",
    path: ({ creditNote }) => `CreditNotes/${creditNote}`,
    lacks: {
      "CreditNotes.Attachments": attachments,
      "CreditNotes.LineItems": lineless,
      "CreditNotes.Payments": "no payments of credits",
    },
  },
  {
    operation: "get /Overpayments/{OverpaymentID}",
    path: ({ overpayment }) => `Overpayments/${overpayment}`,
    lacks: { "Overpayments.Attachments": attachments, "Overpayments.LineItems": lineless },
  },
  {
    operation: "get /Prepayments/{PrepaymentID}",
    path: ({ prepayment }) => `Prepayments/${prepayment}`,
    lacks: {
      "Prepayments.Attachments": attachments,
      "Prepayments.LineItems": lineless,
      "Prepayments.BrandingThemeID": "branding themes are not served",
      "Prepayments.InvoiceNumber": "without an invoice of its own",
    },
  },
];

let x: Harness;
let known: Known;
let specification: unknown;

beforeAll(async () => {
  if (!isPresent) return;
  specification = parse(readFileSync(file, "utf8"));
  x = await startHarness();
  known = await prepared();
});

afterAll(async () => {
  if (isPresent) await x.close();
});

described("Xero's examples", () => {
  it.each(cases.map((one) => [one.operation, one] as const))(
    "%s",
    async (operation, { path, body, lacks = {}, status = 200 }) => {
      const [method = "", address = ""] = operation.split(" ");
      const described = at(specification, "paths");
      const spec = Reflect.get(Reflect.get(described as object, address) as object, method) as unknown;
      const request = content(at(spec, "requestBody"));
      const sent = method === "get" ? undefined : (body?.(request, known) ?? request);
      const answer = await x.api(method.toUpperCase(), path?.(known) ?? address.slice(1), sent);
      expect([answer.status, answer.status === status ? "" : answer.body]).toEqual([status, ""]);
      const absent = missing(content(at(spec, "responses.200")), answer.body);
      const excused = (key: string) => Object.keys(lacks).find((name) => key === name || key.startsWith(`${name}.`));
      expect(absent.filter((key) => excused(key) === undefined)).toEqual([]);
      expect([...new Set(absent.map(excused))].sort()).toEqual(Object.keys(lacks).sort());
    },
  );

  it.each([
    ["put /Contacts", "names a ContactID that does not exist"],
    ["put /Invoices", "names a ContactID that does not exist"],
  ])("%s as it stands is a page, because it %s", async (operation) => {
    const [method = "", address = ""] = operation.split(" ");
    const spec = Reflect.get(Reflect.get(at(specification, "paths") as object, address) as object, method) as unknown;
    const answer = await x.api(method.toUpperCase(), address.slice(1), content(at(spec, "requestBody")));
    expect(answer.status).toBe(404);
  });
});

/** The example of a request's or an answer's JSON. */
function content(part: unknown): unknown {
  const types = at(part, "content");
  return types === undefined ? undefined : at(Reflect.get(types as object, "application/json"), "example");
}

/** Keys that the example has and the answer has nowhere at that place; elements of a list count together. */
function missing(example: unknown, answer: unknown): string[] {
  const wanted = keysOf(example, "");
  const present = keysOf(answer, "");
  return [...wanted].filter((key) => !present.has(key)).sort();
}

function keysOf(value: unknown, path: string): Set<string> {
  const keys = new Set<string>();
  if (Array.isArray(value)) {
    for (const item of value) for (const key of keysOf(item, path)) keys.add(key);
  } else if (typeof value === "object" && value !== null) {
    for (const [name, inner] of Object.entries(value)) {
      const here = path === "" ? name : `${path}.${name}`;
      keys.add(here);
      for (const key of keysOf(inner, here)) keys.add(key);
    }
  }
  return keys;
}

function without(example: unknown, key: string): unknown {
  const text = JSON.stringify(example, (name, value: unknown) => (name === key ? undefined : value));
  return JSON.parse(text) as unknown;
}

function replaced(example: unknown, key: string, id: string): unknown {
  const text = JSON.stringify(example, (name, value: unknown) => (name === key ? id : value));
  return JSON.parse(text) as unknown;
}

function withContact(example: unknown, { contact }: Known): unknown {
  return replaced(example, "ContactID", contact);
}

function withInvoice(example: unknown, { approved }: Known): unknown {
  return replaced(example, "InvoiceID", approved);
}

/** One contact with everything, and invoices in all the states that the examples show. */
async function prepared(): Promise<Known> {
  const put = async (plural: string, record: object): Promise<Answer> => {
    const answer = await x.api("PUT", plural, { [plural]: [record] });
    if (answer.status !== 200) throw new Error(JSON.stringify(answer.body));
    return answer;
  };
  const terms = { Day: 14, Type: "DAYSAFTERBILLDATE" };
  const address = { AddressLine1: "1", AddressLine2: "2", AddressLine3: "3", AddressLine4: "4", AttentionTo: "A" };
  const full = {
    Name: "Example",
    ContactNumber: "EX-1",
    FirstName: "E",
    LastName: "X",
    AccountNumber: "1",
    CompanyNumber: "2",
    TaxNumber: "3",
    AccountsReceivableTaxType: "OUTPUT",
    AccountsPayableTaxType: "INPUT",
    SalesDefaultAccountCode: "200",
    PurchasesDefaultAccountCode: "429",
    SalesDefaultLineAmountType: "INCLUSIVE",
    PurchasesDefaultLineAmountType: "INCLUSIVE",
    Website: "http://localhost",
    DefaultCurrency: "AUD",
    Discount: 1,
    PaymentTerms: { Bills: terms, Sales: terms },
    BatchPayments: { BankAccountNumber: "1", BankAccountName: "2", Details: "3", Code: "4", Reference: "5" },
    Addresses: [{ AddressType: "POBOX", ...address }],
    ContactPersons: [{ FirstName: "P", LastName: "Q", EmailAddress: "p@b.example", IncludeInEmails: true }],
  };
  const contact = String(at((await put("Contacts", full)).body, "Contacts.0.ContactID"));
  const group = String(
    at(await x.control("groups/add", { name: "Examples", contactIds: [contact] }), "contactGroupId"),
  );
  const invoice = async (Status: string) => {
    const LineItems = [{ Description: "x", UnitAmount: 100, AccountCode: "200" }];
    const record = { Type: "ACCREC", Contact: { ContactID: contact }, DueDate: "2027-01-01", Status, LineItems };
    return String(at((await put("Invoices", record)).body, "Invoices.0.InvoiceID"));
  };
  const [paid, approved, draft] = [await invoice("AUTHORISED"), await invoice("AUTHORISED"), await invoice("DRAFT")];
  const credits: string[] = [];
  for (const kind of ["CREDITNOTE", "OVERPAYMENT", "PREPAYMENT"]) {
    credits.push(String(at(await x.control("credit", { invoiceId: paid, amount: 1, kind }), "creditId")));
  }
  const payment = String(at(await x.control("pay", { invoiceId: paid, batchId: randomUUID() }), "paymentId"));
  const spentPayment = String(at(await x.control("pay", { invoiceId: approved, amount: 1 }), "paymentId"));
  const accounts = await x.api("GET", "Accounts");
  const [creditNote = "", overpayment = "", prepayment = ""] = credits;
  const account = String(
    at(
      listAt(accounts.body, "Accounts").find((one) => at(one, "Code") === "200"),
      "AccountID",
    ),
  );
  return {
    contact,
    group,
    account,
    invoice: paid,
    approved,
    draft,
    payment,
    spentPayment,
    creditNote,
    overpayment,
    prepayment,
  };
}
