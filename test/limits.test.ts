/** Xero's limits, counted before a call is made: five in progress and sixty a minute for an organisation, and the last of a day's calls for people. */
import { afterAll, beforeAll, beforeEach, expect, it } from "@jest/globals";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import {
  readInvoice,
  runSql,
  saveInvoice,
  syncedInvoice,
  syncInvoice,
  untilPaid,
  untilSync,
} from "./support/records.js";
import { type Service, startService } from "./support/service.js";

let service: Service;
let client: GraphqlClient;

beforeAll(async () => {
  service = await startService();
  client = await service.readyClient();
});

/** As if no call had been made yet, and Xero had said nothing of what it allows. */
beforeEach(async () => {
  await service.control("switches", { minuteLimit: 60, concurrentLimit: 5, dayLimit: 5_000 });
  await runSql(service, "DELETE FROM tenant_limit");
  await service.control("clock/advance", { ms: 60_000 });
  await service.control("calls/clear", {});
});

afterAll(() => service.close());

interface Calls {
  calls: { status: number; path: string }[];
  mostInFlight: Record<string, number>;
}

const accountingCalls = async (): Promise<Calls["calls"]> =>
  (await service.control<Calls>("calls?path=/api.xro/")).calls;

it("refuses what is too many for a minute itself, and says when to come again", async () => {
  const refresh = "mutation { refreshXeroData { enabled } }";
  const answers = await Promise.all(Array.from({ length: 30 }, () => client.send(refresh)));
  const refused = answers.flatMap(({ errors }) => errors ?? []);
  const calls = await accountingCalls();
  // Each refresh takes three calls, and thirty of them ninety.
  expect(calls.length).toBeGreaterThan(30);
  expect(calls.length).toBeLessThanOrEqual(60);
  expect(new Set(calls.map(({ status }) => status))).toEqual(new Set([200]));
  expect(refused.length).toBeGreaterThanOrEqual(10);
  for (const { extensions } of refused) {
    expect(extensions).toMatchObject({ code: "XERO_RATE_LIMITED" });
    expect(extensions["retryAfterSeconds"]).toBeGreaterThan(0);
    expect(extensions["retryAfterSeconds"]).toBeLessThanOrEqual(61);
  }
});

it("never has more than five calls in progress", async () => {
  await service.control("switches", { minuteLimit: 100_000 });
  await service.control("hold", { name: "slow", match: { path: "/Organisation$" }, phase: "before" });
  const going = Array.from({ length: 8 }, () => client.send("mutation { refreshXeroData { enabled } }"));
  await service.control("hold/await", { name: "slow", count: 1 });
  await service.control("release", { name: "slow" });
  const answers = await Promise.all(going);
  expect(answers.flatMap(({ errors }) => errors ?? [])).toEqual([]);
  const calls = await accountingCalls();
  expect(calls).toHaveLength(32);
  expect(calls.filter(({ status }) => status === 429)).toEqual([]);
});

it("keeps the last tenth of a day's calls for what a person asks for", async () => {
  const invoice = await syncedInvoice(client);
  const [seen] = await runSql<{ left: number }>(service, "SELECT day_remaining AS left FROM tenant_limit");
  await service.control("switches", { dayLimit: 5_000 - (seen?.left ?? 0) + 90 });
  await runSql(service, "UPDATE tenant_limit SET day_limit = 1000, day_remaining = 90, day_seen_at = now()");
  await service.control("pay", { reference: invoice.number });
  await service.control("webhooks/drain", {});
  await service.control("calls/clear", {});
  const pressed = await saveInvoice(client);
  await syncInvoice(client, pressed.id);
  expect((await untilSync(client, pressed.id, "SYNCED", "FAILED")).syncStatus).toBe("SYNCED");
  expect((await accountingCalls()).filter(({ path }) => path.endsWith("/Invoices")).length).toBe(1);
  expect((await readInvoice(client, invoice.id)).status).toBe("APPROVED");
  // The next day there are more again, and Xero says so once it is asked.
  await service.control("switches", { dayLimit: 5_000 });
  await runSql(service, "UPDATE tenant_limit SET day_seen_at = now() - interval '16 minutes'");
  await runSql(service, "UPDATE connection SET pull_not_before = NULL");
  await client.ask("mutation { updateIntegration(input: { enabled: true }) { enabled } }");
  expect((await untilPaid(client, invoice.id, ({ status }) => status === "PAID")).status).toBe("PAID");
});

it("waits for the Retry-After that Xero names, whichever call it was", async () => {
  await service.control("faults", {
    match: { path: "/Organisation$" },
    fault: "429-minute",
    retryAfterSeconds: 2,
    times: 1,
  });
  const { errors } = await client.send("mutation { refreshXeroData { enabled } }");
  expect(errors?.[0]?.extensions).toMatchObject({ code: "XERO_RATE_LIMITED", retryAfterSeconds: 2 });
  await service.control("calls/clear", {});
  const started = Date.now();
  const invoice = await saveInvoice(client);
  await syncInvoice(client, invoice.id);
  await untilSync(client, invoice.id, "SYNCED");
  // It may have been queued a moment after the 429, but never sent before its two seconds were over.
  expect(Date.now() - started).toBeGreaterThan(1_000);
  expect((await accountingCalls()).every(({ status }) => status === 200)).toBe(true);
});
