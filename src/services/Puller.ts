/**
 * Applies what webhooks announced. An event says only that something changed, so the present state is read from Xero, in one call for many
 * invoices, and applied; however many events came for an invoice, one read serves them all. Events stay RECEIVED until what they announced
 * is committed here, so nothing is lost when a process dies in between.
 */
import { randomUUID } from "node:crypto";
import { type Database, type WorkspaceTransaction } from "../database.js";
import { Connection } from "../entities/Connection.js";
import { Invoice } from "../entities/Invoice.js";
import { type WebhookEventStatus } from "../entities/enums.js";
import type { WebhookEvent } from "../entities/WebhookEvent.js";
import { enqueue } from "../jobs/queue.js";
import { XeroFailure } from "../xero/XeroFailure.js";
import { type XeroGateway } from "../xero/XeroGateway.js";
import { find, isId } from "./loading.js";
import { type InvoiceReader } from "./payments/InvoiceReader.js";
import { suspectDoubles } from "./sync/Doubles.js";
import { isTransient } from "./sync/syncErrors.js";
import { backOffMs } from "./sync/outcomes.js";
import { LookUps, readWaiting, type Waiting } from "./waitingEvents.js";

const inBackground = { background: true };

/** Until a right is given back, or an operator has mended the configuration. */
const longWaitMs = 300_000;

/** Xero's clock may be another, and its lists a little late. */
const overlapMs = 300_000;

/** Xero keeps events for so long; what is older comes of a replay by hand. */
const oldestMs = 31 * 86_400_000;

/** So long a process may take for one round before another takes over. */
const leaseMs = 15_000;

/** Up to so many payments of unknown invoices are asked for one by one; of more there is a list. */
const fewPayments = 2;

export class Puller {
  private readonly lookUps = new LookUps();

  constructor(
    private readonly database: Database,
    private readonly gateway: XeroGateway,
    private readonly reader: InvoiceReader,
  ) {}

  /** Applies every event whose time has come for the organisation; safe to run any number of times at once. */
  async pull(workspaceId: string, connectionId: string): Promise<void> {
    const leaseId = randomUUID();
    // Once more after the first look that finds nothing: what came just before the lease was given back was left to whoever held it.
    for (let empty = 0; empty < 2;) {
      const waiting = await this.database.inWorkspace(workspaceId, async (tx) => {
        if (!(await takeLease(tx, connectionId, leaseId))) return "TAKEN" as const;
        const found = await readWaiting(tx, connectionId, this.lookUps.freeAt(connectionId));
        if (!found) await giveLeaseBack(tx, connectionId);
        return found;
      });
      if (waiting === "TAKEN") return;
      empty = waiting ? 0 : empty + 1;
      if (!waiting) continue;
      try {
        await this.applyKnown(waiting);
      } catch (error) {
        if (!(error instanceof XeroFailure)) throw error;
        await this.afterFailure(waiting, error);
        return;
      }
      await this.applyUnknown(waiting);
    }
  }

  /** Those whose invoices are known, and those that are about none; and invoices that are to be read for another reason. */
  private async applyKnown({ connection, events, ours, due, invoicesOf, importsContacts }: Waiting): Promise<void> {
    const echoes = new Set<string>();
    const covered = new Set<string>();
    const wanted = new Set(due.map(({ xeroId }) => xeroId ?? ""));
    const invoiceOf = new Map<string, string | undefined>();
    for (const event of events) {
      const { id, category, resourceId } = event;
      const invoice = ours.get(category === "PAYMENT" ? (invoicesOf.get(resourceId) ?? "") : resourceId);
      if (isEcho(event) && event.detail === null && invoice) echoes.add(id);
      else if (category === "INVOICE" || category === "PAYMENT") {
        invoiceOf.set(id, invoice?.xeroId ?? undefined);
        // The last read of its invoice began after it had come, and so showed what it tells of.
        if (invoice?.pulledAt && invoice.pulledAt > event.touchedAt) covered.add(id);
        else if (invoice?.xeroId != null) wanted.add(invoice.xeroId);
      }
    }
    const applied = await this.reader.read(connection, [...wanted], { source: "XERO_WEBHOOK", background: true });
    await this.finish(connection, events, ({ id, category }) => {
      if (echoes.has(id)) return ["APPLIED", "it was created from here"];
      if (covered.has(id)) return ["APPLIED", null];
      if (category === "CONTACT" && importsContacts) return ["APPLIED", "changed contacts are imported"];
      if (!invoiceOf.has(id)) return ["IGNORED", `nothing here depends on ${category}`];
      return outcomeOf((applied.get(invoiceOf.get(id) ?? "") ?? "UNKNOWN") !== "UNKNOWN");
    });
    await this.database.inWorkspace(connection.workspaceId, (tx) => forgetDue(tx, due));
  }

