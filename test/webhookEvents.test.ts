/** What Xero announced, as a workspace sees it: listed, and looked at once more by hand. */
import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { deliver, eventOf } from "./support/deliveries.js";
import { apiCalls, consentTo, disconnect, hold, type Link, newLink, until, update } from "./support/links.js";
import { type InvoiceState, readInvoice, runSql, syncedInvoice, untilPaid } from "./support/records.js";
import { type Service, startService } from "./support/service.js";

interface EventState {
  id: string;
  category: string;
  eventType: string;
  resourceId: string;
  eventDate: string;
  receivedAt: string;
  status: string;
  detail: string | null;
}

interface EventPage {
  totalCount: number;
  nodes: EventState[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
}

const fields = "id category eventType resourceId eventDate receivedAt status detail";

let service: Service;
let link: Link;
let client: GraphqlClient;

beforeAll(async () => {
  service = await startService();
  // Only what a test posts by itself.
  await service.control("webhooks", { categories: [] });
  link = await newLink(service, "one");
  client = link.client;
});

afterAll(() => service.close());

async function list(variables: { first?: number; after?: string | null; status?: string | null }): Promise<EventPage> {
  const { webhookEvents } = await client.ask<{ webhookEvents: EventPage }>(
    `query ($first: Int, $after: String, $status: WebhookEventStatus) {
       webhookEvents(first: $first, after: $after, status: $status) { totalCount nodes { ${fields} } pageInfo { hasNextPage endCursor } } }`,
    variables,
  );
  return webhookEvents;
}

const find = async (resourceId: string): Promise<EventState | undefined> =>
  (await list({ first: 100 })).nodes.find((each) => each.resourceId === resourceId);

/** The event about the resource once it is as wanted. */
async function untilEvent(resourceId: string, wanted: (event: EventState) => boolean): Promise<EventState> {
  let found: EventState | undefined;
  await until(async () => {
    found = await find(resourceId);
    return found !== undefined && wanted(found);
  });
  if (!found) throw new Error("there is no such event");
  return found;
}

const isDone = ({ status }: EventState): boolean => status !== "RECEIVED";

async function replay({ id }: EventState, as = client): Promise<EventState> {
  const { replayWebhookEvent } = await as.ask<{ replayWebhookEvent: EventState }>(
    `mutation ($id: ID!) { replayWebhookEvent(id: $id) { ${fields} } }`,
    { id },
  );
  return replayWebhookEvent;
}

/** An invoice in Xero about which one event has come, and was applied. */
async function announcedInvoice(): Promise<{ invoice: InvoiceState; xeroId: string; event: EventState }> {
  const invoice = await syncedInvoice(client);
  const xeroId = invoice.xeroId ?? "";
  await deliver(service, eventOf(link.tenantId, { resourceId: xeroId }));
  return { invoice, xeroId, event: await untilEvent(xeroId, isDone) };
}

describe("the list of webhook events", () => {
  it("shows what came, what became of it and why", async () => {
    const { event } = await announcedInvoice();
    expect(event).toMatchObject({
      category: "INVOICE",
      eventType: "UPDATE",
      eventDate: "2026-11-21T03:04:05.678Z",
      status: "APPLIED",
      detail: null,
    });
    const stranger = randomUUID();
    await deliver(service, eventOf(link.tenantId, { resourceId: stranger, eventCategory: "QUOTE" }));
    expect(await untilEvent(stranger, isDone)).toMatchObject({
      category: "QUOTE",
      status: "IGNORED",
      detail: "nothing here depends on QUOTE",
    });
  });

  it("is in pages, the newest first, each event once", async () => {
    // In one delivery as well: then the same moment is shared by several.
    await deliver(service, ...Array.from({ length: 7 }, () => eventOf(link.tenantId)));
    for (let times = 0; times < 4; times += 1) await deliver(service, eventOf(link.tenantId));
    const all = await list({ first: 100 });
    expect(all.totalCount).toBe(all.nodes.length);
    const newestFirst = [...all.nodes].sort(
      (a, b) => b.receivedAt.localeCompare(a.receivedAt) || b.id.localeCompare(a.id),
    );
    const ids = newestFirst.map(({ id }) => id);
    expect(all.nodes.map(({ id }) => id)).toEqual(ids);
    const paged: string[] = [];
    for (let after: string | null = null, more = true; more;) {
      const page: EventPage = await list({ first: 3, after });
      paged.push(...page.nodes.map(({ id }) => id));
      ({ hasNextPage: more, endCursor: after } = page.pageInfo);
    }
    expect(paged).toEqual(ids);
  });

  it("is of one status where that is asked for", async () => {
    await until(async () => (await list({ status: "RECEIVED" })).totalCount === 0);
    const { event } = await announcedInvoice();
    await runSql(service, "UPDATE webhook_event SET status = 'FAILED' WHERE id = $1", [event.id]);
    const failed = await list({ status: "FAILED" });
    expect(failed).toMatchObject({ totalCount: 1, nodes: [{ id: event.id, status: "FAILED" }] });
    const ignored = await list({ status: "IGNORED", first: 100 });
    expect(new Set(ignored.nodes.map(({ status }) => status))).toEqual(new Set(["IGNORED"]));
    const applied = await list({ status: "APPLIED", first: 100 });
    expect((await list({ first: 100 })).totalCount).toBe(1 + ignored.totalCount + applied.totalCount);
  });

  it("keeps when an event first came, and the service when it last did", async () => {
    const { xeroId, event } = await announcedInvoice();
    const touched = async (): Promise<Date | undefined> =>
      (await runSql<{ at: Date }>(service, "SELECT touched_at AS at FROM webhook_event WHERE id = $1", [event.id]))[0]
        ?.at;
    const before = await touched();
    await deliver(service, eventOf(link.tenantId, { resourceId: xeroId }));
    expect((await untilEvent(xeroId, isDone)).receivedAt).toBe(event.receivedAt);
    expect(Number(await touched())).toBeGreaterThan(Number(before));
  });
});

describe("an event that is replayed", () => {
  afterEach(() => update(client, { enabled: true }));

  it("brings what Xero holds now", async () => {
    const { invoice, xeroId, event } = await announcedInvoice();
    await service.control("pay", { invoiceId: xeroId, amount: "40.00" });
    const replayed = await replay(event, await service.client("bookkeeper"));
    expect(replayed).toMatchObject({ id: event.id, status: "RECEIVED", receivedAt: event.receivedAt });
    const paid = await untilPaid(client, invoice.id, ({ status }) => status === "PARTIALLY_PAID");
    expect(paid.payments).toMatchObject([{ amount: "40.00" }]);
    expect(await untilEvent(xeroId, isDone)).toMatchObject({ status: "APPLIED", detail: null });
  });

  it("changes nothing where nothing has changed, and is harmless while it is RECEIVED still", async () => {
    const { invoice, xeroId, event } = await announcedInvoice();
    const before = await readInvoice(client, invoice.id);
    await update(client, { enabled: false });
    const details = [await replay(event), await replay(event)].map(({ status, detail }) => {
      expect(status).toBe("RECEIVED");
      return detail;
    });
    expect(new Set(details).size).toBe(2);
    await update(client, { enabled: true });
    expect(await untilEvent(xeroId, isDone)).toMatchObject({ status: "APPLIED" });
    expect(await readInvoice(client, invoice.id)).toEqual(before);
  });

  it("while it is being applied is applied once more", async () => {
    const { invoice, xeroId, event } = await announcedInvoice();
    const read = { method: "GET", path: "/Invoices" };
    const { reached, release } = await hold(link, read, "after");
    await service.control("calls/clear", {});
    await replay(event);
    await reached();
    // Xero has answered, and the answer is on its way: what comes now is not in it.
    await service.control("pay", { invoiceId: xeroId, amount: "40.00" });
    await replay(event);
    await release();
    await untilPaid(client, invoice.id, ({ status }) => status === "PARTIALLY_PAID");
    expect(await untilEvent(xeroId, isDone)).toMatchObject({ status: "APPLIED" });
    expect((await apiCalls(link, "GET")).filter(({ path }) => path.includes("/Invoices"))).toHaveLength(2);
  });

  it("while the link is down waits until it is up", async () => {
    const { invoice, xeroId, event } = await announcedInvoice();
    await service.control("pay", { invoiceId: xeroId, amount: "40.00" });
    await disconnect(link);
    expect(await replay(event)).toMatchObject({ status: "RECEIVED" });
    await consentTo(link);
    await untilPaid(client, invoice.id, ({ status }) => status === "PARTIALLY_PAID");
    expect(await untilEvent(xeroId, isDone)).toMatchObject({ status: "APPLIED" });
  });
});
