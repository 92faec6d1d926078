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
import { Invoice } from "../../entities/Invoice.js";
import { SyncAttempt } from "../../entities/SyncAttempt.js";
import { SyncBatch } from "../../entities/SyncBatch.js";
import { type SyncError } from "../../entities/SyncError.js";
import { enqueue } from "../../jobs/queue.js";
import { type InvoicePayload, serializeInvoices } from "../../xero/payloads.js";
import { type XeroFailure } from "../../xero/XeroFailure.js";
import { loadIntegration } from "../Integrations.js";
import { find, groupBy } from "../loading.js";
import { wakePayments } from "../payments/pushQueue.js";
import { patchAll } from "../patching.js";
import { addCalls, applyChanges, type Change, refusal } from "./attempts.js";
import {
  attemptsOf,
  batchSize,
  databaseNow,
  dueAttempts,
  findNext,
  isAnswer,
  type Next,
  openBatch,
  release,
  sizeAfter,
  type TakenBatch,
  takeLease,
  wakeAt,
  writtenIn,
} from "./batchRows.js";
import { noteBrokenMappings, noteMendedMappings } from "./brokenMappings.js";
import { forgetUnknown, lookForArchived } from "./lostContacts.js";
import { type Arrival, backOffMs, type Member, requeueEvents, taken } from "./outcomes.js";
import { putBack, putBackAfter } from "./putBack.js";
import { prepareInvoice, prepareVoid, readMaterials } from "./prepare.js";
import { ambiguous, lostConnection, neverArrives, outcomeUnknown } from "./syncErrors.js";

/** A batch whose bytes are written down: it may have been sent. */
export interface OpenBatch {
  id: string;
  leaseId: string;
  connection: Connection;
  method: "PUT" | "POST";
  body: string;
  idempotencyKey: string;
  /** How long ago the key was first about to be used, and the batch last about to be sent, by PostgreSQL's clock, when it was read. */
  keyAgeMs: number;
  sentAgoMs: number;
  /** `performance.now()` at that moment. */
  readAt: number;
  doubts: number;
  serverErrors: number;
  keyReused: boolean;
  members: Member[];
  /** Nobody waits for any of it. */
  background: boolean;
}

/** Xero takes 3.5 MB a call. */
const batchBytes = 3_000_000;

export class BatchBook {
  constructor(
    private readonly database: Database,
    private readonly options: { appUrl: () => string; leaseMs: number; keyLifeMs: number },
  ) {}

  /** What is to be done next for the organisation, or null. What is due while the link is down is FAILED at once, and so never next. */
  async next(workspaceId: string, connectionId: string): Promise<{ next: Next; connection: Connection } | null> {
    return this.database.inWorkspace(workspaceId, async (tx) => {
      const { enabled } = await loadIntegration(tx);
      // Held against a reconnect, which must find FAILED already what is refused here for want of the link.
      const connection = await find(tx, Connection, connectionId, { lock: "share" });
      if (!enabled || !connection) return null;
      if (connection.connectionStatus !== "CONNECTED") {
        const due = await dueAttempts(tx, connectionId, { which: "ALL", limit: 1_000 });
        await applyChanges(
          tx,
          due.map((attempt) => refusal(attempt, lostConnection(connection))),
        );
        if (due.length === 1_000) enqueue(tx, "push", { workspaceId, connectionId });
        return null;
      }
      const next = await findNext(tx, connectionId);
      return next && { next, connection };
    });
  }

