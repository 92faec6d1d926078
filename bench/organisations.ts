/**
 * `npm run bench:organisations`: twenty organisations, each with a workspace of its own, and four processes that work for all of them. First
 * whether together they stay within Xero's real limits, judged by the stand-in's log of calls; then whether one organisation whose calls hang
 * costs the nineteen others any of their pace. See bench/README.md.
 */
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { breaches, type CallLogged, judgeCalls, mostInProgress } from "./limitsJudge.js";
import { type Member, type Rig, until, withRig } from "./rig.js";
import { invoiceIds, seed } from "./seed.js";
import { Progress, table } from "./terminal.js";

const { values } = parseArgs({
  options: { seconds: { type: "string", default: "75" }, backlog: { type: "string", default: "8000" } },
});

const organisations = 20;
const processes = 4;

/**
 * How many of them ask for more than a minute allows, and how often; the others as an ordinary office does. With each press the busy ones have
 * Xero's data read anew a few times, each of which is three calls that no batch can join.
 */
const busy = { organisations: 5, everyMs: 1_000, readings: 3 };
const ordinary = { everyMs: 5_000 };

/** Xero's own pace, as the nineteen see it. */
const xeroTakesMs = 300;

/** How long each pace is measured: with one stuck for longer than its calls are waited for (30 s). */
const freeMs = 15_000;
const stuckMs = 35_000;
const rounds = 2;
const mayCost = 0.1;

/** As the service counts it. */
const aMinuteMs = 61_000;

async function press(rig: Rig, { workspaceId, client }: Member, isBusy: boolean, forMs: number): Promise<void> {
  const end = performance.now() + forMs;
  const reading: Promise<unknown>[] = [];
  for (const id of await invoiceIds(rig.sql, workspaceId, "limits")) {
    if (performance.now() > end) break;
    // Refused where a minute's calls are used up, which is what is wanted.
    for (let count = 0; isBusy && count < busy.readings; count += 1) {
      reading.push(client.send("mutation { refreshXeroData { enabled } }"));
    }
    await client.ask("mutation ($id: ID!) { syncInvoice(id: $id) { id } }", { id });
    await delay(Math.min((isBusy ? busy : ordinary).everyMs, Math.max(0, end - performance.now())));
  }
  await Promise.allSettled(reading);
}

/** Presses for a while, with a refusal now and then, and judges what Xero has seen. */
async function withinLimits(rig: Rig, members: Member[], progress: Progress): Promise<string[]> {
  const forMs = Number(values.seconds) * 1_000;
  for (const { workspaceId } of members) {
    await seed(rig.sql, { workspaceId, invoices: Math.ceil(forMs / busy.everyMs) + 4, prefix: "limits" });
  }
  const refusal = { fault: "429-minute", probability: 0.02, retryAfterSeconds: 4, seed: 5 };
  await rig.sandbox.control("faults", { match: { path: "^/api.xro/" }, ...refusal });
  progress.show(`${organisations} organisations, ${busy.organisations} of them in a hurry, for ${forMs / 1_000} s`);
  await Promise.all(members.map((member, index) => press(rig, member, index < busy.organisations, forMs)));
  const log = await rig.look<CallLogged>("calls?kind=api");
  await rig.sandbox.control("faults/clear");
  const { reasons, figures } = judgeCalls(log);
  progress.end();
  console.log(`${table(figures)}\n`);
  return reasons;
}

/** Invoices that each organisation holds in Xero. */
async function held(rig: Rig): Promise<Map<string, number>> {
  const state = await rig.look<{ organisations: { tenantId: string; invoices: number }[] }>("state");
  return new Map(state.organisations.map(({ tenantId, invoices }) => [tenantId, invoices]));
}

interface Pace {
  /** Invoices a minute, of all together. */
  invoices: number;
  /** How many organisations had none taken. */
  idle: number;
}

/** What these organisations took together, over a while. */
async function pace(rig: Rig, members: Member[], forMs: number): Promise<Pace> {
  const before = await held(rig);
  const started = performance.now();
  await delay(forMs);
  const after = await held(rig);
  const minutes = (performance.now() - started) / 60_000;
  const taken = members.map(({ tenantId }) => (after.get(tenantId) ?? 0) - (before.get(tenantId) ?? 0));
  return {
    invoices: taken.reduce((sum, count) => sum + count, 0) / minutes,
    idle: taken.filter((count) => count === 0).length,
  };
}

