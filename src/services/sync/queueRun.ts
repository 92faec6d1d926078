/** Every way into the sync ends here: invoices are queued as one run, in the transaction that found them due. */
import { type SelectQueryBuilder } from "typeorm";
import { NIL, v7 as uuidv7 } from "uuid";
import { type WorkspaceTransaction } from "../../database.js";
import { Connection } from "../../entities/Connection.js";
import { type SyncErrorCode, type SyncTrigger } from "../../entities/enums.js";
import { Integration } from "../../entities/Integration.js";
import { Invoice } from "../../entities/Invoice.js";
import { type SyncAction, type SyncAttempt } from "../../entities/SyncAttempt.js";
import { type SyncError } from "../../entities/SyncError.js";
import { SyncRun } from "../../entities/SyncRun.js";
import { enqueue } from "../../jobs/queue.js";
import { record, recordRun } from "../../subscriptions/eventLog.js";
import { noteActivity } from "../connectionStatus.js";
import { databaseNow } from "./batchRows.js";
import { lostConnection, switchedOff } from "./syncErrors.js";

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

/** Whether Xero does not have the invoice, or not as it is to be; of the alias `i`. */
export const isUnsent = "(i.xero_id IS NULL OR i.revision <> i.sent_revision OR i.void_requested)";

/** So many rows are read and written at a time, so that a run of any size takes no more memory than a small one. */
const rowsAtOnce = 1_000;

/** Why a run is made, and who asked for it; nobody where the service did by itself. */
export interface Cause {
  trigger: SyncTrigger;
  requestedBy: string | null;
}

export interface Selection {
  /** Invoices whose rows the caller holds, or the query (of the alias `i`) that finds and locks them. */
  due: Invoice[] | SelectQueryBuilder<Invoice>;
  /** Those that another run is at. */
  going?: Invoice[];
  /** Also one that was meant for another organisation first and never arrived there goes to this one. */
  moves?: boolean;
}

/**
 * Makes one run of the invoices: those in `due` are queued to the organisation that they belong to, else to this one; one that is in Xero as
 * it stands here is UNCHANGED, and those in `going` are SKIPPED. With `failure` none is sent: each FAILED with it at once.
 */
export async function queueRun(
  tx: WorkspaceTransaction,
  connectionId: string,
  { due, going = [], moves = false }: Selection,
  { trigger, requestedBy }: Cause,
  failure?: SyncError,
): Promise<SyncRun> {
  const { workspaceId } = tx;
  const now = await databaseNow(tx);
  const run = tx.manager.create(SyncRun, {
    workspaceId,
    id: uuidv7(),
    connectionId,
    kind: "INVOICES",
    trigger,
    status: "QUEUED",
    requestedBy,
    queuedAt: now,
    startedAt: null,
    finishedAt: null,
    xeroCalls: 0,
  });
  await tx.manager.insert(SyncRun, run);
  const priority = byHand.includes(trigger) ? 0 : 10;
  const attemptOf = (invoice: Invoice): NewAttempt => {
    const { id: invoiceId, xeroId, revision, sentRevision, voidRequested } = invoice;
    const action: SyncAction = xeroId === null ? "CREATE" : voidRequested ? "VOID" : "UPDATE";
    const unchanged = action === "UPDATE" && revision === sentRevision;
    const own = moves && xeroId === null ? null : invoice.connectionId;
    return {
      invoiceId,
      connectionId: own ?? connectionId,
      action,
      outcome: unchanged ? "UNCHANGED" : failure ? "FAILED" : "PENDING",
    };
  };
  const target = { runId: run.id, priority, now, failure: failure ?? null };
  await insertAttempts(
    tx,
    target,
    going.map((invoice) => ({ ...attemptOf(invoice), outcome: "SKIPPED" })),
  );
  const organisations = new Set<string>();
  let selected = going.length;
  let unsent = 0;
  for await (const invoices of Array.isArray(due) ? [due] : inChunks(due)) {
    const attempts = invoices.map(attemptOf);
    await insertAttempts(tx, target, attempts);
    const changed = attempts.filter(({ outcome }) => outcome !== "UNCHANGED");
    for (const attempt of changed) organisations.add(attempt.connectionId);
    selected += attempts.length;
    unsent += changed.length;
  }
  if (unsent === 0 || failure) {
    run.status = failure && unsent > 0 ? "FAILED" : selected > 0 ? "SUCCEEDED" : "NOTHING_TO_DO";
    run.startedAt = run.finishedAt = now;
    const { status, startedAt, finishedAt } = run;
    await tx.manager.update(SyncRun, { workspaceId, id: run.id }, { status, startedAt, finishedAt });
  } else {
    for (const id of organisations) enqueue(tx, "push", { workspaceId, connectionId: id }, { priority });
  }
  if (unsent > 0) {
    recordRun(tx, run.id, failure ? "FAILED" : "QUEUED");
    for (const id of organisations) await noteActivity(tx, id);
  }
  record(tx, { topic: "SYNC", runId: run.id, runStatus: run.status });
  return run;
}

/** What somebody waits for. */
const byHand: SyncTrigger[] = ["MANUAL", "ON_APPROVAL", "RETRY"];

type NewAttempt = Pick<SyncAttempt, "invoiceId" | "connectionId" | "action" | "outcome">;

