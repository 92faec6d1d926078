/**
 * How work is handed to the workers: a job is a wake-up and nothing more. What there is to do stands in the records (attempts, batches,
 * webhook events), so a job that is lost, doubled or late costs time and never work; the sweep wakes again whatever was forgotten.
 * A job joins the transaction that gives rise to it, and jobs with one key collapse into one.
 */
import { type Transaction } from "../database.js";
import { correlationId } from "../logger.js";

/** Every kind of background work with its payload. */
export interface Tasks {
  /** Send what is due to one organisation. */
  push: { workspaceId: string; connectionId: string };
  /** Apply the webhook events that came for one organisation. */
  pull: { workspaceId: string; connectionId: string };
  /** Bring payments made here to one organisation, and take back what was taken back. */
  pay: { workspaceId: string; connectionId: string };
  /** Look through one organisation's changes for what no webhook told of. */
  poll: { workspaceId: string; connectionId: string };
  /** Read accounts, tax rates and the organisation itself. */
  refresh: { workspaceId: string; connectionId: string };
  /** See whether the link is still alive. */
  check: { workspaceId: string; connectionId: string };
  /** Take in what has changed of the organisation's contacts. */
  import: { workspaceId: string; connectionId: string };
  /** End at Xero what was given up here. */
  release: { workspaceId: string; connectionId: string };
  /** Send the workspace's mails. */
  mail: { workspaceId: string };
}

export interface EnqueueOptions {
  /** Not before this instant; left out: at once. */
  runAt?: Date;
  /** Lower runs first; by hand 0, by schedule 10. */
  priority?: number;
}

/** Queues a wake-up with the transaction's commit; one already waiting for the same connection and time is replaced. */
export function enqueue<T extends keyof Tasks>(
  tx: Transaction,
  task: T,
  payload: Tasks[T],
  options: EnqueueOptions = {},
): void {
  const { runAt, priority = 0 } = options;
  // A delayed wake-up has a key of its own, by the second, so that none is put off by one that comes later.
  const key = `${task}:${ofWhat(payload)}${runAt ? `:${Math.ceil(runAt.getTime() / 1000)}` : ""}`;
  tx.beforeCommit("jobs", async () => {
    const add =
      tx.workspaceId === null
        ? "graphile_worker.add_job($1, $2, run_at => $4, job_key => $3, priority => $5)"
        : "ledgerline_enqueue($1, $2, $3, $4, $5)";
    // Keys are the workspace's own: the function puts it in front by itself, so that none can replace another's job.
    const fullKey = tx.workspaceId === null ? `${payload.workspaceId}:${key}` : key;
    // What a job does is found in the log by the request or delivery that gave rise to it.
    const job = JSON.stringify({ ...payload, correlationId: correlationId() });
    await tx.manager.query(`SELECT ${add}`, [task, job, fullKey, runAt ?? null, priority]);
  });
  tx.signal("jobs");
}

/**
 * SQL that queues a wake-up for each of `rows`, a query of (workspace_id, connection_id), where none waits: for a statement of the system path
 * that is a transaction by itself, and so frequent that writing the waiting one anew, as `enqueue` does, would be a third of its cost. For the
 * queue a wake-up that is being worked on waits too, so of such a task each begins by giving up its `keyOfWakeUp`. Whoever runs it signals "jobs",
 * and gives the correlation id as the parameter that is named.
 */
export function enqueueWhereNoneWaits(task: keyof Tasks, rows: string, correlation: string): string {
  return `
    SELECT count(graphile_worker.add_job('${task}', json_build_object(
      'workspaceId', workspace_id, 'connectionId', connection_id, 'correlationId', ${correlation}::text),
      job_key => workspace_id || ':${task}:' || connection_id, priority => 0, job_key_mode => 'unsafe_dedupe')) FROM (${rows}) rows`;
}

/** What the wake-up for now of a task is found by in the queue. */
export function keyOfWakeUp<T extends keyof Tasks>(task: T, payload: Tasks[T]): string {
  return `${payload.workspaceId}:${task}:${ofWhat(payload)}`;
}

/** The connection that a job is about; "" where it is about the whole workspace. */
function ofWhat(payload: Tasks[keyof Tasks]): string {
  return "connectionId" in payload ? payload.connectionId : "";
}

/** Wakes everything that may have waited for the connection: what is to be sent, and what came back. */
export function wakeConnection(tx: Transaction, workspaceId: string, connectionId: string): void {
  for (const task of ["push", "pull", "pay"] as const) enqueue(tx, task, { workspaceId, connectionId });
}
