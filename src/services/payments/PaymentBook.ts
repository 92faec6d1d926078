/**
 * The states of payments on their way to Xero, each step one transaction: as `BatchBook` for invoices, with the payments themselves as members.
 * A payment can't be changed in Xero and one too many costs money, so exactly what is sent is written down before, under a lease and a key, and
 * whoever finds the lease run out goes on from that.
 */
import { randomUUID } from "node:crypto";
import { Big } from "big.js";
import { In } from "typeorm";
import { v7 as uuidv7 } from "uuid";
import { type Database, type WorkspaceTransaction } from "../../database.js";
import { Account } from "../../entities/Account.js";
import { Connection } from "../../entities/Connection.js";
import { Invoice } from "../../entities/Invoice.js";
import { Payment } from "../../entities/Payment.js";
import { SyncBatch } from "../../entities/SyncBatch.js";
import { type SyncError } from "../../entities/SyncError.js";
import { enqueue } from "../../jobs/queue.js";
import { type XeroPaymentAnswer } from "../../xero/answers.js";
import { type PaymentPayload, serializePayments } from "../../xero/payloads.js";
import { type XeroFailure } from "../../xero/XeroFailure.js";
import { accountProblem } from "../accounts.js";
import { loadIntegration } from "../Integrations.js";
import { find } from "../loading.js";
import { isAnswer, openBatch, takeLease, type TakenBatch } from "../sync/batchRows.js";
import { backOffMs } from "../sync/outcomes.js";
import { syncError } from "../sync/syncErrors.js";
import { failedPayment, paymentInDoubt, paymentNeverArrives } from "./paymentErrors.js";
import { arrive, fail, noteStanding, passes, patch, putBack, waitAfter } from "./paymentStates.js";
import { isSendable, stopPushing } from "./pushQueue.js";

/** A batch of payments whose bytes are written down: it may have been sent. */
export interface OpenPayments extends TakenBatch {
  connection: Connection;
  /** `performance.now()` when its ages were read. */
  readAt: number;
  memberIds: string[];
}

/** What is known of one payment. */
export type PaymentResult = { payment: XeroPaymentAnswer } | { refused: SyncError };

const atOnce = 50;

/** After so many failures a payment goes alone, in case it is what Xero chokes on. */
const aloneAfter = 5;

export class PaymentBook {
  constructor(
    private readonly database: Database,
    private readonly leaseMs: number,
  ) {}

  /** The connection, while payments may go there. */
  async open(workspaceId: string, connectionId: string): Promise<Connection | null> {
    return this.database.inWorkspace(workspaceId, async (tx) => {
      const connection = await find(tx, Connection, connectionId);
      const { enabled } = await loadIntegration(tx);
      return enabled && connection?.connectionStatus === "CONNECTED" ? connection : null;
    });
  }

  /**
   * Claims payments that can go, up to one batch, and writes down exactly what is about to be sent; from this commit on it may have been. What is
   * known to fail is FAILED before any call; REFUSED where that was all. Null where nothing is left to send.
   */
  async claim({ workspaceId, id: connectionId }: Connection): Promise<OpenPayments | "REFUSED" | null> {
    const readAt = performance.now();
    return this.database.inWorkspace(workspaceId, async (tx) => {
      const connection = await find(tx, Connection, connectionId, { lock: "share" });
      const { enabled, pushPayments } = await loadIntegration(tx);
      if (!enabled || connection?.connectionStatus !== "CONNECTED") return null;
      if (!pushPayments) {
        // One that was under way when they were switched off, and came back.
        await stopPushing(tx);
        return null;
      }
      const due = await lockDue(tx, connectionId, "CREATE", atOnce);
      const alone = (due[0]?.pushFailures ?? 0) >= aloneAfter;
      const invoices = await invoicesOf(tx, due);
      const { paymentAccountId: accountId } = connection;
      const account = accountId && (await tx.manager.findOneBy(Account, { workspaceId, connectionId, accountId }));
      const payloads: PaymentPayload[] = [];
      for (const payment of alone ? due.slice(0, 1) : due.filter(({ pushFailures }) => pushFailures < aloneAfter)) {
        const invoice = invoices.get(payment.invoiceId);
        const problem = invoice && problemOf(payment, invoice, connection, account || null);
        if (problem) await fail(tx, payment, problem);
        else if (invoice?.xeroId != null && account) {
          payloads.push({
            invoiceId: invoice.xeroId,
            accountId: account.accountId,
            date: payment.paidOn,
            amount: payment.amount,
            reference: payment.id,
          });
        }
      }
      if (payloads.length === 0) return due.length > 0 ? "REFUSED" : null;
      const memberIds = payloads.map(({ reference }) => reference);
      const batch = await openBatch(
        tx,
        {
          id: uuidv7(),
          leaseId: randomUUID(),
          connectionId,
          kind: "PAYMENTS",
          method: "PUT",
          body: serializePayments(payloads),
        },
        this.leaseMs,
      );
      await tx.manager.update(
        Payment,
        { workspaceId, id: In(memberIds) },
        { pushBatchId: batch.id, syncStatus: "SYNCING", syncError: null },
      );
      return { batch, connection, readAt, keyAgeMs: 0, sentAgoMs: 0, memberIds };
    });
  }

