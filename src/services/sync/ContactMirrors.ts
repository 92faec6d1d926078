/**
 * The copy of an organisation's contacts, archived ones too, on which participants are matched: read once, 1,000 a page, then only what changed
 * since (If-Modified-Since). A match is asked of a copy that is at least as fresh as the press of the button, so a run of any size costs one
 * read. Also the lease by which one process at a time settles an organisation's contacts.
 */
import { randomUUID } from "node:crypto";
import { In } from "typeorm";
import { type Database, type WorkspaceTransaction } from "../../database.js";
import { type Connection } from "../../entities/Connection.js";
import { ContactLink } from "../../entities/ContactLink.js";
import { ContactMirror } from "../../entities/ContactMirror.js";
import { type Participant } from "../../entities/Participant.js";
import { XeroContact } from "../../entities/XeroContact.js";
import { type XeroContactAnswer } from "../../xero/answers.js";
import { type XeroAccounting } from "../../xero/XeroAccounting.js";
import { groupBy } from "../loading.js";
import { phoneKey } from "../contacts/importedDetails.js";
import { comparable, isForeignNumber } from "./contactFields.js";
import { type Candidates, type Identity, keysOf } from "./matchContact.js";

/** Xero does not say whether If-Modified-Since includes its second, and what is written now may get an earlier stamp. */
const overlapMs = 60_000;

const columns = [
  "contact_number text",
  "name text",
  "first_name text",
  "last_name text",
  "email text",
  "phone text",
  "status text",
  "merged_to_contact_id uuid",
  "name_key text",
  "email_key text",
  "phone_key text",
  "is_supplier boolean",
  "is_customer boolean",
  "updated_at timestamptz",
];
const names = columns.map((column) => column.split(" ")[0]);
const theirs = names.map((name) => `excluded.${name}`).join(", ");

/** What was read before something newer was kept changes nothing; what has not changed need not be imported again. */
const keepContacts = `
  INSERT INTO xero_contact AS c (workspace_id, connection_id, contact_id, ${names.join(", ")})
  SELECT $1, $2, r.* FROM jsonb_to_recordset($3::jsonb) AS r(contact_id uuid, ${columns.join(", ")})
  ON CONFLICT (workspace_id, connection_id, contact_id) DO UPDATE SET (${names.join(", ")}) = ROW(${theirs}),
    import_due = c.import_due OR (${names.map((name) => `c.${name}`).join(", ")}) IS DISTINCT FROM (${theirs})
  WHERE c.updated_at IS NULL OR c.updated_at <= excluded.updated_at`;

export class ContactMirrors {
  constructor(private readonly database: Database) {}

  /** The lease of the organisation's contacts; null where somebody else holds it. */
  async claim(tx: WorkspaceTransaction, connectionId: string, leaseMs: number): Promise<string | null> {
    const leaseId = randomUUID();
    const rows = await tx.manager.query<unknown[]>(
      `INSERT INTO contact_mirror AS m (workspace_id, connection_id, lease_id, lease_until) VALUES ($1, $2, $3, now() + $4 * interval '1 ms')
       ON CONFLICT (workspace_id, connection_id) DO UPDATE SET lease_id = excluded.lease_id, lease_until = excluded.lease_until
       WHERE m.lease_until IS NULL OR m.lease_until <= now() RETURNING 1`,
      [tx.workspaceId, connectionId, leaseId, leaseMs],
    );
    return rows.length > 0 ? leaseId : null;
  }

  /** Gives the lease back; false where somebody else has it by now. */
  async release(tx: WorkspaceTransaction, connectionId: string, leaseId: string): Promise<boolean> {
    const { affected } = await tx.manager.update(
      ContactMirror,
      { workspaceId: tx.workspaceId, connectionId, leaseId },
      { leaseId: null, leaseUntil: null },
    );
    return affected === 1;
  }

