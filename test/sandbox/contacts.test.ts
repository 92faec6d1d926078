/**
 * Owns the checks of contacts, contact groups and lists: who is meant, what is taken, what is hidden, and the `where`
 * language (docs/xero-facts.md sections 5, 6). Wording that no source records is matched loosely.
 */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { at, listAt, messagesOf, startHarness, type Answer, type Harness } from "./harness.js";

let x: Harness;
let count = 0;

beforeAll(async () => {
  x = await startHarness();
});

afterAll(async () => {
  await x.close();
});

const put = (contact: object, query = "") => x.api("PUT", `Contacts${query}`, { Contacts: [contact] });
const post = (contact: object, query = "") => x.api("POST", `Contacts${query}`, { Contacts: [contact] });
const idOf = (answer: Answer) => String(at(answer.body, "Contacts.0.ContactID"));
const freshName = () => `Person ${++count}`;
const names = (answer: Answer, plural = "Contacts") => listAt(answer.body, plural).map((one) => at(one, "Name"));
const added = async (contact: object = {}) => idOf(await put({ Name: freshName(), ...contact }));

const nameTaken = (name: string) =>
  `The contact name ${name} is already assigned to another contact. The contact name must be unique across all active contacts.`;
const numberTaken = "Another contact has this contact number. Please enter a different contact number.";
const archived =
  "The specified contact details matched an archived contact. Archived contacts cannot currently be edited via the API.";

describe("creating", () => {
  it("answers with everything, ids included, in Xero's envelope", async () => {
    const answer = await put({
      Name: "Ada",
      ContactNumber: "P-1",
      IsCustomer: true,
      Phones: [{ PhoneType: "MOBILE", PhoneNumber: "1" }],
    });
    expect(answer.body).toMatchObject({
      Id: expect.any(String),
      Status: "OK",
      ProviderName: expect.any(String),
      DateTimeUTC: expect.stringMatching(/^\/Date\(\d+\)\/$/),
    });
    const contact = at(answer.body, "Contacts.0");
    expect(contact).toMatchObject({
      ContactNumber: "P-1",
      ContactStatus: "ACTIVE",
      IsCustomer: false,
      UpdatedDateUTC: expect.stringMatching(/^\/Date\(\d+\+0000\)\/$/),
      HasValidationErrors: false,
    });
    expect(listAt(contact, "Phones").map((phone) => [at(phone, "PhoneType"), at(phone, "PhoneNumber")])).toEqual([
      ["DEFAULT", ""],
      ["DDI", ""],
      ["FAX", ""],
      ["MOBILE", "1"],
    ]);
    expect(listAt(contact, "Addresses").map((address) => at(address, "AddressType"))).toEqual(["STREET", "POBOX"]);
    expect(at(contact, "StatusAttributeString")).toBeUndefined();
  });

  it.each([
    [
      "no name at all",
      { EmailAddress: "a@b.example" },
      /^The Contact must contain at least 1 of the following elements/,
    ],
    ["a name without regard to case", { Name: "ridgeway UNIVERSITY" }, nameTaken("ridgeway UNIVERSITY")],
    ["a number in use", { Name: "Other", ContactNumber: "RU-1" }, numberTaken],
    ["the number of an archived contact", { Name: "Other", ContactNumber: "OLD-1" }, numberTaken],
    ["an e-mail address that is none", { Name: "Other", EmailAddress: "nobody" }, "Email address must be valid."],
    ["a name with angle brackets", { Name: "<b>" }, /< or >/],
    ["a name with spaces in front", { Name: " Other" }, /spaces/],
    ["a name with repeated spaces", { Name: "Oth  er" }, /spaces/],
    ["a name that is too long", { Name: "x".repeat(256) }, /255/],
    ["a number that is too long", { Name: "Other", ContactNumber: "x".repeat(51) }, /50/],
  ])("refuses %s", async (_name, contact, message) => {
    const answer = await put(contact);
    expect([answer.status, at(answer.body, "ErrorNumber"), at(answer.body, "Type")]).toEqual([
      400,
      10,
      "ValidationException",
    ]);
    expect(at(answer.body, "Elements.0")).toMatchObject({
      ContactID: "00000000-0000-0000-0000-000000000000",
      HasValidationErrors: true,
    });
    expect(messagesOf(answer)).toEqual([typeof message === "string" ? message : expect.stringMatching(message)]);
  });

  it("tidies spaces instead when switched so", async () => {
    await x.control("switches", { contactNameSpaces: "normalise" });
    expect(names(await put({ Name: "  Tidy   Name " }))).toEqual(["Tidy Name"]);
    await x.control("switches", { contactNameSpaces: "refuse" });
  });

  it("saves nothing of a call with one bad element, unless told not to summarise", async () => {
    const pair = { Contacts: [{ Name: "Twice" }, { Name: "twice" }] };
    const refused = await x.api("PUT", "Contacts", pair);
    expect([refused.status, messagesOf(refused)]).toEqual([400, [nameTaken("twice")]]);
    expect(names(await x.api("GET", "Contacts?searchTerm=twice"))).toEqual([]);
    const mixed = await x.api("PUT", "Contacts?summarizeErrors=false", pair);
    expect(mixed.status).toBe(200);
    expect(at(mixed.body, "Contacts.0")).toMatchObject({ StatusAttributeString: "OK", ValidationErrors: [] });
    expect(at(mixed.body, "Contacts.1")).toMatchObject({
      StatusAttributeString: "ERROR",
      HasValidationErrors: true,
      Name: "twice",
    });
    expect(names(await x.api("GET", "Contacts?searchTerm=twice"))).toEqual(["Twice"]);
  });

  it("takes keys in any case and single elements without their list", async () => {
    expect(names(await x.api("PUT", "Contacts", { contacts: [{ name: "Camel" }] }))).toEqual(["Camel"]);
    expect(names(await x.api("POST", "Contacts", { Name: "Bare" }))).toEqual(["Bare"]);
  });

  it.each([
    ["no JSON", "{", 400, "PostDataInvalidException"],
    ["a list", "[]", 400, "PostDataInvalidException"],
    ["nothing", "{}", 400, "PostDataInvalidException"],
    ["a flag for a list", { Contacts: true }, 400, "PostDataInvalidException"],
    ["text for an id", { Contacts: [{ ContactID: "x" }] }, 400, "PostDataInvalidException"],
  ])("refuses a body that is %s", async (_name, body, status, type) => {
    const answer = await x.api("POST", "Contacts", body);
    expect([answer.status, at(answer.body, "Type")]).toEqual([status, type]);
  });
});

