/**
 * Owns the rules of payments: into which accounts, how much, against what, and that they only ever end. Leaves the
 * sums of the invoice to settlement.ts.
 *
 * Source: docs/xero-facts.md section 8. Which category announces a payment is not documented: switch `paymentEvents`.
 */
import { randomUUID } from "node:crypto";
import Big from "big.js";
import type { Fields } from "../Fields.js";
import type { Json } from "../http.js";
import { Invalid, notFound, refuseIf, Refusal } from "../refusals.js";
import { round2, wireDate, wireInstant, wireInstantString } from "../wire.js";
import type { Changes } from "./Changes.js";
import { lockedMessages } from "./invoices.js";
import { wireInvoice } from "./invoiceWire.js";
import type { Organisation } from "./Organisation.js";
import type { Account, Invoice, Payment } from "./records.js";
import { amountDue, settle } from "./settlement.js";

/** How a person's payments differ from the API's: they may be one batch, and be deleted whatever they are part of. */
interface PersonsPayment {
  readonly batchId?: string | undefined;
}

/** Pays an approved invoice; an unknown InvoiceID ends the whole call with 404. */
export function createPayment(org: Organisation, element: Fields, changes: Changes, person?: PersonsPayment): Payment {
  const invoice = paidInvoice(org, element);
  const account = payingAccount(org, element.part("Account"));
  const date = element.day("Date") ?? org.today();
  const amount = element.decimal("Amount");
  if (!amount?.gt(0)) throw new Invalid(["The payment amount must be greater than zero."]);
  const messages = lockedMessages(org, [date]);
  if (amount.gt(amountDue(invoice)) || invoice.status !== "AUTHORISED") {
    messages.push("Payment amount exceeds the amount outstanding on this document");
  }
  if (invoice.status !== "AUTHORISED") messages.push("Payments can only be made against Authorised documents");
  refuseIf(messages);
  const payment: Payment = {
    id: randomUUID(),
    invoiceId: invoice.id,
    accountId: account.id,
    type: `${invoice.type}PAYMENT`,
    date,
    amount: round2(amount),
    reference: element.text("Reference"),
    batchId: person?.batchId,
    isReconciled: element.flag("IsReconciled") ?? false,
    status: "AUTHORISED",
    updatedAt: org.clock.now(),
  };
  changes.put(org.payments, payment.id, payment);
  changes.put(org.paymentIdsByInvoice, invoice.id, [...(org.paymentIdsByInvoice.get(invoice.id) ?? []), payment.id]);
  settle(org, invoice, changes);
  announcePayment(org, payment, "CREATE", changes);
  return payment;
}

/** Deletes a payment; the invoice is due again. There is no other change of a payment. */
export function deletePayment(
  org: Organisation,
  id: string,
  element: Fields,
  changes: Changes,
  person?: PersonsPayment,
): Payment {
  const payment = org.payments.get(id.toLowerCase());
  if (!payment) throw new Refusal(notFound());
  if (element.text("Status")?.toUpperCase() !== "DELETED") throw new Invalid(["A payment can only be deleted."]);
  if (payment.status === "DELETED") throw new Invalid(["This payment has already been deleted."]);
  if (!person && payment.isReconciled) {
    throw new Invalid(["This payment has been reconciled and cannot be deleted."]);
  }
  if (!person && payment.batchId !== undefined) {
    throw new Invalid(["This payment is part of a batch and cannot be deleted singly."]);
  }
  const invoice = org.invoices.get(payment.invoiceId);
  changes.edit(payment, { status: "DELETED", updatedAt: org.clock.now() });
  if (invoice) settle(org, invoice, changes);
  announcePayment(org, payment, "UPDATE", changes);
  return payment;
}

/** The payment on the wire, with as much of its invoice as that place shows. */
export function wirePayment(org: Organisation, payment: Payment, view: "nested" | "paid" | "mentioned"): Json {
  const account = org.accounts.get(payment.accountId);
  const invoice = org.invoices.get(payment.invoiceId);
  return {
    PaymentID: payment.id,
    ...wireBatch(org, payment),
    Date: wireDate(payment.date),
    BankAmount: payment.amount.toNumber(),
    Amount: payment.amount.toNumber(),
    Reference: payment.reference ?? "",
    CurrencyRate: 1,
    PaymentType: payment.type,
    Status: payment.status,
    UpdatedDateUTC: wireInstant(payment.updatedAt),
    UpdatedDateUTCString: wireInstantString(payment.updatedAt),
    HasAccount: account !== undefined,
    IsReconciled: payment.isReconciled,
    ...(account ? { Account: wireAccount(account, view !== "mentioned") } : {}),
    ...(invoice ? { Invoice: wireInvoice(org, invoice, view, 2) } : {}),
    HasValidationErrors: false,
  };
}

/** What the payments of one batch carry; its total is text, as recorded. */
function wireBatch(org: Organisation, payment: Payment): Json {
  const { batchId } = payment;
  if (batchId === undefined) return {};
  const total = [...org.payments.values()]
    .filter((one) => one.batchId === batchId && one.status === "AUTHORISED")
    .reduce((sum, one) => sum.plus(one.amount), new Big(0));
  const batch = {
    Account: { AccountID: payment.accountId },
    BatchPaymentID: batchId,
    Date: wireDate(payment.date),
    Type: payment.type.startsWith("ACCREC") ? "RECBATCH" : "PAYBATCH",
    Status: payment.status,
    TotalAmount: total.toFixed(2),
    UpdatedDateUTC: wireInstant(payment.updatedAt),
    IsReconciled: String(payment.isReconciled),
  };
  return { BatchPaymentID: batchId, BatchPayment: batch };
}

function wireAccount(account: Account, withName: boolean): Json {
  return {
    AccountID: account.id,
    ...(account.code === undefined ? {} : { Code: account.code }),
    ...(withName ? { Name: account.name } : {}),
  };
}

function paidInvoice(org: Organisation, element: Fields): Invoice {
  const sent = element.part("Invoice");
  const id = sent?.id("InvoiceID") ?? element.id("InvoiceID");
  const number = sent?.text("InvoiceNumber") ?? element.text("InvoiceNumber");
  if (id !== undefined) {
    const invoice = org.invoices.get(id);
    if (!invoice) throw new Refusal(notFound());
    return invoice;
  }
  const invoice = number === undefined ? undefined : org.invoiceByNumber(number);
  if (!invoice) throw new Invalid(["The invoice of the payment could not be found."]);
  return invoice;
}

function payingAccount(org: Organisation, sent: Fields | undefined): Account {
  const id = sent?.id("AccountID");
  const code = sent?.text("Code");
  if (id === undefined && (code ?? "") === "") {
    throw new Invalid(["You must specify an Account code or Account ID for the payment"]);
  }
  const account = org.account({ id, code });
  if (account?.status !== "ACTIVE") throw new Invalid(["Account could not be found"]);
  if (account.type !== "BANK" && !account.enablePayments) {
    throw new Invalid(["Account type is invalid for making a payment to/from"]);
  }
  return account;
}

function announcePayment(org: Organisation, payment: Payment, type: "CREATE" | "UPDATE", changes: Changes): void {
  if (org.switches.paymentEvents.includes("INVOICE")) {
    changes.announce({ category: "INVOICE", type: "UPDATE", resourceId: payment.invoiceId });
  }
  if (org.switches.paymentEvents.includes("PAYMENT")) {
    changes.announce({ category: "PAYMENT", type, resourceId: payment.id });
  }
}
