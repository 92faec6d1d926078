/** Which of an organisation's contacts a participant is. Never a guess: where it might be somebody else, a person decides. */
import { type Participant } from "../../entities/Participant.js";
import { type SyncError } from "../../entities/SyncError.js";
import { type XeroContact } from "../../entities/XeroContact.js";
import { comparable, isSuffixed } from "./contactFields.js";
import { syncError } from "./syncErrors.js";

/** What of a participant says which contact it is. */
export type Identity = Pick<Participant, "id" | "contactNumber" | "name" | "email">;

/** The contacts that some participants might be, and who else might be them. */
export interface Candidates {
  byNumber: Map<string, XeroContact[]>;
  /** By `comparable` name and e-mail. */
  byName: Map<string, XeroContact[]>;
  byEmail: Map<string, XeroContact[]>;
  /** All of them, and those that they were merged into. */
  byId: Map<string, XeroContact>;
  /** The participant that each contact is linked to. */
  linked: Map<string, string>;
  /** The workspace's participants without a contact, by contact number, `comparable` name and e-mail. */
  rivals: Map<string, Identity[]>;
}

/** What two records that might be one have in common, each as a key of `Candidates.rivals`. */
export function keysOf({
  contactNumber,
  name,
  email,
}: { [key in "contactNumber" | "name" | "email"]: string | null }): {
  number: string;
  name: string;
  email: string | null;
} {
  return {
    number: `number:${contactNumber ?? ""}`,
    name: `name:${comparable(name)}`,
    email: email === null ? null : `email:${comparable(email)}`,
  };
}

/** How sure it is that they are one: by number, by name and e-mail, by e-mail, by name, or not at all. */
function likeness(participant: Identity, contact: XeroContact): 0 | 1 | 2 | 3 | 4 {
  const [ours, theirs] = [keysOf(participant), keysOf(contact)];
  const sameName = ours.name === theirs.name || isSuffixed(participant, contact);
  const sameEmail = ours.email !== null && ours.email === theirs.email;
  if (contact.contactNumber !== null && ours.number === theirs.number && (sameName || sameEmail)) return 4;
  if (sameName && sameEmail) return 3;
  if (sameEmail) return 2;
  return sameName ? 1 : 0;
}

/**
 * The participant's contact; null: there is none; or why that can't be said. The contact that it had (`former`) and what that was merged into come
 * first; then whoever bears its number, and its name or e-mail with it; then the one active contact that has both name and e-mail; then the one that
 * has either. One that is linked to somebody else, or is more surely somebody else's, is none of them.
 */
export function matchContact(
  participant: Identity,
  candidates: Candidates,
  former?: string,
): XeroContact | SyncError | null {
  if (former !== undefined) return matchFormer(participant, candidates, former);
  const numbered = candidates.byNumber.get(participant.contactNumber) ?? [];
  if (numbered.length > 0) return matchNumbered(participant, numbered, candidates);
  return matchNamed(participant, candidates);
}

/** Whether somebody else bears the name in Xero, where names of active contacts are unique. */
export function isNameTaken(name: string, { byName }: Candidates): boolean {
  return (byName.get(comparable(name)) ?? []).some(({ status }) => status === "ACTIVE");
}

/** The contact, or whatever it was merged into in the end; null where that is archived. */
function follow(contact: XeroContact | undefined, { byId }: Candidates): XeroContact | null {
  const seen = new Set<string>();
  let at = contact;
  while (at && at.status !== "ACTIVE") {
    // A circle can't be, but must not hang anything either.
    if (at.mergedToContactId === null || seen.has(at.contactId)) return null;
    seen.add(at.contactId);
    at = byId.get(at.mergedToContactId);
  }
  return at ?? null;
}

function matchFormer(participant: Identity, candidates: Candidates, former: string): XeroContact | SyncError | null {
  const contact = candidates.byId.get(former);
  if (!contact) return matchContact(participant, candidates);
  const present = follow(contact, candidates);
  return present ? unlessLinked(participant, present, candidates) : archived(contact);
}

