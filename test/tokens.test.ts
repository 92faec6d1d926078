/**
 * Tokens that never get lost and never get out: one refresh per expiry whoever asks for it, what a killed process or a lost answer left is
 * mended with the old token, a dead grant ends in two calls, and what is stored can be read with its key and in its row only.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "@jest/globals";
import pg from "pg";
import { pino } from "pino";
import { type Answer, type GraphqlClient } from "../demo/graphqlClient.js";
import { consent } from "../demo/setUp.js";
import { startSandbox } from "../sandbox/Sandbox.js";
import { startApp } from "../src/app.js";
import { readConfig } from "../src/config.js";
import { createLogger } from "../src/logger.js";
import { Vault } from "../src/xero/Vault.js";
import {
  runSql,
  saveInvoice,
  saveParticipant,
  syncedInvoice,
  syncInvoice,
  syncStory,
  untilSync,
} from "./support/records.js";
import { secret, Service, startService } from "./support/service.js";

const onPostgres = process.env.DATABASE_URL !== undefined;
const describeProcesses = onPostgres ? describe : describe.skip;
if (!onPostgres) process.stdout.write("tokens: several processes skipped, the embedded database takes one only.\n");

/** Longer than an access token lives, and than a refresh token that was used may be used again. */
const pastExpiryMs = 31 * 60_000;
const refreshes = { path: "/connect/token$", body: "grant_type=refresh_token" };
const apiOnly = { ROLE: "api", DATABASE_URL: process.env.DATABASE_URL ?? "" };

interface Key {
  id: string;
  key: Buffer;
}

const newKey = (id: string): Key => ({ id, key: randomBytes(32) });
const inEnvironment = (keys: Key[]): string => keys.map(({ id, key }) => `${id}:${key.toString("base64")}`).join(",");

/** The environment of another process of the same service. */
function environmentOf(
  { config, sandbox, database, url }: Service,
  more: Record<string, string> = {},
): Record<string, string> {
  return {
    PATH: process.env.PATH ?? "",
    NODE_ENV: "test",
    PORT: "0",
    APP_URL: url,
    DATABASE_URL: database.url,
    DATABASE_APP_ROLE: database.appRole,
    XERO_CLIENT_ID: sandbox.clientId,
    XERO_CLIENT_SECRET: sandbox.clientSecret,
    XERO_LOGIN_URL: sandbox.url,
    XERO_IDENTITY_URL: sandbox.url,
    XERO_API_URL: sandbox.url,
    XERO_REQUEST_TIMEOUT: "5s",
    SYNC_LEASE: "10s",
    ENCRYPTION_KEYS: inEnvironment(config.encryptionKeys),
    AUTH_JWT_SECRET: secret,
    LOG_LEVEL: "silent",
    ...more,
  };
}

/** A process that calls Xero when it is told to: test/support/tokenPeer.ts. */
interface Peer {
  process: ChildProcess;
  /** Makes so many calls at once; answers what went wrong with them. */
  call: (calls: number) => Promise<string[]>;
  end: (signal?: NodeJS.Signals) => Promise<void>;
}

