/** What Xero has of an invoice, so that a change made there is seen and named. Nothing in Xero is ever changed back for it. */
import { createHash } from "node:crypto";
import { type SentContent } from "../../entities/Invoice.js";
import { decimalText, moneyText } from "../../money.js";
import { type XeroInvoiceAnswer } from "../../xero/answers.js";

/** The invoice as an answer shows it, as far as it is compared. */
export function contentOf(answer: XeroInvoiceAnswer): SentContent {
  const exact = (text: string | undefined): string => decimalText(text ?? "0");
  const lines = answer.lines.map(
    ({ description, quantity, unitAmount, lineAmount, accountId, accountCode, taxType }) => {
      const what = [description ?? "", exact(lineAmount)];
      // A line of words only: whether Xero gives it a quantity or an account of its own accord is not known.
      if (exact(lineAmount) === "0") return what;
      return [...what, exact(quantity), exact(unitAmount), accountId ?? accountCode ?? "", taxType ?? ""];
    },
  );
  return {
    contact: answer.contactId.toLowerCase(),
    date: answer.date ?? "",
    dueDate: answer.dueDate ?? "",
    reference: answer.reference ?? "",
    lines: createHash("sha256").update(JSON.stringify(lines)).digest("base64url"),
    subtotal: moneyText(answer.subTotal),
    tax: moneyText(answer.totalTax),
    total: moneyText(answer.total),
  };
}

type Totals = { subtotal: string; totalTax: string; total: string };

/** In words, where Xero's invoice is not as it was sent, and where its totals are not ours. */
export function warningsOf(ours: Totals, sent: SentContent | null, answer: XeroInvoiceAnswer): string[] {
  if (answer.status === "VOIDED" || answer.status === "DELETED") {
    return [`It was ${answer.status.toLowerCase()} in Xero.`];
  }
  const theirs = contentOf(answer);
  const warnings: string[] = [];
  const differs = (field: keyof SentContent): boolean => sent !== null && sent[field] !== theirs[field];
  if (differs("contact")) warnings.push(`Its contact was changed in Xero, to ${answer.contactName ?? "another one"}.`);
  for (const [field, name] of [
    ["date", "date"],
    ["dueDate", "due date"],
    ["reference", "reference"],
  ] as const) {
    if (differs(field))
      warnings.push(`Its ${name} was changed in Xero, from "${sent?.[field] ?? ""}" to "${theirs[field]}".`);
  }
  if (differs("lines")) warnings.push("Its lines were changed in Xero.");
  const totals: [string, string, string][] = [
    ["subtotal", ours.subtotal, theirs.subtotal],
    ["tax", ours.totalTax, theirs.tax],
    ["total", ours.total, theirs.total],
  ];
  for (const [what, here, there] of totals) {
    if (moneyText(here) !== there) warnings.push(`The ${what} is ${there} in Xero and ${here} here.`);
  }
  return warnings;
}
