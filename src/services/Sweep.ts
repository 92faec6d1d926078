/**
 * Wakes what was forgotten: a job is only a hint, and a worker that died took its hints with it. Whatever stands due in the records and was
 * not taken up within seconds is woken again; that costs an empty look where somebody is at it already.
 */
import { type Database } from "../database.js";
import { enqueue, type Tasks } from "../jobs/queue.js";

const forgotten = `
  SELECT 'push' AS task, a.workspace_id AS "workspaceId", a.connection_id AS "connectionId" FROM sync_attempt a
  WHERE a.outcome = 'PENDING' AND a.batch_id IS NULL AND coalesce(a.not_before, a.queued_at) < now() - interval '5 s'
  UNION
  SELECT 'push', b.workspace_id, b.connection_id FROM sync_batch b
  WHERE b.state <> 'DONE' AND b.lease_until < now() AND (b.not_before IS NULL OR b.not_before < now())
  UNION
  SELECT 'pull', w.workspace_id, w.connection_id FROM webhook_event w
  WHERE w.status = 'RECEIVED' AND w.connection_id IS NOT NULL AND w.received_at < now() - interval '5 s'`;

export class Sweep {
  constructor(private readonly database: Database) {}

  /** Queues a wake-up for every organisation that has something due; of connections that are up and switched on. */
  async run(): Promise<void> {
    await this.database.asSystem(async (tx) => {
      const due: { task: "push" | "pull"; workspaceId: string; connectionId: string }[] = await tx.manager.query(
        `SELECT f.* FROM (${forgotten}) f
         JOIN connection c ON c.workspace_id = f."workspaceId" AND c.id = f."connectionId" AND c.connection_status = 'CONNECTED'
           AND (f.task <> 'pull' OR c.pull_not_before IS NULL OR c.pull_not_before < now())
         JOIN integration i ON i.workspace_id = f."workspaceId" AND i.enabled`,
      );
      for (const { task, workspaceId, connectionId } of due) {
        enqueue(tx, task, { workspaceId, connectionId } satisfies Tasks["push"]);
      }
    });
  }
}
