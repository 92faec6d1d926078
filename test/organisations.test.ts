/**
 * Several organisations, workspaces and Xero users at once: what a consent lists, which organisation is active, where records stay, and that
 * no workspace disturbs or sees another that shares its Xero user or its organisation.
 */
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "@jest/globals";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { configure, consent } from "../demo/setUp.js";
import { startApp } from "../src/app.js";
import { createLogger } from "../src/logger.js";
import {
  inXero,
  type InvoiceState,
  readInvoice,
  runSql,
  saveInvoice,
  saveParticipant,
  syncedInvoice,
  syncInvoice,
  untilPaid,
  untilSync,
} from "./support/records.js";
import { Service, startService } from "./support/service.js";

interface Organisation {
  id: string;
  tenantId: string;
  name: string;
  tenantType: string;
  connectionStatus: string;
  statusReason: string | null;
  missingScopes: string[];
  active: boolean;
  baseCurrency: string | null;
  isDemoCompany: boolean | null;
}

/** A link as Xero has it. */
interface Link {
  id: string;
  userId: string;
  tenantId: string;
}

/** Who says yes next, and to which organisations; nobody named is Xero's first user. */
interface Choice {
  organisations: string[];
  userId?: string | undefined;
}

let service: Service;

beforeAll(async () => {
  // Links are looked after every five seconds, and each is tried every twenty: what must stay untouched must bear it.
  service = await startService({ environment: { CONNECTION_CHECK_EVERY: "20s" } });
});

beforeEach(async () => {
  await service.control("faults/clear", {});
  await service.control("calls/clear", {});
});

afterAll(() => service.close());

async function addOrganisation(name: string, more: object = {}): Promise<string> {
  return (await service.control<{ tenantId: string }>("organisations/add", { name, ...more })).tenantId;
}

async function addUser(): Promise<string> {
  return (await service.control<{ userId: string }>("users/add", {})).userId;
}

/** Follows a consent; answers how it ended. */
async function connect(by: GraphqlClient, choice: Choice): Promise<string> {
  await service.control("consent/next", choice);
  return (await consent(by)).search;
}

/** An administrator's client of a workspace that is connected so and set up. */
async function setUp(workspace: string, choice: Choice): Promise<GraphqlClient> {
  const client = await service.client("admin", workspace);
  expect(await connect(client, choice)).toBe("?xero=connected");
  await configure(client);
  return client;
}

async function organisations(by: GraphqlClient): Promise<Organisation[]> {
  const answer = await by.ask<{ xeroOrganisations: Organisation[] }>(
    `{ xeroOrganisations { id tenantId name tenantType connectionStatus statusReason missingScopes active baseCurrency
       isDemoCompany } }`,
  );
  return answer.xeroOrganisations;
}

async function organisation(by: GraphqlClient, tenantId: string): Promise<Organisation> {
  const found = (await organisations(by)).filter((one) => one.tenantId === tenantId);
  expect(found).toHaveLength(1);
  return found[0] as Organisation;
}

/** The tenant id of the organisation that syncs use, by the list and by the settings, which must agree. */
async function activeTenant(by: GraphqlClient): Promise<string | null> {
  const { integration } = await by.ask<{ integration: { activeOrganisation: { tenantId: string } | null } }>(
    "{ integration { activeOrganisation { tenantId } } }",
  );
  const active = (await organisations(by)).filter(({ active: flag }) => flag);
  const tenantId = integration.activeOrganisation?.tenantId ?? null;
  expect(active.map((one) => one.tenantId)).toEqual(tenantId === null ? [] : [tenantId]);
  return tenantId;
}

async function select(by: GraphqlClient, tenantId: string): Promise<void> {
  const { id } = await organisation(by, tenantId);
  await by.ask("mutation ($id: ID!) { selectXeroOrganisation(id: $id) { id } }", { id });
}

async function disconnect(by: GraphqlClient, tenantId: string): Promise<string> {
  const { id } = await organisation(by, tenantId);
  const { disconnectXero } = await by.ask<{ disconnectXero: { connectionStatus: string } }>(
    "mutation ($id: ID!) { disconnectXero(organisationId: $id) { connectionStatus } }",
    { id },
  );
  return disconnectXero.connectionStatus;
}

async function missingSetup(by: GraphqlClient): Promise<string[]> {
  return (await by.ask<{ integration: { missingSetup: string[] } }>("{ integration { missingSetup } }")).integration
    .missingSetup;
}

/** What belongs to the active organisation among the settings. */
async function choices(by: GraphqlClient): Promise<object> {
  return by.ask(`{ integration { missingSetup salesAccount { accountId code } paymentAccount { accountId } defaultTaxRate { id } }
    taxRates { id xeroTaxRate { taxType } } }`);
}

async function codeOf(by: GraphqlClient, mutation: string, id: string): Promise<string | undefined> {
  return (await by.send(`mutation ($id: ID!) { ${mutation} }`, { id })).errors?.[0]?.extensions.code;
}

const selecting = "selectXeroOrganisation(id: $id) { id }";
const disconnecting = "disconnectXero(organisationId: $id) { id }";

async function tenantOf(by: GraphqlClient, invoiceId: string): Promise<string | undefined> {
  const { invoice } = await by.ask<{ invoice: { xeroOrganisation: { tenantId: string } | null } }>(
    "query ($id: ID!) { invoice(id: $id) { xeroOrganisation { tenantId } } }",
    { id: invoiceId },
  );
  return invoice.xeroOrganisation?.tenantId;
}

async function contactOf(by: GraphqlClient, participantId: string): Promise<string | null> {
  const { participant } = await by.ask<{ participant: { xeroContactId: string | null } }>(
    "query ($id: ID!) { participant(id: $id) { xeroContactId } }",
    { id: participantId },
  );
  return participant.xeroContactId;
}

async function calls(method: string, path: string): Promise<{ path: string; tenantId?: string }[]> {
  return (
    await service.control<{ calls: { path: string; tenantId?: string }[] }>(
      `calls?${new URLSearchParams({ method, path }).toString()}`,
    )
  ).calls;
}

/** The links that were ended at Xero since the test began, by their ids there. */
async function ended(): Promise<string[]> {
  return (await calls("DELETE", "/connections/")).map(({ path }) => path.slice("/connections/".length));
}

async function revocations(): Promise<number> {
  return (await calls("POST", "/connect/revocation$")).length;
}

async function links(tenantId: string): Promise<Link[]> {
  const { connections } = await service.control<{ connections: Link[] }>("state");
  return connections.filter((link) => link.tenantId === tenantId);
}

