/** Taking in some of Xero's contacts: who each is here is settled without a guess, and what Xero has changed of them is kept. One transaction. */
import { In } from "typeorm";
import { v7 as uuidv7 } from "uuid";
import { type WorkspaceTransaction } from "../../database.js";
import { type ContactDetails, ContactLink } from "../../entities/ContactLink.js";
import { type SyncOutcome } from "../../entities/enums.js";
import { Participant } from "../../entities/Participant.js";
import { XeroContact } from "../../entities/XeroContact.js";
import { groupBy } from "../loading.js";
import { hashOf, isSuffixed } from "../sync/contactFields.js";
import { comparable } from "../sync/matchContact.js";
import { billedTo, queueMended, rejectedContent } from "../sync/queueRun.js";
import { areSame, detailsOf, phoneKey, takeIn } from "./importedDetails.js";

/** What came of some contacts: how many of each, and why some were left alone. */
export interface ImportResult {
  counts: Partial<Record<SyncOutcome, number>>;
  problems: string[];
}

export interface ImportChoice {
  includeSuppliers: boolean;
  /** The contacts of the chosen groups; null: all. */
  members: Set<string> | null;
}

/** Everybody here who might be one of the contacts, and everybody in Xero who might be one of these. */
interface Surroundings {
  links: Map<string, ContactLink>;
  participants: Map<string, Participant>;
  /** Participants without a contact, by number, e-mail and telephone number. */
  free: Map<string, Participant[]>;
  /** Active contacts without a participant, by e-mail and telephone number. */
  alike: Map<string, XeroContact[]>;
  takenNumbers: Set<string>;
}

/** The next import looks at all of the organisation's contacts. */
export async function markAll(tx: WorkspaceTransaction, connectionId: string): Promise<void> {
  await tx.manager.update(XeroContact, { workspaceId: tx.workspaceId, connectionId }, { importDue: true });
}

/** Takes in these contacts of one organisation; counted by what came of each. Contacts that are not ACTIVE change nothing here. */
export async function importPage(
  tx: WorkspaceTransaction,
  connectionId: string,
  contacts: XeroContact[],
  choice: ImportChoice,
): Promise<ImportResult> {
  const around = await readSurroundings(tx, connectionId, contacts);
  const result: ImportResult = { counts: {}, problems: [] };
  const count = (outcome: SyncOutcome): void => {
    result.counts[outcome] = (result.counts[outcome] ?? 0) + 1;
  };
  const changed: Participant[] = [];
  for (const contact of contacts) {
    if (contact.status !== "ACTIVE") continue;
    const link = around.links.get(contact.contactId);
    if (link) {
      const participant = around.participants.get(link.participantId);
      if (!participant) continue;
      const next = await takeInto(tx, participant, contact, link);
      if (next) changed.push(next);
      count(next ? "UPDATED" : "UNCHANGED");
      continue;
    }
    if (!isChosen(contact, choice)) {
      count("SKIPPED");
      continue;
    }
    const who = whoIs(contact, around);
    if (typeof who === "string") {
      result.problems.push(who);
      count("FAILED");
      continue;
    }
    const participant = who ?? (await create(tx, contact, around));
    const made = newLink(connectionId, participant, contact);
    await tx.manager.insert(ContactLink, made);
    forget(around, participant, contact);
    if (who) {
      const next = await takeInto(tx, participant, contact, made);
      if (next) changed.push(next);
    }
    count(who ? "UPDATED" : "CREATED");
  }
  for (const { id } of changed) await queueMended(tx, rejectedContent, (query) => billedTo(query, id));
  return result;
}

function isChosen(
  { contactId, isSupplier, isCustomer }: XeroContact,
  { includeSuppliers, members }: ImportChoice,
): boolean {
  if (isSupplier && !isCustomer && !includeSuppliers) return false;
  return members?.has(contactId) ?? true;
}

