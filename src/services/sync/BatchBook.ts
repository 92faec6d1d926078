/**
 * The book of batches: every state a batch goes through, each step one transaction. Leases are compared with PostgreSQL's clock only, and
 * every step but a claim first proves that the lease is still its own; a holder that lost it changes nothing, since whoever took over
 * sends the same bytes under the same key and gets the same answer.
 */
import { randomUUID } from "node:crypto";
import { In } from "typeorm";
import { v7 as uuidv7 } from "uuid";
import { type Database, type WorkspaceTransaction } from "../../database.js";
import { Connection } from "../../entities/Connection.js";
import { ContactLink } from "../../entities/ContactLink.js";
import { Invoice } from "../../entities/Invoice.js";
import { SyncAttempt } from "../../entities/SyncAttempt.js";
import { type BatchState, SyncBatch } from "../../entities/SyncBatch.js";
import { type SyncError } from "../../entities/SyncError.js";
import { type XeroInvoiceAnswer } from "../../xero/answers.js";
import { type XeroFailure } from "../../xero/XeroFailure.js";
import { loadIntegration } from "../Integrations.js";
import { find, groupBy } from "../loading.js";
import { addCalls, applyChanges, type Change, refusal } from "./attempts.js";
import { type Settled } from "./Contacts.js";
import {
  attemptsOf,
  databaseNow,
  isOutdated,
  type BatchRow,
  sentIn,
  dueAttempts,
  openBatch,
  release,
  requeue,
  takeLease,
  wakeAt,
} from "./batchRows.js";
import { adopted, backOffMs, requeueEvents } from "./outcomes.js";
import { type Prepared, prepareInvoice, readMaterials } from "./prepare.js";
import {
  ambiguous,
  failed,
  isTransient,
  lostConnection,
  neverArrives,
  outcomeUnknown,
  unknownContact,
} from "./syncErrors.js";

/** A batch whose contacts are still to be settled: nothing was sent. */
export interface ClaimedBatch {
  id: string;
  leaseId: string;
  connection: Connection;
  /** By attempt. */
  prepared: Map<string, Prepared>;
  /** Nobody waits for any of it. */
  background: boolean;
}

export interface Member {
  attempt: SyncAttempt;
  invoice: Invoice;
  /** The address of the invoice in the body that was written down, and its contact there. */
  url: string;
  contactId: string;
}

/** A batch whose bytes are written down: it may have been sent. */
export interface OpenBatch {
  id: string;
  leaseId: string;
  connection: Connection;
  body: string;
  idempotencyKey: string;
  /** How long ago the key was first about to be used, by PostgreSQL's clock, when the batch was read. */
  keyAgeMs: number;
  /** `performance.now()` at that moment. */
  readAt: number;
  doubts: number;
  serverErrors: number;
  keyReused: boolean;
  members: Member[];
  /** Nobody waits for any of it. */
  background: boolean;
}

const unsent: BatchState[] = ["PREPARING"];
const batchStates: BatchState[] = ["PREPARING", "SENT"];

/** Xero takes 3.5 MB a call. */
const batchBytes = 3_000_000;

/** After so many failures that should have passed, the attempt is over. */
const mostTransientFailures = 8;

export class BatchBook {
  constructor(
    private readonly database: Database,
    private readonly options: { appUrl: () => string; leaseMs: number },
  ) {}

