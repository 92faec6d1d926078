/**
 * Which contact of Xero's a participant is: every rule of matching both ways, what a person does where matching must not, and what becomes of
 * contacts that are archived, merged or called like somebody else.
 */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { type Pool } from "pg";
import { openDatabase } from "../src/database.js";
import { createLogger } from "../src/logger.js";
import { OrganisationData } from "../src/services/OrganisationData.js";
import { Pusher } from "../src/services/sync/Pusher.js";
import { CallLimits } from "../src/xero/CallLimits.js";
import { Grants } from "../src/xero/Grants.js";
import { Vault } from "../src/xero/Vault.js";
import { XeroGateway } from "../src/xero/XeroGateway.js";
import { XeroIdentity } from "../src/xero/XeroIdentity.js";
import { callsOf, type Link, newLink, until } from "./support/links.js";
import {
  inXero,
  type InvoiceState,
  readInvoice,
  runSql,
  saveInvoice,
  saveParticipant,
  syncedInvoice,
  syncInvoice,
  untilSync,
} from "./support/records.js";
import { type Service, startService } from "./support/service.js";

interface Contact {
  ContactID: string;
  ContactNumber?: string;
  Name: string;
  EmailAddress?: string;
  ContactStatus: string;
}

let service: Service;
let link: Link;
let client: GraphqlClient;

beforeAll(async () => {
  service = await startService();
  link = await newLink(service, "matching");
  ({ client } = link);
});

afterAll(() => service.close());

/** A contact that somebody made in Xero. */
function inXeroAs(contact: object): Promise<Contact> {
  return service.control<Contact>("contacts/add", { tenantId: link.tenantId, contact });
}

async function contactsNow(): Promise<Contact[]> {
  return service.control<Contact[]>(`contacts?tenant=${link.tenantId}`);
}

async function contactOf({ number }: InvoiceState): Promise<Contact | undefined> {
  const [found] = await inXero(service, number);
  const { ContactID } = (found?.["Contact"] ?? {}) as { ContactID?: string };
  return (await contactsNow()).find((contact) => contact.ContactID === ContactID);
}

interface Candidates {
  code: string;
  contactCandidates: { contactId: string; name: string; status: string; participant: { id: string } | null }[];
}

async function errorOf(id: string): Promise<Candidates | null> {
  const query = `query ($id: ID!) { invoice(id: $id) { syncError { code
    contactCandidates { contactId name status participant { id } } } } }`;
  return (await client.ask<{ invoice: { syncError: Candidates | null } }>(query, { id })).invoice.syncError;
}

async function linkContact(participantId: string, xeroContactId: string | null) {
  return client.send<{ linkContact: { xeroContactId: string | null; xeroContactStatus: string | null } }>(
    `mutation ($participantId: ID!, $xeroContactId: ID) {
       linkContact(participantId: $participantId, xeroContactId: $xeroContactId) { xeroContactId xeroContactStatus } }`,
    { participantId, xeroContactId },
  );
}

type Outcome =
  | { action: "LINKED"; to: string; number?: string | undefined }
  | { action: "CREATED" }
  | { error: string; candidates: string[] };

interface Case {
  title: string;
  /** What is in Xero, by a name of the test's; prefixed so that no two cases meet. */
  inXero: Record<string, { Name: string; EmailAddress?: string; ContactNumber?: string }>;
  /** What happened to them since. */
  then?: (contacts: Record<string, Contact>) => Promise<unknown>;
  participant: { name: string; email?: string; contactNumber?: string };
  outcome: Outcome;
}

const archive = (contactId: string | undefined) =>
  service.control("contacts/archive", { tenantId: link.tenantId, contactId });

/** Somebody else here is that contact. */
async function linkElsewhere(contact: Contact | undefined): Promise<void> {
  const other = await saveParticipant(client);
  expect((await linkContact(other.id, contact?.ContactID ?? "")).errors).toBeUndefined();
}

