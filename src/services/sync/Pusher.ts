/**
 * Sends what is due to one organisation, so that every invoice is in Xero exactly once whatever dies when.
 *
 * Contacts are settled first, for many invoices at once. Then a batch is claimed under a lease, its exact bytes and idempotency key are
 * written down, and only then is it sent, with no transaction open. Whoever finds a lease run out goes on from the batch's row. Sent, and
 * no answer came: the same bytes go out again under the same key while Xero knows it, for a look-up could overtake a write that is under
 * way, and a repeat waits for the first. Answered by a 5xx, or the key too old: Xero is asked what it has, and only what is provably absent
 * goes out under a new key. A 5xx is never repeated under its key: Xero says that it remembers errors, and if it did not, a write that it
 * had made before failing would be made twice.
 * Xero keeps a key six minutes from its first use (https://developer.xero.com/documentation/guides/idempotent-requests/idempotency); we
 * count five, less the time a call may take.
 */
import { type Database } from "../../database.js";
import { type Connection } from "../../entities/Connection.js";
import { type SyncError } from "../../entities/SyncError.js";
import { type Logger } from "../../logger.js";
import { XeroFailure } from "../../xero/XeroFailure.js";
import { type CallOptions, type XeroGateway } from "../../xero/XeroGateway.js";
import { type OrganisationData } from "../OrganisationData.js";
import { BatchBook, type OpenBatch } from "./BatchBook.js";
import { type Next, wakeAt } from "./batchRows.js";
import { Contacts } from "./Contacts.js";
import { Doubles } from "./Doubles.js";
import { type Arrival, backOffMs, type Member } from "./outcomes.js";
import { isTransient, rejected } from "./syncErrors.js";

export interface PusherOptions {
  appUrl: () => string;
  leaseMs: number;
  timeoutMs: number;
  /** How long Xero is trusted to know an idempotency key. */
  keyLifeMs: number;
  logger: Logger;
}

/** Xero lets five calls of an organisation be in progress. */
const mostLanes = 5;

/** An organisation whose Xero fails is left alone for this long at most. */
const longestPauseMs = 60_000;

const dataSeenForMs = 60_000;

/** After so long an organisation lets those that wait for a worker go first. */
const sliceMs = 5_000;

/** How an organisation's work goes in this process. */
interface Going {
  lanes: number;
  /** Failures in a row that should pass, and until when Xero is left alone for them. */
  failures: number;
  pausedUntil: number;
  /** When it was last seen to that the copy of the organisation's data is no old one. */
  dataSeenAt: number;
}

export class Pusher {
  private readonly book: BatchBook;
  private readonly contacts: Contacts;
  private readonly doubles: Doubles;
  private readonly going = new Map<string, Going>();

  constructor(
    private readonly database: Database,
    private readonly gateway: XeroGateway,
    private readonly organisationData: OrganisationData,
    private readonly options: PusherOptions,
  ) {
    this.book = new BatchBook(database, options);
    this.contacts = new Contacts(database, gateway, options);
    this.doubles = new Doubles(database, gateway);
  }

  /**
   * Sends all that is due to the organisation now, with up to five calls at once when much is due; safe to run any number of times at once, on
   * any number of processes.
   */
  async push(workspaceId: string, connectionId: string): Promise<void> {
    const going = this.going.get(connectionId) ?? { lanes: 0, failures: 0, pausedUntil: 0, dataSeenAt: 0 };
    this.going.set(connectionId, going);
    const lanes: Promise<void>[] = [];
    const openLane = (): void => {
      if (going.lanes >= mostLanes) return;
      going.lanes += 1;
      const lane = this.run(workspaceId, connectionId, going, openLane).finally(() => (going.lanes -= 1));
      // One that fails while another is waited for is heard of below.
      lane.catch(() => undefined);
      lanes.push(lane);
    };
    openLane();
    try {
      // Those that are opened on the way are waited for too.
      for (const lane of lanes) await lane;
    } finally {
      await Promise.allSettled(lanes);
      if (going.lanes === 0 && going.failures === 0) this.going.delete(connectionId);
    }
  }

