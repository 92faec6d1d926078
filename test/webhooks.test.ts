/** Xero's door: what is let in, what is kept of it, and that what it announces arrives here whatever the order. */
import { createHmac, randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "@jest/globals";
import pg from "pg";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { delivery, eventOf, type Posted, postDelivery, signatureOf } from "./support/deliveries.js";
import { readInvoice, saveInvoice, syncedInvoice, syncInvoice, untilPaid, untilSync } from "./support/records.js";
import { type Service, startService } from "./support/service.js";

const secondKey = "a second key to which the first is being rotated";

let service: Service;
let client: GraphqlClient;
let tenantId: string;

beforeAll(async () => {
  service = await startService();
  client = await service.readyClient();
  ({ tenantId } = (
    await client.ask<{ integration: { activeOrganisation: { tenantId: string } } }>(
      "{ integration { activeOrganisation { tenantId } } }",
    )
  ).integration.activeOrganisation);
});

afterAll(() => service.close());

interface Kept {
  workspace_id: string;
  tenant_id: string;
  category: string;
  event_type: string;
  resource_id: string;
  status: string;
}

/** What is kept in the database, which no client is shown; asked in one statement, for the embedded database has one session for all. */
async function kept(of: Service = service): Promise<Kept[]> {
  const database = new pg.Client(of.database.url);
  await database.connect();
  try {
    return (await database.query<Kept>("SELECT * FROM webhook_event ORDER BY id")).rows;
  } finally {
    await database.end();
  }
}

const sign = (body: string | Buffer, key = service.sandbox.webhookKey): string => signatureOf(body, key);

const post = (
  body: string | Buffer,
  signature: string | null,
  { to = service.url, ...options }: { method?: string; headers?: object; to?: string } = {},
): Promise<Posted> => postDelivery(to, body, signature, options);

const event = (changes: object = {}): Record<string, unknown> => eventOf(tenantId, changes);

const stored = async (one: Record<string, unknown>): Promise<Kept[]> =>
  (await kept()).filter(({ resource_id }) => resource_id === String(one["resourceId"]).toLowerCase());

describe("a delivery", () => {
  it.each<[string, (body: string) => string | null]>([
    ["unsigned", () => null],
    ["signed with nothing", () => ""],
    ["signed with garbage", () => "garbage"],
    ["signed with bytes that no header may hold", () => "\u00e9"],
    ["signed with another key", (body) => sign(body, "another key")],
    ["signed in hexadecimal", (body) => createHmac("sha256", service.sandbox.webhookKey).update(body).digest("hex")],
    ["signed over other bytes", (body) => sign(`${body} `)],
    ["signed over the same events, printed otherwise", (body) => sign(JSON.stringify(JSON.parse(body), null, 1))],
    ["signed and more", (body) => `${sign(body)}=`],
  ])("%s gets an empty 401 and leaves nothing", async (_name, signature) => {
    const one = event();
    const body = delivery(one);
    const answer = await post(body, signature(body));
    expect([answer.status, answer.text, answer.headers["set-cookie"]]).toEqual([401, "", undefined]);
    expect(await stored(one)).toEqual([]);
  });

  it("that was changed on its way gets an empty 401 and leaves nothing", async () => {
    const [mine, theirs] = [event(), event()];
    const answer = await post(delivery(theirs), sign(delivery(mine)));
    expect([answer.status, answer.text]).toEqual([401, ""]);
    expect([...(await stored(mine)), ...(await stored(theirs))]).toEqual([]);
  });

  it("is checked by its bytes, however they are spaced", async () => {
    const one = event();
    const body = `\n{"events" :[ ${JSON.stringify(one)}\t],"firstEventSequence": 1,\r\n"lastEventSequence":1, "entropy": "Ünïcode 👩"}  `;
    const answer = await post(body, sign(body));
    expect([answer.status, answer.text, answer.headers["set-cookie"]]).toEqual([200, "", undefined]);
    expect(await stored(one)).toHaveLength(1);
  });

  it("is good without a content type, and with any", async () => {
    for (const type of ["text/plain", "application/json", "application/x-www-form-urlencoded"]) {
      const one = event();
      expect((await post(delivery(one), sign(delivery(one)), { headers: { "content-type": type } })).status).toBe(200);
      expect(await stored(one)).toHaveLength(1);
    }
  });

  it("is kept once, however often it comes, and at once with itself", async () => {
    const one = event();
    const body = delivery(one, event(), one);
    const answers = await Promise.all([1, 2, 3, 4].map(() => post(body, sign(body))));
    answers.push(await post(body, sign(body)));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    expect(await stored(one)).toHaveLength(1);
  });

  it("of organisations and categories that nobody knows is kept, and not spoken of", async () => {
    const events = [
      event({ tenantId: randomUUID() }),
      event({ tenantId: "not-an-id" }),
      event({ eventCategory: "QUOTE" }),
      event({ eventType: "EXPLODED" }),
      event({ eventCategory: "SUBSCRIPTION", resourceId: "no uuid at all" }),
      event({ tenantType: "PRACTICE", data: { anything: true } }),
    ];
    const answer = await post(delivery(...events), sign(delivery(...events)));
    expect([answer.status, answer.text]).toEqual([200, ""]);
    for (const one of events) expect(await stored(one)).toHaveLength(1);
  });

  it.each<[string, () => string]>([
    ["no JSON", () => "garbage"],
    ["nothing", () => ""],
    ["null", () => "null"],
    ["a list", () => "[]"],
    ["no events", () => "{}"],
    ["events that are none", () => '{"events": "x"}'],
    ["events that hold nothing", () => '{"events": [null, 5, "x", {}]}'],
    ["NUL in an id", () => delivery(event({ resourceId: "a\0b" }))],
    ["NUL in a category", () => delivery(event({ eventCategory: "a\0b" }))],
    ["half a character in an organisation", () => delivery(event({ tenantId: "\ud800" }))],
    ["a day that no calendar has", () => delivery(event({ eventDateUtc: "+275760-09-13T00:00:00" }))],
    ["an id without end", () => delivery(event({ resourceId: "x".repeat(100_000) }))],
  ])("that is signed and holds %s gets 200, or Xero would send it for ever", async (_name, make) => {
    const body = make();
    const before = (await kept()).length;
    const answer = await post(body, sign(body));
    expect([answer.status, answer.text]).toEqual([200, ""]);
    expect((await kept()).length - before).toBeLessThanOrEqual(1);
  });

  it("with one event that can't be read still brings the others", async () => {
    const one = event();
    const body = delivery({ eventCategory: "NEW" }, one);
    expect((await post(body, sign(body))).status).toBe(200);
    expect(await stored(one)).toHaveLength(1);
  });

  it("that is compressed gets 415", async () => {
    const body = gzipSync(delivery(event()));
    const answer = await post(body, sign(body), { headers: { "content-encoding": "gzip" } });
    expect([answer.status, answer.text]).toEqual([415, ""]);
  });

  it("by another method gets 405", async () => {
    const methods = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "LOCK", "SEARCH"];
    for (const method of methods) {
      const answer = await post(method === "PUT" || method === "PATCH" ? delivery() : "", null, { method });
      expect([method, answer.status, answer.headers["allow"], answer.text]).toEqual([method, 405, "POST", ""]);
    }
  });

  it("by a browser gets 405 before it begins", async () => {
    const { origin } = new URL(service.url);
    for (const asked of [{}, { "access-control-request-method": "POST" }]) {
      const answer = await post("", null, { method: "OPTIONS", headers: { origin, ...asked } });
      expect([answer.status, answer.headers["allow"], answer.text]).toEqual([405, "POST", ""]);
      expect(answer.headers["access-control-allow-origin"]).toBeUndefined();
    }
  });

  it("over four megabytes gets 413, and just under it is taken", async () => {
    const limit = 4 * 1024 * 1024;
    const one = event();
    const fits = delivery(one).padEnd(limit, " ");
    const over = `${fits} `;
    expect(await post(over, sign(over))).toMatchObject({ status: 413, text: "" });
    expect(await stored(one)).toEqual([]);
    expect(await post(fits, sign(fits))).toMatchObject({ status: 200, text: "" });
    expect(await stored(one)).toHaveLength(1);
  });

  it("of many events is kept whole", async () => {
    const events = Array.from({ length: 1_000 }, () => event({ tenantId: "00000000-0000-4000-8000-00000000000a" }));
    expect((await post(delivery(...events), sign(delivery(...events)))).status).toBe(200);
    const ids = new Set((await kept()).map(({ resource_id }) => resource_id));
    expect(events.every(({ resourceId }) => ids.has(String(resourceId)))).toBe(true);
  });
});

