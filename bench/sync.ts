/**
 * `npm run bench:sync`: what a run costs, for small and large ones: calls to Xero, time and memory, against the same service asked for one
 * invoice at a time. Limits are out of the way, so that the engine is measured and not Xero's patience. See bench/README.md.
 */
import { parseArgs } from "node:util";
import { type Member, type Rig, until, withRig } from "./rig.js";
import { invoiceIds, seed } from "./seed.js";
import { Progress, table } from "./terminal.js";

const { values } = parseArgs({
  options: { sizes: { type: "string", default: "1000,10000,100000" }, baseline: { type: "string", default: "100" } },
});

const wide = { minuteLimit: 10_000_000, dayLimit: 100_000_000, appMinuteLimit: 10_000_000 };

/** A run that has not ended by then is given up. */
const patienceMs = 3_600_000;

interface Measured {
  invoices: number;
  /** As the run, or the runs, count them, and as the stand-in Xero does. */
  calls: number;
  callsSeen: number;
  seconds: number;
  workerMegabytes: number;
  apiMegabytes: number;
}

interface RunState {
  status: string;
  total: number;
  created: number;
  xeroCalls: number;
  finishedAt: string | null;
}

async function runState({ client }: Member, id: string): Promise<RunState> {
  const { syncRun } = await client.ask<{ syncRun: RunState }>(
    "query ($id: ID!) { syncRun(id: $id) { status total created xeroCalls finishedAt } }",
    { id },
  );
  return syncRun;
}

async function finished(
  member: Member,
  id: string,
  everyMs: number,
  tell?: (state: RunState) => void,
): Promise<RunState> {
  let state = await runState(member, id);
  const isOver = async (): Promise<boolean> => {
    state = await runState(member, id);
    tell?.(state);
    return state.finishedAt !== null;
  };
  if (!(await until(isOver, { withinMs: patienceMs, everyMs }))) throw new Error(`the run is ${state.status} still`);
  if (state.status !== "SUCCEEDED") throw new Error(`the run is ${state.status}: ${JSON.stringify(state)}`);
  return state;
}

/** Does the work with processes that have done nothing before, so that their peak is its own; counts what the stand-in saw meanwhile. */
async function measure(rig: Rig, member: Member, work: (member: Member) => Promise<RunState[]>): Promise<Measured> {
  await rig.redeploy();
  const now = { ...member, client: await rig.client(member.workspaceId) };
  await rig.sandbox.control("calls/clear");
  const started = performance.now();
  const runs = await work(now);
  const seconds = (performance.now() - started) / 1000;
  const { counts } = await rig.look<{ counts: Record<string, number> }>("calls?path=^$");
  const seen = Object.entries(counts).filter(([endpoint]) => !endpoint.includes("/connect"));
  return {
    invoices: runs.reduce((sum, { total }) => sum + total, 0),
    calls: runs.reduce((sum, { xeroCalls }) => sum + xeroCalls, 0),
    callsSeen: seen.reduce((sum, [, count]) => sum + count, 0),
    seconds,
    workerMegabytes: await (rig.workers[0] ?? rig.api).peakMegabytes(),
    apiMegabytes: await rig.api.peakMegabytes(),
  };
}

/** One press after the other, each waited for: as a person does who has no better tool. */
function onePressEach(rig: Rig) {
  return async (member: Member): Promise<RunState[]> => {
    const states: RunState[] = [];
    for (const id of await invoiceIds(rig.sql, member.workspaceId, member.workspaceId)) {
      const { syncInvoice } = await member.client.ask<{ syncInvoice: { id: string } }>(
        "mutation ($id: ID!) { syncInvoice(id: $id) { id } }",
        { id },
      );
      states.push(await finished(member, syncInvoice.id, 10));
    }
    return states;
  };
}

async function oneRun(member: Member, tell: (state: RunState) => void): Promise<RunState[]> {
  const { runInvoiceSync } = await member.client.ask<{ runInvoiceSync: { id: string } }>(
    "mutation { runInvoiceSync { id } }",
  );
  return [await finished(member, runInvoiceSync.id, 100, tell)];
}

const per1000 = (amount: number, { invoices }: Measured): number => (amount / invoices) * 1000;

function row(name: string, measured: Measured, baseline: Measured): string[] {
  const { calls, callsSeen, seconds, workerMegabytes, apiMegabytes } = measured;
  const times = (of: (one: Measured) => number) =>
    (per1000(of(baseline), baseline) / per1000(of(measured), measured)).toFixed(1);
  return [
    name,
    `${calls}${callsSeen === calls ? "" : ` (${callsSeen})`}`,
    per1000(callsSeen, measured).toFixed(1),
    times((one) => one.callsSeen),
    per1000(seconds, measured).toFixed(2),
    times((one) => one.seconds),
    workerMegabytes.toFixed(0),
    apiMegabytes.toFixed(0),
  ];
}

const sizes = values.sizes.split(",").map(Number);
const presses = Number(values.baseline);
if (![...sizes, presses].every((size) => Number.isInteger(size) && size > 0 && size <= 100_000)) {
  console.error("--sizes: numbers of 1 to 100000, comma-separated; --baseline: one of them");
  process.exit(2);
}

// The stand-in would keep every answer for six minutes, which is memory that this machine needs.
await withRig({ workers: 1, switches: { ...wide, idempotencyLifetimeMs: 60_000 } }, async (rig) => {
  const progress = new Progress();
  const tell = (name: string) => (state: RunState) => progress.show(`${name}: ${state.created} of ${state.total}`);
  const head = ["", "calls", "per 1,000", "fewer by", "s per 1,000", "faster by", "worker MB", "api MB"];

  progress.show(`baseline: ${presses} invoices, one press at a time`);
  const alone = await rig.addMember("alone");
  await seed(rig.sql, { workspaceId: alone.workspaceId, invoices: presses, prefix: alone.workspaceId });
  const baseline = await measure(rig, alone, onePressEach(rig));
  const rows = [head, row(`${presses} one by one`, baseline, baseline)];

  for (const size of sizes) {
    const workspaceId = `of-${size}`;
    const member = await rig.addMember(workspaceId);
    await seed(rig.sql, { workspaceId, invoices: size, prefix: "cold" });
    const cold = await measure(rig, member, (now) => oneRun(now, tell(`${size} cold`)));
    rows.push(row(`${size} cold`, cold, baseline));
    await seed(rig.sql, { workspaceId, invoices: size, prefix: "warm", billed: "cold" });
    const warm = await measure(rig, member, (now) => oneRun(now, tell(`${size} warm`)));
    rows.push(row(`${size} warm`, warm, baseline));
    progress.end();
    console.log(`\n${table(rows)}`);
  }
  return [];
});
