/**
 * Links that nobody looks at: a light call notices that one is lost; one that nobody uses is warned of, then ended, unless somebody uses it
 * after all or the workspace wants it kept. And the list of alerts, which tells of both.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import {
  alertsOf,
  alertStates,
  apiCalls,
  atXero,
  callBack,
  callsOf,
  consentTo,
  disconnect,
  expireToken,
  idle,
  killGrant,
  type Link,
  newLink,
  organisations,
  stateOf,
  statusStory,
  unconnected,
  until,
  untilAlerts,
  untilEnded,
  untilStatus,
  update,
} from "./support/links.js";
import { readInvoice, runSql, syncedInvoice, syncInvoice, untilPaid } from "./support/records.js";
import { type Service, startService } from "./support/service.js";

const day = 86_400_000;

let service: Service;

beforeAll(async () => {
  // Links are looked after every quarter of a second and called every second; the periods are the real ones, and days pass by statement.
  service = await startService({ environment: { CONNECTION_CHECK_EVERY: "1s" } });
});

afterAll(() => service.close());

/** Days until the link is ended if nothing happens; null where it never is. */
async function daysLeft(link: Link): Promise<number | null> {
  const { expiresAt } = await stateOf(link);
  return expiresAt === null ? null : (Date.parse(expiresAt) - Date.now()) / day;
}

/** Once the light call was made so many times more, so that whoever looks after the links has looked at this one. */
async function untilChecked(link: Link, times = 2, statuses?: unknown[]): Promise<void> {
  const count = async () =>
    (await apiCalls(link)).filter(
      ({ path, status }) => path.endsWith("/Organisation") && (statuses?.includes(status) ?? true),
    ).length;
  const before = await count();
  await until(async () => (await count()) >= before + times);
}

const is =
  (...states: string[]) =>
  (alerts: { kind: string; state: string }[]): boolean =>
    alerts.map(({ kind, state }) => `${kind} ${state}`).join() === states.join();

describe("the light call", () => {
  afterEach(() => service.control("faults/clear", {}));

  it("notices a link that was ended in Xero", async () => {
    const link = await newLink(service, "checked", { setUp: false });
    await service.control("disconnect", { tenantId: link.tenantId });
    const lost = await untilStatus(link, "DISCONNECTED", "RECONNECT_REQUIRED");
    expect([lost.connectionStatus, await alertStates(link.client)]).toEqual(["DISCONNECTED", ["CONNECTION_LOST OPEN"]]);
  });

  it("changes nothing while Xero is down, and is made again", async () => {
    const link = await newLink(service, "xero-down", { setUp: false });
    const match = { tenant: link.tenantId, path: "/Organisation$" };
    for (const fault of ["503-unavailable", "500-before-write", "lost-answer", "429-minute"]) {
      await service.control("faults", { match, fault, ...(fault === "429-minute" && { retryAfterSeconds: 1 }) });
    }
    await until(async () => (await service.control<{ hits: number }[]>("faults")).every(({ hits }) => hits === 1));
    await untilChecked(link, 1, [200]);
    expect(await stateOf(link)).toMatchObject({ connectionStatus: "CONNECTED", statusReason: null });
    expect(await alertsOf(link.client)).toEqual([]);
    // The first change since the consent is what happens now.
    await disconnect(link);
    expect((await statusStory(link.client, { count: 2 })).map(({ status }) => status)).toEqual([
      "CONNECTED",
      "DISCONNECTED",
    ]);
  }, 30_000);

  it("notices that the consent lacks a scope by now", async () => {
    const link = await newLink(service, "scope-removed", { setUp: false });
    // As a refresh stores it whose answer names fewer.
    await runSql(
      service,
      "UPDATE xero_grant SET scopes = array_remove(scopes, 'accounting.contacts') WHERE xero_user_id = $1",
      [link.userId],
    );
    const lost = await untilStatus(link, "RECONNECT_REQUIRED");
    expect(lost).toMatchObject({ missingScopes: ["accounting.contacts"], disconnectedAt: null });
    expect(await alertStates(link.client)).toEqual(["CONNECTION_LOST OPEN"]);
  });

  it("is none while the switch is off: the token alone is kept fresh, and a dead grant noticed", async () => {
    const link = await newLink(service, "switched-off", { setUp: false });
    await update(link.client, { enabled: false });
    await service.control("calls/clear", {});
    await expireToken(link);
    await until(async () => (await callsOf(service, { path: "/connect/token" })).length > 0);
    await killGrant(link);
    expect((await untilStatus(link, "RECONNECT_REQUIRED")).statusReason).toContain("tokens");
    expect(await apiCalls(link)).toEqual([]);
    expect(await alertStates(link.client)).toEqual(["CONNECTION_LOST OPEN"]);
  });
});