const cases: Case[] = [
  {
    title: "by number, with the same name",
    inXero: { a: { Name: "Num Name", ContactNumber: "M-1" } },
    participant: { name: "num name", contactNumber: "M-1", email: "else@m1.example" },
    outcome: { action: "LINKED", to: "a" },
  },
  {
    title: "by number, with the same e-mail",
    inXero: { a: { Name: "Num Mail Was", ContactNumber: "M-2", EmailAddress: "n@m2.example" } },
    participant: { name: "Num Mail Is", contactNumber: "M-2", email: "N@m2.example" },
    outcome: { action: "LINKED", to: "a" },
  },
  {
    title: "not by a number that comes with another name and e-mail",
    inXero: { a: { Name: "Other System's", ContactNumber: "M-3", EmailAddress: "o@m3.example" } },
    participant: { name: "Ours", contactNumber: "M-3", email: "p@m3.example" },
    outcome: { error: "CONTACT_AMBIGUOUS", candidates: ["a"] },
  },
  {
    title: "not by a number whose bearer is archived",
    inXero: { a: { Name: "Num Archived", ContactNumber: "M-4" } },
    then: ({ a }) => archive(a?.ContactID),
    participant: { name: "Num Archived", contactNumber: "M-4" },
    outcome: { error: "CONTACT_ARCHIVED", candidates: [] },
  },
  {
    title: "by what the bearer of the number was merged into",
    inXero: { a: { Name: "Num Merged", ContactNumber: "M-5" }, b: { Name: "Num Merged Into" } },
    then: ({ a, b }) =>
      service.control("contacts/merge", {
        tenantId: link.tenantId,
        fromContactId: a?.ContactID,
        intoContactId: b?.ContactID,
      }),
    participant: { name: "Num Merged", contactNumber: "M-5" },
    // The archived contact keeps the number for ever.
    outcome: { action: "LINKED", to: "b", number: undefined },
  },
  {
    title: "not by a number whose bearer is linked to somebody else",
    inXero: { a: { Name: "Num Linked", ContactNumber: "M-6" } },
    then: ({ a }) => linkElsewhere(a),
    participant: { name: "Num Linked", contactNumber: "M-6" },
    outcome: { error: "CONTACT_AMBIGUOUS", candidates: ["a"] },
  },
  {
    title: "by name and e-mail together, though others have the e-mail",
    inXero: {
      a: { Name: "Both Of Them", EmailAddress: "b@m7.example" },
      b: { Name: "Only The Mail", EmailAddress: "b@m7.example" },
    },
    participant: { name: "Bóth of Them", email: "B@m7.example" },
    outcome: { action: "LINKED", to: "a" },
  },
  {
    title: "by name and e-mail together, though another system has numbered it",
    inXero: { a: { Name: "Foreign Number", EmailAddress: "f@m8.example", ContactNumber: "THEIRS-8" } },
    participant: { name: "Foreign Number", email: "f@m8.example" },
    outcome: { action: "LINKED", to: "a", number: "THEIRS-8" },
  },
  {
    title: "by the e-mail that only one has",
    inXero: { a: { Name: "Mail Holder", EmailAddress: "m@m9.example" } },
    participant: { name: "Mail Holder Renamed", email: "m@m9.example" },
    outcome: { action: "LINKED", to: "a" },
  },
  {
    title: "not by an e-mail that two have",
    inXero: {
      a: { Name: "Mail One", EmailAddress: "m@m10.example" },
      b: { Name: "Mail Two", EmailAddress: "m@m10.example" },
    },
    participant: { name: "Mail Three", email: "m@m10.example" },
    outcome: { error: "CONTACT_AMBIGUOUS", candidates: ["a", "b"] },
  },
  {
    title: "by the name that only one has",
    inXero: { a: { Name: "Name Holder", EmailAddress: "old@m11.example" } },
    participant: { name: "name  holder", email: "new@m11.example" },
    outcome: { action: "LINKED", to: "a" },
  },
  {
    title: "not where one has the e-mail and another the name",
    inXero: { a: { Name: "Has The Mail", EmailAddress: "x@m12.example" }, b: { Name: "Has The Name" } },
    participant: { name: "Has The Name", email: "x@m12.example" },
    outcome: { error: "CONTACT_AMBIGUOUS", candidates: ["a", "b"] },
  },
  {
    title: "not by name or e-mail of an archived contact",
    inXero: { a: { Name: "Archived Both", EmailAddress: "a@m13.example" } },
    then: ({ a }) => archive(a?.ContactID),
    participant: { name: "Archived Both", email: "a@m13.example" },
    outcome: { action: "CREATED" },
  },
  {
    title: "not by the e-mail of a contact that is linked to somebody else",
    inXero: { a: { Name: "Linked Mail", EmailAddress: "l@m14.example" } },
    then: ({ a }) => linkElsewhere(a),
    participant: { name: "Unlinked Mail", email: "l@m14.example" },
    outcome: { action: "CREATED" },
  },
  {
    title: "not where another participant here might as well be it",
    inXero: { a: { Name: "The Guardian", EmailAddress: "g@m15.example" } },
    then: () => saveParticipant(client, { name: "First Sibling", email: "g@m15.example" }),
    participant: { name: "Second Sibling", email: "g@m15.example" },
    outcome: { error: "CONTACT_AMBIGUOUS", candidates: ["a"] },
  },
  {
    title: "not where another participant here more surely is it",
    inXero: { a: { Name: "Surely The First", EmailAddress: "s@m16.example" } },
    then: () => saveParticipant(client, { name: "Surely The First", email: "s@m16.example" }),
    participant: { name: "The Second", email: "s@m16.example" },
    outcome: { action: "CREATED" },
  },
  {
    title: "nowhere, where nobody is alike",
    inXero: { a: { Name: "Somebody Else", EmailAddress: "z@m17.example" } },
    participant: { name: "Quite New", email: "new@m17.example" },
    outcome: { action: "CREATED" },
  },
];

