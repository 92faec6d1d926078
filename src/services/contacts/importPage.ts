/** Taking in some of Xero's contacts: who each is here is settled without a guess, and what Xero has changed of them is kept. One transaction. */
import { In } from "typeorm";
import { v7 as uuidv7 } from "uuid";
import { type WorkspaceTransaction } from "../../database.js";
import { type ContactDetails, ContactLink } from "../../entities/ContactLink.js";
import { type SyncOutcome } from "../../entities/enums.js";
import { Participant } from "../../entities/Participant.js";
import { XeroContact } from "../../entities/XeroContact.js";
import { groupBy } from "../loading.js";
import { comparable, hashOf, isForeignNumber, isSuffixed } from "../sync/contactFields.js";
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
  /** Participants without an active contact, by number, e-mail, telephone number and name. */
  free: Map<string, Participant[]>;
  /** Those among them whose contact is archived: only a person can say who they are now. */
  lost: Set<Participant>;
  /** Active contacts without a participant, by e-mail, telephone number and name. */
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
  await followMerges(tx, connectionId, contacts);
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
      if (!participant) throw new Error(`the participant of contact ${contact.contactId} was not read`);
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
    // Whoever was made of the contact agrees with it; whoever was here before has never been compared.
    const made = newLink(connectionId, participant, contact, who ? null : detailsOf(contact));
    await tx.manager.insert(ContactLink, made);
    forget(around, participant, contact);
    const next = who && (await takeInto(tx, participant, contact, made));
    if (next) changed.push(next);
    count(who ? "UPDATED" : "CREATED");
  }
  if (changed.length > 0) {
    const ids = changed.map(({ id }) => id);
    await queueMended(tx, rejectedContent, (query) => billedTo(query, ids));
  }
  return result;
}