/** The one link that Xero has to the organisation. */
async function linkTo(tenantId: string): Promise<Link> {
  const found = await links(tenantId);
  expect(found).toHaveLength(1);
  return found[0] as Link;
}

/** For what no subscription tells. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error("it did not come about");
    await delay(50);
  }
}

/** Once all is ended at Xero that is to be ended there, and nobody is about to do it again. */
async function untilReleased(): Promise<void> {
  const going = "SELECT 1 FROM release UNION ALL SELECT 1 FROM graphile_worker.jobs WHERE task_identifier = 'release'";
  await until(async () => (await runSql(service, going)).length === 0);
}

/** Once the organisation's status is this one, told by the subscription from the log's beginning. */
async function untilStatus(by: GraphqlClient, tenantId: string, status: string): Promise<Organisation> {
  const events = by.watch<{ connectionStatus: { status: string; organisation: { tenantId: string } } }>(
    'subscription { connectionStatus(after: "0") { status organisation { tenantId } } }',
  );
  for await (const { connectionStatus: event } of events) {
    if (event.organisation.tenantId !== tenantId || event.status !== status) continue;
    const now = await organisation(by, tenantId);
    if (now.connectionStatus === status) return now;
  }
  throw new Error("the subscription ended");
}

/** Syncs a new invoice and sees it paid: the link works both ways, and all that was due before it has been sent. */
async function goesOn(by: GraphqlClient, input: object = {}): Promise<InvoiceState> {
  const invoice = await syncedInvoice(by, input);
  expect(invoice).toMatchObject({ syncStatus: "SYNCED", syncError: null });
  await service.control("pay", { invoiceId: invoice.xeroId });
  return untilPaid(by, invoice.id, ({ status }) => status === "PAID");
}

describe("a consent", () => {
  it("to several organisations lists each with what it is, and nothing is active until one is chosen", async () => {
    const client = await service.client("admin", "several");
    const plain = await addOrganisation("Plain Care");
    const abroad = await addOrganisation("Care Abroad", { baseCurrency: "NZD", countryCode: "NZ" });
    const demo = await addOrganisation("Care to Try", { isDemoCompany: true });
    expect(await connect(client, { organisations: [plain, abroad, demo] })).toBe("?xero=connected");

    const listed = await organisations(client);
    const shared = { tenantType: "ORGANISATION", connectionStatus: "CONNECTED", statusReason: null, active: false };
    for (const [tenantId, facts] of [
      [plain, { name: "Plain Care", baseCurrency: "AUD", isDemoCompany: false }],
      [abroad, { name: "Care Abroad", baseCurrency: "NZD", isDemoCompany: false }],
      [demo, { name: "Care to Try", baseCurrency: "AUD", isDemoCompany: true }],
    ] as const) {
      expect(listed.find((one) => one.tenantId === tenantId)).toMatchObject({ ...shared, ...facts, missingScopes: [] });
    }
    expect(listed).toHaveLength(3);
    expect(await activeTenant(client)).toBeNull();
    expect(await missingSetup(client)).toContain("SELECT_ORGANISATION");
    expect(await missingSetup(client)).not.toContain("CONNECT");
    expect(
      (await client.ask<{ xeroAccounts: unknown }>("{ xeroAccounts(use: REVENUE_ACCOUNTS) { code } }")).xeroAccounts,
    ).toBeNull();
    const early = await saveInvoice(client);
    expect(await codeOf(client, "syncInvoice(id: $id) { id }", early.id)).toBe("XERO_NOT_CONNECTED");

    await select(client, demo);
    expect(await activeTenant(client)).toBe(demo);
    await configure(client);
    const invoice = await goesOn(client);
    expect(await tenantOf(client, invoice.id)).toBe(demo);
    expect((await calls("PUT", "/Invoices$")).map(({ tenantId }) => tenantId)).toEqual([demo]);
  });

  it("to one makes it active, also while another is: that one stays connected, and nothing is sent again", async () => {
    const first = await addOrganisation("First Care");
    const client = await setUp("one more", { organisations: [first] });
    expect(await activeTenant(client)).toBe(first);
    const sent = await syncedInvoice(client, { number: "MORE-1" });
    const waiting = await saveInvoice(client, { number: "MORE-2" });

    const second = await addOrganisation("Second Care");
    expect(await connect(client, { organisations: [second] })).toBe("?xero=connected");
    expect(await activeTenant(client)).toBe(second);
    expect((await organisations(client)).map(({ connectionStatus }) => connectionStatus)).toEqual([
      "CONNECTED",
      "CONNECTED",
    ]);
    expect(await missingSetup(client)).toEqual(
      expect.arrayContaining(["SALES_ACCOUNT", "PAYMENT_ACCOUNT", "TAX_RATES"]),
    );
    await configure(client);
    await goesOn(client, { number: "MORE-3" });
    expect((await syncInvoice(client, sent.id)).status).toBe("SUCCEEDED");
    expect((await readInvoice(client, sent.id)).syncAttempts[0]?.outcome).toBe("UNCHANGED");
    expect((await inXero(service, "MORE-1")).map((one) => one["tenantId"])).toEqual([first]);
    expect((await inXero(service, "MORE-2")).length).toBe(0);
    expect((await inXero(service, "MORE-3")).map((one) => one["tenantId"])).toEqual([second]);

    // What was never sent belongs to nobody yet.
    await syncInvoice(client, waiting.id);
    await untilSync(client, waiting.id, "SYNCED");
    expect(await tenantOf(client, waiting.id)).toBe(second);
    // And the first is still good: chosen again, it has its accounts.
    await select(client, first);
    expect(await missingSetup(client)).toEqual([]);
    await goesOn(client, { number: "MORE-4" });
    expect((await inXero(service, "MORE-4")).map((one) => one["tenantId"])).toEqual([first]);
  });

  it("to several leaves the choice as it was", async () => {
    const chosen = await addOrganisation("Chosen Care");
    const other = await addOrganisation("Other Care");
    const client = await setUp("chosen", { organisations: [chosen] });
    expect(await connect(client, { organisations: [other, chosen] })).toBe("?xero=connected");
    expect(await organisations(client)).toHaveLength(2);
    expect(await activeTenant(client)).toBe(chosen);
    expect(await missingSetup(client)).toEqual([]);
  });

  it("lists its own organisations and none of the many that the same user connected otherwise", async () => {
    const userId = await addUser();
    const [one, two, three] = [
      await addOrganisation("Kept Apart One"),
      await addOrganisation("Kept Apart Two"),
      await addOrganisation("Kept Apart Three"),
    ];
    const a = await service.client("admin", "apart a");
    const b = await service.client("admin", "apart b");
    const tenants = async (by: GraphqlClient) => new Set((await organisations(by)).map(({ tenantId }) => tenantId));
    expect(await connect(a, { organisations: [one, two], userId })).toBe("?xero=connected");
    expect(await connect(b, { organisations: [three], userId })).toBe("?xero=connected");
    expect(await tenants(b)).toEqual(new Set([three]));
    expect(await activeTenant(b)).toBe(three);
    expect(await tenants(a)).toEqual(new Set([one, two]));
    expect(await activeTenant(a)).toBeNull();
    // One of a's again: with the others of the user, a's own too, this would be no consent to exactly one.
    expect(await connect(a, { organisations: [two], userId })).toBe("?xero=connected");
    expect(await tenants(a)).toEqual(new Set([one, two]));
    expect(await activeTenant(a)).toBe(two);
    expect(await tenants(b)).toEqual(new Set([three]));
    for (const by of [a, b]) {
      for (const { connectionStatus } of await organisations(by)) expect(connectionStatus).toBe("CONNECTED");
    }
  });

  it("to no organisation fails, and disturbs nothing that the same user connected", async () => {
    const userId = await addUser();
    const tenantId = await addOrganisation("Undisturbed Care");
    const client = await setUp("undisturbed", { organisations: [tenantId], userId });
    const none = await service.client("admin", "none");
    expect(await connect(none, { organisations: [], userId })).toBe("?xero=failed&reason=NO_ORGANISATION");
    expect(await organisations(none)).toEqual([]);
    expect(await activeTenant(client)).toBe(tenantId);
    await goesOn(client);
  });

  it("by two users to two organisations at once, in one workspace, ends with one link to each that works", async () => {
    const [x, y] = [await addOrganisation("At Once X"), await addOrganisation("At Once Y")];
    const client = await service.client("admin", "at once");
    const addresses: URL[] = [];
    for (const tenants of [
      [x, y],
      [y, x],
    ]) {
      await service.control("consent/next", { organisations: tenants, userId: await addUser() });
      const { connectXero } = await client.ask<{ connectXero: { authorizationUrl: string } }>(
        "mutation { connectXero { authorizationUrl } }",
      );
      const { headers } = await fetch(connectXero.authorizationUrl, { redirect: "manual" });
      addresses.push(new URL(headers.get("location") ?? ""));
    }
    await service.control("hold", {
      name: "both",
      match: { method: "GET", path: "/connections$" },
      phase: "after",
      times: 2,
    });
    const ends = Promise.all(addresses.map((address) => fetch(address, { redirect: "manual" })));
    await service.control("hold/await", { name: "both", count: 2 });
    await service.control("release", { name: "both" });
    expect((await ends).map(({ headers }) => new URL(headers.get("location") ?? "").search)).toEqual([
      "?xero=connected",
      "?xero=connected",
    ]);
    await untilReleased();
    expect((await organisations(client)).map(({ connectionStatus }) => connectionStatus)).toEqual([
      "CONNECTED",
      "CONNECTED",
    ]);
    for (const tenantId of [x, y]) {
      await linkTo(tenantId);
      await select(client, tenantId);
      await configure(client);
      await goesOn(client);
    }
  });
});

