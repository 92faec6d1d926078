/**
 * Owns the routes of /Contacts and /ContactGroups: which rule answers which method and path, and what their lists
 * filter by. Leaves the rules to contacts.ts and contactGroups.ts. Source: docs/xero-facts.md sections 5 and 6: archived
 * contacts are hidden unless asked for; searchTerm looks at names, numbers and the e-mail address.
 */
import { Fields } from "../Fields.js";
import { type Call, type Reply } from "../http.js";
import { notFound } from "../refusals.js";
import { isId } from "../wire.js";
import type { World } from "../World.js";
import { elementsOf, writeBatch } from "./batch.js";
import { Changes } from "./Changes.js";
import {
  activeGroup,
  activeGroups,
  addMember,
  createGroup,
  removeMembers,
  updateGroup,
  wireGroup,
  wireMember,
} from "./contactGroups.js";
import { createContact, saveContact } from "./contacts.js";
import { listedContact, summarisedContact, wholeContact } from "./contactWire.js";
import { asksFor, commaList, envelope, selected } from "./lists.js";
import type { Organisation } from "./Organisation.js";
import type { Contact, ContactGroup } from "./records.js";
import { folded, type FieldTable, type Value } from "./where.js";

const detail =
  (name: string) =>
  (contact: Contact): Value => {
    const value = contact.details[name];
    return typeof value === "string" ? value : undefined;
  };

const contactFields: FieldTable<Contact> = {
  ContactID: { kind: "id", of: (contact) => contact.id },
  Name: { kind: "text", of: (contact) => contact.name },
  ContactNumber: { kind: "text", of: (contact) => contact.number },
  ContactStatus: { kind: "text", of: (contact) => contact.status },
  EmailAddress: { kind: "text", of: detail("EmailAddress") },
  AccountNumber: { kind: "text", of: detail("AccountNumber") },
  FirstName: { kind: "text", of: detail("FirstName") },
  LastName: { kind: "text", of: detail("LastName") },
  IsCustomer: { kind: "flag", of: (contact) => contact.isCustomer },
  IsSupplier: { kind: "flag", of: (contact) => contact.isSupplier },
  UpdatedDateUTC: { kind: "day", of: (contact) => contact.updatedAt },
};

const searched = ["FirstName", "LastName", "CompanyNumber", "EmailAddress"];

const groupFields: FieldTable<ContactGroup> = {
  ContactGroupID: { kind: "id", of: (group) => group.id },
  Name: { kind: "text", of: (group) => group.name },
  Status: { kind: "text", of: (group) => group.status },
};

/** Answers /Contacts and /Contacts/{ContactID or ContactNumber}. */
export function contactsRoute(world: World, org: Organisation, call: Call, rest: readonly string[]): Reply {
  const [key] = rest;
  if (rest.length > 1) return notFound();
  if (call.method === "GET") return key === undefined ? list(world, org, call) : single(world, org, key);
  if (key !== undefined && call.method === "PUT") return { status: 405 };
  const elements = elementsOf(call, "Contacts").map((sent) =>
    key === undefined ? sent : new Fields({ ...sent.sent, ContactID: key }),
  );
  const save = call.method === "PUT" ? createContact : saveContact;
  const batch = {
    plural: "Contacts",
    idName: "ContactID",
    errorFlag: "HasValidationErrors" as const,
    apply: (element: Fields, changes: Changes) => save(org, element, changes),
    render: (contact: Contact) => wholeContact(org, contact),
  };
  return writeBatch(world, call, elements, batch, (events) => world.webhooks.announce(org.id, events));
}

/** Answers /ContactGroups, one group, and its members. */
export function contactGroupsRoute(world: World, org: Organisation, call: Call, rest: readonly string[]): Reply {
  const [id, members, contactId] = rest;
  const announce = (changes: Changes): void => world.webhooks.announce(org.id, changes.announcements);
  if (call.method === "DELETE") {
    if (id === undefined || members?.toLowerCase() !== "contacts") return { status: 405 };
    const changes = new Changes();
    removeMembers(org, id, contactId?.toLowerCase(), changes);
    announce(changes);
    return { status: 204 };
  }
  if (call.method === "GET") {
    if (id !== undefined) return envelope(world, "ContactGroups", [wireGroup(org, activeGroup(org, id), true)]);
    const rules = { fields: groupFields, canPage: false, inclusive: true, id: (group: ContactGroup) => group.name };
    const { items } = selected(call, activeGroups(org), rules);
    return envelope(
      world,
      "ContactGroups",
      items.map((group) => wireGroup(org, group, false)),
    );
  }
  const shared = { errorFlag: "HasValidationErrors" as const };
  if (id !== undefined && members?.toLowerCase() === "contacts") {
    if (call.method !== "PUT") return { status: 405 };
    const batch = {
      ...shared,
      plural: "Contacts",
      idName: "ContactID",
      apply: (element: Fields, changes: Changes) => addMember(org, id, element, changes),
      render: (contact: Contact) => ({ ...wireMember(contact), ValidationErrors: [] }),
    };
    return writeBatch(world, call, elementsOf(call, "Contacts"), batch, (events) =>
      world.webhooks.announce(org.id, events),
    );
  }
  const batch = {
    ...shared,
    plural: "ContactGroups",
    idName: "ContactGroupID",
    apply: (element: Fields, changes: Changes) => {
      const group = id ?? (call.method === "POST" ? element.id("ContactGroupID") : undefined);
      return group === undefined ? createGroup(org, element, changes) : updateGroup(org, group, element, changes);
    },
    render: (group: ContactGroup) => wireGroup(org, group, false),
  };
  return writeBatch(world, call, elementsOf(call, "ContactGroups"), batch, (events) =>
    world.webhooks.announce(org.id, events),
  );
}

function single(world: World, org: Organisation, key: string): Reply {
  const contact = (isId(key) ? org.contacts.get(key.toLowerCase()) : undefined) ?? org.contactByNumber(key);
  return contact ? envelope(world, "Contacts", [wholeContact(org, contact)]) : notFound();
}

function list(world: World, org: Organisation, call: Call): Reply {
  const ids = commaList(call, "IDs");
  const term = folded(call.query.get("searchTerm") ?? "");
  const summary = asksFor(call, "summaryOnly");
  const archivedToo = asksFor(call, "includeArchived");
  const candidates = ids ? [...ids].flatMap((id) => org.contacts.get(id) ?? []) : [...org.contacts.values()];
  const wanted = candidates.filter(
    (contact) => (archivedToo || contact.status === "ACTIVE") && (term === "" || matches(contact, term)),
  );
  const page = selected(call, wanted, {
    fields: contactFields,
    canPage: true,
    updatedAt: (contact) => contact.updatedAt,
    inclusive: org.switches.modifiedSinceInclusive,
    id: (contact) => contact.id,
  });
  const render = summary ? summarisedContact : page.paged ? (one: Contact) => wholeContact(org, one) : listedContact;
  return envelope(world, "Contacts", page.items.map(render), page.pagination);
}

function matches(contact: Contact, term: string): boolean {
  const texts = [contact.name, contact.number, ...searched.map((name) => detail(name)(contact))];
  return texts.some((text) => typeof text === "string" && folded(text).includes(term));
}
