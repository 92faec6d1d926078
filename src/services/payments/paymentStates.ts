/** How a payment changes on its way to Xero, in the transaction that finds it out, and what always follows: dashboards are told, and it is woken when its time has come. */
import { Not } from "typeorm";
import { type WorkspaceTransaction } from "../../database.js";
import { type SyncStatus } from "../../entities/enums.js";
import { Payment } from "../../entities/Payment.js";
import { type SyncError } from "../../entities/SyncError.js";
import { enqueue } from "../../jobs/queue.js";
import { record } from "../../subscriptions/eventLog.js";
import { type XeroPaymentAnswer } from "../../xero/answers.js";
import { type XeroFailure, type XeroFailureKind } from "../../xero/XeroFailure.js";
import { noteActivity } from "../connectionStatus.js";
import { backOffMs } from "../sync/outcomes.js";
import { isTransient } from "../sync/syncErrors.js";
import { failedPayment } from "./paymentErrors.js";
import { rollUp } from "./rollUp.js";

/** After so many failures that should have passed a payment is over. */
const mostFailures = 20;

/** Xero holds the payment, as the answer says. */
export async function arrive(
  tx: WorkspaceTransaction,
  payment: Payment,
  connectionId: string,
  answer: XeroPaymentAnswer,
): Promise<void> {
  await giveWay(tx, payment, connectionId, answer.paymentId);
  const wasDeleted = answer.status.toUpperCase() === "DELETED";
  const paid = payment.paid && !wasDeleted;
  // Taken back while it was on its way: now there is something to delete.
  const mustEnd = !payment.paid && !wasDeleted;
  await patch(tx, payment, {
    connectionId,
    xeroPaymentId: answer.paymentId.toLowerCase(),
    paid,
    syncStatus: mustEnd ? "QUEUED" : "SYNCED",
    syncError: null,
    pushAction: mustEnd ? "DELETE" : null,
    pushBatchId: null,
    pushNotBefore: null,
    pushFailures: 0,
  });
  tx.tally({ of: "payment", outcome: "CREATED" });
  await noteStanding(tx, payment.id);
  await noteActivity(tx, connectionId);
  if (mustEnd) enqueue(tx, "pay", { workspaceId: tx.workspaceId, connectionId });
  if (paid === payment.paid) return;
  record(tx, { topic: "PAYMENT", invoiceId: payment.invoiceId, paymentId: payment.id, paymentEventKind: "REVERSED" });
  await rollUp(tx, payment.invoiceId);
}

/**
 * A read that came before this answer, and named no reference, was taken for a payment of Xero's own. It is the same one, and ours says more of
 * it.
 */
async function giveWay(
  tx: WorkspaceTransaction,
  payment: Payment,
  connectionId: string,
  paymentId: string,
): Promise<void> {
  const { workspaceId } = tx;
  const key = { workspaceId, connectionId, xeroPaymentId: paymentId.toLowerCase(), source: Not("PLATFORM" as const) };
  const other = await tx.manager.findOneBy(Payment, key);
  if (!other || other.id === payment.id) return;
  await tx.manager.update(Payment, { workspaceId, id: other.id }, { paid: false, xeroPaymentId: null });
  record(tx, { topic: "PAYMENT", invoiceId: other.invoiceId, paymentId: other.id, paymentEventKind: "REVERSED" });
  await rollUp(tx, other.invoiceId);
}

/** What was just found out of the payment holds from now on; a read that began before says nothing against it. */
export async function noteStanding(tx: WorkspaceTransaction, paymentId: string): Promise<void> {
  await tx.manager.query("UPDATE payment SET xero_as_of = clock_timestamp() WHERE workspace_id = $1 AND id = $2", [
    tx.workspaceId,
    paymentId,
  ]);
}

export async function patch(tx: WorkspaceTransaction, payment: Payment, columns: Partial<Payment>): Promise<void> {
  await tx.manager.update(Payment, { workspaceId: tx.workspaceId, id: payment.id }, columns);
  if (columns.syncStatus === undefined || columns.syncStatus === payment.syncStatus) return;
  record(tx, { topic: "PAYMENT", invoiceId: payment.invoiceId, paymentId: payment.id, paymentEventKind: "CHANGED" });
}

export async function fail(tx: WorkspaceTransaction, payment: Payment, syncError: SyncError): Promise<void> {
  const gone: { syncStatus: SyncStatus; syncError: null; pushAction: null } = {
    syncStatus: "NOT_SYNCED",
    syncError: null,
    pushAction: null,
  };
  const free = { pushBatchId: null, pushNotBefore: null };
  if (!hasNoWay(payment)) tx.tally({ of: "payment", outcome: "FAILED", code: syncError.code });
  await patch(tx, payment, { ...free, ...(hasNoWay(payment) ? gone : { syncStatus: "FAILED", syncError }) });
}

/** Whether it was taken back, or left out of the total, before it arrived: then it is not to go any more. */
function hasNoWay({ pushAction, paid, include }: Payment): boolean {
  return pushAction === "CREATE" && !(paid && include);
}

interface Again {
  /** What it fails with after too many tries. */
  error: SyncError;
  /** Whether this was one of them. */
  counts: boolean;
  /** Left out: a wait that grows with the tries. */
  waitMs?: number | undefined;
  /** At least so many are counted. */
  failures?: number;
}

/** Puts the payment back in the queue; after too many failures it has FAILED. */
export async function putBack(tx: WorkspaceTransaction, payment: Payment, again: Again): Promise<void> {
  const pushFailures = Math.max(payment.pushFailures + (again.counts ? 1 : 0), again.failures ?? 0);
  if (pushFailures >= mostFailures || hasNoWay(payment)) {
    return fail(tx, payment, { ...again.error, retryable: false });
  }
  await patch(tx, payment, {
    syncStatus: "QUEUED",
    syncError: null,
    pushBatchId: null,
    pushFailures,
  });
  const rows: unknown = await tx.manager.query(
    `UPDATE payment p SET push_not_before = now() + $3 * interval '1 ms' FROM invoice i
     WHERE p.workspace_id = $1 AND p.id = $2 AND i.workspace_id = $1 AND i.id = p.invoice_id
     RETURNING p.push_not_before AS at, i.connection_id AS "connectionId"`,
    [tx.workspaceId, payment.id, again.waitMs ?? backOffMs(Math.max(1, pushFailures))],
  );
  const [[row]] = rows as [[{ at: Date; connectionId: string }]];
  enqueue(tx, "pay", { workspaceId: tx.workspaceId, connectionId: row.connectionId }, { runAt: row.at });
}

/** Whether time, or whoever mends the link, may mend it; what waits then needs no telling but that of the link. */
export function passes(failure: XeroFailure): boolean {
  return isTransient(failure) || waitingForLink.has(failure.kind);
}

const waitingForLink: ReadonlySet<XeroFailureKind> = new Set(["DISCONNECTED", "INVALID_GRANT", "MISCONFIGURED"]);

/** Until an operator has mended the configuration, or the link is up again, which wakes it sooner. */
const longWaitMs = 300_000;

/** Maintenance takes a while, and a gateway's word for it is often over at once. */
const offlineMs = 30_000;

export function waitAfter(failure: XeroFailure): Again {
  const obstacleMs = waitingForLink.has(failure.kind) ? longWaitMs : failure.kind === "OFFLINE" ? offlineMs : undefined;
  const waitMs = failure.retryAfterMs ?? obstacleMs;
  const counts = failure.kind === "UNCERTAIN" || failure.kind === "SERVER_ERROR";
  return { error: failedPayment(failure), counts, waitMs: waitMs ?? (counts ? undefined : 5_000) };
}
