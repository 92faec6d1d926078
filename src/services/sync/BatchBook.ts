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
import { type SyncStatus } from "../../entities/enums.js";
import { Invoice } from "../../entities/Invoice.js";
import { SyncAttempt } from "../../entities/SyncAttempt.js";
import { SyncBatch } from "../../entities/SyncBatch.js";
import { type SyncError } from "../../entities/SyncError.js";
import { enqueue } from "../../jobs/queue.js";
import { type XeroInvoiceAnswer } from "../../xero/answers.js";
import { type XeroFailure } from "../../xero/XeroFailure.js";
import { loadIntegration } from "../Integrations.js";
import { find, groupBy } from "../loading.js";
import { addCalls, applyChanges, type Change } from "./attempts.js";
import { type Settled } from "./Contacts.js";
import { adopted, backOffMs, requeueEvents } from "./outcomes.js";
import { invoiceUrl, type Prepared, prepareInvoice, readMaterials } from "./prepare.js";
import { failed, isTransient, outcomeUnknown, syncError } from "./syncErrors.js";

/** A batch whose contacts are still to be settled: nothing was sent. */
export interface ClaimedBatch {
  id: string;
  leaseId: string;
  connection: Connection;
  /** By attempt. */
  prepared: Map<string, Prepared>;
}

export interface Member {
  attempt: SyncAttempt;
  invoice: Invoice;
  contactId: string | undefined;
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
}

