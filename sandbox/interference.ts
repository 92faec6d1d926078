/**
 * Owns the moments of a call at which a fault or a barrier acts: before Xero looks at it, inside (where its
 * Idempotency-Key already holds and a 500 is remembered under it), and on the way back (where the true answer stays
 * remembered, and only this caller misses it). Leaves which calls are hit to Faults and Holds.
 */
import { isObject } from "./Fields.js";
import { hangUp, type Call, type Json, type Outcome, type Reply } from "./http.js";
import type { Fault } from "./Faults.js";
import { text, tooMany } from "./refusals.js";
import type { LoggedCall } from "./CallLog.js";
import type { World } from "./World.js";

/** Surrounds the part of a call that touches data. */
type Around = (work: () => Reply | Promise<Reply>) => Promise<Reply>;

/** Answers the call with whatever interference is due; `run` calls its argument exactly where the data is touched. */
export async function interfered(
  world: World,
  call: Call,
  entry: LoggedCall,
  run: (around: Around) => Promise<Reply>,
): Promise<Outcome> {
  const fault = world.faults.take(call);
  entry.fault = fault?.wish.fault;
  const early = fault && beforeXero(world, fault);
  if (early) return early;
  if (fault?.wish.fault === "504-while-working") {
    // The gateway in front of Xero has lost patience, and Xero knows nothing of that.
    setTimeout(() => void run(async (work) => work()), fault.wish.ms).unref();
    return text(504, "Gateway Timeout");
  }
  await world.holds.pass("before", call);
  await delayed(fault, "before");
  const reply = await run(async (work) => {
    await world.holds.pass("inside", call);
    return (fault && insteadOfWork(fault)) ?? afterWork(fault, await work());
  });
  await world.holds.pass("after", call);
  await delayed(fault, "after");
  return fault ? onTheWayBack(fault, reply) : reply;
}

function beforeXero(world: World, fault: Fault): Outcome | undefined {
  const { retryAfterSeconds } = fault.wish;
  switch (fault.wish.fault) {
    case "lost-request":
      return hangUp;
    case "429-minute":
      return withNothingLeft(tooMany("minute", retryAfterSeconds ?? 26), "X-MinLimit-Remaining");
    case "429-day":
      return withNothingLeft(tooMany("day", retryAfterSeconds ?? 66_975), "X-DayLimit-Remaining");
    case "429-concurrent":
      return tooMany(world.switches.concurrentProblem);
    case "429-app-minute":
      return tooMany(world.switches.appMinuteProblem);
    default:
      return undefined;
  }
}

/** The header agrees with the refusal, as a recorded one does. */
function withNothingLeft(reply: Reply, name: string): Reply {
  return { ...reply, headers: { ...reply.headers, [name]: "0" } };
}

function insteadOfWork(fault: Fault): Reply | undefined {
  switch (fault.wish.fault) {
    case "500-before-write":
      return text(500, "An error occurred in Xero. Check the API Status page.");
    case "503-maintenance":
      return text(503, "The Xero API is currently offline for maintenance");
    case "503-unavailable":
      return text(503, "The Xero API is temporarily unavailable");
    case "503-organisation-offline":
      return text(503, "The Organisation is Offline");
    default:
      return undefined;
  }
}

function afterWork(fault: Fault | undefined, reply: Reply): Reply {
  if (fault?.wish.fault !== "500-after-write") return reply;
  return text(500, "An error occurred in Xero. Check the API Status page.");
}

async function delayed(fault: Fault | undefined, phase: "before" | "after"): Promise<void> {
  if (fault?.wish.phase !== phase) return;
  if (fault.wish.fault === "slow") await new Promise((resolve) => setTimeout(resolve, fault.wish.ms).unref());
  if (fault.wish.fault === "hang") await fault.released;
}

function onTheWayBack(fault: Fault, reply: Reply): Outcome {
  switch (fault.wish.fault) {
    case "lost-answer":
      return hangUp;
    case "garbage-200":
      return {
        status: 200,
        headers: { "Content-Type": "text/html; charset=utf-8" },
        body: "<html><body><h1>We'll be right back</h1></body></html>",
      };
    case "empty-200":
      return { status: 200, headers: { "Content-Type": "application/json; charset=utf-8" } };
    case "unknown-field":
      return transformed(reply, (record) => ({ ...record, SandboxUnknownField: { Anything: ["new", 1, null] } }));
    case "unknown-enum":
      return transformed(reply, (record) => ("Status" in record ? { ...record, Status: "SANDBOX_UNKNOWN" } : record));
    default:
      return reply;
  }
}

/** Changes each element of an envelope, and for a new field the envelope as well. */
function transformed(reply: Reply, change: (record: Json) => Json): Reply {
  if (reply.status !== 200 || !reply.headers?.["Content-Type"]?.startsWith("application/json")) return reply;
  const body: unknown = JSON.parse(reply.body ?? "null");
  if (!isObject(body)) return reply;
  const elements = Object.entries(body).map(([key, value]) => [
    key,
    Array.isArray(value) ? value.map((item: unknown) => (isObject(item) ? change(item) : item)) : value,
  ]);
  const whole = Object.fromEntries(elements) as Json;
  return { ...reply, body: JSON.stringify("SandboxUnknownField" in change({}) ? change(whole) : whole) };
}
