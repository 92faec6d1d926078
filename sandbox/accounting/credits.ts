/**
 * Owns what settles an invoice without a payment: credit notes, overpayments and prepayments, as far as control
 * applies them. They raise AmountCredited, never AmountPaid. Leaves their creation through the API out: the service
 * only reads them.
 */
import { randomUUID } from "node:crypto";
import Big from "big.js";
import type { Json } from "../http.js";
import { Invalid } from "../refusals.js";
import { wireDate, wireDateString, wireInstant, wireInstantString } from "../wire.js";
import type { Changes } from "./Changes.js";
import { mentionedContact, wholeContact } from "./contactWire.js";
import type { Organisation } from "./Organisation.js";
import type { Credit, CreditKind, Invoice } from "./records.js";
import { amountDue, settle } from "./settlement.js";

const wireType: Readonly<Record<CreditKind, string>> = {
  CREDITNOTE: "ACCRECCREDIT",
  OVERPAYMENT: "RECEIVE-OVERPAYMENT",
  PREPAYMENT: "RECEIVE-PREPAYMENT",
};

const names: Readonly<Record<CreditKind, string>> = {
  CREDITNOTE: "CreditNote",
  OVERPAYMENT: "Overpayment",
  PREPAYMENT: "Prepayment",
};

const nothingElse = {
  Payments: [],
  CreditNotes: [],
  Prepayments: [],
  Overpayments: [],
  HasErrors: false,
  IsDiscounted: false,
  LineItems: [],
};

/** Makes a credit of that size and applies it to the invoice, as a person does in Xero. */
export function applyCredit(
  org: Organisation,
  invoice: Invoice,
  kind: CreditKind,
  amount: Big,
  changes: Changes,
): Credit {
  if (invoice.status !== "AUTHORISED" || amount.lte(0) || amount.gt(amountDue(invoice))) {
    throw new Invalid(["Credits can only be applied to Authorised documents, up to the amount outstanding."]);
  }
  const date = org.today();
  const credit: Credit = {
    id: randomUUID(),
    kind,
    number: kind === "CREDITNOTE" ? `CN-${String(org.credits.size + 1).padStart(4, "0")}` : undefined,
    contactId: invoice.contactId,
    date,
    total: amount,
    status: "PAID",
    allocations: [{ id: randomUUID(), invoiceId: invoice.id, amount, date }],
    updatedAt: org.clock.now(),
  };
  changes.put(org.credits, credit.id, credit);
  changes.put(org.creditIdsByInvoice, invoice.id, [...(org.creditIdsByInvoice.get(invoice.id) ?? []), credit.id]);
  announce(credit, "CREATE", changes);
  settle(org, invoice, changes);
  changes.announce({ category: "INVOICE", type: "UPDATE", resourceId: invoice.id });
  return credit;
}

/** Takes a credit off its invoice again. */
export function removeCredit(org: Organisation, credit: Credit, changes: Changes): void {
  const invoiceIds = new Set(credit.allocations.map((one) => one.invoiceId));
  changes.edit(credit, { allocations: [], status: "AUTHORISED", updatedAt: org.clock.now() });
  announce(credit, "UPDATE", changes);
  for (const id of invoiceIds) {
    const invoice = org.invoices.get(id);
    if (!invoice) continue;
    settle(org, invoice, changes);
    changes.announce({ category: "INVOICE", type: "UPDATE", resourceId: id });
  }
}

/** The credit on the wire; by itself it has its whole contact. */
export function wireCredit(org: Organisation, credit: Credit, single: boolean): Json {
  const contact = org.contacts.get(credit.contactId);
  const spent = credit.allocations.reduce((sum, one) => sum.plus(one.amount), new Big(0));
  return {
    [`${names[credit.kind]}ID`]: credit.id,
    ...(credit.number === undefined ? {} : { CreditNoteNumber: credit.number }),
    ID: credit.id,
    Type: wireType[credit.kind],
    Reference: "",
    CurrencyRate: 1,
    RemainingCredit: credit.total.minus(spent).toNumber(),
    Allocations: credit.allocations.map((one) => ({
      AllocationID: one.id,
      Amount: one.amount.toNumber(),
      Date: wireDate(one.date),
      Invoice: {
        InvoiceID: one.invoiceId,
        InvoiceNumber: org.invoices.get(one.invoiceId)?.number ?? "",
        ...nothingElse,
      },
    })),
    Payments: [],
    HasAttachments: false,
    Contact: contact ? (single ? wholeContact(org, contact) : mentionedContact(contact)) : {},
    DateString: wireDateString(credit.date),
    Date: wireDate(credit.date),
    Status: credit.status,
    LineAmountTypes: "Exclusive",
    LineItems: [],
    SubTotal: credit.total.toNumber(),
    TotalTax: 0,
    Total: credit.total.toNumber(),
    UpdatedDateUTC: wireInstant(credit.updatedAt),
    UpdatedDateUTCString: wireInstantString(credit.updatedAt),
    CurrencyCode: org.profile.baseCurrency,
  };
}

function announce(credit: Credit, type: "CREATE" | "UPDATE", changes: Changes): void {
  const data = { Type: wireType[credit.kind], Status: credit.status };
  changes.announce({ category: credit.kind, type, resourceId: credit.id, data });
}
