/**
 * Brings payments that were made on the platform to Xero, each exactly once, and takes back there what was taken back here. As `Pusher` does for
 * invoices: what was sent and not answered goes out again as it is, under the same key, while Xero knows it; after that, and after a 5xx, Xero
 * is asked what it has, and only what is provably absent goes out under a new key. Our payment's id is its reference in Xero, so a
 * payment that is found, also a deleted one, says which it is.
 */
import { type Database } from "../../database.js";
import { type Connection } from "../../entities/Connection.js";
import { type Payment } from "../../entities/Payment.js";
import { enqueue } from "../../jobs/queue.js";
import { type XeroPaymentAnswer } from "../../xero/answers.js";
import { XeroFailure } from "../../xero/XeroFailure.js";
import { type XeroGateway } from "../../xero/XeroGateway.js";
import { type OrganisationData } from "../OrganisationData.js";
import { isTransient } from "../sync/syncErrors.js";
import { type OpenPayments, PaymentBook, type PaymentResult } from "./PaymentBook.js";
import { refusedPayment } from "./paymentErrors.js";

export interface PaymentPusherOptions {
  leaseMs: number;
  timeoutMs: number;
  /** How long Xero is trusted to know an idempotency key. */
  keyLifeMs: number;
}

/** So much earlier than a payment was first sent is looked for it, for Xero's clock may be another. */
const clocksApartMs = 600_000;

const inBackground = { background: true };

export class PaymentPusher {
  private readonly book: PaymentBook;

  constructor(
    private readonly database: Database,
    private readonly gateway: XeroGateway,
    private readonly organisationData: OrganisationData,
    private readonly options: PaymentPusherOptions,
  ) {
    this.book = new PaymentBook(database, options.leaseMs);
  }

  /** Sends all that is due to the organisation now; safe to run any number of times at once, on any number of processes. */
  async push(workspaceId: string, connectionId: string): Promise<void> {
    for (;;) {
      const connection = await this.book.open(workspaceId, connectionId);
      if (!connection) return;
      const failure = await this.step(connection);
      if (failure === "NOTHING") return;
      // What is due once more has its own wake-up; this one is for what has not been tried yet.
      if (failure && isTransient(failure)) return this.wakeIn(connection, failure.retryAfterMs ?? 5_000);
    }
  }

  private async step(connection: Connection): Promise<XeroFailure | "NOTHING" | null> {
    const open = await this.book.takeOver(connection);
    if (open) return this.goOn(open);
    const ending = await this.book.claimDelete(connection);
    if (ending) return this.end(connection, ending);
    const stale = await this.refreshData(connection);
    if (stale) return stale;
    const claimed = await this.book.claim(connection);
    if (claimed === "REFUSED") return null;
    return claimed ? this.send(claimed) : "NOTHING";
  }

  /** So that nothing is sent into a period that was closed this morning. What keeps the copy from being read, and does not pass, keeps back nothing. */
  private async refreshData(connection: Connection): Promise<XeroFailure | null> {
    try {
      await this.organisationData.refreshWhereOld(connection);
    } catch (error) {
      if (!(error instanceof XeroFailure)) throw error;
      if (isTransient(error)) return error;
    }
    return null;
  }

  private async goOn(open: OpenPayments): Promise<XeroFailure | null> {
    const { batch } = open;
    const mustLookUp = batch.serverErrors > 0 || batch.keyReused || this.keyTimeLeftMs(open) <= 0;
    if (!mustLookUp) return (await this.book.noteSend(open)) ? this.send(open) : null;
    // What was sent a moment ago and not answered may be under way still, and a look-up would not see it.
    const quietMs = this.options.timeoutMs * 2 - open.sentAgoMs;
    if (batch.serverErrors === 0 && quietMs > 0) {
      await this.book.postpone(open, quietMs);
      return null;
    }
    return this.lookUp(open);
  }

  private keyTimeLeftMs({ keyAgeMs, readAt }: OpenPayments): number {
    return this.options.keyLifeMs - this.options.timeoutMs - keyAgeMs - (performance.now() - readAt);
  }

