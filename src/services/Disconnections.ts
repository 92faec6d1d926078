/**
 * Ending a link: here at once, at Xero as soon as Xero takes it in. What is to be ended there is written down with the change of status and
 * done by a job until it is done, so a Xero that is down keeps nobody connected who said no.
 *
 * A connection at Xero is one user's to one organisation, so several workspaces may use the same; it is deleted only when no other does. A
 * grant serves all of a user's connections and revoking it ends them all (https://developer.xero.com/documentation/guides/oauth2/auth-flow),
 * so that is done only when nothing uses it any more.
 */
import { setTimeout as delay } from "node:timers/promises";
import { In, IsNull, MoreThan } from "typeorm";
import { v7 as uuidv7 } from "uuid";
import { type Database, type Transaction, type WorkspaceTransaction } from "../database.js";
import { Connection } from "../entities/Connection.js";
import { Consent } from "../entities/Consent.js";
import { Release } from "../entities/Release.js";
import { type Logger, messageOf } from "../logger.js";
import { enqueue } from "../jobs/queue.js";
import { type Viewer } from "../viewer.js";
import { type Grants } from "../xero/Grants.js";
import { XeroFailure } from "../xero/XeroFailure.js";
import { type XeroIdentity } from "../xero/XeroIdentity.js";
import { setStatus, standing } from "./connectionStatus.js";
import { type LinkWatch } from "./LinkWatch.js";
import { load } from "./loading.js";

/** A release that Xero did not take in waits this long, doubling, up to an hour. */
const firstWaitMs = 5_000;
const longestWaitMs = 3_600_000;

/** How long an administrator waits for Xero, and how long whoever is at a release has before another takes it up. */
const patienceMs = 5_000;
const lookAgainMs = 100;
const claimMs = 300_000;

const byAdministrator = "An administrator disconnected it.";

/** A grant that nothing has used for so long is revoked; until then a consent may be under way that nobody has heard of. */
const unusedMs = 900_000;

export class Disconnections {
  constructor(
    private readonly database: Database,
    private readonly identity: XeroIdentity,
    private readonly grants: Grants,
    private readonly linkWatch: LinkWatch,
    private readonly logger: Logger,
  ) {}

