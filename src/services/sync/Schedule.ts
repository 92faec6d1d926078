/**
 * The schedule: a tick makes one run of all that is due. A workspace's next tick stands in its settings; whichever process finds it gone by
 * fires it, under the row's lock, and sets the one after. So a tick fires once, and any number that were missed (no process was up, the link
 * was down) are made up for by one run as soon as a sync may run again.
 */
import { type Database, type WorkspaceTransaction } from "../../database.js";
import { Integration } from "../../entities/Integration.js";
import { AppError } from "../../errors.js";
import { type Integrations } from "../Integrations.js";
import { nextTick } from "./cron.js";
import { dueInvoices, goingRun } from "./dueInvoices.js";
import { queueRun } from "./queueRun.js";

const atOnce = 50;

export class Schedule {
  constructor(
    private readonly database: Database,
    private readonly integrations: Integrations,
  ) {}

  /** Fires whatever tick has come; safe on any number of processes at once. */
  async run(): Promise<void> {
    const due = await this.database.asSystem((tx) =>
      tx.manager.query<{ workspaceId: string }[]>(
        `SELECT i.workspace_id AS "workspaceId" FROM integration i
         JOIN connection c ON c.workspace_id = i.workspace_id AND c.id = i.active_connection_id AND c.connection_status = 'CONNECTED'
         WHERE i.enabled AND i.schedule_enabled AND i.schedule_next_run_at <= now()
         ORDER BY i.schedule_next_run_at LIMIT $1`,
        [atOnce],
      ),
    );
    for (const { workspaceId } of due) await this.database.inWorkspace(workspaceId, (tx) => this.fire(tx));
  }

  private async fire(tx: WorkspaceTransaction): Promise<void> {
    const { workspaceId } = tx;
    const going = await goingRun(tx, "SCHEDULED");
    const integration = await tx.manager.findOneByOrFail(Integration, { workspaceId });
    const { scheduleEnabled, scheduleNextRunAt } = integration;
    if (!scheduleEnabled || scheduleNextRunAt === null || scheduleNextRunAt > new Date()) return;
    const connectionId = await this.readyConnection(tx);
    const next = nextTick(integration.scheduleCron, await this.integrations.scheduleTimeZone(tx, integration));
    await tx.manager.update(Integration, { workspaceId }, { scheduleNextRunAt: next });
    // While the last tick's run is going, this one's invoices are the next one's.
    if (going || connectionId === null) return;
    const due = await dueInvoices(tx, connectionId, { rejectedToo: false });
    await queueRun(tx, connectionId, { due }, { trigger: "SCHEDULED", requestedBy: null });
  }

  /** The organisation to send to; null where setting up is not finished, for which the tick does not wait. */
  private async readyConnection(tx: WorkspaceTransaction): Promise<string | null> {
    try {
      return (await this.integrations.requireReady(tx)).connection.id;
    } catch (error) {
      if (error instanceof AppError) return null;
      throw error;
    }
  }
}
