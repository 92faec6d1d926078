/**
 * Owns the reading of Xero's invoices and payments into our types, and of what became of each element of a batch.
 *
 * A batch with summarizeErrors=false answers 200 with every element, `StatusAttributeString` OK, WARNING or ERROR; the good
 * ones are saved, a refused one echoes what was sent (recorded from the live API). The answer to a create lacks payments,
 * credits and AmountCredited, which a read has.
 */
import { Big } from "big.js";
import { z } from "zod";
import type {
  InvoiceOutcome,
  PaymentOutcome,
  XeroCreditAnswer,
  XeroInvoiceAnswer,
  XeroPaymentAnswer,
} from "./answers.js";
import {
  decimal,
  decimalOrZero,
  flag,
  id,
  listOf,
  optionalDate,
  optionalDecimal,
  optionalId,
  optionalText,
  refusal,
  text,
  time,
} from "./fields.js";
import { boundMessages } from "./XeroFailure.js";

const line = z
  .object({
    LineItemID: optionalId,
    Description: optionalText,
    Quantity: optionalDecimal,
    UnitAmount: optionalDecimal,
    ItemCode: optionalText,
    AccountCode: optionalText,
    AccountID: optionalId,
    TaxType: optionalText,
    TaxAmount: optionalDecimal,
    LineAmount: optionalDecimal,
  })
  .transform((wire) => ({
    lineItemId: wire.LineItemID,
    description: wire.Description,
    quantity: wire.Quantity,
    unitAmount: wire.UnitAmount,
    itemCode: wire.ItemCode,
    accountCode: wire.AccountCode,
    accountId: wire.AccountID,
    taxType: wire.TaxType,
    taxAmount: wire.TaxAmount,
    lineAmount: wire.LineAmount,
  }));

const invoicePayment = z
  .object({ PaymentID: id, Date: optionalDate, Amount: decimal, Reference: optionalText })
  .transform((wire) => ({
    paymentId: wire.PaymentID,
    date: wire.Date,
    amount: wire.Amount,
    reference: wire.Reference,
  }));

function credit(idName: string): z.ZodType<XeroCreditAnswer> {
  return z
    .looseObject({ AppliedAmount: optionalDecimal, Date: optionalDate })
    .transform((wire) => ({ id: id.safeParse(wire[idName]).data ?? "", amount: wire.AppliedAmount, date: wire.Date }));
}

// Strict, unlike other lists: a payment left out would make the paid total too small.
const payments = z.array(invoicePayment).nullish();

const contactOfInvoice = z.object({ ContactID: text, Name: optionalText }).catch({ ContactID: "", Name: undefined });

export const invoiceSchema: z.ZodType<XeroInvoiceAnswer> = z
  .object({
    InvoiceID: id,
    InvoiceNumber: optionalText,
    Reference: optionalText,
    Url: optionalText,
    Type: text,
    Status: text,
    Contact: contactOfInvoice,
    DateString: optionalDate,
    Date: optionalDate,
    DueDateString: optionalDate,
    DueDate: optionalDate,
    CurrencyCode: optionalText,
    LineAmountTypes: text,
    SubTotal: decimalOrZero,
    TotalTax: decimalOrZero,
    Total: decimal,
    AmountDue: optionalDecimal,
    AmountPaid: decimalOrZero,
    AmountCredited: decimalOrZero,
    UpdatedDateUTC: time,
    LineItems: listOf(line),
    Payments: payments,
    CreditNotes: listOf(credit("CreditNoteID")),
    Prepayments: listOf(credit("PrepaymentID")),
    Overpayments: listOf(credit("OverpaymentID")),
    Warnings: listOf(z.object({ Message: z.string() })),
  })
  .transform((wire) => ({
    invoiceId: wire.InvoiceID,
    invoiceNumber: wire.InvoiceNumber,
    reference: wire.Reference,
    url: wire.Url,
    type: wire.Type,
    status: wire.Status,
    contactId: wire.Contact.ContactID,
    contactName: wire.Contact.Name,
    date: wire.DateString ?? wire.Date,
    dueDate: wire.DueDateString ?? wire.DueDate,
    currencyCode: wire.CurrencyCode,
    lineAmountTypes: wire.LineAmountTypes,
    subTotal: wire.SubTotal,
    totalTax: wire.TotalTax,
    total: wire.Total,
    // Nothing due must never be what a missing field says.
    amountDue: wire.AmountDue ?? new Big(wire.Total).minus(wire.AmountPaid).minus(wire.AmountCredited).toFixed(),
    amountPaid: wire.AmountPaid,
    amountCredited: wire.AmountCredited,
    updatedAt: wire.UpdatedDateUTC,
    lines: wire.LineItems,
    payments: wire.Payments ?? [],
    creditNotes: wire.CreditNotes,
    prepayments: wire.Prepayments,
    overpayments: wire.Overpayments,
    warnings: boundMessages(wire.Warnings.map((item) => item.Message)),
  }));

export const paymentSchema: z.ZodType<XeroPaymentAnswer> = z
  .object({
    PaymentID: id,
    Invoice: z.object({ InvoiceID: optionalId }).catch({ InvoiceID: undefined }),
    Amount: decimal,
    Date: optionalDate,
    Status: z.string(),
    PaymentType: optionalText,
    Reference: optionalText,
    IsReconciled: flag,
    UpdatedDateUTC: time,
  })
  .transform((wire) => ({
    paymentId: wire.PaymentID,
    invoiceId: wire.Invoice.InvoiceID,
    amount: wire.Amount,
    date: wire.Date,
    status: wire.Status,
    paymentType: wire.PaymentType,
    reference: wire.Reference,
    isReconciled: wire.IsReconciled,
    updatedAt: wire.UpdatedDateUTC,
  }));

const echo = z
  .object({ InvoiceID: optionalId, InvoiceNumber: optionalText, Reference: optionalText, Url: optionalText })
  .transform((wire) => ({
    invoiceId: wire.InvoiceID,
    invoiceNumber: wire.InvoiceNumber,
    reference: wire.Reference,
    url: wire.Url,
  }));

/** One invoice of a batch's answer: saved or refused; fails to parse where it is neither. */
export const invoiceOutcomeSchema: z.ZodType<InvoiceOutcome> = z.unknown().transform((element, context) => {
  const messages = refusal(element);
  if (messages !== undefined) return { ok: false as const, invoice: echo.parse(element), messages };
  const saved = invoiceSchema.safeParse(element);
  if (saved.success) return { ok: true as const, invoice: saved.data };
  context.addIssue({ code: "custom", message: "neither saved nor refused" });
  return z.NEVER;
});

/** One payment of a batch's answer, likewise. */
export const paymentOutcomeSchema: z.ZodType<PaymentOutcome> = z.unknown().transform((element, context) => {
  const messages = refusal(element);
  if (messages !== undefined) return { ok: false as const, reference: echo.parse(element).reference, messages };
  const saved = paymentSchema.safeParse(element);
  if (saved.success) return { ok: true as const, payment: saved.data };
  context.addIssue({ code: "custom", message: "neither saved nor refused" });
  return z.NEVER;
});
