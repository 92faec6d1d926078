/**
 * The contact of everyone who is billed: found, created or brought up to date before the invoices go out.
 *
 * The contact number is ours and unique in Xero among all contacts, archived ones too, so a contact whose creation was answered by silence
 * is found again by it, and two processes at once make one. A contact is never matched by name alone and never written to by name: in Xero
 * a POST with only a name overwrites whoever bears it.
 */
import { createHash, randomUUID } from "node:crypto";
import { In, Not } from "typeorm";
import { type Database } from "../../database.js";
import { type Connection } from "../../entities/Connection.js";
import { ContactLink } from "../../entities/ContactLink.js";
import { type ContactAction } from "../../entities/enums.js";
import { type Participant } from "../../entities/Participant.js";
import { type SyncError } from "../../entities/SyncError.js";
import { type ElementOutcome, type XeroContactAnswer } from "../../xero/answers.js";
import { XeroFailure } from "../../xero/XeroFailure.js";
import { type ContactPayload } from "../../xero/payloads.js";
import { type XeroAccounting } from "../../xero/XeroAccounting.js";
import { type CallOptions, type XeroGateway } from "../../xero/XeroGateway.js";
import { rejected, syncError } from "./syncErrors.js";

/** A participant's contact, or why there is none. */
export type Settled = { contactId: string; action: ContactAction; warnings: string[] } | { error: SyncError };

/** How many contacts are looked up before those that Xero lacks are created. */
const contactsAtOnce = 5;

export class Contacts {
  constructor(
    private readonly database: Database,
    private readonly gateway: XeroGateway,
  ) {}

  /**
   * Finds, creates or updates the contact of each participant in the connection's organisation; repeats find what was made before. No
   * transaction is open while Xero is called. Throws XeroFailure where a call failed as a whole.
   */
  async settle(
    connection: Connection,
    participants: Participant[],
    options: CallOptions,
  ): Promise<Map<string, Settled>> {
    const links = await this.linksOf(connection, participants);
    const settled = new Map<string, Settled>();
    const changed: [Participant, ContactLink][] = [];
    const missing: Participant[] = [];
    for (const participant of participants) {
      const link = links.get(participant.id);
      if (!link) missing.push(participant);
      else if (link.sentHash !== hashOf(participant)) changed.push([participant, link]);
      else settled.set(participant.id, { contactId: link.contactId, action: "UNCHANGED", warnings: [] });
    }
    if (changed.length > 0 || missing.length > 0) {
      await this.gateway.call(
        connection,
        async (accounting) => {
          // Chunk by chunk, so that a limit reached on the way loses nothing of what is linked by then.
          for (let start = 0; start < missing.length; start += contactsAtOnce) {
            await this.findOrCreate(accounting, connection, missing.slice(start, start + contactsAtOnce), settled);
          }
          await this.update(accounting, connection, changed, settled);
        },
        options,
      );
    }
    return settled;
  }

  private async linksOf(connection: Connection, participants: Participant[]): Promise<Map<string, ContactLink>> {
    const { workspaceId } = connection;
    const links = await this.database.inWorkspace(workspaceId, (tx) =>
      tx.manager.findBy(ContactLink, {
        workspaceId,
        connectionId: connection.id,
        participantId: In(participants.map(({ id }) => id)),
      }),
    );
    return new Map(links.map((link) => [link.participantId, link]));
  }

  private async findOrCreate(
    accounting: XeroAccounting,
    connection: Connection,
    participants: Participant[],
    settled: Map<string, Settled>,
  ): Promise<void> {
    const toCreate: Participant[] = [];
    for (const participant of participants) {
      const found = await findContact(accounting, participant);
      if (found === null) toCreate.push(participant);
      else settled.set(participant.id, await this.take(accounting, connection, participant, found));
    }
    if (toCreate.length === 0) return;
    const outcomes = await accounting.createContacts(toCreate.map(payloadOf), randomUUID());
    for (const [index, outcome] of outcomes.entries()) {
      const participant = toCreate[index];
      if (!participant) continue;
      if (outcome.ok) {
        await this.link(connection, participant, outcome.answer.contactId, hashOf(participant));
        settled.set(participant.id, {
          contactId: outcome.answer.contactId,
          action: "CREATED",
          warnings: outcome.warnings,
        });
      } else {
        settled.set(participant.id, await this.afterRefusal(accounting, connection, participant, outcome.messages));
      }
    }
  }

