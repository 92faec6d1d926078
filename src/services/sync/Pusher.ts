/**
 * Sends what is due to one organisation, so that every invoice is in Xero exactly once whatever dies when.
 *
 * A batch is claimed under a lease, its contacts are settled, its exact bytes and idempotency key are written down, and only then is it
 * sent, with no transaction open. Whoever finds a lease run out goes on from the batch's row. Nothing sent yet: it is dissolved. Sent, and
 * no answer came: the same bytes go out again under the same key while Xero knows it, for a look-up could overtake a write that is under
 * way, and a repeat waits for the first. Answered by a 5xx, or the key too old: Xero is asked what it has, and only what is provably absent
 * goes out under a new key. A 5xx is never repeated under its key: Xero says that it remembers errors, and if it did not, a write that it
 * had made before failing would be made twice.
 * Xero keeps a key six minutes from its first use (https://developer.xero.com/documentation/guides/idempotent-requests/idempotency); we
 * count five, less the time a call may take.
 */
import { type Database } from "../../database.js";
import { type SyncError } from "../../entities/SyncError.js";
import { type Logger } from "../../logger.js";
import { type XeroInvoiceAnswer } from "../../xero/answers.js";
import { type InvoicePayload, serializeInvoices } from "../../xero/payloads.js";
import { XeroFailure } from "../../xero/XeroFailure.js";
import { type CallOptions, type XeroGateway } from "../../xero/XeroGateway.js";
import { BatchBook, type ClaimedBatch, type OpenBatch } from "./BatchBook.js";
import { type Contacts } from "./Contacts.js";
import { rejected } from "./syncErrors.js";

export interface PusherOptions {
  appUrl: () => string;
  leaseMs: number;
  timeoutMs: number;
  logger: Logger;
}

const keyLifeMs = 300_000;

export class Pusher {
  private readonly book: BatchBook;

  constructor(
    database: Database,
    private readonly gateway: XeroGateway,
    private readonly contacts: Contacts,
    private readonly options: PusherOptions,
  ) {
    this.book = new BatchBook(database, options);
  }

  /** Sends all that is due to the organisation now; safe to run any number of times at once, on any number of processes. */
  async push(workspaceId: string, connectionId: string): Promise<void> {
    for (;;) {
      const open = await this.book.takeOver(workspaceId, connectionId);
      if (open) {
        await this.goOn(open);
        continue;
      }
      const claimed = await this.book.claim(workspaceId, connectionId);
      if (claimed === "NOTHING") return;
      if (claimed !== "ALL_REFUSED") await this.prepareAndSend(claimed);
    }
  }

  private async prepareAndSend(batch: ClaimedBatch): Promise<void> {
    const participants = new Map([...batch.prepared.values()].map(({ billed }) => [billed.id, billed]));
    let calls = 0;
    try {
      const settled = await this.contacts.settle(batch.connection, [...participants.values()], {
        count: (made) => (calls = made),
        ...this.manners(batch),
      });
      const ready = new Map<string, InvoicePayload>();
      const refused = new Map<string, SyncError>();
      for (const [attemptId, { billed, payload }] of batch.prepared) {
        const contact = settled.get(billed.id);
        if (contact && "contactId" in contact) ready.set(attemptId, { ...payload, contactId: contact.contactId });
        else if (contact) refused.set(attemptId, contact.error);
      }
      const body = serializeInvoices([...ready.values()]);
      const open = await this.book.writeDown(batch, calls, { body, ready: new Set(ready.keys()), refused, settled });
      if (open) await this.send(open);
    } catch (error) {
      if (!(error instanceof XeroFailure)) throw error;
      // Contacts only: no invoice was sent, so the attempts are free again, or failed where waiting would not help.
      await this.book.dissolve(batch, calls, error);
    }
  }

  /** Goes on with a batch whose holder fell silent, or whose time to be tried again has come. */
  private async goOn(batch: OpenBatch): Promise<void> {
    const mustLookUp = batch.serverErrors > 0 || batch.keyReused || this.keyTimeLeftMs(batch) <= 0;
    await (mustLookUp ? this.lookUp(batch) : this.send(batch));
  }

