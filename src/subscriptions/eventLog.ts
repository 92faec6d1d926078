/**
 * The event log's one inlet. `record` only buffers; the rows are written right before commit, with cursors from the workspace's counter
 * row, whose lock is taken last of all and held to the commit. So cursors grow in commit order without gaps: a reader that has seen
 * cursor 7 has seen all that will ever stand before it. A sequence could not promise that.
 */
import { type Transaction } from "../database.js";
import { type SyncStatus } from "../entities/enums.js";
import { type LogEvent, type Topic } from "../entities/LogEvent.js";

/** What happened. What is left out is null. */
export type NewEvent = { topic: Topic } & Partial<
  Pick<
    LogEvent,
    | "runId"
    | "invoiceId"
    | "paymentId"
    | "syncStatus"
    | "runStatus"
    | "paymentEventKind"
    | "connectionId"
    | "connectionStatus"
    | "alertId"
  >
>;

/** PostgreSQL's channel on which processes wake each other's readers; the payload is the workspace. */
export const eventsChannel = "ledgerline_events";

const append = `
  WITH counter AS (
    INSERT INTO event_counter (workspace_id, last_cursor) VALUES ($1, $2)
    ON CONFLICT (workspace_id) DO UPDATE SET last_cursor = event_counter.last_cursor + $2
    RETURNING last_cursor
  )
  INSERT INTO event_log (workspace_id, cursor, at, topic, run_id, invoice_id, payment_id, sync_status, run_status, payment_event_kind,
                         connection_id, connection_status, alert_id)
  SELECT $1, counter.last_cursor - $2 + e.n, clock_timestamp(), e.topic, e."runId", e."invoiceId", e."paymentId",
         e."syncStatus", e."runStatus", e."paymentEventKind", e."connectionId", e."connectionStatus", e."alertId"
  FROM counter, jsonb_to_recordset($3::jsonb) AS e (
    n bigint, topic text, "runId" uuid, "invoiceId" uuid, "paymentId" uuid, "syncStatus" text, "runStatus" text, "paymentEventKind" text,
    "connectionId" uuid, "connectionStatus" text, "alertId" uuid
  )`;

const appendRun = `
  WITH queued AS (
    SELECT invoice_id, row_number() OVER (ORDER BY id) AS n, count(*) OVER () AS total FROM sync_attempt
    WHERE workspace_id = $1 AND run_id = $2 AND outcome NOT IN ('UNCHANGED', 'SKIPPED')
  ), counter AS (
    INSERT INTO event_counter (workspace_id, last_cursor) SELECT $1, count(*) FROM queued
    ON CONFLICT (workspace_id) DO UPDATE SET last_cursor = event_counter.last_cursor + excluded.last_cursor
    RETURNING last_cursor
  )
  INSERT INTO event_log (workspace_id, cursor, at, topic, run_id, invoice_id, sync_status)
  SELECT $1, counter.last_cursor - queued.total + queued.n, clock_timestamp(), 'SYNC', $2, queued.invoice_id, $3 FROM counter, queued`;

const buffers = new WeakMap<Transaction, NewEvent[]>();

/** Appends an event to the workspace's log with the transaction's commit, after all that was recorded before it. */
export function record(tx: Transaction & { workspaceId: string }, event: NewEvent): void {
  const buffered = buffers.get(tx);
  if (buffered) {
    buffered.push(event);
    return;
  }
  const events = [event];
  buffers.set(tx, events);
  tx.signal("events", tx.workspaceId);
  tx.beforeCommit("events", async () => {
    const rows = events.map((row, index) => ({ n: index + 1, ...row }));
    await tx.manager.query(append, [tx.workspaceId, events.length, JSON.stringify(rows)]);
    if (!tx.embedded) await tx.manager.query("SELECT pg_notify($1, $2)", [eventsChannel, tx.workspaceId]);
  });
}

/** Appends, for each invoice that the run has just queued or failed, that it is so now: one statement for a run of any size. */
export function recordRun(tx: Transaction & { workspaceId: string }, runId: string, syncStatus: SyncStatus): void {
  tx.signal("events", tx.workspaceId);
  tx.beforeCommit("events", async () => {
    await tx.manager.query(appendRun, [tx.workspaceId, runId, syncStatus]);
  });
}