describe("a participant is found", () => {
  it.each(cases)("$title", async ({ inXero: wished, then, participant: input, outcome }) => {
    const contacts: Record<string, Contact> = {};
    for (const [key, contact] of Object.entries(wished)) contacts[key] = await inXeroAs(contact);
    await then?.(contacts);
    const before = (await contactsNow()).length;
    const participant = await saveParticipant(client, input);
    const invoice = await syncedInvoice(client, { participantId: participant.id });
    const made = (await contactsNow()).length - before;
    if ("error" in outcome) {
      const error = await errorOf(invoice.id);
      expect(error?.code).toBe(outcome.error);
      const ids = outcome.candidates.map((key) => contacts[key]?.ContactID).sort();
      expect(error?.contactCandidates.map(({ contactId }) => contactId).sort()).toEqual(ids);
      expect(await inXero(service, invoice.number)).toEqual([]);
      expect(made).toBe(0);
      return;
    }
    expect(invoice.syncError).toBeNull();
    expect(invoice.syncAttempts).toEqual([{ outcome: "CREATED", contactAction: outcome.action }]);
    const contact = await contactOf(invoice);
    expect(made).toBe(outcome.action === "CREATED" ? 1 : 0);
    if (outcome.action === "LINKED") expect(contact?.ContactID).toBe(contacts[outcome.to]?.ContactID);
    // What the participant is called here is what Xero has from now on, but for the number that another system goes by.
    expect(contact).toMatchObject({
      Name: input.name.replace(/ +/g, " "),
      ...(input.email !== undefined && { EmailAddress: input.email }),
    });
    expect(contact?.ContactNumber).toBe("number" in outcome ? outcome.number : participant.contactNumber);
  });
});