/** Whoever was linked to a contact that was merged into one of these is linked to that one: they are the same. */
async function followMerges(tx: WorkspaceTransaction, connectionId: string, contacts: XeroContact[]): Promise<void> {
  await tx.manager.query(
    `WITH RECURSIVE merged AS (
       SELECT c.contact_id, c.merged_to_contact_id AS target FROM xero_contact c
       WHERE c.workspace_id = $1 AND c.connection_id = $2 AND c.merged_to_contact_id = ANY($3)
       UNION
       SELECT c.contact_id, m.target FROM xero_contact c JOIN merged m ON c.merged_to_contact_id = m.contact_id
       WHERE c.workspace_id = $1 AND c.connection_id = $2)
     UPDATE contact_link l SET contact_id = m.target, contact_status = 'ACTIVE', sent_hash = NULL, number_sent = NULL
     FROM (SELECT DISTINCT ON (m.target) m.contact_id, m.target FROM merged m
           JOIN contact_link x ON x.workspace_id = $1 AND x.connection_id = $2 AND x.contact_id = m.contact_id
           WHERE NOT EXISTS (SELECT FROM contact_link o WHERE o.workspace_id = $1 AND o.connection_id = $2 AND o.contact_id = m.target)
           ORDER BY m.target, m.contact_id) m
     WHERE l.workspace_id = $1 AND l.connection_id = $2 AND l.contact_id = m.contact_id`,
    [
      tx.workspaceId,
      connectionId,
      contacts.filter(({ status }) => status === "ACTIVE").map(({ contactId }) => contactId),
    ],
  );
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
function whoIs(contact: XeroContact, around: Surroundings): Participant | string | null {
  const { free, alike, lost } = around;
  const { number, shared } = keysOf(contact);
  const namesakes = free.get(`name:${comparable(contact.name)}`) ?? [];
  const [numbered] = number === null ? [] : (free.get(number) ?? []);
  if (numbered) {
    const isAlike = namesakes.includes(numbered) || isSuffixed(numbered, contact);
    if (isAlike || keysOf(numbered).shared.some((key) => shared.includes(key)))
      return unlessLost(contact, numbered, lost);
    return `${contact.name} in Xero has the contact number of ${numbered.name}, and neither name nor e-mail nor telephone number: link it by hand (linkContact), or give one of them another number.`;
  }
  const found = [...new Set(shared.flatMap((key) => free.get(key) ?? []))];
  // By name alone, which active contacts in Xero do not share: whoever has it here and nothing that says otherwise.
  const mayBe = found.length > 0 ? found : namesakes.filter((each) => !contradict(each, contact));
  const [only] = mayBe;
  if (!only) return null;
  if (mayBe.length > 1) return severalHere(contact, mayBe);
  const others = namesakes.filter((each) => each !== only);
  if (!namesakes.includes(only) && others.length > 0) return severalHere(contact, [only, ...others]);
  const rivals = new Set(
    [contact, ...[...keysOf(only).shared, `name:${comparable(only.name)}`].flatMap((key) => alike.get(key) ?? [])].map(
      (each) => each.contactId,
    ),
  );
  if (rivals.size > 1) {
    return `The participant ${only.name} may be any of ${rivals.size} contacts in Xero, ${contact.name} among them. Link it by hand (linkContact).`;
  }
  return unlessLost(contact, only, lost);
}

function unlessLost(contact: XeroContact, participant: Participant, lost: Set<Participant>): Participant | string {
  if (!lost.has(participant)) return participant;
  return `${contact.name} in Xero may be the participant ${participant.name}, whose contact is archived: restore that, or link it by hand (linkContact).`;
}

/** Whether both have an e-mail address, or both a telephone number, and not the same. */
function contradict(participant: Participant, contact: XeroContact): boolean {
  const differ = (one: string | null, other: string | null): boolean => one !== null && other !== null && one !== other;
  return (
    differ(participant.email && comparable(participant.email), contact.email && comparable(contact.email)) ||
    differ(phoneKey(participant.phone), phoneKey(contact.phone))
  );
}

function severalHere({ name }: XeroContact, participants: Participant[]): string {
  const names = participants.slice(0, 5).map((each) => each.name);
  return `${name} in Xero may be any of ${participants.length} participants: ${names.join(", ")}. Link it by hand (linkContact).`;
}

/** Keeps what Xero has changed of the participant; answers it as it is then, or null where that is nothing. */
async function takeInto(
  tx: WorkspaceTransaction,
  participant: Participant,
  contact: XeroContact,
  link: ContactLink,
): Promise<Participant | null> {
  const theirs: ContactDetails = { ...detailsOf(contact), name: nameOf(participant, contact, link) };
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
    ...(isToldAll(updated, { ...theirs, contactNumber: contact.contactNumber }, link.numberSent) && {
      sentHash: hashOf(updated),
    }),
  });
  return isNews ? updated : null;
}

/** What the contact is called without the number behind its name, by which namesakes are told apart. */
function nameOf(participant: Participant, contact: XeroContact, { agreed, suffixed, numberSent }: ContactLink): string {
  if (isSuffixed(participant, contact)) return participant.name;
  if (!suffixed) return contact.name;
  const suffix = ` (${numberSent ?? participant.contactNumber})`;
  const plain = contact.name.endsWith(suffix) ? contact.name.slice(0, -suffix.length) : contact.name;
  return agreed !== null && comparable(plain) === comparable(agreed.name) ? agreed.name : plain;
}