describe("updating", () => {
  it("overwrites by name alone, by number, and by id; PUT does none of it", async () => {
    const id = await added({ Name: "Bea", ContactNumber: "P-2", EmailAddress: "old@b.example" });
    expect(idOf(await post({ Name: "BEA", EmailAddress: "new@b.example" }))).toBe(id);
    expect(idOf(await post({ ContactNumber: "p-2", Name: "Bea Two" }))).toBe(id);
    const third = await x.api("POST", `Contacts/${id}`, { Contacts: [{ FirstName: "B" }] });
    expect(at(third.body, "Contacts.0")).toMatchObject({
      Name: "Bea Two",
      EmailAddress: "new@b.example",
      FirstName: "B",
    });
    expect((await put({ Name: "bea two" })).status).toBe(400);
    expect((await put({ ContactID: id, Name: "Bea Three" })).status).toBe(400);
  });

  it("refuses a name or a number that another one has", async () => {
    const id = await added();
    expect(messagesOf(await post({ ContactID: id, Name: "City Agency" }))).toEqual([nameTaken("City Agency")]);
    expect(messagesOf(await post({ ContactID: id, ContactNumber: "RU-1" }))).toEqual([numberTaken]);
  });

  it("frees a name that was given up", async () => {
    const id = await added({ Name: "Former Name" });
    await post({ ContactID: id, Name: "Latter Name" });
    expect((await put({ Name: "Former Name" })).status).toBe(200);
  });

  it.each(["PUT", "POST"])("answers %s with an unknown id by a page, for the whole call", async (method) => {
    const body = {
      Contacts: [{ Name: `Lost by ${method}` }, { ContactID: "11111111-1111-4111-8111-111111111111", Name: "x" }],
    };
    const answer = await x.api(method, "Contacts?summarizeErrors=false", body);
    expect([answer.status, answer.headers.get("content-type")]).toEqual([404, "text/html; charset=utf-8"]);
    expect(names(await x.api("GET", "Contacts?searchTerm=lost"))).toEqual([]);
  });

  it("replaces persons, keeps what is not sent, and null counts as not sent", async () => {
    const persons = [{ FirstName: "One", IncludeInEmails: true }];
    const id = await added({ FirstName: "F", ContactPersons: persons });
    const answer = await post({ ContactID: id, LastName: "L", FirstName: null });
    expect(at(answer.body, "Contacts.0")).toMatchObject({ FirstName: "F", LastName: "L" });
    expect(listAt(answer.body, "Contacts.0.ContactPersons")).toHaveLength(1);
  });
});