  /**
   * Reads what changed, unless that was done after all of these instants; with `ALL` everything, for not all changes have a stamp. Throws
   * XeroFailure.
   */
  async refresh(accounting: XeroAccounting, connection: Connection, since: Date[] | "NOW" | "ALL"): Promise<void> {
    const { workspaceId, id: connectionId } = connection;
    const { mirror, now } = await this.database.inWorkspace(workspaceId, async (tx) => ({
      mirror: await tx.manager.findOneBy(ContactMirror, { workspaceId, connectionId }),
      now: (await tx.manager.query<{ now: Date }[]>("SELECT clock_timestamp() AS now"))[0]?.now ?? new Date(),
    }));
    const { readAt, changedUntil } = mirror ?? { readAt: null, changedUntil: null };
    if (Array.isArray(since) && readAt !== null && since.every((instant) => instant <= readAt)) return;
    let newest = changedUntil ?? new Date(0);
    const modifiedSince =
      changedUntil === null || since === "ALL" ? undefined : new Date(changedUntil.getTime() - overlapMs);
    for await (const page of accounting.fetchContacts({ includeArchived: true, modifiedSince })) {
      await this.keep(connection, page);
      for (const { updatedAt } of page) if (updatedAt > newest) newest = updatedAt;
    }
    // What changes while pages are read may be on one that was read already.
    if (newest > now) newest = now;
    await this.database.inWorkspace(workspaceId, (tx) =>
      tx.manager.upsert(ContactMirror, { workspaceId, connectionId, readAt: now, changedUntil: newest }, [
        "workspaceId",
        "connectionId",
      ]),
    );
  }

  /** Keeps these contacts as Xero has just shown them. */
  async keep({ workspaceId, id: connectionId }: Connection, contacts: XeroContactAnswer[]): Promise<void> {
    if (contacts.length === 0) return;
    // A page may repeat one, and a statement may touch a row once only.
    const rows = new Map(
      contacts.map((contact) => [
        contact.contactId,
        {
          contact_id: contact.contactId,
          contact_number: contact.contactNumber ?? null,
          name: contact.name,
          first_name: contact.firstName ?? null,
          last_name: contact.lastName ?? null,
          email: contact.email ?? null,
          phone: contact.phone ?? null,
          status: contact.status,
          merged_to_contact_id: contact.mergedToContactId ?? null,
          name_key: comparable(contact.name),
          email_key: contact.email === undefined ? null : comparable(contact.email),
          phone_key: phoneKey(contact.phone),
          is_supplier: contact.isSupplier,
          is_customer: contact.isCustomer,
          updated_at: contact.updatedAt,
        },
      ]),
    );
    await this.database.inWorkspace(workspaceId, async (tx) => {
      await tx.manager.query(keepContacts, [workspaceId, connectionId, JSON.stringify([...rows.values()])]);
      await tx.manager.query(
        `UPDATE contact_link l SET contact_status = n.status
         FROM (SELECT contact_id, CASE WHEN status = 'ACTIVE' THEN status WHEN merged_to_contact_id IS NULL THEN 'ARCHIVED' ELSE 'MERGED' END AS status
               FROM xero_contact WHERE workspace_id = $1 AND connection_id = $2 AND contact_id = ANY($3)) n
         WHERE l.workspace_id = $1 AND l.connection_id = $2 AND l.contact_id = n.contact_id AND l.contact_status <> n.status`,
        [workspaceId, connectionId, [...rows.keys()]],
      );
    });
  }
}

/** So often is it followed what a contact was merged into. */
const mergesFollowed = 5;

/** The contacts in the copy that these participants might be, those among them whom they were (`formerIds`), and who else might be them. */
export async function findCandidates(
  tx: WorkspaceTransaction,
  connectionId: string,
  participants: Participant[],
  formerIds: string[] = [],
): Promise<Candidates> {
  const { workspaceId } = tx;
  const of = { workspaceId, connectionId };
  const found = await tx.manager.findBy(XeroContact, [
    { ...of, contactNumber: In(participants.map(({ contactNumber }) => contactNumber)) },
    { ...of, nameKey: In(participants.map(({ name }) => comparable(name))) },
    { ...of, emailKey: In(participants.flatMap(({ email }) => (email === null ? [] : [comparable(email)]))) },
    { ...of, contactId: In(formerIds) },
  ]);
  const byId = new Map(found.map((contact) => [contact.contactId, contact]));
  for (let round = 0; round < mergesFollowed; round += 1) {
    const targets = [...byId.values()].flatMap(({ mergedToContactId }) => mergedToContactId ?? []);
    const unread = targets.filter((id) => !byId.has(id));
    if (unread.length === 0) break;
    const read = await tx.manager.findBy(XeroContact, { ...of, contactId: In(unread) });
    for (const contact of read) byId.set(contact.contactId, contact);
  }
  const links = await tx.manager.findBy(ContactLink, { ...of, contactId: In([...byId.keys()]) });
  const groups = (keyOf: (contact: XeroContact) => string | null): Map<string, XeroContact[]> =>
    groupBy(
      found.filter((contact) => keyOf(contact) !== null),
      (contact) => keyOf(contact) ?? "",
    );
  return {
    byId,
    byNumber: groups(({ contactNumber }) => contactNumber),
    byName: groups(({ nameKey }) => nameKey),
    byEmail: groups(({ emailKey }) => emailKey),
    linked: new Map(links.map(({ contactId, participantId }) => [contactId, participantId])),
    rivals: await readRivals(tx, connectionId, found),
  };
}

