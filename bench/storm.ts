/**
 * What can go wrong while invoices go to Xero, done to a rig by a seeded plan: workers killed at random moments, workers stopped for longer
 * than their lease, a database that loses its power, and a Xero that refuses, is slow, or answers nobody. The same seed plans the same; what
 * each finds in hand is the machine's chance.
 */
import { setTimeout as delay } from "node:timers/promises";
import { seededRandom, shuffled } from "../sandbox/random.js";
import { type Rig, until } from "./rig.js";

/** Scaled down with everything else, so that what takes minutes is seen within seconds; `lease` outlasts `timeout` as it must. */
export const scaledTimes = { timeoutMs: 2_000, leaseMs: 3_000 };

export interface StormPlan {
  seed: number;
  kills: number;
  stops: number;
  restarts: number;
}

export interface Told {
  kills: number;
  stops: number;
  restarts: number;
}

type Blow = "kill" | "stop" | "restart";

/** So long a worker that is up is left alone at most: a few calls of Xero, so that blows fall before, into and after them. */
const longestPeaceMs = 2_000;

/** A worker that does not come up within this is a fault of the bench. */
const patienceMs = 60_000;

/** Share of the calls that Xero fails, by kind. */
const failing = { "lost-answer": 0.04, "503-unavailable": 0.03, "429-minute": 0.03, "500-after-write": 0.02 };

/** Lets Xero fail and be slow from now on; with `often`, a fourth of all writes of invoices by that fault too. */
export async function stirXero(rig: Rig, seed: number, often?: keyof typeof failing): Promise<void> {
  const match = { path: "^/api.xro/" };
  if (often !== undefined) {
    const writes = { method: "PUT", path: "/Invoices$" };
    await rig.sandbox.control("faults", { match: writes, fault: often, probability: 0.25, seed: seed + 20 });
  }
  for (const [index, [fault, probability]] of Object.entries(failing).entries()) {
    await rig.sandbox.control("faults", { match, fault, probability, seed: seed + index, retryAfterSeconds: 1 });
  }
  // As Xero is: so that calls are found in hand, before and after the write.
  for (const [index, phase] of ["before", "after"].entries()) {
    const fault = { fault: "slow", ms: 300, phase, probability: 0.3, seed: seed + 10 + index };
    await rig.sandbox.control("faults", { match, ...fault });
  }
}

/** Takes all that back. Answers how many calls each kind has hit. */
export async function calmXero(rig: Rig): Promise<Record<string, number>> {
  const faults = await rig.look<{ fault: string; hits: number }[]>("faults");
  await rig.sandbox.control("faults/clear");
  const hits: Record<string, number> = {};
  for (const { fault, hits: more } of faults) hits[fault] = (hits[fault] ?? 0) + more;
  return hits;
}

export class Storm {
  readonly told: Told = { kills: 0, stops: 0, restarts: 0 };
  private readonly random: () => number;
  private readonly blows: Blow[];
  private paused: Promise<void> | null = null;
  private over = false;

  constructor(
    private readonly rig: Rig,
    { seed, kills, stops, restarts }: StormPlan,
  ) {
    this.random = seededRandom(seed);
    const all = { kill: kills, stop: stops, restart: restarts };
    const planned = Object.entries(all).flatMap(([blow, count]) => Array<Blow>(count).fill(blow as Blow));
    this.blows = shuffled(planned, this.random);
  }

  get planned(): number {
    return this.blows.length;
  }

  get done(): number {
    return this.told.kills + this.told.stops + this.told.restarts;
  }

  /** Does all that is planned; afterwards every worker is up. Throws where one does not come up. */
  async rage(): Promise<void> {
    for (const blow of this.blows) {
      await this.victim();
      await delay(this.random() * longestPeaceMs);
      if (this.over) return;
      await this.strike(blow);
    }
    await this.paused;
    const { workers } = this.rig;
    for (const [index, { died }] of workers.entries()) if (died) this.rig.replaceWorker(index);
    const allUp = () => workers.every(({ ready }) => ready);
    if (!(await until(allUp, { withinMs: patienceMs }))) throw new Error("a worker does not come up any more");
  }

  /** Nothing more is done. */
  stop(): void {
    this.over = true;
  }

  private async strike(blow: Blow): Promise<void> {
    if (blow === "restart") {
      await this.rig.cluster?.restartAtOnce();
      this.told.restarts += 1;
    } else if (blow === "kill") {
      const index = await this.victim();
      await this.rig.workers[index]?.kill();
      this.rig.replaceWorker(index);
      this.told.kills += 1;
    } else {
      await this.paused; // One at a time: with both stopped nothing would happen.
      const worker = this.rig.workers[await this.victim()];
      worker?.pause();
      this.told.stops += 1;
      const ms = scaledTimes.leaseMs * (1.2 + this.random() * 1.3);
      this.paused = delay(ms).then(() => {
        worker?.resume();
        this.paused = null;
      });
    }
  }

  /** Any of the workers that are up, once there is one; those that ended by themselves are replaced on the way. */
  private async victim(): Promise<number> {
    const { workers } = this.rig;
    const up = (): number[] => [...workers.keys()].filter((index) => workers[index]?.ready);
    const found = await until(
      () => {
        for (const [index, { died }] of workers.entries()) if (died) this.rig.replaceWorker(index);
        return up().length > 0;
      },
      { withinMs: patienceMs, everyMs: 20 },
    );
    if (!found) throw new Error(`no worker was up after ${patienceMs / 1000} s`);
    const ready = up();
    return ready[Math.floor(this.random() * ready.length)] ?? 0;
  }
}