  /** Takes over one batch whose lease has run out or whose time to be tried again has come. Null where there is none. */
  async takeOver({ workspaceId, id: connectionId }: Connection): Promise<OpenPayments | null> {
    // Before the ages are read, so that a pause in between makes the key older and never younger.
    const readAt = performance.now();
    return this.database.inWorkspace(workspaceId, async (tx) => {
      const connection = await find(tx, Connection, connectionId);
      if (connection?.connectionStatus !== "CONNECTED" || !(await loadIntegration(tx)).enabled) return null;
      const lease = { kind: "PAYMENTS", leaseId: randomUUID(), leaseMs: this.leaseMs } as const;
      const taken = await takeLease(tx, connectionId, lease);
      if (!taken) return null;
      const members = await membersOf(tx, taken.batch.id);
      if (members.length === 0) {
        // All of them came back by another way.
        await done(tx, taken);
        return null;
      }
      return { ...taken, connection, readAt, memberIds: members.map(({ id }) => id) };
    });
  }

  /** Notes that the batch is about to be sent once more. False where the lease is lost, and so it must not be. */
  async noteSend(open: OpenPayments): Promise<boolean> {
    const noted = await this.step(open, async (tx) => {
      await tx.manager.update(SyncBatch, { workspaceId: tx.workspaceId, id: open.batch.id }, { sentAt: () => "now()" });
      return true;
    });
    return noted ?? false;
  }

  /** Lets go of the batch until so many milliseconds have passed. */
  async postpone(open: OpenPayments, waitMs: number): Promise<void> {
    await this.step(open, (tx) => putOff(tx, open, waitMs, {}));
  }

  /**
   * Writes back what is known of each payment, by its id. One of which nothing is known stays in doubt after a send; after a look-up, which
   * proves that Xero does not have it, it goes out again under a new key.
   */
  async settle(
    open: OpenPayments,
    results: Map<string, PaymentResult>,
    { lookedUp }: { lookedUp: boolean },
  ): Promise<void> {
    await this.step(open, async (tx, members) => {
      let silent = 0;
      for (const payment of members) {
        const result = results.get(payment.id);
        if (result && "payment" in result) await arrive(tx, payment, open.connection.id, result.payment);
        else if (result) await fail(tx, payment, result.refused);
        else if (lookedUp) await putBack(tx, payment, { error: paymentNeverArrives, counts: true });
        else silent += 1;
      }
      if (silent === 0) await done(tx, open);
      // The same key would bring the same silence, so the next step is a look-up.
      else await this.doubtIn(tx, open, { kind: "KEY_REUSED", status: undefined, xeroMessages: [] });
    });
  }

  /** Notes that it is not known whether the batch was written; clients see UNCERTAIN until it is. */
  async doubt(open: OpenPayments, failure: XeroFailure): Promise<void> {
    await this.step(open, (tx) => this.doubtIn(tx, open, failure));
  }