/** Xero recommends about 50 elements a call, and at most 3.5 MB. */
const batchSize = 50;
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
      const connection = await find(tx, Connection, connectionId);
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
      return prepared.size > 0 ? { id, leaseId, connection, prepared } : "ALL_REFUSED";
    });
  }

  /**
   * Takes over one batch whose lease has run out or whose time to be tried again has come; one that was never sent is dissolved on the way.
   * Null where there is none, or the link is down.
   */
  async takeOver(workspaceId: string, connectionId: string): Promise<OpenBatch | null> {
    return this.database.inWorkspace(workspaceId, async (tx) => {
      const connection = await find(tx, Connection, connectionId);
      if (connection?.connectionStatus !== "CONNECTED" || !(await loadIntegration(tx)).enabled) return null;
      for (;;) {
        const leaseId = randomUUID();
        const batch = await takeLease(tx, connectionId, leaseId, this.options.leaseMs);
        if (!batch) return null;
        if (batch.state === "SENT") return this.read(tx, batch, connection);
        await release(tx, batch.id, null);
      }
    });
  }

  /** Writes down exactly what is about to be sent; from this commit on it may have been. Null where the lease is lost or nothing is left to send. */
  async writeDown(
    batch: ClaimedBatch,
    given: {
      body: string;
      ready: Set<string>;
      refused: Map<string, SyncError>;
      settled: Map<string, Settled>;
      calls: number;
    },
  ): Promise<OpenBatch | null> {
    return this.step(batch, async (tx, row) => {
      const attempts = await attemptsOf(tx, batch.id);
      await addCalls(
        tx,
        attempts.map(({ runId }) => runId),
        given.calls,
      );
      const changes: Change[] = [];
      for (const attempt of attempts) {
        const error = given.refused.get(attempt.id);
        if (error) changes.push(refusal(attempt, error));
        const billed = batch.prepared.get(attempt.id)?.billed;
        const contact = billed && given.settled.get(billed.id);
        if (!given.ready.has(attempt.id) || !contact || !("contactId" in contact)) continue;
        await tx.manager.update(
          SyncAttempt,
          { workspaceId: tx.workspaceId, id: attempt.id },
          { contactAction: contact.action },
        );
        await tx.manager.update(
          Invoice,
          { workspaceId: tx.workspaceId, id: attempt.invoiceId },
          { connectionId: batch.connection.id, syncWarnings: contact.warnings },
        );
      }
      await applyChanges(tx, changes);
      if (given.ready.size === 0) {
        await tx.manager.update(SyncBatch, { workspaceId: tx.workspaceId, id: batch.id }, { state: "DONE" });
        return null;
      }
      await tx.manager.query(
        `UPDATE sync_batch SET state = 'SENT', body = $3, key_used_at = now(), lease_until = now() + $4 * interval '1 ms'
         WHERE workspace_id = $1 AND id = $2`,
        [tx.workspaceId, batch.id, given.body, this.options.leaseMs],
      );
      return this.read(tx, { ...row, body: given.body, keyAgeMs: 0 }, batch.connection);
    });
  }

  /** Ends a batch of which this process knows that nothing was written: its attempts are free again, later, or failed if waiting can't help. */
  async dissolve(batch: ClaimedBatch | OpenBatch, failure: XeroFailure, calls: number): Promise<void> {
    await this.step(batch, async (tx) => {
      const attempts = await attemptsOf(tx, batch.id);
      await addCalls(
        tx,
        attempts.map(({ runId }) => runId),
        calls,
      );
      const error = failed(failure);
      const changes = attempts.map((attempt): Change => {
        const failures = attempt.transientFailures + (failure.kind === "RATE_LIMITED" ? 0 : 1);
        if (!isTransient(failure) || failures >= mostTransientFailures)
          return refusal(attempt, { ...error, retryable: false });
        const notBefore = new Date(Date.now() + (failure.retryAfterMs ?? backOffMs(failures)));
        return {
          attempt,
          outcome: "PENDING",
          syncStatus: "QUEUED",
          also: { batchId: null, notBefore, transientFailures: failures },
        };
      });
      await applyChanges(tx, changes);
      await release(tx, batch.id, null);
      wakeAt(
        tx,
        batch.connection.id,
        changes.flatMap(({ also }) => also?.notBefore ?? []),
      );
    });
  }

  /** Notes that it is not known whether the batch was written; clients see UNCERTAIN until it is. */
  async doubt(batch: OpenBatch, failure: XeroFailure, calls: number): Promise<void> {
    await this.step(batch, async (tx) => {
      await addCalls(
        tx,
        batch.members.map(({ attempt }) => attempt.runId),
        calls,
      );
      const notBefore = new Date(Date.now() + (failure.retryAfterMs ?? backOffMs(batch.doubts + 1)));
      const { kind } = failure;
      await tx.manager.query(
        `UPDATE sync_batch SET doubts = doubts + 1, server_errors = server_errors + $3, key_reused = key_reused OR $4, not_before = $5, lease_until = now()
         WHERE workspace_id = $1 AND id = $2`,
        [
          tx.workspaceId,
          batch.id,
          kind === "SERVER_ERROR" || kind === "OFFLINE" ? 1 : 0,
          kind === "KEY_REUSED",
          notBefore,
        ],
      );
      await applyChanges(
        tx,
        batch.members.map(({ attempt }) => ({
          attempt,
          outcome: "UNCERTAIN",
          syncStatus: "UNCERTAIN",
          error: outcomeUnknown,
          also: { notBefore },
        })),
      );
      wakeAt(tx, batch.connection.id, [notBefore]);
    });
  }

  /** Writes back what Xero said of each invoice; one it said nothing of stays in doubt after a send, and is free again after a look-up. */
  async settle(
    batch: OpenBatch,
    given: {
      outcome: "CREATED" | "ADOPTED";
      taken: XeroInvoiceAnswer[];
      refused: Map<string, SyncError>;
      calls: number;
    },
  ): Promise<void> {
    await this.step(batch, async (tx) => {
      await addCalls(
        tx,
        batch.members.map(({ attempt }) => attempt.runId),
        given.calls,
      );
      const byUrl = groupBy(given.taken, ({ url }) => url ?? "");
      const changes: Change[] = [];
      let silent = 0;
      for (const { attempt, invoice } of batch.members) {
        const url = invoiceUrl(this.options.appUrl(), invoice.id);
        const [answer, another] = byUrl.get(url) ?? [];
        const error = given.refused.get(url);
        if (another) changes.push(refusal(attempt, ambiguous(invoice)));
        else if (answer) changes.push(adopted(attempt, invoice, answer, given.outcome, batch.connection.id));
        else if (error) changes.push(refusal(attempt, error));
        else if (given.outcome === "ADOPTED") {
          changes.push({
            attempt,
            outcome: "PENDING",
            syncStatus: "QUEUED",
            error: null,
            also: { batchId: null, notBefore: null },
          });
        } else silent += 1;
      }
      await applyChanges(tx, changes);
      if (silent > 0)
        await tx.manager.query(
          "UPDATE sync_batch SET key_reused = true, lease_until = now() WHERE workspace_id = $1 AND id = $2",
          [tx.workspaceId, batch.id],
        );
      else await tx.manager.update(SyncBatch, { workspaceId: tx.workspaceId, id: batch.id }, { state: "DONE" });
      await requeueEvents(tx, batch.connection.id, given.taken);
    });
  }

  /** Ends a batch that Xero refused as a whole: each attempt FAILED with the same error. */
  async refuseAll(batch: OpenBatch, error: SyncError, calls: number): Promise<void> {
    await this.step(batch, async (tx) => {
      await addCalls(
        tx,
        batch.members.map(({ attempt }) => attempt.runId),
        calls,
      );
      await applyChanges(
        tx,
        batch.members.map(({ attempt }) => refusal(attempt, error)),
      );
      await tx.manager.update(SyncBatch, { workspaceId: tx.workspaceId, id: batch.id }, { state: "DONE" });
    });
  }

  /** Unlinks contacts that Xero does not know; they are looked up anew with the attempts' next batch. */
  async forgetContacts(batch: OpenBatch, contactIds: string[], calls: number): Promise<void> {
    await this.step(batch, async (tx) => {
      await addCalls(
        tx,
        batch.members.map(({ attempt }) => attempt.runId),
        calls,
      );
      await tx.manager.delete(ContactLink, {
        workspaceId: tx.workspaceId,
        connectionId: batch.connection.id,
        contactId: In(contactIds),
      });
      await applyChanges(
        tx,
        batch.members.map(({ attempt }): Change => {
          const transientFailures = attempt.transientFailures + 1;
          if (transientFailures >= mostTransientFailures) return refusal(attempt, unknownContact);
          return { attempt, outcome: "PENDING", syncStatus: "QUEUED", also: { batchId: null, transientFailures } };
        }),
      );
      await tx.manager.update(SyncBatch, { workspaceId: tx.workspaceId, id: batch.id }, { state: "DONE" });
    });
  }

  /** One step of a batch that this process holds; null, and nothing done, where it no longer does. */
  private async step<T>(
    { id, leaseId, connection }: { id: string; leaseId: string; connection: Connection },
    work: (tx: WorkspaceTransaction, batch: BatchRow) => Promise<T>,
  ): Promise<T | null> {
    return this.database.inWorkspace(connection.workspaceId, async (tx) => {
      const batch = await tx.manager.findOne(SyncBatch, {
        where: { workspaceId: tx.workspaceId, id, leaseId },
        lock: { mode: "pessimistic_write" },
      });
      return batch && batch.state !== "DONE" ? work(tx, { ...batch, keyAgeMs: 0 }) : null;
    });
  }

  private async read(tx: WorkspaceTransaction, batch: BatchRow, connection: Connection): Promise<OpenBatch> {
    const attempts = await attemptsOf(tx, batch.id);
    const invoices = await tx.manager.findBy(Invoice, {
      workspaceId: tx.workspaceId,
      id: In(attempts.map((a) => a.invoiceId)),
    });
    const contacts = contactsIn(batch.body);
    const { id, leaseId, body, idempotencyKey, keyAgeMs, doubts, serverErrors, keyReused } = batch;
    const members = attempts.flatMap((attempt) => {
      const invoice = invoices.find(({ id: invoiceId }) => invoiceId === attempt.invoiceId);
      return invoice
        ? [{ attempt, invoice, contactId: contacts.get(invoiceUrl(this.options.appUrl(), invoice.id)) }]
        : [];
    });
    return {
      id,
      leaseId,
      connection,
      body,
      idempotencyKey,
      keyAgeMs,
      readAt: performance.now(),
      doubts,
      serverErrors,
      keyReused,
      members,
    };
  }
}