  /** A refused number may be our own, taken a moment ago by another process or by a call whose answer was lost. */
  private async afterRefusal(
    accounting: XeroAccounting,
    connection: Connection,
    participant: Participant,
    messages: string[],
  ): Promise<Settled> {
    const found = await findByNumber(accounting, participant);
    return found
      ? this.take(accounting, connection, participant, found)
      : { error: rejected(messages, "CONTACT_REJECTED") };
  }

  /** Links a contact that was found, and updates it where it differs. */
  private async take(
    accounting: XeroAccounting,
    connection: Connection,
    participant: Participant,
    found: XeroContactAnswer,
  ): Promise<Settled> {
    if (found.status !== "ACTIVE") {
      return {
        error: syncError(
          "CONTACT_ARCHIVED",
          `The contact ${participant.contactNumber} is archived in Xero.`,
          "Restore the contact in Xero (only a person can), then sync the invoice again.",
        ),
      };
    }
    if (await this.isAnothers(connection, participant, found.contactId)) {
      return {
        error: syncError(
          "CONTACT_AMBIGUOUS",
          `The contact ${found.name} in Xero is linked to another participant already.`,
          "Give the participants different contact numbers, here and in Xero, then sync the invoice again.",
        ),
      };
    }
    if (!looksLike(participant, found)) {
      return {
        error: syncError(
          "CONTACT_AMBIGUOUS",
          `The contact ${participant.contactNumber} in Xero is ${found.name}: neither name nor e-mail is the participant's.`,
          "Give the participant another contact number, or correct name or e-mail where they are wrong, then sync the invoice again.",
        ),
      };
    }
    const same = hashOf({ ...participant, ...fieldsOf(found) }) === hashOf(participant);
    const link = await this.link(connection, participant, found.contactId, same ? hashOf(participant) : null);
    if (same) return { contactId: found.contactId, action: "LINKED", warnings: [] };
    const settled = new Map<string, Settled>();
    await this.update(accounting, connection, [[participant, link]], settled);
    const updated = settled.get(participant.id);
    return {
      contactId: found.contactId,
      action: "LINKED",
      warnings: updated && "warnings" in updated ? updated.warnings : [],
    };
  }

  /** What Xero refuses of an update does not hold up the invoice: it is a warning, and is tried again when the participant changes. */
  private async update(
    accounting: XeroAccounting,
    connection: Connection,
    changed: [Participant, ContactLink][],
    settled: Map<string, Settled>,
  ): Promise<void> {
    if (changed.length === 0) return;
    let outcomes: ElementOutcome<XeroContactAnswer>[];
    try {
      outcomes = await accounting.updateContacts(
        changed.map(([participant, { contactId }]) => ({ ...payloadOf(participant), contactId })),
        randomUUID(),
      );
    } catch (error) {
      if (!(error instanceof XeroFailure) || error.kind !== "NOT_FOUND") throw error;
      await this.replaceUnknown(accounting, connection, changed, settled, error);
      return;
    }
    for (const [index, outcome] of outcomes.entries()) {
      const [participant, link] = changed[index] ?? [];
      if (!participant || !link) continue;
      await this.link(connection, participant, link.contactId, hashOf(participant));
      const warnings = outcome.ok
        ? outcome.warnings
        : outcome.messages.map((message) => `The contact was not updated: ${message}`);
      settled.set(participant.id, {
        contactId: link.contactId,
        action: outcome.ok ? "UPDATED" : "UNCHANGED",
        warnings,
      });
    }
  }

