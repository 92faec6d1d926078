/**
 * The ordeal that invoices must come through whole: they are asked for in waves for as long as a storm lasts, then the weather is fair, everything
 * must be done within a minute, and each invoice be in Xero once. `npm run chaos` is its long form, test/chaos.test.ts its short one.
 */
import { seededRandom } from "../sandbox/random.js";
import { type Member, type Rig, until } from "./rig.js";
import { invoiceIds, seed as seedRecords } from "./seed.js";
import { calmXero, scaledTimes, stirXero, Storm, type StormPlan } from "./storm.js";
import { type Verdict, verify } from "./verify.js";

export interface OrdealOptions extends StormPlan {
  invoices: number;
  /** shut: keys are forgotten within seconds, by Xero and by us, so that look-ups decide. */
  window: "open" | "shut";
  numbering: "xero" | "ours";
  /** Switches off one of the two layers that keep an invoice from being doubled: then it must be. */
  break: "key" | "lookup" | "none";
}

export interface Ordeal {
  /** Why it does not hold; empty: it does. */
  reasons: string[];
  /** Name and value, to be shown. */
  figures: [string, string | number][];
  verdict: Verdict;
}

const drainedWithinMs = 60_000;

/** Doubles are looked for when the keys that made them are over. */
const toldWithinMs = 60_000;

/** So long it is looked whether it drains at all. */
const patienceMs = 180_000;

/** What a layer is there for, which must happen where it is to be missed: no answer to a write, or an error, which its key then repeats. */
const whatItIsFor = { none: undefined, key: "lost-answer", lookup: "500-after-write" } as const;

/** What the rig must be started with. */
export function surroundings(options: Pick<OrdealOptions, "window" | "break">): {
  environment: Record<string, string>;
  switches: Record<string, unknown>;
} {
  const shut = options.window === "shut";
  return {
    environment: {
      XERO_REQUEST_TIMEOUT: `${scaledTimes.timeoutMs}ms`,
      SYNC_LEASE: `${scaledTimes.leaseMs}ms`,
      ...(shut && { XERO_KEY_LIFE: "5s" }),
    },
    switches: {
      minuteLimit: 100_000,
      dayLimit: 1_000_000,
      appMinuteLimit: 1_000_000,
      ...(shut && { idempotencyLifetimeMs: 6_000 }),
      ...(options.break === "key" && { idempotencyIgnored: true }),
      ...(options.break === "lookup" && { hiddenFromFilters: true }),
    },
  };
}

/** Puts the rig through it, which must have been started with `surroundings`. `tell` is given a line on the state now and then. */
export async function endure(rig: Rig, options: OrdealOptions, tell: (line: string) => void): Promise<Ordeal> {
  const member = await rig.addMember("chaos");
  const { client } = member;
  await seedRecords(rig.sql, { workspaceId: "chaos", invoices: options.invoices, prefix: "C", status: "DRAFT" });
  if (options.numbering === "ours") {
    await client.ask("mutation { updateIntegration(input: { numbering: OUR_NUMBERS }) { numbering } }");
  }
  await stirXero(rig, options.seed, whatItIsFor[options.break]);

  const storm = new Storm(rig, options);
  const started = performance.now();
  let rest = await invoiceIds(rig.sql, "chaos", "C");
  let over = false;
  const raging = storm.rage().finally(() => (over = true));
  const feeding = (async () => {
    const random = seededRandom(options.seed + 1);
    while (rest.length > 0) {
      const wave = rest.slice(0, waveSize(random(), options, storm));
      // As far as the storm is, so are the invoices: neither waits for the other at the end.
      const due = () => options.invoices - rest.length <= (storm.done / storm.planned) * options.invoices;
      await until(() => over || due(), { withinMs: patienceMs, everyMs: 50 });
      await press(rig, member, wave);
      rest = rest.slice(wave.length);
    }
  })();
  const telling = setInterval(() => {
    const { kills, stops, restarts } = storm.told;
    const seconds = Math.round((performance.now() - started) / 1000);
    tell(
      `${seconds} s: ${kills} kills, ${stops} stops, ${restarts} restarts; ${options.invoices - rest.length} invoices asked for`,
    );
  }, 1_000);
  try {
    await Promise.all([raging, feeding]);
  } finally {
    clearInterval(telling);
    storm.stop();
  }
  const inStorm = await callsSeen(rig);
  const faults = await calmXero(rig);
  const calmAt = performance.now();

  await until(
    async () => {
      const left = await unfinished(member);
      tell(
        `fair weather: ${
          Object.entries(left)
            .map(([status, count]) => `${count} ${status}`)
            .join(", ") || "all done"
        }`,
      );
      return Object.keys(left).length === 0;
    },
    { withinMs: patienceMs },
  );
  const drainMs = performance.now() - calmAt;
  let verdict = await verify(rig, member);
  if (mayDouble(options)) {
    const isTold = async (): Promise<boolean> => (verdict = await verify(rig, member)).untold.length === 0;
    await until(isTold, { withinMs: toldWithinMs, everyMs: 2_000 });
  }
  return judged(rig, options, {
    storm,
    faults,
    inStorm,
    inAll: await callsSeen(rig),
    drainMs,
    stormMs: calmAt - started,
    verdict,
  });
}

