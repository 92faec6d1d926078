/**
 * Payments as Xero has them, applied here: one record per PaymentID, a deleted one kept as not paid, the invoice's totals computed anew from
 * its records each time and never added to. The answer of Xero is the truth; the event that announced it is only a hint.
 */
import { In } from "typeorm";
import { v7 as uuidv7 } from "uuid";
import { type Database, type WorkspaceTransaction } from "../database.js";
import { type PaymentEventKind, type PaymentSource } from "../entities/enums.js";
import { Invoice } from "../entities/Invoice.js";
import { Payment } from "../entities/Payment.js";
import { moneyText } from "../money.js";
import { record } from "../subscriptions/eventLog.js";
import { type Viewer } from "../viewer.js";
import { type XeroInvoiceAnswer } from "../xero/answers.js";
import { noteActivity } from "./connectionStatus.js";
import { load } from "./loading.js";
import { type ListOrder, type Page, pageOf, type PageRequest, seek } from "./paging.js";

const newestFirst: ListOrder<Payment> = {
  name: "payments",
  direction: "DESC",
  keys: [
    { property: "paymentDate", column: "payment_date", type: "timestamptz" },
    { property: "id", column: "id", type: "uuid" },
  ],
};

export class Payments {
  constructor(private readonly database: Database) {}

  /** One page of payments, the newest first, of one invoice or of all. Throws NOT_FOUND for an unknown invoice. */
  async list(viewer: Viewer, page: PageRequest, invoiceId?: string | null): Promise<Page<Payment>> {
    const query = (tx: WorkspaceTransaction) => {
      const all = tx.manager.createQueryBuilder(Payment, "p").where("p.workspace_id = :ws", { ws: tx.workspaceId });
      if (invoiceId != null) all.andWhere("p.invoice_id = :invoiceId", { invoiceId });
      return all;
    };
    const rows = await this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      if (invoiceId != null) await load(tx, Invoice, invoiceId, { thing: "invoice", field: "invoiceId" });
      const pageQuery = query(tx);
      seek(pageQuery, newestFirst, page);
      return pageQuery.getMany();
    });
    return pageOf(rows, newestFirst, page, () =>
      this.database.inWorkspace(viewer.workspaceId, (tx) => query(tx).getCount()),
    );
  }
}

/** What applying one answer did. */
export type Applied = "CHANGED" | "UNCHANGED" | "STALE" | "UNKNOWN";

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
  const invoice = await tx.manager.findOne(Invoice, {
    where: { workspaceId: tx.workspaceId, connectionId, xeroId: answer.invoiceId },
    lock: { mode: "pessimistic_write" },
  });
  if (!invoice) return "UNKNOWN";
  const older = invoice.xeroUpdatedAt !== null && answer.updatedAt < invoice.xeroUpdatedAt;
  if (older || (invoice.pulledAt !== null && readAt < invoice.pulledAt)) return "STALE";
  const changes = [
    ...(await keepPayments(tx, invoice, connectionId, answer, source)),
    ...(await reverseMissing(tx, invoice, connectionId, answer)),
  ];
  await tx.manager.update(
    Invoice,
    { workspaceId: tx.workspaceId, id: invoice.id },
    {
      xeroStatus: answer.status,
      xeroInvoiceNumber: answer.invoiceNumber ?? invoice.xeroInvoiceNumber,
      xeroUpdatedAt: answer.updatedAt,
      pulledAt: readAt,
      totalCreditAmount: moneyText(answer.amountCredited),
    },
  );
  const rolledUp = await rollUp(tx, invoice.id);
  if (changes.length > 0) await noteActivity(tx, connectionId);
  for (const { paymentId, kind } of changes) {
    record(tx, { topic: "PAYMENT", invoiceId: invoice.id, paymentId, paymentEventKind: kind });
  }
  return rolledUp || changes.length > 0 || invoice.xeroStatus !== answer.status ? "CHANGED" : "UNCHANGED";
}

interface PaymentChange {
  paymentId: string;
  kind: PaymentEventKind;
}