  /**
   * Ends the workspace's link, here and at Xero; links of records, settings and history stay. Repeats succeed. When Xero does not answer it
   * is ended there later, by itself. Throws NOT_FOUND.
   */
  async disconnect(viewer: Viewer, id: string): Promise<Connection> {
    const connection = await this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const found = await load(tx, Connection, id, { thing: "Xero organisation", field: "organisationId", lock: true });
      if (found.connectionStatus !== "DISCONNECTED" || found.statusReason !== byAdministrator) {
        // One that was ended in Xero is given up too, for its grant may be left with nothing to do; one that lapsed has been.
        if (found.connectionStatus !== "DISCONNECTED_INACTIVE") await requestRelease(tx, found);
        await setStatus(tx, found, { status: "DISCONNECTED", reason: byAdministrator, byPerson: true });
      }
      return found;
    });
    // The administrator waits a while for it; what is not done by then is the job's.
    await Promise.race([this.releaseNow(connection), delay(patienceMs)]);
    return this.database.inWorkspace(viewer.workspaceId, (tx) =>
      load(tx, Connection, connection.id, { thing: "Xero organisation", field: "organisationId" }),
    );
  }

  /** Ends at Xero whatever is due of the connection's releases; what fails is tried again later. */
  async release(workspaceId: string, connectionId: string): Promise<void> {
    for (const release of await this.claim(workspaceId, connectionId)) {
      try {
        if (await this.isConsentUnderWay(release.xeroUserId)) {
          await this.putOff(release);
          continue;
        }
        await this.endAtXero(release);
        await this.database.asSystem((tx) => tx.manager.delete(Release, { workspaceId, id: release.id }));
      } catch (error) {
        // Whatever it was, it must not wait until the claim runs out.
        this.logger.warn({ connectionId, reason: messageOf(error) }, "a link could not be ended at Xero yet");
        await this.putOff(release);
      }
    }
  }

  /** Xero users whose grants nothing uses any more and nobody asked to be revoked, such as that of a consent to no organisation. */
  async findUnused(): Promise<string[]> {
    const unused = await this.database.asSystem((tx) => findUnusedGrants(tx, null));
    return unused.filter(({ idleMs }) => Number(idleMs) >= unusedMs).map(({ xeroUserId }) => xeroUserId);
  }

  /** Revokes a grant if nothing uses it. One process at a time is at it, and a Xero that fails is asked again after as long a time. */
  async revokeUnused(xeroUserId: string): Promise<void> {
    const rows: unknown = await this.database.asSystem((tx) =>
      tx.manager.query(
        `UPDATE xero_grant SET stored_at = now() WHERE xero_user_id = $1 AND stored_at < now() - $2 * interval '1 ms' RETURNING 1`,
        [xeroUserId, unusedMs],
      ),
    );
    if ((rows as [unknown[]])[0].length > 0) await this.revokeIfUnused(xeroUserId);
  }

  private async releaseNow({ workspaceId, id }: Connection): Promise<void> {
    const waitUntil = Date.now() + patienceMs;
    try {
      await this.release(workspaceId, id);
      // A worker may have been quicker: then it is waited for, that no consent comes between the answer here and Xero's.
      while (Date.now() < waitUntil && (await this.isClaimed(workspaceId, id))) await delay(lookAgainMs);
    } catch (error) {
      this.logger.warn({ connectionId: id, reason: messageOf(error) }, "a link will be ended at Xero by a job");
    }
  }

  /** Whether somebody is at the connection's release for the first time. */
  private async isClaimed(workspaceId: string, connectionId: string): Promise<boolean> {
    return this.database.asSystem((tx) =>
      tx.manager.existsBy(Release, { workspaceId, connectionId, failures: 0, dueAt: MoreThan(new Date()) }),
    );
  }

  /** What is due, put off for whoever else looks, so that one process at a time is at it. */
  private async claim(workspaceId: string, connectionId: string): Promise<Release[]> {
    return this.database.asSystem(async (tx) => {
      const rows: unknown = await tx.manager.query(
        `UPDATE release SET due_at = now() + $3 * interval '1 ms'
         WHERE workspace_id = $1 AND connection_id = $2 AND due_at <= now() RETURNING id`,
        [workspaceId, connectionId, claimMs],
      );
      const ids = (rows as [{ id: string }[]])[0].map(({ id }) => id);
      return tx.manager.findBy(Release, { workspaceId, id: In(ids) });
    });
  }

  private async endAtXero(release: Release): Promise<void> {
    const { xeroUserId } = release;
    if (!(await this.isConnectionUsed(release))) {
      for (const id of await this.idsAtXero(release)) {
        try {
          await this.grants.use(xeroUserId, (token) => this.identity.deleteConnection(token, id));
        } catch (error) {
          if (!(error instanceof XeroFailure)) throw error;
          await this.linkWatch.noteGrant(xeroUserId, error);
          // Xero has forgotten the connection, or the whole grant: it is what was asked.
          if (error.kind !== "DISCONNECTED" && error.kind !== "INVALID_GRANT") throw error;
        }
      }
    }
    await this.revokeIfUnused(xeroUserId);
  }

  /** What the link may be called at Xero: as this workspace knows it, and as another does that connected it again since. */
  private async idsAtXero({ workspaceId, connectionId, xeroConnectionId, xeroUserId }: Release): Promise<string[]> {
    const others = await this.database.asSystem((tx) =>
      tx.manager.query<{ id: string }[]>(
        `SELECT DISTINCT c.xero_connection_id AS id FROM connection c
         WHERE c.xero_user_id = $1 AND c.tenant_id = (SELECT r.tenant_id FROM connection r WHERE r.workspace_id = $2 AND r.id = $3)`,
        [xeroUserId, workspaceId, connectionId],
      ),
    );
    return [...new Set([xeroConnectionId, ...others.map(({ id }) => id)])];
  }

  /** Whether some workspace still uses the connection at Xero: by its id there, or by whose and to what it is, since the id may be a newer one. */
  private async isConnectionUsed(
    release: Pick<Release, "workspaceId" | "connectionId" | "xeroConnectionId" | "xeroUserId">,
  ): Promise<boolean> {
    const [use] = await this.database.asSystem((tx) =>
      tx.manager.query<{ used: boolean }[]>(
        `SELECT EXISTS (
           SELECT FROM connection c WHERE c.connection_status = ANY($5) AND (c.xero_connection_id = $1 OR (c.xero_user_id = $2
             AND c.tenant_id = (SELECT r.tenant_id FROM connection r WHERE r.workspace_id = $3 AND r.id = $4)))) AS used`,
        [release.xeroConnectionId, release.xeroUserId, release.workspaceId, release.connectionId, standing],
      ),
    );
    return use?.used ?? true;
  }

  /** Revokes the grant unless some connection uses it or a consent is about to; one that was consented to anew meanwhile is left alone. */
  private async revokeIfUnused(xeroUserId: string): Promise<void> {
    const version = await this.grants.version(xeroUserId);
    if (version === null) return;
    const unused = await this.database.asSystem((tx) => findUnusedGrants(tx, xeroUserId));
    if (unused.length > 0) await this.grants.revoke(xeroUserId, version);
  }

  /** Whether the user is just giving a consent, which may be to the same organisation; what is to be ended waits until that is known. */
  private async isConsentUnderWay(xeroUserId: string): Promise<boolean> {
    return this.database.asSystem((tx) =>
      tx.manager.existsBy(Consent, { xeroUserId, usedAt: IsNull(), expiresAt: MoreThan(new Date()) }),
    );
  }

  private async putOff(release: Release): Promise<void> {
    const waitMs = Math.min(longestWaitMs, firstWaitMs * 2 ** Math.min(release.failures, 20));
    await this.database.asSystem(async (tx) => {
      const dueAt = new Date(Date.now() + waitMs);
      const { workspaceId, id, connectionId } = release;
      await tx.manager.update(Release, { workspaceId, id }, { dueAt, failures: release.failures + 1 });
      enqueue(tx, "release", { workspaceId, connectionId }, { runAt: dueAt });
    });
  }
}

