/**
 * How attempts change state, and what always follows from it in the same transaction: the invoice shows it, the run's status is derived
 * anew, and the event log tells of both.
 */
import { In } from "typeorm";
import { type WorkspaceTransaction } from "../../database.js";
import { type ContactAction, type SyncOutcome, type SyncRunStatus, type SyncStatus } from "../../entities/enums.js";
import { Invoice } from "../../entities/Invoice.js";
import { SyncAttempt } from "../../entities/SyncAttempt.js";
import { type SyncError } from "../../entities/SyncError.js";
import { SyncRun } from "../../entities/SyncRun.js";
import { record } from "../../subscriptions/eventLog.js";
import { tellOfRun } from "../alerts/failedSyncs.js";
import { patchAll } from "../patching.js";

/** What one attempt comes to, and what its invoice shows from then on. */
export interface Change {
  attempt: SyncAttempt;
  outcome: SyncOutcome;
  syncStatus: SyncStatus;
  error?: SyncError | null;
  contactAction?: ContactAction | null;
  /** Further columns of the invoice. */
  invoice?: Partial<Omit<Invoice, "id">>;
  /** Further columns of the attempt. */
  also?: Partial<Omit<SyncAttempt, "id">>;
}

/** The change for an attempt that failed for good, until something changes. */
export function refusal(attempt: SyncAttempt, error: SyncError): Change {
  return { attempt, outcome: "FAILED", syncStatus: "FAILED", error };
}

const live: SyncOutcome[] = ["PENDING", "UNCERTAIN"];

/** Applies the changes: attempt, invoice, event each; then the runs they belong to. A fixed number of statements, however many they are. */
export async function applyChanges(tx: WorkspaceTransaction, changes: Change[]): Promise<void> {
  const now = new Date();
  await patchAll(
    tx,
    SyncAttempt,
    changes.map(({ attempt, outcome, error, contactAction, also }) => ({
      id: attempt.id,
      outcome,
      finishedAt: live.includes(outcome) ? null : now,
      error,
      contactAction,
      ...also,
    })),
  );
  await patchAll(
    tx,
    Invoice,
    changes.map(({ attempt, syncStatus, error, invoice, also }) => ({
      id: attempt.invoiceId,
      syncStatus,
      syncError: error ?? null,
      nextAttemptAt: also?.notBefore ?? null,
      updatedAt: now,
      ...invoice,
    })),
  );
  for (const { attempt, syncStatus } of changes) {
    record(tx, { topic: "SYNC", runId: attempt.runId, invoiceId: attempt.invoiceId, syncStatus });
  }
  for (const { outcome, error } of changes) {
    if (outcome !== "PENDING") tx.tally({ of: "attempt", outcome, code: error?.code });
  }
  for (const runId of runsOf(changes.map(({ attempt }) => attempt))) await deriveRun(tx, runId);
}

/** The attempts' runs, in one order for everybody, so that nobody waits for another in a circle. */
function runsOf(attempts: SyncAttempt[]): string[] {
  return [...new Set(attempts.map(({ runId }) => runId))].sort();
}

/** Sets the run's status from its attempts, and tells of it when it changed. */
async function deriveRun(tx: WorkspaceTransaction, runId: string): Promise<void> {
  // The lock puts two workers that finish the last two attempts at once one after the other, so one of them sees all.
  const run = await tx.manager.findOneOrFail(SyncRun, {
    where: { workspaceId: tx.workspaceId, id: runId },
    lock: { mode: "pessimistic_write" },
  });
  // While anything is open, which an index tells, there is nothing to count.
  const going = await tx.manager.existsBy(SyncAttempt, { workspaceId: tx.workspaceId, runId, outcome: In(live) });
  const status = going
    ? "RUNNING"
    : statusOf((await countOutcomes(tx, [runId])).get(runId) ?? new Map<SyncOutcome, number>());
  if (status === run.status) return;
  await tx.manager.update(
    SyncRun,
    { workspaceId: tx.workspaceId, id: runId },
    { status, startedAt: run.startedAt ?? new Date(), finishedAt: going ? null : new Date() },
  );
  record(tx, { topic: "SYNC", runId, runStatus: status });
  if (!going) await tellOfRun(tx, run);
}

/** What a run has come to of which nothing is open any more. */
function statusOf(counts: Map<SyncOutcome, number>): SyncRunStatus {
  const count = (...outcomes: SyncOutcome[]) => outcomes.reduce((sum, outcome) => sum + (counts.get(outcome) ?? 0), 0);
  const good = count("CREATED", "UPDATED", "ADOPTED", "UNCHANGED", "SKIPPED");
  if (count("FAILED") > 0) return good > 0 ? "PARTIALLY_SUCCEEDED" : "FAILED";
  if (good > 0) return "SUCCEEDED";
  return count("CANCELLED") > 0 ? "CANCELLED" : "NOTHING_TO_DO";
}

/** How many attempts of each run stand at each outcome: one statement for any number of runs. */
export async function countOutcomes(
  tx: WorkspaceTransaction,
  runIds: readonly string[],
): Promise<Map<string, Map<SyncOutcome, number>>> {
  const rows = await tx.manager
    .createQueryBuilder(SyncAttempt, "a")
    .select("a.run_id", "runId")
    .addSelect("a.outcome", "outcome")
    .addSelect("count(*)::int", "count")
    .where({ workspaceId: tx.workspaceId, runId: In([...runIds]) })
    .groupBy("a.run_id")
    .addGroupBy("a.outcome")
    .getRawMany<{ runId: string; outcome: SyncOutcome; count: number }>();
  const counts = new Map(runIds.map((id) => [id, new Map<SyncOutcome, number>()]));
  for (const { runId, outcome, count } of rows) counts.get(runId)?.set(outcome, count);
  return counts;
}

/** Adds calls made to Xero to the runs they were made for. */
export async function addCalls(tx: WorkspaceTransaction, attempts: SyncAttempt[], calls: number): Promise<void> {
  if (calls === 0) return;
  for (const id of runsOf(attempts))
    await tx.manager.increment(SyncRun, { workspaceId: tx.workspaceId, id }, "xeroCalls", calls);
}