describe("a link that nobody uses", () => {
  it("is warned of once after 45 days, and ended at Xero after 60, whatever is called in the background", async () => {
    const link = await newLink(service, "lapses");
    const { id } = await syncedInvoice(link.client);
    const settings = "{ integration { missingSetup salesAccount { code } paymentAccount { code } } }";
    const before = await link.client.ask(settings);
    expect(await daysLeft(link)).toBeCloseTo(60, 1);
    await idle(link, 44);
    await untilChecked(link);
    expect(await alertsOf(link.client)).toEqual([]);
    await idle(link, 46);
    const [warning] = await untilAlerts(link.client, is("CONNECTION_EXPIRING OPEN"));
    await untilChecked(link);
    expect(await alertsOf(link.client)).toEqual([warning]);
    const { connectionStatus, expiresAt } = await stateOf(link);
    expect(connectionStatus).toBe("CONNECTED");
    expect(await daysLeft(link)).toBeCloseTo(14, 1);
    expect(warning?.message).toContain(expiresAt?.slice(0, 10));
    expect(warning?.resolution).toContain("keepConnectionAlive");

    const xeroId = await atXero(link);
    await service.control("calls/clear", {});
    await idle(link, 61);
    const ended = await untilStatus(link, "DISCONNECTED_INACTIVE", "DISCONNECTED", "RECONNECT_REQUIRED");
    expect(ended).toMatchObject({ connectionStatus: "DISCONNECTED_INACTIVE", expiresAt: null });
    expect(ended.statusReason).toContain("60 days");
    expect(ended.disconnectedAt).not.toBeNull();
    await untilEnded(link);
    await until(async () => (await callsOf(service, { path: "/connect/revocation" })).length > 0);
    expect(await callsOf(service, { method: "DELETE" })).toMatchObject([{ path: `/connections/${xeroId}` }]);
    expect(await alertStates(link.client)).toEqual(["CONNECTION_EXPIRING RESOLVED", "DISCONNECTED_INACTIVE OPEN"]);
    const { errors } = await link.client.send("mutation ($id: ID!) { syncInvoice(id: $id) { id } }", { id });
    expect(errors?.[0]?.extensions.code).toBe("XERO_NOT_CONNECTED");

    await consentTo(link);
    expect(await alertStates(link.client)).toEqual(["CONNECTION_EXPIRING RESOLVED", "DISCONNECTED_INACTIVE RESOLVED"]);
    expect(await daysLeft(link)).toBeCloseTo(60, 1);
    expect(await link.client.ask(settings)).toEqual(before);
    expect((await syncedInvoice(link.client)).syncStatus).toBe("SYNCED");
    await syncInvoice(link.client, id);
    expect((await readInvoice(link.client, id)).syncAttempts.map(({ outcome }) => outcome).sort()).toEqual([
      "CREATED",
      "UNCHANGED",
    ]);
  }, 40_000);

  it("is ended at once when nobody looked for more than 60 days", async () => {
    const link = await newLink(service, "unnoticed", { setUp: false });
    await idle(link, 200);
    await untilAlerts(link.client, is("DISCONNECTED_INACTIVE OPEN"));
    await untilEnded(link);
    expect((await statusStory(link.client, { count: 2 })).map(({ status }) => status)).toEqual([
      "CONNECTED",
      "DISCONNECTED_INACTIVE",
    ]);
  });

  it("is ended too when it waits to be renewed, and of its alerts one is left", async () => {
    const link = await newLink(service, "never-renewed", { setUp: false });
    await killGrant(link);
    await link.client.send("mutation { refreshXeroData { enabled } }");
    await untilStatus(link, "RECONNECT_REQUIRED");
    await idle(link, 61);
    await untilStatus(link, "DISCONNECTED_INACTIVE");
    expect(await alertStates(link.client)).toEqual(["CONNECTION_LOST RESOLVED", "DISCONNECTED_INACTIVE OPEN"]);
  });

  it("is ended here at once and at Xero later when Xero is down", async () => {
    const link = await newLink(service, "lapses-while-down", { setUp: false });
    const match = { method: "DELETE", path: "/connections/" };
    const { id } = await service.control<{ id: string }>("faults", { match, fault: "503-maintenance", times: 50 });
    await idle(link, 61);
    await untilStatus(link, "DISCONNECTED_INACTIVE");
    await until(async () => (await callsOf(service, { method: "DELETE" })).some(({ status }) => status === 503));
    expect(await atXero(link)).toBeDefined();
    await service.control("faults/clear", { id });
    await untilEnded(link);
    expect(await alertStates(link.client)).toEqual(["DISCONNECTED_INACTIVE OPEN"]);
  }, 30_000);

  it.each<[string, (link: Link, xeroId: string | null) => Promise<unknown>]>([
    ["a sync", ({ client }) => syncedInvoice(client)],
    ["a payment in Xero", (_link, xeroId) => service.control("pay", { invoiceId: xeroId, amount: "10.00" })],
    ["a change of settings", ({ client }) => update(client, { paidTolerance: "0.05" })],
    [
      "a new choice of the organisation",
      ({ client, id }) => client.ask("mutation ($id: ID!) { selectXeroOrganisation(id: $id) { id } }", { id }),
    ],
    ["a tax rate that is mapped anew", ({ client }) => mapAgain(client)],
  ])("is used again by %s, which resolves the warning", async (what, use) => {
    const link = await newLink(service, `used by ${what}`);
    const { xeroId, id } = await syncedInvoice(link.client);
    await idle(link, 46);
    await untilAlerts(link.client, is("CONNECTION_EXPIRING OPEN"));
    await use(link, xeroId);
    await untilAlerts(link.client, is("CONNECTION_EXPIRING RESOLVED"));
    expect(await daysLeft(link)).toBeCloseTo(60, 1);
    if (what.includes("payment")) await untilPaid(link.client, id, ({ status }) => status === "PARTIALLY_PAID");
    expect((await stateOf(link)).connectionStatus).toBe("CONNECTED");
    // The next idle spell is a cause of its own.
    await idle(link, 46);
    await untilAlerts(link.client, is("CONNECTION_EXPIRING OPEN", "CONNECTION_EXPIRING RESOLVED"));
  });

  it("is kept where the workspace wants it, and the warning is resolved", async () => {
    const link = await newLink(service, "kept", { setUp: false });
    await idle(link, 46);
    await untilAlerts(link.client, is("CONNECTION_EXPIRING OPEN"));
    await update(link.client, { keepConnectionAlive: true });
    await untilAlerts(link.client, is("CONNECTION_EXPIRING RESOLVED"));
    expect(await daysLeft(link)).toBeNull();
    await idle(link, 1000);
    await untilChecked(link);
    expect(await stateOf(link)).toMatchObject({ connectionStatus: "CONNECTED", expiresAt: null });
    expect(await atXero(link)).toBeDefined();
    await update(link.client, { keepConnectionAlive: false });
    expect(await daysLeft(link)).toBeCloseTo(60, 1);
    await idle(link, 61);
    await untilStatus(link, "DISCONNECTED_INACTIVE");
    expect(await alertStates(link.client)).toEqual(["CONNECTION_EXPIRING RESOLVED", "DISCONNECTED_INACTIVE OPEN"]);
  });

  it("does not end another workspace's link to the same organisation", async () => {
    const idleLink = await newLink(service, "idle-one", { setUp: false });
    const client = await service.client("admin", "busy-one");
    await consentTo({ ...idleLink, client });
    const [busy] = await organisations(client);
    await idle(idleLink, 61);
    await untilStatus(idleLink, "DISCONNECTED_INACTIVE");
    await untilChecked(idleLink);
    expect(await atXero(idleLink)).toBeDefined();
    expect(await stateOf({ client, id: busy?.id ?? "" })).toMatchObject({ connectionStatus: "CONNECTED" });
    expect(await alertsOf(client)).toEqual([]);
    expect((await client.send("mutation { refreshXeroData { enabled } }")).errors).toBeUndefined();
  });

  it("is warned of and ended by the periods that are configured", async () => {
    const hasty = await startService({
      environment: {
        CONNECTION_WARN_AFTER: "3s",
        CONNECTION_INACTIVE_AFTER: "9s",
        CONNECTION_CHECK_EVERY: "1h",
      },
    });
    try {
      const link = await newLink(hasty, "hasty", { setUp: false });
      const { expiresAt } = await stateOf(link);
      await untilAlerts(link.client, is("CONNECTION_EXPIRING OPEN"));
      expect((await stateOf(link)).connectionStatus).toBe("CONNECTED");
      const { disconnectedAt } = await untilStatus(link, "DISCONNECTED_INACTIVE");
      const lateMs = Date.parse(disconnectedAt ?? "") - Date.parse(expiresAt ?? "");
      expect(lateMs).toBeGreaterThanOrEqual(0);
      expect(lateMs).toBeLessThan(10_000);
      await untilEnded(link);
      expect(await alertStates(link.client)).toEqual(["CONNECTION_EXPIRING RESOLVED", "DISCONNECTED_INACTIVE OPEN"]);
    } finally {
      await hasty.close();
    }
  }, 40_000);
});