async function keepPayments(
  tx: WorkspaceTransaction,
  invoice: Invoice,
  connectionId: string,
  answer: XeroInvoiceAnswer,
  source: PaymentSource,
): Promise<PaymentChange[]> {
  const { workspaceId } = tx;
  const known = await tx.manager.findBy(Payment, {
    workspaceId,
    connectionId,
    xeroPaymentId: In(answer.payments.map(({ paymentId }) => paymentId)),
  });
  const changes: PaymentChange[] = [];
  for (const { paymentId, date, amount, reference } of answer.payments) {
    const paidOn = date ?? answer.updatedAt.toISOString().slice(0, 10);
    const facts = { amount: moneyText(amount), paidOn, reference: reference ?? null, paid: true };
    const existing = known.find(({ xeroPaymentId }) => xeroPaymentId === paymentId);
    if (!existing) {
      const id = uuidv7();
      await tx.manager.insert(Payment, {
        ...facts,
        workspaceId,
        id,
        invoiceId: invoice.id,
        connectionId,
        type: "RECONCILIATION",
        source,
        include: true,
        paymentDate: new Date(`${paidOn}T00:00:00Z`),
        financeExternalId: paymentId,
        xeroPaymentId: paymentId,
        syncStatus: "NOT_SYNCED",
        createdAt: new Date(),
      });
      changes.push({ paymentId: id, kind: "RECEIVED" });
      continue;
    }
    const same = (Object.keys(facts) as (keyof typeof facts)[]).every((key) => existing[key] === facts[key]);
    if (same && existing.invoiceId === invoice.id) continue;
    await tx.manager.update(
      Payment,
      { workspaceId, id: existing.id },
      { ...facts, invoiceId: invoice.id, paymentDate: new Date(`${paidOn}T00:00:00Z`) },
    );
    changes.push({ paymentId: existing.id, kind: "CHANGED" });
  }
  return changes;
}

/** Xero leaves deleted payments out of the invoice's list: what we have of it and Xero no longer lists was deleted there. */
async function reverseMissing(
  tx: WorkspaceTransaction,
  invoice: Invoice,
  connectionId: string,
  answer: XeroInvoiceAnswer,
): Promise<PaymentChange[]> {
  const paid = await tx.manager.findBy(Payment, {
    workspaceId: tx.workspaceId,
    invoiceId: invoice.id,
    connectionId,
    type: "RECONCILIATION",
    paid: true,
  });
  const listed = new Set(answer.payments.map(({ paymentId }) => paymentId));
  const gone = paid.filter(({ xeroPaymentId }) => !listed.has(xeroPaymentId ?? ""));
  for (const { id } of gone) await tx.manager.update(Payment, { workspaceId: tx.workspaceId, id }, { paid: false });
  return gone.map(({ id }) => ({ paymentId: id, kind: "REVERSED" as const }));
}

/**
 * Computes the invoice's totals and status from its payments, in one statement; the caller holds the invoice's lock. True where something
 * changed. An invoice counts as paid when its open balance is at most the workspace's tolerance and something was paid of it.
 */
async function rollUp(tx: WorkspaceTransaction, invoiceId: string): Promise<boolean> {
  const rows: unknown = await tx.manager.query(
    `WITH paid AS (
       SELECT coalesce(sum(amount), 0) AS amount, max(payment_date) AS last FROM payment
       WHERE workspace_id = $1 AND invoice_id = $2 AND paid AND include AND type IN ('RECONCILIATION', 'STRIPE', 'MANUAL')
     ), computed AS (
       SELECT i.id, paid.amount, paid.last, i.total - paid.amount - i.total_credit_amount AS due,
         CASE
           WHEN i.status NOT IN ('APPROVED', 'PARTIALLY_PAID', 'PAID') THEN i.status
           WHEN paid.amount + i.total_credit_amount = 0 THEN 'APPROVED'
           WHEN i.total - paid.amount - i.total_credit_amount <= s.paid_tolerance THEN 'PAID'
           ELSE 'PARTIALLY_PAID'
         END AS status
       FROM invoice i, paid, integration s WHERE i.workspace_id = $1 AND i.id = $2 AND s.workspace_id = $1
     )
     UPDATE invoice i SET total_payment_amount = c.amount, last_payment_date = c.last, amount_due = c.due, status = c.status, updated_at = now()
     FROM computed c WHERE i.workspace_id = $1 AND i.id = c.id
       AND (i.total_payment_amount, i.last_payment_date, i.amount_due, i.status) IS DISTINCT FROM (c.amount, c.last, c.due, c.status)
     RETURNING 1`,
    [tx.workspaceId, invoiceId],
  );
  return (rows as [unknown[]])[0].length > 0;
}