  /** One contact that Xero does not know makes it refuse them all: that one is unlinked and looked for anew, the others are updated. */
  private async replaceUnknown(
    accounting: XeroAccounting,
    connection: Connection,
    changed: [Participant, ContactLink][],
    settled: Map<string, Settled>,
    refusal: XeroFailure,
  ): Promise<void> {
    const ids = changed.map(([, { contactId }]) => contactId);
    const known = new Set(
      (await collect(accounting.fetchContacts({ ids, includeArchived: true }))).map((c) => c.contactId),
    );
    const gone = changed.filter(([, { contactId }]) => !known.has(contactId));
    if (gone.length === 0) throw refusal;
    const { workspaceId, id: connectionId } = connection;
    await this.database.inWorkspace(workspaceId, (tx) =>
      tx.manager.delete(ContactLink, {
        workspaceId,
        connectionId,
        contactId: In(gone.map(([, { contactId }]) => contactId)),
      }),
    );
    await this.findOrCreate(
      accounting,
      connection,
      gone.map(([participant]) => participant),
      settled,
    );
    await this.update(
      accounting,
      connection,
      changed.filter(([, { contactId }]) => known.has(contactId)),
      settled,
    );
  }

  private async isAnothers(
    { workspaceId, id }: Connection,
    participant: Participant,
    contactId: string,
  ): Promise<boolean> {
    return this.database.inWorkspace(workspaceId, (tx) =>
      tx.manager.existsBy(ContactLink, {
        workspaceId,
        connectionId: id,
        contactId,
        participantId: Not(participant.id),
      }),
    );
  }

  private async link(
    connection: Connection,
    participant: Participant,
    contactId: string,
    sentHash: string | null,
  ): Promise<ContactLink> {
    const link = {
      workspaceId: connection.workspaceId,
      connectionId: connection.id,
      participantId: participant.id,
      contactId,
      contactStatus: "ACTIVE" as const,
      sentHash,
    };
    await this.database.inWorkspace(connection.workspaceId, (tx) =>
      tx.manager.upsert(ContactLink, link, ["workspaceId", "connectionId", "participantId"]),
    );
    return link;
  }
}

async function collect(pages: AsyncGenerator<XeroContactAnswer[]>): Promise<XeroContactAnswer[]> {
  const all: XeroContactAnswer[] = [];
  for await (const page of pages) all.push(...page);
  return all;
}

async function findByNumber(
  accounting: XeroAccounting,
  { contactNumber }: Participant,
): Promise<XeroContactAnswer | null> {
  const found = await collect(accounting.fetchContacts({ contactNumber, includeArchived: true }));
  return found.find((contact) => contact.contactNumber === contactNumber) ?? null;
}

/** By our number, else by name and e-mail together where exactly one active contact has both and no number of another system. */
async function findContact(accounting: XeroAccounting, participant: Participant): Promise<XeroContactAnswer | null> {
  const numbered = await findByNumber(accounting, participant);
  if (numbered || participant.email === null) return numbered;
  const email = participant.email.toLowerCase();
  const named = await collect(accounting.fetchContacts({ name: participant.name }));
  const same = named.filter(
    (contact) =>
      contact.status === "ACTIVE" && contact.contactNumber === undefined && contact.email?.toLowerCase() === email,
  );
  return same.length === 1 ? (same[0] ?? null) : null;
}

/** Whether a contact that has our number is the participant's: another system, or another workspace, may have given it to somebody else. */
function looksLike(participant: Participant, found: XeroContactAnswer): boolean {
  const same = (ours: string | null, theirs: string | undefined) =>
    ours !== null && ours.localeCompare(theirs ?? "", "en", { sensitivity: "base" }) === 0;
  return same(participant.name, found.name) || same(participant.email, found.email);
}

function payloadOf(participant: Participant): ContactPayload {
  return {
    contactNumber: participant.contactNumber,
    name: participant.name,
    firstName: participant.firstName ?? "",
    lastName: participant.lastName ?? "",
    email: participant.email ?? "",
    phone: participant.phone ?? "",
  };
}

function fieldsOf(contact: XeroContactAnswer): Partial<Participant> {
  return {
    contactNumber: contact.contactNumber ?? "",
    name: contact.name,
    firstName: contact.firstName ?? null,
    lastName: contact.lastName ?? null,
    email: contact.email ?? null,
    phone: contact.phone ?? null,
  };
}

/** Hash of exactly what Xero is told, so that nothing else about a participant causes an update. */
function hashOf(participant: Participant): string {
  return createHash("sha256")
    .update(JSON.stringify(payloadOf(participant)))
    .digest("base64url");
}