it("whoever looks after the links is not held up by a Xero that does not answer", async () => {
  const patient = await startService({
    environment: { CONNECTION_CHECK_EVERY: "1s", XERO_REQUEST_TIMEOUT: "20s", SYNC_LEASE: "30s" },
  });
  try {
    const forgotten = await newLink(patient, "forgotten", { setUp: false });
    const idleLink = await newLink(patient, "idle", { setUp: false });
    await patient.control("hold", { name: "revocation", match: { path: "/connect/revocation$" }, times: 1 });
    await patient.control("disconnect", { tenantId: forgotten.tenantId });
    await untilStatus(forgotten, "DISCONNECTED");
    // Its grant is left with nothing to do, for so long that it is revoked.
    await runSql(patient, "UPDATE xero_grant SET stored_at = now() - interval '1 hour' WHERE xero_user_id = $1", [
      forgotten.userId,
    ]);
    await patient.control("hold/await", { name: "revocation" });
    const since = Date.now();
    await idle(idleLink, 61);
    const { disconnectedAt } = await untilStatus(idleLink, "DISCONNECTED_INACTIVE");
    expect(Date.parse(disconnectedAt ?? "") - since).toBeLessThan(10_000);
  } finally {
    await patient.control("release", { name: "revocation" });
    await patient.close();
  }
}, 60_000);

