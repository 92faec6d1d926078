/**
 * Owns the rules of invoices and bills: whom an element means, numbers, the status machine, lock dates, edits. Leaves
 * lines to lineItems.ts, what is paid to settlement.ts, the wire shape to invoiceWire.ts.
 *
 * Source: docs/xero-facts.md section 7. PUT creates; POST updates by id, else by number, else creates. A paid, voided or
 * deleted invoice takes no edit; an approved one only while nothing is allocated to it; nothing moves in a locked
 * period.
 */
import { randomUUID } from "node:crypto";
import Big from "big.js";
import type { Fields } from "../Fields.js";
import { Invalid, notFound, refuseIf, Refusal } from "../refusals.js";
import { spokenDay } from "../wire.js";
import type { Changes } from "./Changes.js";
import { meantBy, saveContact, updateContact } from "./contacts.js";
import { readLine, restated, totals, type LineSetting } from "./lineItems.js";
import type { Organisation } from "./Organisation.js";
import type { Contact, Invoice, Line, LineAmountTypes } from "./records.js";
import { settle } from "./settlement.js";

const statusMessage = "Invoice not of valid status for modification";
const allocatedMessage = "This document cannot be edited as it has a payment or credit note allocated to it.";
const negativeTotal = "The total of an invoice must not be negative.";
const notUnique = "Invoice # must be unique.";

const transitions: Readonly<Record<string, readonly string[]>> = {
  DRAFT: ["DRAFT", "SUBMITTED", "AUTHORISED", "DELETED"],
  SUBMITTED: ["SUBMITTED", "AUTHORISED", "DRAFT", "DELETED"],
  AUTHORISED: ["AUTHORISED", "VOIDED"],
};

interface WriteSetting {
  readonly unitDecimals: 2 | 4;
  readonly byApp: boolean;
}

/** Creates the invoice an element describes. */
export function createInvoice(org: Organisation, element: Fields, setting: WriteSetting, changes: Changes): Invoice {
  const id = element.id("InvoiceID");
  if (id !== undefined && !org.invoices.has(id)) throw new Refusal(notFound());
  if (id !== undefined) throw new Invalid([notUnique]);
  return insert(org, element, setting, changes);
}

/** Updates the invoice an element means, or creates it. */
export function saveInvoice(org: Organisation, element: Fields, setting: WriteSetting, changes: Changes): Invoice {
  const id = element.id("InvoiceID");
  const number = element.text("InvoiceNumber");
  const known =
    id !== undefined
      ? org.invoices.get(id)
      : number !== undefined && number !== "" && element.text("Type")?.toUpperCase() !== "ACCPAY"
        ? org.invoiceByNumber(number)
        : undefined;
  if (id !== undefined && !known) throw new Refusal(notFound());
  const reusable = id === undefined && known !== undefined && isRemoved(known) && org.switches.reuseRemovedNumbers;
  return known && !reusable
    ? updateInvoice(org, known, element, setting, changes)
    : insert(org, element, setting, changes);
}

/** Changes an invoice; what is not sent stays, lines that are not named among sent lines go. */
export function updateInvoice(
  org: Organisation,
  invoice: Invoice,
  element: Fields,
  setting: WriteSetting,
  changes: Changes,
): Invoice {
  const status = element.text("Status")?.toUpperCase() ?? invoice.status;
  const allocated = invoice.amountPaid.gt(0) || invoice.amountCredited.gt(0);
  if (allocated) throw new Invalid([statusMessage, allocatedMessage]);
  if (!transitions[invoice.status]?.includes(status)) throw new Invalid([statusMessage]);
  const date = element.day("Date") ?? invoice.date;
  const ends = status === "VOIDED" || status === "DELETED";
  const messages = lockedMessages(org, [invoice.date, date]);
  const contact = contactFor(org, element.part("Contact"), changes);
  const dueDate = element.day("DueDate") ?? invoice.dueDate;
  const types = lineAmountTypes(element, messages) ?? invoice.lineAmountTypes;
  const lineSetting = lineSettingOf(org, invoice.type, types, status, setting, messages);
  const lines = linesFor(lineSetting, element, invoice.lines, types !== invoice.lineAmountTypes);
  if (!ends) messages.push(...incomplete(status, dueDate, lines));
  const sentNumber = element.text("InvoiceNumber");
  const number = sentNumber === undefined || sentNumber === "" ? invoice.number : sentNumber;
  messages.push(...badFields(org, element, invoice.type, number, invoice.id));
  const sums = totals(lines, types);
  if (sums.total.lt(0)) messages.push(negativeTotal);
  refuseIf(messages);
  if (status === "AUTHORISED" && invoice.status !== "AUTHORISED") countApproval(org, invoice.type, changes);

  renumber(org, invoice, number, changes);
  if (contact && contact.id !== invoice.contactId) moveToContact(org, invoice, contact, changes);
  changes.edit(invoice, {
    ...plainFields(element, invoice),
    number,
    contactId: contact?.id ?? invoice.contactId,
    date,
    dueDate,
    status,
    lineAmountTypes: types,
    lines,
    ...sums,
    sentToContact: (status === "AUTHORISED" && element.flag("SentToContact")) || invoice.sentToContact,
    updatedAt: org.clock.now(),
  });
  changes.announce({ category: "INVOICE", type: "UPDATE", resourceId: invoice.id });
  settle(org, invoice, changes);
  return invoice;
}

