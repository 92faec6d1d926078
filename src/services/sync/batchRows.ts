/** The statements behind the book of batches: finding what is next, and taking and giving up leases, by PostgreSQL's clock. */
import { randomUUID } from "node:crypto";
import { In } from "typeorm";
import { type WorkspaceTransaction } from "../../database.js";
import { Connection } from "../../entities/Connection.js";
import type { Invoice } from "../../entities/Invoice.js";
import { SyncAttempt } from "../../entities/SyncAttempt.js";
import { type BatchKind, SyncBatch } from "../../entities/SyncBatch.js";
import { enqueue } from "../../jobs/queue.js";
import { find } from "../loading.js";
import { type XeroFailure } from "../../xero/XeroFailure.js";

/** Xero recommends about 50 elements a call. */
export const batchSize = 50;

/** What there is to be done for an organisation, the most urgent first. */
export interface Next {
  step: "GO_ON" | "SETTLE_CONTACTS" | "SEND" | "RECHECK";
  /** Nobody waits for it. */
  background: boolean;
}

const due = "a.outcome = 'PENDING' AND a.batch_id IS NULL AND (a.not_before IS NULL OR a.not_before <= now())";

/** Whether it can be sent: its contact is settled, or it needs none. */
const isReady = "(a.contact_id IS NOT NULL OR a.action = 'VOID')";

const mostUrgent = (condition: string): string => `
  SELECT a.priority, a.id FROM sync_attempt a WHERE a.workspace_id = $1 AND a.connection_id = $2 AND ${due} AND ${condition}
  ORDER BY a.priority, a.id LIMIT 1`;

const next = `
  SELECT EXISTS (SELECT FROM sync_batch WHERE workspace_id = $1 AND connection_id = $2 AND kind = 'INVOICES' AND state <> 'DONE'
                   AND lease_until <= now() AND (not_before IS NULL OR not_before <= now())) AS open,
    r.priority AS ready, u.priority AS unsettled, coalesce((u.priority, u.id) < (r.priority, r.id), true) AS "unsettledFirst",
    CASE WHEN m.lease_until > now() THEN m.lease_until END AS "settlingUntil",
    EXISTS (SELECT FROM invoice WHERE workspace_id = $1 AND connection_id = $2 AND recheck_at <= now() AND sync_status = 'SYNCED') AS recheck
  FROM (SELECT) one
  LEFT JOIN LATERAL (${mostUrgent(isReady)}) r ON true
  LEFT JOIN LATERAL (${mostUrgent(`NOT ${isReady}`)}) u ON true
  LEFT JOIN contact_mirror m ON m.workspace_id = $1 AND m.connection_id = $2`;

/** What is to be done next for the organisation; null: nothing now, or nothing but what somebody else is at. */
export async function findNext(tx: WorkspaceTransaction, connectionId: string): Promise<Next | null> {
  const [row] = await tx.manager.query<
    {
      open: boolean;
      ready: number | null;
      unsettled: number | null;
      unsettledFirst: boolean;
      settlingUntil: Date | null;
      recheck: boolean;
    }[]
  >(next, [tx.workspaceId, connectionId]);
  if (!row) return null;
  const { open, ready, unsettled, unsettledFirst, settlingUntil, recheck } = row;
  if (open) return { step: "GO_ON", background: false };
  if (unsettled !== null && unsettledFirst && settlingUntil === null) {
    return { step: "SETTLE_CONTACTS", background: unsettled > 0 };
  }
  if (ready !== null) return { step: "SEND", background: ready > 0 };
  // Whoever settles contacts wakes the others when it is done; should it die, this does.
  if (unsettled !== null && settlingUntil !== null) wakeAt(tx, connectionId, [settlingUntil]);
  return recheck ? { step: "RECHECK", background: true } : null;
}

/** Up to so many of the organisation's due attempts, the most urgent first; locked, and what others hold is passed over. */
export async function dueAttempts(
  tx: WorkspaceTransaction,
  connectionId: string,
  { which, limit }: { which: "READY" | "UNSETTLED" | "ALL"; limit: number },
): Promise<SyncAttempt[]> {
  const query = tx.manager
    .createQueryBuilder(SyncAttempt, "a")
    .where("a.workspace_id = :ws AND a.connection_id = :connectionId", { ws: tx.workspaceId, connectionId })
    .andWhere(due);
  if (which !== "ALL") query.andWhere(which === "READY" ? isReady : `NOT ${isReady}`);
  return query
    .orderBy("a.priority")
    .addOrderBy("a.id")
    .limit(limit)
    .setLock("pessimistic_write")
    .setOnLocked("skip_locked")
    .getMany();
}

/** How many go together: fewer with each time that the first of them failed, so that one that Xero chokes on is alone in the end. */
export function sizeAfter(most: number, [first]: SyncAttempt[]): number {
  return Math.max(1, most >> Math.max(0, (first?.transientFailures ?? 0) - 1));
}