/** Keeps the attempts, and shows on their invoices that they are queued, or failed. */
async function insertAttempts(
  tx: WorkspaceTransaction,
  { runId, priority, now, failure }: { runId: string; priority: number; now: Date; failure: SyncError | null },
  attempts: NewAttempt[],
): Promise<void> {
  if (attempts.length === 0) return;
  await tx.manager.query(
    `WITH attempt AS (
       INSERT INTO sync_attempt (workspace_id, id, run_id, invoice_id, connection_id, action, priority, queued_at, finished_at, outcome, error)
       SELECT $1, a.id, $2, a."invoiceId", a."connectionId", a.action, $3, $4, CASE WHEN a.outcome <> 'PENDING' THEN $4::timestamptz END,
              a.outcome, CASE WHEN a.outcome = 'FAILED' THEN $5::jsonb END
       FROM jsonb_to_recordset($6::jsonb) AS a(id uuid, "invoiceId" uuid, "connectionId" uuid, action text, outcome text)
       RETURNING invoice_id, outcome
     )
     UPDATE invoice i SET sync_status = CASE a.outcome WHEN 'PENDING' THEN 'QUEUED' ELSE a.outcome END,
       sync_error = $5::jsonb, next_attempt_at = NULL, updated_at = $4
     FROM attempt a WHERE i.workspace_id = $1 AND i.id = a.invoice_id AND a.outcome IN ('PENDING', 'FAILED')`,
    [
      tx.workspaceId,
      runId,
      priority,
      now,
      failure === null ? null : JSON.stringify(failure),
      JSON.stringify(attempts.map((attempt) => ({ id: uuidv7(), ...attempt }))),
    ],
  );
  for (const { outcome } of attempts) {
    if (outcome !== "PENDING")
      tx.tally({ of: "attempt", outcome, code: outcome === "FAILED" ? failure?.code : undefined });
  }
}

/** What the query finds, locked, by id, so much at a time. */
async function* inChunks(query: SelectQueryBuilder<Invoice>): AsyncGenerator<Invoice[]> {
  const columns = ["workspaceId", "id", "connectionId", "xeroId", "revision", "sentRevision", "voidRequested"];
  let last: string = NIL;
  for (;;) {
    const found = await query
      .clone()
      .select(columns.map((name) => `i.${name}`))
      .andWhere("i.id > :last", { last })
      .orderBy("i.id")
      .limit(rowsAtOnce)
      .setLock("pessimistic_write")
      .getMany();
    if (found.length > 0) yield found;
    if (found.length < rowsAtOnce) return;
    last = found.at(-1)?.id ?? last;
  }
}

/** Queues whatever failed to go to this organisation only because its link was down or the switch off, now that neither is. */
export async function queueWhatBecameDue(tx: WorkspaceTransaction, connectionId: string): Promise<void> {
  await queueFailed(tx, connectionId, lostLink, { trigger: "RECONNECTED", requestedBy: null });
}

/**
 * Queues whatever was rejected with one of the codes, to whichever organisation, now that what may have been wrong was changed; `narrow`
 * says which invoices the change concerns. Where the switch is off or a link down they fail for want of that from now on, and so are queued
 * when it is up.
 */
export async function queueMended(
  tx: WorkspaceTransaction,
  codes: SyncErrorCode[],
  narrow: (query: SelectQueryBuilder<Invoice>) => void = () => undefined,
): Promise<void> {
  const { workspaceId } = tx;
  const { enabled } = await tx.manager.findOneByOrFail(Integration, { workspaceId });
  for (const connection of await tx.manager.findBy(Connection, { workspaceId })) {
    const isUp = connection.connectionStatus === "CONNECTED";
    const failure = isUp ? (enabled ? undefined : switchedOff) : lostConnection(connection);
    await queueFailed(tx, connection.id, codes, { trigger: "MENDED", requestedBy: null }, { narrow, failure });
  }
}

/** Narrows the query to invoices that bill one of these participants: its own, those it manages the plan for, and those of the agency-managed if it is the NDIA. */
export function billedTo(query: SelectQueryBuilder<Invoice>, participantIds: string[]): void {
  query.andWhere(
    `i.participant_id IN (SELECT p.id FROM participant p
       WHERE p.workspace_id = i.workspace_id AND (p.id = ANY(:participantIds) OR p.plan_manager_id = ANY(:participantIds)
         OR p.plan_management = 'AGENCY_MANAGED'
            AND (SELECT n.ndia_id FROM integration n WHERE n.workspace_id = i.workspace_id) = ANY(:participantIds)))`,
    { participantIds },
  );
}

async function queueFailed(
  tx: WorkspaceTransaction,
  connectionId: string,
  codes: SyncErrorCode[],
  cause: Cause,
  { narrow, failure }: { narrow?: (query: SelectQueryBuilder<Invoice>) => void; failure?: SyncError | undefined } = {},
): Promise<void> {
  const query = tx.manager
    .createQueryBuilder(Invoice, "i")
    .where("i.workspace_id = :ws AND i.sync_status = 'FAILED' AND i.sync_error->>'code' = ANY(:codes)", {
      ws: tx.workspaceId,
      codes,
    })
    .andWhere(`${isUnsent} AND i.status NOT IN ('DRAFT', 'VOIDED')`)
    .andWhere(
      `:connectionId = (SELECT a.connection_id FROM sync_attempt a
         WHERE a.workspace_id = i.workspace_id AND a.invoice_id = i.id ORDER BY a.id DESC LIMIT 1)`,
      { connectionId },
    );
  narrow?.(query);
  const found = await query.clone().select("i.id").limit(1).getRawMany<object>();
  if (found.length > 0) await queueRun(tx, connectionId, { due: query, moves: true }, cause, failure);
}
