/**
 * What happens to links that nobody looks at. Each is called once a day, so that one ended at Xero is noticed and its tokens stay fresh; and
 * one that nobody uses lapses: after 45 days without a sync, payment, import or change of settings a warning, after 60 its end, unless the
 * workspace wants it kept. The periods are the configuration's. Calls in the background are no activity.
 */
import { type Database, type WorkspaceTransaction } from "../database.js";
import { Connection } from "../entities/Connection.js";
import { enqueue } from "../jobs/queue.js";
import { type Logger, messageOf } from "../logger.js";
import { type Grants } from "../xero/Grants.js";
import { missingScopes } from "../xero/scopes.js";
import { XeroFailure } from "../xero/XeroFailure.js";
import { openAlert, resolveAlerts } from "./alerts/Alerts.js";
import { setStatus, standing } from "./connectionStatus.js";
import { type Disconnections, requestRelease } from "./Disconnections.js";
import { loadIntegration } from "./Integrations.js";
import { type LinkWatch } from "./LinkWatch.js";
import { find } from "./loading.js";
import { type OrganisationData } from "./OrganisationData.js";
import { isTransient } from "./sync/syncErrors.js";

export interface CarePeriods {
  checkEveryMs: number;
  warnAfterMs: number;
  inactiveAfterMs: number;
}

/** So many at a time, that a thousand links that fall due at once are spread over some minutes. */
const atOnce = 50;

/** A check that Xero did not answer is repeated after this long. */
const checkAgainMs = 900_000;

interface Found {
  workspaceId: string;
  connectionId: string;
}

export class ConnectionCare {
  constructor(
    private readonly database: Database,
    private readonly grants: Grants,
    private readonly organisationData: OrganisationData,
    private readonly linkWatch: LinkWatch,
    private readonly disconnections: Disconnections,
    private readonly periods: CarePeriods,
    private readonly logger: Logger,
  ) {}

  /** Looks after all links whose time has come, without a call to Xero; safe on any number of processes at once. */
  async run(): Promise<void> {
    await this.queueChecks();
    const lively = "i.keep_connection_alive OR c.last_activity_at > now() - $1 * interval '1 ms'";
    for (const found of await this.find(lively, true)) {
      await this.each(found.connectionId, () =>
        this.database.inWorkspace(found.workspaceId, (tx) =>
          resolveAlerts(tx, ["CONNECTION_EXPIRING"], found.connectionId),
        ),
      );
    }
    const idle = "NOT i.keep_connection_alive AND c.last_activity_at <= now() - $1 * interval '1 ms'";
    for (const found of await this.find(idle, false)) {
      await this.each(found.connectionId, () =>
        this.database.inWorkspace(found.workspaceId, (tx) => this.warnOrEnd(tx, found.connectionId)),
      );
    }
  }

  /** Looks after the grants: settles refreshes in doubt and revokes what nothing uses. Calls Xero, so it may take long. */
  async runGrants(): Promise<void> {
    for (const xeroUserId of await this.grants.findDoubtful()) {
      await this.each(xeroUserId, async () => {
        try {
          await this.grants.settleDoubt(xeroUserId);
        } catch (error) {
          if (error instanceof XeroFailure) await this.linkWatch.noteGrant(xeroUserId, error);
          throw error;
        }
      });
    }
    for (const xeroUserId of await this.disconnections.findUnused()) {
      await this.each(xeroUserId, () => this.disconnections.revokeUnused(xeroUserId));
    }
  }