describe("a name that somebody else has in Xero", () => {
  it("is told apart by the contact number, for good", async () => {
    const first = await saveParticipant(client, { name: "Jo Twice", email: "first@twice.example" });
    await syncedInvoice(client, { participantId: first.id });
    const second = await saveParticipant(client, { name: "Jo Twice", email: "second@twice.example" });
    const invoice = await syncedInvoice(client, { participantId: second.id });
    expect(invoice.syncAttempts).toEqual([{ outcome: "CREATED", contactAction: "CREATED" }]);
    const name = `Jo Twice (${second.contactNumber})`;
    expect(await contactOf(invoice)).toMatchObject({ Name: name, EmailAddress: "second@twice.example" });
    await saveParticipant(client, { id: second.id, name: "Jo Twice", phone: "02 5550 1234" });
    const next = await syncedInvoice(client, { participantId: second.id });
    expect(next.syncAttempts).toEqual([{ outcome: "CREATED", contactAction: "UPDATED" }]);
    expect(next.syncWarnings).toEqual([]);
    expect(await contactOf(next)).toMatchObject({ Name: name });
  });

  it("is told apart where both are new in one run", async () => {
    const email = (who: string) => `${who}@run.example`;
    const people = [
      await saveParticipant(client, { name: "Sam Same", email: email("one") }),
      await saveParticipant(client, { name: "SAM SAME", email: email("two") }),
    ];
    const invoices = await Promise.all(people.map(({ id }) => saveInvoice(client, { participantId: id })));
    await client.ask("mutation ($ids: [ID!]!) { syncInvoices(ids: $ids) { id } }", {
      ids: invoices.map(({ id }) => id),
    });
    for (const { id } of invoices) expect((await untilSync(client, id, "SYNCED", "FAILED")).syncError).toBeNull();
    const names = (await contactsNow()).map(({ Name }) => Name).filter((name) => /sam same/i.test(name));
    expect(names).toHaveLength(2);
    expect(names.filter((name) => name.includes("("))).toHaveLength(1);
  });

  it("is told apart where it was given away after the copy was read", async () => {
    const participant = await saveParticipant(client, { name: "Late Namesake", email: "ours@late.example" });
    const invoice = await saveInvoice(client, { participantId: participant.id });
    const hold = {
      name: "creation",
      match: { method: "PUT", path: "/Contacts$", tenant: link.tenantId },
      phase: "before",
    };
    await service.control("hold", { ...hold, times: 1 });
    await syncInvoice(client, invoice.id);
    await service.control("hold/await", { name: "creation" });
    const namesake = await inXeroAs({ Name: "Late Namesake", EmailAddress: "theirs@late.example" });
    // Somebody else is that contact by now, so it can't be this participant.
    await linkElsewhere(namesake);
    await service.control("release", { name: "creation" });
    const synced = await untilSync(client, invoice.id, "SYNCED", "FAILED");
    expect(synced.syncError).toBeNull();
    expect(await contactOf(synced)).toMatchObject({ Name: `Late Namesake (${participant.contactNumber})` });
  });
});

describe("a contact that is archived after it was linked", () => {
  it("is followed to what it was merged into, at the cost of one refusal", async () => {
    const participant = await saveParticipant(client, { name: "Merged Away" });
    await syncedInvoice(client, { participantId: participant.id });
    const from = (await contactsNow()).find(({ Name }) => Name === "Merged Away");
    const into = await inXeroAs({ Name: "Merged Away For Good" });
    await service.control("contacts/merge", {
      tenantId: link.tenantId,
      fromContactId: from?.ContactID,
      intoContactId: into.ContactID,
    });
    const invoice = await syncedInvoice(client, { participantId: participant.id });
    expect(invoice.syncError).toBeNull();
    expect((await contactOf(invoice))?.ContactID).toBe(into.ContactID);
    expect(await inXero(service, invoice.number)).toHaveLength(1);
  });

  it("fails the invoice with Xero's words, until the participant is linked to another", async () => {
    const participant = await saveParticipant(client, { name: "Archived Later" });
    await syncedInvoice(client, { participantId: participant.id });
    await archive((await contactsNow()).find(({ Name }) => Name === "Archived Later")?.ContactID);
    const invoice = await syncedInvoice(client, { participantId: participant.id });
    expect(invoice.syncError).toMatchObject({
      code: "CONTACT_ARCHIVED",
      xeroMessages: [expect.stringMatching(/archived/)],
      retryable: false,
    });
    const query = "query ($id: ID!) { participant(id: $id) { xeroContactStatus } }";
    expect(await client.ask(query, { id: participant.id })).toEqual({ participant: { xeroContactStatus: "ARCHIVED" } });
    const other = await inXeroAs({ Name: "Taken Instead" });
    expect((await linkContact(participant.id, other.ContactID)).data?.linkContact).toEqual({
      xeroContactId: other.ContactID,
      xeroContactStatus: "ACTIVE",
    });
    const again = await untilSync(client, invoice.id, "SYNCED");
    expect((await contactOf(again))?.ContactID).toBe(other.ContactID);
  });
});