type BatchRow = SyncBatch & { keyAgeMs: number };

async function dueAttempts(tx: WorkspaceTransaction, connectionId: string): Promise<SyncAttempt[]> {
  return tx.manager
    .createQueryBuilder(SyncAttempt, "a")
    .where("a.workspace_id = :ws AND a.connection_id = :connectionId", { ws: tx.workspaceId, connectionId })
    .andWhere("a.outcome = 'PENDING' AND a.batch_id IS NULL AND (a.not_before IS NULL OR a.not_before <= now())")
    .orderBy("a.id")
    .limit(batchSize)
    .setLock("pessimistic_write")
    .setOnLocked("skip_locked")
    .getMany();
}

async function openBatch(
  tx: WorkspaceTransaction,
  { id, leaseId, connectionId, leaseMs }: { id: string; leaseId: string; connectionId: string; leaseMs: number },
): Promise<void> {
  await tx.manager.query(
    `INSERT INTO sync_batch (workspace_id, id, connection_id, state, body, idempotency_key, key_used_at, lease_until, lease_id)
     VALUES ($1, $2, $3, 'PREPARING', '', $4, now(), now() + $5 * interval '1 ms', $6)`,
    [tx.workspaceId, id, connectionId, randomUUID(), leaseMs, leaseId],
  );
}