describe("an organisation that is connected again", () => {
  const ways: [string, (client: GraphqlClient, tenantId: string) => Promise<Choice>][] = [
    ["while it is connected", (_client, tenantId) => Promise.resolve({ organisations: [tenantId] })],
    [
      "after disconnectXero",
      async (client, tenantId) => {
        expect(await disconnect(client, tenantId)).toBe("DISCONNECTED");
        return { organisations: [tenantId] };
      },
    ],
    [
      "after a person disconnected it in Xero",
      async (client, tenantId) => {
        await service.control("disconnect", { tenantId });
        await client.send("mutation { refreshXeroData { enabled } }");
        await untilStatus(client, tenantId, "DISCONNECTED");
        return { organisations: [tenantId] };
      },
    ],
    ["by another Xero user", async (_client, tenantId) => ({ organisations: [tenantId], userId: await addUser() })],
    [
      "by another Xero user after disconnectXero",
      async (client, tenantId) => {
        expect(await disconnect(client, tenantId)).toBe("DISCONNECTED");
        return { organisations: [tenantId], userId: await addUser() };
      },
    ],
  ];

  it.each(ways)("%s keeps accounts, mappings, contacts and invoices", async (way, loseIt) => {
    const tenantId = await addOrganisation(`Again ${way}`);
    const client = await setUp(`again ${way}`, { organisations: [tenantId], userId: await addUser() });
    const participant = await saveParticipant(client, { name: `Alba ${way}` });
    const sent = await syncedInvoice(client, { participantId: participant.id });
    const { id } = await organisation(client, tenantId);
    const before = await choices(client);
    const contactId = await contactOf(client, participant.id);
    expect(contactId).not.toBeNull();

    expect(await connect(client, await loseIt(client, tenantId))).toBe("?xero=connected");
    expect(await organisations(client)).toMatchObject([{ id, active: true, connectionStatus: "CONNECTED" }]);
    expect(await choices(client)).toEqual(before);
    expect(await contactOf(client, participant.id)).toBe(contactId);

    // Edited since, the participant is the same contact.
    await saveParticipant(client, { id: participant.id, name: `Alba Ruiz ${way}`, email: "alba@example.com" });
    const next = await goesOn(client, { participantId: participant.id });
    expect(next.syncAttempts).toEqual([{ outcome: "CREATED", contactAction: "UPDATED" }]);
    const contacts = await service.control<{ ContactID: string; ContactNumber?: string; Name: string }[]>(
      `contacts?tenant=${tenantId}`,
    );
    expect(contacts.map(({ ContactID, ContactNumber, Name }) => [ContactID, ContactNumber, Name])).toEqual([
      [contactId, participant.contactNumber, `Alba Ruiz ${way}`],
    ]);
    // Sent before, the invoice is not sent again, and is paid.
    expect((await syncInvoice(client, sent.id)).status).toBe("SUCCEEDED");
    expect((await readInvoice(client, sent.id)).syncAttempts[0]?.outcome).toBe("UNCHANGED");
    await service.control("pay", { invoiceId: sent.xeroId });
    await untilPaid(client, sent.id, ({ status }) => status === "PAID");
    const held = await service.control<{ InvoiceID: string }[]>(`invoices?tenant=${tenantId}`);
    expect(new Set(held.map(({ InvoiceID }) => InvoiceID))).toEqual(new Set([sent.xeroId, next.xeroId]));
    await untilReleased();
    await linkTo(tenantId);
  });

  it("by another Xero user is that user's from then on, and the first one's grant is given up", async () => {
    const [first, second] = [await addUser(), await addUser()];
    const tenantId = await addOrganisation("Handed Over");
    const client = await setUp("handed over", { organisations: [tenantId], userId: first });
    const given = await linkTo(tenantId);
    expect(await connect(client, { organisations: [tenantId], userId: second })).toBe("?xero=connected");
    await untilReleased();
    expect([await ended(), await revocations()]).toEqual([[given.id], 1]);
    expect((await linkTo(tenantId)).userId).toBe(second);
    await goesOn(client);
  });

  it("by another Xero user leaves the first one's link to a workspace that still uses it", async () => {
    const [first, second] = [await addUser(), await addUser()];
    const tenantId = await addOrganisation("Half Handed Over");
    const a = await setUp("half a", { organisations: [tenantId], userId: first });
    const b = await setUp("half b", { organisations: [tenantId], userId: first });
    expect(await connect(a, { organisations: [tenantId], userId: second })).toBe("?xero=connected");
    await untilReleased();
    expect([await ended(), await revocations()]).toEqual([[], 0]);
    expect(new Set((await links(tenantId)).map(({ userId }) => userId))).toEqual(new Set([first, second]));
    await goesOn(b);
    await goesOn(a);
    expect(await disconnect(b, tenantId)).toBe("DISCONNECTED");
    await untilReleased();
    expect([(await ended()).length, await revocations()]).toEqual([1, 1]);
    expect((await linkTo(tenantId)).userId).toBe(second);
    await goesOn(a);
  });
  it("by the same user, after that user disconnected it in Xero, is still ended only when no other workspace uses it", async () => {
    const userId = await addUser();
    const tenantId = await addOrganisation("Renewed");
    const a = await setUp("renewed a", { organisations: [tenantId], userId });
    const b = await setUp("renewed b", { organisations: [tenantId], userId });
    // Nobody is to notice the gap: the link that Xero has in the end, of another id, is good for both.
    await runSql(service, "UPDATE connection SET check_due_at = now() + interval '1 day' WHERE tenant_id = $1", [
      tenantId,
    ]);
    const old = await linkTo(tenantId);
    await service.control("disconnect", { tenantId });
    expect(await connect(a, { organisations: [tenantId], userId })).toBe("?xero=connected");
    await goesOn(a);
    await goesOn(b);
    await untilReleased();
    await service.control("calls/clear", {});
    const renewed = await linkTo(tenantId);
    expect(renewed.id).not.toBe(old.id);
    expect(await disconnect(a, tenantId)).toBe("DISCONNECTED");
    await untilReleased();
    expect([await ended(), await revocations()]).toEqual([[], 0]);
    await goesOn(b);
    expect(await disconnect(b, tenantId)).toBe("DISCONNECTED");
    await untilReleased();
    expect([await links(tenantId), await revocations()]).toEqual([[], 1]);
  });

  it("by the same user, who has other organisations too, is ended under whichever id it has by then", async () => {
    const userId = await addUser();
    const tenantId = await addOrganisation("Renewed beside another");
    const another = await addOrganisation("Stays connected");
    await setUp("another", { organisations: [another], userId });
    const a = await setUp("beside a", { organisations: [tenantId], userId });
    const b = await setUp("beside b", { organisations: [tenantId], userId });
    await runSql(service, "UPDATE connection SET check_due_at = now() + interval '1 day' WHERE tenant_id = $1", [
      tenantId,
    ]);
    await service.control("disconnect", { tenantId });
    expect(await connect(a, { organisations: [tenantId], userId })).toBe("?xero=connected");
    await untilReleased();
    for (const client of [a, b]) expect(await disconnect(client, tenantId)).toBe("DISCONNECTED");
    await untilReleased();
    expect([await links(tenantId), (await links(another)).length]).toEqual([[], 1]);
  });
});