describe("archiving", () => {
  it("ends every edit, frees the name, keeps the number, and cannot be undone by the API", async () => {
    const id = await added({ Name: "Gone", ContactNumber: "P-9" });
    expect(at((await post({ ContactID: id, ContactStatus: "ARCHIVED" })).body, "Contacts.0.ContactStatus")).toBe(
      "ARCHIVED",
    );
    expect(messagesOf(await post({ ContactID: id, ContactStatus: "ACTIVE" }))).toEqual([archived]);
    expect(messagesOf(await post({ ContactNumber: "P-9", Name: "Gone" }))).toEqual([archived]);
    expect(messagesOf(await put({ Name: "New", ContactNumber: "P-9" }))).toEqual([numberTaken]);
    const again = await put({ Name: "Gone" });
    expect(again.status).toBe(200);
    await x.control("contacts/archive", { contactId: idOf(again) });
    await x.control("contacts/restore", { contactId: id });
    expect((await post({ ContactID: id, FirstName: "Back" })).status).toBe(200);
  });

  it("shows where a merged contact went, except in a list without pages", async () => {
    const [from, into] = [await added(), await added()];
    await x.control("contacts/merge", { fromContactId: from, intoContactId: into });
    const where = async (path: string) => at((await x.api("GET", path)).body, "Contacts.0.MergedToContactID");
    expect(await where(`Contacts/${from}`)).toBe(into);
    expect(await where(`Contacts?IDs=${from}&includeArchived=true&page=1`)).toBe(into);
    expect(await where(`Contacts?IDs=${from}&includeArchived=true`)).toBeUndefined();
  });
});

describe("lists", () => {
  it("hide archived contacts unless asked", async () => {
    expect(names(await x.api("GET", "Contacts"))).not.toContain("Former Client");
    expect(names(await x.api("GET", "Contacts?includeArchived=true"))).toContain("Former Client");
  });

  it.each([
    ["page=1", 100],
    ["page=1&pageSize=5000", 1000],
    ["page=1&pageSize=0", 1],
    ["pageSize=7", 7],
    ["summaryOnly=true", 100],
  ])("with %s has pages of %i", async (query, pageSize) => {
    const answer = await x.api("GET", `Contacts?${query}`);
    expect(at(answer.body, "pagination")).toEqual({
      page: 1,
      pageSize,
      pageCount: expect.any(Number),
      itemCount: expect.any(Number),
    });
  });

  it("has no pagination without a page, and leaves look-ups out of a summary", async () => {
    expect(at((await x.api("GET", "Contacts")).body, "pagination")).toBeUndefined();
    const summary = await x.api("GET", "Contacts?summaryOnly=true");
    expect(at(summary.body, "Contacts.0")).not.toHaveProperty("IsSupplier");
  });

  it("goes through all pages without repeating or losing one", async () => {
    const all = new Set<unknown>();
    const total = listAt((await x.api("GET", "Contacts")).body, "Contacts").length;
    for (let page = 1; page <= Math.ceil(total / 3); page += 1) {
      const answer = await x.api("GET", `Contacts?page=${page}&pageSize=3`);
      for (const one of listAt(answer.body, "Contacts")) all.add(at(one, "ContactID"));
    }
    expect(all.size).toBe(total);
    expect(names(await x.api("GET", "Contacts?page=999"))).toEqual([]);
  });

  it.each([
    ['Name=="ridgeway university"', ["Ridgeway University"]],
    ['Name == "City Agency" OR ContactNumber == "RU-1"', ["City Agency", "Ridgeway University"]],
    ['Name.StartsWith("Ridge")&&EmailAddress!=null', ["Ridgeway University"]],
    ['(Name.Contains("gency")||Name.EndsWith("Direct"))&&IsSupplier==true', ["PowerDirect"]],
    ['ContactNumber=="PM-7" AND UpdatedDateUTC>=DateTime(2020,01,31)', ["Harbour Plan Management"]],
    ['IsSupplier AND !(Name=="x")', ["PowerDirect"]],
    ['Name=="with ""quotes"""', ['With "quotes"']],
    ['Name=="Zoe"', ["Zoë"]],
  ])("filters by %s", async (where, expected) => {
    if (where.includes("quotes")) await put({ Name: 'With "quotes"' });
    if (where.includes("Zoe")) await put({ Name: "Zoë" });
    expect(names(await x.api("GET", `Contacts?order=Name&where=${encodeURIComponent(where)}`))).toEqual(expected);
  });

  it.each([
    'Name=="a\\"b"',
    'Name.ToLower()=="a"',
    'name=="a"',
    "Name=='a'",
    'Name="a"',
    "Nonsense==1",
    'Name=="a" AND',
    'Name=="a" Name=="b"',
    'ContactID=="0"',
    'UpdatedDateUTC>"2020-01-01"',
    "Name",
    "constructor==null",
  ])("cannot parse %s", async (where) => {
    const answer = await x.api("GET", `Contacts?where=${encodeURIComponent(where)}`);
    expect([answer.status, at(answer.body, "Type")]).toEqual([400, "QueryParseException"]);
    expect(at(answer.body, "Message")).toEqual(expect.any(String));
    expect(answer.body).not.toHaveProperty("Elements");
  });

  it("orders as asked, and refuses what it cannot order by", async () => {
    const ordered = names(await x.api("GET", "Contacts?order=Name%20DESC"));
    expect(ordered).toEqual(
      [...ordered].sort((one, other) => String(other).localeCompare(String(one), "en", { sensitivity: "base" })),
    );
    expect((await x.api("GET", "Contacts?order=Shoesize")).status).toBe(400);
  });

  it("shows what changed since a second, that second included unless switched off", async () => {
    await x.control("clock/advance", { ms: 600_000 });
    const id = await added();
    const changed = await x.api("GET", `Contacts/${id}`);
    const ms = Number(/\d+/.exec(String(at(changed.body, "Contacts.0.UpdatedDateUTC")))?.[0]);
    const since = async (moment: number) => {
      const headers = { "If-Modified-Since": new Date(moment).toISOString() };
      return listAt((await x.api("GET", "Contacts?page=1", undefined, { headers })).body, "Contacts").length;
    };
    expect([await since(ms), await since(ms + 1000)]).toEqual([1, 0]);
    await x.control("switches", { modifiedSinceInclusive: false });
    expect([await since(ms), await since(ms - 1000)]).toEqual([0, 1]);
    await x.control("switches", { modifiedSinceInclusive: true });
    expect((await x.api("GET", "Contacts", undefined, { headers: { "If-Modified-Since": "soon" } })).status).toBe(412);
  });

  it("finds one by id, by number, and answers a page for none", async () => {
    expect(names(await x.api("GET", "Contacts/RU-1"))).toEqual(["Ridgeway University"]);
    const none = await x.api("GET", "Contacts/RU-404");
    expect([none.status, none.headers.get("content-type")]).toEqual([404, "text/html; charset=utf-8"]);
  });
});

