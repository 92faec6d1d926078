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
import { type Candidates, comparable } from "./matchContact.js";

/** Xero does not say whether If-Modified-Since includes its second, and what is written now may get an earlier stamp. */
const overlapMs = 60_000;

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

  /** Reads what changed, unless that was done after all of these instants. Throws XeroFailure. */
  async refresh(accounting: XeroAccounting, connection: Connection, since: Date[] | "NOW"): Promise<void> {
    const { workspaceId, id: connectionId } = connection;
    const { mirror, now } = await this.database.inWorkspace(workspaceId, async (tx) => ({
      mirror: await tx.manager.findOneBy(ContactMirror, { workspaceId, connectionId }),
      now: (await tx.manager.query<{ now: Date }[]>("SELECT clock_timestamp() AS now"))[0]?.now ?? new Date(),
    }));
    const { readAt, changedUntil } = mirror ?? { readAt: null, changedUntil: null };
    if (since !== "NOW" && readAt !== null && since.every((instant) => instant <= readAt)) return;
    let newest = changedUntil ?? new Date(0);
    const modifiedSince = changedUntil === null ? undefined : new Date(changedUntil.getTime() - overlapMs);
    for await (const page of accounting.fetchContacts({ includeArchived: true, modifiedSince })) {
      await this.keep(connection, page);
      for (const { updatedAt } of page) if (updatedAt > newest) newest = updatedAt;
    }
    await this.database.inWorkspace(workspaceId, (tx) =>
      tx.manager.update(ContactMirror, { workspaceId, connectionId }, { readAt: now, changedUntil: newest }),
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
          workspaceId,
          connectionId,
          contactId: contact.contactId,
          contactNumber: contact.contactNumber ?? null,
          name: contact.name,
          firstName: contact.firstName ?? null,
          lastName: contact.lastName ?? null,
          email: contact.email ?? null,
          phone: contact.phone ?? null,
          status: contact.status,
          mergedToContactId: contact.mergedToContactId ?? null,
          nameKey: comparable(contact.name),
        },
      ]),
    );
    await this.database.inWorkspace(workspaceId, (tx) =>
      tx.manager.upsert(XeroContact, [...rows.values()], ["workspaceId", "connectionId", "contactId"]),
    );
  }
}

/** The contacts in the copy that these participants might be. */
export async function findCandidates(
  tx: WorkspaceTransaction,
  connectionId: string,
  participants: Participant[],
): Promise<Candidates> {
  const of = { workspaceId: tx.workspaceId, connectionId };
  const found = await tx.manager.findBy(XeroContact, [
    { ...of, contactNumber: In(participants.map(({ contactNumber }) => contactNumber)) },
    { ...of, nameKey: In(participants.map(({ name }) => comparable(name))) },
  ]);
  const links = await tx.manager.findBy(ContactLink, {
    ...of,
    contactId: In(found.map(({ contactId }) => contactId)),
  });
  return {
    byNumber: new Map(found.map((contact) => [contact.contactNumber ?? "", contact])),
    byName: groupBy(found, ({ nameKey }) => nameKey),
    linked: new Map(links.map(({ contactId, participantId }) => [contactId, participantId])),
  };
}
