/**
 * The calls by which some participants get their contacts in one organisation: linked ones are brought up to date, others are matched on the
 * mirror of the organisation's contacts, and who is not there is created.
 *
 * The contact number is ours and unique in Xero among all contacts, archived ones too, so a contact whose creation was answered by silence is
 * found again by it, and two processes at once make one. A contact is never written to by name: in Xero a POST with only a name overwrites
 * whoever bears it.
 */
import { randomUUID } from "node:crypto";
import { In } from "typeorm";
import { type Database, violates } from "../../database.js";
import { type Connection } from "../../entities/Connection.js";
import { ContactLink } from "../../entities/ContactLink.js";
import { type ContactAction } from "../../entities/enums.js";
import { type Participant } from "../../entities/Participant.js";
import { type SyncAttempt } from "../../entities/SyncAttempt.js";
import { type SyncError } from "../../entities/SyncError.js";
import { XeroContact } from "../../entities/XeroContact.js";
import { type ElementOutcome, type XeroContactAnswer } from "../../xero/answers.js";
import { type XeroAccounting } from "../../xero/XeroAccounting.js";
import { XeroFailure } from "../../xero/XeroFailure.js";
import { detailsOf } from "../contacts/importedDetails.js";
import { carriesAll, comparable, hashOf, isForeignNumber, payloadOf } from "./contactFields.js";
import { type ContactMirrors, findCandidates, readObstacles } from "./ContactMirrors.js";
import { isNameTaken, matchContact } from "./matchContact.js";
import { rejected } from "./syncErrors.js";

/** A participant's contact, or why there is none. */
export type Settled = { contactId: string; action: ContactAction; warnings: string[] } | { error: SyncError };

/** The attempts that wait for one participant's contact. */
export interface Wanted {
  participant: Participant;
  /** Its contact, while that is active as far as is known. */
  link: ContactLink | undefined;
  /** The link to the contact that it had, which is archived; its warnings are Xero's words on that. */
  former: ContactLink | undefined;
  attempts: SyncAttempt[];
}

/** Who has no contact yet, and whether somebody else has the name in Xero. */
interface Missing {
  each: Wanted;
  suffixed: boolean;
}

export class ContactSettlement {
  /** What has been settled so far, also when a call failed on the way. */
  readonly settled = new Map<string, Settled>();

  constructor(
    private readonly database: Database,
    private readonly mirrors: ContactMirrors,
    private readonly accounting: XeroAccounting,
    private readonly connection: Connection,
  ) {}

  /** Throws XeroFailure. */
  async settle(wanted: Wanted[]): Promise<void> {
    await this.update(wanted.filter(({ link }) => link !== undefined));
    const unlinked = wanted.filter(({ participant, link }) => link === undefined && !this.settled.has(participant.id));
    if (unlinked.length === 0) return;
    const isAnyArchived = unlinked.some(({ former }) => former !== undefined);
    const presses = unlinked.flatMap(({ attempts }) => attempts.map(({ queuedAt }) => queuedAt));
    await this.mirrors.refresh(this.accounting, this.connection, isAnyArchived ? "NOW" : presses);
    await this.create(await this.linkFound(unlinked));
  }

