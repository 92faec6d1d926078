/** When the schedule ticks. */
import { Cron } from "croner";

/** The first tick after the instant, in the time zone, whatever its daylight saving does; null where there is none ever. */
export function nextTick(cron: string, timeZone: string, after: Date = new Date()): Date | null {
  return parsed(cron, timeZone).nextRun(after);
}

/** What is wrong with a five-field cron expression, in words; null: nothing. */
export function cronProblem(cron: string): string | null {
  const example = "such as 0 * * * * (every hour) or 30 18 * * MON-FRI";
  if (cron.trim().split(/\s+/).length !== 5) return `must be a cron expression of five fields, ${example}`;
  try {
    return nextTick(cron, "UTC") === null ? "never comes: no day fits it" : null;
  } catch {
    return `is no cron expression, ${example}`;
  }
}

function parsed(cron: string, timezone: string): Cron {
  return new Cron(cron, { timezone, paused: true, mode: "5-part" });
}