  /**
   * Claims what is due and has its contact, up to one batch, and writes down exactly what is about to be sent; from this commit on it may have
   * been. What can't be sent is FAILED. Null where nothing is left to send.
   */
  async claim(workspaceId: string, connectionId: string): Promise<OpenBatch | null> {
    const readAt = performance.now();
    return this.database.inWorkspace(workspaceId, async (tx) => {
      const integration = await loadIntegration(tx);
      const connection = await find(tx, Connection, connectionId, { lock: "share" });
      if (!integration.enabled || connection?.connectionStatus !== "CONNECTED") return null;
      const due = await dueAttempts(tx, connectionId, { which: "READY", limit: batchSize });
      const creates = due[0]?.action === "CREATE";
      const alike = due.filter(({ action }) => (action === "CREATE") === creates).slice(0, sizeAfter(batchSize, due));
      const materials = await readMaterials(
        tx,
        { integration, connection, appUrl: this.options.appUrl() },
        alike.map(({ invoiceId }) => invoiceId),
      );
      const payloads: InvoicePayload[] = [];
      const changes: Change[] = [];
      const unsettled: { id: string; contactId: null }[] = [];
      const batch = {
        id: uuidv7(),
        leaseId: randomUUID(),
        connectionId,
        kind: "INVOICES",
        method: creates ? "PUT" : "POST",
      } as const;
      let bytes = 0;
      const now = new Date();
      for (const attempt of alike) {
        const invoice = materials.invoices.get(attempt.invoiceId);
        if (!invoice) continue;
        const prepared =
          attempt.action === "VOID" ? prepareVoid(materials, invoice) : prepareInvoice(materials, invoice);
        if ("code" in prepared) {
          changes.push({ ...refusal(attempt, prepared), invoice: { voidRequested: false } });
          continue;
        }
        const link = materials.links.get(prepared.billed?.id ?? "");
        // Whom it bills, or that one's contact, is another since the contact was settled.
        if (prepared.billed && (link?.contactId !== attempt.contactId || link.contactStatus !== "ACTIVE")) {
          unsettled.push({ id: attempt.id, contactId: null });
          continue;
        }
        const payload = { ...prepared.payload, contactId: attempt.contactId ?? undefined };
        bytes += Buffer.byteLength(JSON.stringify(payload));
        if (bytes > batchBytes && payloads.length > 0) break;
        payloads.push(payload);
        changes.push({
          attempt,
          outcome: "PENDING",
          syncStatus: "SYNCING",
          also: { batchId: batch.id, startedAt: attempt.startedAt ?? now, revision: invoice.revision },
          invoice: { connectionId, syncWarnings: [...prepared.warnings, ...(link?.warnings ?? [])] },
        });
      }
      const body = serializeInvoices(payloads);
      const row = payloads.length > 0 ? await openBatch(tx, { ...batch, body }, this.options.leaseMs) : null;
      await applyChanges(tx, changes);
      await noteBrokenMappings(tx, changes);
      await patchAll(tx, SyncAttempt, unsettled);
      if (unsettled.length > 0) enqueue(tx, "push", { workspaceId, connectionId });
      return row && readOpen(tx, { batch: row, keyAgeMs: 0, sentAgoMs: 0 }, connection, readAt);
    });
  }

  /** Takes over one batch whose lease has run out or whose time to be tried again has come. Null where there is none, or the link is down. */
  async takeOver(workspaceId: string, connectionId: string): Promise<OpenBatch | null> {
    // Before the ages are read, so that a pause in between makes the key older and never younger.
    const readAt = performance.now();
    return this.database.inWorkspace(workspaceId, async (tx) => {
      const connection = await find(tx, Connection, connectionId);
      if (connection?.connectionStatus !== "CONNECTED" || !(await loadIntegration(tx)).enabled) return null;
      const found = await takeLease(tx, connectionId, {
        kind: "INVOICES",
        leaseId: randomUUID(),
        leaseMs: this.options.leaseMs,
      });
      return found && readOpen(tx, found, connection, readAt);
    });
  }

  /** Notes that the batch is about to be sent once more. False where the lease is lost, and so it must not be. */
  async noteSend(batch: OpenBatch): Promise<boolean> {
    const noted = await this.step(batch, 0, async (tx) => {
      await tx.manager.query("UPDATE sync_batch SET sent_at = now() WHERE workspace_id = $1 AND id = $2", [
        tx.workspaceId,
        batch.id,
      ]);
      return true;
    });
    return noted ?? false;
  }

  /** Lets go of the batch until so many milliseconds have passed. */
  async postpone(batch: OpenBatch, waitMs: number): Promise<void> {
    await this.step(batch, 0, async (tx) => {
      const notBefore = new Date((await databaseNow(tx)).getTime() + waitMs);
      await tx.manager.update(
        SyncBatch,
        { workspaceId: tx.workspaceId, id: batch.id },
        { notBefore, leaseUntil: () => "now()" },
      );
      wakeAt(tx, batch.connection.id, [notBefore]);
    });
  }

  /** Ends a batch of which it is known that nothing was written: its attempts are free again, later, or failed where waiting can't help. */
  async dissolve(batch: OpenBatch, calls: number, failure: XeroFailure): Promise<void> {
    await this.step(batch, calls, async (tx, attempts) => {
      await putBackAfter(tx, batch.connection, attempts, failure);
      await release(tx, batch.id);
    });
  }