async function takeLease(
  tx: WorkspaceTransaction,
  connectionId: string,
  leaseId: string,
  leaseMs: number,
): Promise<BatchRow | null> {
  const rows: unknown = await tx.manager.query(
    `UPDATE sync_batch b SET lease_id = $3, lease_until = now() + $4 * interval '1 ms'
     FROM (SELECT id FROM sync_batch
           WHERE workspace_id = $1 AND connection_id = $2 AND state <> 'DONE' AND lease_until <= now() AND (not_before IS NULL OR not_before <= now())
           ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED) due
     WHERE b.workspace_id = $1 AND b.id = due.id RETURNING b.id, extract(epoch FROM now() - b.key_used_at) * 1000 AS age`,
    [tx.workspaceId, connectionId, leaseId, leaseMs],
  );
  const [row] = (rows as [{ id: string; age: string }[]])[0];
  if (!row) return null;
  const batch = await tx.manager.findOneByOrFail(SyncBatch, { workspaceId: tx.workspaceId, id: row.id });
  return { ...batch, keyAgeMs: Number(row.age) };
}

/** Ends a batch and frees whatever attempts are still in it. */
async function release(tx: WorkspaceTransaction, batchId: string, notBefore: Date | null): Promise<void> {
  const live = { workspaceId: tx.workspaceId, batchId, outcome: In(["PENDING", "UNCERTAIN"]) };
  await tx.manager.update(SyncAttempt, live, { batchId: null, outcome: "PENDING", ...(notBefore && { notBefore }) });
  await tx.manager.update(SyncBatch, { workspaceId: tx.workspaceId, id: batchId }, { state: "DONE" });
}

async function attemptsOf(tx: WorkspaceTransaction, batchId: string): Promise<SyncAttempt[]> {
  return tx.manager.find(SyncAttempt, {
    where: { workspaceId: tx.workspaceId, batchId, outcome: In(["PENDING", "UNCERTAIN"]) },
    order: { id: "ASC" },
  });
}

function wakeAt(tx: WorkspaceTransaction, connectionId: string, instants: Date[]): void {
  const soonest = Math.min(...instants.map((instant) => instant.getTime()));
  if (Number.isFinite(soonest))
    enqueue(tx, "push", { workspaceId: tx.workspaceId, connectionId }, { runAt: new Date(soonest) });
}

function refusal(attempt: SyncAttempt, error: SyncError): Change {
  const syncStatus: SyncStatus = "FAILED";
  return { attempt, outcome: "FAILED", syncStatus, error };
}

function lostConnection(connection: Connection): SyncError {
  return syncError(
    connection.connectionStatus === "RECONNECT_REQUIRED" ? "RECONNECT_REQUIRED" : "XERO_NOT_CONNECTED",
    `The link to ${connection.name} is down.`,
    "An administrator has to connect to Xero again, then sync the invoice again.",
  );
}

function ambiguous(invoice: Invoice): SyncError {
  return syncError(
    "INVOICE_AMBIGUOUS",
    `Xero holds several invoices that carry the link of invoice ${invoice.number}.`,
    "Void the copies in Xero, then sync the invoice again.",
  );
}

const unknownContact = syncError(
  "CONTACT_REJECTED",
  "Xero does not know the contact, however often it is looked up.",
  "Check the contact in Xero, then sync the invoice again.",
);

/** The contact of each invoice in a body, by the invoice's address. */
function contactsIn(body: string): Map<string, string> {
  if (body === "") return new Map();
  const { Invoices } = JSON.parse(body) as { Invoices: { Url: string; Contact: { ContactID: string } }[] };
  return new Map(Invoices.map(({ Url, Contact }) => [Url, Contact.ContactID]));
}
