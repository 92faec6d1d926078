/** What follows for the sync when an invoice is approved, changed or voided here; part of the transaction that does so. */
import { type WorkspaceTransaction } from "../../database.js";
import { Connection } from "../../entities/Connection.js";
import { type SyncStatus } from "../../entities/enums.js";
import { Invoice } from "../../entities/Invoice.js";
import { type SyncError } from "../../entities/SyncError.js";
import { AppError } from "../../errors.js";
import { record } from "../../subscriptions/eventLog.js";
import { type Viewer } from "../../viewer.js";
import { loadIntegration, type Readiness } from "../Integrations.js";
import { find } from "../loading.js";
import { stopPushing } from "../payments/pushQueue.js";
import { isDue } from "./dueInvoices.js";
import { queueRun } from "./queueRun.js";
import { lostConnection, switchedOff } from "./syncErrors.js";

/** Statuses in which an invoice must not change, since Xero is just being told of it. */
export const underWay: SyncStatus[] = ["QUEUED", "SYNCING", "UNCERTAIN"];

/** With `syncOnApproval` an approval queues the invoice; where Xero can't be reached it fails at once, and is queued when it can. */
export async function syncApproved(
  tx: WorkspaceTransaction,
  { integration, connection, missing }: Readiness,
  invoice: Invoice,
  { subject }: Viewer,
): Promise<void> {
  if (!integration.syncOnApproval || !connection || !isDue(invoice, integration)) return;
  const failure = obstacle(connection, integration.enabled);
  if (!failure && missing.length > 0) return;
  await queueRun(tx, connection.id, { due: [invoice] }, { trigger: "ON_APPROVAL", requestedBy: subject }, failure);
}

/** What is in Xero is brought up to date by itself; where Xero can't be reached it fails at once, and is queued when it can. */
export async function syncChanged(tx: WorkspaceTransaction, invoice: Invoice, { subject }: Viewer): Promise<void> {
  const connection = await find(tx, Connection, invoice.connectionId ?? "");
  if (!connection) throw new Error(`invoice ${invoice.id} is in Xero without an organisation`);
  const failure = obstacle(connection, (await loadIntegration(tx)).enabled);
  await queueRun(tx, connection.id, { due: [invoice] }, { trigger: "MANUAL", requestedBy: subject }, failure);
}

/** Voids an invoice, whose row the caller holds, as `Invoices.void` promises. */
export async function voidInvoice(tx: WorkspaceTransaction, invoice: Invoice, { subject }: Viewer): Promise<void> {
  const { number, status, syncStatus, xeroId, xeroStatus, voidRequested } = invoice;
  const locked = (why: string) => new AppError("INVOICE_LOCKED", `Invoice ${number} can't be voided: ${why}.`);
  const isUnderWay = underWay.includes(syncStatus);
  if (status === "VOIDED" || (voidRequested && isUnderWay)) return;
  if (status === "PAID" || status === "PARTIALLY_PAID") {
    throw locked("payments are applied to it; take them back first");
  }
  if (isUnderWay) throw locked("it is on its way to Xero; try again when it has arrived");
  const key = { workspaceId: tx.workspaceId, id: invoice.id };
  const isGone = xeroStatus === "VOIDED" || xeroStatus === "DELETED";
  if (xeroId === null || isGone) {
    const now: SyncStatus = isGone ? "SYNCED" : "NOT_SYNCED";
    await tx.manager.update(Invoice, key, {
      status: "VOIDED",
      syncStatus: now,
      syncError: null,
      nextAttemptAt: null,
      updatedAt: new Date(),
    });
    if (now !== syncStatus) record(tx, { topic: "SYNC", invoiceId: invoice.id, syncStatus: now });
    await stopPushing(tx, invoice.id);
    return;
  }
  const connection = await requireLink(tx, invoice);
  await tx.manager.update(Invoice, key, { voidRequested: true });
  const due = [{ ...invoice, voidRequested: true }];
  await queueRun(tx, connection.id, { due }, { trigger: "MANUAL", requestedBy: subject });
}

function obstacle(connection: Connection, enabled: boolean): SyncError | undefined {
  if (!enabled) return switchedOff;
  return connection.connectionStatus === "CONNECTED" ? undefined : lostConnection(connection);
}

/** The link to the organisation that has the invoice. Throws XERO_DISABLED or XERO_NOT_CONNECTED where it is not up. */
export async function requireLink(tx: WorkspaceTransaction, { connectionId }: Invoice): Promise<Connection> {
  if (!(await loadIntegration(tx)).enabled) throw new AppError("XERO_DISABLED", switchedOff.message);
  const connection = await find(tx, Connection, connectionId ?? "");
  if (connection?.connectionStatus === "CONNECTED") return connection;
  throw new AppError(
    "XERO_NOT_CONNECTED",
    `The invoice is in ${connection?.name ?? "an organisation"}, which is not connected. Connect to Xero again.`,
  );
}