  /** Links whoever has a contact already, and brings it up to date; answers those who have none. */
  private async linkFound(unlinked: Wanted[]): Promise<Missing[]> {
    const candidates = await this.database.inWorkspace(this.connection.workspaceId, (tx) =>
      findCandidates(
        tx,
        this.connection.id,
        unlinked.map(({ participant }) => participant),
        unlinked.flatMap(({ former }) => former?.contactId ?? []),
      ),
    );
    const missing: Missing[] = [];
    const differing: Wanted[] = [];
    const names = new Set<string>();
    for (const each of unlinked) {
      const { participant, former } = each;
      const match = matchContact(participant, candidates, former?.contactId);
      if (match === null) {
        const name = comparable(participant.name);
        missing.push({ each, suffixed: names.has(name) || isNameTaken(participant.name, candidates) });
        names.add(name);
      } else if ("code" in match) {
        const xeroMessages = match.code === "CONTACT_ARCHIVED" ? (former?.warnings ?? []) : [];
        this.settled.set(participant.id, { error: { ...match, xeroMessages } });
      } else {
        const same = carriesAll(participant, match);
        const suffixed = comparable(match.name) !== comparable(participant.name) && same;
        const link = await this.link(each, match.contactId, {
          sentHash: same ? hashOf(participant) : null,
          suffixed,
          numberSent: isForeignNumber(participant, match, null) ? null : match.contactNumber,
          agreed: same,
        });
        if (!link) continue;
        candidates.linked.set(match.contactId, participant.id);
        this.settled.set(participant.id, { contactId: match.contactId, action: "LINKED", warnings: [] });
        if (!same) differing.push({ ...each, link });
      }
    }
    await this.update(differing, "LINKED");
    return missing;
  }

  private async create(missing: Missing[], again = false): Promise<void> {
    if (missing.length === 0) return;
    const outcomes = await this.accounting.createContacts(
      missing.map(({ each, suffixed }) =>
        payloadOf(each.participant, { suffixed, foreignNumber: false, agreed: null }),
      ),
      randomUUID(),
    );
    const refused = new Map<Wanted, string[]>();
    for (const [index, outcome] of outcomes.entries()) {
      const { each, suffixed } = missing[index] ?? {};
      if (!each) continue;
      const { participant } = each;
      if (!outcome.ok) {
        refused.set(each, outcome.messages);
        continue;
      }
      const { answer, warnings } = outcome;
      const numberSent = participant.contactNumber;
      const sent = { sentHash: hashOf(participant), suffixed: suffixed ?? false, numberSent, warnings, agreed: true };
      if (!(await this.link(each, answer.contactId, sent))) continue;
      this.settled.set(participant.id, { contactId: answer.contactId, action: "CREATED", warnings });
    }
    await this.keep(outcomes);
    if (refused.size === 0) return;
    // A refused number may be our own, taken by another process or by a call whose answer was lost, after the mirror was read; and a name may
    // have been given to somebody else since.
    await this.mirrors.refresh(this.accounting, this.connection, "NOW");
    const still = await this.linkFound([...refused.keys()]);
    const sentWith = new Map(missing.map(({ each, suffixed }) => [each, suffixed]));
    const renamed = again ? [] : still.filter(({ each, suffixed }) => suffixed && sentWith.get(each) === false);
    for (const { each } of still.filter((one) => !renamed.includes(one))) {
      this.settled.set(each.participant.id, { error: rejected(refused.get(each) ?? [], "CONTACT_REJECTED") });
    }
    await this.create(renamed, true);
  }

  /** What Xero refuses of an update does not hold up the invoice: it is a warning, and is tried again when the participant changes. */
  private async update(changed: Wanted[], action?: "LINKED"): Promise<void> {
    const linked = changed.flatMap((each) =>
      each.link ? [{ each, participant: each.participant, link: each.link }] : [],
    );
    if (linked.length === 0) return;
    const obstacles = await this.database.inWorkspace(this.connection.workspaceId, (tx) =>
      readObstacles(tx, this.connection.id, linked),
    );
    const updates = linked.map((one) => {
      const { isNameTaken: nameTaken, isNumberTaken } = obstacles(one);
      return {
        ...one,
        suffixed: one.link.suffixed || nameTaken,
        foreignNumber: isNumberTaken,
        agreed: one.link.agreed,
      };
    });
    let outcomes: ElementOutcome<XeroContactAnswer>[];
    try {
      outcomes = await this.accounting.updateContacts(
        updates.map(({ participant, link, suffixed, foreignNumber, agreed }) => ({
          ...payloadOf(participant, { suffixed, foreignNumber, agreed }),
          contactId: link.contactId,
        })),
        randomUUID(),
      );
    } catch (error) {
      if (!(error instanceof XeroFailure) || error.kind !== "NOT_FOUND") throw error;
      await this.updateKnown(changed, error, action);
      return;
    }
    for (const [index, outcome] of outcomes.entries()) {
      const update = updates[index];
      if (!update) continue;
      const { each, participant, link, suffixed, foreignNumber } = update;
      const warnings = outcome.ok
        ? outcome.warnings
        : outcome.messages.map((message) => `The contact was not updated: ${message}`);
      const numberSent = outcome.ok && !foreignNumber ? participant.contactNumber : link.numberSent;
      const sent = { sentHash: hashOf(participant), suffixed, numberSent, warnings, agreed: outcome.ok };
      if (!(await this.link(each, link.contactId, sent))) continue;
      this.settled.set(participant.id, {
        contactId: link.contactId,
        action: action ?? (outcome.ok ? "UPDATED" : "UNCHANGED"),
        warnings,
      });
    }
    await this.keep(outcomes);
  }

