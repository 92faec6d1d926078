/** What is paid and credited of an invoice follows from its payments and allocations, and PAID follows from that. */
import Big from "big.js";
import type { Changes } from "./Changes.js";
import type { Organisation } from "./Organisation.js";
import type { Invoice } from "./records.js";

/** AmountDue: total less payments less credits. */
export function amountDue(invoice: Invoice): Big {
  return invoice.total.minus(invoice.amountPaid).minus(invoice.amountCredited);
}

/** Recomputes the sums from what is allocated now, and turns AUTHORISED into PAID or back. */
export function settle(org: Organisation, invoice: Invoice, changes: Changes): void {
  const payments = org.paymentsOf(invoice.id);
  const allocations = org.creditsOf(invoice.id).flatMap((credit) => credit.allocations);
  const mine = allocations.filter((one) => one.invoiceId === invoice.id);
  const amountPaid = payments.reduce((sum, one) => sum.plus(one.amount), new Big(0));
  const amountCredited = mine.reduce((sum, one) => sum.plus(one.amount), new Big(0));
  const settled = invoice.total.eq(amountPaid.plus(amountCredited));
  const open = invoice.status === "AUTHORISED" || invoice.status === "PAID";
  const lastDay =
    [...payments, ...mine]
      .map((one) => one.date)
      .sort()
      .at(-1) ?? invoice.date;
  changes.edit(invoice, {
    amountPaid,
    amountCredited,
    status: open ? (settled ? "PAID" : "AUTHORISED") : invoice.status,
    fullyPaidOn: open && settled ? lastDay : undefined,
    updatedAt: org.clock.now(),
  });
}
