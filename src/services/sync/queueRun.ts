/** Every way into the sync ends here: invoices are queued as one run, in the transaction that found them due. */
import { In } from "typeorm";
import { v7 as uuidv7 } from "uuid";
import { type WorkspaceTransaction } from "../../database.js";
import { type SyncErrorCode, type SyncTrigger } from "../../entities/enums.js";
import { Invoice } from "../../entities/Invoice.js";
import { SyncAttempt } from "../../entities/SyncAttempt.js";
import { SyncRun } from "../../entities/SyncRun.js";
import { enqueue } from "../../jobs/queue.js";
import { record } from "../../subscriptions/eventLog.js";
import { noteActivity } from "../connectionStatus.js";

/** What a link that is down, or a switch that is off, makes invoices fail with. */
const lostLink: SyncErrorCode[] = ["XERO_NOT_CONNECTED", "RECONNECT_REQUIRED", "XERO_DISABLED"];

/** PostgreSQL takes 65,535 parameters a statement. */
const rowsAtOnce = 500;

/** Queues the invoices, whose rows the caller holds, as one run to one organisation. One that is in Xero as it stands here is UNCHANGED. */
export async function queueRun(
  tx: WorkspaceTransaction,
  connectionId: string,
  invoices: Invoice[],
  { trigger, requestedBy }: { trigger: SyncTrigger; requestedBy: string | null },
): Promise<SyncRun> {
  const { workspaceId } = tx;
  const now = new Date();
  const due = invoices.filter(({ xeroId }) => xeroId === null);
  const nothingToSend = due.length === 0;
  const run = tx.manager.create(SyncRun, {
    workspaceId,
    id: uuidv7(),
    connectionId,
    kind: "INVOICES",
    trigger,
    status: nothingToSend ? "SUCCEEDED" : "QUEUED",
    requestedBy,
    queuedAt: now,
    startedAt: nothingToSend ? now : null,
    finishedAt: nothingToSend ? now : null,
    xeroCalls: 0,
  });
  await tx.manager.insert(SyncRun, run);
  for (let start = 0; start < invoices.length; start += rowsAtOnce) {
    await tx.manager.insert(
      SyncAttempt,
      invoices.slice(start, start + rowsAtOnce).map(({ id, xeroId }) => ({
        workspaceId,
        id: uuidv7(),
        runId: run.id,
        invoiceId: id,
        connectionId,
        queuedAt: now,
        finishedAt: xeroId === null ? null : now,
        outcome: xeroId === null ? ("PENDING" as const) : ("UNCHANGED" as const),
      })),
    );
  }
  if (!nothingToSend) {
    await tx.manager.update(
      Invoice,
      { workspaceId, id: In(due.map(({ id }) => id)) },
      { syncStatus: "QUEUED", syncError: null, nextAttemptAt: null, updatedAt: now },
    );
    for (const { id } of due) record(tx, { topic: "SYNC", runId: run.id, invoiceId: id, syncStatus: "QUEUED" });
    enqueue(tx, "push", { workspaceId, connectionId });
  }
  record(tx, { topic: "SYNC", runId: run.id, runStatus: run.status });
  await noteActivity(tx, connectionId);
  return run;
}

/** Queues whatever failed to go to this organisation only because its link was down or the switch off, now that neither is. */
export async function queueWhatBecameDue(tx: WorkspaceTransaction, connectionId: string): Promise<void> {
  const due = await tx.manager
    .createQueryBuilder(Invoice, "i")
    .where("i.workspace_id = :ws AND i.sync_status = 'FAILED' AND i.sync_error->>'code' = ANY(:lostLink)", {
      ws: tx.workspaceId,
      lostLink,
    })
    .andWhere("i.xero_id IS NULL AND i.status NOT IN ('DRAFT', 'VOIDED')")
    .andWhere(
      `:connectionId = (SELECT a.connection_id FROM sync_attempt a
         WHERE a.workspace_id = i.workspace_id AND a.invoice_id = i.id ORDER BY a.id DESC LIMIT 1)`,
      { connectionId },
    )
    .orderBy("i.id")
    .setLock("pessimistic_write")
    .getMany();
  if (due.length > 0) await queueRun(tx, connectionId, due, { trigger: "RECONNECTED", requestedBy: null });
}
