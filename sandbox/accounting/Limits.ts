/**
 * Owns the rate limits: per organisation 5 calls in progress, 60 a minute, 5,000 a day; per app 10,000 a minute.
 * Leaves the place in the pipeline to api.ts, which asks before idempotency: replays cost quota too, and a 429 never
 * wrote anything.
 *
 * Source: docs/xero-facts.md section 3: fixed windows that end at different times for each organisation; Retry-After for
 * minute and day only. A refused call is not counted.
 */
import type { Clock } from "../Clock.js";
import type { Reply } from "../http.js";
import { tooMany } from "../refusals.js";
import type { Switches } from "../switches.js";

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;

interface Window {
  number: number;
  used: number;
}

export class Limits {
  readonly #windows = new Map<string, Window>();
  readonly #inFlight = new Map<string, number>();

  constructor(
    private readonly clock: Clock,
    private readonly switches: Switches,
  ) {}

  /** Counts the call in, or refuses it; what was counted in must be counted out with `leave`. */
  enter(tenantId: string): Reply | undefined {
    const { concurrentLimit, minuteLimit, dayLimit, appMinuteLimit } = this.switches;
    const inFlight = this.#inFlight.get(tenantId) ?? 0;
    const minute = this.#window(tenantId, minuteMs);
    const day = this.#window(tenantId, dayMs);
    const app = this.#window("", minuteMs);
    if (day.used >= dayLimit) return tooMany("day", this.#secondsLeft(tenantId, dayMs));
    if (minute.used >= minuteLimit) return tooMany("minute", this.#secondsLeft(tenantId, minuteMs));
    if (app.used >= appMinuteLimit) return tooMany(this.switches.appMinuteProblem);
    if (inFlight >= concurrentLimit) return tooMany(this.switches.concurrentProblem);
    for (const window of [minute, day, app]) window.used += 1;
    this.#inFlight.set(tenantId, inFlight + 1);
    return undefined;
  }

  leave(tenantId: string): void {
    this.#inFlight.set(tenantId, (this.#inFlight.get(tenantId) ?? 1) - 1);
  }

  headers(tenantId: string): Record<string, string> {
    const left = (limit: number, window: Window): string => String(Math.max(0, limit - window.used));
    return {
      "X-DayLimit-Remaining": left(this.switches.dayLimit, this.#window(tenantId, dayMs)),
      "X-MinLimit-Remaining": left(this.switches.minuteLimit, this.#window(tenantId, minuteMs)),
      "X-AppMinLimit-Remaining": left(this.switches.appMinuteLimit, this.#window("", minuteMs)),
    };
  }

  #window(tenantId: string, length: number): Window {
    const key = `${tenantId} ${String(length)}`;
    const number = Math.floor((this.clock.now() + phase(tenantId, length)) / length);
    const known = this.#windows.get(key);
    if (known?.number === number) return known;
    const fresh = { number, used: 0 };
    this.#windows.set(key, fresh);
    return fresh;
  }

  #secondsLeft(tenantId: string, length: number): number {
    return Math.ceil((length - ((this.clock.now() + phase(tenantId, length)) % length)) / 1000);
  }
}

/** Windows of different organisations end at different times. */
function phase(tenantId: string, length: number): number {
  let sum = 0;
  for (const character of tenantId) sum = (sum * 31 + character.charCodeAt(0)) % length;
  return sum;
}
