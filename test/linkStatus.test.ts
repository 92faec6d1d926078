/** What the status of a link says, and whence it knows: every call tells a lost link from trouble that passes, and dashboards hear of each change once. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import {
  alertsOf,
  alertStates,
  attemptsOf,
  callsOf,
  consentTo,
  disconnect,
  idle,
  inXeroOf,
  killGrant,
  type Link,
  newLink,
  stateOf,
  statusStory,
  unconnected,
  until,
  untilAlerts,
  untilDone,
  untilStatus,
  update,
} from "./support/links.js";
import {
  readInvoice,
  runSql,
  saveInvoice,
  syncedInvoice,
  syncInvoice,
  syncStory,
  untilSync,
} from "./support/records.js";
import { type Service, startService } from "./support/service.js";
import { XeroDoor } from "./support/XeroDoor.js";

const refresh = "mutation { refreshXeroData { enabled } }";

describe("a call that meets", () => {
  const door = new XeroDoor();
  let service: Service;

  beforeAll(async () => {
    service = await startService({ environment: { XERO_API_URL: await door.open() } });
    door.target = service.sandbox.url;
  });

  afterEach(async () => {
    door.refuse = () => undefined;
    await service.control("faults/clear", {});
  });

  afterAll(async () => {
    await service.close();
    door.close();
  });

  /** The lost link has one alert, a new consent resolves it, and then all is as it was. */
  async function comesBack(link: Link): Promise<void> {
    expect(await alertStates(link.client)).toEqual(["CONNECTION_LOST OPEN"]);
    expect(await alertsOf(link.client)).toMatchObject([{ occurrences: 1, resolvedAt: null }]);
    await consentTo(link);
    expect(await stateOf(link)).toMatchObject({
      connectionStatus: "CONNECTED",
      statusReason: null,
      missingScopes: [],
      disconnectedAt: null,
      active: true,
    });
    expect(await alertStates(link.client)).toEqual(["CONNECTION_LOST RESOLVED"]);
    expect((await alertsOf(link.client))[0]?.resolvedAt).not.toBeNull();
    expect((await syncedInvoice(link.client)).syncStatus).toBe("SYNCED");
  }

  it.each<[string, (link: Link) => Promise<() => Promise<unknown>>]>([
    [
      "a sync",
      async ({ client }) => {
        const { id } = await saveInvoice(client);
        return () => syncInvoice(client, id);
      },
    ],
    ["a read that an administrator asks for", ({ client }) => Promise.resolve(() => client.send(refresh))],
    [
      "the read of a payment",
      async ({ client }) => {
        const { xeroId } = await syncedInvoice(client);
        await service.control("switches", { webhookPaused: true });
        await service.control("pay", { invoiceId: xeroId, amount: "10.00" });
        return () => service.control("switches", { webhookPaused: false });
      },
    ],
  ])("a link that was ended in Xero, %s, shows it as DISCONNECTED", async (what, prepare) => {
    const link = await newLink(service, `ended, ${what}`);
    const call = await prepare(link);
    await service.control("disconnect", { tenantId: link.tenantId });
    await call();
    const lost = await untilStatus(link, "DISCONNECTED", "RECONNECT_REQUIRED");
    expect(lost.connectionStatus).toBe("DISCONNECTED");
    expect(lost.statusReason).toContain("disconnected in Xero");
    expect(lost.disconnectedAt).not.toBeNull();
    expect((await link.client.send(refresh)).errors?.[0]?.extensions.code).toBe("XERO_NOT_CONNECTED");
    await comesBack(link);
  });

  it("a dead grant asks Xero twice at most, however many calls there are, and requires a new consent", async () => {
    const link = await newLink(service, "dead-grant");
    const { id } = await saveInvoice(link.client);
    await killGrant(link);
    await service.control("calls/clear", {});
    const answers = await Promise.all([
      ...Array.from({ length: 10 }, () => link.client.send(refresh)),
      link.client.send("mutation ($id: ID!) { syncInvoice(id: $id) { id } }", { id }),
    ]);
    const codes = answers.slice(0, 10).map(({ errors }) => errors?.[0]?.extensions.code);
    expect(new Set(codes)).toEqual(new Set(["XERO_NOT_CONNECTED"]));
    const lost = await untilStatus(link, "DISCONNECTED", "RECONNECT_REQUIRED");
    expect(lost).toMatchObject({ connectionStatus: "RECONNECT_REQUIRED", missingScopes: [], disconnectedAt: null });
    expect(lost.statusReason).toContain("tokens");
    expect((await callsOf(service, { path: "/connect/token" })).length).toBeLessThanOrEqual(2);
    await comesBack(link);
  });

  it("a scope that is missing says which, and the invoice goes by itself after the next consent", async () => {
    const link = await newLink(service, "missing-scope");
    door.refuse = ({ method, path }) =>
      method === "PUT" && path.endsWith("/Invoices")
        ? { status: 401, detail: "AuthorizationUnsuccessful", challenge: 'Bearer error="insufficent_scope"' }
        : undefined;
    const failed = await syncedInvoice(link.client);
    expect([failed.syncStatus, failed.syncError?.code]).toEqual(["FAILED", "RECONNECT_REQUIRED"]);
    expect(failed.syncError?.message).toContain("scope");
    const lost = await stateOf(link);
    expect(lost).toMatchObject({
      connectionStatus: "RECONNECT_REQUIRED",
      missingScopes: ["accounting.invoices"],
      disconnectedAt: null,
    });
    expect(lost.statusReason).toContain("accounting.invoices");
    door.refuse = () => undefined;
    await comesBack(link);
    await untilSync(link.client, failed.id, "SYNCED");
    expect(await inXeroOf(link, failed.number)).toHaveLength(1);
  });

  it.each(["Invoices", "Contacts"])(
    "a role without the right to %s fails the invoice in words that say so, and the link stays up",
    async (endpoint) => {
      const link = await newLink(service, `role-${endpoint}`);
      await service.control("role", { tenantId: link.tenantId, endpoint, allowed: false });
      const failed = await syncedInvoice(link.client);
      expect(failed.syncStatus).toBe("FAILED");
      expect(failed.syncError?.message).toMatch(/user .*lacks the right/i);
      expect(failed.syncError?.resolution).toMatch(/right/);
      expect(await stateOf(link)).toMatchObject({ connectionStatus: "CONNECTED", statusReason: null });
      // Of the invoice somebody is told; of the link there is nothing to tell.
      expect((await alertsOf(link.client)).map(({ kind }) => kind)).toEqual(["SYNC_FAILED"]);
      // It failed for no lost link, so nothing but a person brings it back.
      await update(link.client, { enabled: true });
      expect(await attemptsOf(link.client, failed.id)).toHaveLength(1);
      await service.control("role", { tenantId: link.tenantId, endpoint, allowed: true });
      await syncInvoice(link.client, failed.id);
      expect((await syncStory(link.client, failed.id, "SYNCED")).at(-1)).toBe("SYNCED");
    },
  );

  it.each(["/Contacts", "/Invoices$"])(
    "an organisation that is offline (%s) tries again, fails nothing and leaves the link up",
    async (path) => {
      const link = await newLink(service, `offline-${path.replaceAll(/\W/g, "")}`);
      await service.control("faults", {
        match: { path, tenant: link.tenantId },
        fault: "503-organisation-offline",
        times: 2,
      });
      const { id, number } = await saveInvoice(link.client);
      await syncInvoice(link.client, id);
      expect(await syncStory(link.client, id, "SYNCED", "FAILED")).not.toContain("FAILED");
      expect(await inXeroOf(link, number)).toHaveLength(1);
      const [fault] = await service.control<{ hits: number }[]>("faults");
      expect(fault?.hits).toBe(2);
      expect(await stateOf(link)).toMatchObject({ connectionStatus: "CONNECTED", statusReason: null });
      expect(await alertsOf(link.client)).toEqual([]);
    },
    20_000,
  );

  describe("a token that is refused though it was only just issued", () => {
    const refused = { status: 401, detail: "TokenExpired: token expired at 02/20/2025 08:32:50" };

    /** Refuses every write of an invoice until told otherwise. */
    function refuseInvoices(times = Infinity): { hits: () => number } {
      let hits = 0;
      door.refuse = ({ method, path }) => {
        if (method !== "PUT" || !path.endsWith("/Invoices") || hits >= times) return undefined;
        hits += 1;
        return refused;
      };
      return { hits: () => hits };
    }

    it("refreshes once, tries again, fails nothing and leaves the link up", async () => {
      const link = await newLink(service, "refused-twice");
      await service.control("calls/clear", {});
      const { hits } = refuseInvoices(2);
      const { id, number } = await saveInvoice(link.client);
      await syncInvoice(link.client, id);
      expect(await syncStory(link.client, id, "SYNCED", "FAILED")).not.toContain("FAILED");
      expect(hits()).toBe(2);
      expect((await callsOf(service, { path: "/connect/token" })).map(({ grantType }) => grantType)).toEqual([
        "refresh_token",
      ]);
      expect(await inXeroOf(link, number)).toHaveLength(1);
      expect(await stateOf(link)).toMatchObject({ connectionStatus: "CONNECTED", statusReason: null });
      expect(await alertsOf(link.client)).toEqual([]);
    });

    it("fails no invoice while the link counts as up, however often it was tried", async () => {
      const link = await newLink(service, "refused-often");
      const { hits } = refuseInvoices();
      const { id } = await saveInvoice(link.client);
      await syncInvoice(link.client, id);
      await until(() => Promise.resolve(hits() >= 2));
      // As after half a minute of it, with its growing waits; between two tries, for what is under way writes its own count.
      const age = `UPDATE sync_attempt SET transient_failures = 7, not_before = now()
        WHERE workspace_id = $1 AND batch_id IS NULL AND transient_failures BETWEEN 1 AND 6 RETURNING id`;
      await until(async () => (await runSql(service, age, [link.workspace])).length > 0);
      const attempt = async (): Promise<{ tries: number; outcome: string } | undefined> =>
        (
          await runSql<{ tries: number; outcome: string }>(
            service,
            "SELECT transient_failures AS tries, outcome FROM sync_attempt WHERE workspace_id = $1",
            [link.workspace],
          )
        )[0];
      await until(async () => {
        const { tries = 0, outcome = "" } = (await attempt()) ?? {};
        return tries >= 8 || outcome !== "PENDING";
      });
      expect(await readInvoice(link.client, id)).toMatchObject({ syncStatus: "QUEUED", syncError: null });
      expect(await stateOf(link)).toMatchObject({ connectionStatus: "CONNECTED" });
    }, 30_000);

    it("requires a new consent after five minutes of nothing else", async () => {
      const link = await newLink(service, "refused-for-long");
      const { hits } = refuseInvoices();
      const { id, number } = await saveInvoice(link.client);
      await syncInvoice(link.client, id);
      await until(() => Promise.resolve(hits() >= 2));
      expect(await stateOf(link)).toMatchObject({ connectionStatus: "CONNECTED" });
      await runSql(
        service,
        "UPDATE connection SET refused_since = now() - interval '6 minutes' WHERE workspace_id = $1",
        [link.workspace],
      );
      expect(await untilStatus(link, "RECONNECT_REQUIRED")).toMatchObject({ disconnectedAt: null });
      door.refuse = () => undefined;
      await comesBack(link);
      await untilSync(link.client, id, "SYNCED");
      expect(await inXeroOf(link, number)).toHaveLength(1);
    }, 30_000);
  });
});