  /** A batch's lease bears a call and the wait before it. */
  private manners({ background }: { background: boolean }): Pick<CallOptions, "background" | "patienceMs"> {
    return { background, patienceMs: Math.min(10_000, this.options.timeoutMs / 2) };
  }

  private keyTimeLeftMs({ keyAgeMs, readAt }: OpenBatch): number {
    return keyLifeMs - this.options.timeoutMs - keyAgeMs - (performance.now() - readAt);
  }

  private async send(batch: OpenBatch): Promise<void> {
    let calls = 0;
    try {
      const outcomes = await this.gateway.call(
        batch.connection,
        (accounting) => accounting.putInvoices(batch.body, batch.idempotencyKey),
        {
          count: (made) => (calls = made),
          ...this.manners(batch),
          // Checked again right before the write: it may have waited for its place, or its process been paused.
          beforeSend: () => {
            if (this.keyTimeLeftMs(batch) > 0) return;
            throw new XeroFailure({ kind: "UNCERTAIN", operation: "putInvoices", problem: "key too old" });
          },
        },
      );
      const taken: XeroInvoiceAnswer[] = [];
      const refused = new Map<string, SyncError>();
      for (const outcome of outcomes) {
        // An answer to our own call that leaves out the address is still known by our number.
        const url =
          outcome.invoice.url ?? batch.members.find(({ invoice }) => invoice.number === outcome.invoice.reference)?.url;
        if (outcome.ok) taken.push({ ...outcome.invoice, url });
        else if (url !== undefined) refused.set(url, rejected(outcome.messages));
      }
      await this.book.settle(batch, calls, { outcome: "CREATED", taken, refused });
    } catch (error) {
      if (!(error instanceof XeroFailure)) throw error;
      await this.afterFailure(batch, error, calls);
    }
  }

  private async afterFailure(batch: OpenBatch, failure: XeroFailure, calls: number): Promise<void> {
    if (failure.mayHaveWritten || (batch.doubts > 0 && isDefiniteOnlyForThisCall(failure))) {
      await this.book.doubt(batch, calls, failure);
    } else if (failure.kind === "NOT_FOUND") {
      await this.dropUnknownContacts(batch, calls).catch(async (error: unknown) => {
        if (!(error instanceof XeroFailure)) throw error;
        await this.book.dissolve(batch, calls, error);
      });
    } else {
      await this.book.dissolve(batch, calls, failure);
    }
  }

  /** A 404 for the whole call means that some contact in it is unknown to Xero: it is found by one read, and the rest goes out again. */
  private async dropUnknownContacts(batch: OpenBatch, calls: number): Promise<void> {
    const contactIds = [...new Set(batch.members.map(({ contactId }) => contactId))];
    const known = new Set<string>();
    await this.gateway.call(
      batch.connection,
      async (accounting) => {
        for await (const page of accounting.fetchContacts({ ids: contactIds, includeArchived: true })) {
          for (const { contactId } of page) known.add(contactId);
        }
      },
      { count: (made) => (calls += made), ...this.manners(batch) },
    );
    await this.book.forgetContacts(
      batch,
      calls,
      contactIds.filter((id) => !known.has(id)),
    );
  }

  /** Asks Xero for every invoice of the batch by reference; ours is only what carries our own address of it. */
  private async lookUp(batch: OpenBatch): Promise<void> {
    let calls = 0;
    try {
      const found = await this.gateway.call(
        batch.connection,
        (accounting) => accounting.fetchInvoices({ references: batch.members.map(({ invoice }) => invoice.number) }),
        { count: (made) => (calls = made), ...this.manners(batch) },
      );
      await this.book.settle(batch, calls, { outcome: "ADOPTED", taken: found, refused: new Map<string, SyncError>() });
    } catch (error) {
      if (!(error instanceof XeroFailure)) throw error;
      await this.book.doubt(batch, calls, error);
    }
  }
}

/** A refusal of a repeat that says nothing of the send before it. */
function isDefiniteOnlyForThisCall(failure: XeroFailure): boolean {
  return failure.kind !== "REJECTED";
}