  private async send(open: OpenPayments): Promise<XeroFailure | null> {
    const { batch, connection } = open;
    try {
      const outcomes = await this.gateway.call(
        connection,
        (accounting) => accounting.putPayments(batch.body, batch.idempotencyKey),
        {
          ...inBackground,
          // Checked again right before the write: it may have waited for its place, or its process been paused.
          beforeSend: () => {
            if (this.keyTimeLeftMs(open) > 0) return;
            throw new XeroFailure({ kind: "UNCERTAIN", operation: "putPayments", problem: "key too old" });
          },
        },
      );
      const results = new Map<string, PaymentResult>();
      for (const outcome of outcomes) {
        const reference = (outcome.ok ? outcome.payment.reference : outcome.reference)?.toLowerCase() ?? "";
        // Of one alone it is clear which it is.
        const [only, ...others] = open.memberIds;
        const id = outcomes.length === 1 && others.length === 0 ? (only ?? "") : reference;
        results.set(id, outcome.ok ? { payment: outcome.payment } : { refused: refusedPayment(outcome.messages) });
      }
      await this.book.settle(open, results, { lookedUp: false });
      return null;
    } catch (error) {
      if (!(error instanceof XeroFailure)) throw error;
      // A refusal of a repeat says nothing of the send before it, unless it is Xero's word on the very request.
      const inDoubt = error.mayHaveWritten || (batch.doubts > 0 && error.kind !== "REJECTED");
      await (inDoubt ? this.book.doubt(open, error) : this.book.dissolve(open, error));
      return error;
    }
  }

  /** Asks Xero for every payment that changed since the batch was first sent, deleted ones too, and adopts those of the batch. */
  private async lookUp(open: OpenPayments): Promise<XeroFailure | null> {
    const { batch, connection, memberIds } = open;
    const modifiedSince = new Date(batch.keyUsedAt.getTime() - clocksApartMs);
    try {
      const found = await this.gateway.call(
        connection,
        async (accounting) => {
          const results = new Map<string, XeroPaymentAnswer>();
          for await (const page of accounting.fetchPayments({ modifiedSince })) {
            for (const payment of page) {
              const id = payment.reference?.toLowerCase() ?? "";
              // Of two the one that stands.
              if (memberIds.includes(id) && results.get(id)?.status !== "AUTHORISED") results.set(id, payment);
            }
          }
          return results;
        },
        inBackground,
      );
      const results = new Map([...found].map(([id, payment]) => [id, { payment }]));
      await this.book.settle(open, results, { lookedUp: true });
      return null;
    } catch (error) {
      if (!(error instanceof XeroFailure)) throw error;
      await this.book.doubt(open, error);
      return error;
    }
  }

  /** Deletes the payment in Xero; one that is deleted there already is as good. */
  private async end(connection: Connection, payment: Payment): Promise<XeroFailure | null> {
    const paymentId = payment.xeroPaymentId ?? "";
    let failure: XeroFailure | null = null;
    try {
      await this.gateway.call(connection, (accounting) => accounting.deletePayment(paymentId), inBackground);
    } catch (error) {
      if (!(error instanceof XeroFailure)) throw error;
      failure = (await this.isDeleted(connection, paymentId, error)) ? null : error;
    }
    await this.book.settleDelete(payment, failure);
    return failure;
  }

  private async isDeleted(connection: Connection, paymentId: string, { kind }: XeroFailure): Promise<boolean> {
    if (kind !== "REJECTED" && kind !== "NOT_FOUND") return false;
    try {
      const { status } = await this.gateway.call(
        connection,
        (accounting) => accounting.fetchPayment(paymentId),
        inBackground,
      );
      return status.toUpperCase() === "DELETED";
    } catch (error) {
      if (error instanceof XeroFailure) return error.kind === "NOT_FOUND";
      throw error;
    }
  }

  private async wakeIn({ workspaceId, id: connectionId }: Connection, ms: number): Promise<void> {
    await this.database.inWorkspace(workspaceId, (tx) => {
      enqueue(tx, "pay", { workspaceId, connectionId }, { runAt: new Date(Date.now() + ms) });
      return Promise.resolve();
    });
  }
}