/** Whether Xero has all that a participant's contact is to have, its number too unless that is not ours to set. */
function isToldAll(
  participant: ContactDetails & Pick<Participant, "contactNumber">,
  contact: ContactDetails & Pick<XeroContact, "contactNumber">,
  numberSent: string | null,
): boolean {
  const { contactNumber } = contact;
  const isNumbered = contactNumber === participant.contactNumber || isForeignNumber(participant, contact, numberSent);
  return areSame(participant, contact) && isNumbered;
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

function newLink(
  connectionId: string,
  participant: Participant,
  contact: XeroContact,
  agreed: ContactDetails | null,
): ContactLink {
  const { workspaceId, id: participantId } = participant;
  const { contactId, contactNumber } = contact;
  return {
    workspaceId,
    connectionId,
    participantId,
    contactId,
    contactStatus: "ACTIVE",
    sentHash: isToldAll(participant, contact, null) ? hashOf(participant) : null,
    numberSent: contactNumber === participant.contactNumber ? contactNumber : null,
    agreed,
    suffixed: isSuffixed(participant, contact),
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
  const readLinks = async (): Promise<ContactLink[]> =>
    tx.manager.findBy(ContactLink, { ...of, contactId: In(contacts.map(({ contactId }) => contactId)) });
  const participants = await tx.manager.find(Participant, {
    where: { workspaceId, id: In((await readLinks()).map(({ participantId }) => participantId)) },
    order: { id: "ASC" },
    lock: { mode: "pessimistic_write" },
  });
  // Whoever links by hand holds the participant, so from here on it stays as it is.
  const links = await readLinks();
  const numbers = contacts.flatMap(({ contactNumber }) => contactNumber ?? []);
  const known = await tx.manager
    .createQueryBuilder(Participant, "p")
    .where("p.workspace_id = :workspaceId", { workspaceId })
    .andWhere(
      `(p.contact_number = ANY(:numbers) OR lower(p.email) = ANY(:emails) OR lower(p.name) = ANY(:names)
        OR regexp_replace(p.phone, '\\D', '', 'g') = ANY(:phones))`,
      {
        numbers,
        emails: contacts.flatMap(({ email }) => email?.toLowerCase() ?? []),
        names: contacts.map(({ name }) => name.toLowerCase()),
        phones: contacts.flatMap(({ phone }) => spellings(phoneKey(phone))),
      },
    )
    .orderBy("p.id")
    .setLock("pessimistic_write")
    .getMany();
  // Read once they are locked: whoever links by hand holds the participant.
  const linksOf = new Map(
    (await tx.manager.findBy(ContactLink, { ...of, participantId: In(known.map(({ id }) => id)) })).map((link) => [
      link.participantId,
      link,
    ]),
  );
  const free = known.filter(({ id }) => linksOf.get(id)?.contactStatus !== "ACTIVE");
  const alike = await tx.manager
    .createQueryBuilder(XeroContact, "c")
    .where("c.workspace_id = :workspaceId AND c.connection_id = :connectionId AND c.status = 'ACTIVE'", of)
    .andWhere(
      `(c.email_key = ANY(:emails) OR c.phone_key = ANY(:phones) OR c.name_key = ANY(:names))
       AND NOT EXISTS (SELECT FROM contact_link l WHERE l.workspace_id = c.workspace_id AND l.connection_id = c.connection_id AND l.contact_id = c.contact_id)`,
      {
        emails: free.flatMap(({ email }) => (email === null ? [] : [comparable(email)])),
        phones: free.flatMap(({ phone }) => phoneKey(phone) ?? []),
        names: free.map(({ name }) => comparable(name)),
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
    lost: new Set(free.filter(({ id }) => linksOf.has(id))),
    free: byKeys(free, (participant) => [
      `number:${participant.contactNumber}`,
      `name:${comparable(participant.name)}`,
      ...keysOf(participant).shared,
    ]),
    alike: byKeys(alike, (contact) => [`name:${contact.nameKey}`, ...keysOf(contact).shared]),
    takenNumbers: new Set(taken.map(({ contactNumber }) => contactNumber)),
  };
}

/** The digits of a telephone number as people write it: from home, and from abroad. */
function spellings(key: string | null): string[] {
  return key === null ? [] : [key, key.replace(/^0/, "61"), key.replace(/^0/, "001161")];
}

function byKeys<T>(rows: T[], keys: (row: T) => string[]): Map<string, T[]> {
  const pairs = rows.flatMap((row) => keys(row).map((key) => ({ key, row })));
  return new Map([...groupBy(pairs, ({ key }) => key)].map(([key, found]) => [key, found.map(({ row }) => row)]));
}
