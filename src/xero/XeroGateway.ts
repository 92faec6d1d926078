/**
 * One call to Xero for one connection: with a token that is good, within what Xero last said of the organisation's limits, and never while
 * the workspace's switch is off. What an answer means for the link, for invoices, contacts and payments is the services' business.
 */
import { type Database } from "../database.js";
import { type Connection } from "../entities/Connection.js";
import { type ConnectionStatus } from "../entities/enums.js";
import { type Logger, messageOf } from "../logger.js";
import { type CallLimits, type Place } from "./CallLimits.js";
import { type Grants } from "./Grants.js";
import { type CallRecord, XeroAccounting } from "./XeroAccounting.js";
import { XeroFailure, type XeroFailureKind } from "./XeroFailure.js";

export interface GatewayOptions {
  apiUrl: string;
  timeoutMs: number;
  logger: Logger;
  /** Is told of every failed piece of work before the caller is, to see whether it means that the link is lost. */
  onFailure: (target: Target, failure: XeroFailure) => Promise<void>;
  /** Is told of every answer, and of every call that got none. Must not throw. */
  onAnswer?: (answer: CallRecord) => void;
}

/** The calls of one piece of work: what was answered, places that are taken, and those that are being given back. */
interface Calls {
  answers: CallRecord[];
  places: Place[];
  returns: Promise<void>[];
}

/** What a call needs to know of its connection. */
export type Target = Pick<Connection, "workspaceId" | "id" | "tenantId" | "xeroUserId" | "name" | "connectedAt">;

/** How a piece of work is done. */
export interface CallOptions {
  /** Told how many calls Xero answered, when all is over. */
  count?: (calls: number) => void;
  /** Nobody waits for it: it leaves the last of a day's calls to those who do. */
  background?: boolean;
  /** The place that was reserved for the first of its calls. */
  place?: Place;
  /** Run right before each request, when its place within the limits is taken; what it throws is passed on and nothing is sent. */
  beforeSend?: () => void;
}

export class XeroGateway {
  constructor(
    private readonly database: Database,
    private readonly grants: Grants,
    private readonly limits: CallLimits,
    private readonly options: GatewayOptions,
  ) {}

  /**
   * A place within the organisation's limits for the first call of a piece of work, so that nothing need be prepared that would have to wait;
   * to be cancelled when the work is over, used or not. Throws XeroFailure: RATE_LIMITED says when to come again.
   */
  async reserve(target: Target, { background = false }: Pick<CallOptions, "background">): Promise<Place> {
    return this.limits.take(target.tenantId, "reserve", { background });
  }

  /** Gives a reserved place back, if no call has used it. */
  async cancel(place: Place): Promise<void> {
    if (!place.used) await this.limits.cancel(place);
  }

  /**
   * Runs the work with the organisation's accounting API, each call within its limits. An expired token is refreshed and the work run once
   * more: a 401 wrote nothing. Throws XeroFailure; a dead link has then changed the connection's status already. SWITCHED_OFF and
   * RATE_LIMITED may mean that nothing was sent at all.
   */
  async call<T>(
    target: Target,
    work: (accounting: XeroAccounting) => Promise<T>,
    options: CallOptions = {},
  ): Promise<T> {
    await this.refuseUnlessOpen(target);
    const calls: Calls = { answers: [], places: [], returns: [] };
    try {
      return await this.grants.use(target.xeroUserId, (token) => work(this.accounting(target, token, calls, options)));
    } catch (error) {
      if (error instanceof XeroFailure) await this.note(target, error);
      throw error;
    } finally {
      await Promise.all(calls.returns);
      options.count?.(calls.answers.length);
      await this.keepLast(target, calls.answers);
    }
  }

  private accounting(
    target: Target,
    accessToken: string,
    { answers, places, returns }: Calls,
    { background = false, beforeSend, place: reserved }: CallOptions,
  ): XeroAccounting {
    const { apiUrl, timeoutMs } = this.options;
    return new XeroAccounting({
      apiUrl,
      timeoutMs,
      accessToken,
      tenantId: target.tenantId,
      beforeCall: async (operation) => {
        await Promise.all(returns);
        const place =
          reserved?.used === false ? reserved : await this.limits.take(target.tenantId, operation, { background });
        place.used = true;
        try {
          // Again before each, for a piece of work may be long and a place have to be waited for.
          await this.refuseUnlessOpen(target, operation);
          beforeSend?.();
        } catch (error) {
          await this.limits.cancel(place);
          throw error;
        }
        places.push(place);
      },
      onAnswer: (answer) => {
        answers.push(answer);
        this.options.onAnswer?.(answer);
        // Which of the places it was does not matter: they are as many as the calls in progress.
        const place = places.shift();
        if (place) returns.push(this.giveBack(place, answer));
        const { correlationId: xeroCorrelationId, ...facts } = answer;
        this.options.logger.debug({ ...facts, xeroCorrelationId, connectionId: target.id }, "xero call");
      },
    });
  }

  private async giveBack(place: Place, answer: CallRecord): Promise<void> {
    try {
      await this.limits.giveBack(place, answer);
    } catch (error) {
      // The place lapses by itself; the answer is worth more.
      this.options.logger.warn({ reason: messageOf(error) }, "a place within Xero's limits could not be given back");
    }
  }

  /** Nothing is sent while the switch is off, the link is given up, or Xero has asked to wait. */
  private async refuseUnlessOpen({ workspaceId, id, tenantId }: Target, operation = "call"): Promise<void> {
    const [state] = await this.database.asSystem((tx) =>
      tx.manager.query<{ enabled: boolean; status: ConnectionStatus; ms: string | null }[]>(
        `SELECT i.enabled, c.connection_status AS status, ceil(extract(epoch FROM l.blocked_until - now()) * 1000) AS ms
         FROM connection c JOIN integration i ON i.workspace_id = c.workspace_id
         LEFT JOIN tenant_limit l ON l.tenant_id = $3 AND l.blocked_until > now()
         WHERE c.workspace_id = $1 AND c.id = $2`,
        [workspaceId, id, tenantId],
      ),
    );
    const refuse = (kind: XeroFailureKind, retryAfterMs?: number) =>
      new XeroFailure({ kind, operation, problem: "not sent", retryAfterMs, notSent: true });
    if (!state?.enabled) throw refuse("SWITCHED_OFF");
    if (state.status === "RECONNECT_REQUIRED") throw refuse("INVALID_GRANT");
    if (state.status !== "CONNECTED") throw refuse("DISCONNECTED");
    if (state.ms !== null) throw refuse("RATE_LIMITED", Number(state.ms));
  }

  private async keepLast(target: Target, answers: CallRecord[]): Promise<void> {
    const last = answers.findLast(({ status }) => status > 0);
    if (!last) return;
    await this.database.asSystem((tx) =>
      tx.manager.query(
        `UPDATE connection SET last_used_at = now(), daily_calls_remaining = coalesce($3, daily_calls_remaining),
           refused_since = CASE WHEN $4 THEN refused_since END
         WHERE workspace_id = $1 AND id = $2`,
        [target.workspaceId, target.id, last.dayRemaining ?? null, last.status === 401],
      ),
    );
  }

  /** Hands on what a failure says of the link. */
  private async note(target: Target, failure: XeroFailure): Promise<void> {
    this.options.logger.warn(
      {
        kind: failure.kind,
        operation: failure.operation,
        problem: failure.problem,
        connectionId: target.id,
        xeroCorrelationId: failure.correlationId,
      },
      "xero failure",
    );
    await this.options.onFailure(target, failure);
  }
}