describe("an invoice", () => {
  it("stays with the organisation it was first sent to, and is paid there, whichever is active", async () => {
    const [old, young] = [await addOrganisation("Old Care"), await addOrganisation("Young Care")];
    const client = await service.client("admin", "stays");
    expect(await connect(client, { organisations: [old, young] })).toBe("?xero=connected");
    await select(client, old);
    await configure(client);
    const participant = await saveParticipant(client);
    const sent = await syncedInvoice(client, { participantId: participant.id, number: "STAY-1" });
    const contactThere = await contactOf(client, participant.id);
    // One that is on its way when the other is chosen.
    await service.control("hold", { name: "way", match: { method: "PUT", path: "/Invoices$" }, times: 1 });
    const onItsWay = await saveInvoice(client, { participantId: participant.id, number: "STAY-2" });
    await syncInvoice(client, onItsWay.id);
    await service.control("hold/await", { name: "way" });
    await select(client, young);
    await service.control("release", { name: "way" });
    await untilSync(client, onItsWay.id, "SYNCED");

    expect(await contactOf(client, participant.id)).toBeNull();
    await configure(client);
    const here = await goesOn(client, { participantId: participant.id, number: "STAY-3" });
    expect(here.syncAttempts).toEqual([{ outcome: "CREATED", contactAction: "CREATED" }]);
    expect(await contactOf(client, participant.id)).not.toBe(contactThere);
    for (const [number, tenantId] of [
      ["STAY-1", old],
      ["STAY-2", old],
      ["STAY-3", young],
    ] as const) {
      expect((await inXero(service, number)).map((one) => one["tenantId"])).toEqual([tenantId]);
    }
    expect(await tenantOf(client, sent.id)).toBe(old);
    expect((await syncInvoice(client, sent.id)).status).toBe("SUCCEEDED");
    for (const invoice of [sent, onItsWay]) {
      const { xeroId } = await readInvoice(client, invoice.id);
      await service.control("pay", { invoiceId: xeroId });
      const paid = await untilPaid(client, invoice.id, ({ status }) => status === "PAID");
      expect(paid.payments).toHaveLength(1);
    }
    expect((await calls("PUT", "/Invoices$")).map(({ tenantId }) => tenantId)).toEqual([old, old, young]);
  });

  it("that waits for its turn goes to the organisation that it was queued for", async () => {
    const [first, second] = [await addOrganisation("Queued Care"), await addOrganisation("Later Care")];
    const client = await setUp("queued", { organisations: [first] });
    await service.control("hold", { name: "turn", match: { path: "/Contacts" }, times: 1 });
    const invoice = await saveInvoice(client, { number: "TURN-1" });
    await syncInvoice(client, invoice.id);
    await service.control("hold/await", { name: "turn" });
    expect(await connect(client, { organisations: [second] })).toBe("?xero=connected");
    await service.control("release", { name: "turn" });
    await untilSync(client, invoice.id, "SYNCED", "FAILED");
    expect(await tenantOf(client, invoice.id)).toBe(first);
    expect((await inXero(service, "TURN-1")).map((one) => one["tenantId"])).toEqual([first]);
  });

  it("is not sent again when the demo company is reset, and one that never arrived is sent to the new one when asked", async () => {
    const name = "Demo Company to Reset";
    const before = await addOrganisation(name, { isDemoCompany: true });
    const client = await setUp("reset", { organisations: [before] });
    const participant = await saveParticipant(client);
    const sent = await syncedInvoice(client, { participantId: participant.id, number: "RESET-1" });
    await service.control("pay", { invoiceId: sent.xeroId, amount: "30.00" });
    const paid = await untilPaid(client, sent.id, ({ status }) => status === "PARTIALLY_PAID");
    // One that is on its way when the company is reset.
    await service.control("hold", { name: "reset", match: { path: "/Contacts", tenant: before }, times: 1 });
    const late = await saveInvoice(client, { number: "RESET-2" });
    await syncInvoice(client, late.id);
    await service.control("hold/await", { name: "reset" });
    await service.control("disconnect", { tenantId: before });
    await service.control("release", { name: "reset" });
    expect((await untilSync(client, late.id, "FAILED", "SYNCED")).syncError?.code).toBe("XERO_NOT_CONNECTED");
    await untilStatus(client, before, "DISCONNECTED");

    const after = await addOrganisation(name, { isDemoCompany: true });
    expect(await connect(client, { organisations: [after] })).toBe("?xero=connected");
    expect(await organisations(client)).toMatchObject([
      { tenantId: after, name, active: true, isDemoCompany: true, connectionStatus: "CONNECTED" },
      { tenantId: before, name, active: false, isDemoCompany: true, connectionStatus: "DISCONNECTED" },
    ]);
    await configure(client);
    await goesOn(client, { participantId: participant.id, number: "RESET-3" });
    expect((await syncInvoice(client, sent.id)).status).toBe("SUCCEEDED");
    expect(await tenantOf(client, sent.id)).toBe(before);
    expect((await readInvoice(client, sent.id)).payments).toEqual(paid.payments);
    expect(await readInvoice(client, late.id)).toMatchObject({ syncStatus: "FAILED", xeroId: null });
    const heldByNew = async () =>
      (await service.control<{ Reference: string }[]>(`invoices?tenant=${after}`)).map(({ Reference }) => Reference);
    expect(await heldByNew()).toEqual(["RESET-3"]);

    await syncInvoice(client, late.id);
    await untilSync(client, late.id, "SYNCED");
    expect(await tenantOf(client, late.id)).toBe(after);
    expect((await heldByNew()).sort()).toEqual(["RESET-2", "RESET-3"]);
  });
});

