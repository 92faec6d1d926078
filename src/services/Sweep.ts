/**
 * Wakes what was forgotten: a job is only a hint, and a worker that died took its hints with it. Whatever stands due in the records and was
 * not taken up within seconds is woken again; that costs an empty look where somebody is at it already.
 */
import { type Database } from "../database.js";
import { enqueue, type Tasks } from "../jobs/queue.js";
import { isSendable } from "./payments/pushQueue.js";

/** `needsLink`: what is due of it can be done only while the link is up; the rest is also how a lost link is told to what is queued. */
const forgotten = `
  SELECT 'push' AS task, a.workspace_id AS "workspaceId", a.connection_id AS "connectionId", false AS "needsLink" FROM sync_attempt a
  WHERE a.outcome = 'PENDING' AND a.batch_id IS NULL AND coalesce(a.not_before, a.queued_at) < now() - interval '5 s'
  UNION
  SELECT CASE b.kind WHEN 'PAYMENTS' THEN 'pay' ELSE 'push' END, b.workspace_id, b.connection_id, b.state = 'SENT' FROM sync_batch b
  WHERE b.state <> 'DONE' AND b.lease_until < now() AND (b.not_before IS NULL OR b.not_before < now())
  UNION
  SELECT 'pull', i.workspace_id, i.connection_id, true FROM invoice i WHERE i.pull_due_at < now() - interval '5 s'
  UNION
  SELECT 'pay', i.workspace_id, i.connection_id, true FROM payment p JOIN invoice i ON i.workspace_id = p.workspace_id AND i.id = p.invoice_id
  WHERE ${isSendable} AND (p.push_not_before IS NULL OR p.push_not_before < now() - interval '5 s')
  UNION
  SELECT 'push', i.workspace_id, i.connection_id, true FROM invoice i WHERE i.recheck_at < now() - interval '5 s' AND i.sync_status = 'SYNCED'
  UNION
  SELECT 'pull', w.workspace_id, w.connection_id, true FROM webhook_event w
  WHERE w.status = 'RECEIVED' AND w.connection_id IS NOT NULL AND w.received_at < now() - interval '5 s'`;

/** What is done whether the link is up or not, and with the switch off too. */
const unended = `
  SELECT DISTINCT 'release' AS task, r.workspace_id AS "workspaceId", r.connection_id AS "connectionId" FROM release r
  WHERE r.due_at < now() - interval '5 s'
  UNION
  SELECT 'import', s.workspace_id, s.connection_id FROM sync_run s
  WHERE s.kind = 'CONTACT_IMPORT' AND s.finished_at IS NULL AND s.queued_at < now() - interval '5 s'`;

interface Due {
  task: "push" | "pull" | "pay" | "import" | "release";
  workspaceId: string;
  connectionId: string;
}

export class Sweep {
  constructor(private readonly database: Database) {}

  /** Queues a wake-up for every organisation that has something due. */
  async run(): Promise<void> {
    await this.database.asSystem(async (tx) => {
      const due: Due[] = await tx.manager.query(
        `SELECT f.task, f."workspaceId", f."connectionId" FROM (${forgotten}) f
         JOIN connection c ON c.workspace_id = f."workspaceId" AND c.id = f."connectionId"
           AND (c.connection_status = 'CONNECTED' OR NOT f."needsLink")
           AND (f.task <> 'pull' OR c.pull_not_before IS NULL OR c.pull_not_before < now())
         JOIN integration i ON i.workspace_id = f."workspaceId" AND i.enabled
         UNION ${unended}`,
      );
      const unsent: { workspaceId: string }[] = await tx.manager.query(
        `SELECT DISTINCT workspace_id AS "workspaceId" FROM mail WHERE state = 'PENDING' AND created_at < now() - interval '5 s'
           AND (not_before IS NULL OR not_before < now()) AND (lease_until IS NULL OR lease_until < now())`,
      );
      for (const { workspaceId } of unsent) enqueue(tx, "mail", { workspaceId });
      for (const { task, workspaceId, connectionId } of due) {
        enqueue(tx, task, { workspaceId, connectionId } satisfies Tasks[typeof task]);
      }
    });
  }
}