  /**
   * Claims what is due, up to one batch, and finds out what can be sent of it; what can't is FAILED at once. Answers "NOTHING" where nothing
   * is due, "ALL_REFUSED" where nothing of what was due can be sent.
   */
  async claim(workspaceId: string, connectionId: string): Promise<ClaimedBatch | "NOTHING" | "ALL_REFUSED"> {
    return this.database.inWorkspace(workspaceId, async (tx) => {
      const integration = await loadIntegration(tx);
      // Held against a reconnect, which must find FAILED already what is refused here for want of the link.
      const connection = await find(tx, Connection, connectionId, { lock: "share" });
      if (!integration.enabled || !connection) return "NOTHING";
      const due = await dueAttempts(tx, connectionId);
      if (due.length === 0) return "NOTHING";
      if (connection.connectionStatus !== "CONNECTED") {
        await applyChanges(
          tx,
          due.map((attempt) => refusal(attempt, lostConnection(connection))),
        );
        return "ALL_REFUSED";
      }
      const materials = await readMaterials(
        tx,
        { integration, connection, appUrl: this.options.appUrl() },
        due.map(({ invoiceId }) => invoiceId),
      );
      const prepared = new Map<string, Prepared>();
      const changes: Change[] = [];
      const id = uuidv7();
      let bytes = 0;
      const now = new Date();
      for (const attempt of due) {
        const invoice = materials.invoices.get(attempt.invoiceId);
        if (!invoice) continue;
        const result = prepareInvoice(materials, invoice);
        if ("code" in result) {
          changes.push(refusal(attempt, result));
          continue;
        }
        bytes += JSON.stringify(result.payload).length;
        if (bytes > batchBytes && prepared.size > 0) break;
        prepared.set(attempt.id, result);
        changes.push({
          attempt,
          outcome: "PENDING",
          syncStatus: "SYNCING",
          also: { batchId: id, startedAt: attempt.startedAt ?? now },
        });
      }
      const leaseId = randomUUID();
      if (prepared.size > 0) await openBatch(tx, { id, leaseId, connectionId, leaseMs: this.options.leaseMs });
      await applyChanges(tx, changes);
      const background = due.every(isBackground);
      return prepared.size > 0 ? { id, leaseId, connection, prepared, background } : "ALL_REFUSED";
    });
  }

  /**
   * Takes over one batch whose lease has run out or whose time to be tried again has come; one that was never sent is dissolved on the way,
   * whether the link is up or not. Null where there is none, or the link is down.
   */
  async takeOver(workspaceId: string, connectionId: string): Promise<OpenBatch | null> {
    // Before the age is read, so that a pause in between makes the key older and never younger.
    const readAt = performance.now();
    return this.database.inWorkspace(workspaceId, async (tx) => {
      const connection = await find(tx, Connection, connectionId);
      if (!connection) return null;
      const up = connection.connectionStatus === "CONNECTED" && (await loadIntegration(tx)).enabled;
      for (;;) {
        const lease = { leaseId: randomUUID(), leaseMs: this.options.leaseMs, states: up ? batchStates : unsent };
        const batch = await takeLease(tx, connectionId, lease);
        if (!batch) return null;
        if (batch.state === "SENT") return readOpen(tx, batch, connection, readAt);
        await requeue(tx, batch.id);
      }
    });
  }

  /**
   * Writes down exactly what is about to be sent; from this commit on it may have been. Null where the lease is lost, the switch was turned
   * off meanwhile, or nothing is left to send.
   */
  async writeDown(
    batch: ClaimedBatch,
    calls: number,
    given: { body: string; ready: Set<string>; refused: Map<string, SyncError>; settled: Map<string, Settled> },
  ): Promise<OpenBatch | null> {
    const readAt = performance.now();
    return this.step(batch, calls, async (tx, row, attempts) => {
      await applyChanges(
        tx,
        attempts.flatMap((attempt) => {
          const error = given.refused.get(attempt.id);
          return error ? [refusal(attempt, error)] : [];
        }),
      );
      if (given.ready.size === 0 || !(await loadIntegration(tx)).enabled) {
        await requeue(tx, batch.id);
        return null;
      }
      for (const { id, invoiceId } of attempts.filter((attempt) => given.ready.has(attempt.id))) {
        const contact = given.settled.get(batch.prepared.get(id)?.billed.id ?? "");
        if (!contact || !("contactId" in contact)) continue;
        const { workspaceId } = tx;
        await tx.manager.update(SyncAttempt, { workspaceId, id }, { contactAction: contact.action });
        await tx.manager.update(
          Invoice,
          { workspaceId, id: invoiceId },
          {
            connectionId: batch.connection.id,
            syncWarnings: [...(batch.prepared.get(id)?.warnings ?? []), ...contact.warnings],
          },
        );
      }
      await tx.manager.query(
        `UPDATE sync_batch SET state = 'SENT', body = $3, key_used_at = now(), lease_until = now() + $4 * interval '1 ms'
         WHERE workspace_id = $1 AND id = $2`,
        [tx.workspaceId, batch.id, given.body, this.options.leaseMs],
      );
      return readOpen(tx, { ...row, body: given.body, keyAgeMs: 0 }, batch.connection, readAt);
    });
  }

