/**
 * Owns what goes wrong on purpose: which calls a fault hits and how often. Leaves carrying it out, at the right
 * moment of a call, to interference.ts.
 *
 * Source: docs/xero-facts.md section 12, item 14, and the recorded failures of sections 3, 5 and 11.
 */
import { randomUUID } from "node:crypto";
import { z } from "zod";
import { header, type Call } from "./http.js";
import { seededRandom } from "./random.js";

const pattern = z.string().refine((text) => {
  try {
    return new RegExp(text) instanceof RegExp;
  } catch {
    return false;
  }
}, "not a regular expression");

/** Which calls: all that is given must fit. `path`, `body` and `key` are regular expressions. */
export const matchSchema = z.strictObject({
  method: z.string().optional(),
  path: pattern.optional(),
  tenant: z.string().optional(),
  body: pattern.optional(),
  key: pattern.optional(),
});

export type Match = z.infer<typeof matchSchema>;

const faultKinds = [
  "500-before-write",
  "500-after-write",
  "504-while-working",
  "lost-answer",
  "lost-request",
  "503-maintenance",
  "503-unavailable",
  "503-organisation-offline",
  "429-minute",
  "429-day",
  "429-concurrent",
  "429-app-minute",
  "slow",
  "hang",
  "garbage-200",
  "empty-200",
  "unknown-field",
  "unknown-enum",
] as const;

export const faultSchema = z.strictObject({
  match: matchSchema.default({}),
  fault: z.enum(faultKinds),
  /** How many calls are hit; without it and without probability, one. */
  times: z.int().positive().optional(),
  probability: z.number().min(0).max(1).optional(),
  seed: z.int().default(1),
  /** slow: for how long. */
  ms: z.int().nonnegative().default(1000),
  /** slow, hang: before the work or after it. */
  phase: z.enum(["before", "after"]).default("before"),
  /** 429-minute, 429-day. */
  retryAfterSeconds: z.int().nonnegative().optional(),
});

type FaultWish = z.infer<typeof faultSchema>;

export interface Fault {
  readonly id: string;
  readonly wish: FaultWish;
  readonly random: () => number;
  /** Resolves when control lets hanging calls go. */
  readonly released: Promise<void>;
  readonly release: () => void;
  left: number;
  hits: number;
}

export class Faults {
  readonly #faults: Fault[] = [];

  add(wish: FaultWish): Fault {
    const { promise, resolve } = deferred();
    const fault: Fault = {
      id: randomUUID(),
      wish,
      random: seededRandom(wish.seed),
      released: promise,
      release: resolve,
      left: wish.times ?? (wish.probability === undefined ? 1 : Number.POSITIVE_INFINITY),
      hits: 0,
    };
    this.#faults.push(fault);
    return fault;
  }

  /** The fault that hits this call, if any: the first that fits and has hits left. */
  take(call: Call): Fault | undefined {
    for (const fault of this.#faults) {
      if (fault.left <= 0 || !matches(fault.wish.match, call)) continue;
      if (fault.wish.probability !== undefined && fault.random() >= fault.wish.probability) continue;
      fault.left -= 1;
      fault.hits += 1;
      return fault;
    }
    return undefined;
  }

  list(): readonly Fault[] {
    return this.#faults;
  }

  /** Removes one fault, or all; what hangs because of it goes on. */
  clear(id?: string): void {
    for (const fault of [...this.#faults]) {
      if (id !== undefined && fault.id !== id) continue;
      fault.release();
      this.#faults.splice(this.#faults.indexOf(fault), 1);
    }
  }
}

/** Whether the call is one of those meant. */
export function matches(match: Match, call: Call): boolean {
  return (
    (match.method === undefined || match.method.toUpperCase() === call.method) &&
    (match.path === undefined || new RegExp(match.path).test(call.path)) &&
    (match.tenant === undefined || match.tenant === header(call, "xero-tenant-id")) &&
    (match.key === undefined || new RegExp(match.key).test(header(call, "idempotency-key") ?? "")) &&
    (match.body === undefined || new RegExp(match.body).test(call.body.toString("utf8")))
  );
}

/** A promise and its resolver. */
export function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
