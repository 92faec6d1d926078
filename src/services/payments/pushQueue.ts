/**
 * What Xero is still to be told of payments of ours, as it stands in their records, and the wake-ups for it. Part of whatever transaction makes
 * something due.
 */
import { type WorkspaceTransaction } from "../../database.js";
import { type SyncErrorCode } from "../../entities/enums.js";
import { enqueue } from "../../jobs/queue.js";
import { record } from "../../subscriptions/eventLog.js";

/**
 * Whether a payment `p` of the invoice `i` can go to Xero now: one to be made as soon as the invoice is approved there and nothing else is under
 * way for it, one to be taken back in any case.
 */
export const isSendable = `p.push_action IS NOT NULL AND p.sync_status = 'QUEUED' AND p.push_batch_id IS NULL
  AND (p.push_action = 'DELETE' OR p.include AND i.xero_status NOT IN ('DRAFT', 'SUBMITTED') AND i.sync_status NOT IN ('QUEUED', 'SYNCING', 'UNCERTAIN'))`;

/** Queues the sending of payments to the organisation, if any payment of these invoices can go; one that waits after a failure keeps its wait. */
export async function wakePayments(
  tx: WorkspaceTransaction,
  connectionId: string,
  invoiceIds: string[],
): Promise<void> {
  const found = await tx.manager.query<object[]>(
    `SELECT FROM payment p JOIN invoice i ON i.workspace_id = p.workspace_id AND i.id = p.invoice_id
     WHERE p.workspace_id = $1 AND p.invoice_id = ANY($2) AND i.connection_id = $3 AND ${isSendable} LIMIT 1`,
    [tx.workspaceId, invoiceIds, connectionId],
  );
  if (found.length > 0) enqueue(tx, "pay", { workspaceId: tx.workspaceId, connectionId });
}

/** Queues again what Xero refused with one of the codes, now that what may have been wrong was changed. */
export async function requeuePayments(tx: WorkspaceTransaction, codes: SyncErrorCode[]): Promise<void> {
  await requeue(tx, "p.sync_error->>'code' = ANY($2)", codes);
}

/** Queues again what Xero refused of one invoice for what it said of its content. */
export async function requeueOf(tx: WorkspaceTransaction, invoiceId: string): Promise<void> {
  await requeue(
    tx,
    "p.sync_error->>'code' = 'VALIDATION_FAILED' AND p.push_action = 'CREATE' AND p.invoice_id = $2",
    invoiceId,
  );
}

async function requeue(tx: WorkspaceTransaction, condition: string, value: unknown): Promise<void> {
  const rows: unknown = await tx.manager.query(
    `UPDATE payment p SET sync_status = 'QUEUED', sync_error = NULL, push_failures = 0, push_not_before = NULL FROM invoice i
     WHERE p.workspace_id = $1 AND p.sync_status = 'FAILED' AND p.push_action IS NOT NULL AND ${condition}
       AND i.workspace_id = $1 AND i.id = p.invoice_id
     RETURNING p.id, p.invoice_id AS "invoiceId", i.connection_id AS "connectionId"`,
    [tx.workspaceId, value],
  );
  const [queued] = rows as [{ id: string; invoiceId: string; connectionId: string | null }[]];
  for (const { id, invoiceId, connectionId } of queued) {
    record(tx, { topic: "PAYMENT", invoiceId, paymentId: id, paymentEventKind: "CHANGED" });
    if (connectionId !== null) enqueue(tx, "pay", { workspaceId: tx.workspaceId, connectionId });
  }
}

/** Payments, or those of one invoice, are not sent any more: what has not gone out yet stays here; what is under way, and what was taken back, is seen to its end. */
export async function stopPushing(tx: WorkspaceTransaction, invoiceId?: string): Promise<void> {
  const rows: unknown = await tx.manager.query(
    `UPDATE payment SET push_action = NULL, sync_status = 'NOT_SYNCED', sync_error = NULL, push_not_before = NULL
     WHERE workspace_id = $1 AND push_action = 'CREATE' AND push_batch_id IS NULL AND ($2::uuid IS NULL OR invoice_id = $2)
     RETURNING id, invoice_id AS "invoiceId"`,
    [tx.workspaceId, invoiceId ?? null],
  );
  for (const { id, invoiceId: of } of (rows as [{ id: string; invoiceId: string }[]])[0]) {
    record(tx, { topic: "PAYMENT", invoiceId: of, paymentId: id, paymentEventKind: "CHANGED" });
  }
}

/** The link to the organisation is up again: what waited for it waits no longer. */
export async function hastenPayments(tx: WorkspaceTransaction, connectionId: string): Promise<void> {
  await tx.manager.query(
    `UPDATE payment p SET push_not_before = NULL FROM invoice i
     WHERE p.workspace_id = $1 AND p.push_action = 'CREATE' AND p.sync_status = 'QUEUED' AND p.push_batch_id IS NULL
       AND i.workspace_id = $1 AND i.id = p.invoice_id AND i.connection_id = $2`,
    [tx.workspaceId, connectionId],
  );
  enqueue(tx, "pay", { workspaceId: tx.workspaceId, connectionId });
}