  /** Ends a batch of which it is known that nothing was written: its attempts are free again, later, or failed where waiting can't help. */
  async dissolve(batch: ClaimedBatch | OpenBatch, calls: number, failure: XeroFailure): Promise<void> {
    await this.step(batch, calls, async (tx, _row, attempts) => {
      const error = failed(failure);
      const counts = failure.kind !== "RATE_LIMITED" && failure.kind !== "SWITCHED_OFF";
      await this.free(tx, batch.connection, attempts, {
        error: isTransient(failure) || (await isOutdated(tx, batch.connection, failure)) ? null : error,
        lastError: { ...error, retryable: false },
        counts,
        // Refused tokens end with the link, which counts as lost when that goes on.
        endless: failure.kind === "TOKEN_REFUSED",
        waitMs: failure.retryAfterMs,
      });
      await release(tx, batch.id);
    });
  }

  /** Notes that it is not known whether the batch was written; clients see UNCERTAIN until it is. */
  async doubt(batch: OpenBatch, calls: number, failure: XeroFailure): Promise<void> {
    await this.step(batch, calls, (tx, _row, attempts) => this.doubtIn(tx, batch, attempts, failure));
  }

  /** Writes back what Xero said of each invoice; one it said nothing of stays in doubt after a send, and is free again after a look-up. */
  async settle(
    batch: OpenBatch,
    calls: number,
    given: { outcome: "CREATED" | "ADOPTED"; taken: XeroInvoiceAnswer[]; refused: Map<string, SyncError> },
  ): Promise<void> {
    await this.step(batch, calls, async (tx) => {
      const byUrl = groupBy(given.taken, ({ url }) => url ?? "");
      const changes: Change[] = [];
      const silent: SyncAttempt[] = [];
      for (const { attempt, invoice, url } of batch.members) {
        const found = byUrl.get(url) ?? [];
        const standing = found.filter(({ status }) => status !== "VOIDED" && status !== "DELETED");
        // One that a person has voided since was sent all the same, and is not sent again behind that person's back.
        const answer = standing[0] ?? found[0];
        const error = given.refused.get(url);
        if (standing.length > 1) changes.push(refusal(attempt, ambiguous(invoice)));
        else if (answer) changes.push(adopted(attempt, invoice, answer, given.outcome, batch.connection.id));
        else if (error) changes.push(refusal(attempt, error));
        else silent.push(attempt);
      }
      await applyChanges(tx, changes);
      if (given.outcome === "ADOPTED") {
        await this.free(tx, batch.connection, silent, { error: null, lastError: neverArrives, counts: true });
      }
      if (given.outcome === "ADOPTED" || silent.length === 0) await release(tx, batch.id);
      // The same key would bring the same silence, so the next step is a look-up.
      else await this.doubtIn(tx, batch, silent, { kind: "KEY_REUSED", xeroMessages: [] });
      await requeueEvents(tx, batch.connection.id, given.taken);
    });
  }

  /** Unlinks contacts that Xero does not know; they are looked up anew with the attempts' next batch. */
  async forgetContacts(batch: OpenBatch, calls: number, contactIds: string[]): Promise<void> {
    await this.step(batch, calls, async (tx, _row, attempts) => {
      const { workspaceId } = tx;
      await tx.manager.delete(ContactLink, {
        workspaceId,
        connectionId: batch.connection.id,
        contactId: In(contactIds),
      });
      await this.free(tx, batch.connection, attempts, { error: null, lastError: unknownContact, counts: true });
      await release(tx, batch.id);
    });
  }

