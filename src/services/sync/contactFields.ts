/** What of a participant its contact carries, to Xero and back. */
import { createHash } from "node:crypto";
import { type ContactDetails } from "../../entities/ContactLink.js";
import { type Participant } from "../../entities/Participant.js";
import { type XeroContact } from "../../entities/XeroContact.js";
import { type ContactPayload } from "../../xero/payloads.js";

/** A text as Xero compares names and e-mail addresses: without case and accents. */
export function comparable(text: string | null): string {
  return (text ?? "").normalize("NFD").replace(/\p{M}/gu, "").toLowerCase().trim();
}

/** Xero's longest name. */
const nameLength = 255;

/** How a contact of Xero's has come to differ from the participant that it is. */
export interface Peculiarities {
  /** Somebody else has the name in Xero, so ours bears its contact number behind it. */
  suffixed: boolean;
  /** The number is not ours to set: another system goes by the one that is there, or ours is on another contact. */
  foreignNumber: boolean;
  /** What they last agreed on: only what they did is cleared in Xero where it is empty here, for of the rest Xero may know more. */
  agreed: ContactDetails | null;
}

/** The contact as Xero is to have it. */
export function payloadOf(
  participant: ContactFields,
  { suffixed, foreignNumber, agreed }: Peculiarities,
): ContactPayload {
  const text = (name: "firstName" | "lastName" | "email" | "phone"): string | undefined =>
    participant[name] ?? (agreed?.[name] ? "" : undefined);
  return {
    contactNumber: foreignNumber ? undefined : participant.contactNumber,
    name: suffixed ? suffixedName(participant) : participant.name,
    firstName: text("firstName"),
    lastName: text("lastName"),
    email: text("email"),
    phone: text("phone"),
  };
}

type ContactFields = Pick<Participant, "contactNumber" | "name" | "firstName" | "lastName" | "email" | "phone">;

/** The name of one of two people who share it; Xero compares names without case, and so are contact numbers meant. */
function suffixedName({ name, contactNumber }: Pick<Participant, "name" | "contactNumber">): string {
  const suffix = ` (${contactNumber.replace(/[<>]/g, "")})`;
  return (
    Array.from(name)
      .slice(0, nameLength - suffix.length)
      .join("")
      .trimEnd() + suffix
  );
}

/** Whether the contact in Xero carries a number that is neither the participant's nor what it was last told as that. */
export function isForeignNumber(
  { contactNumber }: Pick<ContactFields, "contactNumber">,
  contact: Pick<XeroContact, "contactNumber">,
  numberSent: string | null,
): boolean {
  const theirs = contact.contactNumber;
  return theirs !== null && theirs !== contactNumber && theirs !== numberSent;
}

/** Whether the contact is called as its participant is, but for the number behind it. */
export function isSuffixed(
  participant: Pick<Participant, "name" | "contactNumber">,
  { name }: Pick<XeroContact, "name">,
): boolean {
  return comparable(name) === comparable(suffixedName(participant));
}

/** Whether there is nothing that Xero would have to be told of the participant on their first meeting. */
export function carriesAll(participant: ContactFields, contact: XeroContact): boolean {
  const isForeign = isForeignNumber(participant, contact, null);
  const theirs = {
    contactNumber: isForeign ? participant.contactNumber : (contact.contactNumber ?? ""),
    name: isSuffixed(participant, contact) ? participant.name : contact.name,
    firstName: participant.firstName && contact.firstName,
    lastName: participant.lastName && contact.lastName,
    email: participant.email && contact.email,
    phone: participant.phone && contact.phone,
  };
  return hashOf(theirs) === hashOf(participant);
}

/** Hash of what of a participant Xero is told, so that nothing else about it causes an update. */
export function hashOf({ contactNumber, name, firstName, lastName, email, phone }: ContactFields): string {
  const told = {
    contactNumber,
    name,
    firstName: firstName ?? "",
    lastName: lastName ?? "",
    email: email ?? "",
    phone: phone ?? "",
  };
  return createHash("sha256").update(JSON.stringify(told)).digest("base64url");
}
