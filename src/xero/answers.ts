/**
 * Owns the shapes in which Xero's answers leave this folder: plain types, amounts as decimal text, days as "YYYY-MM-DD",
 * instants as Date. What is undefined was absent or empty at Xero. Types and statuses are open strings, because Xero adds
 * values without a new API version. How they are read from the wire is in `schemas.ts` and `invoiceSchemas.ts`.
 * Source of the fields: https://developer.xero.com/documentation/api/accounting/invoices (and contacts, payments, …).
 */

export interface XeroOrganisationAnswer {
  organisationId?: string | undefined;
  name: string;
  shortCode?: string | undefined;
  baseCurrency?: string | undefined;
  countryCode?: string | undefined;
  /** Windows-style, as Xero gives it, e.g. `AUSEASTERNSTANDARDTIME`. */
  timeZone?: string | undefined;
  isDemoCompany: boolean;
  organisationClass?: string | undefined;
  periodLockDate?: string | undefined;
  endOfYearLockDate?: string | undefined;
}

export interface XeroAccountAnswer {
  accountId: string;
  code?: string | undefined;
  name: string;
  type: string;
  class: string;
  status: string;
  taxType?: string | undefined;
  enablePaymentsToAccount: boolean;
  systemAccount?: string | undefined;
}

export interface XeroTaxRateAnswer {
  taxType: string;
  name: string;
  /** Percent, as decimal text; the one to compute with when there are several components. */
  effectiveRate: string;
  status: string;
  canApplyToRevenue: boolean;
  components: { name: string; rate: string; compound: boolean }[];
}

export interface XeroContactAnswer {
  contactId: string;
  contactNumber?: string | undefined;
  name: string;
  firstName?: string | undefined;
  lastName?: string | undefined;
  email?: string | undefined;
  /** The slot that Xero calls DEFAULT. */
  phone?: string | undefined;
  status: string;
  mergedToContactId?: string | undefined;
  isSupplier: boolean;
  isCustomer: boolean;
  updatedAt: Date;
}

export interface XeroContactGroupAnswer {
  id: string;
  name: string;
}

export interface XeroInvoiceLineAnswer {
  lineItemId?: string | undefined;
  description?: string | undefined;
  quantity?: string | undefined;
  unitAmount?: string | undefined;
  itemCode?: string | undefined;
  accountCode?: string | undefined;
  accountId?: string | undefined;
  taxType?: string | undefined;
  taxAmount?: string | undefined;
  lineAmount?: string | undefined;
}

/** A credit note, prepayment or overpayment applied to this invoice, and how much of it where Xero says so. */
export interface XeroCreditAnswer {
  id: string;
  amount?: string | undefined;
  date?: string | undefined;
}

export interface XeroInvoiceAnswer {
  invoiceId: string;
  invoiceNumber?: string | undefined;
  reference?: string | undefined;
  url?: string | undefined;
  type: string;
  status: string;
  contactId: string;
  contactName?: string | undefined;
  date?: string | undefined;
  dueDate?: string | undefined;
  currencyCode?: string | undefined;
  lineAmountTypes: string;
  subTotal: string;
  totalTax: string;
  total: string;
  amountDue: string;
  amountPaid: string;
  /** Credit notes, prepayments and overpayments: an invoice can be PAID without any payment. */
  amountCredited: string;
  updatedAt: Date;
  lines: XeroInvoiceLineAnswer[];
  payments: { paymentId: string; date?: string | undefined; amount: string; reference?: string | undefined }[];
  creditNotes: XeroCreditAnswer[];
  prepayments: XeroCreditAnswer[];
  overpayments: XeroCreditAnswer[];
  warnings: string[];
}

export interface XeroPaymentAnswer {
  paymentId: string;
  invoiceId?: string | undefined;
  amount: string;
  date?: string | undefined;
  status: string;
  paymentType?: string | undefined;
  reference?: string | undefined;
  isReconciled: boolean;
  updatedAt: Date;
}

/** One invoice of a batch. A refused one echoes what was sent; the caller matches either by `url` and `reference`. */
export type InvoiceOutcome =
  { ok: true; invoice: XeroInvoiceAnswer } | { ok: false; invoice: InvoiceEcho; messages: string[] };

/** One payment of a batch; the caller matches it by the reference it was sent with. */
export type PaymentOutcome =
  { ok: true; payment: XeroPaymentAnswer } | { ok: false; reference?: string | undefined; messages: string[] };

export interface InvoiceEcho {
  invoiceId?: string | undefined;
  invoiceNumber?: string | undefined;
  reference?: string | undefined;
  url?: string | undefined;
}

/** One contact of a batch, in the order in which they were sent, matched by what identifies it and not by position. */
export type ElementOutcome<Answer> =
  | { ok: true; answer: Answer; warnings: string[] }
  | { ok: false; contactId?: string | undefined; contactNumber?: string | undefined; messages: string[] };
