/**
 * Owns how an invoice looks on the wire in each place it appears. Leaves its rules to invoices.ts.
 *
 * Source: docs/xero-facts.md section 7, recorded answers: a write answers without Payments, CreditNotes, AmountCredited
 * and HasAttachments; un-paged lists show no lines; payments are listed by a few fields, without their status; unit
 * amounts show two places unless unitdp=4.
 */
import type { Json } from "../http.js";
import { wireDate, wireDateString, wireInstant, wireInstantString, round2 } from "../wire.js";
import { mentionedContact, wholeContact } from "./contactWire.js";
import type { Organisation } from "./Organisation.js";
import type { Credit, CreditKind, Invoice, Line } from "./records.js";
import { amountDue } from "./settlement.js";

type InvoiceView = "written" | "single" | "paged" | "unpaged" | "summary" | "mentioned" | "nested" | "paid";

/** The invoice as that place shows it: nested in a payment just made, paid in one that is read. */
export function wireInvoice(org: Organisation, invoice: Invoice, view: InvoiceView, unitDecimals: 2 | 4): Json {
  const contact = org.contacts.get(invoice.contactId);
  const whole = view === "written" || view === "single";
  const contactJson = contact ? (whole ? wholeContact(org, contact) : mentionedContact(contact)) : {};
  if (view === "mentioned") return mentioned(invoice, contactJson);
  const withLines = whole || view === "paged" || view === "nested" || view === "paid";
  return {
    Type: invoice.type,
    InvoiceID: invoice.id,
    InvoiceNumber: invoice.number ?? "",
    ...(invoice.type === "ACCREC" ? { Reference: invoice.reference ?? "" } : {}),
    ...(view === "written" || view === "nested" || view === "summary" ? {} : read(org, invoice)),
    ...(view === "summary" ? {} : { Prepayments: creditsOf(org, invoice, "PREPAYMENT") }),
    ...(view === "summary" ? {} : { Overpayments: creditsOf(org, invoice, "OVERPAYMENT") }),
    ...(view === "written" ? { InvoicePaymentServices: [] } : {}),
    AmountDue: amountDue(invoice).toNumber(),
    AmountPaid: invoice.amountPaid.toNumber(),
    ...(view === "written" ? {} : { AmountCredited: invoice.amountCredited.toNumber() }),
    SentToContact: invoice.sentToContact,
    CurrencyRate: 1,
    HasErrors: false,
    IsDiscounted: invoice.lines.some((line) => line.discountRate ?? line.discountAmount),
    ...(invoice.url === undefined ? {} : { Url: invoice.url }),
    ...(invoice.brandingThemeId === undefined ? {} : { BrandingThemeID: invoice.brandingThemeId }),
    ...day("ExpectedPaymentDate", invoice.expectedPaymentDate),
    ...day("PlannedPaymentDate", invoice.plannedPaymentDate),
    Contact: contactJson,
    ...day("Date", invoice.date),
    ...day("DueDate", invoice.dueDate),
    Status: invoice.status,
    LineAmountTypes: invoice.lineAmountTypes,
    ...(view === "summary"
      ? {}
      : { LineItems: withLines ? invoice.lines.map((line) => wireLine(org, line, unitDecimals)) : [] }),
    SubTotal: invoice.subTotal.toNumber(),
    TotalTax: invoice.totalTax.toNumber(),
    Total: invoice.total.toNumber(),
    UpdatedDateUTC: wireInstant(invoice.updatedAt),
    UpdatedDateUTCString: wireInstantString(invoice.updatedAt),
    CurrencyCode: invoice.currencyCode,
    ...(invoice.fullyPaidOn === undefined ? {} : { FullyPaidOnDate: wireDate(invoice.fullyPaidOn) }),
  };
}

function mentioned(invoice: Invoice, contact: Json): Json {
  return {
    Type: invoice.type,
    InvoiceID: invoice.id,
    InvoiceNumber: invoice.number ?? "",
    Payments: [],
    CreditNotes: [],
    Prepayments: [],
    Overpayments: [],
    HasErrors: false,
    IsDiscounted: false,
    Contact: contact,
    LineItems: [],
    CurrencyCode: invoice.currencyCode,
  };
}

function read(org: Organisation, invoice: Invoice): Json {
  return {
    Payments: org.paymentsOf(invoice.id).map((payment) => ({
      PaymentID: payment.id,
      Date: wireDate(payment.date),
      Amount: payment.amount.toNumber(),
      Reference: payment.reference ?? "",
      CurrencyRate: 1,
      HasAccount: false,
      HasValidationErrors: false,
    })),
    CreditNotes: creditsOf(org, invoice, "CREDITNOTE"),
    HasAttachments: false,
  };
}

const creditNames: Readonly<Record<CreditKind, string>> = {
  CREDITNOTE: "CreditNoteID",
  OVERPAYMENT: "OverpaymentID",
  PREPAYMENT: "PrepaymentID",
};

function creditsOf(org: Organisation, invoice: Invoice, kind: CreditKind): Json[] {
  return org
    .creditsOf(invoice.id)
    .filter((credit) => credit.kind === kind)
    .map((credit) => ({
      [creditNames[kind]]: credit.id,
      ...(kind === "CREDITNOTE" ? { CreditNoteNumber: credit.number ?? "" } : {}),
      ID: credit.id,
      HasErrors: false,
      AppliedAmount: applied(credit, invoice),
      ...day("Date", credit.date),
      LineItems: [],
      Total: credit.total.toNumber(),
    }));
}

function applied(credit: Credit, invoice: Invoice): number {
  return credit.allocations
    .filter((one) => one.invoiceId === invoice.id)
    .reduce((sum, one) => round2(one.amount.plus(sum)).toNumber(), 0);
}

function wireLine(org: Organisation, line: Line, unitDecimals: 2 | 4): Json {
  const account = line.accountId === undefined ? undefined : org.accounts.get(line.accountId);
  const unit = line.unitAmount && unitDecimals === 2 ? round2(line.unitAmount) : line.unitAmount;
  return {
    ...(line.itemCode === undefined ? {} : { ItemCode: line.itemCode }),
    Description: line.description ?? "",
    ...(unit === undefined ? {} : { UnitAmount: unit.toNumber() }),
    ...(line.taxType === undefined ? {} : { TaxType: line.taxType }),
    TaxAmount: line.taxAmount.toNumber(),
    LineAmount: line.lineAmount.toNumber(),
    ...(account === undefined ? {} : { AccountCode: account.code, AccountID: account.id }),
    Tracking: line.tracking,
    ...(line.quantity === undefined ? {} : { Quantity: line.quantity.toNumber() }),
    ...(line.discountRate === undefined ? {} : { DiscountRate: line.discountRate.toNumber() }),
    ...(line.discountAmount === undefined ? {} : { DiscountAmount: line.discountAmount.toNumber() }),
    LineItemID: line.id,
    ValidationErrors: [],
  };
}

function day(name: string, value: string | undefined): Json {
  return value === undefined ? {} : { [`${name}String`]: wireDateString(value), [name]: wireDate(value) };
}
