/**
 * The contact of everyone who is billed: found, created or brought up to date before the invoices go out, for as many invoices at once as wait.
 *
 * Participants are matched on the mirror of the organisation's contacts. The contact number is ours and unique in Xero among all contacts,
 * archived ones too, so a contact whose creation was answered by silence is found again by it, and two processes at once make one. A contact is
 * never written to by name: in Xero a POST with only a name overwrites whoever bears it.
 */
import { randomUUID } from "node:crypto";
import { In } from "typeorm";
import { type Database } from "../../database.js";
import { Connection } from "../../entities/Connection.js";
import { ContactLink } from "../../entities/ContactLink.js";
import { type ContactAction } from "../../entities/enums.js";
import { type Participant } from "../../entities/Participant.js";
import { SyncAttempt } from "../../entities/SyncAttempt.js";
import { type SyncError } from "../../entities/SyncError.js";
import { XeroContact } from "../../entities/XeroContact.js";
import { enqueue } from "../../jobs/queue.js";
import { type ElementOutcome, type XeroContactAnswer } from "../../xero/answers.js";
import { XeroFailure } from "../../xero/XeroFailure.js";
import { type XeroAccounting } from "../../xero/XeroAccounting.js";
import { type CallOptions, type XeroGateway } from "../../xero/XeroGateway.js";
import { loadIntegration } from "../Integrations.js";
import { find } from "../loading.js";
import { patchAll } from "../patching.js";
import { addCalls, applyChanges, type Change, refusal } from "./attempts.js";
import { dueAttempts, sizeAfter } from "./batchRows.js";
import { fieldsOf, hashOf, payloadOf } from "./contactFields.js";
import { ContactMirrors, findCandidates } from "./ContactMirrors.js";
import { matchContact } from "./matchContact.js";
import { prepareInvoice, readMaterials } from "./prepare.js";
import { putBackAfter } from "./putBack.js";
import { rejected } from "./syncErrors.js";

/** A participant's contact, or why there is none. */
type Settled = { contactId: string; action: ContactAction; warnings: string[] } | { error: SyncError };

/** So many invoices are looked at and so many contacts written at a time. */
const attemptsAtOnce = 250;
const contactsAtOnce = 50;

/** The attempts that wait for one participant's contact. */
interface Wanted {
  participant: Participant;
  link: ContactLink | undefined;
  attempts: SyncAttempt[];
}

interface Work {
  connection: Connection;
  leaseId: string;
  wanted: Wanted[];
  /** Whether some attempts have their contact already. */
  anyReady: boolean;
}

export class Contacts {
  private readonly mirrors: ContactMirrors;

  constructor(
    private readonly database: Database,
    private readonly gateway: XeroGateway,
    private readonly options: { appUrl: () => string; leaseMs: number },
  ) {
    this.mirrors = new ContactMirrors(database);
  }

  /**
   * Settles the contacts of the attempts that are most urgent, up to 50 contacts; what can't be sent is FAILED. One process at a time does so
   * for an organisation; `onReady` is told when there is something to send while this one still waits for Xero. Answers the failure of Xero that
   * ended it, of which all that follows for records is done.
   */
  async settle(
    workspaceId: string,
    connectionId: string,
    { onReady, ...options }: CallOptions & { onReady: () => void },
  ): Promise<XeroFailure | null> {
    const work = await this.begin(workspaceId, connectionId);
    if (!work) return null;
    if (work.anyReady) onReady();
    let calls = 0;
    const settled = new Map<string, Settled>();
    try {
      await this.gateway.call(work.connection, (accounting) => this.settleAll(accounting, work, settled), {
        ...options,
        count: (made) => (calls = made),
      });
    } catch (error) {
      if (!(error instanceof XeroFailure)) throw error;
      await this.end(work, { settled, calls, failure: error });
      return error;
    }
    await this.end(work, { settled, calls, failure: null });
    return null;
  }

  /** Takes the lease and finds out who needs calls to Xero; those whose contact is linked and unchanged are settled at once. */
  private async begin(workspaceId: string, connectionId: string): Promise<Work | null> {
    return this.database.inWorkspace(workspaceId, async (tx) => {
      const integration = await loadIntegration(tx);
      const connection = await find(tx, Connection, connectionId, { lock: "share" });
      if (!integration.enabled || connection?.connectionStatus !== "CONNECTED") return null;
      const leaseId = await this.mirrors.claim(tx, connectionId, this.options.leaseMs);
      if (leaseId === null) return null;
      const attempts = await dueAttempts(tx, connectionId, { which: "UNSETTLED", limit: attemptsAtOnce });
      const materials = await readMaterials(
        tx,
        { integration, connection, appUrl: this.options.appUrl() },
        attempts.map(({ invoiceId }) => invoiceId),
      );
      const refused: Change[] = [];
      const ready: { id: string; contactId: string; contactAction: ContactAction }[] = [];
      const wanted = new Map<string, Wanted>();
      for (const attempt of attempts) {
        const invoice = materials.invoices.get(attempt.invoiceId);
        if (!invoice) continue;
        const prepared = prepareInvoice(materials, invoice);
        if ("code" in prepared) {
          refused.push(refusal(attempt, prepared));
          continue;
        }
        const { billed } = prepared;
        const link = materials.links.get(billed.id);
        if (link?.sentHash === hashOf(billed)) {
          ready.push({ id: attempt.id, contactId: link.contactId, contactAction: "UNCHANGED" });
          continue;
        }
        const entry = wanted.get(billed.id) ?? { participant: billed, link, attempts: [] };
        entry.attempts.push(attempt);
        wanted.set(billed.id, entry);
      }
      await applyChanges(tx, refused);
      await patchAll(tx, SyncAttempt, ready);
      if (wanted.size > 0) {
        const first = [...wanted.values()].slice(0, sizeAfter(contactsAtOnce, attempts));
        return { connection, leaseId, wanted: first, anyReady: ready.length > 0 };
      }
      await this.mirrors.release(tx, connectionId, leaseId);
      return null;
    });
  }

