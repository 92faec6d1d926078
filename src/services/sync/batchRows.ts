/** The statements behind the book of batches: finding what is due, and taking and giving up leases, by PostgreSQL's clock. */
import { randomUUID } from "node:crypto";
import { In } from "typeorm";
import { type WorkspaceTransaction } from "../../database.js";
import { Connection } from "../../entities/Connection.js";
import { SyncAttempt } from "../../entities/SyncAttempt.js";
import { type BatchState, SyncBatch } from "../../entities/SyncBatch.js";
import { enqueue } from "../../jobs/queue.js";
import { find } from "../loading.js";
import { type XeroFailure } from "../../xero/XeroFailure.js";
import { applyChanges } from "./attempts.js";

/** Xero recommends about 50 elements a call. */
const batchSize = 50;

/** A batch as it was read, with the age of its key by the database's clock. */
export type BatchRow = SyncBatch & { keyAgeMs: number };

/** What is due to the organisation and nobody has claimed, up to one batch; locked, and what others hold is passed over. */
export async function dueAttempts(tx: WorkspaceTransaction, connectionId: string): Promise<SyncAttempt[]> {
  return tx.manager
    .createQueryBuilder(SyncAttempt, "a")
    .where("a.workspace_id = :ws AND a.connection_id = :connectionId", { ws: tx.workspaceId, connectionId })
    .andWhere("a.outcome = 'PENDING' AND a.batch_id IS NULL AND (a.not_before IS NULL OR a.not_before <= now())")
    .orderBy("a.priority")
    .addOrderBy("a.id")
    .limit(batchSize)
    .setLock("pessimistic_write")
    .setOnLocked("skip_locked")
    .getMany();
}

/** Makes a batch that is PREPARING under a lease. */
export async function openBatch(
  tx: WorkspaceTransaction,
  { id, leaseId, connectionId, leaseMs }: { id: string; leaseId: string; connectionId: string; leaseMs: number },
): Promise<void> {
  await tx.manager.query(
    `INSERT INTO sync_batch (workspace_id, id, connection_id, state, body, idempotency_key, key_used_at, lease_until, lease_id)
     VALUES ($1, $2, $3, 'PREPARING', '', $4, now(), now() + $5 * interval '1 ms', $6)`,
    [tx.workspaceId, id, connectionId, randomUUID(), leaseMs, leaseId],
  );
}

/** Takes the lease of one batch in these states that nobody holds and whose time has come; null where there is none. */
export async function takeLease(
  tx: WorkspaceTransaction,
  connectionId: string,
  { leaseId, leaseMs, states }: { leaseId: string; leaseMs: number; states: BatchState[] },
): Promise<BatchRow | null> {
  const rows: unknown = await tx.manager.query(
    `UPDATE sync_batch b SET lease_id = $3, lease_until = now() + $4 * interval '1 ms',
       -- Whoever held it may have sent it, so what is said of a repeat says nothing of that.
       doubts = CASE WHEN b.state = 'SENT' THEN greatest(b.doubts, 1) ELSE b.doubts END
     FROM (SELECT id FROM sync_batch
           WHERE workspace_id = $1 AND connection_id = $2 AND state <> 'DONE' AND state = ANY($5) AND lease_until <= now() AND (not_before IS NULL OR not_before <= now())
           ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED) due
     WHERE b.workspace_id = $1 AND b.id = due.id RETURNING b.id, extract(epoch FROM now() - b.key_used_at) * 1000 AS age`,
    [tx.workspaceId, connectionId, leaseId, leaseMs, states],
  );
  const [row] = (rows as [{ id: string; age: string }[]])[0];
  if (!row) return null;
  const batch = await tx.manager.findOneByOrFail(SyncBatch, { workspaceId: tx.workspaceId, id: row.id });
  return { ...batch, keyAgeMs: Number(row.age) };
}

/** Ends a batch, and frees whatever attempts are still in it. */
export async function release(tx: WorkspaceTransaction, batchId: string): Promise<void> {
  const { workspaceId } = tx;
  await tx.manager.update(
    SyncAttempt,
    { workspaceId, batchId, outcome: In(["PENDING", "UNCERTAIN"]) },
    { batchId: null, outcome: "PENDING" },
  );
  await tx.manager.update(SyncBatch, { workspaceId, id: batchId }, { state: "DONE" });
}

/** Ends a batch that was never sent: whatever is left in it is as it was before it was claimed. */
export async function requeue(tx: WorkspaceTransaction, batchId: string): Promise<void> {
  const attempts = await attemptsOf(tx, batchId);
  await applyChanges(
    tx,
    attempts.map((attempt) => ({ attempt, outcome: "PENDING", syncStatus: "QUEUED" })),
  );
  await release(tx, batchId);
}

/** The batch's attempts that have no outcome yet. */
export async function attemptsOf(tx: WorkspaceTransaction, batchId: string): Promise<SyncAttempt[]> {
  return tx.manager.find(SyncAttempt, {
    where: { workspaceId: tx.workspaceId, batchId, outcome: In(["PENDING", "UNCERTAIN"]) },
    order: { id: "ASC" },
  });
}

/** Whether the failure says that the link is lost, of a consent that a newer one has replaced since: then it says nothing of the link as it is. */
export async function isOutdated(
  tx: WorkspaceTransaction,
  { id, connectedAt }: Connection,
  { kind }: Pick<XeroFailure, "kind">,
): Promise<boolean> {
  if (kind !== "DISCONNECTED" && kind !== "INVALID_GRANT" && kind !== "MISSING_SCOPE") return false;
  const now = await find(tx, Connection, id, { lock: "share" });
  return now?.connectionStatus === "CONNECTED" && now.connectedAt > connectedAt;
}

/** Queues a wake-up for the soonest of the instants, if there is one. */
export function wakeAt(tx: WorkspaceTransaction, connectionId: string, instants: Date[]): void {
  const soonest = Math.min(...instants.map((instant) => instant.getTime()));
  if (Number.isFinite(soonest))
    enqueue(tx, "push", { workspaceId: tx.workspaceId, connectionId }, { runAt: new Date(soonest) });
}

/**
 * What was written of each invoice, by our id of it, which is the end of its address. Read from the body and not made anew: APP_URL may be
 * another one since, and an invoice that is looked for by another address than it was sent with would not be found, and sent again.
 */
export function sentIn(body: string): Map<string, { url: string; contactId: string }> {
  if (body === "") return new Map();
  const { Invoices } = JSON.parse(body) as { Invoices: { Url: string; Contact: { ContactID: string } }[] };
  return new Map(
    Invoices.map(({ Url, Contact }) => [
      Url.slice(Url.lastIndexOf("/") + 1),
      { url: Url, contactId: Contact.ContactID },
    ]),
  );
}

/** PostgreSQL's clock, which every instant that is compared with its `now()` must come from. */
export async function databaseNow(tx: WorkspaceTransaction): Promise<Date> {
  const [row] = await tx.manager.query<{ now: Date }[]>("SELECT now() AS now");
  if (!row) throw new Error("the database does not tell the time");
  return row.now;
}