  private async run(workspaceId: string, connectionId: string, going: Going, openLane: () => void): Promise<void> {
    const until = Date.now() + sliceMs;
    for (;;) {
      if (Date.now() > until) return this.wakeIn(workspaceId, connectionId, 0);
      const pauseMs = going.pausedUntil - Date.now();
      if (pauseMs > 0) return this.wakeIn(workspaceId, connectionId, pauseMs);
      const found = await this.book.next(workspaceId, connectionId);
      if (!found) return;
      const failure =
        (await this.refreshData(found.connection, going)) ?? (await this.take(found.connection, found.next, openLane));
      if (failure?.kind === "RATE_LIMITED") {
        return this.wakeIn(workspaceId, connectionId, failure.retryAfterMs ?? 1_000);
      }
      if (failure && isTransient(failure)) {
        going.failures += 1;
        going.pausedUntil = Date.now() + Math.min(longestPauseMs, backOffMs(going.failures));
      } else {
        going.failures = 0;
      }
    }
  }

  /** Takes the one step; answers the failure of Xero that ended it, of which all that follows for records is done. */
  private async take(
    connection: Connection,
    { step, background }: Next,
    openLane: () => void,
  ): Promise<XeroFailure | null> {
    const { workspaceId, id } = connection;
    try {
      if (step === "SETTLE_CONTACTS") {
        return await this.contacts.settle(workspaceId, id, { background, onReady: openLane });
      }
      // The place within the limits comes first: what is claimed is then sent at once, and nothing is claimed that would have to wait.
      const place = await this.gateway.reserve(connection, { background });
      const options = { background, place };
      try {
        if (step === "RECHECK") return await this.doubles.recheck(connection, options);
        const batch =
          step === "SEND" ? await this.book.claim(workspaceId, id) : await this.book.takeOver(workspaceId, id);
        if (!batch) return null;
        openLane();
        return await (step === "SEND" ? this.send(batch, options) : this.goOn(batch, options));
      } finally {
        await this.gateway.cancel(place);
      }
    } catch (error) {
      if (!(error instanceof XeroFailure)) throw error;
      return error;
    }
  }

  /** Before anything is sent by the copy of the organisation's data. What keeps it from being read, and does not pass, keeps back nothing else. */
  private async refreshData(connection: Connection, going: Going): Promise<XeroFailure | null> {
    if (Date.now() - going.dataSeenAt < dataSeenForMs) return null;
    try {
      await this.organisationData.refreshWhereOld(connection);
    } catch (error) {
      if (!(error instanceof XeroFailure)) throw error;
      if (isTransient(error)) return error;
    }
    going.dataSeenAt = Date.now();
    return null;
  }

  private async wakeIn(workspaceId: string, connectionId: string, ms: number): Promise<void> {
    await this.database.inWorkspace(workspaceId, (tx) => {
      wakeAt(tx, connectionId, [new Date(Date.now() + ms)]);
      return Promise.resolve();
    });
  }

  /** Goes on with a batch whose holder fell silent, or whose time to be tried again has come. */
  private async goOn(batch: OpenBatch, options: CallOptions): Promise<XeroFailure | null> {
    const mustLookUp = batch.serverErrors > 0 || batch.keyReused || this.keyTimeLeftMs(batch) <= 0;
    if (!mustLookUp) return (await this.book.noteSend(batch)) ? this.send(batch, options) : null;
    // What was sent a moment ago and not answered may be under way still, and a look-up would not see it.
    const quietMs = this.options.timeoutMs * 2 - batch.sentAgoMs;
    if (batch.serverErrors === 0 && quietMs > 0) {
      await this.book.postpone(batch, quietMs);
      return null;
    }
    if (batch.method === "POST") {
      await this.book.repeat(batch);
      return null;
    }
    return this.lookUp(batch, options);
  }

  private keyTimeLeftMs({ keyAgeMs, readAt }: OpenBatch): number {
    return this.options.keyLifeMs - this.options.timeoutMs - keyAgeMs - (performance.now() - readAt);
  }