  /** Keeps what was settled, also when a call failed on the way; what was not is tried again, or failed where waiting can't help. */
  private async end(
    { connection, leaseId, wanted }: Work,
    { settled, calls, failure }: { settled: Map<string, Settled>; calls: number; failure: XeroFailure | null },
  ): Promise<void> {
    const { workspaceId, id: connectionId } = connection;
    await this.database.inWorkspace(workspaceId, async (tx) => {
      const all = wanted.flatMap(({ attempts }) => attempts);
      // Whoever took over does it anew and finds what was made; the contacts that were linked stay.
      if (!(await this.mirrors.release(tx, connectionId, leaseId))) return addCalls(tx, all, calls);
      const ids = all.map(({ id }) => id);
      const open = new Map(
        (
          await tx.manager.find(SyncAttempt, {
            where: { workspaceId, id: In(ids), outcome: "PENDING" },
            lock: { mode: "pessimistic_write" },
          })
        ).map((attempt) => [attempt.id, attempt]),
      );
      const of = ({ attempts }: Wanted): SyncAttempt[] => attempts.flatMap(({ id }) => open.get(id) ?? []);
      const ready: { id: string; contactId: string; contactAction: ContactAction }[] = [];
      const refused: Change[] = [];
      const left: SyncAttempt[] = [];
      for (const each of wanted) {
        const result = settled.get(each.participant.id);
        if (!result) left.push(...of(each));
        else if ("error" in result) refused.push(...of(each).map((attempt) => refusal(attempt, result.error)));
        else {
          const { contactId, action: contactAction } = result;
          ready.push(...of(each).map(({ id }) => ({ id, contactId, contactAction })));
        }
      }
      await patchAll(tx, SyncAttempt, ready);
      await applyChanges(tx, refused);
      // No invoice was sent.
      if (failure) await putBackAfter(tx, connection, left, failure);
      await addCalls(tx, all, calls);
      // Others that waited for the lease may send now what is settled.
      enqueue(tx, "push", { workspaceId, connectionId });
    });
  }

  private async settleAll(accounting: XeroAccounting, work: Work, settled: Map<string, Settled>): Promise<void> {
    const { connection, wanted } = work;
    const changed = wanted.filter(({ link }) => link !== undefined);
    await this.update(accounting, connection, changed, settled);
    const unlinked = wanted.filter(({ participant, link }) => link === undefined && !settled.has(participant.id));
    if (unlinked.length === 0) return;
    await this.mirrors.refresh(
      accounting,
      connection,
      unlinked.flatMap(({ attempts }) => attempts.map(({ queuedAt }) => queuedAt)),
    );
    const missing = await this.linkFound(accounting, connection, unlinked, settled);
    await this.create(accounting, connection, missing, settled);
  }

  /** Links whoever has a contact already, and brings it up to date; answers those who have none. */
  private async linkFound(
    accounting: XeroAccounting,
    connection: Connection,
    unlinked: Wanted[],
    settled: Map<string, Settled>,
  ): Promise<Wanted[]> {
    const candidates = await this.database.inWorkspace(connection.workspaceId, (tx) =>
      findCandidates(
        tx,
        connection.id,
        unlinked.map(({ participant }) => participant),
      ),
    );
    const missing: Wanted[] = [];
    const differing: Wanted[] = [];
    for (const each of unlinked) {
      const { participant } = each;
      const match = matchContact(participant, candidates);
      if (match === null) missing.push(each);
      else if ("code" in match) settled.set(participant.id, { error: match });
      else {
        const same = hashOf({ ...participant, ...fieldsOf(match) }) === hashOf(participant);
        const link = await this.link(connection, participant, match.contactId, same ? hashOf(participant) : null, []);
        candidates.linked.set(match.contactId, participant.id);
        settled.set(participant.id, { contactId: match.contactId, action: "LINKED", warnings: [] });
        if (!same) differing.push({ ...each, link });
      }
    }
    const updated = new Map<string, Settled>();
    await this.update(accounting, connection, differing, updated);
    for (const [id, result] of updated) {
      if ("contactId" in result) settled.set(id, { ...result, action: "LINKED" });
    }
    return missing;
  }