  /**
   * Payments that nobody here knows are found by their own list, and credits, whose list does not say which invoices, by the invoices that changed
   * since. What keeps Xero from being asked keeps back these events and no others.
   */
  private async applyUnknown({ connection, unknown }: Waiting): Promise<void> {
    if (unknown.length === 0) return;
    this.lookUps.take(connection.id);
    const payments = unknown.filter(({ category }) => category === "PAYMENT");
    const credits = unknown.filter((event) => event.category !== "PAYMENT" && !isTooOld(event));
    try {
      const invoiceOf = await this.invoicesOf(connection, payments);
      const ours = await this.reader.ours(connection, [...invoiceOf.values()]);
      const wanted = payments.flatMap(({ resourceId, touchedAt }) => {
        const xeroId = invoiceOf.get(resourceId) ?? "";
        const pulledAt = ours.get(xeroId);
        // Announced beside its invoice, it was most likely shown by the read that this has led to.
        return pulledAt === undefined || (pulledAt !== null && pulledAt > touchedAt) ? [] : [xeroId];
      });
      await this.reader.read(connection, [...new Set(wanted)], { source: "XERO_WEBHOOK", background: true });
      if (credits.length > 0) await this.applyChangedSince(connection, before(credits));
      await this.finish(connection, unknown, (event) => {
        if (event.category === "PAYMENT") return outcomeOf(ours.has(invoiceOf.get(event.resourceId) ?? ""));
        return isTooOld(event)
          ? ["IGNORED", "it is too old to be looked for; syncPayments reads an invoice"]
          : ["APPLIED", "the invoices that changed since were looked at"];
      });
    } catch (error) {
      if (!(error instanceof XeroFailure)) throw error;
      if (error.kind === "REJECTED" || error.kind === "NOT_FOUND") {
        await this.finish(connection, unknown, () => ["FAILED", `Xero refused the read: ${error.kind}`]);
        return;
      }
      const waitUntil = this.lookUps.wait(connection.id, waitAfter(error));
      await this.database.inWorkspace(connection.workspaceId, (tx) => {
        enqueue(tx, "pull", { workspaceId: tx.workspaceId, connectionId: connection.id }, { runAt: waitUntil });
        return Promise.resolve();
      });
    }
  }

  private async applyChangedSince(connection: Connection, since: Date): Promise<void> {
    let readAt = await this.reader.now(connection);
    await this.gateway.call(
      connection,
      async (accounting) => {
        for await (const { elements } of accounting.fetchChangedInvoices(since)) {
          const news = await this.reader.news(connection, elements);
          await this.reader.apply(connection, news, { readAt, source: "XERO_WEBHOOK" });
          readAt = await this.reader.now(connection);
        }
      },
      inBackground,
    );
  }

  /** The invoices, by Xero's ids, that the events' payments are of. */
  private async invoicesOf(connection: Connection, events: WebhookEvent[]): Promise<Map<string, string>> {
    const ids = new Set(events.map(({ resourceId }) => resourceId).filter(isId));
    const found = new Map<string, string>();
    if (ids.size <= fewPayments) {
      for (const id of ids) {
        const invoiceId = await this.invoiceOfPayment(connection, id);
        if (invoiceId !== null) found.set(id, invoiceId.toLowerCase());
      }
      return found;
    }
    await this.gateway.call(
      connection,
      async (accounting) => {
        for await (const page of accounting.fetchPayments({ modifiedSince: before(events) })) {
          for (const { paymentId, invoiceId } of page) {
            if (invoiceId !== undefined) found.set(paymentId.toLowerCase(), invoiceId.toLowerCase());
          }
        }
      },
      inBackground,
    );
    return found;
  }

  private async invoiceOfPayment(connection: Connection, paymentId: string): Promise<string | null> {
    try {
      const payment = await this.gateway.call(
        connection,
        (accounting) => accounting.fetchPayment(paymentId),
        inBackground,
      );
      return payment.invoiceId ?? null;
    } catch (error) {
      if (error instanceof XeroFailure && error.kind === "NOT_FOUND") return null;
      throw error;
    }
  }

