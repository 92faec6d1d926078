/**
 * The one place where a connection's status changes, with all that follows from it in the same transaction: the event that dashboards get,
 * the alert that is opened or resolved, and the wake-up for what is queued, which goes on or is told why it can't.
 */
import { type WorkspaceTransaction } from "../database.js";
import { Connection } from "../entities/Connection.js";
import { type ConnectionStatus } from "../entities/enums.js";
import { wakeConnection } from "../jobs/queue.js";
import { record } from "../subscriptions/eventLog.js";
import { openAlert, resolveAlerts } from "./alerts/Alerts.js";

export interface StatusChange {
  status: ConnectionStatus;
  /** In words; null where it is CONNECTED. */
  reason: string | null;
  missingScopes?: string[];
  /** Whether a person did it, who need not be alerted to it. */
  byPerson?: boolean;
}

/** Whether the link is still a claim on the organisation at Xero: up, or to be renewed. */
export const standing: ConnectionStatus[] = ["CONNECTED", "RECONNECT_REQUIRED"];

/** Sets the status of a connection that the caller has read under a lock. */
export async function setStatus(
  tx: WorkspaceTransaction,
  connection: Connection,
  { status, reason, missingScopes = [], byPerson = false }: StatusChange,
): Promise<void> {
  const { id, name } = connection;
  await tx.manager.update(
    Connection,
    { workspaceId: tx.workspaceId, id },
    {
      connectionStatus: status,
      statusReason: reason,
      missingScopes,
      refusedSince: null,
      disconnectedAt: standing.includes(status) ? null : new Date(),
    },
  );
  if (status !== connection.connectionStatus) {
    record(tx, { topic: "CONNECTION", connectionId: id, connectionStatus: status });
  }
  if (status === "DISCONNECTED_INACTIVE") {
    await resolveAlerts(tx, ["CONNECTION_EXPIRING", "CONNECTION_LOST"], id, { quietly: true });
    await openAlert(tx, {
      kind: "DISCONNECTED_INACTIVE",
      subject: id,
      message: `The link to ${name} was ended, because nothing was synced, paid or changed for a long time.`,
      resolution: "To go on, an administrator has to connect to Xero again; all links and settings are kept.",
    });
  } else if (status === "CONNECTED" || byPerson) {
    await resolveAlerts(tx, ["CONNECTION_LOST", "CONNECTION_EXPIRING", "DISCONNECTED_INACTIVE"], id, {
      quietly: byPerson,
    });
  } else {
    await resolveAlerts(tx, ["CONNECTION_EXPIRING"], id, { quietly: true });
    await openAlert(tx, {
      kind: "CONNECTION_LOST",
      subject: id,
      message: `The link to ${name} is lost. ${reason ?? ""}`.trim(),
      resolution: "An administrator has to connect to Xero again. What became due meanwhile is then synced by itself.",
    });
  }
  wakeConnection(tx, tx.workspaceId, id);
}

/**
 * Notes a sync, payment, import or change of settings, so that the link does not lapse for want of use: of one connection, or of all that the
 * workspace has.
 */
export async function noteActivity(tx: WorkspaceTransaction, connectionId?: string): Promise<void> {
  await tx.manager.query(
    "UPDATE connection SET last_activity_at = now() WHERE workspace_id = $1 AND ($2::uuid IS NULL OR id = $2)",
    [tx.workspaceId, connectionId ?? null],
  );
}