  /** One contact that Xero does not know makes it refuse them all: that one is unlinked and looked for anew, the others are updated. */
  private async updateKnown(changed: Wanted[], refusal: XeroFailure, action?: "LINKED"): Promise<void> {
    const ids = changed.flatMap(({ link }) => link?.contactId ?? []);
    const known = new Set<string>();
    for await (const page of this.accounting.fetchContacts({ ids, includeArchived: true })) {
      for (const { contactId } of page) known.add(contactId);
    }
    const gone = changed.filter(({ link }) => !known.has(link?.contactId ?? ""));
    if (gone.length === 0) throw refusal;
    const { workspaceId, id: connectionId } = this.connection;
    await this.database.inWorkspace(workspaceId, async (tx) => {
      const key = { workspaceId, connectionId, contactId: In(gone.map(({ link }) => link?.contactId ?? "")) };
      await tx.manager.delete(ContactLink, key);
      await tx.manager.delete(XeroContact, key);
    });
    for (const each of gone) {
      each.link = undefined;
      this.settled.delete(each.participant.id);
    }
    await this.update(
      changed.filter(({ link }) => link !== undefined),
      action,
    );
  }

  private async keep(outcomes: ElementOutcome<XeroContactAnswer>[]): Promise<void> {
    await this.mirrors.keep(
      this.connection,
      outcomes.flatMap((outcome) => (outcome.ok ? [outcome.answer] : [])),
    );
  }

  /** Links the participant, unless somebody has linked it or the contact otherwise meanwhile: then null, and it is settled anew by that. */
  private async link(
    { participant, link, former }: Wanted,
    contactId: string,
    {
      agreed,
      ...told
    }: Pick<ContactLink, "sentHash" | "suffixed" | "numberSent"> & { agreed: boolean; warnings?: string[] },
  ): Promise<ContactLink | null> {
    const { workspaceId, id: connectionId } = this.connection;
    const key = { workspaceId, connectionId, participantId: participant.id };
    const known = link ?? former;
    const before = known?.contactId === contactId ? known.agreed : null;
    const row: ContactLink = {
      ...key,
      contactId,
      warnings: [],
      ...told,
      contactStatus: "ACTIVE",
      agreed: agreed ? detailsOf(participant) : before,
    };
    try {
      const isKept = await this.database.inWorkspace(workspaceId, async (tx) => {
        if (!known) {
          const made = await tx.manager
            .createQueryBuilder()
            .insert()
            .into(ContactLink)
            .values(row)
            .orIgnore()
            .returning("contact_id")
            .execute();
          return (made.raw as unknown[]).length > 0;
        }
        const { affected } = await tx.manager.update(ContactLink, { ...key, contactId: known.contactId }, row);
        return affected === 1;
      });
      return isKept ? row : null;
    } catch (error) {
      if (violates(error, "uq_contact_link_contact")) return null;
      throw error;
    }
  }
}