describe("a contact that was settled", () => {
  it("is settled anew where somebody else is to be billed by the time of sending", async () => {
    const manager = await saveParticipant(client, { name: "Late Manager", planManagement: "NOT_NDIS" });
    const participant = await saveParticipant(client, { name: "Late Planner" });
    await syncedInvoice(client, { participantId: participant.id });
    const invoice = await saveInvoice(client, { participantId: participant.id });
    const match = { method: "PUT", path: "/Invoices$", tenant: link.tenantId };
    await service.control("faults", { match, fault: "429-minute", times: 1, retryAfterSeconds: 2 });
    await syncInvoice(client, invoice.id);
    await until(async () =>
      (await callsOf(service, { path: "/Invoices", method: "PUT" })).some(({ status }) => status === 429),
    );
    await saveParticipant(client, {
      id: participant.id,
      name: "Late Planner",
      planManagement: "PLAN_MANAGED",
      planManagerId: manager.id,
    });
    const synced = await untilSync(client, invoice.id, "SYNCED", "FAILED");
    expect(await contactOf(synced)).toMatchObject({ Name: "Late Manager" });
  });

  it("keeps what only Xero knew of it", async () => {
    await inXeroAs({ Name: "Known In Xero", EmailAddress: "known@x.example", FirstName: "Known" });
    const participant = await saveParticipant(client, { name: "known in xero" });
    const invoice = await syncedInvoice(client, { participantId: participant.id });
    expect(invoice.syncAttempts[0]?.contactAction).toBe("LINKED");
    await saveParticipant(client, { id: participant.id, name: "known in xero", phone: "02 5550 8888" });
    const next = await syncedInvoice(client, { participantId: participant.id });
    expect(next.syncAttempts[0]?.contactAction).toBe("UPDATED");
    expect(await contactOf(invoice)).toMatchObject({
      EmailAddress: "known@x.example",
      FirstName: "Known",
      ContactNumber: participant.contactNumber,
    });
  });

  it("is told a new contact number", async () => {
    const participant = await saveParticipant(client, { name: "Renumbered", contactNumber: "OLD-77" });
    await syncedInvoice(client, { participantId: participant.id });
    await saveParticipant(client, { id: participant.id, name: "Renumbered", contactNumber: "NEW-77" });
    expect(await contactOf(await syncedInvoice(client, { participantId: participant.id }))).toMatchObject({
      ContactNumber: "NEW-77",
    });
  });
});

/** What of a worker sends invoices, with a few connections to the database instead of all that a process may open. */
async function openSender({
  config,
  database: { url },
}: Service): Promise<{ pusher: Pusher; close: () => Promise<void> }> {
  const logger = createLogger("silent");
  const database = await openDatabase({ ...config.database, url, logger });
  (database.source.driver as unknown as { master: Pool }).master.options.max = 2;
  const { xero } = config;
  const identity = new XeroIdentity({ ...xero, redirectUri: "" });
  const grants = new Grants(database, identity, new Vault(config.encryptionKeys), xero.timeoutMs * 2);
  const limits = new CallLimits(database, xero.timeoutMs);
  const onFailure = () => Promise.resolve();
  const gateway = new XeroGateway(database, grants, limits, { ...xero, logger, onFailure });
  const times = { leaseMs: config.syncLeaseMs, timeoutMs: xero.timeoutMs, keyLifeMs: config.keyLifeMs };
  const options = { appUrl: () => "http://localhost", logger, ...times };
  const pusher = new Pusher(database, gateway, new OrganisationData(database, gateway), options);
  return { pusher, close: () => database.close() };
}