  /** One that fails must not keep the others from being looked after; it comes round again. */
  private async each(id: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.logger.warn({ id, reason: messageOf(error) }, "a link could not be looked after, and will be again");
    }
  }

  /**
   * The daily look at one link: one light call, or with the switch off only the refresh of the token. What it finds changes the status; what
   * Xero does not answer is asked again soon.
   */
  async check(workspaceId: string, connectionId: string): Promise<void> {
    const { connection, enabled } = await this.database.inWorkspace(workspaceId, async (tx) => ({
      connection: await find(tx, Connection, connectionId),
      enabled: (await loadIntegration(tx)).enabled,
    }));
    if (connection?.connectionStatus !== "CONNECTED") return;
    try {
      if (enabled) {
        await this.organisationData.refreshOrganisation(connection);
        await this.database.inWorkspace(workspaceId, (tx) => {
          // What no webhook told of.
          enqueue(tx, "import", { workspaceId, connectionId });
          return Promise.resolve();
        });
      } else await this.refreshToken(connection);
      const missing = missingScopes(await this.grants.scopes(connection.xeroUserId));
      if (missing.length > 0) await this.linkWatch.loseScopes(connection, missing);
    } catch (error) {
      if (!(error instanceof XeroFailure)) throw error;
      if (!isTransient(error)) return;
      const waitMs = Math.max(error.retryAfterMs ?? 0, Math.min(checkAgainMs, this.periods.checkEveryMs));
      await this.database.inWorkspace(workspaceId, (tx) =>
        tx.manager.query(
          "UPDATE connection SET check_due_at = least(check_due_at, now() + $3 * interval '1 ms') WHERE workspace_id = $1 AND id = $2",
          [workspaceId, connectionId, waitMs],
        ),
      );
    }
  }

  private async refreshToken(connection: Connection): Promise<void> {
    try {
      await this.grants.accessToken(connection.xeroUserId);
    } catch (error) {
      if (error instanceof XeroFailure) await this.linkWatch.note(connection, error);
      throw error;
    }
  }

  /** A new consent is not looked at before its first period is over: what was read with it told how the link is. */
  private async queueChecks(): Promise<void> {
    await this.database.asSystem(async (tx) => {
      const rows: unknown = await tx.manager.query(
        `UPDATE connection c SET check_due_at = now() + $1 * interval '1 ms'
         FROM (SELECT workspace_id, id FROM connection WHERE connection_status = 'CONNECTED' AND check_due_at <= now()
                 AND connected_at <= now() - $1 * interval '1 ms' ORDER BY check_due_at LIMIT $2 FOR UPDATE SKIP LOCKED) due
         WHERE c.workspace_id = due.workspace_id AND c.id = due.id
         RETURNING c.workspace_id AS "workspaceId", c.id AS "connectionId"`,
        [this.periods.checkEveryMs, atOnce],
      );
      for (const found of (rows as [Found[]])[0]) enqueue(tx, "check", found);
    });
  }

  /** Links that are up, or have waited to be renewed until they lapse, of which the condition (`$1`: the warning's period) holds, with or without an open warning. */
  private async find(condition: string, warned: boolean): Promise<Found[]> {
    const { warnAfterMs, inactiveAfterMs } = this.periods;
    return this.database.asSystem((tx) =>
      tx.manager.query<Found[]>(
        `SELECT c.workspace_id AS "workspaceId", c.id AS "connectionId" FROM connection c
         JOIN integration i ON i.workspace_id = c.workspace_id
         LEFT JOIN alert a ON a.workspace_id = c.workspace_id AND a.kind = 'CONNECTION_EXPIRING' AND a.subject = c.id::text AND a.state = 'OPEN'
         WHERE (c.connection_status = 'CONNECTED'
                OR c.connection_status = 'RECONNECT_REQUIRED' AND c.last_activity_at <= now() - $3 * interval '1 ms') AND (${condition})
           AND CASE WHEN $2 THEN a.id IS NOT NULL ELSE a.id IS NULL OR c.last_activity_at <= now() - $3 * interval '1 ms' END
         ORDER BY c.last_activity_at LIMIT $4`,
        [warnAfterMs, warned, inactiveAfterMs, atOnce],
      ),
    );
  }

  private async warnOrEnd(tx: WorkspaceTransaction, connectionId: string): Promise<void> {
    const connection = await find(tx, Connection, connectionId, { lock: true });
    if (!connection || !standing.includes(connection.connectionStatus)) return;
    if ((await loadIntegration(tx)).keepConnectionAlive) return;
    const { warnAfterMs, inactiveAfterMs } = this.periods;
    const [idle] = await tx.manager.query<{ ms: string }[]>(
      "SELECT extract(epoch FROM now() - $1::timestamptz) * 1000 AS ms",
      [connection.lastActivityAt],
    );
    const idleMs = Number(idle?.ms ?? 0);
    if (idleMs >= inactiveAfterMs) {
      await requestRelease(tx, connection);
      const reason = `Nothing was synced, paid or changed for ${inDays(inactiveAfterMs)}. Connect to Xero again to go on.`;
      await setStatus(tx, connection, { status: "DISCONNECTED_INACTIVE", reason });
    } else if (idleMs >= warnAfterMs && connection.connectionStatus === "CONNECTED") {
      const endsOn = new Date(connection.lastActivityAt.getTime() + inactiveAfterMs).toISOString().slice(0, 10);
      await openAlert(tx, {
        kind: "CONNECTION_EXPIRING",
        subject: connectionId,
        message: `Nothing was synced, paid or changed with ${connection.name} for ${inDays(warnAfterMs)}; the link will be ended on ${endsOn}.`,
        resolution: "Sync an invoice or change a setting to keep it, or set keepConnectionAlive.",
      });
    }
  }
}

function inDays(ms: number): string {
  const days = ms / 86_400_000;
  return days >= 1 ? `${Math.floor(days)} days` : `${Math.round(ms / 1000)} seconds`;
}