describe.each([
  ["one Xero user", true],
  ["two Xero users", false],
])("one organisation in two workspaces, connected by %s,", (whose, oneUser) => {
  let tenantId: string;
  let userOfA: string;
  let a: GraphqlClient;
  let b: GraphqlClient;
  let ofA: InvoiceState;
  let ofB: InvoiceState;

  beforeAll(async () => {
    tenantId = await addOrganisation(`Shared by ${whose}`);
    userOfA = await addUser();
    a = await setUp(`shared a ${whose}`, { organisations: [tenantId], userId: userOfA });
    b = await setUp(`shared b ${whose}`, { organisations: [tenantId], userId: oneUser ? userOfA : await addUser() });
  });

  const sharedInvoices = () =>
    service.control<{ InvoiceID: string; Reference: string; Url?: string; Contact: { Name: string } }[]>(
      `invoices?tenant=${tenantId}`,
    );

  async function own(by: GraphqlClient): Promise<string[]> {
    const { invoices } = await by.ask<{ invoices: { nodes: { xeroId: string | null }[] } }>(
      "{ invoices(first: 100) { nodes { xeroId } } }",
    );
    return invoices.nodes.flatMap(({ xeroId }) => xeroId ?? []);
  }

  /** Every invoice that Xero has is one workspace's and not the other's. */
  async function expectOneOwnerEach(): Promise<void> {
    const [owned, held] = [[...(await own(a)), ...(await own(b))], await sharedInvoices()];
    expect(owned.sort()).toEqual(held.map(({ InvoiceID }) => InvoiceID).sort());
    expect(new Set(owned).size).toBe(owned.length);
    expect(new Set(held.map(({ Url }) => Url)).size).toBe(held.length);
  }

  it("is listed in both, by an id of each one's own", async () => {
    const [inA, inB] = [await organisation(a, tenantId), await organisation(b, tenantId)];
    expect(inA.id).not.toBe(inB.id);
    expect([inA, inB]).toMatchObject([
      { active: true, connectionStatus: "CONNECTED" },
      { active: true, connectionStatus: "CONNECTED" },
    ]);
    expect(await links(tenantId)).toHaveLength(oneUser ? 1 : 2);
  });

  it("holds each one's invoices apart, also with equal numbers and equal contact numbers", async () => {
    const same = { name: "Ada Okafor", contactNumber: "SHARED-1" };
    const [adaOfA, adaOfB] = [await saveParticipant(a, same), await saveParticipant(b, same)];
    [ofA, ofB] = await Promise.all([
      syncedInvoice(a, { participantId: adaOfA.id, number: "EQUAL-1" }),
      syncedInvoice(b, { participantId: adaOfB.id, number: "equal-1" }),
    ]);
    expect([ofA.syncStatus, ofB.syncStatus]).toEqual(["SYNCED", "SYNCED"]);
    expect(ofA.xeroId).not.toBe(ofB.xeroId);
    expect(await own(a)).toEqual([ofA.xeroId]);
    expect(await own(b)).toEqual([ofB.xeroId]);
    const contacts = await service.control<{ ContactNumber?: string }[]>(`contacts?tenant=${tenantId}`);
    expect(contacts.filter(({ ContactNumber }) => ContactNumber === "SHARED-1")).toHaveLength(1);
    await expectOneOwnerEach();
  });

  it("never bills one's participant as the other's who has the same contact number", async () => {
    const [ada, bob] = [
      await saveParticipant(a, { name: `Ada ${whose}`, contactNumber: "SHARED-2" }),
      await saveParticipant(b, { name: `Bob ${whose}`, contactNumber: "SHARED-2" }),
    ];
    const forAda = await syncedInvoice(a, { participantId: ada.id });
    const forBob = await syncedInvoice(b, { participantId: bob.id });
    const billed = async ({ xeroId }: InvoiceState) =>
      (await sharedInvoices()).flatMap(({ InvoiceID, Contact }) => (InvoiceID === xeroId ? [Contact.Name] : []));
    expect(await billed(forAda)).toEqual([`Ada ${whose}`]);
    // Xero takes a number once, so Bob's may be refused; it is not sent as somebody else's.
    expect(["SYNCED", "FAILED"]).toContain(forBob.syncStatus);
    expect(await billed(forBob)).toEqual(forBob.syncStatus === "SYNCED" ? [`Bob ${whose}`] : []);
  });

  it.each(["500-after-write", "500-before-write", "lost-answer", "lost-request"])(
    "finds out by its own invoices alone what became of a call that ended in %s",
    async (fault) => {
      const number = `DOUBT-${fault}`;
      const inA = await syncedInvoice(a, { number });
      await service.control("faults", { match: { method: "PUT", path: "/Invoices$" }, fault, times: 1 });
      const inB = await saveInvoice(b, { number });
      await syncInvoice(b, inB.id);
      const synced = await untilSync(b, inB.id, "SYNCED", "FAILED");
      expect(synced.syncStatus).toBe("SYNCED");
      expect(synced.xeroId).not.toBe(inA.xeroId);
      expect((await sharedInvoices()).filter(({ Reference }) => Reference === number)).toHaveLength(2);
      await expectOneOwnerEach();
    },
  );

  it("tells both by one delivery, and a payment appears with the invoice that it pays and nowhere else", async () => {
    await service.control("switches", { webhookPaused: true });
    const { deliveries: earlier } = await service.control<{ deliveries: object[] }>("deliveries");
    await service.control("pay", { invoiceId: ofA.xeroId, amount: "40.00", paymentReference: "for A" });
    await service.control("pay", { invoiceId: ofB.xeroId, amount: "60.00", paymentReference: "for B" });
    await service.control("switches", { webhookPaused: false });
    const paidA = await untilPaid(a, ofA.id, ({ status }) => status === "PARTIALLY_PAID");
    const paidB = await untilPaid(b, ofB.id, ({ status }) => status === "PARTIALLY_PAID");
    await service.control("webhooks/drain", {});
    const { deliveries } = await service.control<{ deliveries: { events: { resourceId: string }[] }[] }>("deliveries");
    const events = deliveries.slice(earlier.length).map((delivery) => delivery.events.map((one) => one.resourceId));
    expect(events).toHaveLength(1);
    expect(events[0]).toEqual(expect.arrayContaining([ofA.xeroId, ofB.xeroId]));
    expect(paidA.payments.map(({ amount }) => amount)).toEqual(["40.00"]);
    expect(paidB.payments.map(({ amount }) => amount)).toEqual(["60.00"]);

    // One event that is about A's invoice only reaches both, and changes nothing in B.
    const lastEvent = async (by: GraphqlClient) =>
      (
        await by.ask<{ integration: { webhook: { lastEventAt: string | null } } }>(
          "{ integration { webhook { lastEventAt } } }",
        )
      ).integration.webhook.lastEventAt ?? "";
    const heard = await lastEvent(b);
    await service.control("pay", { invoiceId: ofA.xeroId });
    await untilPaid(a, ofA.id, ({ status }) => status === "PAID");
    await until(async () => (await lastEvent(b)) > heard);
    await service.control("pay", { invoiceId: ofB.xeroId, amount: "1.00" });
    const after = await untilPaid(b, ofB.id, ({ payments }) => payments.length > 1);
    expect(after.payments.map(({ amount }) => amount).sort()).toEqual(["1.00", "60.00"]);
    const amounts = async (by: GraphqlClient) =>
      (
        await by.ask<{ payments: { nodes: { amount: string }[] } }>("{ payments { nodes { amount } } }")
      ).payments.nodes.map(({ amount }) => amount);
    expect((await amounts(a)).sort()).toEqual(["40.00", "60.00"]);
    expect((await amounts(b)).sort()).toEqual(["1.00", "60.00"]);
  });

  it("refuses the second one's number where both have Xero use their own, and the first keeps its invoice", async () => {
    const numbering = "mutation ($n: InvoiceNumbering!) { updateIntegration(input: { numbering: $n }) { enabled } }";
    for (const by of [a, b]) await by.ask(numbering, { n: "OUR_NUMBERS" });
    const first = await syncedInvoice(a, { number: "TAKEN-1" });
    const second = await syncedInvoice(b, { number: "TAKEN-1" });
    for (const by of [a, b]) await by.ask(numbering, { n: "XERO_NUMBERS" });
    expect(first).toMatchObject({ syncStatus: "SYNCED", xeroInvoiceNumber: "TAKEN-1" });
    expect(second).toMatchObject({ syncStatus: "FAILED", xeroId: null, syncError: { code: "NUMBER_TAKEN" } });
    await service.control("pay", { invoiceId: first.xeroId });
    await untilPaid(a, first.id, ({ status }) => status === "PAID");
    await goesOn(b);
    expect((await readInvoice(b, second.id)).payments).toEqual([]);
    await expectOneOwnerEach();
  });

  it("goes on in one when the other disconnects, which hears of its payments when it is back", async () => {
    const unpaid = await syncedInvoice(a);
    const { id } = await organisation(a, tenantId);
    const linkOfA = (await links(tenantId)).find(({ userId }) => userId === userOfA)?.id;
    await service.control("calls/clear", {});
    expect(await disconnect(a, tenantId)).toBe("DISCONNECTED");
    await untilReleased();
    expect([await ended(), await revocations()]).toEqual(oneUser ? [[], 0] : [[linkOfA], 1]);
    expect(await organisation(b, tenantId)).toMatchObject({ active: true, connectionStatus: "CONNECTED" });
    await service.control("pay", { invoiceId: unpaid.xeroId });
    await goesOn(b);
    expect(await readInvoice(a, unpaid.id)).toMatchObject({ status: "APPROVED", payments: [] });
    expect(await codeOf(a, "syncInvoice(id: $id) { id }", unpaid.id)).toBe("XERO_NOT_CONNECTED");

    expect(await connect(a, { organisations: [tenantId], userId: userOfA })).toBe("?xero=connected");
    expect(await organisation(a, tenantId)).toMatchObject({ id, active: true, connectionStatus: "CONNECTED" });
    await untilPaid(a, unpaid.id, ({ status }) => status === "PAID");
    await goesOn(a);
    await goesOn(b);
    await expectOneOwnerEach();
  });

  it("goes on in one when the other lapses", async () => {
    const linkOfA = (await links(tenantId)).find(({ userId }) => userId === userOfA)?.id;
    await runSql(
      service,
      "UPDATE connection SET last_activity_at = now() - interval '61 days' WHERE workspace_id = $1",
      [`shared a ${whose}`],
    );
    await untilStatus(a, tenantId, "DISCONNECTED_INACTIVE");
    await untilReleased();
    expect([await ended(), await revocations()]).toEqual(oneUser ? [[], 0] : [[linkOfA], 1]);
    await goesOn(b);
    expect(await organisation(b, tenantId)).toMatchObject({ active: true, connectionStatus: "CONNECTED" });
    expect(await connect(a, { organisations: [tenantId], userId: userOfA })).toBe("?xero=connected");
    await goesOn(a);
  });

  it("is ended at Xero, and the grant revoked, once and for all when both have disconnected", async () => {
    const standing = (await links(tenantId)).map((link) => link.id);
    expect(await disconnect(a, tenantId)).toBe("DISCONNECTED");
    await goesOn(b);
    expect(await disconnect(b, tenantId)).toBe("DISCONNECTED");
    await untilReleased();
    expect(new Set(await ended())).toEqual(new Set(standing));
    expect(await ended()).toHaveLength(oneUser ? 1 : 2);
    expect(await revocations()).toBe(oneUser ? 1 : 2);
    expect(await links(tenantId)).toEqual([]);
    // A repeat is no error and no call.
    for (const by of [a, b]) expect(await disconnect(by, tenantId)).toBe("DISCONNECTED");
    await untilReleased();
    expect([(await ended()).length, await revocations()]).toEqual(oneUser ? [1, 1] : [2, 2]);
  });
});

