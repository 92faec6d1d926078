/** Which of an organisation's contacts a participant is. Never a guess: where it might be somebody else, a person decides. */
import { type Participant } from "../../entities/Participant.js";
import { type SyncError } from "../../entities/SyncError.js";
import { type XeroContact } from "../../entities/XeroContact.js";
import { syncError } from "./syncErrors.js";

/** The contacts that some participants might be: by number, by name, and whom they are linked to already. */
export interface Candidates {
  byNumber: Map<string, XeroContact>;
  /** By `comparable` name. */
  byName: Map<string, XeroContact[]>;
  /** The participant that each contact is linked to. */
  linked: Map<string, string>;
}

/** A text as Xero compares names and e-mail addresses: without case and accents. */
export function comparable(text: string | null): string {
  return (text ?? "").normalize("NFD").replace(/\p{M}/gu, "").toLowerCase().trim();
}

/**
 * The participant's contact; null: there is none; or why that can't be said. By our number, whoever bears it having the participant's name or
 * e-mail; else by name and e-mail together, where exactly one active contact has both and no number of another system.
 */
export function matchContact(
  participant: Participant,
  { byNumber, byName, linked }: Candidates,
): XeroContact | SyncError | null {
  const { contactNumber, name, email } = participant;
  const numbered = byNumber.get(contactNumber);
  if (numbered) return checkNumbered(participant, numbered, linked.get(numbered.contactId));
  if (email === null) return null;
  const same = (byName.get(comparable(name)) ?? []).filter(
    (contact) =>
      contact.status === "ACTIVE" &&
      contact.contactNumber === null &&
      comparable(contact.email) === comparable(email) &&
      !linked.has(contact.contactId),
  );
  return same.length === 1 ? (same[0] ?? null) : null;
}

/** Another system, or another workspace, may have given our number to somebody else. */
function checkNumbered(
  { id, contactNumber, name, email }: Participant,
  found: XeroContact,
  linkedTo: string | undefined,
): XeroContact | SyncError {
  if (found.status !== "ACTIVE") {
    return syncError(
      "CONTACT_ARCHIVED",
      `The contact ${contactNumber} is archived in Xero.`,
      "Restore the contact in Xero (only a person can), then sync the invoice again.",
    );
  }
  if (linkedTo !== undefined && linkedTo !== id) {
    return syncError(
      "CONTACT_AMBIGUOUS",
      `The contact ${found.name} in Xero is linked to another participant already.`,
      "Give the participants different contact numbers, here and in Xero, then sync the invoice again.",
    );
  }
  const isSame = (ours: string | null, theirs: string | null): boolean =>
    ours !== null && comparable(ours) === comparable(theirs);
  if (isSame(name, found.name) || isSame(email, found.email)) return found;
  return syncError(
    "CONTACT_AMBIGUOUS",
    `The contact ${contactNumber} in Xero is ${found.name}: neither name nor e-mail is the participant's.`,
    "Give the participant another contact number, or correct name or e-mail where they are wrong, then sync the invoice again.",
  );
}