/** Told and not prevented: a process is paused between its check and its write, Xero forgets the key meanwhile, and Xero numbers. */
function mayDouble({ window, numbering }: OrdealOptions): boolean {
  return window === "shut" && numbering === "xero";
}

/** About one wave for each blow. */
function waveSize(random: number, { invoices }: OrdealOptions, { planned }: Storm): number {
  return 1 + Math.floor((random * 2 * invoices) / Math.max(1, planned));
}

/** Asks for a wave, by one of the two ways in, as often as it takes to be heard: the database may be down just now. */
async function press(rig: Rig, { client }: Member, wave: string[]): Promise<void> {
  const byHand = wave.length % 2 === 0;
  const heard = await until(
    async () => {
      try {
        await rig.sql.query("UPDATE invoice SET status = 'APPROVED' WHERE id = ANY($1) AND status = 'DRAFT'", [wave]);
        // A run that is going already is answered as it is: what came later is asked for by name.
        if (!byHand) await client.ask("mutation { runInvoiceSync { id } }");
        const answer = await client.send("mutation ($ids: [ID!]!) { syncInvoices(ids: $ids) { id } }", { ids: wave });
        return answer.errors === undefined;
      } catch {
        return false;
      }
    },
    { withinMs: patienceMs },
  );
  if (!heard) throw new Error("a wave was asked for again and again, and never heard");
}

/** How many invoices are in each state that is no end. */
async function unfinished({ client }: Member): Promise<Record<string, number>> {
  const states = ["NOT_SYNCED", "QUEUED", "SYNCING", "UNCERTAIN"];
  const fields = states.map(
    (state) => `${state}: invoices(first: 1, filter: { syncStatus: [${state}] }) { totalCount }`,
  );
  const answer = await client.ask<Record<string, { totalCount: number }>>(`{ ${fields.join(" ")} }`);
  const found = Object.entries(answer).map(([state, { totalCount }]) => [state, totalCount] as const);
  return Object.fromEntries(found.filter(([, count]) => count > 0));
}

async function callsSeen(rig: Rig): Promise<number> {
  const { counts } = await rig.look<{ counts: Record<string, number> }>("calls?path=^$");
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

function judged(
  rig: Rig,
  options: OrdealOptions,
  seen: {
    storm: Storm;
    faults: Record<string, number>;
    inStorm: number;
    inAll: number;
    drainMs: number;
    stormMs: number;
    verdict: Verdict;
  },
): Ordeal {
  const { storm, faults, drainMs, verdict } = seen;
  const { doubled, untold } = verdict;
  const { complaints, deaths } = rig.health();
  const reasons: string[] = [];
  if (options.break === "none") {
    reasons.push(...verdict.reasons);
    if (drainMs > drainedWithinMs) reasons.push(`not drained ${drainedWithinMs / 1000} s after the last fault`);
    if (seen.inStorm < storm.planned / 2) reasons.push("the storm found little in hand: it says nothing");
    if (deaths > 0) reasons.push(`${deaths} processes of the service ended by themselves`);
    reasons.push(...complaints.filter(({ fatal }) => fatal).map(({ msg }) => `a process said: ${msg}`));
    const expected = mayDouble(options);
    if (!expected && doubled.length > 0) reasons.push(`${doubled.length} doubles: ${doubled.slice(0, 5).join(", ")}`);
    if (expected && untold.length > 0) reasons.push(`${untold.length} doubles without an alert: ${untold.join(", ")}`);
  } else if (doubled.length === 0) {
    reasons.push(`no doubles though the ${options.break} was switched off: this could not fail`);
  }
  const said = new Map<string, number>();
  for (const { msg, reason } of complaints) said.set(`${msg} ${reason}`, (said.get(`${msg} ${reason}`) ?? 0) + 1);
  const figures: Ordeal["figures"] = [
    ["invoices", verdict.invoices],
    ["runs", verdict.runs],
    ["storm", `${(seen.stormMs / 1000).toFixed(0)} s`],
    ["kill -9", storm.told.kills],
    ["stops past the lease", storm.told.stops],
    ["immediate restarts of the database", storm.told.restarts],
    ...Object.entries(faults).map(([fault, hits]): [string, number] => [`calls hit by ${fault}`, hits]),
    ["calls in the storm", seen.inStorm],
    ["calls in all, and as runs count them", `${seen.inAll}, ${verdict.xeroCalls}`],
    ["adopted", verdict.adopted],
    ["doubles", doubled.length],
    ["doubles without an alert", untold.length],
    ["drained after", `${(drainMs / 1000).toFixed(1)} s`],
    ...[...said].map(([words, times]): [string, string] => ["a process said", `${words} (${times} times)`]),
  ];
  return { reasons, figures, verdict };
}
