/**
 * Payments as Xero has them, applied here: one record per PaymentID, and per credit that is applied to the invoice; a deleted one is kept as
 * not paid. The answer of Xero is the truth; whatever announced it is only a hint.
 *
 * An invoice's answer lists its payments by id, day, amount and reference, and leaves out the deleted ones; credits raise AmountCredited and
 * not AmountPaid (https://developer.xero.com/documentation/api/accounting/invoices).
 */
import { Big } from "big.js";
import { In } from "typeorm";
import { v7 as uuidv7 } from "uuid";
import { type WorkspaceTransaction } from "../../database.js";
import { type PaymentEventKind, type PaymentSource, type PaymentType } from "../../entities/enums.js";
import { Invoice } from "../../entities/Invoice.js";
import { Payment } from "../../entities/Payment.js";
import { moneyText } from "../../money.js";
import { record } from "../../subscriptions/eventLog.js";
import { type XeroCreditAnswer, type XeroInvoiceAnswer } from "../../xero/answers.js";
import { openAlert, resolveAlerts } from "../alerts/Alerts.js";
import { noteActivity } from "../connectionStatus.js";
import { requeueOf, wakePayments } from "./pushQueue.js";
import { rollUp } from "./rollUp.js";
import { contentOf, warningsOf } from "./xeroContent.js";

/** What applying one answer did. */
export type Applied = "CHANGED" | "UNCHANGED" | "STALE" | "UNKNOWN";

/** An answer on its way into the records. */
interface Arriving {
  tx: WorkspaceTransaction;
  invoice: Invoice;
  connectionId: string;
  answer: XeroInvoiceAnswer;
  /** PostgreSQL's clock before the read. */
  readAt: Date;
  source: PaymentSource;
  changes: { paymentId: string; kind: PaymentEventKind }[];
}

/**
 * Brings our invoice and its payments to what Xero answered, under the invoice's lock. An answer older than what was applied before is
 * left alone, so answers may come in any order and any number of times. `readAt` is when the read began, by PostgreSQL's clock.
 */
export async function applyAnswer(
  tx: WorkspaceTransaction,
  connectionId: string,
  answer: XeroInvoiceAnswer,
  { readAt, source }: { readAt: Date; source: PaymentSource },
): Promise<Applied> {
  const key = { workspaceId: tx.workspaceId, connectionId, xeroId: answer.invoiceId };
  const invoice = await tx.manager.findOne(Invoice, { where: key, lock: { mode: "pessimistic_write" } });
  if (!invoice) return "UNKNOWN";
  const older = invoice.xeroUpdatedAt !== null && answer.updatedAt < invoice.xeroUpdatedAt;
  if (older || (invoice.pulledAt !== null && readAt < invoice.pulledAt)) return "STALE";
  const arriving: Arriving = { tx, invoice, connectionId, answer, readAt, source, changes: [] };
  await keepPayments(arriving);
  await keepCredits(arriving);
  const { changes } = arriving;
  const shown = await keepInvoice(arriving);
  const rolledUp = await rollUp(tx, invoice.id);
  if (changes.length > 0) await noteActivity(tx, connectionId);
  for (const { paymentId, kind } of changes) {
    record(tx, { topic: "PAYMENT", invoiceId: invoice.id, paymentId, paymentEventKind: kind });
  }
  // What was refused because nothing was due any more may be due again.
  if (changes.some(({ kind }) => kind === "REVERSED")) await requeueOf(tx, invoice.id);
  await wakePayments(tx, connectionId, [invoice.id]);
  return shown || rolledUp || changes.length > 0 ? "CHANGED" : "UNCHANGED";
}

/** What Xero says of the invoice itself; true where a client sees a difference. */
async function keepInvoice({ tx, invoice, answer, readAt }: Arriving): Promise<boolean> {
  const isGone = answer.status === "VOIDED" || answer.status === "DELETED";
  const status = isGone ? "VOIDED" : invoice.status;
  const isOurWrite =
    answer.updatedAt.getTime() === invoice.xeroUpdatedAt?.getTime() && isAfter(invoice.syncedAt, invoice.pulledAt);
  const xeroWarnings =
    isGone && invoice.status === "VOIDED"
      ? invoice.xeroWarnings
      : warningsOf(invoice, isOurWrite ? null : invoice.sentContent, answer);
  const xeroInvoiceNumber = answer.invoiceNumber ?? invoice.xeroInvoiceNumber;
  const told = status !== invoice.status || xeroWarnings.join("\n") !== invoice.xeroWarnings.join("\n");
  const shown = told || answer.status !== invoice.xeroStatus || xeroInvoiceNumber !== invoice.xeroInvoiceNumber;
  await tx.manager.update(
    Invoice,
    { workspaceId: tx.workspaceId, id: invoice.id },
    {
      status,
      xeroStatus: answer.status,
      xeroInvoiceNumber,
      xeroUpdatedAt: answer.updatedAt,
      xeroWarnings,
      pulledAt: readAt,
      creditedInXero: moneyText(answer.amountCredited),
      ...(isGone && { voidRequested: false }),
      ...(shown && { updatedAt: new Date() }),
      // As a read shows it, the state that our own write left is what later reads are compared with.
      ...(isOurWrite && { sentContent: contentOf(answer) }),
    },
  );
  if (told) record(tx, { topic: "SYNC", invoiceId: invoice.id, syncStatus: invoice.syncStatus });
  return shown;
}

