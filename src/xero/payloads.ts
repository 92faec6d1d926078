/**
 * Owns what we send: our own plain types for invoices and contacts, and the one place that turns them into Xero's JSON.
 *
 * The body is text of ours, not xero-node's: an invoice batch is stored before it is sent and must go out byte-identical
 * on every repeat under its idempotency key, or Xero answers "used with a different request"
 * (https://developer.xero.com/documentation/guides/idempotent-requests/idempotency). Amounts go from decimal text to JSON
 * numbers without ever being a double.
 */
import { Big } from "big.js";

/** Percent and amounts are decimal text; dates are "YYYY-MM-DD". What is undefined is not sent. */
export interface InvoicePayload {
  /** For POST only: an invoice that names its id is updated. */
  invoiceId?: string | undefined;
  /** Left out where Xero numbers. */
  invoiceNumber?: string | undefined;
  contactId?: string | undefined;
  date?: string | undefined;
  dueDate?: string | undefined;
  reference?: string | undefined;
  /** Must not contain "xero". */
  url?: string | undefined;
  status?: string | undefined;
  lineAmountTypes?: "Exclusive" | "Inclusive" | "NoTax" | undefined;
  currencyCode?: string | undefined;
  brandingThemeId?: string | undefined;
  /** Left out for a change of status only; given, they replace every line that Xero has. */
  lines?: InvoiceLinePayload[] | undefined;
}

export interface InvoiceLinePayload {
  lineItemId?: string | undefined;
  description: string;
  quantity?: string | undefined;
  unitAmount?: string | undefined;
  itemCode?: string | undefined;
  accountCode?: string | undefined;
  taxType?: string | undefined;
  taxAmount?: string | undefined;
  lineAmount?: string | undefined;
}

/** An empty text clears the field at Xero; undefined leaves it alone. */
export interface ContactPayload {
  contactId?: string | undefined;
  contactNumber?: string | undefined;
  name: string;
  firstName?: string | undefined;
  lastName?: string | undefined;
  email?: string | undefined;
  phone?: string | undefined;
}

/** A payment of an invoice that is approved in Xero; there is no changing it later. */
export interface PaymentPayload {
  invoiceId: string;
  accountId: string;
  date: string;
  amount: string;
  reference: string;
}

/** The exact body of a batch of payments. */
export function serializePayments(payments: PaymentPayload[]): string {
  return json({
    Payments: payments.map(({ invoiceId, accountId, date, amount, reference }) => ({
      Invoice: { InvoiceID: invoiceId },
      Account: { AccountID: accountId },
      Date: date,
      Amount: decimal(amount),
      Reference: reference,
    })),
  });
}

/** The exact body of a batch of sales invoices: the same invoices always give the same text. Throws TypeError on an amount that is no decimal. */
export function serializeInvoices(invoices: InvoicePayload[]): string {
  return json({ Invoices: invoices.map(wireInvoice) });
}

/** The exact body of a batch of contacts. */
export function serializeContacts(contacts: ContactPayload[]): string {
  return json({ Contacts: contacts.map(wireContact) });
}

function wireInvoice(invoice: InvoicePayload): Wire {
  return {
    Type: "ACCREC",
    InvoiceID: invoice.invoiceId,
    InvoiceNumber: invoice.invoiceNumber,
    // The id alone: any other field of the contact would change it at Xero, and a name could create one.
    Contact: invoice.contactId === undefined ? undefined : { ContactID: invoice.contactId },
    Date: invoice.date,
    DueDate: invoice.dueDate,
    Reference: invoice.reference,
    Url: invoice.url,
    Status: invoice.status,
    LineAmountTypes: invoice.lineAmountTypes,
    CurrencyCode: invoice.currencyCode,
    BrandingThemeID: invoice.brandingThemeId,
    LineItems: invoice.lines?.map((line) => ({
      LineItemID: line.lineItemId,
      Description: line.description,
      Quantity: decimal(line.quantity),
      UnitAmount: decimal(line.unitAmount),
      ItemCode: line.itemCode,
      AccountCode: line.accountCode,
      TaxType: line.taxType,
      TaxAmount: decimal(line.taxAmount),
      LineAmount: decimal(line.lineAmount),
    })),
  };
}

function wireContact(contact: ContactPayload): Wire {
  return {
    ContactID: contact.contactId,
    ContactNumber: contact.contactNumber,
    Name: contact.name,
    FirstName: contact.firstName,
    LastName: contact.lastName,
    EmailAddress: contact.email,
    // Codes that somebody typed into Xero must not stay in front of a number that brings its own.
    Phones:
      contact.phone === undefined
        ? undefined
        : [{ PhoneType: "DEFAULT", PhoneCountryCode: "", PhoneAreaCode: "", PhoneNumber: contact.phone }],
  };
}

/** A JSON number, already written. */
class Exact {
  constructor(readonly text: string) {}
}

type Wire = string | Exact | Wire[] | { [name: string]: Wire | undefined };

function decimal(text: string | undefined): Exact | undefined {
  if (text === undefined) return undefined;
  if (!/^-?\d+(\.\d+)?$/.test(text)) throw new TypeError("not a decimal in plain notation");
  return new Exact(new Big(text).toFixed());
}

function json(value: Wire): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (value instanceof Exact) return value.text;
  if (Array.isArray(value)) return `[${value.map(json).join(",")}]`;
  const members = Object.entries(value).flatMap(([name, member]) =>
    member === undefined ? [] : `${JSON.stringify(name)}:${json(member)}`,
  );
  return `{${members.join(",")}}`;
}
