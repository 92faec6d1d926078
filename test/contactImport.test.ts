/** Contacts of Xero's as participants: who is created, who is updated, who is left to a person; and that nothing swings back and forth. */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { areSame, takeIn } from "../src/services/contacts/importedDetails.js";
import { consentTo, type Link, newLink, unconnected, until, untilDone, update } from "./support/links.js";
import { saveParticipant, syncedInvoice } from "./support/records.js";
import { type Service, startService } from "./support/service.js";

let service: Service;

beforeAll(async () => {
  service = await startService();
});

afterAll(() => service.close());

interface Run {
  id: string;
  kind: string;
  status: string;
  total: number;
  created: number;
  updated: number;
  unchanged: number;
  skipped: number;
  failed: number;
  xeroCalls: number;
  problems: string[];
}

const runFields = "id kind status total created updated unchanged skipped failed xeroCalls problems";

interface Person {
  id: string;
  contactNumber: string;
  name: string;
  firstName: string | null;
  lastName: string | null;
  email: string | null;
  phone: string | null;
  planManagement: string;
  xeroContactId: string | null;
}

async function peopleOf(client: GraphqlClient, search = ""): Promise<Person[]> {
  const { participants } = await client.ask<{ participants: { nodes: Person[] } }>(
    `query ($search: String) { participants(first: 100, search: $search) { nodes {
       id contactNumber name firstName lastName email phone planManagement xeroContactId } } }`,
    { search },
  );
  return participants.nodes;
}

/** Imports by hand, and waits until it is over. */
async function importNow({ client }: Pick<Link, "client">): Promise<Run> {
  const { importContacts } = await client.ask<{ importContacts: { id: string } }>("mutation { importContacts { id } }");
  const events = client.watch<{ syncStatus: { runStatus: string | null } }>(
    'subscription ($id: ID!) { syncStatus(runId: $id, after: "0") { runStatus } }',
    importContacts,
  );
  for await (const { syncStatus } of events) {
    if (syncStatus.runStatus === null || ["QUEUED", "RUNNING"].includes(syncStatus.runStatus)) continue;
    const query = `query ($id: ID!) { syncRun(id: $id) { ${runFields} } }`;
    return (await client.ask<{ syncRun: Run }>(query, importContacts)).syncRun;
  }
  throw new Error("the subscription ended");
}

interface Contact {
  ContactID: string;
  Name: string;
  ContactNumber?: string;
}

function inXero({ tenantId }: Link, contact: object, more: object = {}): Promise<Contact> {
  return service.control<Contact>("contacts/add", { tenantId, contact, ...more });
}

const phone = (number: string) => [{ PhoneType: "DEFAULT", PhoneNumber: number }];

/** A workspace with an organisation of its own, and the people who are in it from the start. */
async function newOffice(name: string): Promise<{ link: Link; before: number }> {
  const link = await newLink(service, `import: ${name}`);
  return { link, before: (await service.control<object[]>(`contacts?tenant=${link.tenantId}`)).length };
}

