/**
 * What a failed call says of the link. A lost link shows at once, on whichever call met it; what passes by itself (an organisation that is
 * offline, a limit) or is the business of the one call (a right that the Xero user lacks) leaves the status alone.
 */
import { type Database, type WorkspaceTransaction } from "../database.js";
import { Connection } from "../entities/Connection.js";
import { isOptional, scopeOf } from "../xero/scopes.js";
import { type XeroFailure } from "../xero/XeroFailure.js";
import { type Target } from "../xero/XeroGateway.js";
import { setStatus, type StatusChange } from "./connectionStatus.js";
import { find } from "./loading.js";

/** So long Xero may refuse tokens that it has just issued before the link counts as lost: its own troubles pass. */
const refusalMs = 300_000;

export class LinkWatch {
  constructor(private readonly database: Database) {}

  /** Changes the connection's status, or that of all that share its grant, where the failure means that the link is lost. */
  async note(target: Target, failure: XeroFailure): Promise<void> {
    switch (failure.kind) {
      case "INVALID_GRANT":
        return this.loseGrant(target.xeroUserId);
      case "MISSING_SCOPE":
        if (isOptional(failure.operation)) return;
        return this.lose(target, lacksScopes([scopeOf(failure.operation)].filter((scope) => scope !== undefined)));
      case "DISCONNECTED":
        return this.lose(target, {
          status: "DISCONNECTED",
          reason: `${target.name} was disconnected in Xero. Connect to Xero again.`,
        });
      case "TOKEN_REFUSED":
        return this.noteRefusal(target);
      default:
        return;
    }
  }

  /** What a failed refresh, which belongs to no connection, says of those that share the grant. */
  async noteGrant(xeroUserId: string, failure: XeroFailure): Promise<void> {
    if (failure.kind === "INVALID_GRANT") await this.loseGrant(xeroUserId);
  }

  /** The connection's consent lacks these scopes. */
  async loseScopes(target: Target, missing: string[]): Promise<void> {
    await this.lose(target, lacksScopes(missing));
  }

  private async lose(target: Target, change: StatusChange): Promise<void> {
    await this.database.inWorkspace(target.workspaceId, (tx) => loseIn(tx, target, change));
  }

  /** A dead grant takes every connection of its Xero user with it, in whichever workspace. */
  private async loseGrant(xeroUserId: string): Promise<void> {
    const lost = await this.database.asSystem((tx) =>
      // What an older token set was told says nothing of a newer consent's.
      tx.manager.query<Pick<Connection, "workspaceId" | "id" | "connectedAt">[]>(
        `SELECT c.workspace_id AS "workspaceId", c.id, c.connected_at AS "connectedAt" FROM connection c
         WHERE c.xero_user_id = $1 AND c.connection_status = 'CONNECTED'
           AND NOT EXISTS (SELECT FROM xero_grant g WHERE g.xero_user_id = $1 AND g.state = 'ALIVE')`,
        [xeroUserId],
      ),
    );
    for (const target of lost) {
      await this.database.inWorkspace(target.workspaceId, (tx) =>
        loseIn(tx, target, {
          status: "RECONNECT_REQUIRED",
          reason: "Xero no longer accepts the tokens of the user who connected. Connect to Xero again.",
        }),
      );
    }
  }

  private async noteRefusal(target: Target): Promise<void> {
    await this.database.inWorkspace(target.workspaceId, async (tx) => {
      const rows: unknown = await tx.manager.query(
        `UPDATE connection SET refused_since = coalesce(refused_since, now()) WHERE workspace_id = $1 AND id = $2
         RETURNING refused_since < now() - $3 * interval '1 ms' AS lost`,
        [tx.workspaceId, target.id, refusalMs],
      );
      if (!(rows as [{ lost: boolean }[]])[0][0]?.lost) return;
      await loseIn(tx, target, {
        status: "RECONNECT_REQUIRED",
        reason: "Xero refuses tokens that it has only just issued. Connect to Xero again.",
      });
    });
  }
}

async function loseIn(
  tx: WorkspaceTransaction,
  { id, connectedAt }: Pick<Target, "id" | "connectedAt">,
  change: StatusChange,
): Promise<void> {
  const connection = await find(tx, Connection, id, { lock: true });
  // What an older consent was told says nothing of a newer one.
  if (connection?.connectionStatus !== "CONNECTED" || connection.connectedAt.getTime() !== connectedAt.getTime())
    return;
  await setStatus(tx, connection, change);
}

/** The status of a link whose consent lacks scopes; which ones may not be known. */
export function lacksScopes(missingScopes: string[]): StatusChange {
  const which =
    missingScopes.length === 0
      ? "a scope"
      : `the scope${missingScopes.length > 1 ? "s" : ""} ${missingScopes.join(", ")}`;
  return { status: "RECONNECT_REQUIRED", reason: `The consent lacks ${which}. Connect to Xero again.`, missingScopes };
}
