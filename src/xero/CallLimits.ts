/**
 * Places within Xero's limits, counted in the database, so that any number of processes together stay within them: per organisation five
 * calls in progress and sixty a minute (https://developer.xero.com/documentation/guides/oauth2/limits), and none before a Retry-After.
 *
 * Xero's minutes are fixed windows that nobody knows, so no sixty seconds of ours hold more than sixty calls. Its headers correct what we
 * assume: an organisation that says it has more left has a higher limit. Of a day's calls the last tenth is kept for what a person asks for.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { type Database } from "../database.js";
import { type CallRecord } from "./exchange.js";
import { XeroFailure } from "./XeroFailure.js";

const inProgress = 5;

/** A little more than Xero's minute, since a call may take a while on its way. */
const minuteMs = 61_000;

/** Above this the count is not kept: it would cost more than it saves. */
const countedLimit = 600;

/** How long a call waits for a place in progress before whoever wants it is told to come again. */
const patienceMs = 10_000;
const lookAgainMs = 60;

/** Without a Retry-After (Xero gives none for its concurrency limits) nothing is sent for this long. */
const defaultRetryAfterMs = 5_000;

/** So long the last word on a day's calls is believed when it says that hardly any are left. */
const dayBeliefMs = 900_000;

const take = `
  INSERT INTO tenant_limit AS l (tenant_id, recent, flights, updated_at)
  VALUES ($1, ARRAY[clock_timestamp()], jsonb_build_object($2::text, extract(epoch FROM clock_timestamp()) * 1000 + $3::float8), now())
  ON CONFLICT (tenant_id) DO UPDATE SET
    recent = CASE WHEN l.minute_limit > ${countedLimit} THEN '{}'::timestamptz[] ELSE array_append(
      ARRAY(SELECT t FROM unnest(l.recent) t WHERE t > clock_timestamp() - interval '${minuteMs} ms' ORDER BY t), clock_timestamp()) END,
    flights = coalesce((SELECT jsonb_object_agg(key, value) FROM jsonb_each(l.flights)
                        WHERE value::float8 > extract(epoch FROM clock_timestamp()) * 1000), '{}'::jsonb) || excluded.flights,
    updated_at = now()
  WHERE (l.blocked_until IS NULL OR l.blocked_until <= clock_timestamp())
    AND (SELECT count(*) FROM jsonb_each(l.flights) WHERE value::float8 > extract(epoch FROM clock_timestamp()) * 1000) < ${inProgress}
    AND (SELECT count(*) FROM unnest(l.recent) t WHERE t > clock_timestamp() - interval '${minuteMs} ms') < l.minute_limit
    AND (NOT $4::boolean OR l.day_remaining IS NULL OR l.day_remaining > l.day_limit / 10
         OR l.day_seen_at < clock_timestamp() - interval '${dayBeliefMs} ms')
  RETURNING 1`;

/** Why there is no place: how long the organisation is blocked, until a minute's place is free, until the day's calls are asked after again. */
const obstacles = `
  SELECT greatest(
    extract(epoch FROM blocked_until - clock_timestamp()) * 1000,
    CASE WHEN (SELECT count(*) FROM unnest(recent) t WHERE t > clock_timestamp() - interval '${minuteMs} ms') >= minute_limit
         THEN extract(epoch FROM recent[cardinality(recent) - minute_limit + 1] + interval '${minuteMs} ms' - clock_timestamp()) * 1000 END,
    CASE WHEN $2::boolean AND day_remaining <= day_limit / 10
         THEN extract(epoch FROM day_seen_at + interval '${dayBeliefMs} ms' - clock_timestamp()) * 1000 END
  )::float8 AS ms FROM tenant_limit WHERE tenant_id = $1`;

/** A place in progress. */
export interface Place {
  tenantId: string;
  id: string;
  /** Whether it went to a call, which gives it back. */
  used: boolean;
}

export class CallLimits {
  constructor(
    private readonly database: Database,
    private readonly timeoutMs: number,
  ) {}

  /**
   * A place for one call; give it back when the call is over (one that is not, because its process died, is free again after twice the
   * time-out). Waits a while for others to finish. Throws XeroFailure RATE_LIMITED, with when to come again; nothing was sent then.
   */
  async take(tenantId: string, operation: string, { background }: { background: boolean }): Promise<Place> {
    const waitUntil = Date.now() + patienceMs;
    const id = randomUUID();
    for (;;) {
      const waitMs = await this.tryOnce(tenantId, id, background);
      if (waitMs === null) return { tenantId, id, used: false };
      if (waitMs > 0 || Date.now() > waitUntil) {
        throw new XeroFailure({
          kind: "RATE_LIMITED",
          operation,
          problem: "unknown",
          retryAfterMs: Math.max(1_000, Math.ceil(waitMs)),
        });
      }
      await delay(lookAgainMs * (0.5 + Math.random()));
    }
  }

  /**
   * Gives the place back and keeps what the answer says of the limits, both at once: whoever waits for a place that a refused call has had
   * meets the Retry-After. One that we gave up waiting for may go on at Xero, and keeps its place.
   */
  async giveBack({ tenantId, id }: Place, answer: CallRecord): Promise<void> {
    const { status, durationMs, dayRemaining, minuteRemaining } = answer;
    const blockedForMs = status === 429 ? (answer.retryAfterMs ?? defaultRetryAfterMs) : null;
    // Timers are early by a moment at times.
    const mayGoOn = status === 0 && durationMs >= this.timeoutMs * 0.9;
    await this.database.asSystem((tx) =>
      tx.manager.query(
        `UPDATE tenant_limit SET flights = CASE WHEN $3::boolean THEN flights ELSE flights - $2::text END,
           minute_limit = greatest(minute_limit, $4::integer), day_remaining = coalesce($5::integer, day_remaining),
           blocked_until = greatest(blocked_until, clock_timestamp() + $6::float8 * interval '1 ms'),
           day_limit = greatest(day_limit, $5::integer), day_seen_at = CASE WHEN $5::integer IS NULL THEN day_seen_at ELSE clock_timestamp() END
         WHERE tenant_id = $1`,
        [tenantId, id, mayGoOn, minuteRemaining ?? null, dayRemaining ?? null, blockedForMs],
      ),
    );
  }

  /** Gives back the place of a call that was not made after all. */
  async cancel(place: Place): Promise<void> {
    await this.giveBack(place, { operation: "", method: "", status: 0, durationMs: 0 });
  }

  /** Null: the place is taken. Else how long to wait; 0 where another's call only has to finish. */
  private async tryOnce(tenantId: string, id: string, background: boolean): Promise<number | null> {
    return this.database.asSystem(async (tx) => {
      const lapsesAfterMs = this.timeoutMs * 2;
      const taken: unknown[] = await tx.manager.query(take, [tenantId, id, lapsesAfterMs, background]);
      if (taken.length > 0) return null;
      const [obstacle] = await tx.manager.query<{ ms: number | null }[]>(obstacles, [tenantId, background]);
      return Math.max(0, obstacle?.ms ?? 0);
    });
  }
}