describe("an import by hand", () => {
  it("creates whoever is not here, leaves out suppliers and the archived, and repeated changes nothing", async () => {
    const { link, before } = await newOffice("create");
    expect(before).toBe(0);
    await inXero(link, {
      Name: "Ada Okafor",
      FirstName: "Ada",
      LastName: "Okafor",
      EmailAddress: "ada@c.example",
      Phones: phone("02 5550 1111"),
      ContactNumber: "C-1",
    });
    await inXero(link, { Name: "Only A Name" });
    await inXero(link, { Name: "Sells To Us" }, { isSupplier: true });
    const gone = await inXero(link, { Name: "Archived" });
    await service.control("contacts/archive", { tenantId: link.tenantId, contactId: gone.ContactID });
    const run = await importNow(link);
    expect(run).toMatchObject({
      kind: "CONTACT_IMPORT",
      status: "SUCCEEDED",
      total: 3,
      created: 2,
      skipped: 1,
      failed: 0,
      problems: [],
    });
    expect(run.xeroCalls).toBe(1);
    const people = await peopleOf(link.client);
    expect(people).toMatchObject([
      {
        name: "Ada Okafor",
        firstName: "Ada",
        lastName: "Okafor",
        email: "ada@c.example",
        phone: "02 5550 1111",
        contactNumber: "C-1",
        planManagement: "NOT_NDIS",
      },
      { name: "Only A Name", firstName: null, lastName: null, email: null },
    ]);
    expect(people.every(({ xeroContactId }) => xeroContactId !== null)).toBe(true);
    expect(await importNow(link)).toMatchObject({
      status: "SUCCEEDED",
      created: 0,
      updated: 0,
      unchanged: 2,
      skipped: 1,
    });
    expect(await peopleOf(link.client)).toEqual(people);
    await update(link.client, { contactImport: { includeSuppliers: true } });
    expect(await importNow(link)).toMatchObject({ created: 1, unchanged: 2, skipped: 0 });
    // Imported, they are linked: an invoice makes no contact.
    const { syncAttempts } = await syncedInvoice(link.client, { participantId: people[1]?.id });
    expect(syncAttempts).toEqual([{ outcome: "CREATED", contactAction: "UPDATED" }]);
    expect(await service.control<object[]>(`contacts?tenant=${link.tenantId}`)).toHaveLength(4);
  });

  it("updates and links who is here already, by number, e-mail or telephone, and guesses nobody", async () => {
    const { link } = await newOffice("match");
    const { client } = link;
    const byMail = await saveParticipant(client, {
      name: "Mail Was",
      email: "M@mail.example",
      planManagement: "PLAN_MANAGED",
    });
    const byPhone = await saveParticipant(client, { name: "Phone Was", phone: "(02) 5550-2222" });
    const byNumber = await saveParticipant(client, {
      name: "Number Was",
      contactNumber: "N-1",
      email: "kept@n.example",
    });
    for (const name of ["Twin One", "Twin Two"]) await saveParticipant(client, { name, email: "twins@t.example" });
    const alone = await saveParticipant(client, { name: "Alone Here", email: "two@x.example" });
    await inXero(link, { Name: "Mail Is", EmailAddress: "m@mail.example", Phones: phone("02 5550 3333") });
    await inXero(link, { Name: "Phone Is", Phones: phone("02 5550 2222") });
    await inXero(link, { Name: "Number Is", ContactNumber: "N-1", EmailAddress: "kept@n.example" });
    const byName = await saveParticipant(client, { name: "Name Only" });
    await inXero(link, { Name: "name only", Phones: phone("02 5550 9090") });
    const stranger = await saveParticipant(client, {
      name: "Has Our Number",
      contactNumber: "N-2",
      email: "o@n2.example",
    });
    await inXero(link, { Name: "Of Another System", ContactNumber: "N-2", EmailAddress: "t@n2.example" });
    await inXero(link, { Name: "Which Twin", EmailAddress: "twins@t.example" });
    for (const Name of ["Two In Xero", "Two In Xero Too"]) await inXero(link, { Name, EmailAddress: "two@x.example" });
    const run = await importNow(link);
    expect(run).toMatchObject({ status: "PARTIALLY_SUCCEEDED", total: 8, created: 0, updated: 4, failed: 4 });
    expect(run.problems).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/Which Twin in Xero may be any of 2 participants: Twin One, Twin Two/),
        expect.stringMatching(/Alone Here may be any of 2 contacts in Xero/),
        expect.stringMatching(/Of Another System in Xero has the contact number of Has Our Number/),
      ]),
    );
    const people = new Map((await peopleOf(client)).map((person) => [person.id, person]));
    expect(people.size).toBe(8);
    expect(people.get(byMail.id)).toMatchObject({
      name: "Mail Is",
      // The same address, so the spelling here stays.
      email: "M@mail.example",
      phone: "02 5550 3333",
      planManagement: "PLAN_MANAGED",
    });
    expect(people.get(byPhone.id)).toMatchObject({ name: "Phone Is" });
    expect(people.get(byNumber.id)).toMatchObject({ name: "Number Is", email: "kept@n.example" });
    expect(people.get(byName.id)).toMatchObject({ name: "name only", phone: "02 5550 9090" });
    expect(people.get(stranger.id)).toMatchObject({
      name: "Has Our Number",
      email: "o@n2.example",
      xeroContactId: null,
    });
    expect(people.get(alone.id)).toMatchObject({ name: "Alone Here", xeroContactId: null });
    expect([...people.values()].filter(({ xeroContactId }) => xeroContactId === null)).toHaveLength(4);
  });

  it("takes the chosen groups only", async () => {
    const { link } = await newOffice("groups");
    const { client, tenantId } = link;
    const inside = await inXero(link, { Name: "Inside" });
    await inXero(link, { Name: "Outside" });
    await service.control("groups/add", { tenantId, name: "Participants", contactIds: [inside.ContactID] });
    const { xeroContactGroups } = await client.ask<{ xeroContactGroups: { id: string; name: string }[] }>(
      "{ xeroContactGroups { id name } }",
    );
    expect(xeroContactGroups).toEqual([{ id: expect.any(String), name: "Participants" }]);
    await update(client, { contactImport: { groupIds: [xeroContactGroups[0]?.id] } });
    expect(await importNow(link)).toMatchObject({ created: 1, skipped: 1 });
    expect((await peopleOf(client)).map(({ name }) => name)).toEqual(["Inside"]);
    const settings = await client.ask("{ integration { contactImport { enabled groupIds includeSuppliers } } }");
    expect(settings).toEqual({
      integration: { contactImport: { enabled: false, groupIds: [xeroContactGroups[0]?.id], includeSuppliers: false } },
    });
    await update(client, { contactImport: { groupIds: null } });
    expect(await importNow(link)).toMatchObject({ created: 1, unchanged: 1, skipped: 0 });
  });

  it("is refused without a link, with the switch off, and with groups that are no ids; a second press answers the first", async () => {
    const stranger = await service.client("admin", "import: nobody");
    const code = async (client: GraphqlClient, text: string) => (await client.send(text)).errors?.[0]?.extensions;
    expect(await code(stranger, "mutation { importContacts { id } }")).toMatchObject({ code: "XERO_NOT_CONNECTED" });
    expect(await stranger.ask("{ xeroContactGroups { id } }")).toEqual({ xeroContactGroups: null });
    const { link } = await newOffice("refusals");
    expect(
      await code(
        link.client,
        'mutation { updateIntegration(input: { contactImport: { groupIds: ["x"], enabled: null } }) { enabled } }',
      ),
    ).toMatchObject({
      code: "BAD_USER_INPUT",
      fields: [{ field: "input.contactImport.enabled" }, { field: "input.contactImport.groupIds[0]" }],
    });
    await service.control("hold", {
      name: "reading",
      match: { method: "GET", path: "/Contacts$", tenant: link.tenantId },
      phase: "before",
      times: 1,
    });
    const press = "mutation { importContacts { id status } }";
    const first = await link.client.ask<{ importContacts: { id: string } }>(press);
    await service.control("hold/await", { name: "reading" });
    expect((await link.client.ask<{ importContacts: { id: string } }>(press)).importContacts.id).toBe(
      first.importContacts.id,
    );
    await service.control("release", { name: "reading" });
    await untilDone(link);
    const retry = `mutation { retrySyncRun(id: "${first.importContacts.id}") { id } }`;
    expect(await code(link.client, retry)).toMatchObject({ code: "BAD_USER_INPUT" });
    await update(link.client, { enabled: false });
    expect(await code(link.client, press)).toMatchObject({ code: "XERO_DISABLED" });
  });

  it("leaves what was changed here since, and Xero gets it with the next invoice", async () => {
    const { link } = await newOffice("edited here");
    const { client } = link;
    const contact = await inXero(link, { Name: "J Smith", EmailAddress: "j@e.example", Phones: phone("02 5550 6666") });
    await importNow(link);
    const [person] = await peopleOf(client);
    await saveParticipant(client, { id: person?.id, name: "Jane Smith", phone: null });
    expect(await importNow(link)).toMatchObject({ updated: 0, unchanged: 1 });
    expect(await peopleOf(client)).toMatchObject([{ name: "Jane Smith", phone: null, email: "j@e.example" }]);
    await syncedInvoice(client, { participantId: person?.id });
    const contacts = await service.control<(Contact & { Phones: { PhoneNumber: string }[] })[]>(
      `contacts?tenant=${link.tenantId}`,
    );
    expect(contacts).toMatchObject([{ ContactID: contact.ContactID, Name: "Jane Smith" }]);
    expect(contacts[0]?.Phones.every(({ PhoneNumber }) => PhoneNumber === "")).toBe(true);
    expect(await importNow(link)).toMatchObject({ updated: 0, unchanged: 1 });
  });

  it("follows a contact to what it was merged into, and doubles nobody", async () => {
    const { link } = await newOffice("merged");
    const { client, tenantId } = link;
    const from = await inXero(link, { Name: "Merged Person", EmailAddress: "m@m.example" });
    await importNow(link);
    const into = await inXero(link, { Name: "Merged Person Too", EmailAddress: "m@m.example" });
    await service.control("contacts/merge", { tenantId, fromContactId: from.ContactID, intoContactId: into.ContactID });
    expect(await importNow(link)).toMatchObject({ created: 0, updated: 1, failed: 0 });
    expect(await peopleOf(client)).toMatchObject([{ name: "Merged Person Too", xeroContactId: into.ContactID }]);
  });

  it("gives nobody whose contact is archived to somebody else", async () => {
    const { link } = await newOffice("archived");
    const { client, tenantId } = link;
    const tom = await inXero(link, { Name: "Tom", EmailAddress: "mum@a.example" });
    await importNow(link);
    await service.control("contacts/archive", { tenantId, contactId: tom.ContactID });
    await inXero(link, { Name: "Anna", EmailAddress: "mum@a.example" });
    const run = await importNow(link);
    expect(run).toMatchObject({ status: "FAILED", created: 0, updated: 0, failed: 1 });
    expect(run.problems).toEqual([
      expect.stringMatching(/Anna in Xero may be the participant Tom, whose contact is archived/),
    ]);
    expect(await peopleOf(client)).toMatchObject([{ name: "Tom", xeroContactId: tom.ContactID }]);
  });

  it("guesses nobody where one has the name and another the e-mail, here or in Xero", async () => {
    const { link } = await newOffice("name or e-mail");
    const { client } = link;
    await saveParticipant(client, { name: "Sam Lee", email: "s@l.example" });
    await inXero(link, { Name: "Sam Lee" });
    await inXero(link, { Name: "Samuel Lee", EmailAddress: "s@l.example" });
    await saveParticipant(client, { name: "Tom Smith", email: "mum@s.example" });
    await saveParticipant(client, { name: "Anna Smith" });
    await inXero(link, { Name: "Anna Smith", EmailAddress: "mum@s.example" });
    expect(await importNow(link)).toMatchObject({ created: 0, updated: 0, failed: 3 });
    expect((await peopleOf(client)).map(({ name }) => name)).toEqual(["Anna Smith", "Sam Lee", "Tom Smith"]);
  });

  it("keeps back no new contact number", async () => {
    const { link } = await newOffice("renumbered");
    const { client, tenantId } = link;
    const person = await saveParticipant(client, { name: "Renumbered", contactNumber: "OLD-1" });
    await syncedInvoice(client, { participantId: person.id });
    await saveParticipant(client, { id: person.id, name: "Renumbered", contactNumber: "NEW-1" });
    await importNow(link);
    await syncedInvoice(client, { participantId: person.id });
    expect(await service.control<Contact[]>(`contacts?tenant=${tenantId}`)).toMatchObject([{ ContactNumber: "NEW-1" }]);
  });

  it("does not take the number behind a namesake's name for a part of it", async () => {
    const { link } = await newOffice("namesakes");
    const { client } = link;
    const first = await saveParticipant(client, { name: "Jo Twice", email: "one@j.example" });
    const second = await saveParticipant(client, { name: "Jo Twice", email: "two@j.example" });
    for (const { id } of [first, second]) await syncedInvoice(client, { participantId: id });
    expect(await importNow(link)).toMatchObject({ updated: 0, unchanged: 2 });
    await saveParticipant(client, { id: second.id, name: "Joanna" });
    expect(await importNow(link)).toMatchObject({ updated: 0, unchanged: 2 });
    expect((await peopleOf(client)).map(({ name }) => name).sort()).toEqual(["Jo Twice", "Joanna"]);
    const [, namesake] = (await service.control<Contact[]>(`contacts?tenant=${link.tenantId}`)).filter(({ Name }) =>
      Name.startsWith("Jo Twice"),
    );
    const number = second.contactNumber;
    await service.control("contacts/edit", {
      tenantId: link.tenantId,
      contactId: namesake?.ContactID,
      changes: { Name: `Joanne (${number})` },
    });
    await importNow(link);
    expect((await peopleOf(client, number)).map(({ name }) => name)).toEqual(["Joanne"]);
  });

  it("that Xero fails goes on once Xero is back", async () => {
    const { link } = await newOffice("failing");
    await inXero(link, { Name: "Seen In The End" });
    await service.control("faults", {
      match: { path: "/Contacts", tenant: link.tenantId },
      fault: "503-unavailable",
      times: 1,
    });
    expect(await importNow(link)).toMatchObject({ status: "SUCCEEDED", created: 1 });
  });
});

