/**
 * What waits while the link is down or the switch off goes on by itself, once, when it is up again; and while the switch is off nothing is asked
 * of Xero but what a consent, a disconnect and the refresh of tokens need.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { configure } from "../demo/setUp.js";
import {
  agree,
  alertsOf,
  alertStates,
  apiCalls,
  attemptsOf,
  callBack,
  callsOf,
  consentTo,
  disconnect,
  expireToken,
  failLost,
  hold,
  inXeroOf,
  killGrant,
  type Link,
  newLink,
  organisations,
  runOf,
  stateOf,
  unconnected,
  until,
  untilEnded,
  untilDone,
  update,
} from "./support/links.js";
import {
  readInvoice,
  runSql,
  saveInvoice,
  syncedInvoice,
  syncInvoice,
  syncStory,
  untilPaid,
  untilSync,
} from "./support/records.js";
import { type Service, startService } from "./support/service.js";
import { XeroDoor } from "./support/XeroDoor.js";

const refresh = "mutation { refreshXeroData { enabled } }";
const syncMutation = "mutation ($id: ID!) { syncInvoice(id: $id) { id } }";

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

/** The run of so many that went by themselves. */
const whole = (total: number): object => ({
  trigger: "RECONNECTED",
  status: "SUCCEEDED",
  total,
  created: total,
  requestedBy: null,
});

describe("a reconnect", () => {
  it.each<[string, string, (link: Link) => Promise<unknown>]>([
    ["XERO_NOT_CONNECTED", "DISCONNECTED", ({ tenantId }) => service.control("disconnect", { tenantId })],
    ["RECONNECT_REQUIRED", "RECONNECT_REQUIRED", killGrant],
  ])(
    "queues what failed as %s in one run, once, and nothing else",
    async (code, status, lose) => {
      const link = await newLink(service, `due: ${code}`);
      const { client, tenantId } = link;
      await service.control("lock", { tenantId, periodLockDate: "2026-12-31" });
      const locked = await syncedInvoice(client);
      expect(locked.syncError?.code).toBe("PERIOD_LOCKED");
      await service.control("lock", { tenantId, periodLockDate: null });
      const draft = await saveInvoice(client, {}, { approve: false });
      const [voided, ...due] = await failLost(link, 4, () => lose(link));
      expect(new Set(due.map(({ syncError }) => syncError?.code))).toEqual(new Set([code]));
      expect(await stateOf(link)).toMatchObject({ connectionStatus: status });
      // Nothing here voids an invoice yet.
      await runSql(service, "UPDATE invoice SET status = 'VOIDED' WHERE id = $1", [voided?.id]);
      await consentTo(link);
      expect(await runOf(link, due)).toEqual(whole(3));
      // The one in a closed period is told of; those that the link kept back are not, for the link's own alert was.
      expect(await alertStates(client)).toEqual(["SYNC_FAILED OPEN", "CONNECTION_LOST RESOLVED"]);
      // Once more, with nothing due.
      await consentTo(link);
      expect(await runOf(link, due)).toEqual(whole(3));
      expect(await attemptsOf(client, locked.id)).toHaveLength(1);
      expect(await attemptsOf(client, voided?.id ?? "")).toHaveLength(1);
      expect(await readInvoice(client, draft.id)).toMatchObject({ syncStatus: "NOT_SYNCED", syncAttempts: [] });
    },
    30_000,
  );

  it.each([
    ["same person", false],
    ["two people", true],
  ])("by two consents of the %s at once sends nothing twice and leaves one link", async (_who, two) => {
    const link = await newLink(service, `twice: ${two}`);
    const due = await failLost(link, 3, () => service.control("disconnect", { tenantId: link.tenantId }));
    const { userId } = await service.control<{ userId: string }>("users/add", {});
    const addresses = [await agree(link), await agree(two ? { ...link, userId } : link)];
    const ends = await Promise.all(addresses.map(callBack));
    // A second consent of one person takes the organisation from the first one, which then names none.
    expect(ends.sort()).toEqual(two ? ["connected", "connected"] : ["NO_ORGANISATION", "connected"]);
    expect(await runOf(link, due)).toEqual(whole(3));
    await untilDone(link);
    const { connections } = await service.control<{ connections: { tenantId: string }[] }>("state");
    expect(connections.filter(({ tenantId }) => tenantId === link.tenantId)).toHaveLength(1);
    expect((await link.client.send(refresh)).errors).toBeUndefined();
    expect(await organisations(link.client)).toMatchObject([{ id: link.id, connectionStatus: "CONNECTED" }]);
  });

  it.each([
    ["DISCONNECTED", { status: 403, detail: "AuthenticationUnsuccessful" }],
    [
      "without a scope",
      { status: 401, detail: "AuthorizationUnsuccessful", challenge: 'Bearer error="insufficent_scope"' },
    ],
  ])("that comes before Xero's answer that the link is %s sends the invoice all the same", async (what, refusal) => {
    const link = await newLink(service, `overtaken: ${what}`);
    let reached = false;
    let answer: () => void = () => undefined;
    const asked = new Promise<void>((resolve) => (answer = resolve));
    door.refuse = ({ method, path }) => {
      if (reached || method !== "PUT" || !path.endsWith("/Invoices")) return undefined;
      reached = true;
      return asked.then(() => refusal);
    };
    const { id, number } = await saveInvoice(link.client);
    await syncInvoice(link.client, id);
    await until(() => Promise.resolve(reached));
    await consentTo(link);
    answer();
    expect((await untilSync(link.client, id, "SYNCED", "FAILED")).syncStatus).toBe("SYNCED");
    expect(await inXeroOf(link, number)).toHaveLength(1);
    expect(await stateOf(link)).toMatchObject({ connectionStatus: "CONNECTED", missingScopes: [] });
    expect(await alertsOf(link.client)).toEqual([]);
  });
});