const onPostgres = process.env.DATABASE_URL !== undefined;
(onPostgres ? it : it.skip)(
  "a hundred invoices of one new participant, sent by eight at once, make one contact",
  async () => {
    const idle = await startService({ environment: { ROLE: "api", DATABASE_URL: process.env.DATABASE_URL ?? "" } });
    const senders = await Promise.all(Array.from({ length: 8 }, () => openSender(idle)));
    try {
      const office = await newLink(idle, "many");
      const participant = await saveParticipant(office.client, { name: "One Of Many", email: "one@many.example" });
      const invoices: InvoiceState[] = [];
      for (let n = 0; n < 100; n += 1)
        invoices.push(await saveInvoice(office.client, { participantId: participant.id }));
      await Promise.all(invoices.map(({ id }) => syncInvoice(office.client, id)));
      const left = async (): Promise<boolean> =>
        (await runSql(idle, "SELECT FROM sync_attempt WHERE outcome IN ('PENDING', 'UNCERTAIN') LIMIT 1")).length > 0;
      while (await left()) await Promise.all(senders.map(({ pusher }) => pusher.push(office.workspace, office.id)));
      for (const { id } of invoices) expect((await readInvoice(office.client, id)).syncStatus).toBe("SYNCED");
      const contacts = await idle.control<Contact[]>(`contacts?tenant=${office.tenantId}`);
      expect(contacts.map(({ Name }) => Name)).toEqual(["One Of Many"]);
    } finally {
      await Promise.all(senders.map(({ close }) => close()));
      await idle.close();
    }
  },
);

describe("xeroContacts", () => {
  it("finds by a part of name, e-mail or number what is in Xero now, active ones first", async () => {
    const archivedOne = await inXeroAs({ Name: "A Findme Archived", EmailAddress: "findme@search.example" });
    await archive(archivedOne.ContactID);
    const numbered = await inXeroAs({ Name: "Z Numbered", ContactNumber: "FINDME-1" });
    const named = await inXeroAs({ Name: "M Findme 100%" });
    const query = `query ($search: String!, $first: Int) { xeroContacts(search: $search, first: $first) {
      contactId name contactNumber email status participant { id } } }`;
    const search = async (text: string, first?: number) =>
      (
        await client.ask<{ xeroContacts: { contactId: string; status: string }[] }>(query, {
          search: text,
          ...(first !== undefined && { first }),
        })
      ).xeroContacts;
    // What is new in Xero is seen after some seconds.
    await until(async () => (await search("findme")).length === 3);
    expect((await search("findme")).map(({ contactId }) => contactId)).toEqual([
      named.ContactID,
      numbered.ContactID,
      archivedOne.ContactID,
    ]);
    expect(await search("findme", 1)).toMatchObject([{ contactId: named.ContactID, status: "ACTIVE" }]);
    expect(await search("100%")).toMatchObject([{ contactId: named.ContactID }]);
    expect((await client.send(query, { search: "x", first: 0 })).errors?.[0]?.extensions.code).toBe("BAD_USER_INPUT");
  });

  it("is null where no organisation is chosen, and another workspace's contacts are not among its own", async () => {
    const stranger = await service.client("admin", "no-contacts");
    expect(await stranger.ask('{ xeroContacts(search: "") { contactId } }')).toEqual({ xeroContacts: null });
  });
});

