/** What becomes of attempts of which it is known that nothing was written for them: they are tried again after a growing wait, or are over. */
import { type WorkspaceTransaction } from "../../database.js";
import { type Connection } from "../../entities/Connection.js";
import { type SyncAttempt } from "../../entities/SyncAttempt.js";
import { type SyncError } from "../../entities/SyncError.js";
import { type XeroFailure } from "../../xero/XeroFailure.js";
import { applyChanges, type Change, refusal } from "./attempts.js";
import { databaseNow, isOutdated, wakeAt } from "./batchRows.js";
import { backOffMs } from "./outcomes.js";
import { failed, isTransient } from "./syncErrors.js";

/** After so many failures that should have passed, which take about an hour, an attempt is over. */
const mostTransientFailures = 20;

export interface PutBack {
  /** What an attempt fails with after too many tries. */
  lastError: SyncError;
  /** Whether this was one of them. */
  counts: boolean;
  /** Tried for as long as it takes. */
  endless?: boolean;
  /** Left out: a wait that grows with the tries. */
  waitMs?: number | undefined;
  /** Further columns of the attempts. */
  also?: Partial<Omit<SyncAttempt, "id">>;
}

/** Puts the attempts back in the queue. */
export async function putBack(
  tx: WorkspaceTransaction,
  connection: Connection,
  attempts: SyncAttempt[],
  { lastError, counts, endless = false, waitMs, also }: PutBack,
): Promise<void> {
  const now = await databaseNow(tx);
  const changes = attempts.map((attempt): Change => {
    const transientFailures = attempt.transientFailures + (counts ? 1 : 0);
    if (transientFailures >= mostTransientFailures && !endless) return refusal(attempt, lastError);
    const notBefore = new Date(now.getTime() + (waitMs ?? backOffMs(transientFailures)));
    return {
      attempt,
      outcome: "PENDING",
      syncStatus: "QUEUED",
      error: null,
      also: { batchId: null, notBefore, transientFailures, ...also },
    };
  });
  await applyChanges(tx, changes);
  wakeAt(
    tx,
    connection.id,
    changes.flatMap(({ also: columns }) => columns?.notBefore ?? []),
  );
}

/** Puts the attempts back where time may mend what went wrong; else they have FAILED. */
export async function putBackAfter(
  tx: WorkspaceTransaction,
  connection: Connection,
  attempts: SyncAttempt[],
  failure: XeroFailure,
): Promise<void> {
  const error = failed(failure);
  if (!isTransient(failure) && !(await isOutdated(tx, connection, failure))) {
    await applyChanges(
      tx,
      attempts.map((attempt) => refusal(attempt, error)),
    );
    return;
  }
  await putBack(tx, connection, attempts, {
    lastError: { ...error, retryable: false },
    counts: failure.kind !== "RATE_LIMITED" && failure.kind !== "SWITCHED_OFF",
    // Maintenance ends; and refused tokens end with the link, which counts as lost when that goes on.
    endless: failure.kind === "OFFLINE" || failure.kind === "TOKEN_REFUSED",
    waitMs: failure.retryAfterMs,
  });
}