function isAfter(instant: Date | null, other: Date | null): boolean {
  return instant !== null && (other === null || instant > other);
}

async function keepPayments(arriving: Arriving): Promise<void> {
  const { tx, invoice, connectionId, answer, readAt, source } = arriving;
  const { workspaceId } = tx;
  const listed = new Set(answer.payments.map(({ paymentId }) => paymentId.toLowerCase()));
  const known = await tx.manager.find(Payment, {
    where: [
      { workspaceId, invoiceId: invoice.id },
      { workspaceId, connectionId, xeroPaymentId: In([...listed]) },
    ],
    order: { id: "ASC" },
    lock: { mode: "pessimistic_write" },
  });
  for (const { paymentId, date, amount, reference } of answer.payments) {
    const paidOn = date ?? answer.updatedAt.toISOString().slice(0, 10);
    const existing = known.find(({ xeroPaymentId }) => xeroPaymentId === paymentId.toLowerCase());
    if (existing) {
      await keepKnown(arriving, existing, { amount: moneyText(amount), paidOn, reference: reference ?? null });
      continue;
    }
    const sent = known.find(({ id, source: from }) => from === "PLATFORM" && id === reference?.toLowerCase());
    if (sent?.xeroPaymentId === null && sent.amount === moneyText(amount)) {
      sent.xeroPaymentId = paymentId.toLowerCase();
      await linkSent(arriving, sent);
      continue;
    }
    const id = uuidv7();
    await tx.manager.insert(Payment, {
      workspaceId,
      id,
      invoiceId: invoice.id,
      connectionId,
      type: "RECONCILIATION",
      source,
      paid: true,
      include: true,
      paymentDate: midnight(paidOn),
      paidOn,
      amount: moneyText(amount),
      reference: reference ?? null,
      financeExternalId: paymentId.toLowerCase(),
      xeroPaymentId: paymentId.toLowerCase(),
      syncStatus: "NOT_SYNCED",
      xeroAsOf: readAt,
      createdAt: new Date(),
    });
    arriving.changes.push({ paymentId: id, kind: "RECEIVED" });
    if (sent && listed.has(sent.xeroPaymentId ?? "")) await tellDouble(tx, sent, { invoice, paymentId });
  }
  for (const payment of known) {
    const { xeroPaymentId, xeroAsOf } = payment;
    if (payment.invoiceId !== invoice.id || payment.connectionId !== connectionId || xeroPaymentId === null) continue;
    if (listed.has(xeroPaymentId) || (xeroAsOf !== null && xeroAsOf >= readAt)) continue;
    await endInXero(arriving, payment);
  }
}

/** A payment that Xero lists and we know. Of one of ours only its standing is Xero's to say, for nothing else of it can change there. */
async function keepKnown(
  { tx, invoice, readAt, changes }: Arriving,
  existing: Payment,
  facts: { amount: string; paidOn: string; reference: string | null },
): Promise<void> {
  if (existing.invoiceId !== invoice.id || (existing.xeroAsOf !== null && existing.xeroAsOf >= readAt)) return;
  const { amount, paidOn, reference } = existing;
  const ours = existing.source === "PLATFORM";
  const same = ours || (amount === facts.amount && paidOn === facts.paidOn && reference === facts.reference);
  // One of ours that is not paid was taken back here, or a read that was behind the times did not show it.
  if (same && (existing.paid || (ours && (existing.reversedHere || existing.pushAction !== null)))) return;
  await tx.manager.update(
    Payment,
    { workspaceId: tx.workspaceId, id: existing.id },
    { ...(!ours && { ...facts, paymentDate: midnight(facts.paidOn) }), paid: true, xeroAsOf: readAt },
  );
  changes.push({ paymentId: existing.id, kind: "CHANGED" });
}

/** One of ours whose answer has not come yet, or was lost: its reference says which it is. */
async function linkSent({ tx, connectionId, readAt, changes }: Arriving, sent: Payment): Promise<void> {
  await tx.manager.update(
    Payment,
    { workspaceId: tx.workspaceId, id: sent.id },
    {
      connectionId,
      xeroPaymentId: sent.xeroPaymentId,
      xeroAsOf: readAt,
      syncError: null,
      pushBatchId: null,
      // Taken back while it was on its way.
      ...(sent.paid ? { syncStatus: "SYNCED", pushAction: null } : { syncStatus: "QUEUED", pushAction: "DELETE" }),
    },
  );
  tx.tally({ of: "payment", outcome: "CREATED" });
  changes.push({ paymentId: sent.id, kind: "CHANGED" });
}

