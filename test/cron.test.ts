/** When the schedule ticks, by the clock on the wall: no tick is lost or doubled when the clocks change. */
import { describe, expect, it } from "@jest/globals";
import { cronProblem, nextTick } from "../src/services/sync/cron.js";

function ticks(cron: string, after: string, count: number): string[] {
  const found: string[] = [];
  for (let last = new Date(after); found.length < count;) {
    const next = nextTick(cron, "Australia/Sydney", last);
    if (next === null) break;
    found.push(next.toISOString().slice(0, 16));
    last = next;
  }
  return found;
}

describe("a tick", () => {
  it.each([
    [
      "at a time that the clocks skip, comes as soon as they have",
      "30 2 * * *",
      "2026-10-02T12:00Z",
      ["2026-10-02T16:30", "2026-10-03T16:00", "2026-10-04T15:30"],
    ],
    [
      "at a time that the clocks show twice, comes once",
      "30 2 * * *",
      "2027-04-02T12:00Z",
      ["2027-04-02T15:30", "2027-04-03T15:30", "2027-04-04T16:30"],
    ],
    [
      "of every hour, comes every hour of a longer night",
      "0 * * * *",
      "2027-04-03T14:30Z",
      ["2027-04-03T15:00", "2027-04-03T16:00", "2027-04-03T17:00"],
    ],
    [
      "on working days at six, is at six in summer too",
      "0 18 * * MON-FRI",
      "2026-10-02T00:00Z",
      ["2026-10-02T08:00", "2026-10-05T07:00"],
    ],
  ])("%s", (_what, cron, after, expected) => {
    expect(ticks(cron, after, expected.length)).toEqual(expected);
  });
});

describe("a cron expression", () => {
  it.each([
    ["0 18 * * MON-FRI", null],
    ["*/15 8-18 * * 1-5", null],
    ["0 18 * *", /five fields/],
    ["0 0 18 * * *", /five fields/],
    ["0 25 * * *", /no cron expression/],
    ["every day at six", /no cron expression|five fields/],
    ["0 0 30 2 *", /never comes/],
  ])("%s", (cron, problem) => {
    const found = cronProblem(cron);
    if (problem === null) expect(found).toBeNull();
    else expect(found).toMatch(problem);
  });
});