describe("the intent to receive", () => {
  it("is passed, and shown to the administrator", async () => {
    const read = async () =>
      (
        await client.ask<{ integration: { webhook: Record<string, string | boolean | null> } }>(
          "{ integration { webhook { deliveryUrl configured lastValidatedAt lastEventAt } } }",
        )
      ).integration.webhook;
    await post(delivery(), "wrong");
    expect((await read())["lastValidatedAt"]).toBeNull();
    const before = new Date().toISOString();
    expect(await service.control("webhooks/intent-to-receive", {})).toMatchObject({ passed: true });
    const webhook = await read();
    expect(webhook).toMatchObject({ configured: true, deliveryUrl: `${service.url}/webhooks/xero` });
    expect(String(webhook["lastValidatedAt"]) >= before).toBe(true);
    const body = delivery(event());
    await post(body, sign(body));
    expect(String((await read())["lastEventAt"]) >= before).toBe(true);
  });
});

describe("a key", () => {
  it("may be one of several while it is rotated, and none where none is configured", async () => {
    const both = await startService({ environment: { XERO_WEBHOOK_KEYS: `the first key, ${secondKey}` } });
    const body = delivery(event());
    try {
      const answers = await Promise.all(
        ["the first key", secondKey, "a third key", ""].map((key) => post(body, sign(body, key), { to: both.url })),
      );
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 401, 401]);
      expect(await kept(both)).toHaveLength(1);
    } finally {
      await both.close();
    }
  });
});

