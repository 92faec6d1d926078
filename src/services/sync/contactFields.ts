/** What of a participant its contact carries, to Xero and back. */
import { createHash } from "node:crypto";
import { type Participant } from "../../entities/Participant.js";
import { type XeroContact } from "../../entities/XeroContact.js";
import { type ContactPayload } from "../../xero/payloads.js";
import { comparable } from "./matchContact.js";

/** Xero's longest name. */
const nameLength = 255;

/** How a contact of Xero's has come to differ from the participant that it is. */
export interface Peculiarities {
  /** Somebody else has the name in Xero, so ours bears its contact number behind it. */
  suffixed: boolean;
  /** The number is not ours to set: another system goes by the one that is there, or ours is on another contact. */
  foreignNumber: boolean;
}

/** The contact as Xero is to have it. */
export function payloadOf(
  participant: ContactFields,
  { suffixed, foreignNumber }: Peculiarities = { suffixed: false, foreignNumber: false },
): ContactPayload {
  return {
    contactNumber: foreignNumber ? undefined : participant.contactNumber,
    name: suffixed ? suffixedName(participant) : participant.name,
    firstName: participant.firstName ?? "",
    lastName: participant.lastName ?? "",
    email: participant.email ?? "",
    phone: participant.phone ?? "",
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

/** Whether the contact in Xero carries another system's number. */
export function hasForeignNumber({ contactNumber }: ContactFields, contact: XeroContact): boolean {
  return contact.contactNumber !== null && contact.contactNumber !== contactNumber;
}

/** Whether the contact is called as its participant is, but for the number behind it. */
export function isSuffixed(
  participant: Pick<Participant, "name" | "contactNumber">,
  { name }: Pick<XeroContact, "name">,
): boolean {
  return comparable(name) === comparable(suffixedName(participant));
}

/** Whether there is nothing that Xero would have to be told of the participant. */
export function carriesAll(participant: ContactFields, contact: XeroContact): boolean {
  const theirs = {
    contactNumber: hasForeignNumber(participant, contact) ? participant.contactNumber : (contact.contactNumber ?? ""),
    name: isSuffixed(participant, contact) ? participant.name : contact.name,
    firstName: contact.firstName,
    lastName: contact.lastName,
    email: contact.email,
    phone: contact.phone,
  };
  return hashOf(theirs) === hashOf(participant);
}

/** Hash of exactly what Xero is told, so that nothing else about a participant causes an update. */
export function hashOf(participant: ContactFields): string {
  return createHash("sha256")
    .update(JSON.stringify(payloadOf(participant)))
    .digest("base64url");
}