/** Writes down that the connection is to be ended at Xero as it stands now, and queues it. */
export async function requestRelease(
  tx: WorkspaceTransaction,
  { id, xeroConnectionId, xeroUserId }: Pick<Connection, "id" | "xeroConnectionId" | "xeroUserId">,
): Promise<void> {
  const { workspaceId } = tx;
  await tx.manager.insert(Release, { workspaceId, id: uuidv7(), connectionId: id, xeroConnectionId, xeroUserId });
  enqueue(tx, "release", { workspaceId, connectionId: id });
}

/** Grants, or the one of this user, that no connection stands on and no consent is about to use; and how long ago they were last renewed. */
async function findUnusedGrants(
  tx: Transaction,
  xeroUserId: string | null,
): Promise<{ xeroUserId: string; idleMs: string }[]> {
  return tx.manager.query(
    `SELECT g.xero_user_id AS "xeroUserId", extract(epoch FROM now() - g.stored_at) * 1000 AS "idleMs" FROM xero_grant g
     WHERE ($1::text IS NULL OR g.xero_user_id = $1)
       AND NOT EXISTS (SELECT FROM connection c WHERE c.xero_user_id = g.xero_user_id AND c.connection_status = ANY($2))
       AND NOT EXISTS (SELECT FROM consent s WHERE s.xero_user_id = g.xero_user_id AND s.used_at IS NULL AND s.expires_at > now())
       AND ($1::text IS NOT NULL OR NOT EXISTS (SELECT FROM release r WHERE r.xero_user_id = g.xero_user_id))
     LIMIT 50`,
    [xeroUserId, standing],
  );
}