async function startPeer(
  service: Service,
  { workspace = "one", environment = {} }: { workspace?: string; environment?: Record<string, string> } = {},
): Promise<Peer> {
  const child = spawn("node", ["--import", "tsx", "test/support/tokenPeer.ts", workspace, "3"], {
    stdio: ["pipe", "pipe", "inherit"],
    env: environmentOf(service, environment),
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const read = async (): Promise<unknown> => {
    const line = await lines.next();
    if (line.done) throw new Error("the other process has ended");
    return JSON.parse(line.value);
  };
  expect(await read()).toBe("ready");
  return {
    process: child,
    call: async (calls) => {
      child.stdin.write(`${calls}\n`);
      return (await read()) as string[];
    },
    end: async (signal = "SIGTERM") => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exit = once(child, "exit");
      child.kill(signal);
      await exit;
    },
  };
}

/** Any call that needs Xero now. */
function callXero(client: GraphqlClient): Promise<Answer<object>> {
  return client.send<object>("mutation { refreshXeroData { enabled } }");
}

function codesOf(answers: Answer<object>[]): (string | undefined)[] {
  return answers.map(({ errors }) => errors?.[0]?.extensions.code);
}

interface TokenCall {
  at: number;
  grantType: string;
  status: number | string;
  bodySha256: string;
}

async function tokenCalls(service: Service): Promise<TokenCall[]> {
  return (await service.control<{ calls: TokenCall[] }>("calls?path=/connect/token")).calls;
}

async function apiCalls(service: Service): Promise<object[]> {
  return (await service.control<{ calls: object[] }>("calls?path=/(api.xro|connections)")).calls;
}

/** As if the time had come by our own clock. */
async function expire(service: Service): Promise<void> {
  await runSql(
    service,
    // Locked in one order, so that two that do it at once do not wait for each other.
    `WITH grants AS (SELECT xero_user_id FROM xero_grant ORDER BY 1 FOR UPDATE)
     UPDATE xero_grant g SET access_expires_at = now() FROM grants WHERE g.xero_user_id = grants.xero_user_id`,
  );
}

/** What the settings page and the alerts show of the workspace's links. */
async function standing(client: GraphqlClient): Promise<{ statuses: string[]; alerts: object[] }> {
  const answer = await client.ask<{
    organisations: { connectionStatus: string }[];
    alerts: { nodes: { kind: string }[] };
  }>(`{ organisations: xeroOrganisations { connectionStatus } alerts(state: OPEN) { nodes { kind occurrences } } }`);
  return {
    statuses: answer.organisations.map(({ connectionStatus }) => connectionStatus),
    // An invoice that could not be synced for it is told of too, and says nothing of the link.
    alerts: answer.alerts.nodes.filter(({ kind }) => kind !== "SYNC_FAILED"),
  };
}

const allWell = { statuses: ["CONNECTED"], alerts: [] };

/** Another workspace, connected by another Xero user to another organisation. */
async function connectAnother(service: Service, workspace: string): Promise<GraphqlClient> {
  const { userId } = await service.control<{ userId: string }>("users/add", { email: `${workspace}@example.com` });
  await service.control("organisations/add", { name: `Of ${workspace}` });
  await service.control("consent/next", { organisations: [`Of ${workspace}`], userId });
  const client = await service.client("admin", workspace);
  expect((await consent(client)).searchParams.get("xero")).toBe("connected");
  return client;
}

/** The same service started anew, with these keys. The one before is stopped. */
async function restart(before: Service, encryptionKeys: Key[]): Promise<Service> {
  await before.app.close();
  const config = { ...before.config, encryptionKeys };
  return new Service(await startApp(config, createLogger("silent")), before.sandbox, before.database, config);
}

interface StoredSet {
  xero_user_id: string;
  access_token: string;
  refresh_token: string;
}

function storedSets(service: Service): Promise<StoredSet[]> {
  return runSql<StoredSet>(service, "SELECT xero_user_id, access_token, refresh_token FROM xero_grant ORDER BY 1");
}

/** The ids of the keys that the stored sets are encrypted with. */
async function keysInUse(service: Service): Promise<string[]> {
  const texts = (await storedSets(service)).flatMap((set) => [set.access_token, set.refresh_token]);
  return [...new Set(texts.map((sealed) => sealed.split(":")[0] ?? ""))].sort();
}

describeProcesses("at the moment of expiry", () => {
  let service: Service;
  let client: GraphqlClient;
  let peers: Peer[];

  beforeAll(async () => {
    service = await startService({ environment: apiOnly });
    client = await service.readyClient();
    await service.control("switches", { concurrentLimit: 10_000, refreshGrace: false });
    peers = await Promise.all(Array.from({ length: 8 }, () => startPeer(service)));
  });

  afterAll(async () => {
    await Promise.all(peers.map((peer) => peer.end()));
    await service.close();
  });

  it("eight processes with 25 calls each refresh once and lose no call, in each of 50 rounds", async () => {
    const wrong: unknown[] = [];
    for (let round = 0; round < 50; round += 1) {
      await service.control("clock/advance", { ms: pastExpiryMs });
      // In every other round only Xero knows that it has expired, and says so to all of them.
      if (round % 2 === 0) await expire(service);
      await service.control("calls/clear", {});
      const failures = (await Promise.all(peers.map((peer) => peer.call(25)))).flat();
      const asked = (await tokenCalls(service)).map(({ grantType, status }) => `${grantType} ${status}`);
      if (failures.length > 0 || asked.join() !== "refresh_token 200") wrong.push({ round, asked, failures });
    }
    expect(wrong).toEqual([]);
    expect(await standing(client)).toEqual(allWell);
  }, 600_000);

  it("of a revoked grant they ask twice at most, and raise one alert", async () => {
    await service.control("clock/advance", { ms: pastExpiryMs });
    await service.control("revoke", {});
    await service.control("calls/clear", {});
    const failures = (await Promise.all(peers.map((peer) => peer.call(25)))).flat();
    expect(failures).toHaveLength(200);
    expect([...new Set(failures)]).toEqual(expect.arrayContaining([expect.stringContaining("INVALID_GRANT")]));
    const asked = (await tokenCalls(service)).map(({ status }) => status);
    expect(asked).toContain(400);
    expect(asked.length).toBeLessThanOrEqual(2);
    expect(await standing(client)).toEqual({
      statuses: ["RECONNECT_REQUIRED"],
      alerts: [{ kind: "CONNECTION_LOST", occurrences: 1 }],
    });
  });
});

describeProcesses("a refresh that a process does not finish", () => {
  /** Each connected by a Xero user of its own, so that so many processes can die at once. */
  const workspaces = ["one", "two", "three", "four"];
  let service: Service;
  let clients: GraphqlClient[];
  const peers: Peer[] = [];

  /** Their leases, twice the time a call may take, are some to wait for. */
  async function hurriedPeers(): Promise<Peer[]> {
    const environment = { XERO_REQUEST_TIMEOUT: "1500ms" };
    const started = await Promise.all(workspaces.map((workspace) => startPeer(service, { workspace, environment })));
    peers.push(...started);
    return started;
  }

  /** The peers have asked for new tokens; the answers are kept back. */
  async function midRefresh(asking: Peer[], phase: "before" | "after"): Promise<{ called: Promise<string[]>[] }> {
    await expire(service);
    await service.control("calls/clear", {});
    const times = asking.length;
    await service.control("hold", { name: "refresh", match: refreshes, phase, times });
    const called = asking.map((peer) => peer.call(1));
    for (const each of called) each.catch(() => undefined);
    await service.control("hold/await", { name: "refresh", count: times });
    return { called };
  }

  beforeAll(async () => {
    service = await startService({ environment: apiOnly });
    clients = [await service.readyClient()];
    for (const workspace of workspaces.slice(1)) clients.push(await connectAnother(service, workspace));
  });

  afterEach(async () => {
    await service.control("release", { name: "refresh" });
    await service.control("switches", { refreshGrace: true });
  });

  afterAll(async () => {
    await Promise.all(peers.map((peer) => peer.end("SIGKILL")));
    await service.close();
  });

  it("because it was killed after Xero's rotation is finished by another once the lease ran out, 20 times of 20", async () => {
    let recovered = 0;
    let next = hurriedPeers();
    for (let round = 0; round < 5; round += 1) {
      const dying = await next;
      await midRefresh(dying, "after");
      // In every other round the other waits for the refreshes already when those that are at it die.
      const waiting = round % 2 === 0 ? clients.map(callXero) : null;
      await Promise.all(dying.map((peer) => peer.end("SIGKILL")));
      const leases = await runSql<{ until: Date | null }>(service, 'SELECT lease_until AS "until" FROM xero_grant');
      const leaseEnds = leases.map(({ until }) => until?.getTime() ?? Infinity);
      next = round < 4 ? hurriedPeers() : Promise.resolve([]);
      const told = codesOf(await Promise.all(waiting ?? clients.map(callXero)));
      await service.control("release", { name: "refresh" });
      // Of each user two calls with one and the same token: the one whose answer nobody took, and the one in its place.
      const calls = await tokenCalls(service);
      const [lost, repeats] = [calls.slice(0, 4), calls.slice(4)];
      const hashes = (of: TokenCall[]): string[] => of.map(({ bodySha256 }) => bodySha256).sort();
      expect(new Set(hashes(lost)).size).toBe(4);
      expect(hashes(repeats)).toEqual(hashes(lost));
      expect(Math.min(...repeats.map(({ at }) => at))).toBeGreaterThanOrEqual(Math.min(...leaseEnds));
      expect(repeats.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
      recovered += told.filter((code) => code === undefined).length;
    }
    expect(recovered).toBe(20);
    for (const client of clients) expect(await standing(client)).toEqual(allWell);
  }, 600_000);

  it.each([
    ["refused because another was first", "before", false],
    ["answered after another was first", "after", true],
  ] as const)("in its time, and that is %s, spoils nothing", async (_how, phase, refreshGrace) => {
    const [client] = clients;
    if (!client) throw new Error("there is a client");
    const peer = await startPeer(service);
    peers.push(peer);
    await service.control("switches", { refreshGrace });
    const late = await midRefresh([peer], phase);
    await runSql(service, "UPDATE xero_grant SET lease_until = now() WHERE lease_until IS NOT NULL");
    expect(codesOf([await callXero(client)])).toEqual([undefined]);
    const stored = await storedSets(service);
    await service.control("release", { name: "refresh" });
    expect(await Promise.all(late.called)).toEqual([[]]);
    expect(await storedSets(service)).toEqual(stored);
    expect((await tokenCalls(service)).map(({ status }) => status).sort()).toEqual([200, refreshGrace ? 200 : 400]);
    expect(codesOf([await callXero(client)])).toEqual([undefined]);
    expect(await standing(client)).toEqual(allWell);
  });
});

/** What is looked after in the background comes round every second, and not only every fifteen. */
const watchful = { CONNECTION_CHECK_EVERY: "4s" };

describeProcesses("a refresh that a killed process left, and nobody asks for a token,", () => {
  let service: Service;

  beforeAll(async () => {
    service = await startService({ environment: watchful });
  });

  afterAll(() => service.close());

  it("is finished by the service itself while Xero still takes the old token", async () => {
    const client = await service.readyClient();
    await idle(service);
    const peer = await startPeer(service, { environment: { XERO_REQUEST_TIMEOUT: "1s" } });
    await expire(service);
    await service.control("calls/clear", {});
    await service.control("hold", { name: "refresh", match: refreshes, phase: "after", times: 1 });
    peer.call(1).catch(() => undefined);
    await service.control("hold/await", { name: "refresh", count: 1 });
    await peer.end("SIGKILL");
    await service.control("release", { name: "refresh" });
    await untilRepeated(service);
    await service.control("clock/advance", { ms: pastExpiryMs });
    expect(codesOf([await callXero(client)])).toEqual([undefined]);
    expect(await standing(client)).toEqual(allWell);
  });
});

/** Nothing is due of any link for a day, nor under way: what calls Xero from now on is not the daily look. */
async function idle(service: Service): Promise<void> {
  await runSql(service, "UPDATE connection SET check_due_at = now() + interval '1 day'");
  const patience = AbortSignal.timeout(20_000);
  const looks = "SELECT id FROM graphile_worker.jobs WHERE task_identifier = 'check'";
  while ((await runSql(service, looks)).length > 0) {
    if (patience.aborted) throw new Error("a daily look does not end");
    await delay(50);
  }
}

/** Waits until so many refreshes were made, all with the very token of the first. */
async function untilRepeated(service: Service, times = 2): Promise<void> {
  const patience = AbortSignal.timeout(45_000);
  let calls = await tokenCalls(service);
  while (calls.length < times && !patience.aborted) {
    await delay(200);
    calls = await tokenCalls(service);
  }
  expect(calls.map(({ bodySha256 }) => bodySha256)).toEqual(Array.from({ length: times }, () => calls[0]?.bodySha256));
}

describe("a refresh whose answer was lost", () => {
  let service: Service;
  let client: GraphqlClient;

  beforeAll(async () => {
    service = await startService();
    client = await service.readyClient();
    await idle(service);
  });

  beforeEach(async () => {
    await expire(service);
    await service.control("calls/clear", {});
    await service.control("faults", { match: refreshes, fault: "lost-answer" });
  });

  afterAll(() => service.close());

  it("is repeated with the old token by the next call", async () => {
    expect(codesOf([await callXero(client)])).toEqual(["XERO_UNAVAILABLE"]);
    expect(codesOf([await callXero(client)])).toEqual([undefined]);
    const calls = await tokenCalls(service);
    expect(calls.map(({ status }) => status)).toEqual(["no answer", 200]);
    expect(calls[1]?.bodySha256).toBe(calls[0]?.bodySha256);
    expect(await standing(client)).toEqual(allWell);
  });

  it("does not keep an invoice from arriving, once", async () => {
    const invoice = await syncedInvoice(client);
    expect([invoice.syncStatus, invoice.syncError]).toEqual(["SYNCED", null]);
    const calls = await tokenCalls(service);
    expect(calls.map(({ status }) => status)).toEqual(["no answer", 200]);
    const sent = await service.control<{ Reference?: string }[]>("invoices");
    expect(sent.filter(({ Reference }) => Reference === invoice.number)).toHaveLength(1);
  });

  it("leaves no doubt about an invoice, which was not sent yet", async () => {
    await service.control("faults/clear", {});
    const { id: participantId } = await saveParticipant(client);
    await syncedInvoice(client, { participantId });
    await expire(service);
    await service.control("faults", { match: refreshes, fault: "lost-answer" });
    const { id } = await saveInvoice(client, { participantId });
    await syncInvoice(client, id);
    const story = await syncStory(client, id, "SYNCED", "FAILED");
    expect(story).not.toContain("UNCERTAIN");
    expect(story.at(-1)).toBe("SYNCED");
    expect(await service.control("faults")).toMatchObject([{ hits: 1 }]);
  });
});

describe("a refresh whose answer was lost, and nobody calls,", () => {
  let service: Service;
  let client: GraphqlClient;

  beforeAll(async () => {
    service = await startService({ environment: watchful });
    client = await service.readyClient();
    await idle(service);
  });

  beforeEach(async () => {
    await service.control("faults/clear", {});
    await expire(service);
    await service.control("calls/clear", {});
    await service.control("faults", { match: refreshes, fault: "lost-answer" });
  });

  afterAll(() => service.close());

  it("is repeated in time", async () => {
    expect(codesOf([await callXero(client)])).toEqual(["XERO_UNAVAILABLE"]);
    await untilRepeated(service);
    await service.control("clock/advance", { ms: pastExpiryMs });
    expect(codesOf([await callXero(client)])).toEqual([undefined]);
    expect(await standing(client)).toEqual(allWell);
  });

  it("is repeated until it succeeds, whatever Xero says meanwhile", async () => {
    const wait = { fault: "429-minute", retryAfterSeconds: 1 };
    for (const fault of [wait, { fault: "503-maintenance" }, wait]) {
      await service.control("faults", { match: refreshes, ...fault });
    }
    expect(codesOf([await callXero(client)])).toEqual(["XERO_UNAVAILABLE"]);
    await untilRepeated(service, 5);
    await service.control("clock/advance", { ms: pastExpiryMs });
    expect(codesOf([await callXero(client)])).toEqual([undefined]);
    expect(await standing(client)).toEqual(allWell);
  });

  it("and is too old when it is repeated, is told at once", async () => {
    await service.control("switches", { refreshGrace: false });
    expect(codesOf([await callXero(client)])).toEqual(["XERO_UNAVAILABLE"]);
    const patience = AbortSignal.timeout(45_000);
    while ((await standing(client)).statuses[0] === "CONNECTED" && !patience.aborted) await delay(200);
    expect(await standing(client)).toEqual({
      statuses: ["RECONNECT_REQUIRED"],
      alerts: [{ kind: "CONNECTION_LOST", occurrences: 1 }],
    });
    expect(await tokenCalls(service)).toHaveLength(2);
  });
});

describe("a grant that was revoked", () => {
  let service: Service;
  let one: GraphqlClient;
  let two: GraphqlClient;
  let others: GraphqlClient;
  let userId: string;

  beforeAll(async () => {
    service = await startService();
    one = await service.readyClient("one");
    const [first] = await storedSets(service);
    userId = first?.xero_user_id ?? "";
    others = await connectAnother(service, "three");
    two = await service.client("admin", "two");
  });

  beforeEach(async () => {
    for (const client of [one, two]) {
      await service.control("consent/next", { organisations: ["Demo Company (AU)"], userId });
      expect((await consent(client)).searchParams.get("xero")).toBe("connected");
      expect(await standing(client)).toEqual(allWell);
    }
    await idle(service);
    await service.control("calls/clear", {});
  });

  afterAll(() => service.close());

  it.each([
    ["the token has expired by our own clock", expire],
    ["Xero says so", () => service.control("clock/advance", { ms: pastExpiryMs })],
  ])("costs two token calls at most when %s, however many want one, and one alert per workspace", async (_how, end) => {
    const invoice = await saveInvoice(one);
    await service.control("revoke", { userId });
    await end(service);
    await syncInvoice(one, invoice.id);
    const told = await Promise.all(Array.from({ length: 25 }, (_, index) => callXero(index % 2 ? one : two)));
    expect(codesOf(told)).toEqual(Array.from({ length: 25 }, () => "XERO_NOT_CONNECTED"));
    const lost = { statuses: ["RECONNECT_REQUIRED"], alerts: [{ kind: "CONNECTION_LOST", occurrences: 1 }] };
    expect(await standing(one)).toEqual(lost);
    expect(await standing(two)).toEqual(lost);
    const failed = await untilSync(one, invoice.id, "FAILED", "SYNCED");
    expect(failed.syncError?.code).toBe("RECONNECT_REQUIRED");

    const asked = (await tokenCalls(service)).map(({ status }) => status);
    expect(asked).toContain(400);
    expect(asked.length).toBeLessThanOrEqual(2);

    await service.control("calls/clear", {});
    await Promise.all(Array.from({ length: 25 }, (_, index) => callXero(index % 2 ? one : two)));
    expect([await tokenCalls(service), await apiCalls(service)]).toEqual([[], []]);
    expect([await standing(one), await standing(two)]).toEqual([lost, lost]);
    expect(codesOf([await callXero(others)])).toEqual([undefined]);
    expect(await standing(others)).toEqual(allWell);
  });
});

describe("stored tokens", () => {
  let service: Service;
  let one: GraphqlClient;
  let two: GraphqlClient;
  const log: string[] = [];
  /** Everything secret that Xero gave out, as it came over the wire. */
  const issued = new Set<string>();
  const honestFetch = globalThis.fetch;

  beforeAll(async () => {
    globalThis.fetch = async (input, init) => {
      const response = await honestFetch(input, init);
      const { pathname } = new URL(input instanceof Request ? input.url : input);
      if (pathname === "/connect/token" && response.ok) {
        const tokens = (await response.clone().json()) as Record<string, unknown>;
        for (const name of ["access_token", "refresh_token", "id_token"]) {
          if (typeof tokens[name] === "string") issued.add(tokens[name]);
        }
      }
      const code = URL.canParse(response.headers.get("location") ?? "")
        ? new URL(response.headers.get("location") ?? "").searchParams.get("code")
        : null;
      if (code !== null) issued.add(code);
      return response;
    };
    service = await startService({ logger: pino({ level: "trace" }, { write: (line) => void log.push(line) }) });
    one = await service.readyClient();
    two = await connectAnother(service, "two");
    await idle(service);
    // What Xero would announce of the invoices here is nobody's call.
    await service.control("webhooks", { categories: [] });
  });

  beforeEach(async () => {
    await service.control("calls/clear", {});
  });

  afterAll(async () => {
    globalThis.fetch = honestFetch;
    await service.close();
  });

  it("are in no row of the database that anybody could read, in no form", async () => {
    const dumps = [await dumpOf(service)];
    // With a refresh under way, and with an invoice and its job under way.
    await expire(service);
    await service.control("hold", { name: "refresh", match: refreshes, phase: "after", times: 1 });
    const called = callXero(one);
    await service.control("hold/await", { name: "refresh", count: 1 });
    dumps.push(await dumpOf(service));
    await service.control("hold", { name: "sync", match: { method: "PUT", path: "/Invoices$" }, phase: "before" });
    await service.control("release", { name: "refresh" });
    expect(codesOf([await called])).toEqual([undefined]);
    const invoice = await saveInvoice(one);
    await syncInvoice(one, invoice.id);
    await service.control("hold/await", { name: "sync", count: 1 });
    dumps.push(await dumpOf(service));
    await service.control("release", { name: "sync" });
    expect((await untilSync(one, invoice.id, "SYNCED", "FAILED")).syncStatus).toBe("SYNCED");
    dumps.push(await dumpOf(service));

    const dump = dumps.join("\n");
    expect(dump).toContain(invoice.number);
    expect(dump).toMatch(/graphile_worker\._private_jobs\n\(/);
    // Two codes, two consents and a refresh: nine tokens. The sets that are stored are among them.
    expect(issued.size).toBeGreaterThanOrEqual(11);
    const vault = new Vault(service.config.encryptionKeys);
    for (const set of await storedSets(service)) {
      for (const column of ["access_token", "refresh_token"] as const) {
        expect(issued).toContain(vault.decrypt(set[column], `xero_grant/${set.xero_user_id}/${column}`));
      }
    }
    for (const token of issued) expect(formsIn(dump, token)).toEqual([]);
  });

  it("would be found in a dump in any of the forms", () => {
    const [token = ""] = issued;
    const json = JSON.stringify({ some: "thing", token });
    for (const [form, written] of [
      ["plain", json],
      ["URL", encodeURIComponent(json)],
      ["base64", Buffer.from(json).toString("base64")],
      ["base64", Buffer.from(`.${json}`).toString("base64")],
      ["base64", Buffer.from(`..${json}`).toString("base64")],
      ["base64url", Buffer.from(json).toString("base64url")],
      ["hex", `\\x${Buffer.from(json).toString("hex")}`],
      ["hex", Buffer.from(json).toString("hex").toUpperCase()],
      ["percent", percentEncoded(json)],
    ] as const) {
      expect([form, formsIn(written, token).length > 0]).toEqual([form, true]);
    }
  });

  const swaps = [
    [
      "another row",
      `UPDATE xero_grant a SET access_token = b.access_token, refresh_token = b.refresh_token
       FROM xero_grant b WHERE a.xero_user_id <> b.xero_user_id`,
    ],
    ["the other column", "UPDATE xero_grant SET access_token = refresh_token, refresh_token = access_token"],
  ] as const;

  it.each(swaps.flatMap(([where, swap]) => [false, true].map((expired) => [where, expired, swap] as const)))(
    "moved to %s (expired: %s) do not decrypt: nobody's call goes out with another's, and the client is told",
    async (_where, expired, swap) => {
      const invoice = await saveInvoice(one);
      const before = await storedSets(service);
      if (expired) await expire(service);
      await runSql(service, swap);
      expect(await storedSets(service)).not.toEqual(before);
      try {
        const told = await Promise.all([one, two, one, two].map(callXero));
        expect(codesOf(told)).toEqual(Array.from({ length: 4 }, () => "XERO_UNAVAILABLE"));
        await syncInvoice(one, invoice.id);
        const failed = await untilSync(one, invoice.id, "FAILED", "SYNCED");
        expect(failed.syncError).toMatchObject({ code: "INTERNAL", retryable: false });
        expect(failed.syncError?.resolution).toContain("ENCRYPTION_KEYS");
        expect([await tokenCalls(service), await apiCalls(service)]).toEqual([[], []]);
      } finally {
        await runSql(service, swap);
      }
      expect(await storedSets(service)).toEqual(before);
      expect(codesOf(await Promise.all([one, two].map(callXero)))).toEqual([undefined, undefined]);
      expect([await standing(one), await standing(two)]).toEqual([allWell, allWell]);
      await syncInvoice(one, invoice.id);
      expect((await untilSync(one, invoice.id, "SYNCED")).syncStatus).toBe("SYNCED");
    },
  );

  it("are in no line of the log, at any level", () => {
    const logged = log.join("\n");
    expect(logged).toContain("MISCONFIGURED");
    expect(logged).toContain("xero_grant");
    for (const token of issued) expect(formsIn(logged, token)).toEqual([]);
  });
});

describe("encryption keys", () => {
  const old = newKey("old");
  const next = newKey("new");
  let service: Service;

  beforeAll(async () => {
    service = await startService({ environment: { ENCRYPTION_KEYS: inEnvironment([old]) } });
    await service.readyClient("one");
    service = await restart(service, [next, old]);
    await connectAnother(service, "two");
    expect(await keysInUse(service)).toEqual(["new", "old"]);
    await service.app.close();
  });

  afterAll(() => service.close());

  const other = (id: string): Key => newKey(id);

  it.each([
    ["with other bytes under an older one's id", [next, other("old")], /another key under old than/],
    ["with other bytes under the first one's id", [other("new"), old], /another key under new than/],
    ["without the older one", [next], /lacks the key old\b/],
    ["without the newer one", [old], /lacks the key new\b/],
    ["of which none was ever used", [other("third")], /(?=.*\bold\b)(?=.*\bnew\b)/],
    ["with other bytes under both ids", [other("new"), other("old")], /(?=.*\bold\b)(?=.*\bnew\b)/],
  ])("%s stop the start, which names the key and tells no secret", async (_name, encryptionKeys, words) => {
    const failure: unknown = await startApp({ ...service.config, encryptionKeys }, createLogger("silent")).then(
      async (app) => app.close(),
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(Error);
    const { message } = failure as Error;
    expect(message).toMatch(words);
    expect(message).toContain("ENCRYPTION_KEYS");
    for (const { key } of [...encryptionKeys, old, next]) {
      for (const form of ["base64", "base64url", "hex"] as const) {
        expect(message).not.toContain(key.toString(form).slice(0, 20));
      }
    }
    for (const { access_token, refresh_token } of await storedSets(service)) {
      for (const sealed of [access_token, refresh_token]) {
        expect(message).not.toContain(sealed.slice(sealed.indexOf(":") + 1).slice(0, 20));
      }
    }
  });

  it("with the right ones added start, and everything works", async () => {
    service = await restart(service, [other("third"), old, next]);
    for (const workspace of ["one", "two"]) {
      const client = await service.client("admin", workspace);
      expect(codesOf([await callXero(client)])).toEqual([undefined]);
      await expire(service);
      expect(codesOf([await callXero(client)])).toEqual([undefined]);
      expect(await standing(client)).toEqual(allWell);
    }
    expect(await keysInUse(service)).toEqual(["third"]);
  });
});

/** `npm run rotate-keys`, from the sources. */
async function rotateKeys(environment: Record<string, string>): Promise<{ code: unknown; said: string }> {
  const child = spawn("node", ["--import", "tsx", "src/rotateKeys.ts"], { env: environment });
  const exit = once(child, "exit");
  const said = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [code] = (await exit) as [number | null];
  return { code, said: said.join("") };
}

/** Waits until so many sessions wait for somebody's lock. */
async function untilWaiting(service: Service, sessions: number): Promise<void> {
  const patience = AbortSignal.timeout(30_000);
  for (;;) {
    const waiting = await runSql(
      service,
      "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    );
    if (waiting.length === sessions) return;
    if (patience.aborted) throw new Error(`${waiting.length} sessions wait for a lock, not ${sessions}`);
    await delay(50);
  }
}

describeProcesses("npm run rotate-keys", () => {
  const old = newKey("old");
  const next = newKey("new");
  let service: Service;

  beforeAll(async () => {
    // A refresh is held up for as long as the program takes.
    const patient = { XERO_REQUEST_TIMEOUT: "60s", SYNC_LEASE: "90s" };
    service = await startService({ environment: { ...apiOnly, ...patient, ENCRYPTION_KEYS: inEnvironment([old]) } });
    await service.readyClient("one");
    await connectAnother(service, "two");
    await connectAnother(service, "three");
    await service.control("switches", { refreshGrace: false });
  });

  afterAll(() => service.close());

  it("encrypts anew under load, and no call fails", async () => {
    service = await restart(service, [next, old]);
    expect(await keysInUse(service)).toEqual(["old"]);
    const clients = await Promise.all(["one", "two", "three"].map((workspace) => service.client("admin", workspace)));
    const [held] = clients;
    if (!held) throw new Error("there is a client");
    const stop = new AbortController();
    const presses: Promise<void>[] = [];
    const failures: unknown[] = [];
    let calls = 0;

    /** Presses one after the other until told to stop, after a refresh each where it is wanted. */
    async function press(client: GraphqlClient, refreshing: boolean): Promise<void> {
      while (!stop.signal.aborted) {
        if (refreshing) await expire(service);
        const { errors } = await callXero(client);
        calls += 1;
        if (errors) failures.push(errors);
      }
    }

    try {
      // The first user's refresh, begun with the old key, lasts longer than the rotation.
      await service.control("calls/clear", {});
      await expire(service);
      await service.control("hold", { name: "refresh", match: refreshes, phase: "after", times: 1 });
      const waiting = callXero(held);
      await service.control("hold/await", { name: "refresh", count: 1 });
      await runSql(service, "UPDATE xero_grant SET access_expires_at = now() + interval '1 h' WHERE lease_id IS NULL");
      presses.push(...clients.slice(1).map((client) => press(client, false)));
      const first = await rotateKeys(environmentOf(service));
      expect(first).toMatchObject({ code: 0, said: expect.stringContaining("3 token sets were encrypted anew") });
      expect(await keysInUse(service)).toEqual(["new"]);
      await service.control("release", { name: "refresh" });
      expect((await waiting).errors).toBeUndefined();
      expect(await keysInUse(service)).toEqual(["new"]);

      // There and back again, while every call refreshes.
      presses.push(...clients.map((client) => press(client, true)));
      for (const encryptionKeys of [
        [old, next],
        [next, old],
      ]) {
        const turned = await rotateKeys(environmentOf(service, { ENCRYPTION_KEYS: inEnvironment(encryptionKeys) }));
        expect(turned).toMatchObject({ code: 0 });
      }
    } finally {
      stop.abort();
      await service.control("release", { name: "refresh" });
      await Promise.all(presses);
    }
    expect(failures).toEqual([]);
    expect(calls).toBeGreaterThan(20);
    const asked = await tokenCalls(service);
    expect(asked.length).toBeGreaterThan(10);
    expect(asked.filter(({ status }) => status !== 200)).toEqual([]);
    expect(await keysInUse(service)).toEqual(["new"]);

    service = await restart(service, [next]);
    for (const workspace of ["one", "two", "three"]) {
      const client = await service.client("admin", workspace);
      await expire(service);
      expect(codesOf([await callXero(client)])).toEqual([undefined]);
      expect(await standing(client)).toEqual(allWell);
    }
  }, 300_000);

  it("leaves a set alone that was refreshed after it had looked", async () => {
    const third = newKey("third");
    service = await restart(service, [next, third]);
    const client = await service.client("admin", "one");
    await expire(service);
    await service.control("hold", { name: "refresh", match: refreshes, phase: "after", times: 1 });
    const called = callXero(client);
    await service.control("hold/await", { name: "refresh", count: 1 });
    const lock = new pg.Client(service.database.url);
    await lock.connect();
    try {
      // Both now wait to write to the row: first the refresh, then the program, which has read the older set.
      await lock.query("BEGIN; SELECT 1 FROM xero_grant FOR UPDATE");
      await service.control("release", { name: "refresh" });
      await untilWaiting(service, 1);
      const turned = rotateKeys(environmentOf(service, { ENCRYPTION_KEYS: inEnvironment([third, next]) }));
      await untilWaiting(service, 2);
      await lock.query("COMMIT");
      expect(await turned).toMatchObject({ code: 0 });
    } finally {
      await lock.end();
    }
    expect(codesOf([await called])).toEqual([undefined]);
    expect(await keysInUse(service)).toEqual(["third"]);
    await expire(service);
    expect(codesOf([await callXero(client)])).toEqual([undefined]);
    expect(await standing(client)).toEqual(allWell);
  });

  it("says so and changes nothing when a key is missing or wrong", async () => {
    const before = await storedSets(service);
    for (const encryptionKeys of [[newKey("fourth")], [newKey("fourth"), newKey("third"), newKey("new")]]) {
      const environment = environmentOf(service, { ENCRYPTION_KEYS: inEnvironment(encryptionKeys) });
      const { code, said } = await rotateKeys(environment);
      expect(code).toBe(1);
      expect(said).toMatch(/3 token sets could not be read with these keys/);
      expect(await storedSets(service)).toEqual(before);
    }
  });
});

(onPostgres ? describe.skip : describe)("npm run rotate-keys on the embedded database", () => {
  let dataDir: string;

  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), "tokens-"));
  });

  afterAll(() => rm(dataDir, { recursive: true, force: true }));

  it("waits for nobody while the service has the folder, and encrypts anew once it is stopped", async () => {
    const [old, next] = [newKey("old"), newKey("new")];
    const sandbox = await startSandbox();
    const none = { url: "", embedded: true, appRole: "ledgerline_app", drop: () => Promise.resolve() };
    const environment = (keys: Key[]): Record<string, string> => {
      const { DATABASE_URL: _none, ...rest } = environmentOf(
        { config: { encryptionKeys: keys }, sandbox, database: none, url: "http://localhost:1" } as unknown as Service,
        { DATA_DIR: dataDir, XERO_WEBHOOK_KEYS: sandbox.webhookKey },
      );
      return rest;
    };
    const start = async (keys: Key[]): Promise<Service> => {
      const config = readConfig(environment(keys));
      return new Service(await startApp(config, createLogger("silent")), sandbox, none, config);
    };
    try {
      const service = await start([old]);
      await service.readyClient();
      const refused = await rotateKeys(environment([next, old]));
      expect(refused.code).toBe(1);
      expect(refused.said).toMatch(/in use|another process|pid/i);
      expect(codesOf([await callXero(await service.client())])).toEqual([undefined]);
      await service.app.close();

      const turned = await rotateKeys(environment([next, old]));
      expect(turned).toMatchObject({ code: 0, said: expect.stringContaining("1 token sets were encrypted anew") });
      await expect(start([old])).rejects.toThrow(/lacks the key new\b/);
      const again = await start([next]);
      const client = await again.client();
      expect(codesOf([await callXero(client)])).toEqual([undefined]);
      expect(await standing(client)).toEqual(allWell);
      await again.app.close();
    } finally {
      await sandbox.close();
    }
  }, 120_000);
});