it("payments that Xero announced while the link was down arrive after a reconnect", async () => {
  const link = await newLink(service, "paid-meanwhile");
  const { id, xeroId } = await syncedInvoice(link.client);
  // Another workspace has the same organisation connected, so that Xero goes on announcing.
  const other = await service.client("admin", "still-connected");
  await consentTo({ ...link, client: other });
  await disconnect(link);
  await service.control("calls/clear", {});
  await service.control("pay", { invoiceId: xeroId, amount: "40.00" });
  await service.control("webhooks/drain", {});
  await untilDone(link);
  expect((await readInvoice(link.client, id)).amountDue).toBe("100.00");
  await consentTo(link);
  await untilPaid(link.client, id, ({ amountDue }) => amountDue === "60.00");
});

describe("while the switch is off", () => {
  const off = (client: GraphqlClient): Promise<void> => update(client, { enabled: false });
  const on = (client: GraphqlClient): Promise<void> => update(client, { enabled: true });

  const code = async (client: GraphqlClient, query: string, variables: object = {}): Promise<unknown> =>
    (await client.send(query, variables)).errors?.[0]?.extensions.code;

  it("syncs and reads are refused, and nothing but tokens is asked for", async () => {
    const link = await newLink(service, "off");
    const { id } = await saveInvoice(link.client);
    await off(link.client);
    await service.control("calls/clear", {});
    await expireToken(link);
    expect(await code(link.client, syncMutation, { id })).toBe("XERO_DISABLED");
    expect(await code(link.client, refresh)).toBe("XERO_DISABLED");
    expect(await readInvoice(link.client, id)).toMatchObject({ syncStatus: "NOT_SYNCED", syncAttempts: [] });
    expect(await stateOf(link)).toMatchObject({ connectionStatus: "CONNECTED" });
    await on(link.client);
    await syncInvoice(link.client, id);
    await untilSync(link.client, id, "SYNCED");
    // Other links of this service may have something to do.
    const calls = (await callsOf(service)).filter(
      ({ kind, tenantId }) => kind === "identity" || tenantId === link.tenantId,
    );
    expect(calls[0]?.grantType).toBe("refresh_token");
  });

  it("webhooks are kept, and applied in order when it is on again", async () => {
    const link = await newLink(service, "off-webhooks");
    const { client } = link;
    const { id, xeroId } = await syncedInvoice(client);
    const pay = async (amount: string): Promise<string> =>
      (await service.control<{ paymentId: string }>("pay", { invoiceId: xeroId, amount })).paymentId;
    const first = await pay("30.00");
    await untilPaid(client, id, ({ amountDue }) => amountDue === "70.00");
    await service.control("webhooks/drain", {});
    const kept = () =>
      runSql<{ status: string }>(
        service,
        "SELECT status FROM webhook_event WHERE workspace_id = $1 AND resource_id = $2 ORDER BY id",
        [link.workspace, xeroId],
      );
    const applied = async (): Promise<boolean> => (await kept()).every(({ status }) => status === "APPLIED");
    await until(applied);
    await off(client);
    await service.control("calls/clear", {});
    const second = await pay("20.00");
    await service.control("webhooks/drain", {});
    await service.control("unpay", { paymentId: first });
    await service.control("webhooks/drain", {});
    const third = await pay("80.00");
    await service.control("webhooks/drain", {});
    await service.control("unpay", { paymentId: third });
    await service.control("webhooks/drain", {});
    expect((await kept()).filter(({ status }) => status === "RECEIVED")).toHaveLength(4);
    await untilDone(link);
    expect((await readInvoice(client, id)).amountDue).toBe("70.00");
    expect(await apiCalls(link)).toEqual([]);
    await on(client);
    const paid = await untilPaid(client, id, ({ amountDue }) => amountDue === "80.00");
    expect(paid).toMatchObject({ status: "PARTIALLY_PAID", totalPaymentAmount: "20.00" });
    expect(new Map(paid.payments.map(({ financeExternalId, paid: is }) => [financeExternalId, is]))).toEqual(
      new Map([
        [first, false],
        [second, true],
      ]),
    );
    await until(applied);
    expect(await paymentStory(client, id)).toEqual(["RECEIVED 30.00", "RECEIVED 20.00", "REVERSED 30.00"]);
  });

  it("a payment that came and went leaves the invoice unpaid", async () => {
    const link = await newLink(service, "off-pay-unpay");
    const { id, xeroId } = await syncedInvoice(link.client);
    await service.control("webhooks/drain", {});
    await off(link.client);
    const { paymentId } = await service.control<{ paymentId: string }>("pay", { invoiceId: xeroId });
    await service.control("webhooks/drain", {});
    await service.control("unpay", { paymentId });
    await service.control("webhooks/drain", {});
    await on(link.client);
    await until(async () => {
      const events = await runSql<{ status: string }>(
        service,
        "SELECT status FROM webhook_event WHERE workspace_id = $1",
        [link.workspace],
      );
      return events.length >= 2 && events.every(({ status }) => ["APPLIED", "IGNORED"].includes(status));
    });
    expect(await readInvoice(link.client, id)).toMatchObject({ status: "APPROVED", amountDue: "100.00" });
  });

  it("invoices that were queued before wait, and go once it is on", async () => {
    const link = await newLink(service, "off-queued");
    const { reached, release } = await hold(link, { method: "PUT", path: "/Invoices$" });
    const [sent, queued] = [await saveInvoice(link.client), await saveInvoice(link.client)];
    await syncInvoice(link.client, sent.id);
    await reached();
    await syncInvoice(link.client, queued.id);
    await off(link.client);
    await service.control("calls/clear", {});
    await release();
    await untilSync(link.client, sent.id, "SYNCED");
    await untilDone(link);
    expect(await readInvoice(link.client, queued.id)).toMatchObject({ syncStatus: "QUEUED", syncError: null });
    expect(await apiCalls(link)).toEqual([]);
    await on(link.client);
    expect(await syncStory(link.client, queued.id, "SYNCED", "FAILED")).toEqual(["QUEUED", "SYNCING", "SYNCED"]);
    expect(await inXeroOf(link, queued.number)).toHaveLength(1);
    expect(await attemptsOf(link.client, queued.id)).toHaveLength(1);
  });

  it.each([
    ["contact is looked for", { method: "GET", path: "/Contacts" }],
    ["contact is made", { method: "PUT", path: "/Contacts" }],
  ])("an invoice whose %s at that moment makes no further call and is queued", async (what, match) => {
    const link = await newLink(service, `off: ${what}`);
    const { reached, release } = await hold(link, match);
    const { id, number } = await saveInvoice(link.client);
    await syncInvoice(link.client, id);
    await reached();
    await off(link.client);
    await service.control("calls/clear", {});
    await release();
    await until(async () => {
      const open = await runSql(service, "SELECT 1 FROM sync_batch WHERE workspace_id = $1 AND state <> 'DONE'", [
        link.workspace,
      ]);
      return open.length === 0;
    });
    expect(await apiCalls(link)).toEqual([]);
    expect(await readInvoice(link.client, id)).toMatchObject({ syncStatus: "QUEUED", syncError: null });
    await on(link.client);
    expect(await syncStory(link.client, id, "SYNCED", "FAILED")).not.toContain("FAILED");
    expect(await inXeroOf(link, number)).toHaveLength(1);
    const contacts = await service.control<{ tenantId: string }[]>("contacts");
    expect(contacts.filter(({ tenantId }) => tenantId === link.tenantId)).toHaveLength(1);
  });

  it("an invoice in doubt stays so, and is brought to Xero once when it is on again", async () => {
    const link = await newLink(service, "off-doubt");
    const match = { method: "PUT", path: "/Invoices$", tenant: link.tenantId };
    await service.control("faults", { match, fault: "lost-answer", times: 100 });
    const { id, number } = await saveInvoice(link.client);
    await syncInvoice(link.client, id);
    await untilSync(link.client, id, "UNCERTAIN");
    await off(link.client);
    await service.control("faults/clear", {});
    await on(link.client);
    await off(link.client);
    await on(link.client);
    expect((await syncStory(link.client, id, "SYNCED", "FAILED")).at(-1)).toBe("SYNCED");
    expect(await inXeroOf(link, number)).toHaveLength(1);
  });

  const accountNames = async (client: GraphqlClient): Promise<string[] | null> => {
    const query = "{ xeroAccounts(use: REVENUE_ACCOUNTS) { name } }";
    const { xeroAccounts } = await client.ask<{ xeroAccounts: { name: string }[] | null }>(query);
    return xeroAccounts?.map(({ name }) => name) ?? null;
  };

  it("a first consent works, and what it brought is read when it is on", async () => {
    const { client, ...link } = await unconnected(service, "off-consent");
    await off(client);
    await service.control("calls/clear", {});
    await consentTo({ client, ...link });
    const [{ id, connectionStatus } = { id: "", connectionStatus: "" }] = await organisations(client);
    expect(connectionStatus).toBe("CONNECTED");
    await untilDone(link);
    expect(await apiCalls({ client, ...link, id })).toEqual([]);
    expect(await accountNames(client)).toBeNull();
    await on(client);
    await until(async () => (await accountNames(client)) !== null);
    await configure(client);
    expect((await syncedInvoice(client)).syncStatus).toBe("SYNCED");
  });

  it("a disconnect works; and a new consent, whose organisation is read anew when it is on", async () => {
    const link = await newLink(service, "off-disconnect");
    const { client, tenantId } = link;
    await off(client);
    await expireToken(link);
    await service.control("calls/clear", {});
    expect(await disconnect(link)).toMatchObject({ connectionStatus: "DISCONNECTED" });
    await untilEnded(link);
    const account = { code: "299", name: "New meanwhile", type: "REVENUE", taxType: "OUTPUT" };
    await service.control("accounts/add", { tenantId, ...account });
    await consentTo(link);
    await untilDone(link);
    expect(await apiCalls(link)).toEqual([]);
    await on(client);
    await until(async () => (await accountNames(client))?.includes(account.name) ?? false);
  }, 15_000);

  it("a reconnect queues nothing yet: what is due goes when it is on, and once however often it is switched on", async () => {
    const link = await newLink(service, "off-reconnect");
    const due = await failLost(link, 2, () => service.control("disconnect", { tenantId: link.tenantId }));
    await off(link.client);
    await service.control("calls/clear", {});
    await consentTo(link);
    await untilDone(link);
    for (const { id } of due) {
      expect(await readInvoice(link.client, id)).toMatchObject({ syncStatus: "FAILED", syncAttempts: [{}] });
    }
    expect(await apiCalls(link)).toEqual([]);
    await Promise.all([on(link.client), on(link.client), on(link.client)]);
    expect(await runOf(link, due)).toEqual(whole(2));
    await on(link.client);
    expect(await runOf(link, due)).toEqual(whole(2));
  });
});

/** Every payment event of the invoice so far: `RECEIVED 30.00`. */
async function paymentStory(client: GraphqlClient, id: string): Promise<string[]> {
  const { payments } = await readInvoice(client, id);
  const events = client.watch<{ payments: { kind: string; payment: { amount: string } } }>(
    'subscription ($id: ID!) { payments(invoiceId: $id, after: "0") { kind payment { amount } } }',
    { id },
  );
  const story: string[] = [];
  const count = payments.length + payments.filter(({ paid }) => !paid).length;
  for await (const { payments: event } of events) {
    if (story.push(`${event.kind} ${event.payment.amount}`) === count) break;
  }
  return story;
}