  /** Ends a batch of which it is known that nothing was written: its payments go again, later, or failed where waiting can't help. */
  async dissolve(open: OpenPayments, failure: XeroFailure): Promise<void> {
    await this.step(open, async (tx, members) => {
      const refused = failure.kind === "REJECTED" || failure.kind === "NOT_FOUND";
      for (const payment of members) {
        // Of several Xero does not say which one it means: each is tried alone.
        if (refused && members.length > 1) {
          await putBack(tx, payment, { error: failedPayment(failure), counts: true, waitMs: 0, failures: aloneAfter });
        } else if (passes(failure)) await putBack(tx, payment, waitAfter(failure));
        else await fail(tx, payment, failedPayment(failure));
      }
      await done(tx, open);
    });
  }

  /** Claims one payment that is to be deleted in Xero; until the lease is over nobody else does. */
  async claimDelete({ workspaceId, id: connectionId }: Connection): Promise<Payment | null> {
    return this.database.inWorkspace(workspaceId, async (tx) => {
      const [payment] = await lockDue(tx, connectionId, "DELETE", 1);
      if (!payment) return null;
      await tx.manager.query(
        "UPDATE payment SET push_not_before = now() + $3 * interval '1 ms' WHERE workspace_id = $1 AND id = $2",
        [workspaceId, payment.id, this.leaseMs],
      );
      return payment;
    });
  }

  /** Writes back that the payment is deleted in Xero, or why it is not. */
  async settleDelete({ workspaceId, id }: Payment, failure: XeroFailure | null): Promise<void> {
    await this.database.inWorkspace(workspaceId, async (tx) => {
      const payment = await find(tx, Payment, id, { lock: true });
      if (payment?.pushAction !== "DELETE") return;
      if (failure && passes(failure)) await putBack(tx, payment, waitAfter(failure));
      else if (failure) await fail(tx, payment, failedPayment(failure));
      else {
        await patch(tx, payment, { pushAction: null, pushNotBefore: null, syncStatus: "SYNCED", syncError: null });
        tx.tally({ of: "payment", outcome: "DELETED" });
        await noteStanding(tx, id);
      }
    });
  }

  private async doubtIn(
    tx: WorkspaceTransaction,
    open: OpenPayments,
    failure: Pick<XeroFailure, "kind" | "status" | "xeroMessages">,
  ): Promise<void> {
    const { batch } = open;
    const doubts = batch.doubts + 1;
    await putOff(tx, open, backOffMs(doubts), {
      doubts,
      serverErrors: batch.serverErrors + (isAnswer(failure) ? 1 : 0),
      keyReused: batch.keyReused || failure.kind === "KEY_REUSED",
    });
    for (const payment of await membersOf(tx, batch.id)) {
      const syncError = paymentInDoubt(failure);
      await patch(tx, payment, { syncStatus: "UNCERTAIN", syncError });
      tx.tally({ of: "payment", outcome: "UNCERTAIN", code: syncError.code });
    }
  }

  /** One step of a batch that this process holds; null, and nothing done, where it no longer does. */
  private async step<T>(
    { batch: { id, leaseId }, connection }: OpenPayments,
    work: (tx: WorkspaceTransaction, members: Payment[]) => Promise<T>,
  ): Promise<T | null> {
    return this.database.inWorkspace(connection.workspaceId, async (tx) => {
      const where = { workspaceId: tx.workspaceId, id, leaseId, state: "SENT" as const };
      const held = await tx.manager.findOne(SyncBatch, { where, lock: { mode: "pessimistic_write" } });
      return held ? work(tx, await membersOf(tx, id)) : null;
    });
  }
}

/** Lets go of the batch until later. */
async function putOff(
  tx: WorkspaceTransaction,
  { batch, connection }: OpenPayments,
  waitMs: number,
  columns: Partial<Pick<SyncBatch, "doubts" | "serverErrors" | "keyReused">>,
): Promise<void> {
  const [row] = await tx.manager.query<{ at: Date }[]>("SELECT now() + $1 * interval '1 ms' AS at", [waitMs]);
  const key = { workspaceId: tx.workspaceId, id: batch.id };
  await tx.manager.update(SyncBatch, key, { ...columns, notBefore: row?.at ?? null, leaseUntil: () => "now()" });
  if (row) enqueue(tx, "pay", { workspaceId: tx.workspaceId, connectionId: connection.id }, { runAt: row.at });
}

