/**
 * How an administrator ends a link: here at once, at Xero once and as soon as Xero takes it in; what is under way is not sent behind anybody's
 * back, and all that hangs on the link is kept for the next consent.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp } from "../src/app.js";
import { createLogger } from "../src/logger.js";
import {
  agree,
  alertsOf,
  apiCalls,
  attemptsOf,
  atXero,
  callBack,
  callsOf,
  consentTo,
  disconnect,
  expireToken,
  hold,
  inXeroOf,
  killGrant,
  type Link,
  newLink,
  organisations,
  stateOf,
  statusStory,
  unconnected,
  untilEnded,
  until,
  untilDone,
  untilStatus,
} from "./support/links.js";
import {
  readInvoice,
  runSql,
  saveInvoice,
  saveParticipant,
  syncedInvoice,
  syncInvoice,
  syncStory,
  untilPaid,
  untilSync,
} from "./support/records.js";
import { type Service, startService } from "./support/service.js";

const refresh = "mutation { refreshXeroData { enabled } }";
const disconnectXero = "mutation ($id: ID!) { disconnectXero(organisationId: $id) { id connectionStatus } }";

let service: Service;

beforeAll(async () => {
  service = await startService();
});

afterEach(() => service.control("faults/clear", {}));

afterAll(() => service.close());

describe("a disconnect", () => {
  it("ends the connection at Xero once, by its own id, and the grant that nothing else uses", async () => {
    const link = await newLink(service, "plain", { setUp: false });
    const xeroId = await atXero(link);
    await service.control("calls/clear", {});
    const ended = await disconnect(link);
    expect(ended).toMatchObject({ id: link.id, connectionStatus: "DISCONNECTED", expiresAt: null, missingScopes: [] });
    expect(ended.statusReason).toMatch(/administrator/);
    expect(Date.now() - Date.parse(ended.disconnectedAt ?? "")).toBeLessThan(60_000);
    await untilDone(link);
    expect(await atXero(link)).toBeUndefined();
    expect(await callsOf(service, { method: "DELETE" })).toMatchObject([
      { path: `/connections/${xeroId}`, status: 204 },
    ]);
    expect(await callsOf(service, { path: "/connect/revocation" })).toHaveLength(1);
    expect(await alertsOf(link.client)).toEqual([]);
    expect((await link.client.send(refresh)).errors?.[0]?.extensions.code).toBe("XERO_NOT_CONNECTED");
  });

  it("that is repeated, at once or later, succeeds and ends nothing again", async () => {
    const link = await newLink(service, "repeated", { setUp: false });
    await service.control("calls/clear", {});
    const answers = await Promise.all(Array.from({ length: 5 }, () => disconnect(link)));
    answers.push(await disconnect(link));
    expect(new Set(answers.map(({ connectionStatus }) => connectionStatus))).toEqual(new Set(["DISCONNECTED"]));
    expect(new Set(answers.map(({ disconnectedAt }) => disconnectedAt)).size).toBe(1);
    await untilDone(link);
    expect(await callsOf(service, { method: "DELETE" })).toHaveLength(1);
    await consentTo(link);
    expect((await statusStory(link.client, { count: 3 })).map(({ status }) => status)).toEqual([
      "CONNECTED",
      "DISCONNECTED",
      "CONNECTED",
    ]);
  });

  it("keeps links, settings, mappings and history for the next consent", async () => {
    const link = await newLink(service, "kept");
    const { client } = link;
    const participant = await saveParticipant(client);
    const { id, xeroId } = await syncedInvoice(client, { participantId: participant.id });
    await service.control("pay", { invoiceId: xeroId, amount: "40.00" });
    await untilPaid(client, id, ({ status }) => status === "PARTIALLY_PAID");
    const kept = `{ integration { missingSetup salesAccount { code } paymentAccount { code } defaultTaxRate { name } }
      taxRates { name xeroTaxRate { taxType } }
      invoices { nodes { id status syncStatus xeroId xeroInvoiceNumber payments { amount } syncAttempts { outcome } } } }`;
    const before = await client.ask<{ invoices: object }>(kept);
    await disconnect(link);
    expect((await client.ask<{ invoices: object }>(kept)).invoices).toEqual(before.invoices);
    await consentTo(link);
    expect(await organisations(client)).toMatchObject([{ id: link.id, active: true, disconnectedAt: null }]);
    expect(await client.ask(kept)).toEqual(before);
    await syncInvoice(client, id);
    expect((await attemptsOf(client, id)).map(({ outcome }) => outcome)).toEqual(["CREATED", "UNCHANGED"]);
    const again = await syncedInvoice(client, { participantId: participant.id });
    expect(again.syncAttempts).toEqual([{ outcome: "CREATED", contactAction: "UNCHANGED" }]);
    await service.control("pay", { invoiceId: xeroId, amount: "60.00" });
    await untilPaid(client, id, ({ status }) => status === "PAID");
  });

  it.each<[string, (link: Link) => Promise<unknown>]>([
    ["has disconnected it", ({ tenantId }) => service.control("disconnect", { tenantId })],
    ["has revoked the grant", ({ userId }) => service.control("revoke", { userId })],
    ["no longer knows the tokens", killGrant],
    [
      "has disconnected it, and that was noticed,",
      async (link) => {
        await service.control("disconnect", { tenantId: link.tenantId });
        await link.client.send(refresh);
        await untilStatus(link, "DISCONNECTED");
      },
    ],
    [
      "no longer knows the tokens, and that was noticed,",
      async (link) => {
        await killGrant(link);
        await link.client.send(refresh);
        await untilStatus(link, "RECONNECT_REQUIRED");
      },
    ],
  ])("works when Xero %s: nothing is left to be alerted to, and no token is kept", async (what, forget) => {
    const link = await newLink(service, `forgotten: ${what}`, { setUp: false });
    await forget(link);
    expect(await disconnect(link)).toMatchObject({ connectionStatus: "DISCONNECTED" });
    expect((await stateOf(link)).disconnectedAt).not.toBeNull();
    await untilDone(link);
    expect(await alertsOf(link.client, "OPEN")).toEqual([]);
    expect(await runSql(service, "SELECT 1 FROM xero_grant WHERE xero_user_id = $1", [link.userId])).toEqual([]);
    await consentTo(link);
    expect((await link.client.send(refresh)).errors).toBeUndefined();
  });

  const ending = { method: "DELETE", path: "/connections/" };

  it.each([
    ["503-unavailable", ending],
    ["lost-request", ending],
    ["500-before-write", ending],
    ["hang", ending],
    ["503-maintenance", { method: "POST", path: "/connect/token$" }],
    ["500-before-write", { method: "POST", path: "/connect/revocation$" }],
  ])(
    "answers when Xero is down (%s for %j), and ends it there by itself once it is up",
    async (fault, match) => {
      const link = await newLink(service, `down: ${fault} ${match.path}`, { setUp: false });
      await expireToken(link);
      await service.control("faults", { match, fault });
      await service.control("calls/clear", {});
      expect(await disconnect(link)).toMatchObject({ connectionStatus: "DISCONNECTED" });
      expect(await alertsOf(link.client)).toEqual([]);
      const revoked = async (): Promise<boolean> =>
        (await callsOf(service, { path: "/connect/revocation" })).some(({ status }) => status === 200);
      expect(await revoked()).toBe(false);
      await until(revoked);
      await untilEnded(link);
      await untilDone(link);
      expect(await runSql(service, "SELECT 1 FROM xero_grant WHERE xero_user_id = $1", [link.userId])).toEqual([]);
    },
    40_000,
  );

  it("is not made up for at Xero when it was connected again meanwhile", async () => {
    const link = await newLink(service, "changed-mind", { setUp: false });
    await service.control("faults", {
      match: ending,
      fault: "503-unavailable",
    });
    await disconnect(link);
    await consentTo(link);
    await untilDone(link);
    expect(await atXero(link)).toBeDefined();
    expect((await link.client.send(refresh)).errors).toBeUndefined();
    expect(await stateOf(link)).toMatchObject({ connectionStatus: "CONNECTED" });
  }, 30_000);

  it("is not made up for at Xero while a new consent is being finished", async () => {
    const link = await newLink(service, "changing-mind", { setUp: false });
    await service.control("faults", { match: ending, fault: "503-unavailable" });
    await disconnect(link);
    const dueAt = async (): Promise<string> => {
      const sql = "SELECT due_at::text AS at FROM release WHERE workspace_id = $1";
      return (await runSql<{ at: string }>(service, sql, [link.workspace]))[0]?.at ?? "";
    };
    const { reached, release } = await hold(link, { method: "GET", path: "/connections$" }, "after");
    const end = callBack(await agree(link));
    await reached();
    // Its time comes while Xero has said what is connected and the answer is on its way.
    await runSql(service, "UPDATE release SET due_at = now() WHERE workspace_id = $1", [link.workspace]);
    const payload = JSON.stringify({ workspaceId: link.workspace, connectionId: link.id });
    const before = await dueAt();
    await runSql(service, "SELECT graphile_worker.add_job('release', $1::json)", [payload]);
    await until(async () => (await dueAt()) !== before);
    await release();
    expect(await end).toBe("connected");
    await untilDone(link);
    expect(await atXero(link)).toBeDefined();
    expect((await link.client.send(refresh)).errors).toBeUndefined();
    expect(await stateOf(link)).toMatchObject({ connectionStatus: "CONNECTED" });
  }, 30_000);

  it("does not revoke the grant under a consent that the same person gives meanwhile", async () => {
    const link = await newLink(service, "leaving", { setUp: false });
    const other = await unconnected(service, "joining");
    const joining = { ...other, userId: link.userId };
    const xeroId = await atXero(link);
    const { reached, release } = await hold(link, { method: "DELETE", path: `/connections/${xeroId}` }, "after");
    const ended = disconnect(link);
    await reached();
    await consentTo(joining);
    await release();
    await ended;
    await untilDone(link);
    expect(await atXero(link)).toBeUndefined();
    expect(await atXero(joining)).toBeDefined();
    expect((await joining.client.send(refresh)).errors).toBeUndefined();
    expect((await organisations(joining.client))[0]?.connectionStatus).toBe("CONNECTED");
  });

  it("fails the invoices that are queued at that time, and keeps what Xero answers for the one on its way", async () => {
    const link = await newLink(service, "with-a-queue");
    const { reached, release } = await hold(link, { method: "PUT", path: "/Invoices$" });
    const [sent, queued] = [await saveInvoice(link.client), await saveInvoice(link.client)];
    await syncInvoice(link.client, sent.id);
    await reached();
    await syncInvoice(link.client, queued.id);
    await disconnect(link);
    await release();
    const failed = await untilSync(link.client, queued.id, "FAILED");
    expect(failed.syncError).toMatchObject({ code: "XERO_NOT_CONNECTED", retryable: false });
    expect((await untilSync(link.client, sent.id, "SYNCED")).xeroId).not.toBeNull();
    expect(await inXeroOf(link, queued.number)).toEqual([]);
  });

  it.each([
    ["Xero ends it at once", undefined],
    ["Xero is down for that", "503-unavailable"],
  ])("sends nothing of an invoice that was being prepared, when %s", async (_when, fault) => {
    const link = await newLink(service, `preparing: ${fault ?? "up"}`);
    const participant = await saveParticipant(link.client);
    await syncedInvoice(link.client, { participantId: participant.id });
    await saveParticipant(link.client, { id: participant.id, email: "changed@example.com" });
    const { reached, release } = await hold(link, { method: "POST", path: "/Contacts" });
    const { id, number } = await saveInvoice(link.client, { participantId: participant.id });
    await syncInvoice(link.client, id);
    await reached();
    if (fault !== undefined) {
      await service.control("faults", { match: ending, fault, times: 20 });
    }
    await disconnect(link);
    await release();
    const ended = await untilSync(link.client, id, "FAILED", "SYNCED");
    expect([ended.syncStatus, ended.syncError?.code]).toEqual(["FAILED", "XERO_NOT_CONNECTED"]);
    expect(await inXeroOf(link, number)).toEqual([]);
    await service.control("faults/clear", {});
    await consentTo(link);
    await untilSync(link.client, id, "SYNCED");
    expect(await inXeroOf(link, number)).toHaveLength(1);
  });

  it.each([
    ["has", "lost-answer", false],
    ["has, and no longer knows the key of,", "lost-answer", true],
    ["does not have", "lost-request", false],
    ["does not have, and no longer knows the key of,", "lost-request", true],
  ])(
    "leaves an invoice in doubt that Xero %s until it is connected again, and then brings it there once",
    async (_what, fault, late) => {
      const link = await newLink(service, `in doubt: ${fault} ${late}`);
      const match = { method: "PUT", path: "/Invoices$", tenant: link.tenantId };
      await service.control("faults", { match, fault, times: 100 });
      const { id, number } = await saveInvoice(link.client);
      await syncInvoice(link.client, id);
      await untilSync(link.client, id, "UNCERTAIN");
      await disconnect(link);
      expect((await readInvoice(link.client, id)).syncStatus).toBe("UNCERTAIN");
      await service.control("faults/clear", {});
      if (late) {
        await service.control("clock/advance", { ms: 600_000 });
        await runSql(
          service,
          "UPDATE sync_batch SET key_used_at = key_used_at - interval '10 minutes' WHERE workspace_id = $1",
          [link.workspace],
        );
      }
      await consentTo(link);
      expect((await syncStory(link.client, id, "SYNCED", "FAILED")).at(-1)).toBe("SYNCED");
      expect(await inXeroOf(link, number)).toHaveLength(1);
      expect(await attemptsOf(link.client, id)).toHaveLength(1);
    },
    20_000,
  );

  it("is an administrator's, of the workspace's own links", async () => {
    const link = await newLink(service, "guarded", { setUp: false });
    const stranger = await service.client("admin", "strangers");
    const code = async (client: typeof stranger, id: string): Promise<unknown> =>
      (await client.send(disconnectXero, { id })).errors?.[0]?.extensions.code;
    for (const role of ["viewer", "bookkeeper"]) {
      expect(await code(await service.client(role, link.workspace), link.id)).toBe("FORBIDDEN");
    }
    expect(await code(stranger, link.id)).toBe("NOT_FOUND");
    expect(await code(link.client, "01890000-0000-7000-8000-000000000000")).toBe("NOT_FOUND");
    expect(await code(link.client, link.tenantId)).toBe("NOT_FOUND");
    expect(await stateOf(link)).toMatchObject({ connectionStatus: "CONNECTED" });
    expect(await atXero(link)).toBeDefined();
  });
});

it("a disconnect that meets a dead grant tells the user's other workspaces at once", async () => {
  const first = await newLink(service, "dead-first");
  const { tenantId } = await service.control<{ tenantId: string }>("organisations/add", { name: "Of dead-second" });
  const client = await service.client("admin", "dead-second");
  const second = { ...first, workspace: "dead-second", tenantId, client };
  await consentTo(second);
  const id = (await organisations(client))[0]?.id ?? "";
  await killGrant(first);
  await disconnect(first);
  expect(await untilStatus({ client, id }, "RECONNECT_REQUIRED")).toMatchObject({ tenantId });
  expect((await alertsOf(client, "OPEN")).map(({ kind }) => kind)).toEqual(["CONNECTION_LOST"]);
});

describe("a service that is started again", () => {
  it("ends at Xero what was disconnected while Xero was down", async () => {
    const first = await startService();
    try {
      const link = await newLink(first, "restarted", { setUp: false });
      await first.control("faults", {
        match: { method: "DELETE", path: "/connections/" },
        fault: "503-unavailable",
        times: 100,
      });
      expect(await disconnect(link)).toMatchObject({ connectionStatus: "DISCONNECTED" });
      await first.app.close();
      // What this process had in hand is anybody's now.
      expect(await runSql(first, "SELECT key FROM graphile_worker.jobs WHERE locked_at IS NOT NULL")).toEqual([]);
      expect(await atXero(link)).toBeDefined();
      await first.control("faults/clear", {});
      const second = await startApp(first.config, createLogger("silent"));
      try {
        await untilEnded(link);
        await untilDone(link);
        expect(await apiCalls(link, "PUT")).toEqual([]);
      } finally {
        await second.close();
      }
    } finally {
      await first.close();
    }
  }, 60_000);
});
