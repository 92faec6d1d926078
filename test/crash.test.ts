/**
 * Whatever goes wrong between us and Xero, the invoice ends up there once: every fault of the sandbox on the writes, keys that are too old to
 * be sent again, and a batch that another worker takes over.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "@jest/globals";
import { GraphqlClient, signToken } from "../demo/graphqlClient.js";
import { startApp } from "../src/app.js";
import { createLogger } from "../src/logger.js";
import {
  inXero,
  readInvoice,
  runSql,
  saveInvoice,
  saveParticipant,
  syncInvoice,
  syncStory,
  untilSync,
} from "./support/records.js";
import { inXeroOf, type Link, newLink } from "./support/links.js";
import { secret, type Service, startService } from "./support/service.js";

const putInvoices = { method: "PUT", path: "/Invoices$" };
const putContacts = { method: "PUT", path: "/Contacts$" };

interface LoggedCall {
  at: number;
  method: string;
  path: string;
  status: number | string;
  idempotencyKey?: string;
  bodySha256?: string;
}

interface Fault {
  fault: string;
  ms?: number;
  phase?: "before" | "after";
  retryAfterSeconds?: number;
}

const faults: [name: string, fault: Fault, uncertain: boolean][] = [
  ["500 before the write", { fault: "500-before-write" }, true],
  ["500 after the write", { fault: "500-after-write" }, true],
  ["a lost request", { fault: "lost-request" }, true],
  ["a lost answer", { fault: "lost-answer" }, true],
  ["503 maintenance", { fault: "503-maintenance" }, true],
  ["503 unavailable", { fault: "503-unavailable" }, true],
  ["503 organisation offline", { fault: "503-organisation-offline" }, true],
  ["429 minute", { fault: "429-minute", retryAfterSeconds: 1 }, false],
  ["429 day", { fault: "429-day", retryAfterSeconds: 1 }, false],
  ["an answer too late, written late", { fault: "slow", ms: 700, phase: "before" }, true],
  ["an answer too late, written at once", { fault: "slow", ms: 700, phase: "after" }, true],
  ["garbage for an answer", { fault: "garbage-200" }, true],
  ["an empty answer", { fault: "empty-200" }, true],
];

async function putsOf(service: Service): Promise<LoggedCall[]> {
  return (await service.control<{ calls: LoggedCall[] }>("calls?path=/Invoices&method=PUT")).calls;
}

/** Times are scaled: a call has half a second, a lease lasts one. */
const scaled = { XERO_REQUEST_TIMEOUT: "500ms", SYNC_LEASE: "1s" };

/** The faults that an error under a key makes. */
const errors = faults.filter(([, { fault }]) => /^50/.test(fault));

interface Case {
  link: Link;
  invoiceId: string;
  number: string;
  contactNumber: string;
}

/** An invoice per fault, all on their way at once, each in an organisation of its own, so that none waits for another's fault. */
async function startAll(
  service: Service,
  wanted: typeof faults,
  where: "invoice" | "contact",
): Promise<Map<string, Case>> {
  const cases = new Map<string, Case>();
  for (const [index, [name, fault]] of wanted.entries()) {
    const link = await newLink(service, `${where}-${index}`);
    const participant = await saveParticipant(link.client);
    const invoice = await saveInvoice(link.client, { participantId: participant.id });
    const match = { ...(where === "invoice" ? putInvoices : putContacts), tenant: link.tenantId };
    await service.control("faults", { match, ...fault });
    await syncInvoice(link.client, invoice.id);
    const { contactNumber } = participant;
    cases.set(name, { link, invoiceId: invoice.id, number: invoice.number, contactNumber });
  }
  for (const { link, invoiceId } of cases.values()) await untilSync(link.client, invoiceId, "SYNCED", "FAILED");
  return cases;
}

