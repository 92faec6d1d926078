/**
 * Owns the rules of contacts: who an element means, what may be changed, which names and numbers are taken. Leaves
 * the wire shape to contactWire.ts and the HTTP routes to contactRoutes.ts.
 *
 * Source: docs/xero-facts.md section 6: names are unique among active contacts without regard to case, numbers among all;
 * PUT never updates; POST with only a known name silently overwrites that contact; an archived contact refuses every
 * edit.
 */
import { randomUUID } from "node:crypto";
import type { Fields } from "../Fields.js";
import type { Json } from "../http.js";
import { Invalid, notFound, refuseIf, Refusal } from "../refusals.js";
import type { Changes } from "./Changes.js";
import type { Organisation } from "./Organisation.js";
import type { Contact } from "./records.js";

export const archivedMessage =
  "The specified contact details matched an archived contact. Archived contacts cannot currently be edited via the API.";

export const phoneTypes = ["DEFAULT", "DDI", "FAX", "MOBILE"] as const;
export const addressTypes = ["STREET", "POBOX"] as const;
const phoneParts = ["PhoneNumber", "PhoneAreaCode", "PhoneCountryCode"];
const addressParts = ["AddressLine1", "AddressLine2", "AddressLine3", "AddressLine4"].concat([
  "City",
  "Region",
  "PostalCode",
  "Country",
  "AttentionTo",
]);

/** Fields kept as they are, with the longest text each may hold. */
const plainTexts: Readonly<Record<string, number>> = {
  FirstName: 255,
  LastName: 255,
  EmailAddress: 255,
  AccountNumber: 50,
  CompanyNumber: 50,
  BankAccountDetails: 255,
  TaxNumber: 50,
  AccountsReceivableTaxType: 50,
  AccountsPayableTaxType: 50,
  SalesDefaultAccountCode: 10,
  PurchasesDefaultAccountCode: 10,
  SalesDefaultLineAmountType: 20,
  PurchasesDefaultLineAmountType: 20,
  Website: 500,
  DefaultCurrency: 3,
  XeroNetworkKey: 100,
  TrackingCategoryName: 255,
  TrackingCategoryOption: 255,
};

/** Creates the contact an element describes; anything that is already there refuses it. */
export function createContact(org: Organisation, element: Fields, changes: Changes): Contact {
  const id = element.id("ContactID");
  if (id !== undefined && !org.contacts.has(id)) throw new Refusal(notFound());
  if (id !== undefined)
    throw new Invalid(["The contact with the supplied ContactID already exists; PUT only creates."]);
  return insert(org, element, changes);
}

/** Updates the contact an element means, by id, else number, else name; creates it where there is none. */
export function saveContact(org: Organisation, element: Fields, changes: Changes): Contact {
  const known = meantBy(org, element);
  return known ? updateContact(org, known, element, changes) : insert(org, element, changes);
}

/** The contact an element identifies; an unknown id ends the whole call with 404. */
export function meantBy(org: Organisation, element: Fields): Contact | undefined {
  const id = element.id("ContactID");
  if (id !== undefined) {
    const contact = org.contacts.get(id);
    if (!contact) throw new Refusal(notFound());
    return contact;
  }
  const number = element.text("ContactNumber");
  if (number !== undefined && number !== "") return org.contactByNumber(number);
  const name = tidied(org, element.text("Name"));
  return name === undefined ? undefined : org.activeContactByName(name);
}

/** Changes a contact; what is not sent stays. Throws Invalid for an archived one. */
export function updateContact(org: Organisation, contact: Contact, element: Fields, changes: Changes): Contact {
  if (contact.status !== "ACTIVE") throw new Invalid([archivedMessage]);
  const name = tidied(org, element.text("Name")) ?? contact.name;
  const number = element.text("ContactNumber") ?? contact.number;
  const status = element.text("ContactStatus")?.toUpperCase() ?? contact.status;
  refuseIf([...badFields(element, name), ...taken(org, name, number, contact.id), ...badStatus(status)]);
  reindex(org, contact, { name, number, status }, changes);
  changes.edit(contact, { name, number, status, ...sentParts(element, contact), updatedAt: org.clock.now() });
  changes.announce({ category: "CONTACT", type: "UPDATE", resourceId: contact.id });
  return contact;
}

/** Takes the contact out of the active ones; its number stays taken. */
export function archiveContact(
  org: Organisation,
  contact: Contact,
  mergedToId: string | undefined,
  changes: Changes,
): void {
  reindex(org, contact, { name: contact.name, number: contact.number, status: "ARCHIVED" }, changes);
  changes.edit(contact, { status: "ARCHIVED", mergedToId, updatedAt: org.clock.now() });
  changes.announce({ category: "CONTACT", type: "UPDATE", resourceId: contact.id });
}