describe("one Xero user's two organisations in two workspaces", () => {
  let userId: string;
  let tenantA: string;
  let tenantB: string;
  let a: GraphqlClient;
  let b: GraphqlClient;

  beforeAll(async () => {
    userId = await addUser();
    tenantA = await addOrganisation("Workspace A's Care");
    tenantB = await addOrganisation("Workspace B's Care");
    a = await setUp("two a", { organisations: [tenantA], userId });
    b = await setUp("two b", { organisations: [tenantB], userId });
    await b.ask("mutation { updateIntegration(input: { keepConnectionAlive: true }) { enabled } }");
  });

  /** Whatever A can read of links names nothing of B's, and the other way round. */
  async function expectApart(): Promise<void> {
    const query = `{ xeroOrganisations { id tenantId name statusReason } alerts { nodes { message } }
      integration { activeOrganisation { id tenantId name } } }`;
    for (const [by, own, others] of [
      [a, "Workspace A's Care", [tenantB, "Workspace B's Care"]],
      [b, "Workspace B's Care", [tenantA, "Workspace A's Care"]],
    ] as const) {
      const text = JSON.stringify(await by.ask(query));
      expect(text).toContain(own);
      for (const other of others) expect(text).not.toContain(other);
    }
  }

  /** What B was told of its links since the beginning. */
  async function toldTo(by: GraphqlClient, last: string): Promise<string[]> {
    const events = by.watch<{ connectionStatus: { status: string; organisation: { tenantId: string } } }>(
      'subscription { connectionStatus(after: "0") { status organisation { tenantId } } }',
    );
    const told: string[] = [];
    for await (const { connectionStatus: event } of events) {
      told.push(`${event.organisation.tenantId} ${event.status}`);
      if (told.at(-1) === last) return told;
    }
    throw new Error("the subscription ended");
  }

  it("go on in B before, while and after A disconnects, which ends A's link once and leaves the grant", async () => {
    await goesOn(b);
    await expectApart();
    const { id } = await linkTo(tenantA);
    await service.control("hold", { name: "end", match: { method: "DELETE", path: "/connections/" }, times: 1 });
    const going = disconnect(a, tenantA);
    await service.control("hold/await", { name: "end" });
    await goesOn(b);
    await service.control("release", { name: "end" });
    expect(await going).toBe("DISCONNECTED");
    await untilReleased();
    expect([await ended(), await revocations(), await links(tenantA)]).toEqual([[id], 0, []]);
    await goesOn(b);
    await expectApart();
  });

  it("go on in B when A comes back and then lapses, which ends A's link once and leaves the grant", async () => {
    const before = await organisation(a, tenantA);
    expect(await connect(a, { organisations: [tenantA], userId })).toBe("?xero=connected");
    expect(await organisation(a, tenantA)).toMatchObject({
      id: before.id,
      active: true,
      connectionStatus: "CONNECTED",
    });
    await goesOn(a);
    await goesOn(b);
    await expectApart();
    const { id } = await linkTo(tenantA);
    await service.control("calls/clear", {});

    await service.control("hold", { name: "lapse", match: { method: "DELETE", path: "/connections/" }, times: 1 });
    // Both have been idle; B's is kept.
    await runSql(
      service,
      "UPDATE connection SET last_activity_at = now() - interval '61 days' WHERE workspace_id IN ('two a', 'two b')",
    );
    const lapsed = await untilStatus(a, tenantA, "DISCONNECTED_INACTIVE");
    expect(lapsed).toMatchObject({ id: before.id, active: true });
    expect(lapsed.statusReason).toContain("60 days");
    await service.control("hold/await", { name: "lapse" });
    expect(await organisation(b, tenantB)).toMatchObject({ active: true, connectionStatus: "CONNECTED" });
    await goesOn(b);
    await service.control("release", { name: "lapse" });
    await untilReleased();
    expect([await ended(), await revocations(), await links(tenantA)]).toEqual([[id], 0, []]);
    await goesOn(b);
    await expectApart();
    expect(await codeOf(a, selecting, before.id)).toBe("XERO_NOT_CONNECTED");
    const { alerts } = await b.ask<{ alerts: { nodes: object[] } }>("{ alerts { nodes { kind } } }");
    expect(alerts.nodes).toEqual([]);
  });

  it("go on in B when A says once more that it wants no link", async () => {
    expect(await disconnect(a, tenantA)).toBe("DISCONNECTED");
    await untilReleased();
    expect([await ended(), await revocations()]).toEqual([[], 0]);
    await goesOn(b);
  });

  it("end with B's link: the grant is revoked once, and each may come back", async () => {
    const { id } = await linkTo(tenantB);
    expect(await disconnect(b, tenantB)).toBe("DISCONNECTED");
    await untilReleased();
    expect([await ended(), await revocations()]).toEqual([[id], 1]);
    expect(await toldTo(b, `${tenantB} DISCONNECTED`)).toEqual([`${tenantB} CONNECTED`, `${tenantB} DISCONNECTED`]);

    expect(await connect(a, { organisations: [tenantA], userId })).toBe("?xero=connected");
    await goesOn(a);
    expect((await organisation(b, tenantB)).connectionStatus).toBe("DISCONNECTED");
    expect(await connect(b, { organisations: [tenantB], userId })).toBe("?xero=connected");
    await goesOn(b);
    await goesOn(a);
    await expectApart();
  });

  it("are both ended when both disconnect at once, and nothing of the grant is left", async () => {
    await Promise.all([disconnect(a, tenantA), disconnect(b, tenantB)]);
    await untilReleased();
    expect([await links(tenantA), await links(tenantB)]).toEqual([[], []]);
    expect(await revocations()).toBeGreaterThan(0);
    expect(await runSql(service, "SELECT 1 FROM xero_grant WHERE xero_user_id = $1", [userId])).toEqual([]);
  });

  it("lose nothing when one is connected while the other, the last that used the grant, is being ended", async () => {
    expect(await connect(a, { organisations: [tenantA], userId })).toBe("?xero=connected");
    await service.control("hold", { name: "last", match: { method: "DELETE", path: "/connections/" }, times: 1 });
    const going = disconnect(a, tenantA);
    await service.control("hold/await", { name: "last" });
    expect(await connect(b, { organisations: [tenantB], userId })).toBe("?xero=connected");
    await service.control("release", { name: "last" });
    expect(await going).toBe("DISCONNECTED");
    await untilReleased();
    expect([await revocations(), await links(tenantA)]).toEqual([0, []]);
    await linkTo(tenantB);
    await goesOn(b);
  });
});