/** Every row of every table of every schema, as text. */
async function dumpOf(service: Service): Promise<string> {
  const tables = await runSql<{ name: string }>(
    service,
    `SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables
     WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')`,
  );
  expect(tables.map(({ name }) => name)).toEqual(
    expect.arrayContaining(["public.xero_grant", "public.consent", "graphile_worker._private_jobs"]),
  );
  const texts = await Promise.all(
    tables.map(async ({ name }) => {
      const rows = await runSql<{ whole: string }>(service, `SELECT t::text AS whole FROM ${name} t`);
      return [name, ...rows.map(({ whole }) => whole)].join("\n");
    }),
  );
  return texts.join("\n");
}

function percentEncoded(plain: string): string {
  return Buffer.from(plain)
    .toString("hex")
    .replaceAll(/../g, (byte) => `%${byte}`);
}

/** The forms in which a telling part of the token stands in the text: base64 at whichever offset, hex and URL form in either case. */
function formsIn(haystack: string, token: string): string[] {
  const folded = haystack.toLowerCase();
  // A JWT's head is everybody's; its claims and its signature are its own.
  const parts = token
    .split(".")
    .filter((_part, index, all) => all.length === 1 || index > 0)
    .flatMap((part) => [part.slice(1, 25), part.slice(-25, -1)]);
  return parts.flatMap((part) => {
    const bytes = Buffer.from(part);
    const found: [string, boolean][] = [
      ["plain", haystack.includes(part)],
      ["URL", haystack.includes(encodeURIComponent(part))],
      ["hex", folded.includes(bytes.toString("hex"))],
      ["percent", folded.includes(percentEncoded(part))],
      ...[0, 1, 2].flatMap((offset) =>
        (["base64", "base64url"] as const).map((form): [string, boolean] => {
          const encoded = Buffer.concat([Buffer.alloc(offset), bytes]).toString(form);
          // What its neighbours have a share in is cut off at both ends.
          return [form, haystack.includes(encoded.slice(offset > 0 ? 4 : 0, -4))];
        }),
      ),
    ];
    return found.flatMap(([form, here]) => (here ? [form] : []));
  });
}
