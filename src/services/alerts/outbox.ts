/** What gives rise to a mail keeps it, in its own transaction: one for each address, which a job sends. */
import { type WorkspaceTransaction } from "../../database.js";
import { enqueue } from "../../jobs/queue.js";

/** An alert has opened: everybody who is to hear of alerts hears of it. */
export async function mailOpened(tx: WorkspaceTransaction, alertId: string): Promise<void> {
  await keep(
    tx,
    `INSERT INTO mail (workspace_id, id, alert_id, occasion, address)
     SELECT workspace_id, gen_random_uuid(), $2, 'OPENED', address FROM integration, unnest(alert_emails) AS address WHERE workspace_id = $1
     ON CONFLICT DO NOTHING RETURNING 1`,
    alertId,
  );
}

/** Its cause has ended: whoever was told of it is told of that too. */
export async function mailResolved(tx: WorkspaceTransaction, alertId: string): Promise<void> {
  await keep(
    tx,
    `INSERT INTO mail (workspace_id, id, alert_id, occasion, address)
     SELECT workspace_id, gen_random_uuid(), $2, 'RESOLVED', address FROM mail
     WHERE workspace_id = $1 AND alert_id = $2 AND occasion = 'OPENED' AND state IN ('PENDING', 'SENT')
     ON CONFLICT DO NOTHING RETURNING 1`,
    alertId,
  );
}

async function keep(tx: WorkspaceTransaction, statement: string, alertId: string): Promise<void> {
  const kept: unknown[] = await tx.manager.query(statement, [tx.workspaceId, alertId]);
  if (kept.length > 0) enqueue(tx, "mail", { workspaceId: tx.workspaceId });
}
