/**
 * Token sets: kept encrypted, handed out fresh, refreshed once, revoked at the end.
 *
 * Xero replaces the refresh token with every use (https://developer.xero.com/documentation/guides/oauth2/auth-flow), so a set is refreshed
 * once per expiry across all processes: within a process whoever needs it waits for the same refresh, between processes a lease in the
 * database lets one through. The lease is not held as a transaction over the call, and the new set is stored before anybody uses it. A
 * refresh whose answer was lost, with its process even, is repeated with the old token once the lease has run out; Xero allows that for
 * 30 minutes.
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

/** How often a process that waits for another's refresh looks again, and how much longer than a lease it waits. */
const lookAgainMs = 100;
const patienceMs = 5_000;

type Column = "access_token" | "refresh_token";

export class Grants {
  /** Refreshes that this process is at, by Xero user; null where another process holds the lease. */
  private readonly renewing = new Map<string, Promise<string | null>>();

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
         stored_at = now(), state = 'ALIVE', version = xero_grant.version + 1, lease_id = NULL, lease_until = NULL`,
      [...this.sealed(tokens.xeroUserId, tokens), tokens.scopes, tokens.expiresInMs],
    );
  }

  /** Scopes that the user has granted, as Xero last said; empty where it did not say. */
  async scopes(xeroUserId: string): Promise<string[]> {
    const grant = await this.database.asSystem((tx) => tx.manager.findOneBy(Grant, { xeroUserId }));
    return grant?.scopes ?? [];
  }

  /**
   * Runs the work with a good access token. When Xero turns the token down, what is stored is read again, refreshed where it is still the
   * same, and the work is run once more: a 401 did nothing. Throws what the work throws, and as `accessToken`.
   */
  async use<T>(xeroUserId: string, work: (token: string) => Promise<T>): Promise<T> {
    const token = await this.tokenFor(xeroUserId);
    try {
      return await work(token);
    } catch (error) {
      if (!(error instanceof XeroFailure) || error.kind !== "TOKEN_REFUSED") throw error;
      return work(await this.tokenFor(xeroUserId, token));
    }
  }

  /** Xero users of whose last refresh nobody knows how it ended, because its answer was lost or its process died. */
  async findDoubtful(): Promise<string[]> {
    const doubtful = await this.database.asSystem((tx) =>
      tx.manager
        .createQueryBuilder(Grant, "g")
        .where("g.state = 'ALIVE' AND g.lease_id IS NOT NULL AND g.lease_until < now()")
        .orderBy("g.lease_until")
        .limit(50)
        .getMany(),
    );
    return doubtful.map(({ xeroUserId }) => xeroUserId);
  }

  /**
   * Repeats a refresh that is in doubt: Xero takes the old token for 30 minutes only, and it may be long until somebody calls. Throws as
   * `accessToken`; the doubt stays then, unless the grant is dead.
   */
  async settleDoubt(xeroUserId: string): Promise<void> {
    const { grant } = await this.read(xeroUserId);
    if (grant?.state === "ALIVE" && grant.leaseId !== null) await this.renew(grant);
  }

  /**
   * An access token that is good for some minutes; refreshes the set where it is not, or where `refused` is the token that Xero just turned
   * down. Throws XeroFailure: INVALID_GRANT when only a new consent helps, MISCONFIGURED when the stored set can't be decrypted, else as the
   * token endpoint failed.
   */
  async accessToken(xeroUserId: string, refused?: string): Promise<string> {
    const waitUntil = Date.now() + this.leaseMs + patienceMs;
    for (;;) {
      const { grant, fresh } = await this.read(xeroUserId);
      if (!grant || grant.state === "DEAD") throw new XeroFailure({ kind: "INVALID_GRANT", operation: "accessToken" });
      const token = this.opened(grant, "access_token");
      if (fresh && token !== refused) return token;
      const renewed = await this.renew(grant);
      if (renewed !== null) return renewed;
      if (Date.now() > waitUntil) {
        throw new XeroFailure({
          kind: "UNCERTAIN",
          operation: "accessToken",
          problem: "another process did not finish refreshing",
        });
      }
    }
  }

  /** Which of the user's token sets is stored; null: none. */
  async version(xeroUserId: string): Promise<number | null> {
    return (await this.read(xeroUserId)).grant?.version ?? null;
  }

  /**
   * Revokes the grant at Xero, which ends all of the user's connections, and forgets it; does nothing where another token set than this
   * version is stored by now. Repeats succeed. Throws XeroFailure.
   */
  async revoke(xeroUserId: string, version: number): Promise<void> {
    const { grant } = await this.read(xeroUserId);
    if (grant?.version !== version) return;
    await this.identity.revoke(this.opened(grant, "refresh_token"));
    // A consent that came meanwhile has stored a newer set, which is not ours to forget.
    await this.database.asSystem((tx) => tx.manager.delete(Grant, { xeroUserId, version: grant.version }));
  }

  /**
   * Makes sure that the keys given are those the stored sets were encrypted with: of each key, one set at least must open. Throws an Error
   * that says which key is missing or wrong.
   */
  async checkKeys(): Promise<void> {
    const grants = await this.database.asSystem((tx) => tx.manager.find(Grant));
    const opens = new Map<string, boolean>();
    for (const grant of grants) {
      for (const column of ["access_token", "refresh_token"] as const) {
        const sealed = sealedIn(grant, column);
        const id = this.vault.keyOf(sealed);
        if (opens.get(id)) continue;
        opens.set(id, this.vault.opens(sealed, rowOf(grant.xeroUserId, column)));
      }
    }
    const wrong = [...opens].filter(([, opened]) => !opened).map(([id]) => id);
    if (wrong.length === 0) return;
    throw new Error(
      `ENCRYPTION_KEYS ${wrong.map((id) => (this.vault.has(id) ? `has another key under ${id} than` : `lacks the key ${id},`)).join("; ")} ` +
        "the one that stored Xero tokens are encrypted with. Put it back: a key may be taken out once npm run rotate-keys says that nothing " +
        "needs it. If it is lost for good, delete the rows of the table xero_grant; every workspace then has to connect to Xero again.",
    );
  }

  /**
   * Encrypts anew, with the first key, whatever is encrypted with another; tells `onProgress` after each set. Safe while the service runs: a
   * set that is refreshed meanwhile is left to the next round. Answers how many were encrypted anew, and how many could not be opened.
   */
  async encryptAnew(
    onProgress: (done: number, of: number) => void = () => undefined,
  ): Promise<{ renewed: number; unreadable: number }> {
    const old = await this.withOldKeys();
    let renewed = 0;
    let unreadable = 0;
    for (const [index, grant] of old.entries()) {
      try {
        const again = this.sealed(grant.xeroUserId, {
          accessToken: this.opened(grant, "access_token"),
          refreshToken: this.opened(grant, "refresh_token"),
        });
        const rows: unknown = await this.database.asSystem((tx) =>
          tx.manager.query(
            // The version stays: it counts the sets, and this is the same one.
            `UPDATE xero_grant SET access_token = $2, refresh_token = $3
             WHERE xero_user_id = $1 AND access_token = $4 AND refresh_token = $5 RETURNING 1`,
            [...again, grant.accessToken, grant.refreshToken],
          ),
        );
        renewed += (rows as [unknown[]])[0].length;
      } catch (error) {
        if (!(error instanceof XeroFailure)) throw error;
        unreadable += 1;
      }
      onProgress(index + 1, old.length);
    }
    return { renewed, unreadable };
  }

  /** How many sets are encrypted with another key than the first. */
  async countOld(): Promise<number> {
    return (await this.withOldKeys()).length;
  }

  private async withOldKeys(): Promise<Grant[]> {
    const grants = await this.database.asSystem((tx) => tx.manager.find(Grant, { order: { xeroUserId: "ASC" } }));
    return grants.filter((grant) => [grant.accessToken, grant.refreshToken].some((it) => !this.vault.isCurrent(it)));
  }

  private async tokenFor(xeroUserId: string, refused?: string): Promise<string> {
    try {
      return await this.accessToken(xeroUserId, refused);
    } catch (error) {
      throw error instanceof XeroFailure ? error.asNotSent() : error;
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

  /** The new access token; null where somebody else is at it, or was: then what is stored is to be read again. */
  private renew(grant: Grant): Promise<string | null> {
    const { xeroUserId } = grant;
    const going = this.renewing.get(xeroUserId);
    if (going) return going;
    const renewal = this.claimAndRefresh(grant).finally(() => this.renewing.delete(xeroUserId));
    this.renewing.set(xeroUserId, renewal);
    return renewal;
  }

  private async claimAndRefresh(grant: Grant): Promise<string | null> {
    const leaseId = randomUUID();
    if (await this.claim(grant, leaseId)) return this.refresh(grant, leaseId);
    await delay(lookAgainMs);
    return null;
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

  private async refresh(grant: Grant, leaseId: string): Promise<string | null> {
    const { xeroUserId } = grant;
    try {
      const tokens = await this.identity.refresh(this.opened(grant, "refresh_token"));
      const rows: unknown = await this.database.asSystem((tx) =>
        tx.manager.query(
          // Whoever took over after a long pause may have been refused, and this set is good all the same.
          `UPDATE xero_grant SET access_token = $2, refresh_token = $3, scopes = $4, access_expires_at = now() + $5 * interval '1 ms',
             stored_at = now(), state = 'ALIVE', version = version + 1, lease_id = NULL, lease_until = NULL
           WHERE xero_user_id = $1 AND version = $6 RETURNING 1`,
          [
            ...this.sealed(xeroUserId, tokens),
            tokens.scopes.length > 0 ? tokens.scopes : grant.scopes,
            tokens.expiresInMs,
            grant.version,
          ],
        ),
      );
      // A newer set is stored already; one that is not stored is not used.
      return (rows as [unknown[]])[0].length > 0 ? tokens.accessToken : null;
    } catch (error) {
      const dead = error instanceof XeroFailure && error.kind === "INVALID_GRANT";
      // Where Xero may have rotated the token the lease is given up and its id stays, as the mark of a doubt.
      const doubtful = grant.leaseId !== null || !(error instanceof XeroFailure) || error.mayHaveWritten;
      const rows: unknown = await this.database.asSystem((tx) =>
        tx.manager.query(
          `UPDATE xero_grant SET lease_id = CASE WHEN $4 THEN lease_id END, lease_until = CASE WHEN $4 THEN now() END, state = CASE WHEN $3 THEN 'DEAD' ELSE state END
           WHERE xero_user_id = $1 AND lease_id = $2 RETURNING 1`,
          [xeroUserId, leaseId, dead, doubtful],
        ),
      );
      // The token that was refused is not the stored one any more, so its refusal says nothing.
      if (dead && (rows as [unknown[]])[0].length === 0) return null;
      throw error;
    }
  }

  private opened(grant: Grant, column: Column): string {
    try {
      return this.vault.decrypt(sealedIn(grant, column), rowOf(grant.xeroUserId, column));
    } catch {
      throw new XeroFailure({
        kind: "MISCONFIGURED",
        operation: "accessToken",
        problem: "the stored tokens can't be decrypted with ENCRYPTION_KEYS",
      });
    }
  }

  private sealed(
    xeroUserId: string,
    { accessToken, refreshToken }: Pick<TokenSet, "accessToken" | "refreshToken">,
  ): [string, string, string] {
    return [
      xeroUserId,
      this.vault.encrypt(accessToken, rowOf(xeroUserId, "access_token")),
      this.vault.encrypt(refreshToken, rowOf(xeroUserId, "refresh_token")),
    ];
  }
}

function sealedIn(grant: Grant, column: Column): string {
  return column === "access_token" ? grant.accessToken : grant.refreshToken;
}

function rowOf(xeroUserId: string, column: Column): string {
  return `xero_grant/${xeroUserId}/${column}`;
}