  /** Ends a batch of changes that may have been made or not: made once more they come to the same, so they are queued again. */
  async repeat(batch: OpenBatch): Promise<void> {
    await this.step(batch, 0, async (tx, attempts) => {
      await putBack(tx, batch.connection, attempts, { lastError: neverArrives, counts: true });
      await release(tx, batch.id);
    });
  }

  /** Notes that it is not known whether the batch was written; clients see UNCERTAIN until it is. */
  async doubt(batch: OpenBatch, calls: number, failure: XeroFailure): Promise<void> {
    await this.step(batch, calls, (tx, attempts) => this.doubtIn(tx, batch, attempts, failure));
  }

  /**
   * Writes back what is known of each member; one of which nothing is known stays in doubt after a send, and is free again after a look-up.
   * Where the lease is lost nothing is written, but Xero will be asked whether it holds any of the invoices twice.
   */
  async settle(
    batch: OpenBatch,
    calls: number,
    given: { arrivals: Arrival[]; refused: Map<string, SyncError>; lookedUp: boolean },
  ): Promise<void> {
    const done = await this.step(batch, calls, async (tx) => {
      const byAttempt = groupBy(given.arrivals, ({ member }) => member.attempt.id);
      const changes: Change[] = [];
      const silent: SyncAttempt[] = [];
      const archived: Member[] = [];
      const now = await databaseNow(tx);
      const recheckAt = new Date(now.getTime() + this.options.keyLifeMs);
      const seen = await seenUntil(tx, batch);
      for (const member of batch.members) {
        const { attempt, invoice } = member;
        const found = byAttempt.get(attempt.id) ?? [];
        const standing = found.filter(({ answer }) => answer.status !== "VOIDED" && answer.status !== "DELETED");
        // One that a person has voided since was sent all the same, and is not sent again behind that person's back.
        const arrival = standing[0] ?? found[0];
        const error = given.refused.get(attempt.id);
        if (standing.length > 1) changes.push(refusal(attempt, ambiguous(invoice)));
        else if (arrival) {
          const isLate = arrival.outcome === "ADOPTED" || batch.doubts > 0;
          const connectionId = batch.connection.id;
          const known = { connectionId, now, recheckAt, isLate, seenUntil: seen.get(invoice.id) ?? null };
          changes.push(taken(arrival, known));
        } else if (error?.code === "CONTACT_ARCHIVED" && member.written.contactId !== undefined) archived.push(member);
        else if (error) changes.push({ ...refusal(attempt, error), invoice: { voidRequested: false } });
        else silent.push(attempt);
      }
      await applyChanges(tx, changes);
      if (changes.some((change) => change.error?.code === "INVALID_MAPPING")) {
        // Xero knows better than the copy of its accounts and rates: that is read again before anything else is sent.
        const key = { workspaceId: tx.workspaceId, id: batch.connection.id };
        await tx.manager.update(Connection, key, { dataReadAt: new Date(0) });
        await noteBrokenMappings(tx, changes);
      } else await noteMendedMappings(tx);
      await lookForArchived(tx, batch.connection, archived, given.refused);
      if (given.lookedUp) {
        const also = { resent: true };
        await putBack(tx, batch.connection, silent, { lastError: neverArrives, counts: true, also });
      }
      if (given.lookedUp || silent.length === 0) await release(tx, batch.id);
      // The same key would bring the same silence, so the next step is a look-up.
      else await this.doubtIn(tx, batch, silent, { kind: "KEY_REUSED", xeroMessages: [] });
      if (changes.some(({ invoice }) => invoice?.pullDueAt)) {
        enqueue(tx, "pull", { workspaceId: tx.workspaceId, connectionId: batch.connection.id });
      }
      await wakePayments(
        tx,
        batch.connection.id,
        batch.members.map(({ invoice }) => invoice.id),
      );
      await requeueEvents(
        tx,
        batch.connection.id,
        given.arrivals.map(({ answer }) => answer.invoiceId),
      );
      return true;
    });
    if (done === null) await this.noteLateArrivals(batch, given.arrivals);
  }

  /** Unlinks contacts that Xero does not know; they are looked for anew before the attempts go out again. */
  async forgetContacts(batch: OpenBatch, calls: number, contactIds: string[]): Promise<void> {
    await this.step(batch, calls, async (tx, attempts) => {
      await forgetUnknown(tx, batch.connection, attempts, contactIds);
      await release(tx, batch.id);
    });
  }