async function done(tx: WorkspaceTransaction, { batch }: TakenBatch): Promise<void> {
  await tx.manager.update(SyncBatch, { workspaceId: tx.workspaceId, id: batch.id }, { state: "DONE", body: "" });
}

/** The batch's payments, under a lock; their invoices come first, as everywhere. */
async function membersOf(tx: WorkspaceTransaction, pushBatchId: string): Promise<Payment[]> {
  const { workspaceId } = tx;
  await tx.manager.query(
    `SELECT FROM invoice WHERE workspace_id = $1 AND id IN (SELECT invoice_id FROM payment WHERE workspace_id = $1 AND push_batch_id = $2)
     ORDER BY id FOR UPDATE`,
    [workspaceId, pushBatchId],
  );
  const order = { id: "ASC" } as const;
  return tx.manager.find(Payment, { where: { workspaceId, pushBatchId }, order, lock: { mode: "pessimistic_write" } });
}

/** What can go to the organisation now, the oldest first; locked, and what others hold is passed over. */
async function lockDue(
  tx: WorkspaceTransaction,
  connectionId: string,
  action: "CREATE" | "DELETE",
  limit: number,
): Promise<Payment[]> {
  const found = await tx.manager.query<{ id: string }[]>(
    `SELECT p.id FROM payment p JOIN invoice i ON i.workspace_id = p.workspace_id AND i.id = p.invoice_id
     WHERE p.workspace_id = $1 AND i.connection_id = $2 AND p.push_action = $3 AND ${isSendable}
       AND (p.push_not_before IS NULL OR p.push_not_before <= now())
     ORDER BY p.push_failures >= ${aloneAfter}, p.id LIMIT $4 FOR UPDATE OF p SKIP LOCKED`,
    [tx.workspaceId, connectionId, action, limit],
  );
  const ids = found.map(({ id }) => id);
  return tx.manager.find(Payment, {
    where: { workspaceId: tx.workspaceId, id: In(ids) },
    order: { pushFailures: "ASC", id: "ASC" },
  });
}

async function invoicesOf(tx: WorkspaceTransaction, payments: Payment[]): Promise<Map<string, Invoice>> {
  const ids = payments.map(({ invoiceId }) => invoiceId);
  const invoices = await tx.manager.findBy(Invoice, { workspaceId: tx.workspaceId, id: In(ids) });
  return new Map(invoices.map((invoice) => [invoice.id, invoice]));
}

/** What is known to keep the payment from Xero; null: nothing. */
function problemOf(
  payment: Payment,
  invoice: Invoice,
  connection: Connection,
  account: Account | null,
): SyncError | null {
  const accountIs = account ? accountProblem(account, "PAYMENT_ACCOUNTS") : "no payment account is chosen";
  if (accountIs !== null) {
    return syncError(
      "INVALID_MAPPING",
      `The payment can't go to Xero: ${accountIs}.`,
      "Choose a payment account in the settings; the payment is then queued by itself.",
    );
  }
  const lockedUntil = [connection.periodLockDate, connection.endOfYearLockDate]
    .filter((day) => day !== null)
    .sort()
    .at(-1);
  if (lockedUntil !== undefined && payment.paidOn <= lockedUntil) {
    return syncError(
      "PERIOD_LOCKED",
      `The payment counts for ${payment.paidOn}, and the books of ${connection.name} are closed up to ${lockedUntil}.`,
      "Have the lock date moved in Xero and refresh its data here; the payment is then queued by itself.",
    );
  }
  if (invoice.xeroStatus === "VOIDED" || invoice.xeroStatus === "DELETED") {
    return syncError(
      "VALIDATION_FAILED",
      `The invoice was ${invoice.xeroStatus.toLowerCase()} in Xero, and takes no payments there.`,
      "Take the payment back here, or record it on another invoice.",
    );
  }
  if (invoice.xeroStatus === "PAID" || new Big(payment.amount).gt(invoice.total)) {
    return syncError(
      "VALIDATION_FAILED",
      "The payment is more than what is due of the invoice in Xero.",
      "See in Xero what else was paid or credited; take this payment back here, or that one there and send the payment again (retryPayment).",
    );
  }
  return null;
}
