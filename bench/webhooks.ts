/**
 * `npm run bench:webhooks`: what the webhook door takes beside a bare receiver that does the least there is to do, in turns on one database; and
 * whether all that it answered 200 took effect though it was killed again and again. See bench/README.md.
 */
import { randomUUID } from "node:crypto";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { z } from "zod";
import { Line, signedDelivery } from "./deliveries.js";
import { killDoor, outOfTheWay } from "./killedDoor.js";
import { type Rig, withRig } from "./rig.js";
import { Progress, table } from "./terminal.js";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "2" },
    rounds: { type: "string", default: "12" },
    connections: { type: "string", default: "32" },
    deliveries: { type: "string", default: "1000" },
    kills: { type: "string", default: "50" },
    seed: { type: "string", default: "1" },
  },
});

const count = z.coerce.number().int().positive();
const asked = z
  .object({
    seconds: count.max(60),
    rounds: count.max(100),
    connections: count.max(200),
    deliveries: count.max(50_000),
    kills: count.max(1_000),
    seed: count,
  })
  .safeParse(values);

type Price = Record<"seconds" | "rounds" | "connections", number>;

/** Of what the bare receiver takes. */
const leastShare = 0.8;

/** Of a process that has done nothing before, until its code is compiled. */
const warmUpMs = 2_000;

/** More than anything here takes in a second, for the first deliveries; later it is known. */
const mostPerSecond = 20_000;

interface Round {
  perSecond: number;
  /** How long each answer took, in ms. */
  tookMs: number[];
}

interface Receiver {
  name: string;
  url: string;
  rounds: Round[];
}

/** Posts on all connections at once, each the next delivery as soon as the last was answered, until the time or the deliveries are over. */
async function round(url: string, deliveries: Buffer[], connections: number, forMs: number): Promise<Round> {
  const lines = Array.from({ length: connections }, () => new Line(url));
  const tookMs: number[] = [];
  let next = 0;
  const started = performance.now();
  await Promise.all(
    lines.map(async (line) => {
      for (let sent = performance.now(); sent - started < forMs; sent = performance.now()) {
        const delivery = deliveries[next++];
        if (!delivery) break;
        const status = await line.post(delivery);
        if (status !== 200) throw new Error(`a delivery was answered ${status}`);
        tookMs.push(performance.now() - sent);
      }
    }),
  );
  const perSecond = tookMs.length / ((performance.now() - started) / 1000);
  for (const line of lines) line.close();
  return { perSecond, tookMs };
}

/** The bare receiver as a process of its own, which ends with this one. */
async function startBare(rig: Rig): Promise<{ url: string; process: ChildProcess }> {
  const main = fileURLToPath(new URL("bareReceiver.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", main], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { PATH: process.env["PATH"], DATABASE_URL: rig.cluster?.url, WEBHOOK_KEY: rig.sandbox.address.webhookKey },
  });
  const failed = once(child, "exit").then(() => Promise.reject(new Error("the bare receiver did not start")));
  const [url] = (await Promise.race([once(createInterface({ input: child.stdout }), "line"), failed])) as [string];
  failed.catch(() => undefined);
  return { url, process: child };
}

/** Has both take deliveries in turns; prints how fast they were, and answers why that is not enough. */
async function price(rig: Rig, { seconds, rounds, connections }: Price): Promise<string[]> {
  const progress = new Progress();
  const { tenantId } = await rig.addMember("door");
  const key = rig.sandbox.address.webhookKey;
  const sign = (count: number): Buffer[] =>
    Array.from({ length: count }, () => signedDelivery(key, { tenantId, resourceId: randomUUID(), at: new Date() }));
  const bare = await startBare(rig);
  const ours: Receiver = { name: "the service", url: rig.api.url, rounds: [] };
  const theirs: Receiver = { name: "a bare receiver", url: bare.url, rounds: [] };
  try {
    let best = 0;
    const play = async (receiver: Receiver, deliveries: Buffer[], forMs: number): Promise<Round> => {
      const done = await round(receiver.url, deliveries, connections, forMs);
      best = Math.max(best, done.perSecond);
      return done;
    };
    progress.show("warming up");
    for (const receiver of [ours, theirs]) await play(receiver, sign((mostPerSecond * warmUpMs) / 1000), warmUpMs);
    for (let number = 1; number <= rounds; number += 1) {
      const deliveries = sign(Math.ceil(2 * best * seconds));
      // Each first as often as second, so that the machine's moods fall on both.
      for (const receiver of number % 2 === 1 ? [ours, theirs] : [theirs, ours]) {
        progress.show(`round ${number} of ${rounds}: ${receiver.name}`);
        receiver.rounds.push(await play(receiver, deliveries, seconds * 1000));
      }
    }
  } finally {
    bare.process.kill();
  }
  progress.end();
  const ratios = ours.rounds.map(({ perSecond }, index) => perSecond / (theirs.rounds[index]?.perSecond ?? NaN));
  const share = quantile(ratios, 0.5);
  console.log(
    table([
      [`on ${connections} connections`, "deliveries a second", "of a round", "median ms", "p99 ms"],
      ...[ours, theirs].map(row),
      ["ratio, pair by pair", share.toFixed(2), range(ratios, 2)],
    ]),
  );
  return share >= leastShare
    ? []
    : [`the service takes ${share.toFixed(2)} of what a bare receiver does, and should at least ${leastShare}`];
}

function row({ name, rounds }: Receiver): string[] {
  const perSecond = rounds.map((done) => done.perSecond);
  const tookMs = rounds.flatMap((done) => done.tookMs);
  return [
    name,
    quantile(perSecond, 0.5).toFixed(0),
    range(perSecond, 0),
    quantile(tookMs, 0.5).toFixed(1),
    quantile(tookMs, 0.99).toFixed(1),
  ];
}

function range(list: number[], digits: number): string {
  return `${Math.min(...list).toFixed(digits)} to ${Math.max(...list).toFixed(digits)}`;
}

/** What so large a share of the list does not exceed; of an even number the middle is the lower one. */
function quantile(list: number[], share: number): number {
  return [...list].sort((a, b) => a - b)[Math.ceil(list.length * share) - 1] ?? NaN;
}

if (asked.success) {
  const options = asked.data;
  await withRig({ workers: 0 }, (rig) => price(rig, options));
  await withRig({ workers: 1, switches: outOfTheWay }, async (rig) => {
    const progress = new Progress();
    const { reasons, figures } = await killDoor(rig, { ...options, invoices: 100 }, (line) => progress.show(line));
    progress.end();
    console.log(`\n${table(figures.map((row) => row.map(String)))}`);
    return reasons;
  });
} else {
  for (const { path, message } of asked.error.issues) console.error(`--${path.join(".")}: ${message}`);
  process.exitCode = 2;
}