  private async send(batch: OpenBatch, options: CallOptions): Promise<XeroFailure | null> {
    let calls = 0;
    try {
      const outcomes = await this.gateway.call(
        batch.connection,
        (accounting) =>
          batch.method === "PUT"
            ? accounting.putInvoices(batch.body, batch.idempotencyKey)
            : accounting.postInvoices(batch.body, batch.idempotencyKey),
        {
          ...options,
          count: (made) => (calls = made),
          // Checked again right before the write: it may have waited for its place, or its process been paused.
          beforeSend: () => {
            if (this.keyTimeLeftMs(batch) > 0) return;
            throw new XeroFailure({ kind: "UNCERTAIN", operation: "putInvoices", problem: "key too old" });
          },
        },
      );
      const arrivals: Arrival[] = [];
      const refused = new Map<string, SyncError>();
      for (const outcome of outcomes) {
        const member = memberOf(batch, outcome.invoice);
        if (!member) continue;
        if (outcome.ok) {
          arrivals.push({ member, answer: outcome.invoice, outcome: batch.method === "PUT" ? "CREATED" : "UPDATED" });
        } else {
          refused.set(member.attempt.id, rejected(outcome.messages));
        }
      }
      // Who has a number that is taken may be the invoice itself, sent under a key that is forgotten by now.
      const taken = batch.members.filter(({ attempt }) => refused.get(attempt.id)?.code === "NUMBER_TAKEN");
      if (batch.method === "PUT" && taken.length > 0) {
        const found = await this.find(batch, taken, {
          background: options.background,
          count: (made) => (calls += made),
        });
        for (const arrival of found) refused.delete(arrival.member.attempt.id);
        arrivals.push(...found);
      }
      await this.book.settle(batch, calls, { arrivals, refused, lookedUp: false });
      return null;
    } catch (error) {
      if (!(error instanceof XeroFailure)) throw error;
      await this.afterFailure(batch, error, calls);
      return error;
    }
  }

  private async afterFailure(batch: OpenBatch, failure: XeroFailure, calls: number): Promise<void> {
    if (failure.mayHaveWritten || (batch.doubts > 0 && isDefiniteOnlyForThisCall(failure))) {
      await this.book.doubt(batch, calls, failure);
    } else if (failure.kind === "NOT_FOUND") {
      await this.dropUnknownContacts(batch, calls, failure).catch(async (error: unknown) => {
        if (!(error instanceof XeroFailure)) throw error;
        await this.book.dissolve(batch, calls, error);
      });
    } else {
      await this.book.dissolve(batch, calls, failure);
    }
  }

  /** A 404 for the whole call means that some contact in it is unknown to Xero: it is found by one read, and the rest goes out again. */
  private async dropUnknownContacts(batch: OpenBatch, calls: number, failure: XeroFailure): Promise<void> {
    const contactIds = [...new Set(batch.members.flatMap(({ written }) => written.contactId ?? []))];
    const known = new Set<string>();
    await this.gateway.call(
      batch.connection,
      async (accounting) => {
        for await (const page of accounting.fetchContacts({ ids: contactIds, includeArchived: true })) {
          for (const { contactId } of page) known.add(contactId);
        }
      },
      { count: (made) => (calls += made), background: batch.background },
    );
    const unknown = contactIds.filter((id) => !known.has(id));
    if (unknown.length > 0) await this.book.forgetContacts(batch, calls, unknown);
    else await this.book.dissolve(batch, calls, failure);
  }

  /** Asks Xero for every invoice of the batch, and adopts what is there. */
  private async lookUp(batch: OpenBatch, options: CallOptions): Promise<XeroFailure | null> {
    let calls = 0;
    try {
      const arrivals = await this.find(batch, batch.members, { ...options, count: (made) => (calls = made) });
      await this.book.settle(batch, calls, { arrivals, refused: new Map<string, SyncError>(), lookedUp: true });
      return null;
    } catch (error) {
      if (!(error instanceof XeroFailure)) throw error;
      await this.book.doubt(batch, calls, error);
      return error;
    }
  }

  /** Those of the members that Xero has, asked for by reference; ours is only what carries the address that it was sent with. */
  private async find(batch: OpenBatch, members: Member[], options: CallOptions): Promise<Arrival[]> {
    const references = members.map(({ invoice }) => invoice.number);
    const found = await this.gateway.call(
      batch.connection,
      (accounting) => accounting.fetchInvoices({ references }),
      options,
    );
    return found.flatMap((answer): Arrival[] => {
      const member = members.find(({ written }) => written.url !== undefined && written.url === answer.url);
      return member ? [{ member, answer, outcome: "ADOPTED" }] : [];
    });
  }
}

/** Which member an answer to our own call is about; one that leaves out the address is still known by its id or our number. */
function memberOf(
  { members }: OpenBatch,
  {
    url,
    invoiceId,
    reference,
  }: { url?: string | undefined; invoiceId?: string | undefined; reference?: string | undefined },
): Member | undefined {
  return (
    members.find(({ written }) => url !== undefined && written.url === url) ??
    members.find(({ written }) => invoiceId !== undefined && written.xeroId === invoiceId.toLowerCase()) ??
    members.find(({ invoice }) => invoice.number === reference)
  );
}

/** A refusal of a repeat that says nothing of the send before it. */
function isDefiniteOnlyForThisCall(failure: XeroFailure): boolean {
  return failure.kind !== "REJECTED";
}