  private async finish(
    connection: Connection,
    events: WebhookEvent[],
    outcomeOf: (event: WebhookEvent) => [WebhookEventStatus, string | null],
  ): Promise<void> {
    const rows = events.map((event) => {
      const [status, detail] = outcomeOf(event);
      return { id: event.id, status, detail, was: event.detail };
    });
    await this.database.inWorkspace(connection.workspaceId, async (tx) => {
      const updated: unknown = await tx.manager.query(
        `UPDATE webhook_event w SET status = r.status, detail = r.detail
         FROM jsonb_to_recordset($2::jsonb) AS r (id uuid, status text, detail text, was text)
         -- One that was marked anew since it was read is left, and is applied again.
         WHERE w.workspace_id = $1 AND w.id = r.id AND w.detail IS NOT DISTINCT FROM r.was
         RETURNING w.status AS outcome, (extract(epoch FROM clock_timestamp() - w.touched_at) * 1000)::float8 AS "ageMs"`,
        [tx.workspaceId, JSON.stringify(rows)],
      );
      const [finished] = updated as [{ outcome: WebhookEventStatus; ageMs: number }[]];
      for (const each of finished) tx.tally({ of: "webhookEvent", ...each });
      if (rows.some(({ status }, index) => status === "APPLIED" && events[index]?.category === "CONTACT")) {
        enqueue(tx, "import", { workspaceId: tx.workspaceId, connectionId: connection.id });
      }
      if (events.some((event, index) => isEcho(event) && rows[index]?.status === "IGNORED")) {
        await suspectDoubles(tx, connection.id);
      }
    });
  }

  /** What Xero refuses for good ends the events; whatever else it says they wait, and are looked at again later. */
  private async afterFailure({ connection, events }: Waiting, failure: XeroFailure): Promise<void> {
    if (failure.kind === "REJECTED" || failure.kind === "NOT_FOUND") {
      await this.finish(connection, events, () => ["FAILED", `Xero refused the read: ${failure.kind}`]);
      return;
    }
    await this.database.inWorkspace(connection.workspaceId, async (tx) => {
      const rows: unknown = await tx.manager.query(
        `UPDATE connection SET pull_not_before = now() + $3 * interval '1 ms', pull_lease_until = NULL
         WHERE workspace_id = $1 AND id = $2 RETURNING pull_not_before AS at`,
        [tx.workspaceId, connection.id, waitAfter(failure)],
      );
      const [[row]] = rows as [[{ at: Date }]];
      enqueue(tx, "pull", { workspaceId: tx.workspaceId, connectionId: connection.id }, { runAt: row.at });
    });
  }
}

function waitAfter(failure: XeroFailure): number {
  return failure.retryAfterMs ?? (isTransient(failure) ? backOffMs(4) : longWaitMs);
}

/** What became of an event, now that its invoice was read, if it is ours. */
function outcomeOf(isOurs: boolean): [WebhookEventStatus, string | null] {
  return isOurs ? ["APPLIED", null] : ["IGNORED", "not an invoice that was sent from here"];
}

/** Takes the organisation's events on, or keeps them; false where somebody else is at it, and looks at them when it is through, or its lease. */
async function takeLease(tx: WorkspaceTransaction, connectionId: string, leaseId: string): Promise<boolean> {
  const rows: unknown = await tx.manager.query(
    `UPDATE connection SET pull_lease_id = $3, pull_lease_until = now() + $4 * interval '1 ms'
     WHERE workspace_id = $1 AND id = $2 AND (pull_lease_until IS NULL OR pull_lease_until <= now() OR pull_lease_id = $3) RETURNING 1`,
    [tx.workspaceId, connectionId, leaseId, leaseMs],
  );
  if ((rows as [unknown[]])[0].length > 0) return true;
  const connection = await find(tx, Connection, connectionId);
  if (connection?.pullLeaseUntil) {
    enqueue(tx, "pull", { workspaceId: tx.workspaceId, connectionId }, { runAt: connection.pullLeaseUntil });
  }
  return false;
}

async function giveLeaseBack(tx: WorkspaceTransaction, connectionId: string): Promise<void> {
  await tx.manager.update(Connection, { workspaceId: tx.workspaceId, id: connectionId }, { pullLeaseUntil: null });
}

/** These were read; one that was marked anew meanwhile is read again. */
async function forgetDue(tx: WorkspaceTransaction, due: Invoice[]): Promise<void> {
  const { workspaceId } = tx;
  for (const { id, pullDueAt } of due) {
    if (pullDueAt) await tx.manager.update(Invoice, { workspaceId, id, pullDueAt }, { pullDueAt: null });
  }
}

/** A while before the first of the events. */
function before(events: WebhookEvent[]): Date {
  return new Date(Math.min(...events.map(({ eventDate }) => eventDate.getTime())) - overlapMs);
}

function isTooOld({ eventDate }: WebhookEvent): boolean {
  return Date.now() - eventDate.getTime() > oldestMs;
}

/** Tells that an invoice was created, which whoever sent it knows; whatever happened to it later is announced as an UPDATE. */
function isEcho({ category, eventType }: WebhookEvent): boolean {
  return category === "INVOICE" && eventType === "CREATE";
}