describe("choosing and disconnecting", () => {
  let client: GraphqlClient;
  let tenantId: string;
  let id: string;

  beforeAll(async () => {
    tenantId = await addOrganisation("Asked For");
    client = await setUp("asked for", { organisations: [tenantId] });
    ({ id } = await organisation(client, tenantId));
  });

  it.each([selecting, disconnecting])(
    "refuse an id that is unknown, another workspace's, or none: %s",
    async (mutation) => {
      const stranger = await service.client("admin", "stranger");
      const { id: linkId } = await linkTo(tenantId);
      for (const unknown of ["01890000-0000-7000-8000-000000000000", tenantId, linkId]) {
        expect(await codeOf(client, mutation, unknown)).toBe("NOT_FOUND");
      }
      expect(await codeOf(stranger, mutation, id)).toBe("NOT_FOUND");
      for (const none of ["", "x", `${id}0`, "1' OR '1'='1", "\0"]) {
        expect(await codeOf(client, mutation, none)).toBe("BAD_USER_INPUT");
      }
      expect(await organisation(client, tenantId)).toMatchObject({ active: true, connectionStatus: "CONNECTED" });
      expect([await ended(), await revocations()]).toEqual([[], 0]);
    },
  );

  it.each(["viewer", "bookkeeper"])("and connecting are forbidden to a %s", async (role) => {
    const by = await service.client(role, "asked for");
    for (const mutation of ["connectXero { authorizationUrl }", selecting, disconnecting]) {
      const { data, errors } = await by.send(
        mutation.includes("$id") ? `mutation ($id: ID!) { ${mutation} }` : `mutation { ${mutation} }`,
        { id },
      );
      expect([data ?? null, errors?.map(({ extensions }) => extensions.code)]).toEqual([null, ["FORBIDDEN"]]);
    }
    expect(await organisation(by, tenantId)).toMatchObject({ active: true, connectionStatus: "CONNECTED" });
    expect([await ended(), await revocations()]).toEqual([[], 0]);
  });

  it("refuse to make a disconnected organisation active; the one that is stays it", async () => {
    const other = await addOrganisation("Asked For Too");
    expect(await connect(client, { organisations: [other] })).toBe("?xero=connected");
    expect(await disconnect(client, tenantId)).toBe("DISCONNECTED");
    expect(await codeOf(client, selecting, id)).toBe("XERO_NOT_CONNECTED");
    expect(await activeTenant(client)).toBe(other);
    expect(await missingSetup(client)).not.toContain("CONNECT");
    await configure(client);
    await goesOn(client);
    // With the active one gone too there is nothing to choose from.
    expect(await disconnect(client, other)).toBe("DISCONNECTED");
    expect(await missingSetup(client)).toEqual(["CONNECT"]);
  });
});

