/**
 * Owns contact groups: their names, their members, and that a group ends by status. Leaves contacts themselves to
 * contacts.ts.
 *
 * Source: docs/xero-facts.md section 6: a list names active groups without members; GET by id shows ContactID and Name of
 * each; whether a change announces the contacts is not known (switch `groupEvents`).
 */
import { randomUUID } from "node:crypto";
import type { Fields } from "../Fields.js";
import type { Json } from "../http.js";
import { Invalid, notFound, Refusal } from "../refusals.js";
import type { Changes } from "./Changes.js";
import { archivedMessage } from "./contacts.js";
import type { Organisation } from "./Organisation.js";
import type { Contact, ContactGroup } from "./records.js";

/** Creates a group under a name no active group has. */
export function createGroup(org: Organisation, element: Fields, changes: Changes): ContactGroup {
  const group = { id: randomUUID(), name: freeName(org, element, undefined), status: "ACTIVE", contactIds: [] };
  if (activeGroups(org).length >= 100) throw new Invalid(["You’ve reached the limit of 100 contact groups."]);
  changes.put(org.groups, group.id, group);
  return group;
}

/** Renames a group, or ends it with Status DELETED. */
export function updateGroup(org: Organisation, id: string, element: Fields, changes: Changes): ContactGroup {
  const group = activeGroup(org, id);
  const status = element.text("Status")?.toUpperCase() ?? group.status;
  const name = element.has("Name") ? freeName(org, element, group.id) : group.name;
  changes.edit(group, { name, status });
  if (status === "DELETED") announceMembers(org, group.contactIds, changes);
  return group;
}

/** Adds the contact an element names; one that is already in stays in. */
export function addMember(org: Organisation, groupId: string, element: Fields, changes: Changes): Contact {
  const group = activeGroup(org, groupId);
  const contact = org.contacts.get(element.id("ContactID") ?? "");
  if (!contact) throw new Refusal(notFound());
  if (contact.status !== "ACTIVE") throw new Invalid([archivedMessage]);
  if (!group.contactIds.includes(contact.id)) {
    changes.edit(group, { contactIds: [...group.contactIds, contact.id] });
    announceMembers(org, [contact.id], changes);
  }
  return contact;
}

/** Takes one contact, or all of them, out of the group. */
export function removeMembers(
  org: Organisation,
  groupId: string,
  contactId: string | undefined,
  changes: Changes,
): void {
  const group = activeGroup(org, groupId);
  if (contactId !== undefined && !group.contactIds.includes(contactId)) throw new Refusal(notFound());
  const [leaving, staying] = [
    group.contactIds.filter((id) => contactId === undefined || id === contactId),
    group.contactIds.filter((id) => contactId !== undefined && id !== contactId),
  ];
  changes.edit(group, { contactIds: staying });
  announceMembers(org, leaving, changes);
}

/** The groups that were not deleted. */
export function activeGroups(org: Organisation): ContactGroup[] {
  return [...org.groups.values()].filter((group) => group.status === "ACTIVE");
}

/** The group of that id; a deleted or unknown one ends the call with 404. */
export function activeGroup(org: Organisation, id: string): ContactGroup {
  const group = org.groups.get(id.toLowerCase());
  if (group?.status !== "ACTIVE") throw new Refusal(notFound());
  return group;
}

/** The group on the wire; members only where it is asked for by itself. */
export function wireGroup(org: Organisation, group: ContactGroup, withMembers: boolean): Json {
  const members = withMembers ? group.contactIds.map((id) => org.contacts.get(id)) : [];
  return {
    ContactGroupID: group.id,
    Name: group.name,
    Status: group.status,
    Contacts: members.flatMap((contact) => (contact ? [wireMember(contact)] : [])),
    HasValidationErrors: false,
  };
}

/** What a group shows of a contact. */
export function wireMember(contact: Contact): Json {
  return {
    ContactID: contact.id,
    Name: contact.name,
    Addresses: [],
    Phones: [],
    ContactGroups: [],
    ContactPersons: [],
    HasValidationErrors: false,
  };
}

function freeName(org: Organisation, element: Fields, ownId: string | undefined): string {
  const name = element.text("Name")?.trim() ?? "";
  if (name === "") throw new Invalid(["The contact group name must be specified."]);
  const taken = activeGroups(org).some(
    (group) => group.id !== ownId && group.name.toLowerCase() === name.toLowerCase(),
  );
  if (taken) throw new Invalid([`The contact group name ${name} is already used.`]);
  return name;
}

function announceMembers(org: Organisation, contactIds: readonly string[], changes: Changes): void {
  if (!org.switches.groupEvents) return;
  for (const resourceId of contactIds) changes.announce({ category: "CONTACT", type: "UPDATE", resourceId });
}
