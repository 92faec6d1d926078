/**
 * One call to Xero for one connection: with a token that is good, within what Xero last said of the organisation's limits, and with
 * everything an answer tells of the link written down. What an answer means for invoices, contacts and payments is the services' business.
 */
import { type Database } from "../database.js";
import { type Connection } from "../entities/Connection.js";
import { type ConnectionStatus } from "../entities/enums.js";
import { type Logger } from "../logger.js";
import { type Grants } from "./Grants.js";
import { type CallRecord, XeroAccounting } from "./XeroAccounting.js";
import { XeroFailure } from "./XeroFailure.js";

export interface GatewayOptions {
  apiUrl: string;
  timeoutMs: number;
  logger: Logger;
}

/** What a call needs to know of its connection. */
export type Target = Pick<Connection, "workspaceId" | "id" | "tenantId" | "xeroUserId" | "name" | "connectedAt">;

/** Without a Retry-After (Xero gives none for its concurrency limits) a call waits this long. */
const defaultRetryAfterMs = 5_000;

export class XeroGateway {
  constructor(
    private readonly database: Database,
    private readonly grants: Grants,
    private readonly options: GatewayOptions,
  ) {}

  /**
   * Runs the work with the organisation's accounting API; `count` is told how many calls Xero answered. An expired token is refreshed and the
   * work run once more: a 401 wrote nothing. Throws XeroFailure; a dead link has then changed the connection's status already.
   */
  async call<T>(
    target: Target,
    work: (accounting: XeroAccounting) => Promise<T>,
    count?: (calls: number) => void,
  ): Promise<T> {
    await this.refuseWhileBlocked(target);
    const answers: CallRecord[] = [];
    try {
      return await this.withToken(target, (token) => work(this.accounting(target, token, answers)));
    } catch (error) {
      if (error instanceof XeroFailure) await this.note(target, error);
      throw error;
    } finally {
      count?.(answers.length);
      await this.keepLast(target, answers);
    }
  }

  private async withToken<T>(target: Target, work: (token: string) => Promise<T>): Promise<T> {
    const token = await this.grants.accessToken(target.xeroUserId);
    try {
      return await work(token);
    } catch (error) {
      if (!(error instanceof XeroFailure) || error.kind !== "TOKEN_REFUSED") throw error;
      return work(await this.grants.accessToken(target.xeroUserId, token));
    }
  }

  private accounting(target: Target, accessToken: string, answers: CallRecord[]): XeroAccounting {
    const { apiUrl, timeoutMs } = this.options;
    return new XeroAccounting({
      apiUrl,
      timeoutMs,
      accessToken,
      tenantId: target.tenantId,
      onAnswer: (answer) => {
        answers.push(answer);
        this.options.logger.debug({ ...answer, connectionId: target.id }, "xero call");
      },
    });
  }

  private async refuseWhileBlocked({ tenantId }: Target): Promise<void> {
    const waitMs = await this.database.asSystem(async (tx) => {
      const rows: { ms: string }[] = await tx.manager.query(
        "SELECT ceil(extract(epoch FROM blocked_until - now()) * 1000) AS ms FROM tenant_limit WHERE tenant_id = $1 AND blocked_until > now()",
        [tenantId],
      );
      return rows[0] === undefined ? null : Number(rows[0].ms);
    });
    if (waitMs === null) return;
    throw new XeroFailure({ kind: "RATE_LIMITED", operation: "call", problem: "unknown", retryAfterMs: waitMs });
  }

  private async keepLast(target: Target, answers: CallRecord[]): Promise<void> {
    const last = answers.findLast(({ status }) => status > 0);
    if (!last) return;
    await this.database.asSystem((tx) =>
      tx.manager.query(
        "UPDATE connection SET last_used_at = now(), daily_calls_remaining = coalesce($3, daily_calls_remaining) WHERE workspace_id = $1 AND id = $2",
        [target.workspaceId, target.id, last.dayRemaining ?? null],
      ),
    );
  }

  /** Keeps what a failure says of the link or of the limits. */
  private async note(target: Target, failure: XeroFailure): Promise<void> {
    this.options.logger.warn(
      {
        kind: failure.kind,
        operation: failure.operation,
        connectionId: target.id,
        xeroCorrelationId: failure.correlationId,
      },
      "xero failure",
    );
    if (failure.kind === "RATE_LIMITED") {
      await this.database.asSystem((tx) =>
        tx.manager.query(
          `INSERT INTO tenant_limit (tenant_id, blocked_until, updated_at) VALUES ($1, now() + $2 * interval '1 ms', now())
           ON CONFLICT (tenant_id) DO UPDATE SET blocked_until = greatest(tenant_limit.blocked_until, excluded.blocked_until), updated_at = now()`,
          [target.tenantId, failure.retryAfterMs ?? defaultRetryAfterMs],
        ),
      );
    }
    const lost = lostLink(failure, target.name);
    if (!lost) return;
    await this.database.asSystem((tx) =>
      tx.manager.query(
        `UPDATE connection SET connection_status = $1, status_reason = $2, missing_scopes = $3,
           disconnected_at = CASE WHEN $1 = 'DISCONNECTED' THEN now() ELSE disconnected_at END
         WHERE connection_status = 'CONNECTED' AND xero_user_id = $4
           -- What an older consent's token was told says nothing of a newer consent.
           AND CASE WHEN $6 THEN EXISTS (SELECT FROM xero_grant g WHERE g.xero_user_id = $4 AND g.state = 'DEAD')
                    ELSE id = $5 AND connected_at = $7 END`,
        [
          lost.status,
          lost.reason,
          lost.missingScopes,
          target.xeroUserId,
          target.id,
          lost.wholeGrant,
          target.connectedAt,
        ],
      ),
    );
  }
}

interface LostLink {
  status: ConnectionStatus;
  reason: string;
  missingScopes: string[];
  /** Whether every connection of the Xero user is lost, in whichever workspace. */
  wholeGrant: boolean;
}

/** The scope that each kind of call needs; Xero does not say which one it misses. */
const scopeOfOperation: [RegExp, string][] = [
  [/invoice/i, "accounting.invoices"],
  [/payment/i, "accounting.payments.read"],
  [/contact/i, "accounting.contacts"],
  [/account|tax|organisation/i, "accounting.settings.read"],
];

function lostLink(failure: XeroFailure, name: string): LostLink | null {
  if (failure.kind === "INVALID_GRANT") {
    const reason = "Xero no longer accepts the tokens of the user who connected. Connect to Xero again.";
    return { status: "RECONNECT_REQUIRED", reason, missingScopes: [], wholeGrant: true };
  }
  if (failure.kind === "MISSING_SCOPE") {
    const scope = scopeOfOperation.find(([operation]) => operation.test(failure.operation))?.[1];
    const reason = `The consent lacks ${scope === undefined ? "a scope" : `the scope ${scope}`}. Connect to Xero again.`;
    return {
      status: "RECONNECT_REQUIRED",
      reason,
      missingScopes: scope === undefined ? [] : [scope],
      wholeGrant: false,
    };
  }
  if (failure.kind === "DISCONNECTED") {
    return {
      status: "DISCONNECTED",
      reason: `${name} was disconnected in Xero. Connect to Xero again.`,
      missingScopes: [],
      wholeGrant: false,
    };
  }
  return null;
}