describe("a consent that lacks a scope", () => {
  const needed =
    "openid profile email offline_access accounting.invoices accounting.payments.read accounting.contacts accounting.settings.read";
  let narrow: Service;

  beforeAll(async () => {
    narrow = await startService({ environment: { XERO_SCOPES: needed.replace(" accounting.contacts", "") } });
  });

  afterAll(() => narrow.close());

  it("says so, and the organisation says which; one with all scopes mends it", async () => {
    const client = await narrow.client();
    expect((await consent(client)).search).toBe("?xero=failed&reason=MISSING_SCOPES");
    const [listed, ...others] = await organisations(client);
    expect(others).toEqual([]);
    expect(listed).toMatchObject({ connectionStatus: "RECONNECT_REQUIRED", missingScopes: ["accounting.contacts"] });
    expect(listed?.statusReason).toContain("accounting.contacts");
    expect(await codeOf(client, selecting, listed?.id ?? "")).toBe("XERO_NOT_CONNECTED");
    const { errors } = await client.send("mutation { refreshXeroData { enabled } }");
    expect(errors?.map(({ extensions }) => extensions.code)).toEqual(["XERO_NOT_CONNECTED"]);

    // The operator asks for all scopes from now on.
    await narrow.app.close();
    const config = { ...narrow.config, xero: { ...narrow.config.xero, scopes: needed.split(" ") } };
    const app = await startApp(config, createLogger(config.logLevel));
    narrow = new Service(app, narrow.sandbox, narrow.database, config);
    await narrow.control("webhooks", { url: `${app.url}/webhooks/xero` });
    const again = await narrow.client();
    await narrow.control("consent/next", { organisations: [listed?.tenantId] });
    expect((await consent(again)).search).toBe("?xero=connected");
    expect(await organisations(again)).toMatchObject([
      { id: listed?.id, active: true, connectionStatus: "CONNECTED", statusReason: null, missingScopes: [] },
    ]);
    await configure(again);
    expect((await syncedInvoice(again)).syncStatus).toBe("SYNCED");
  });
});
