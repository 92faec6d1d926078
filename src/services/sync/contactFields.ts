/** What of a participant its contact carries, to Xero and back. */
import { createHash } from "node:crypto";
import { type Participant } from "../../entities/Participant.js";
import { type ContactPayload } from "../../xero/payloads.js";

/** The contact as Xero is to have it. */
export function payloadOf(participant: Participant): ContactPayload {
  return {
    contactNumber: participant.contactNumber,
    name: participant.name,
    firstName: participant.firstName ?? "",
    lastName: participant.lastName ?? "",
    email: participant.email ?? "",
    phone: participant.phone ?? "",
  };
}

type ContactFields = Pick<Participant, "contactNumber" | "name" | "firstName" | "lastName" | "email" | "phone">;

/** What of a contact of Xero's is what a participant carries. */
export function fieldsOf(contact: { [name in keyof ContactFields]: string | null }): ContactFields {
  const { contactNumber, name, firstName, lastName, email, phone } = contact;
  return { contactNumber: contactNumber ?? "", name: name ?? "", firstName, lastName, email, phone };
}

/** Hash of exactly what Xero is told, so that nothing else about a participant causes an update. */
export function hashOf(participant: Participant): string {
  return createHash("sha256")
    .update(JSON.stringify(payloadOf(participant)))
    .digest("base64url");
}