/** Another system, or another workspace, may have given our number to somebody else. */
function matchNumbered(
  participant: Identity,
  numbered: XeroContact[],
  candidates: Candidates,
): XeroContact | SyncError {
  const same = numbered.filter((contact) => likeness(participant, contact) === 4);
  if (same.length === 0) {
    return ambiguous(
      numbered,
      `The contact ${participant.contactNumber} in Xero is ${namesOf(numbered)}: neither name nor e-mail is the participant's.`,
    );
  }
  const present = distinct(same.flatMap((contact) => follow(contact, candidates) ?? []));
  const [first] = present;
  if (!first) return archived(same[0] as XeroContact);
  if (present.length > 1) {
    return ambiguous(present, `Several contacts in Xero have the number ${participant.contactNumber}.`);
  }
  return unlessLinked(participant, first, candidates);
}

function matchNamed(participant: Identity, candidates: Candidates): XeroContact | SyncError | null {
  const like = distinct([
    ...(participant.email === null ? [] : (candidates.byEmail.get(comparable(participant.email)) ?? [])),
    ...(candidates.byName.get(comparable(participant.name)) ?? []),
  ]).filter(({ status, contactId }) => status === "ACTIVE" && !candidates.linked.has(contactId));
  const best = new Map(
    like.map((contact) => [
      contact,
      Math.max(0, ...rivalsOf(participant, contact, candidates).map((r) => likeness(r, contact))),
    ]),
  );
  const open = like.filter((contact) => likeness(participant, contact) >= (best.get(contact) ?? 0));
  const both = open.filter((contact) => likeness(participant, contact) === 3);
  const found = both.length > 0 ? both : open;
  const [first] = found;
  if (!first) return null;
  if (found.length > 1) {
    return ambiguous(found, `The participant may be any of ${found.length} contacts in Xero: ${namesOf(found)}.`);
  }
  if (likeness(participant, first) > (best.get(first) ?? 0)) return first;
  return ambiguous(found, `The contact ${first.name} in Xero may be this participant or another one here.`);
}

/** The other participants without a contact that this one might be. */
function rivalsOf({ id }: Identity, contact: XeroContact, { rivals }: Candidates): Identity[] {
  const keys = keysOf(contact);
  return [keys.number, keys.name, keys.email]
    .flatMap((key) => (key === null ? [] : (rivals.get(key) ?? [])))
    .filter((rival) => rival.id !== id);
}

function unlessLinked({ id }: Identity, contact: XeroContact, { linked }: Candidates): XeroContact | SyncError {
  const owner = linked.get(contact.contactId);
  if (owner === undefined || owner === id) return contact;
  return ambiguous([contact], `The contact ${contact.name} in Xero is linked to another participant already.`);
}

function distinct(contacts: XeroContact[]): XeroContact[] {
  return [...new Map(contacts.map((contact) => [contact.contactId, contact])).values()];
}

function namesOf(contacts: XeroContact[]): string {
  return contacts
    .slice(0, 5)
    .map(({ name }) => name)
    .join(", ");
}

function archived({ contactNumber, name }: XeroContact): SyncError {
  return syncError(
    "CONTACT_ARCHIVED",
    `The contact ${contactNumber ?? name} is archived in Xero.`,
    "Restore the contact in Xero (only a person can), or link the participant to another one, then sync the invoice again.",
  );
}

function ambiguous(contacts: XeroContact[], message: string): SyncError {
  return {
    ...syncError(
      "CONTACT_AMBIGUOUS",
      message,
      "Link the participant to the right contact (linkContact), or correct its number, name or e-mail where they are wrong; the invoice is then queued by itself.",
    ),
    contactCandidateIds: contacts.slice(0, 20).map(({ contactId }) => contactId),
  };
}