  /** A holder that was paused past its lease wrote all the same: if that was under a key that Xero had forgotten, the invoice is there twice. */
  private async noteLateArrivals({ connection }: OpenBatch, arrivals: Arrival[]): Promise<void> {
    const created = arrivals.filter(({ outcome }) => outcome === "CREATED");
    if (created.length === 0) return;
    await this.database.inWorkspace(connection.workspaceId, async (tx) => {
      await tx.manager.query(
        `UPDATE invoice i SET recheck_at = now() FROM jsonb_to_recordset($2::jsonb) AS a(id uuid, "xeroId" uuid)
         WHERE i.workspace_id = $1 AND i.id = a.id AND i.xero_id IS DISTINCT FROM a."xeroId"`,
        [
          tx.workspaceId,
          JSON.stringify(created.map(({ member, answer }) => ({ id: member.invoice.id, xeroId: answer.invoiceId }))),
        ],
      );
      wakeAt(tx, connection.id, [await databaseNow(tx)]);
    });
  }

  /** One step of a batch that this process holds; null, and nothing done, where it no longer does. Counts the calls made for it in any case. */
  private async step<T>(
    { id, leaseId, connection, members }: OpenBatch,
    calls: number,
    work: (tx: WorkspaceTransaction, attempts: SyncAttempt[]) => Promise<T>,
  ): Promise<T | null> {
    return this.database.inWorkspace(connection.workspaceId, async (tx) => {
      const batch = await tx.manager.findOne(SyncBatch, {
        where: { workspaceId: tx.workspaceId, id, leaseId },
        lock: { mode: "pessimistic_write" },
      });
      const isOurs = batch !== null && batch.state !== "DONE";
      const result = isOurs ? await work(tx, await attemptsOf(tx, id)) : null;
      await addCalls(
        tx,
        members.map(({ attempt }) => attempt),
        calls,
      );
      return result;
    });
  }

  private async doubtIn(
    tx: WorkspaceTransaction,
    batch: OpenBatch,
    attempts: SyncAttempt[],
    failure: Pick<XeroFailure, "kind" | "status" | "retryAfterMs" | "xeroMessages">,
  ): Promise<void> {
    const { kind, retryAfterMs } = failure;
    const notBefore = new Date((await databaseNow(tx)).getTime() + (retryAfterMs ?? backOffMs(batch.doubts + 1)));
    await tx.manager.query(
      `UPDATE sync_batch SET doubts = doubts + 1, server_errors = server_errors + $3, key_reused = key_reused OR $4, not_before = $5, lease_until = now()
       WHERE workspace_id = $1 AND id = $2`,
      [tx.workspaceId, batch.id, isAnswer(failure) ? 1 : 0, kind === "KEY_REUSED", notBefore],
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

/** Xero's time stamps of what was read of the batch's invoices, which are held from here on. */
async function seenUntil(tx: WorkspaceTransaction, { members }: OpenBatch): Promise<Map<string, Date | null>> {
  const invoices = await tx.manager.find(Invoice, {
    where: { workspaceId: tx.workspaceId, id: In(members.map(({ invoice }) => invoice.id)) },
    select: { workspaceId: true, id: true, xeroUpdatedAt: true },
    order: { id: "ASC" },
    lock: { mode: "pessimistic_write" },
  });
  return new Map(invoices.map(({ id, xeroUpdatedAt }) => [id, xeroUpdatedAt]));
}

/** The batch with its attempts and invoices, as whoever sends it or looks it up needs it. */
async function readOpen(
  tx: WorkspaceTransaction,
  { batch, keyAgeMs, sentAgoMs }: TakenBatch,
  connection: Connection,
  readAt: number,
): Promise<OpenBatch> {
  const attempts = await attemptsOf(tx, batch.id);
  const invoices = await tx.manager.findBy(Invoice, {
    workspaceId: tx.workspaceId,
    id: In(attempts.map(({ invoiceId }) => invoiceId)),
  });
  const written = writtenIn(batch.body, invoices);
  const members = attempts.flatMap((attempt) => {
    const invoice = invoices.find(({ id }) => id === attempt.invoiceId);
    const part = written.get(attempt.invoiceId);
    return invoice && part ? [{ attempt, invoice, written: part }] : [];
  });
  const background = attempts.every(({ priority }) => priority > 0);
  return { ...batch, connection, readAt, keyAgeMs, sentAgoMs, members, background };
}