describe("an import by itself", () => {
  it("happens when an organisation is connected, where it was switched on before", async () => {
    const office = await unconnected(service, "import: on connecting");
    await update(office.client, { contactImport: { enabled: true } });
    await service.control("contacts/add", { tenantId: office.tenantId, contact: { Name: "Here From The Start" } });
    await consentTo(office);
    await until(async () => (await peopleOf(office.client)).length === 1);
  });

  it("brings what is there when it is switched on, then what webhooks tell of; our own writes come back as nothing", async () => {
    const { link } = await newOffice("itself");
    const { client, tenantId } = link;
    const first = await inXero(link, { Name: "Was There", EmailAddress: "was@i.example" });
    await update(client, { contactImport: { enabled: true } });
    await until(async () => (await peopleOf(client)).length === 1);
    await inXero(link, { Name: "Came Later" });
    await until(async () => (await peopleOf(client)).length === 2);
    await service.control("contacts/edit", {
      tenantId,
      contactId: first.ContactID,
      changes: { Name: "Is There", EmailAddress: "is@i.example" },
    });
    await until(async () => (await peopleOf(client, "Is There")).length === 1);
    const runs = async () =>
      (
        await client.ask<{ syncRuns: { nodes: Run[] } }>(`{ syncRuns { nodes { ${runFields} } } }`)
      ).syncRuns.nodes.filter(({ kind }) => kind === "CONTACT_IMPORT");
    // A run by itself is kept when all of it is done.
    await until(async () => (await runs()).some(({ updated }) => updated === 1));
    await untilDone(link);
    const seen = await runs();
    expect(seen.map(({ created, updated }) => [created, updated])).toEqual(
      expect.arrayContaining([
        [1, 0],
        [0, 1],
      ]),
    );
    // Ours go to Xero, and their events come back.
    const ours = await saveParticipant(client, { name: "Ours", email: "ours@i.example", phone: "02 5550 7777" });
    await syncedInvoice(client, { participantId: ours.id });
    await saveParticipant(client, { id: ours.id, name: "Ours Renamed" });
    await syncedInvoice(client, { participantId: ours.id });
    await service.control("webhooks/drain", {});
    await untilDone(link);
    expect(await peopleOf(client)).toHaveLength(3);
    expect(await peopleOf(client, "Ours")).toMatchObject([{ name: "Ours Renamed", phone: "02 5550 7777" }]);
    expect((await runs()).length).toBe(seen.length);
    const untouched = await syncedInvoice(client, { participantId: ours.id });
    expect(untouched.syncAttempts).toEqual([{ outcome: "CREATED", contactAction: "UNCHANGED" }]);
  });
});