function keysOf({
  contactNumber,
  email,
  phone,
}: {
  contactNumber: string | null;
  email: string | null;
  phone: string | null;
}): {
  number: string | null;
  shared: string[];
} {
  const digits = phoneKey(phone);
  return {
    number: contactNumber === null ? null : `number:${contactNumber}`,
    shared: [
      ...(email === null ? [] : [`email:${comparable(email)}`]),
      ...(digits === null ? [] : [`phone:${digits}`]),
    ],
  };
}

/** The participant that the contact is; null: nobody here; or why that can't be said. */
function whoIs(contact: XeroContact, { free, alike }: Surroundings): Participant | string | null {
  const { number, shared } = keysOf(contact);
  const numbered = number === null ? [] : (free.get(number) ?? []);
  if (numbered[0]) return numbered[0];
  const found = new Set(shared.flatMap((key) => free.get(key) ?? []));
  const [only] = found;
  if (!only) return null;
  const names = [...found]
    .map(({ name }) => name)
    .slice(0, 5)
    .join(", ");
  if (found.size > 1)
    return `${contact.name} in Xero may be any of ${found.size} participants: ${names}. Link it by hand (linkContact).`;
  const rivals = new Set(keysOf(only).shared.flatMap((key) => alike.get(key) ?? []));
  if (rivals.size > 1) {
    return `The participant ${only.name} may be any of ${rivals.size} contacts in Xero, ${contact.name} among them. Link it by hand (linkContact).`;
  }
  return only;
}

/** Keeps what Xero has changed of the participant; answers it as it is then, or null where that is nothing. */
async function takeInto(
  tx: WorkspaceTransaction,
  participant: Participant,
  contact: XeroContact,
  link: ContactLink,
): Promise<Participant | null> {
  const theirs: ContactDetails = detailsOf(
    isSuffixed(participant, contact) ? { ...contact, name: participant.name } : contact,
  );
  const next = takeIn(detailsOf(participant), link.agreed, theirs);
  const isNews = !areSame(next, participant);
  const key = { workspaceId: tx.workspaceId, connectionId: link.connectionId, participantId: participant.id };
  const updated = { ...participant, ...next, updatedAt: new Date() };
  if (isNews)
    await tx.manager.update(
      Participant,
      { workspaceId: tx.workspaceId, id: participant.id },
      { ...next, updatedAt: updated.updatedAt },
    );
  // Where both are the same now there is nothing to be sent; else what is ours still goes with the next invoice.
  await tx.manager.update(ContactLink, key, {
    agreed: theirs,
    ...(isToldAll(next, { ...theirs, contactNumber: contact.contactNumber }) && { sentHash: hashOf(updated) }),
  });
  return isNews ? updated : null;
}

/** Whether Xero has all that a participant's contact is to have: one without a number gets ours with the next invoice. */
function isToldAll(ours: ContactDetails, theirs: ContactDetails & { contactNumber: string | null }): boolean {
  return areSame(ours, theirs) && theirs.contactNumber !== null;
}

async function create(
  tx: WorkspaceTransaction,
  contact: XeroContact,
  { takenNumbers }: Surroundings,
): Promise<Participant> {
  const id = uuidv7();
  const { contactNumber } = contact;
  const isFree = contactNumber !== null && contactNumber.length <= 50 && !takenNumbers.has(contactNumber);
  const participant = tx.manager.create(Participant, {
    workspaceId: tx.workspaceId,
    id,
    contactNumber: isFree ? contactNumber : `P-${id.slice(-12).toUpperCase()}`,
    ...detailsOf(contact),
    ndisNumber: null,
    // Xero does not know; until somebody says otherwise they are billed themselves.
    planManagement: "NOT_NDIS",
    planManagerId: null,
    updatedAt: new Date(),
  });
  await tx.manager.insert(Participant, participant);
  takenNumbers.add(participant.contactNumber);
  return participant;
}