describe.each([
  ["that remembers errors under a key", true],
  ["that forgets errors under a key", false],
])("a Xero %s", (_name, remembers) => {
  let service: Service;
  let client: GraphqlClient;
  let cases: Map<string, Case>;
  let contactCases: Map<string, Case>;
  const wanted = remembers ? faults : errors;

  beforeAll(async () => {
    service = await startService({ environment: scaled });
    client = await service.readyClient();
    await service.control("switches", {
      minuteLimit: 10_000,
      idempotencyCaches400: remembers,
      idempotencyCaches500: remembers,
      idempotencyCaches503: remembers,
    });
    cases = await startAll(service, wanted, "invoice");
    // Keys of contacts are never used again, so what Xero remembers of them does not matter.
    contactCases = await startAll(service, remembers ? faults : [], "contact");
    // An organisation for each fault has to be connected first.
  }, 120_000);

  afterAll(() => service.close());

  it.each(wanted)("has an invoice once after %s", async (name, _fault, uncertain) => {
    const { link, invoiceId, number } = cases.get(name) as Case;
    const story = await syncStory(link.client, invoiceId, "SYNCED", "FAILED");
    expect(story.at(-1)).toBe("SYNCED");
    expect(story.includes("UNCERTAIN")).toBe(uncertain);
    const found = await inXeroOf(link, number);
    expect(found).toMatchObject([{ Status: "AUTHORISED" }]);
    const { xeroId, syncError, syncAttempts } = await readInvoice(link.client, invoiceId);
    expect(found).toMatchObject([{ InvoiceID: xeroId }]);
    expect(syncError).toBeNull();
    expect(syncAttempts).toHaveLength(1);
    expect(["CREATED", "ADOPTED"]).toContain(syncAttempts[0]?.outcome);
  });

  if (remembers) {
    it.each(faults)("has a contact once after %s", async (name) => {
      const { link, invoiceId, number, contactNumber } = contactCases.get(name) as Case;
      const story = await syncStory(link.client, invoiceId, "SYNCED", "FAILED");
      expect(story.at(-1)).toBe("SYNCED");
      // Of the invoice nothing was sent, so there is nothing to be uncertain of.
      expect(story).not.toContain("UNCERTAIN");
      const contacts = await service.control<{ ContactNumber?: string }[]>(`contacts?tenant=${link.tenantId}`);
      expect(contacts.filter(({ ContactNumber }) => ContactNumber === contactNumber)).toHaveLength(1);
      expect(await inXeroOf(link, number)).toHaveLength(1);
    });
  }

  it.each(["before", "after"])("has an invoice once when the call hangs %s the write", async (phase) => {
    const invoice = await saveInvoice(client, { number: `HANGS-${phase}` });
    const body = `"${invoice.number}"`;
    const hanging = await service.control<{ id: string }>("faults", {
      match: { ...putInvoices, body },
      fault: "hang",
      phase,
    });
    await syncInvoice(client, invoice.id);
    const story = await syncStory(client, invoice.id, "SYNCED", "FAILED");
    await service.control("faults/clear", { id: hanging.id });
    expect([story.includes("UNCERTAIN"), story.at(-1)]).toEqual([true, "SYNCED"]);
    expect((await inXero(service, invoice.number)).map(({ Status }) => Status)).toEqual(["AUTHORISED"]);
  });
});