/** Why none of these dates may be written, if one is in a locked period. */
export function lockedMessages(org: Organisation, days: readonly string[]): string[] {
  const { periodLockDate, endOfYearLockDate } = org.profile;
  const locked = (lock: string | undefined): lock is string => lock !== undefined && days.some((day) => day <= lock);
  if (locked(endOfYearLockDate)) {
    return [
      `The document date cannot be before the end of year lock date, currently set at ${spokenDay(endOfYearLockDate)}`,
    ];
  }
  return locked(periodLockDate)
    ? [`The document date cannot be before the period lock date, currently set at ${spokenDay(periodLockDate)}`]
    : [];
}

function insert(org: Organisation, element: Fields, setting: WriteSetting, changes: Changes): Invoice {
  const type = element.text("Type")?.toUpperCase();
  if (type !== "ACCREC" && type !== "ACCPAY") throw new Invalid(["The invoice Type must be ACCREC or ACCPAY."]);
  const status = element.text("Status")?.toUpperCase() ?? "DRAFT";
  if (!["DRAFT", "SUBMITTED", "AUTHORISED"].includes(status)) throw new Invalid([statusMessage]);
  const contact = contactFor(org, element.part("Contact"), changes);
  if (!contact) throw new Invalid(["A Contact must be specified for this type of transaction"]);
  const date = element.day("Date") ?? org.today();
  const dueDate = element.day("DueDate");
  const messages = lockedMessages(org, [date]);
  const types = lineAmountTypes(element, messages) ?? "Exclusive";
  const lines = linesFor(lineSettingOf(org, type, types, status, setting, messages), element, [], false);
  messages.push(...incomplete(status, dueDate, lines));
  const sentNumber = element.text("InvoiceNumber");
  const given = sentNumber === "" ? undefined : sentNumber;
  messages.push(...badFields(org, element, type, given, undefined));
  const sums = totals(lines, types);
  if (sums.total.lt(0)) messages.push(negativeTotal);
  refuseIf(messages);
  if (status === "AUTHORISED") countApproval(org, type, changes);

  const invoice: Invoice = {
    id: randomUUID(),
    type,
    byApp: setting.byApp,
    ...plainFields(element, undefined),
    number: undefined,
    contactId: contact.id,
    date,
    dueDate,
    status,
    lineAmountTypes: types,
    lines,
    ...sums,
    amountPaid: new Big(0),
    amountCredited: new Big(0),
    currencyCode: element.text("CurrencyCode")?.toUpperCase() ?? org.profile.baseCurrency,
    sentToContact: status === "AUTHORISED" && (element.flag("SentToContact") ?? false),
    fullyPaidOn: undefined,
    updatedAt: org.clock.now(),
  };
  changes.put(org.invoices, invoice.id, invoice);
  moveToContact(org, invoice, contact, changes);
  renumber(org, invoice, given ?? (type === "ACCREC" ? org.nextInvoiceNumber(changes) : ""), changes);
  changes.announce({ category: "INVOICE", type: "CREATE", resourceId: invoice.id });
  settle(org, invoice, changes);
  return invoice;
}

/**
 * The contact an invoice's element means. By its id alone it is only found; with anything else it is updated, and its
 * persons go unless they are sent; an unknown name makes a new contact.
 */
function contactFor(org: Organisation, sent: Fields | undefined, changes: Changes): Contact | undefined {
  if (!sent || sent.size === 0) return undefined;
  const known = meantBy(org, sent);
  if (known && known.status !== "ACTIVE") {
    throw new Invalid([
      "The contact with the specified contact details has been archived. The contact must be un-archived before creating new invoices or credit notes.",
    ]);
  }
  if (!known) return saveContact(org, sent, changes);
  if (sent.size === 1) return known;
  const updated = updateContact(org, known, sent, changes);
  if (!sent.has("ContactPersons")) changes.edit(updated, { persons: [] });
  return updated;
}

