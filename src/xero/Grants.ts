/**
 * Custody of the token sets. One set per Xero user serves all of that user's connections, in every workspace; Xero rotates the refresh token
 * with each use, so a set is refreshed once per expiry across all processes, by a lease in the database that is not held as a transaction
 * over the call, and the new set is stored before anybody uses it. A refresh whose answer was lost is repeated with the old token, which
 * Xero allows for 30 minutes.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { type Database, type Transaction } from "../database.js";
import { Grant } from "../entities/Grant.js";
import { type Vault } from "./Vault.js";
import { XeroFailure } from "./XeroFailure.js";
import { type TokenSet, type XeroIdentity } from "./XeroIdentity.js";

/** Refreshed this long before its end, so that no call goes out with a token that ends on the way. */
const marginMs = 120_000;

/** How often somebody who waits for another's refresh looks again. */
const lookAgainMs = 100;

export class Grants {
  constructor(
    private readonly database: Database,
    private readonly identity: XeroIdentity,
    private readonly vault: Vault,
    private readonly leaseMs: number,
  ) {}

  /** Stores the token set of a consent in place of the user's earlier one. Part of the caller's system transaction. */
  async store(tx: Transaction, tokens: TokenSet): Promise<void> {
    await tx.manager.query(
      `INSERT INTO xero_grant (xero_user_id, access_token, refresh_token, scopes, access_expires_at, state)
       VALUES ($1, $2, $3, $4, now() + $5 * interval '1 ms', 'ALIVE')
       ON CONFLICT (xero_user_id) DO UPDATE SET access_token = $2, refresh_token = $3, scopes = $4, access_expires_at = now() + $5 * interval '1 ms',
         state = 'ALIVE', version = xero_grant.version + 1, lease_id = NULL, lease_until = NULL`,
      [...this.sealed(tokens.xeroUserId, tokens), tokens.scopes, tokens.expiresInMs],
    );
  }

  /**
   * An access token that is good for some minutes; refreshes the set where it is not, or where `refused` is the token that Xero just turned
   * down. Throws XeroFailure: INVALID_GRANT when only a new consent helps, else as the token endpoint failed.
   */
  async accessToken(xeroUserId: string, refused?: string): Promise<string> {
    const waitUntil = Date.now() + this.leaseMs;
    for (;;) {
      const { grant, fresh } = await this.read(xeroUserId);
      if (!grant || grant.state === "DEAD") throw new XeroFailure({ kind: "INVALID_GRANT", operation: "accessToken" });
      const token = this.vault.decrypt(grant.accessToken, rowOf(xeroUserId, "access_token"));
      if (fresh && token !== refused) return token;
      const leaseId = randomUUID();
      if (await this.claim(grant, leaseId)) return this.refresh(grant, leaseId);
      if (Date.now() > waitUntil) {
        throw new XeroFailure({
          kind: "UNCERTAIN",
          operation: "accessToken",
          problem: "another process did not finish refreshing",
        });
      }
      await delay(lookAgainMs);
    }
  }

  private async read(xeroUserId: string): Promise<{ grant: Grant | null; fresh: boolean }> {
    return this.database.asSystem(async (tx) => {
      const { entities, raw } = await tx.manager
        .createQueryBuilder(Grant, "g")
        .addSelect("g.access_expires_at > now() + :margin * interval '1 ms'", "fresh")
        .where({ xeroUserId })
        .setParameter("margin", marginMs)
        .getRawAndEntities<{ fresh: boolean }>();
      return { grant: entities[0] ?? null, fresh: raw[0]?.fresh ?? false };
    });
  }

  private async claim(grant: Grant, leaseId: string): Promise<boolean> {
    return this.database.asSystem(async (tx) => {
      const rows: unknown = await tx.manager.query(
        `UPDATE xero_grant SET lease_id = $2, lease_until = now() + $3 * interval '1 ms'
         WHERE xero_user_id = $1 AND version = $4 AND state = 'ALIVE' AND (lease_until IS NULL OR lease_until < now()) RETURNING 1`,
        [grant.xeroUserId, leaseId, this.leaseMs, grant.version],
      );
      return (rows as [unknown[]])[0].length > 0;
    });
  }

  private async refresh(grant: Grant, leaseId: string): Promise<string> {
    const { xeroUserId } = grant;
    try {
      const tokens = await this.identity.refresh(
        this.vault.decrypt(grant.refreshToken, rowOf(xeroUserId, "refresh_token")),
      );
      await this.database.asSystem((tx) =>
        tx.manager.query(
          `UPDATE xero_grant SET access_token = $2, refresh_token = $3, scopes = $4, access_expires_at = now() + $5 * interval '1 ms',
             version = version + 1, lease_id = NULL, lease_until = NULL
           WHERE xero_user_id = $1 AND version = $6`,
          [...this.sealed(xeroUserId, tokens), tokens.scopes, tokens.expiresInMs, grant.version],
        ),
      );
      return tokens.accessToken;
    } catch (error) {
      const dead = error instanceof XeroFailure && error.kind === "INVALID_GRANT";
      await this.database.asSystem((tx) =>
        tx.manager.query(
          `UPDATE xero_grant SET lease_id = NULL, lease_until = NULL, state = CASE WHEN $3 THEN 'DEAD' ELSE state END
           WHERE xero_user_id = $1 AND lease_id = $2`,
          [xeroUserId, leaseId, dead],
        ),
      );
      throw error;
    }
  }

  private sealed(xeroUserId: string, { accessToken, refreshToken }: TokenSet): [string, string, string] {
    return [
      xeroUserId,
      this.vault.encrypt(accessToken, rowOf(xeroUserId, "access_token")),
      this.vault.encrypt(refreshToken, rowOf(xeroUserId, "refresh_token")),
    ];
  }
}

function rowOf(xeroUserId: string, column: "access_token" | "refresh_token"): string {
  return `xero_grant/${xeroUserId}/${column}`;
}