  private async create(
    accounting: XeroAccounting,
    connection: Connection,
    missing: Wanted[],
    settled: Map<string, Settled>,
  ): Promise<void> {
    if (missing.length === 0) return;
    const outcomes = await accounting.createContacts(
      missing.map(({ participant }) => payloadOf(participant)),
      randomUUID(),
    );
    const refused: [Wanted, string[]][] = [];
    for (const [index, outcome] of outcomes.entries()) {
      const each = missing[index];
      if (!each) continue;
      const { participant } = each;
      if (!outcome.ok) {
        refused.push([each, outcome.messages]);
        continue;
      }
      const { answer, warnings } = outcome;
      await this.link(connection, participant, answer.contactId, hashOf(participant), warnings);
      settled.set(participant.id, { contactId: answer.contactId, action: "CREATED", warnings });
    }
    await this.mirrors.keep(
      connection,
      outcomes.flatMap((outcome) => (outcome.ok ? [outcome.answer] : [])),
    );
    if (refused.length === 0) return;
    // A refused number may be our own, taken by another process or by a call whose answer was lost, after the mirror was read.
    await this.mirrors.refresh(accounting, connection, "NOW");
    const still = await this.linkFound(
      accounting,
      connection,
      refused.map(([each]) => each),
      settled,
    );
    for (const [{ participant }, messages] of refused.filter(([each]) => still.includes(each))) {
      settled.set(participant.id, { error: rejected(messages, "CONTACT_REJECTED") });
    }
  }

  /** What Xero refuses of an update does not hold up the invoice: it is a warning, and is tried again when the participant changes. */
  private async update(
    accounting: XeroAccounting,
    connection: Connection,
    changed: Wanted[],
    settled: Map<string, Settled>,
  ): Promise<void> {
    const linked = changed.flatMap(({ participant, link }) => (link ? [{ participant, link }] : []));
    if (linked.length === 0) return;
    let outcomes: ElementOutcome<XeroContactAnswer>[];
    try {
      outcomes = await accounting.updateContacts(
        linked.map(({ participant, link }) => ({ ...payloadOf(participant), contactId: link.contactId })),
        randomUUID(),
      );
    } catch (error) {
      if (!(error instanceof XeroFailure) || error.kind !== "NOT_FOUND") throw error;
      await this.updateKnown(accounting, connection, changed, settled, error);
      return;
    }
    for (const [index, outcome] of outcomes.entries()) {
      const { participant, link } = linked[index] ?? {};
      if (!participant || !link) continue;
      const warnings = outcome.ok
        ? outcome.warnings
        : outcome.messages.map((message) => `The contact was not updated: ${message}`);
      await this.link(connection, participant, link.contactId, hashOf(participant), warnings);
      settled.set(participant.id, {
        contactId: link.contactId,
        action: outcome.ok ? "UPDATED" : "UNCHANGED",
        warnings,
      });
    }
    await this.mirrors.keep(
      connection,
      outcomes.flatMap((outcome) => (outcome.ok ? [outcome.answer] : [])),
    );
  }

  /** One contact that Xero does not know makes it refuse them all: that one is unlinked and looked for anew, the others are updated. */
  private async updateKnown(
    accounting: XeroAccounting,
    connection: Connection,
    changed: Wanted[],
    settled: Map<string, Settled>,
    refusal: XeroFailure,
  ): Promise<void> {
    const ids = changed.flatMap(({ link }) => link?.contactId ?? []);
    const known = new Set<string>();
    for await (const page of accounting.fetchContacts({ ids, includeArchived: true })) {
      for (const { contactId } of page) known.add(contactId);
    }
    const gone = changed.filter(({ link }) => !known.has(link?.contactId ?? ""));
    if (gone.length === 0) throw refusal;
    const { workspaceId, id: connectionId } = connection;
    await this.database.inWorkspace(workspaceId, async (tx) => {
      const key = { workspaceId, connectionId, contactId: In(gone.map(({ link }) => link?.contactId ?? "")) };
      await tx.manager.delete(ContactLink, key);
      await tx.manager.delete(XeroContact, key);
    });
    for (const each of gone) each.link = undefined;
    await this.update(
      accounting,
      connection,
      changed.filter(({ link }) => link !== undefined),
      settled,
    );
  }

  private async link(
    { workspaceId, id: connectionId }: Connection,
    { id: participantId }: Participant,
    contactId: string,
    sentHash: string | null,
    warnings: string[],
  ): Promise<ContactLink> {
    const link = { workspaceId, connectionId, participantId, contactId, sentHash, warnings };
    const row = { ...link, contactStatus: "ACTIVE" as const };
    await this.database.inWorkspace(workspaceId, (tx) =>
      tx.manager.upsert(ContactLink, row, ["workspaceId", "connectionId", "participantId"]),
    );
    return row;
  }
}