describe("contact groups", () => {
  const groups = async () => listAt((await x.api("GET", "ContactGroups")).body, "ContactGroups");

  it("list active groups without members; one by itself has them", async () => {
    const [group] = await groups();
    expect(group).toMatchObject({ Name: "Plan Managers", Status: "ACTIVE", Contacts: [] });
    const single = await x.api("GET", `ContactGroups/${String(at(group, "ContactGroupID"))}`);
    expect(listAt(single.body, "ContactGroups.0.Contacts").map((one) => at(one, "Name"))).toEqual([
      "Harbour Plan Management",
    ]);
    const member = await x.api("GET", "Contacts/PM-7");
    expect(at(member.body, "Contacts.0.ContactGroups.0.Name")).toBe("Plan Managers");
  });

  it("are created, filled, emptied, renamed and deleted", async () => {
    const created = await x.api("PUT", "ContactGroups", { ContactGroups: [{ Name: "VIPs" }] });
    const id = String(at(created.body, "ContactGroups.0.ContactGroupID"));
    const members = [await added(), await added()];
    const filled = await x.api("PUT", `ContactGroups/${id}/Contacts`, {
      Contacts: members.map((ContactID) => ({ ContactID })),
    });
    expect(filled.status).toBe(200);
    const size = async () =>
      listAt((await x.api("GET", `ContactGroups/${id}`)).body, "ContactGroups.0.Contacts").length;
    expect(await size()).toBe(2);
    expect((await x.api("DELETE", `ContactGroups/${id}/Contacts/${members[0] ?? ""}`)).status).toBe(204);
    expect(await size()).toBe(1);
    expect((await x.api("DELETE", `ContactGroups/${id}/Contacts`)).status).toBe(204);
    expect(await size()).toBe(0);
    expect((await x.api("PUT", "ContactGroups", { Name: "vips" })).status).toBe(400);
    const ended = await x.api("POST", `ContactGroups/${id}`, { ContactGroups: [{ Status: "DELETED" }] });
    expect(at(ended.body, "ContactGroups.0.Status")).toBe("DELETED");
    expect((await x.api("GET", `ContactGroups/${id}`)).status).toBe(404);
    expect((await groups()).length).toBe(1);
  });
});