describe("a payment that is announced", () => {
  beforeEach(() => service.control("calls/clear", {}));
  afterEach(() =>
    service.control("switches", { paymentEvents: ["INVOICE"], webhookPaused: false, webhookDuplicates: 0 }),
  );

  it.each([[["INVOICE"]], [["PAYMENT"]], [["INVOICE", "PAYMENT"]], [["PAYMENT", "INVOICE"]]])(
    "as %j arrives once",
    async (paymentEvents) => {
      await service.control("switches", { paymentEvents, webhookDuplicates: 1 });
      const { id, xeroId } = await syncedInvoice(client);
      const { paymentId } = await service.control<{ paymentId: string }>("pay", { invoiceId: xeroId, amount: "40.00" });
      const part = await untilPaid(client, id, ({ status }) => status === "PARTIALLY_PAID");
      expect(part.payments).toMatchObject([{ amount: "40.00", financeExternalId: paymentId, source: "XERO_WEBHOOK" }]);
      await service.control("unpay", { paymentId });
      const reversed = await untilPaid(client, id, ({ status }) => status === "APPROVED");
      expect(reversed).toMatchObject({ totalPaymentAmount: "0.00", amountDue: "100.00", payments: [{ paid: false }] });
    },
  );

  it("by nothing but another change of its invoice arrives with that", async () => {
    await service.control("switches", { paymentEvents: [] });
    const { id, xeroId } = await syncedInvoice(client);
    await service.control("pay", { invoiceId: xeroId, amount: "40.00" });
    await service.control("switches", { paymentEvents: ["INVOICE"] });
    await service.control("pay", { invoiceId: xeroId, amount: "1.00" });
    const part = await untilPaid(client, id, ({ totalPaymentAmount }) => totalPaymentAmount === "41.00");
    expect(part.payments).toHaveLength(2);
  });

  it("several times and in any order arrives as it stands in Xero", async () => {
    await service.control("switches", { webhookPaused: true });
    const { id, xeroId } = await syncedInvoice(client);
    for (const amount of ["10.00", "20.00", "30.00"]) await service.control("pay", { invoiceId: xeroId, amount });
    await service.control("switches", { webhookPaused: false, webhookShuffle: true, webhookBatchSize: 1 });
    const invoice = await untilPaid(client, id, ({ totalPaymentAmount }) => totalPaymentAmount === "60.00");
    expect(invoice.payments.map(({ amount }) => amount).sort()).toEqual(["10.00", "20.00", "30.00"]);
    await service.control("switches", { webhookShuffle: false, webhookBatchSize: 100 });
    await service.control("webhooks/drain", {});
    await service.control("webhooks/replay", { last: 3 });
    expect((await readInvoice(client, id)).payments).toHaveLength(3);
  });

  /** An invoice that Xero has and whose id is not here yet: Xero keeps back its answer until `release`. */
  async function onItsWay(): Promise<{ id: string; xeroId: string; release: () => Promise<unknown> }> {
    const name = `put-${randomUUID()}`;
    await service.control("hold", { name, match: { method: "PUT", path: "/Invoices$" }, phase: "after", times: 1 });
    const { id, number } = await saveInvoice(client);
    await syncInvoice(client, id);
    await service.control("hold/await", { name });
    const invoices = await service.control<{ InvoiceID: string; Reference: string }[]>("invoices");
    const xeroId = invoices.find(({ Reference }) => Reference === number)?.InvoiceID ?? "";
    return { id, xeroId, release: () => service.control("release", { name }) };
  }

  it.each([[["INVOICE"]], [["PAYMENT"]]])(
    "as %j before the invoice's id is known here arrives",
    async (paymentEvents) => {
      await service.control("switches", { paymentEvents });
      const { id, xeroId, release } = await onItsWay();
      await service.control("pay", { invoiceId: xeroId, amount: "40.00" });
      await service.control("webhooks/drain", {});
      await untilHandled(xeroId, paymentEvents[0] ?? "");
      await release();
      await untilSync(client, id, "SYNCED");
      const part = await untilPaid(client, id, ({ status }) => status === "PARTIALLY_PAID");
      expect(part).toMatchObject({ amountDue: "60.00", payments: [{ amount: "40.00" }] });
    },
  );

  it("while the events are being applied and the invoice's id is written back, arrives", async () => {
    const known = await syncedInvoice(client);
    await service.control("webhooks/drain", {});
    // The events of both are read together; reading the known one from Xero takes so long that the other's id comes in between.
    await service.control("switches", { webhookPaused: true });
    const { id, xeroId, release } = await onItsWay();
    await service.control("hold", { name: "get", match: { method: "GET", path: "/Invoices" }, times: 1 });
    await service.control("pay", { invoiceId: xeroId, amount: "40.00" });
    await service.control("pay", { invoiceId: known.xeroId, amount: "50.00" });
    await service.control("switches", { webhookPaused: false });
    await service.control("webhooks/drain", {});
    await service.control("hold/await", { name: "get" });
    await release();
    await untilSync(client, id, "SYNCED");
    await service.control("release", { name: "get" });
    await untilPaid(client, known.id, ({ status }) => status === "PARTIALLY_PAID");
    const part = await untilPaid(client, id, ({ status }) => status === "PARTIALLY_PAID");
    expect(part).toMatchObject({ amountDue: "60.00", payments: [{ amount: "40.00" }] });
  }, 20_000);

  /** Once the event about the invoice was looked at and laid aside: seen in the database only, so asked for until it is. */
  async function untilHandled(xeroId: string, category: string): Promise<void> {
    for (;;) {
      const events = (await kept()).filter((one) => one.category === category);
      const waiting = events.some(({ status }) => status === "RECEIVED");
      if (events.length > 0 && !waiting && (category !== "INVOICE" || events.some((one) => one.resource_id === xeroId)))
        return;
    }
  }
});