function insert(org: Organisation, element: Fields, changes: Changes): Contact {
  const name = tidied(org, element.text("Name"));
  const sentNumber = element.text("ContactNumber");
  const number = sentNumber === "" ? undefined : sentNumber;
  if (name === undefined || name === "") {
    throw new Invalid([
      number === undefined
        ? "The Contact must contain at least 1 of the following elements to identify the contact: Name, ContactID, ContactNumber"
        : "The contact name must be specified.",
    ]);
  }
  const status = element.text("ContactStatus")?.toUpperCase() ?? "ACTIVE";
  refuseIf([...badFields(element, name), ...taken(org, name, number, undefined), ...badStatus(status)]);
  const empty = { details: {}, phones: {}, addresses: {}, persons: [] };
  const contact: Contact = {
    id: randomUUID(),
    number,
    name,
    status,
    ...empty,
    ...sentParts(element, empty),
    mergedToId: undefined,
    isCustomer: false,
    isSupplier: false,
    updatedAt: org.clock.now(),
  };
  changes.put(org.contacts, contact.id, contact);
  if (status === "ACTIVE") changes.put(org.activeContactIdByName, name.toLowerCase(), contact.id);
  if (number !== undefined) changes.put(org.contactIdByNumber, number.toLowerCase(), contact.id);
  changes.announce({ category: "CONTACT", type: "CREATE", resourceId: contact.id });
  return contact;
}

function reindex(
  org: Organisation,
  contact: Contact,
  next: Pick<Contact, "name" | "number" | "status">,
  changes: Changes,
): void {
  changes.remove(org.activeContactIdByName, contact.name.toLowerCase());
  if (next.status === "ACTIVE") changes.put(org.activeContactIdByName, next.name.toLowerCase(), contact.id);
  if (contact.number !== undefined) changes.remove(org.contactIdByNumber, contact.number.toLowerCase());
  if (next.number !== undefined) changes.put(org.contactIdByNumber, next.number.toLowerCase(), contact.id);
}

function taken(org: Organisation, name: string, number: string | undefined, ownId: string | undefined): string[] {
  const messages: string[] = [];
  const byName = org.activeContactByName(name);
  if (byName && byName.id !== ownId) {
    messages.push(
      `The contact name ${name} is already assigned to another contact. The contact name must be unique across all active contacts.`,
    );
  }
  const byNumber = number === undefined ? undefined : org.contactByNumber(number);
  if (byNumber && byNumber.id !== ownId) {
    messages.push("Another contact has this contact number. Please enter a different contact number.");
  }
  return messages;
}

function badStatus(status: string): string[] {
  return ["ACTIVE", "ARCHIVED", "GDPRREQUEST"].includes(status) ? [] : [`The contact status ${status} is not valid.`];
}

function badFields(element: Fields, name: string): string[] {
  const messages: string[] = [];
  if (name.length > 255) messages.push("The contact name must be at most 255 characters.");
  if (/[<>]/.test(name)) messages.push("The contact name must not contain < or >.");
  if (/^\s|\s$|\s\s/.test(name)) messages.push("The contact name must not have leading, trailing or repeated spaces.");
  if ((element.text("ContactNumber")?.length ?? 0) > 50)
    messages.push("The contact number must be at most 50 characters.");
  for (const [field, longest] of Object.entries(plainTexts)) {
    if ((element.text(field)?.length ?? 0) > longest) messages.push(`${field} must be at most ${longest} characters.`);
  }
  const email = element.text("EmailAddress") ?? "";
  if (email !== "" && !/^[^\s@<>]+@[^\s@<>]+\.[^\s@<>.]+$/.test(email)) messages.push("Email address must be valid.");
  if ((element.parts("ContactPersons")?.length ?? 0) > 5)
    messages.push("A contact may have at most 5 contact persons.");
  return messages;
}

/** What an element changes of the parts that have no index. Phones and addresses are replaced by type, persons as a whole. */
function sentParts(
  element: Fields,
  before: Pick<Contact, "details" | "phones" | "addresses" | "persons">,
): Pick<Contact, "details" | "phones" | "addresses" | "persons"> {
  const details = { ...before.details };
  for (const field of Object.keys(plainTexts)) {
    const text = element.text(field);
    if (text !== undefined) details[field] = text;
  }
  const terms = element.part("PaymentTerms");
  if (terms) details["PaymentTerms"] = terms.echo();
  const batch = element.part("BatchPayments");
  if (batch) details["BatchPayments"] = batch.echo();
  const discount = element.decimal("Discount");
  if (discount) details["Discount"] = discount.toNumber();
  return {
    details,
    phones: slots(element.parts("Phones"), "PhoneType", phoneParts, before.phones),
    addresses: slots(element.parts("Addresses"), "AddressType", addressParts, before.addresses),
    persons: element.parts("ContactPersons")?.map(person) ?? before.persons,
  };
}

function slots(
  sent: readonly Fields[] | undefined,
  typeName: string,
  parts: readonly string[],
  before: Readonly<Record<string, Json>>,
): Readonly<Record<string, Json>> {
  const result = { ...before };
  for (const slot of sent ?? []) {
    const type = slot.text(typeName)?.toUpperCase() ?? "DEFAULT";
    result[type] = Object.fromEntries(parts.flatMap((part) => (slot.has(part) ? [[part, slot.text(part)]] : [])));
  }
  return result;
}

function person(sent: Fields): Json {
  return {
    FirstName: sent.text("FirstName") ?? "",
    LastName: sent.text("LastName") ?? "",
    EmailAddress: sent.text("EmailAddress") ?? "",
    IncludeInEmails: sent.flag("IncludeInEmails") ?? false,
  };
}

/** The name as compared and kept; spaces are tidied only where the switch says that Xero does. */
function tidied(org: Organisation, name: string | undefined): string | undefined {
  return org.switches.contactNameSpaces === "normalise" ? name?.trim().replaceAll(/\s+/g, " ") : name;
}