/** Lets every call take its time; with a tenant, lets that one's calls hang for good. What hung before goes on. */
async function slowDown(rig: Rig, stuckTenant?: string): Promise<void> {
  await rig.sandbox.control("faults/clear");
  // A call is hit by the first fault that fits, so the one that hangs comes before the slowness of all.
  if (stuckTenant !== undefined) {
    await rig.sandbox.control("faults", { match: { tenant: stuckTenant }, fault: "hang", probability: 1 });
  }
  const slow = { fault: "slow", ms: xeroTakesMs, probability: 1 };
  await rig.sandbox.control("faults", { match: { path: "^/api.xro/" }, ...slow });
}

/** Measures the pace of nineteen without and with a stuck twentieth, in turns, so that the machine's moods fall on both. */
async function oneStuck(rig: Rig, members: Member[], progress: Progress): Promise<string[]> {
  const [stuck, ...others] = members;
  if (!stuck) throw new Error("there is no organisation");
  const backlog = Number(values.backlog);
  progress.show(`seeding ${backlog} invoices each`);
  for (const { workspaceId } of members) {
    await seed(rig.sql, { workspaceId, invoices: backlog, prefix: "backlog", each: backlog });
  }
  await slowDown(rig);
  for (const { client } of members) await client.ask("mutation { runInvoiceSync { id } }");
  await rig.sandbox.control("calls/clear");

  const free: Pace[] = [];
  const withOne: Pace[] = [];
  const measure = async (list: Pace[], tenant?: string): Promise<void> => {
    progress.show(`pace of ${others.length}, ${tenant === undefined ? "none" : "one"} stuck`);
    await slowDown(rig, tenant);
    list.push(await pace(rig, others, tenant === undefined ? freeMs : stuckMs));
  };
  await measure(free);
  for (let round = 0; round < rounds; round += 1) {
    await measure(withOne, stuck.tenantId);
    await measure(free);
  }
  await rig.sandbox.control("faults/clear");
  const out = await outOfWork(rig, others);
  const log = await rig.look<CallLogged>("calls?kind=api");
  progress.end();

  const cost = 1 - mean(withOne) / mean(free);
  const shown = (list: Pace[]): string => list.map(({ invoices }) => invoices.toFixed(0)).join(", ");
  console.log(
    table([
      ["invoices a minute of the others, none stuck", shown(free)],
      ["with one stuck", shown(withOne)],
      ["which costs", `${(cost * 100).toFixed(1)} %`],
      ["most in progress for one organisation", String(mostInProgress(log))],
      ["and for the stuck one", String(log.maxInFlightByTenant[stuck.tenantId])],
      ["organisations of which none was taken meanwhile", [...free, ...withOne].map(({ idle }) => idle).join(", ")],
    ]),
  );
  const reasons = breaches(log);
  if (out > 0) reasons.push(`${out} organisations had nothing left to send, so no pace was measured: raise --backlog`);
  if (cost >= mayCost)
    reasons.push(`one stuck organisation costs the others ${(cost * 100).toFixed(1)} % of their pace`);
  return reasons;
}

function mean(list: Pace[]): number {
  return list.reduce((sum, { invoices }) => sum + invoices, 0) / list.length;
}

async function outOfWork(rig: Rig, members: Member[]): Promise<number> {
  const { rows } = await rig.sql.query<{ workspace_id: string }>(
    "SELECT DISTINCT workspace_id FROM sync_attempt WHERE outcome IN ('PENDING', 'UNCERTAIN')",
  );
  return members.filter(({ workspaceId }) => !rows.some((row) => row.workspace_id === workspaceId)).length;
}

/** What the first part left over, and the minute that it filled, are not to be measured in the second. */
async function quiet(rig: Rig): Promise<void> {
  const isQuiet = async (): Promise<boolean> => {
    const { rows } = await rig.sql.query(
      "SELECT 1 FROM sync_attempt WHERE outcome IN ('PENDING', 'UNCERTAIN') LIMIT 1",
    );
    return rows.length === 0;
  };
  if (!(await until(isQuiet, { withinMs: 120_000, everyMs: 500 }))) throw new Error("what was asked for is not done");
  await delay(aMinuteMs);
}

await withRig({ workers: processes }, async (rig) => {
  const progress = new Progress();
  const members: Member[] = [];
  for (let number = 1; number <= organisations; number += 1) {
    progress.show(`connecting organisation ${number}`);
    members.push(await rig.addMember(`office-${number}`));
  }
  const reasons = await withinLimits(rig, members, progress);
  progress.show("waiting for what is left");
  await quiet(rig);
  reasons.push(...(await oneStuck(rig, members, progress)));
  const { complaints, deaths } = rig.health();
  if (deaths > 0) reasons.push(`${deaths} processes of the service ended by themselves`);
  reasons.push(...complaints.filter(({ fatal }) => fatal).map(({ msg }) => `a process said: ${msg}`));
  return reasons;
});
