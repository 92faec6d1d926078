/**
 * The contact of everyone who is billed, settled before the invoices go out, for as many invoices at once as wait: who needs calls to Xero, and
 * what becomes of the attempts. How a contact is found or made is the settlement's.
 */
import { In } from "typeorm";
import { type Database } from "../../database.js";
import { Connection } from "../../entities/Connection.js";
import { type ContactAction } from "../../entities/enums.js";
import { SyncAttempt } from "../../entities/SyncAttempt.js";
import { enqueue } from "../../jobs/queue.js";
import { XeroFailure } from "../../xero/XeroFailure.js";
import { type CallOptions, type XeroGateway } from "../../xero/XeroGateway.js";
import { loadIntegration } from "../Integrations.js";
import { find } from "../loading.js";
import { patchAll } from "../patching.js";
import { addCalls, applyChanges, type Change, refusal } from "./attempts.js";
import { dueAttempts, sizeAfter } from "./batchRows.js";
import { noteBrokenMappings, noteMendedMappings } from "./brokenMappings.js";
import { hashOf } from "./contactFields.js";
import { ContactMirrors } from "./ContactMirrors.js";
import { ContactSettlement, type Settled, type Wanted } from "./ContactSettlement.js";
import { prepareInvoice, readMaterials } from "./prepare.js";
import { putBackAfter } from "./putBack.js";

/** So many invoices are looked at and so many contacts written at a time. */
const attemptsAtOnce = 250;
const contactsAtOnce = 50;

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
    let settled = new Map<string, Settled>();
    try {
      await this.gateway.call(
        work.connection,
        (accounting) => {
          const settlement = new ContactSettlement(this.database, this.mirrors, accounting, work.connection);
          settled = settlement.settled;
          return settlement.settle(work.wanted);
        },
        { ...options, count: (made) => (calls = made) },
      );
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
        const known = materials.links.get(billed.id);
        const link = known?.contactStatus === "ACTIVE" ? known : undefined;
        if (link?.sentHash === hashOf(billed)) {
          ready.push({ id: attempt.id, contactId: link.contactId, contactAction: "UNCHANGED" });
          continue;
        }
        const former = link ? undefined : known;
        const entry = wanted.get(billed.id) ?? { participant: billed, link, former, attempts: [] };
        entry.attempts.push(attempt);
        wanted.set(billed.id, entry);
      }
      await applyChanges(tx, refused);
      await noteBrokenMappings(tx, refused);
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
      await noteMendedMappings(tx);
      // No invoice was sent.
      if (failure) await putBackAfter(tx, connection, left, failure);
      await addCalls(tx, all, calls);
      // Others that waited for the lease may send now what is settled.
      enqueue(tx, "push", { workspaceId, connectionId });
    });
  }
}