/** Whoever has no contact in the organisation and might be one of these. */
async function readRivals(
  tx: WorkspaceTransaction,
  connectionId: string,
  contacts: XeroContact[],
): Promise<Candidates["rivals"]> {
  const texts = (keyOf: (contact: XeroContact) => string | null): string[] =>
    contacts.flatMap((contact) => keyOf(contact)?.toLowerCase() ?? []);
  const found = await tx.manager.query<Identity[]>(
    `SELECT p.id, p.contact_number AS "contactNumber", p.name, p.email FROM participant p
     WHERE p.workspace_id = $1 AND (p.contact_number = ANY($3) OR lower(p.name) = ANY($4) OR lower(p.email) = ANY($5))
       AND NOT EXISTS (SELECT FROM contact_link l WHERE l.workspace_id = $1 AND l.connection_id = $2 AND l.participant_id = p.id)`,
    [
      tx.workspaceId,
      connectionId,
      contacts.flatMap(({ contactNumber }) => contactNumber ?? []),
      texts(({ name }) => name),
      texts(({ email }) => email),
    ],
  );
  const rivals = new Map<string, Identity[]>();
  for (const rival of found) {
    const keys = keysOf(rival);
    for (const key of [keys.number, keys.name, keys.email]) {
      if (key !== null) rivals.set(key, [...(rivals.get(key) ?? []), rival]);
    }
  }
  return rivals;
}

/** What keeps a linked contact from being told its participant's name or number. */
export interface Obstacles {
  /** Another active contact has the name. */
  isNameTaken: boolean;
  /** Another system has numbered this one, or the number is on another contact; on an archived one it is for ever. */
  isNumberTaken: boolean;
}

/** What stands in the way of each of these, as far as the copy tells. */
export async function readObstacles(
  tx: WorkspaceTransaction,
  connectionId: string,
  linked: { participant: Participant; link: Pick<ContactLink, "contactId" | "numberSent"> }[],
): Promise<(one: { participant: Participant; link: Pick<ContactLink, "contactId" | "numberSent"> }) => Obstacles> {
  const of = { workspaceId: tx.workspaceId, connectionId };
  const found = await tx.manager.findBy(XeroContact, [
    { ...of, contactId: In(linked.map(({ link }) => link.contactId)) },
    { ...of, contactNumber: In(linked.map(({ participant }) => participant.contactNumber)) },
    { ...of, nameKey: In(linked.map(({ participant }) => comparable(participant.name))), status: "ACTIVE" },
  ]);
  const byId = new Map(found.map((contact) => [contact.contactId, contact]));
  const byName = groupBy(
    found.filter(({ status }) => status === "ACTIVE"),
    ({ nameKey }) => nameKey,
  );
  const byNumber = groupBy(found, ({ contactNumber }) => contactNumber ?? "");
  return ({ participant, link: { contactId, numberSent } }) => {
    const isOther = (contact: XeroContact): boolean => contact.contactId !== contactId;
    const own = byId.get(contactId);
    return {
      isNameTaken: (byName.get(comparable(participant.name)) ?? []).some(isOther),
      isNumberTaken:
        (own !== undefined && isForeignNumber(participant, own, numberSent)) ||
        (byNumber.get(participant.contactNumber) ?? []).some(isOther),
    };
  };
}