function newLink(connectionId: string, participant: Participant, contact: XeroContact): ContactLink {
  const { workspaceId, id: participantId } = participant;
  const { contactId } = contact;
  return {
    workspaceId,
    connectionId,
    participantId,
    contactId,
    contactStatus: "ACTIVE",
    sentHash: isToldAll(participant, contact) ? hashOf(participant) : null,
    agreed: null,
    suffixed: false,
    warnings: [],
  };
}

/** They have each other now, and are nobody else's. */
function forget({ free, alike }: Surroundings, participant: Participant, contact: XeroContact): void {
  for (const [key, list] of free)
    free.set(
      key,
      list.filter(({ id }) => id !== participant.id),
    );
  for (const [key, list] of alike)
    alike.set(
      key,
      list.filter(({ contactId }) => contactId !== contact.contactId),
    );
}

async function readSurroundings(
  tx: WorkspaceTransaction,
  connectionId: string,
  contacts: XeroContact[],
): Promise<Surroundings> {
  const { workspaceId } = tx;
  const of = { workspaceId, connectionId };
  const links = await tx.manager.findBy(ContactLink, {
    ...of,
    contactId: In(contacts.map(({ contactId }) => contactId)),
  });
  const participants = await tx.manager.find(Participant, {
    where: { workspaceId, id: In(links.map(({ participantId }) => participantId)) },
    order: { id: "ASC" },
    lock: { mode: "pessimistic_write" },
  });
  const numbers = contacts.flatMap(({ contactNumber }) => contactNumber ?? []);
  const free = await tx.manager
    .createQueryBuilder(Participant, "p")
    .where("p.workspace_id = :workspaceId", { workspaceId })
    .andWhere(
      `(p.contact_number = ANY(:numbers) OR lower(p.email) = ANY(:emails) OR regexp_replace(p.phone, '\\D', '', 'g') = ANY(:phones))
       AND NOT EXISTS (SELECT FROM contact_link l WHERE l.workspace_id = p.workspace_id AND l.connection_id = :connectionId AND l.participant_id = p.id)`,
      {
        connectionId,
        numbers,
        emails: contacts.flatMap(({ email }) => email?.toLowerCase() ?? []),
        phones: contacts.flatMap(({ phone }) => phoneKey(phone) ?? []),
      },
    )
    .orderBy("p.id")
    .setLock("pessimistic_write")
    .getMany();
  const alike = await tx.manager
    .createQueryBuilder(XeroContact, "c")
    .where("c.workspace_id = :workspaceId AND c.connection_id = :connectionId AND c.status = 'ACTIVE'", of)
    .andWhere(
      `(c.email_key = ANY(:emails) OR c.phone_key = ANY(:phones))
       AND NOT EXISTS (SELECT FROM contact_link l WHERE l.workspace_id = c.workspace_id AND l.connection_id = c.connection_id AND l.contact_id = c.contact_id)`,
      {
        emails: free.flatMap(({ email }) => (email === null ? [] : [comparable(email)])),
        phones: free.flatMap(({ phone }) => phoneKey(phone) ?? []),
      },
    )
    .getMany();
  const taken = await tx.manager.find(Participant, {
    where: { workspaceId, contactNumber: In(numbers) },
    select: { contactNumber: true },
  });
  return {
    links: new Map(links.map((link) => [link.contactId, link])),
    participants: new Map(participants.map((participant) => [participant.id, participant])),
    free: byKeys(free, (participant) => [`number:${participant.contactNumber}`, ...keysOf(participant).shared]),
    alike: byKeys(alike, (contact) => keysOf(contact).shared),
    takenNumbers: new Set(taken.map(({ contactNumber }) => contactNumber)),
  };
}

function byKeys<T>(rows: T[], keys: (row: T) => string[]): Map<string, T[]> {
  const pairs = rows.flatMap((row) => keys(row).map((key) => ({ key, row })));
  return new Map([...groupBy(pairs, ({ key }) => key)].map(([key, found]) => [key, found.map(({ row }) => row)]));
}