describe("a dashboard", () => {
  let service: Service;

  beforeAll(async () => {
    // So that links are looked after every quarter of a second.
    service = await startService({ environment: { CONNECTION_CHECK_EVERY: "1s" } });
  });

  afterAll(() => service.close());

  it("is told of every change in order and once, of what it missed too, and of no other workspace's", async () => {
    const link = await unconnected(service, "story");
    const other = await newLink(service, "other-story", { setUp: false });
    const events = link.client.watch<{ connectionStatus: { cursor: string; status: string } }>(
      'subscription { connectionStatus(after: "0") { cursor status } }',
    );
    const next = async (): Promise<string> => {
      const { value } = (await events.next()) as { value: { connectionStatus: { cursor: string; status: string } } };
      told.push(value.connectionStatus);
      return value.connectionStatus.status;
    };
    const told: { cursor: string; status: string }[] = [];
    await consentTo(link);
    expect(await next()).toBe("CONNECTED");
    // Again, though it is up: no change.
    await consentTo(link);
    await service.control("disconnect", { tenantId: link.tenantId });
    expect(await next()).toBe("DISCONNECTED");
    await consentTo(link);
    expect(await next()).toBe("CONNECTED");
    const [{ id } = { id: "" }] = await linksOf(link.client);
    await disconnect({ ...link, id });
    expect(await next()).toBe("DISCONNECTED");
    await disconnect({ ...link, id });
    await consentTo(link);
    expect(await next()).toBe("CONNECTED");
    await idle({ ...link, id }, 61);
    expect(await next()).toBe("DISCONNECTED_INACTIVE");
    await untilDone(link);
    await consentTo(link);
    expect(await next()).toBe("CONNECTED");
    // With the switch off nobody meets the ended connection before the dead grant.
    await update(link.client, { enabled: false });
    await killGrant({ ...link, id });
    expect(await next()).toBe("RECONNECT_REQUIRED");
    await disconnect({ ...link, id });
    expect(await next()).toBe("DISCONNECTED");

    expect(await statusStory(link.client, { count: told.length })).toEqual(told);
    const [, , third] = told;
    expect(await statusStory(link.client, { after: third?.cursor ?? "", count: told.length - 3 })).toEqual(
      told.slice(3),
    );
    await disconnect(other);
    expect((await statusStory(other.client, { count: 2 })).map(({ status }) => status)).toEqual([
      "CONNECTED",
      "DISCONNECTED",
    ]);
    await consentTo(other);
    await idle(other, 46);
    const own = await untilAlerts(other.client, (alerts) => alerts.length > 0);
    expect((await alertEvents(other.client, 1)).map(({ alert }) => alert.id)).toEqual(own.map(({ id: each }) => each));
    expect(await alertStates(link.client)).toEqual([
      "CONNECTION_LOST RESOLVED",
      "DISCONNECTED_INACTIVE RESOLVED",
      "CONNECTION_LOST RESOLVED",
    ]);
    // Each alert opened and was resolved: two events each.
    const seen = await alertEvents(link.client, 6);
    const ids = (await alertsOf(link.client)).map((alert) => alert.id).reverse();
    expect(seen.map(({ alert }) => alert.id)).toEqual(ids.flatMap((each) => [each, each]));
    expect(await alertEvents(link.client, 4, seen[1]?.cursor)).toEqual(seen.slice(2));
  }, 40_000);

  interface AlertEvent {
    cursor: string;
    alert: { id: string };
  }

  async function alertEvents(client: GraphqlClient, count: number, after = "0"): Promise<AlertEvent[]> {
    const events = client.watch<{ alerts: AlertEvent }>(
      "subscription ($after: ID) { alerts(after: $after) { cursor alert { id } } }",
      { after },
    );
    const seen: AlertEvent[] = [];
    for await (const { alerts } of events) if (seen.push(alerts) === count) break;
    return seen;
  }

  async function linksOf(client: GraphqlClient): Promise<{ id: string }[]> {
    return (await client.ask<{ xeroOrganisations: { id: string }[] }>("{ xeroOrganisations { id } }"))
      .xeroOrganisations;
  }
});