describe("linkContact", () => {
  const codeOf = async (participantId: string, contactId: string | null) =>
    (await linkContact(participantId, contactId)).errors?.[0]?.extensions;

  it("settles what matching must not, and queues what failed for it", async () => {
    const [one] = [
      await inXeroAs({ Name: "Choice One", EmailAddress: "choice@link.example" }),
      await inXeroAs({ Name: "Choice Two", EmailAddress: "choice@link.example" }),
    ];
    const participant = await saveParticipant(client, { name: "Choice Three", email: "choice@link.example" });
    const invoice = await syncedInvoice(client, { participantId: participant.id });
    const error = await errorOf(invoice.id);
    expect(error?.contactCandidates).toHaveLength(2);
    await linkContact(participant.id, one.ContactID);
    const synced = await untilSync(client, invoice.id, "SYNCED");
    expect(await contactOf(synced)).toMatchObject({ ContactID: one.ContactID, Name: "Choice Three" });
    expect((await linkContact(participant.id, null)).data?.linkContact.xeroContactId).toBeNull();
    // It bears the participant's number now.
    const next = await syncedInvoice(client, { participantId: participant.id });
    expect(next.syncAttempts[0]?.contactAction).toBe("LINKED");
    expect((await contactOf(next))?.ContactID).toBe(one.ContactID);
  });

  it("refuses what is archived, somebody else's, unknown or no id", async () => {
    const archivedOne = await inXeroAs({ Name: "Link Archived" });
    await archive(archivedOne.ContactID);
    const holder = await saveParticipant(client, { name: "Link Holder" });
    const held = await contactOf(await syncedInvoice(client, { participantId: holder.id }));
    const participant = await saveParticipant(client, { name: "Link Seeker" });
    await syncedInvoice(client, { participantId: participant.id });
    expect(await codeOf(participant.id, archivedOne.ContactID)).toMatchObject({
      code: "BAD_USER_INPUT",
      fields: [{ field: "xeroContactId", reason: expect.stringContaining("archived") }],
    });
    expect(await codeOf(participant.id, held?.ContactID ?? "")).toMatchObject({
      code: "BAD_USER_INPUT",
      fields: [{ field: "xeroContactId", reason: expect.stringContaining("another participant") }],
    });
    const unknown = "01890000-0000-7000-8000-000000000000";
    expect(await codeOf(participant.id, unknown)).toMatchObject({ code: "NOT_FOUND" });
    expect(await codeOf(unknown, held?.ContactID ?? "")).toMatchObject({ code: "NOT_FOUND" });
    expect(await codeOf(participant.id, "no id")).toMatchObject({ code: "BAD_USER_INPUT" });
    const stranger = await service.client("admin", "strange-linker");
    const theirs = await saveParticipant(stranger);
    const answer = await stranger.send(
      "mutation ($p: ID!, $c: ID) { linkContact(participantId: $p, xeroContactId: $c) { id } }",
      {
        p: theirs.id,
        c: held?.ContactID,
      },
    );
    expect(answer.errors?.[0]?.extensions.code).toBe("XERO_NOT_CONNECTED");
    const viewer = await service.client("viewer", "matching");
    const refused = await viewer.send("mutation ($p: ID!) { linkContact(participantId: $p) { id } }", { p: holder.id });
    expect(refused.errors?.[0]?.extensions.code).toBe("FORBIDDEN");
  });

  it("wins over a settlement that is under way", async () => {
    const mine = await inXeroAs({ Name: "By Hand" });
    const participant = await saveParticipant(client, { name: "Raced", email: "raced@link.example" });
    const invoice = await saveInvoice(client, { participantId: participant.id });
    const match = { method: "PUT", path: "/Contacts$", tenant: link.tenantId };
    await service.control("hold", { name: "race", match, phase: "before", times: 1 });
    await syncInvoice(client, invoice.id);
    await service.control("hold/await", { name: "race" });
    const answer = await linkContact(participant.id, mine.ContactID);
    await service.control("release", { name: "race" });
    expect(answer.errors).toBeUndefined();
    const synced = await untilSync(client, invoice.id, "SYNCED", "FAILED");
    expect((await contactOf(synced))?.ContactID).toBe(mine.ContactID);
  });
});