describe("Xero at its own pace", () => {
  let service: Service;
  let client: GraphqlClient;

  beforeAll(async () => {
    service = await startService();
    client = await service.readyClient();
    await service.control("switches", { minuteLimit: 10_000 });
  });

  beforeEach(async () => {
    await service.control("faults/clear", {});
    await service.control("calls/clear", {});
  });

  afterAll(() => service.close());

  /** The batch's key was first used ten minutes ago, so Xero has forgotten it. */
  async function ageKeys(): Promise<void> {
    await service.control("clock/advance", { ms: 600_000 });
    await runSql(service, "UPDATE sync_batch SET key_used_at = now() - interval '10 minutes' WHERE state = 'SENT'");
  }

  it("is not called again before Retry-After", async () => {
    const invoice = await saveInvoice(client);
    await service.control("faults", { match: putInvoices, fault: "429-minute", retryAfterSeconds: 2 });
    await syncInvoice(client, invoice.id);
    await untilSync(client, invoice.id, "SYNCED", "FAILED");
    const [refused, accepted, ...more] = await putsOf(service);
    expect([refused?.status, accepted?.status, more.length]).toEqual([429, 200, 0]);
    expect((accepted?.at ?? 0) - (refused?.at ?? 0)).toBeGreaterThanOrEqual(2_000);
    expect((await inXero(service, invoice.number)).map(({ Status }) => Status)).toEqual(["AUTHORISED"]);
  });

  it("is sent exactly the same bytes under the same key again", async () => {
    const invoice = await saveInvoice(client);
    await service.control("faults", { match: putInvoices, fault: "lost-answer" });
    await syncInvoice(client, invoice.id);
    await untilSync(client, invoice.id, "SYNCED", "FAILED");
    const [first, second] = await putsOf(service);
    expect(second).toMatchObject({ idempotencyKey: first?.idempotencyKey, bodySha256: first?.bodySha256 });
  });

  it("is asked what it has when the key is too old, and what is there is adopted", async () => {
    const invoice = await saveInvoice(client);
    await service.control("hold", { name: "written", match: putInvoices, phase: "after", times: 1 });
    await service.control("faults", { match: putInvoices, fault: "lost-answer" });
    await syncInvoice(client, invoice.id);
    await service.control("hold/await", { name: "written", count: 1 });
    await ageKeys();
    await service.control("release", { name: "written" });
    const adopted = await untilSync(client, invoice.id, "SYNCED", "FAILED");
    expect(adopted.syncAttempts[0]?.outcome).toBe("ADOPTED");
    expect(await putsOf(service)).toHaveLength(1);
    expect((await inXero(service, invoice.number)).map(({ Status }) => Status)).toEqual(["AUTHORISED"]);
  });

  it("is sent under a new key what it provably has not when the old key is too old", async () => {
    const invoice = await saveInvoice(client);
    await service.control("hold", { name: "refused", match: putInvoices, phase: "after", times: 1 });
    await service.control("faults", { match: putInvoices, fault: "500-before-write" });
    await syncInvoice(client, invoice.id);
    await service.control("hold/await", { name: "refused", count: 1 });
    await ageKeys();
    await service.control("release", { name: "refused" });
    const synced = await untilSync(client, invoice.id, "SYNCED", "FAILED");
    expect(synced.syncAttempts[0]?.outcome).toBe("CREATED");
    const puts = await putsOf(service);
    expect(new Set(puts.map(({ idempotencyKey }) => idempotencyKey)).size).toBe(puts.length);
    expect((await inXero(service, invoice.number)).map(({ Status }) => Status)).toEqual(["AUTHORISED"]);
  });

  it("has an invoice once when somebody takes over a batch that was sent and is then told to wait", async () => {
    const invoice = await saveInvoice(client);
    await service.control("hold", { name: "written", match: putInvoices, phase: "after", times: 1 });
    await syncInvoice(client, invoice.id);
    await service.control("hold/await", { name: "written", count: 1 });
    // The holder fell silent: it has the answer still to come, and its lease has run out.
    await runSql(service, "UPDATE sync_batch SET lease_until = now() WHERE state = 'SENT'");
    await service.control("faults", { match: putInvoices, fault: "429-minute", retryAfterSeconds: 1 });
    const other = await saveInvoice(client);
    await syncInvoice(client, other.id);
    await untilSync(client, invoice.id, "SYNCED", "FAILED");
    await service.control("release", { name: "written" });
    await untilSync(client, other.id, "SYNCED", "FAILED");
    expect((await inXero(service, invoice.number)).map(({ Status }) => Status)).toEqual(["AUTHORISED"]);
    expect((await readInvoice(client, invoice.id)).syncStatus).toBe("SYNCED");
  });

  it("does not call an invoice failed that a taken-over batch may have brought there", async () => {
    const invoice = await saveInvoice(client);
    await service.control("hold", { name: "written", match: putInvoices, phase: "after", times: 1 });
    await syncInvoice(client, invoice.id);
    await service.control("hold/await", { name: "written", count: 1 });
    await runSql(service, "UPDATE sync_batch SET lease_until = now() WHERE state = 'SENT'");
    await service.control("role", { endpoint: "Invoices", allowed: false });
    const other = await saveInvoice(client);
    await syncInvoice(client, other.id);
    await untilSync(client, other.id, "FAILED");
    await service.control("role", { endpoint: "Invoices", allowed: true });
    await service.control("release", { name: "written" });
    await syncInvoice(client, invoice.id);
    await untilSync(client, invoice.id, "SYNCED");
    expect((await inXero(service, invoice.number)).map(({ Status }) => Status)).toEqual(["AUTHORISED"]);
  });
});

it("finds an invoice again after APP_URL has changed, which its link in Xero was made from", async () => {
  const service = await startService({ environment: { APP_URL: "https://before.example.com" } });
  try {
    const client = await service.readyClient();
    const invoice = await saveInvoice(client);
    await service.control("hold", { name: "written", match: putInvoices, phase: "after", times: 1 });
    await service.control("faults", { match: putInvoices, fault: "lost-answer" });
    await syncInvoice(client, invoice.id);
    await service.control("hold/await", { name: "written", count: 1 });
    // Off, so that this process leaves the doubt to the next one.
    const enabled = "mutation ($on: Boolean!) { updateIntegration(input: { enabled: $on }) { enabled } }";
    await client.ask(enabled, { on: false });
    await service.control("release", { name: "written" });
    await untilSync(client, invoice.id, "UNCERTAIN");
    await client.close();
    await service.app.close();
    const app = await startApp({ ...service.config, appUrl: "https://after.example.com" }, createLogger("silent"));
    const nextClient = new GraphqlClient(app.url, await signToken(secret, { workspace: "one", role: "admin" }));
    try {
      await nextClient.ask(enabled, { on: true });
      const other = await saveInvoice(nextClient);
      await syncInvoice(nextClient, other.id);
      await untilSync(nextClient, other.id, "SYNCED");
      const synced = await untilSync(nextClient, invoice.id, "SYNCED", "FAILED");
      expect(synced.syncStatus).toBe("SYNCED");
      expect((await inXero(service, invoice.number)).map(({ Status }) => Status)).toEqual(["AUTHORISED"]);
    } finally {
      await nextClient.close();
      await app.close();
    }
  } finally {
    await service.close();
  }
});