const texts = fc.constantFrom("a", "b", "c");
const operations = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant("ours" as const),
      field: fc.constantFrom("name" as const, "email" as const, "phone" as const),
      value: texts,
    }),
    fc.record({
      kind: fc.constant("theirs" as const),
      field: fc.constantFrom("name" as const, "email" as const, "phone" as const),
      value: texts,
    }),
    fc.record({ kind: fc.constant("import" as const) }),
    fc.record({ kind: fc.constant("export" as const) }),
  ),
  { maxLength: 12 },
);

describe("import and export in any order", () => {
  it("come to rest, and what only one side has changed is what both have then", () => {
    fc.assert(
      fc.property(operations, (steps) => {
        const start = { name: "n", firstName: null, lastName: null, email: "e", phone: "000000" };
        const state = { ours: { ...start }, theirs: { ...start }, agreed: { ...start } };
        const takeXeros = (): void => {
          state.ours = { ...state.ours, ...takeIn(state.ours, state.agreed, state.theirs) } as typeof start;
          state.agreed = { ...state.theirs };
        };
        const send = (): void => {
          state.theirs = { ...state.ours };
          state.agreed = { ...state.ours };
        };
        const valueOf = (field: string, value: string): string =>
          field === "phone" ? `000000${value.charCodeAt(0)}` : value;
        for (const step of steps) {
          if (step.kind === "import") takeXeros();
          else if (step.kind === "export") send();
          else state[step.kind] = { ...state[step.kind], [step.field]: valueOf(step.field, step.value) };
        }
        const before = structuredClone(state);
        takeXeros();
        send();
        expect(areSame(state.ours, state.theirs)).toBe(true);
        for (const field of ["name", "email", "phone"] as const) {
          const oursChanged = before.ours[field] !== before.agreed[field];
          const theirsChanged = before.theirs[field] !== before.agreed[field];
          // Where both have changed it, the import came first, so Xero's stands.
          expect(state.ours[field]).toBe(theirsChanged || !oursChanged ? before.theirs[field] : before.ours[field]);
        }
        const rest = structuredClone(state);
        takeXeros();
        send();
        takeXeros();
        expect(state).toEqual(rest);
      }),
      { numRuns: 1_000 },
    );
  });

  it("make one contact of one participant, at the service's own doors", async () => {
    const { link } = await newOffice("property");
    const { client, tenantId } = link;
    const contactsNow = () => service.control<(Contact & { EmailAddress: string })[]>(`contacts?tenant=${tenantId}`);
    let number = 0;
    const step = fc.constantFrom("import", "export", "rename here", "rename there");
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 5 }), fc.boolean(), async (steps, startsInXero) => {
        number += 1;
        const name = `Person ${number}`;
        const email = `p${number}@property.example`;
        if (startsInXero) await inXero(link, { Name: name, EmailAddress: email });
        else await saveParticipant(client, { name, email });
        const mine = async () => (await peopleOf(client, email)).map(({ name: called }) => called);
        const theirs = async () => (await contactsNow()).filter(({ EmailAddress }) => EmailAddress === email);
        const settle = {
          import: () => importNow(link),
          export: async () => {
            const [person] = await peopleOf(client, email);
            if (person) await syncedInvoice(client, { participantId: person.id });
          },
          "rename here": async () => {
            const [person] = await peopleOf(client, email);
            if (person) await saveParticipant(client, { id: person.id, name: `${name} here ${Math.random()}` });
          },
          "rename there": async () => {
            const [contact] = await theirs();
            if (contact)
              await service.control("contacts/edit", {
                tenantId,
                contactId: contact.ContactID,
                changes: { Name: `${name} there ${Math.random()}` },
              });
          },
        };
        for (const each of [...steps, "import", "export", "import"]) await settle[each as keyof typeof settle]();
        const [called, ...others] = await mine();
        const [contact, ...copies] = await theirs();
        expect([others, copies]).toEqual([[], []]);
        expect(contact?.Name).toBe(called);
        expect(await importNow(link)).toMatchObject({ created: 0, updated: 0, failed: 0 });
        await settle.export();
        expect(await mine()).toEqual([called]);
      }),
      { numRuns: 8 },
    );
  }, 120_000);
});