/** Confirms a tax rate's counterpart. */
async function mapAgain(client: GraphqlClient): Promise<void> {
  const { taxRates } = await client.ask<{ taxRates: { id: string; name: string }[] }>("{ taxRates { id name } }");
  const id = taxRates.find(({ name }) => name === "GST free")?.id;
  const map = "mutation ($id: ID!, $type: ID) { mapTaxRate(taxRateId: $id, xeroTaxType: $type) { id } }";
  await client.ask(map, { id, type: "EXEMPTOUTPUT" });
}

describe("the list of alerts", () => {
  interface Page {
    alerts: {
      totalCount: number;
      nodes: { id: string; kind: string; state: string; firstSeenAt: string }[];
      edges: { cursor: string }[];
      pageInfo: { hasNextPage: boolean; endCursor: string | null };
    };
  }

  const query = `query ($first: Int, $after: String, $state: AlertState) { alerts(first: $first, after: $after, state: $state) {
    totalCount nodes { id kind state firstSeenAt } edges { cursor } pageInfo { hasNextPage endCursor } } }`;

  let link: Omit<Link, "id">;

  beforeAll(async () => {
    // One consent to three organisations, all lost, one connected again.
    link = await unconnected(service, "many-alerts");
    const tenants = [link.tenantId];
    for (const name of ["Second of three", "Third of three"]) {
      tenants.push((await service.control<{ tenantId: string }>("organisations/add", { name })).tenantId);
    }
    await service.control("consent/next", { organisations: tenants, userId: link.userId });
    const { connectXero } = await link.client.ask<{ connectXero: { authorizationUrl: string } }>(
      "mutation { connectXero { authorizationUrl } }",
    );
    const response = await fetch(connectXero.authorizationUrl, { redirect: "manual" });
    expect(await callBack(response.headers.get("location") ?? "")).toBe("connected");
    for (const [index, tenantId] of tenants.entries()) {
      await service.control("disconnect", { tenantId });
      await untilAlerts(link.client, (alerts) => alerts.length === index + 1);
    }
    await consentTo(link);
  });

  const read = async (variables: object, by = link.client): Promise<Page["alerts"]> =>
    (await by.ask<Page>(query, variables)).alerts;

  it("goes page by page, the newest first", async () => {
    const whole = await read({});
    expect(whole).toMatchObject({ totalCount: 3, pageInfo: { hasNextPage: false } });
    const times = whole.nodes.map(({ firstSeenAt }) => Date.parse(firstSeenAt));
    expect(times).toEqual([...times].sort((a, b) => b - a));
    const first = await read({ first: 2 });
    expect(first).toMatchObject({ totalCount: 3, nodes: whole.nodes.slice(0, 2), pageInfo: { hasNextPage: true } });
    expect(first.pageInfo.endCursor).toBe(first.edges[1]?.cursor);
    const second = await read({ first: 2, after: first.pageInfo.endCursor });
    expect(second).toMatchObject({ totalCount: 3, nodes: whole.nodes.slice(2), pageInfo: { hasNextPage: false } });
  });

  it("shows those of one state where it is asked for, and counts them", async () => {
    const open = await read({ state: "OPEN", first: 1 });
    expect(open).toMatchObject({ totalCount: 2, pageInfo: { hasNextPage: true } });
    const rest = await read({ state: "OPEN", first: 1, after: open.pageInfo.endCursor });
    expect(rest).toMatchObject({ totalCount: 2, nodes: [{ state: "OPEN" }], pageInfo: { hasNextPage: false } });
    expect(rest.nodes[0]?.id).not.toBe(open.nodes[0]?.id);
    expect(await read({ state: "RESOLVED" })).toMatchObject({ totalCount: 1, nodes: [{ state: "RESOLVED" }] });
  });

  it.each([{ first: 0 }, { first: 101 }, { after: "no cursor" }])("refuses %j", async (variables) => {
    expect((await link.client.send(query, variables)).errors?.[0]?.extensions.code).toBe("BAD_USER_INPUT");
  });

  it("is for every role of the workspace, and for no other workspace", async () => {
    const whole = await read({});
    for (const role of ["viewer", "bookkeeper"]) {
      expect(await read({}, await service.client(role, link.workspace))).toEqual(whole);
    }
    const stranger = await service.client("admin", "without-alerts");
    expect(await read({}, stranger)).toMatchObject({ totalCount: 0, nodes: [] });
    const { endCursor } = (await read({ first: 1 })).pageInfo;
    expect(await read({ after: endCursor }, stranger)).toMatchObject({ totalCount: 0, nodes: [] });
  });
});
