/**
 * Owns named barriers: matching calls wait at one until control lets them go, so that a test can be exact about who
 * overtakes whom. Leaves the places where a call passes a barrier to interference.ts.
 */
import { deferred, matches, type Match } from "./Faults.js";
import type { Call } from "./http.js";

/** before: Xero has not looked at it; inside: its key is taken, nothing is written; after: written, the answer is kept back. */
type Phase = "before" | "inside" | "after";

interface Hold {
  readonly match: Match;
  readonly phase: Phase;
  readonly waiting: (() => void)[];
  left: number;
}

export class Holds {
  readonly #holds = new Map<string, Hold>();
  #changed = deferred();

  set(name: string, match: Match, phase: Phase, times = Number.POSITIVE_INFINITY): void {
    this.release(name);
    this.#holds.set(name, { match, phase, waiting: [], left: times });
  }

  /** Waits where a barrier of this phase stands in the call's way. */
  async pass(phase: Phase, call: Call): Promise<void> {
    for (const hold of this.#holds.values()) {
      if (hold.phase !== phase || hold.left <= 0 || !matches(hold.match, call)) continue;
      hold.left -= 1;
      const { promise, resolve } = deferred();
      hold.waiting.push(resolve);
      this.#notice();
      await promise;
      return;
    }
  }

  /** Lets `count` waiting calls go, oldest first, and keeps the barrier; without a count it lets all go and ends. */
  release(name: string, count?: number): number {
    const hold = this.#holds.get(name);
    if (!hold) return 0;
    if (count === undefined) this.#holds.delete(name);
    const leaving = hold.waiting.splice(0, count ?? hold.waiting.length);
    leaving.forEach((go) => go());
    return leaving.length;
  }

  releaseAll(): void {
    for (const name of [...this.#holds.keys()]) this.release(name);
  }

  waitingAt(name: string): number {
    return this.#holds.get(name)?.waiting.length ?? 0;
  }

  /** Resolves true once `count` calls wait at the barrier, false after `timeoutMs`. */
  async reached(name: string, count: number, timeoutMs: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<"late">((resolve) => {
      timer = setTimeout(() => {
        resolve("late");
      }, timeoutMs);
    });
    while (this.waitingAt(name) < count) {
      if ((await Promise.race([this.#changed.promise, late])) === "late") break;
    }
    clearTimeout(timer);
    return this.waitingAt(name) >= count;
  }

  #notice(): void {
    this.#changed.resolve();
    this.#changed = deferred();
  }
}