/** Xero leaves deleted payments out of the invoice's list: what we have of it and Xero no longer lists was deleted there. */
async function endInXero({ tx, readAt, changes }: Arriving, payment: Payment): Promise<void> {
  const awaited = payment.pushAction === "DELETE";
  if (!payment.paid && !awaited) return;
  await tx.manager.update(
    Payment,
    { workspaceId: tx.workspaceId, id: payment.id },
    { paid: false, xeroAsOf: readAt, ...(awaited && { pushAction: null, syncStatus: "SYNCED", syncError: null }) },
  );
  changes.push({ paymentId: payment.id, kind: payment.paid ? "REVERSED" : "CHANGED" });
  await resolveAlerts(tx, ["DUPLICATE_IN_XERO"], subjectOf(payment));
}

/** Two payments in Xero carry the reference of one of ours: it went out once more after Xero had forgotten its key. */
async function tellDouble(
  tx: WorkspaceTransaction,
  sent: Payment,
  { invoice, paymentId }: { invoice: Invoice; paymentId: string },
): Promise<void> {
  await openAlert(tx, {
    kind: "DUPLICATE_IN_XERO",
    subject: sent.id,
    message: `Xero holds the payment of ${sent.amount} on invoice ${invoice.number} twice: ${sent.xeroPaymentId ?? "unknown"} and ${paymentId}.`,
    resolution: `Delete the payment ${paymentId} in Xero, unless it was made there on purpose.`,
  });
}

/** Ours of which there are two, whichever of them it is. */
function subjectOf({ source, id, reference }: Payment): string {
  return source === "PLATFORM" ? id : (reference ?? "");
}

const creditTypes = ["CREDIT_NOTE", "OVERPAYMENT", "PREPAYMENT"] as const satisfies PaymentType[];

/** One record per credit that is applied to the invoice; what is applied in several parts is one. */
async function keepCredits(arriving: Arriving): Promise<void> {
  const { tx, invoice, connectionId, answer, readAt, source, changes } = arriving;
  const { workspaceId } = tx;
  const wanted = creditsOf(answer);
  const known = await tx.manager.findBy(Payment, {
    workspaceId,
    invoiceId: invoice.id,
    connectionId,
    type: In([...creditTypes]),
  });
  for (const { type, id: creditId, amount, paidOn } of wanted) {
    const facts = { amount, paidOn, paid: true };
    const existing = known.find((one) => one.type === type && one.financeExternalId === creditId);
    if (existing) {
      if (existing.paid && existing.amount === amount && existing.paidOn === paidOn) continue;
      await tx.manager.update(Payment, { workspaceId, id: existing.id }, { ...facts, paymentDate: midnight(paidOn) });
      changes.push({ paymentId: existing.id, kind: "CHANGED" });
      continue;
    }
    const id = uuidv7();
    await tx.manager.insert(Payment, {
      ...facts,
      workspaceId,
      id,
      invoiceId: invoice.id,
      connectionId,
      type,
      source,
      include: true,
      paymentDate: midnight(paidOn),
      reference: null,
      financeExternalId: creditId,
      xeroPaymentId: null,
      syncStatus: "NOT_SYNCED",
      xeroAsOf: readAt,
      createdAt: new Date(),
    });
    changes.push({ paymentId: id, kind: "RECEIVED" });
  }
  for (const { id, type, financeExternalId, paid } of known) {
    if (!paid || wanted.some((one) => one.type === type && one.id === financeExternalId)) continue;
    await tx.manager.update(Payment, { workspaceId, id }, { paid: false, xeroAsOf: readAt });
    changes.push({ paymentId: id, kind: "REVERSED" });
  }
}

interface AppliedCredit {
  type: (typeof creditTypes)[number];
  id: string;
  amount: string;
  paidOn: string;
}

/** The credits of the answer; where Xero does not say how much of one is applied, it is what is missing from AmountCredited. */
function creditsOf(answer: XeroInvoiceAnswer): AppliedCredit[] {
  const lists: [AppliedCredit["type"], XeroCreditAnswer[]][] = [
    ["CREDIT_NOTE", answer.creditNotes],
    ["OVERPAYMENT", answer.overpayments],
    ["PREPAYMENT", answer.prepayments],
  ];
  const given = lists.flatMap(([type, credits]) => credits.map((credit) => ({ type, ...credit })));
  let missing = given.reduce((rest, { amount }) => rest.minus(amount ?? 0), new Big(answer.amountCredited));
  const found = new Map<string, AppliedCredit>();
  for (const { type, id, amount, date } of given) {
    const share = amount === undefined ? missing : new Big(amount);
    if (amount === undefined) missing = new Big(0);
    const before = found.get(`${type} ${id}`);
    const paidOn = date ?? answer.updatedAt.toISOString().slice(0, 10);
    const sum = share.plus(before?.amount ?? 0);
    found.set(`${type} ${id}`, {
      type,
      id: id.toLowerCase(),
      amount: moneyText(sum),
      paidOn: before?.paidOn ?? paidOn,
    });
  }
  return [...found.values()].filter(({ amount }) => new Big(amount).gt(0));
}

function midnight(day: string): Date {
  return new Date(`${day}T00:00:00Z`);
}