function linesFor(
  setting: LineSetting,
  element: Fields,
  before: readonly Line[],
  isRestated: boolean,
): readonly Line[] {
  const sent = element.parts("LineItems");
  if (!sent || sent.length === 0) {
    return isRestated ? before.map((line) => restated(setting, line)) : before;
  }
  return sent.map((line) =>
    readLine(
      setting,
      line,
      before.find((known) => known.id === line.id("LineItemID")),
    ),
  );
}

function lineSettingOf(
  org: Organisation,
  type: Invoice["type"],
  types: LineAmountTypes,
  status: string,
  setting: WriteSetting,
  messages: string[],
): LineSetting {
  const approved = status === "AUTHORISED";
  return { org, type, lineAmountTypes: types, approved, unitDecimals: setting.unitDecimals, messages };
}

function lineAmountTypes(element: Fields, messages: string[]): LineAmountTypes | undefined {
  const sent = element.text("LineAmountTypes")?.toLowerCase();
  if (sent === undefined) return undefined;
  const known = (["Exclusive", "Inclusive", "NoTax"] as const).find((type) => type.toLowerCase() === sent);
  if (!known) messages.push("LineAmountTypes must be Exclusive, Inclusive or NoTax.");
  return known;
}

function incomplete(status: string, dueDate: string | undefined, lines: readonly Line[]): string[] {
  return [
    ...(status !== "DRAFT" && lines.length === 0 ? ["One or more line items must be specified"] : []),
    ...(status === "AUTHORISED" && dueDate === undefined ? ["Due date cannot be empty"] : []),
  ];
}

function badFields(
  org: Organisation,
  element: Fields,
  type: Invoice["type"],
  number: string | undefined,
  ownId: string | undefined,
): string[] {
  const messages: string[] = [];
  if ((number?.length ?? 0) > 255) messages.push("The invoice number must be at most 255 characters.");
  if ((element.text("Reference")?.length ?? 0) > 255) messages.push("The reference must be at most 255 characters.");
  const holder = type === "ACCREC" && number !== undefined ? org.invoiceByNumber(number) : undefined;
  const free = holder && isRemoved(holder) && org.switches.reuseRemovedNumbers;
  if (holder && holder.id !== ownId && !free) messages.push(notUnique);
  const currency = element.text("CurrencyCode")?.toUpperCase() ?? org.profile.baseCurrency;
  if (currency !== org.profile.baseCurrency) messages.push(`Organisation is not subscribed to currency ${currency}`);
  const url = element.text("Url");
  if (url !== undefined && url !== "" && (!URL.canParse(url) || /xero/i.test(url))) {
    messages.push("Url must be a valid absolute address and must not contain 'xero'.");
  }
  return messages;
}

type PlainFields = Pick<
  Invoice,
  "reference" | "url" | "brandingThemeId" | "expectedPaymentDate" | "plannedPaymentDate"
>;

function plainFields(element: Fields, before: PlainFields | undefined): PlainFields {
  return {
    reference: element.text("Reference") ?? before?.reference,
    url: element.text("Url") ?? before?.url,
    brandingThemeId: element.id("BrandingThemeID") ?? before?.brandingThemeId,
    expectedPaymentDate: element.day("ExpectedPaymentDate") ?? before?.expectedPaymentDate,
    plannedPaymentDate: element.day("PlannedPaymentDate") ?? before?.plannedPaymentDate,
  };
}

function isRemoved(invoice: Invoice): boolean {
  return invoice.status === "DELETED" || invoice.status === "VOIDED";
}

function renumber(org: Organisation, invoice: Invoice, number: string | undefined, changes: Changes): void {
  if (invoice.type === "ACCREC" && number !== invoice.number) {
    if (invoice.number !== undefined) changes.remove(org.invoiceIdByNumber, invoice.number.toLowerCase());
    if (number !== undefined) changes.put(org.invoiceIdByNumber, number.toLowerCase(), invoice.id);
  }
  changes.edit(invoice, { number });
}

function moveToContact(org: Organisation, invoice: Invoice, contact: Contact, changes: Changes): void {
  const former = org.invoiceIdsByContact.get(invoice.contactId);
  const latter = org.invoiceIdsByContact.get(contact.id) ?? new Set();
  org.invoiceIdsByContact.set(contact.id, latter);
  const left = former?.delete(invoice.id) ?? false;
  latter.add(invoice.id);
  changes.onRollback(() => {
    latter.delete(invoice.id);
    if (left) former?.add(invoice.id);
  });
  changes.edit(contact, invoice.type === "ACCREC" ? { isCustomer: true } : { isSupplier: true });
}

function countApproval(org: Organisation, type: Invoice["type"], changes: Changes): void {
  if (org.approvalsLeft === undefined || type === "ACCPAY") return;
  if (org.approvalsLeft === 0) throw new Invalid(["You have reached the limit of invoices you can approve"]);
  changes.edit(org, { approvalsLeft: org.approvalsLeft - 1 });
}
