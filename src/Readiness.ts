/**
 * Whether this process can do its work, and if not, which part of it fails. Cheap enough for a probe every second from everywhere: the database is
 * asked by one at a time, and its answer holds for half a second. Xero is not asked: while it is down, work waits, and that is all.
 */
import { messageOf, type Logger } from "./logger.js";
import { type Watcher } from "./Watcher.js";

export type Part = "database" | "migrations" | "worker";

/** With the time to connect less than two seconds, which probes commonly wait. */
const answerWithinMs = 1_000;

const holdsForMs = 500;

const isMigrated = `
  SELECT to_regclass('graphile_worker.jobs') IS NOT NULL AND NOT EXISTS (
    SELECT FROM unnest($1::text[]) AS wanted (name)
    WHERE NOT EXISTS (SELECT FROM schema_migration m WHERE m.name = wanted.name)) AS migrated`;

export interface ReadinessOptions {
  watcher: Watcher;
  /** What this build needs of the schema, by name. */
  migrations: string[];
  /** Whether the worker works; null: the role has none. */
  isWorking: (() => boolean) | null;
  logger: Logger;
}

export class Readiness {
  /** Every part that can fail in this process. */
  readonly parts: Part[];
  private asking: Promise<Part[]> | null = null;
  private known: { failing: Part[]; until: number } | null = null;

  constructor(private readonly options: ReadinessOptions) {
    this.parts = ["database", "migrations", ...(options.isWorking ? (["worker"] as const) : [])];
  }

  /** The parts that fail now, none if all is well; answers within two seconds and never throws. Where the database is not reached nothing is said of migrations. */
  async failing(): Promise<Part[]> {
    const failing = await this.ofDatabase();
    return this.options.isWorking?.() === false ? [...failing, "worker"] : failing;
  }

  private async ofDatabase(): Promise<Part[]> {
    const now = performance.now();
    if (this.known && now < this.known.until) return this.known.failing;
    this.asking ??= this.ask()
      .then((failing) => {
        // From when it was asked, so that no failure is hidden for longer.
        this.known = { failing, until: now + holdsForMs };
        return failing;
      })
      .finally(() => (this.asking = null));
    return this.asking;
  }

  private async ask(): Promise<Part[]> {
    const { watcher, migrations, logger } = this.options;
    try {
      const [row] = await watcher.ask<{ migrated: boolean }>(isMigrated, [migrations], answerWithinMs);
      return row?.migrated ? [] : ["migrations"];
    } catch (error) {
      logger.debug({ reason: messageOf(error) }, "not ready");
      const { code } = error as { code?: unknown };
      // It answers, and has no such table: class 42 of PostgreSQL's errors.
      return typeof code === "string" && /^42...$/.test(code) ? ["migrations"] : ["database"];
    }
  }
}