  /** One step of a batch that this process holds; null, and nothing done, where it no longer does. Counts the calls made for it. */
  private async step<T>(
    { id, leaseId, connection }: Pick<ClaimedBatch, "id" | "leaseId" | "connection">,
    calls: number,
    work: (tx: WorkspaceTransaction, batch: BatchRow, attempts: SyncAttempt[]) => Promise<T>,
  ): Promise<T | null> {
    return this.database.inWorkspace(connection.workspaceId, async (tx) => {
      const batch = await tx.manager.findOne(SyncBatch, {
        where: { workspaceId: tx.workspaceId, id, leaseId },
        lock: { mode: "pessimistic_write" },
      });
      if (!batch || batch.state === "DONE") return null;
      const attempts = await attemptsOf(tx, id);
      await addCalls(
        tx,
        attempts.map(({ runId }) => runId),
        calls,
      );
      return work(tx, { ...batch, keyAgeMs: 0 }, attempts);
    });
  }

  /** Puts attempts back in the queue, to be tried after a growing wait; FAILED at once with `error`, or with `lastError` after too many tries. */
  private async free(
    tx: WorkspaceTransaction,
    connection: Connection,
    attempts: SyncAttempt[],
    why: {
      error: SyncError | null;
      lastError: SyncError;
      counts: boolean;
      endless?: boolean;
      waitMs?: number | undefined;
    },
  ): Promise<void> {
    const now = await databaseNow(tx);
    const changes = attempts.map((attempt): Change => {
      const transientFailures = attempt.transientFailures + (why.counts ? 1 : 0);
      if (why.error) return refusal(attempt, why.error);
      if (transientFailures >= mostTransientFailures && !why.endless) return refusal(attempt, why.lastError);
      const notBefore = new Date(now.getTime() + (why.waitMs ?? backOffMs(transientFailures)));
      return {
        attempt,
        outcome: "PENDING",
        syncStatus: "QUEUED",
        error: null,
        also: { batchId: null, notBefore, transientFailures },
      };
    });
    await applyChanges(tx, changes);
    wakeAt(
      tx,
      connection.id,
      changes.flatMap(({ also }) => also?.notBefore ?? []),
    );
  }

  private async doubtIn(
    tx: WorkspaceTransaction,
    batch: OpenBatch,
    attempts: SyncAttempt[],
    failure: Pick<XeroFailure, "kind" | "status" | "retryAfterMs" | "xeroMessages">,
  ): Promise<void> {
    const { kind, status, retryAfterMs } = failure;
    const notBefore = new Date((await databaseNow(tx)).getTime() + (retryAfterMs ?? backOffMs(batch.doubts + 1)));
    // A gateway that lost patience (502, 504) says nothing of what goes on behind it: that is no answer.
    const answered = (kind === "SERVER_ERROR" || kind === "OFFLINE") && status !== 502 && status !== 504;
    await tx.manager.query(
      `UPDATE sync_batch SET doubts = doubts + 1, server_errors = server_errors + $3, key_reused = key_reused OR $4, not_before = $5, lease_until = now()
       WHERE workspace_id = $1 AND id = $2`,
      [tx.workspaceId, batch.id, answered ? 1 : 0, kind === "KEY_REUSED", notBefore],
    );
    await applyChanges(
      tx,
      attempts.map((attempt) => ({
        attempt,
        outcome: "UNCERTAIN",
        syncStatus: "UNCERTAIN",
        error: outcomeUnknown(failure),
        also: { notBefore },
      })),
    );
    wakeAt(tx, batch.connection.id, [notBefore]);
  }
}

/** The batch with its attempts and invoices, as whoever sends it or looks it up needs it. */
async function readOpen(
  tx: WorkspaceTransaction,
  batch: BatchRow,
  connection: Connection,
  readAt: number,
): Promise<OpenBatch> {
  const attempts = await attemptsOf(tx, batch.id);
  const invoices = await tx.manager.findBy(Invoice, {
    workspaceId: tx.workspaceId,
    id: In(attempts.map(({ invoiceId }) => invoiceId)),
  });
  const sent = sentIn(batch.body);
  const members = attempts.flatMap((attempt) => {
    const invoice = invoices.find(({ id }) => id === attempt.invoiceId);
    const written = sent.get(attempt.invoiceId);
    return invoice && written ? [{ attempt, invoice, ...written }] : [];
  });
  return { ...batch, connection, readAt, members, background: attempts.every(isBackground) };
}

function isBackground({ priority }: SyncAttempt): boolean {
  return priority > 0;
}
