/** The organisation's contacts, for a person who says which of them a participant is where matching must not. */
import { IsNull } from "typeorm";
import { type Database, violates, type WorkspaceTransaction } from "../database.js";
import { type Connection } from "../entities/Connection.js";
import { ContactLink } from "../entities/ContactLink.js";
import { ContactMirror } from "../entities/ContactMirror.js";
import { type SyncErrorCode } from "../entities/enums.js";
import { Participant } from "../entities/Participant.js";
import { SyncAttempt } from "../entities/SyncAttempt.js";
import { XeroContact } from "../entities/XeroContact.js";
import { AppError, badInput, notFound } from "../errors.js";
import { type Viewer } from "../viewer.js";
import { XeroFailure } from "../xero/XeroFailure.js";
import { type XeroGateway } from "../xero/XeroGateway.js";
import { findActiveConnection } from "./accounts.js";
import { loadIntegration } from "./Integrations.js";
import { checkId, load } from "./loading.js";
import { likePattern } from "./Participants.js";
import { ContactMirrors } from "./sync/ContactMirrors.js";
import { billedTo, queueMended } from "./sync/queueRun.js";

/** Somebody types; and whoever has just made a contact in Xero looks for it at once. */
const freshMs = 5_000;

/** What another link may mend. */
const wrongContact: SyncErrorCode[] = ["CONTACT_AMBIGUOUS", "CONTACT_ARCHIVED", "CONTACT_REJECTED"];

export class XeroContacts {
  private readonly mirrors: ContactMirrors;

  constructor(
    private readonly database: Database,
    private readonly gateway: XeroGateway,
  ) {
    this.mirrors = new ContactMirrors(database);
  }

  /**
   * Contacts of the active organisation whose name, e-mail or contact number contains the text: active ones first, by name. While Xero can't be
   * asked it is the copy as it was last read; null where there is none, or no organisation is chosen.
   */
  async search(viewer: Viewer, search: string, first: number): Promise<XeroContact[] | null> {
    const connection = await this.database.inWorkspace(viewer.workspaceId, findActiveConnection);
    if (!connection) return null;
    if (!(await this.refresh(connection, freshMs))) return null;
    return this.database.inWorkspace(viewer.workspaceId, (tx) => {
      const query = tx.manager
        .createQueryBuilder(XeroContact, "c")
        .where({ workspaceId: tx.workspaceId, connectionId: connection.id });
      if (search.trim() !== "") {
        query.andWhere("(c.name ILIKE :q OR c.email ILIKE :q OR c.contact_number ILIKE :q)", {
          q: likePattern(search),
        });
      }
      return query
        .orderBy("CASE c.status WHEN 'ACTIVE' THEN 0 ELSE 1 END")
        .addOrderBy("c.name")
        .addOrderBy("c.contact_id")
        .limit(first)
        .getMany();
    });
  }

  /**
   * Links the participant to a contact of the active organisation, or, with null, to none: then the next sync matches it anew. Invoices that
   * failed for the contact are queued. Throws NOT_FOUND, XERO_NOT_CONNECTED, and BAD_USER_INPUT for a contact that is archived or somebody
   * else's.
   */
  async link(viewer: Viewer, participantId: string, contactId: string | null): Promise<Participant> {
    if (contactId !== null) await this.lookFor(viewer, checkId(contactId, "xeroContactId"));
    try {
      return await this.linkIn(viewer, participantId, contactId);
    } catch (error) {
      if (!violates(error, "uq_contact_link_contact")) throw error;
      throw badInput({ field: "xeroContactId", reason: "has just been linked to another participant" });
    }
  }

  private async linkIn(viewer: Viewer, participantId: string, contactId: string | null): Promise<Participant> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const participant = await load(tx, Participant, participantId, {
        thing: "participant",
        field: "participantId",
        lock: true,
      });
      const connection = await findActiveConnection(tx);
      if (!connection) throw new AppError("XERO_NOT_CONNECTED", "Connect to Xero and choose an organisation first.");
      const key = { workspaceId: tx.workspaceId, connectionId: connection.id, participantId: participant.id };
      const before = await tx.manager.findOneBy(ContactLink, key);
      const chosen = contactId === null ? null : await loadFree(tx, connection, participant, contactId);
      if (before?.contactId === chosen?.contactId) return participant;
      await tx.manager.delete(ContactLink, key);
      if (chosen) {
        const link = {
          contactId: chosen.contactId,
          contactStatus: "ACTIVE" as const,
          sentHash: null,
          numberSent: null,
          suffixed: false,
          agreed: null,
        };
        await tx.manager.insert(ContactLink, { ...key, ...link, warnings: [] });
      }
      // What waits to be sent to the contact that it was is settled anew.
      if (before) {
        await tx.manager.update(
          SyncAttempt,
          {
            workspaceId: tx.workspaceId,
            connectionId: connection.id,
            outcome: "PENDING",
            batchId: IsNull(),
            contactId: before.contactId,
          },
          { contactId: null },
        );
      }
      await queueMended(tx, wrongContact, (query) => billedTo(query, [participant.id]));
      return participant;
    });
  }

  /** Reads what is new in Xero where the copy lacks the contact. */
  private async lookFor(viewer: Viewer, contactId: string): Promise<void> {
    const unknownTo = await this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const connection = await findActiveConnection(tx);
      if (!connection) return null;
      const key = { workspaceId: tx.workspaceId, connectionId: connection.id, contactId };
      return (await tx.manager.existsBy(XeroContact, key)) ? null : connection;
    });
    if (unknownTo) await this.refresh(unknownTo, 0);
  }

  /** Brings the copy up to date unless it is that fresh; where Xero can't be asked the copy stands. False: there is none. */
  private async refresh(connection: Connection, freshForMs: number): Promise<boolean> {
    const { workspaceId, id: connectionId } = connection;
    const { mirror, enabled } = await this.database.inWorkspace(workspaceId, async (tx) => ({
      mirror: await tx.manager.findOneBy(ContactMirror, { workspaceId, connectionId }),
      enabled: (await loadIntegration(tx)).enabled,
    }));
    const readAt = mirror?.readAt ?? null;
    if (readAt !== null && Date.now() - readAt.getTime() < freshForMs) return true;
    try {
      if (!enabled || connection.connectionStatus !== "CONNECTED") {
        throw new XeroFailure({
          kind: enabled ? "DISCONNECTED" : "SWITCHED_OFF",
          operation: "fetchContacts",
          notSent: true,
        });
      }
      await this.gateway.call(connection, (accounting) => this.mirrors.refresh(accounting, connection, "NOW"));
      return true;
    } catch (error) {
      if (!(error instanceof XeroFailure)) throw error;
      return readAt !== null;
    }
  }
}

/** The contact that the client named, if the participant may be linked to it. */
async function loadFree(
  tx: WorkspaceTransaction,
  { id: connectionId }: Connection,
  participant: Participant,
  contactId: string,
): Promise<XeroContact> {
  const key = { workspaceId: tx.workspaceId, connectionId, contactId: checkId(contactId, "xeroContactId") };
  const contact = await tx.manager.findOneBy(XeroContact, key);
  if (!contact) throw notFound("contact in the active organisation; look for it by xeroContacts");
  if (contact.status !== "ACTIVE") {
    throw badInput({ field: "xeroContactId", reason: `is ${contact.name}, which is archived in Xero` });
  }
  const link = await tx.manager.findOneBy(ContactLink, key);
  if (link && link.participantId !== participant.id) {
    throw badInput({
      field: "xeroContactId",
      reason: `is ${contact.name}, which another participant is linked to; unlink that one first`,
    });
  }
  return contact;
}