/** Writes a batch down under a lease; from the commit on it may have been sent. */
export async function openBatch(
  tx: WorkspaceTransaction,
  batch: Pick<SyncBatch, "id" | "leaseId" | "connectionId" | "kind" | "method" | "body">,
  leaseMs: number,
): Promise<SyncBatch> {
  const { id, leaseId, connectionId, kind, method, body } = batch;
  await tx.manager.query(
    `INSERT INTO sync_batch (workspace_id, id, connection_id, state, method, body, idempotency_key, key_used_at, sent_at, lease_until, lease_id, kind)
     VALUES ($1, $2, $3, 'SENT', $4, $5, $6, now(), now(), now() + $7 * interval '1 ms', $8, $9)`,
    [tx.workspaceId, id, connectionId, method, body, randomUUID(), leaseMs, leaseId, kind],
  );
  return tx.manager.findOneByOrFail(SyncBatch, { workspaceId: tx.workspaceId, id });
}

/** A batch whose lease was taken, with the ages of its key and its last send by the database's clock. */
export interface TakenBatch {
  batch: SyncBatch;
  keyAgeMs: number;
  sentAgoMs: number;
}

/** Takes the lease of one batch that nobody holds and whose time has come; null where there is none. */
export async function takeLease(
  tx: WorkspaceTransaction,
  connectionId: string,
  { kind, leaseId, leaseMs }: { kind: BatchKind; leaseId: string; leaseMs: number },
): Promise<TakenBatch | null> {
  const rows: unknown = await tx.manager.query(
    `UPDATE sync_batch b SET lease_id = $3, lease_until = now() + $4 * interval '1 ms',
       -- Whoever held it may have sent it, so what is said of a repeat says nothing of that.
       doubts = greatest(b.doubts, 1)
     FROM (SELECT id FROM sync_batch
           WHERE workspace_id = $1 AND connection_id = $2 AND kind = $5 AND state <> 'DONE' AND lease_until <= now() AND (not_before IS NULL OR not_before <= now())
           ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED) due
     WHERE b.workspace_id = $1 AND b.id = due.id
     RETURNING b.id, extract(epoch FROM now() - b.key_used_at) * 1000 AS age, extract(epoch FROM now() - b.sent_at) * 1000 AS ago`,
    [tx.workspaceId, connectionId, leaseId, leaseMs, kind],
  );
  const [row] = (rows as [{ id: string; age: string; ago: string }[]])[0];
  if (!row) return null;
  const batch = await tx.manager.findOneByOrFail(SyncBatch, { workspaceId: tx.workspaceId, id: row.id });
  return { batch, keyAgeMs: Number(row.age), sentAgoMs: Number(row.ago) };
}

/** Ends a batch, and frees whatever attempts are still in it. */
export async function release(tx: WorkspaceTransaction, batchId: string): Promise<void> {
  const { workspaceId } = tx;
  await tx.manager.update(
    SyncAttempt,
    { workspaceId, batchId, outcome: In(["PENDING", "UNCERTAIN"]) },
    { batchId: null, outcome: "PENDING" },
  );
  // The body named people and amounts, and nobody needs it any more.
  await tx.manager.update(SyncBatch, { workspaceId, id: batchId }, { state: "DONE", body: "" });
}

/** Whether Xero itself failed, and so remembers that under the key: a gateway that lost patience (502, 504) says nothing of what goes on behind it. */
export function isAnswer({ kind, status }: Pick<XeroFailure, "kind" | "status">): boolean {
  return (kind === "SERVER_ERROR" || kind === "OFFLINE") && status !== 502 && status !== 504;
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

/** One invoice of a body that was written down. */
export interface WrittenInvoice {
  /** Absent where it is only to be voided. */
  url?: string;
  xeroId?: string;
  contactId?: string;
}

/**
 * What was written of each invoice, by our id of it, which is the end of its address, else by Xero's id. Read from the body and not made
 * anew: APP_URL may be another one since, and an invoice that is looked for by another address than it was sent with would not be found,
 * and sent again.
 */
export function writtenIn(body: string, invoices: Invoice[]): Map<string, WrittenInvoice> {
  if (body === "") return new Map();
  const { Invoices } = JSON.parse(body) as {
    Invoices: { InvoiceID?: string; Url?: string; Contact?: { ContactID: string } }[];
  };
  const byXeroId = new Map(invoices.map(({ id, xeroId }) => [xeroId, id]));
  return new Map(
    Invoices.map(({ InvoiceID: xeroId, Url: url, Contact }) => [
      url?.slice(url.lastIndexOf("/") + 1) ?? byXeroId.get(xeroId ?? "") ?? "",
      { ...(url && { url }), ...(xeroId && { xeroId }), ...(Contact && { contactId: Contact.ContactID }) },
    ]),
  );
}

/** PostgreSQL's clock, which every instant that is compared with its `now()` must come from. */
export async function databaseNow(tx: WorkspaceTransaction): Promise<Date> {
  const [row] = await tx.manager.query<{ now: Date }[]>("SELECT now() AS now");
  if (!row) throw new Error("the database does not tell the time");
  return row.now;
}
