/** Every way into the sync ends here: invoices are queued as one run, in the transaction that found them due. */
import { In, type SelectQueryBuilder } from "typeorm";
import { v7 as uuidv7 } from "uuid";
import { type WorkspaceTransaction } from "../../database.js";
import { Connection } from "../../entities/Connection.js";
import { type SyncErrorCode, type SyncOutcome, type SyncTrigger } from "../../entities/enums.js";
import { Integration } from "../../entities/Integration.js";
import { Invoice } from "../../entities/Invoice.js";
import { SyncAttempt } from "../../entities/SyncAttempt.js";
import { type SyncError } from "../../entities/SyncError.js";
import { SyncRun } from "../../entities/SyncRun.js";
import { enqueue } from "../../jobs/queue.js";
import { record } from "../../subscriptions/eventLog.js";
import { noteActivity } from "../connectionStatus.js";

/** What a link that is down, or a switch that is off, makes invoices fail with. */
const lostLink: SyncErrorCode[] = ["XERO_NOT_CONNECTED", "RECONNECT_REQUIRED", "XERO_DISABLED"];

/** What wants a change of a mapping. */
export const brokenMapping: SyncErrorCode[] = ["INVALID_MAPPING"];

/** What a change of the invoice, or of whom it bills, may mend. */
export const rejectedContent: SyncErrorCode[] = [
  "INVALID_MAPPING",
  "INVALID_INVOICE",
  "CONTACT_AMBIGUOUS",
  "CONTACT_ARCHIVED",
  "CONTACT_REJECTED",
  "NUMBER_TAKEN",
  "PERIOD_LOCKED",
  "VALIDATION_FAILED",
];

/** PostgreSQL takes 65,535 parameters a statement. */
const rowsAtOnce = 500;

/** Why a run is made, and who asked for it; nobody where the service did by itself. */
export interface Cause {
  trigger: SyncTrigger;
  requestedBy: string | null;
}

/**
 * Makes one run of the invoices, whose rows the caller holds: those in `due` are queued to the organisation, one that is in Xero as it stands
 * here is UNCHANGED, and those in `going` are SKIPPED, for another run is at them. With `failure` none is sent: each FAILED with it at once.
 */
export async function queueRun(
  tx: WorkspaceTransaction,
  connectionId: string,
  { due, going = [] }: { due: Invoice[]; going?: Invoice[] },
  { trigger, requestedBy }: Cause,
  failure?: SyncError,
): Promise<SyncRun> {
  const { workspaceId } = tx;
  const now = new Date();
  const unsent = due.filter(({ xeroId }) => xeroId === null);
  const queued = failure ? [] : unsent;
  const outcomes: [SyncOutcome, Invoice[]][] = [
    [failure ? "FAILED" : "PENDING", unsent],
    ["UNCHANGED", due.filter(({ xeroId }) => xeroId !== null)],
    ["SKIPPED", going],
  ];
  const over = failure ? "FAILED" : due.length + going.length > 0 ? "SUCCEEDED" : "NOTHING_TO_DO";
  const run = tx.manager.create(SyncRun, {
    workspaceId,
    id: uuidv7(),
    connectionId,
    kind: "INVOICES",
    trigger,
    status: queued.length > 0 ? "QUEUED" : over,
    requestedBy,
    queuedAt: now,
    startedAt: queued.length > 0 ? null : now,
    finishedAt: queued.length > 0 ? null : now,
    xeroCalls: 0,
  });
  await tx.manager.insert(SyncRun, run);
  const priority = byHand.includes(trigger) ? 0 : 10;
  const attempts = outcomes.flatMap(([outcome, invoices]) =>
    invoices.map(({ id }) => ({
      workspaceId,
      id: uuidv7(),
      runId: run.id,
      invoiceId: id,
      connectionId,
      priority,
      queuedAt: now,
      finishedAt: outcome === "PENDING" ? null : now,
      outcome,
      error: outcome === "FAILED" ? (failure ?? null) : null,
    })),
  );
  for (let start = 0; start < attempts.length; start += rowsAtOnce) {
    await tx.manager.insert(SyncAttempt, attempts.slice(start, start + rowsAtOnce));
  }
  const syncStatus = failure ? "FAILED" : "QUEUED";
  for (let start = 0; start < unsent.length; start += rowsAtOnce) {
    await tx.manager.update(
      Invoice,
      { workspaceId, id: In(unsent.slice(start, start + rowsAtOnce).map(({ id }) => id)) },
      { syncStatus, syncError: failure ?? null, nextAttemptAt: null, updatedAt: now },
    );
  }
  for (const { id } of unsent) record(tx, { topic: "SYNC", runId: run.id, invoiceId: id, syncStatus });
  if (queued.length > 0) {
    enqueue(tx, "push", { workspaceId, connectionId }, { priority });
  }
  record(tx, { topic: "SYNC", runId: run.id, runStatus: run.status });
  if (unsent.length > 0) await noteActivity(tx, connectionId);
  return run;
}

/** What somebody waits for. */
const byHand: SyncTrigger[] = ["MANUAL", "ON_APPROVAL", "RETRY"];

/** Queues whatever failed to go to this organisation only because its link was down or the switch off, now that neither is. */
export async function queueWhatBecameDue(tx: WorkspaceTransaction, connectionId: string): Promise<void> {
  await queueFailed(tx, connectionId, lostLink, { trigger: "RECONNECTED", requestedBy: null });
}

/**
 * Queues whatever was rejected with one of the codes, to whichever organisation, now that what may have been wrong was changed; `narrow`
 * says which invoices the change concerns. Where the switch is off or a link down nothing is queued: it became due, and is when it is up.
 */
export async function queueMended(
  tx: WorkspaceTransaction,
  codes: SyncErrorCode[],
  narrow: (query: SelectQueryBuilder<Invoice>) => void = () => undefined,
): Promise<void> {
  const { workspaceId } = tx;
  const { enabled } = await tx.manager.findOneByOrFail(Integration, { workspaceId });
  if (!enabled) return;
  const connections = await tx.manager.findBy(Connection, { workspaceId, connectionStatus: "CONNECTED" });
  for (const { id } of connections) await queueFailed(tx, id, codes, { trigger: "MENDED", requestedBy: null }, narrow);
}

async function queueFailed(
  tx: WorkspaceTransaction,
  connectionId: string,
  codes: SyncErrorCode[],
  cause: Cause,
  narrow: (query: SelectQueryBuilder<Invoice>) => void = () => undefined,
): Promise<void> {
  const query = tx.manager
    .createQueryBuilder(Invoice, "i")
    .where("i.workspace_id = :ws AND i.sync_status = 'FAILED' AND i.sync_error->>'code' = ANY(:codes)", {
      ws: tx.workspaceId,
      codes,
    })
    .andWhere("i.xero_id IS NULL AND i.status NOT IN ('DRAFT', 'VOIDED')")
    .andWhere(
      `:connectionId = (SELECT a.connection_id FROM sync_attempt a
         WHERE a.workspace_id = i.workspace_id AND a.invoice_id = i.id ORDER BY a.id DESC LIMIT 1)`,
      { connectionId },
    );
  narrow(query);
  const due = await query.orderBy("i.id").setLock("pessimistic_write").getMany();
  if (due.length > 0) await queueRun(tx, connectionId, { due }, cause);
}
