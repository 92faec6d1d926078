/**
 * Applies what webhooks announced. An event says only that something changed, so the present state is read from Xero, in one call for many
 * invoices, and applied; however many events came for an invoice, one read serves them all. Events stay RECEIVED until what they announced
 * is committed here, so nothing is lost when a process dies in between.
 */
import { type Database, type WorkspaceTransaction } from "../database.js";
import { type Connection } from "../entities/Connection.js";
import { Invoice } from "../entities/Invoice.js";
import { type WebhookEventStatus } from "../entities/enums.js";
import type { WebhookEvent } from "../entities/WebhookEvent.js";
import { enqueue } from "../jobs/queue.js";
import { type XeroInvoiceAnswer } from "../xero/answers.js";
import { XeroFailure } from "../xero/XeroFailure.js";
import { type XeroGateway } from "../xero/XeroGateway.js";
import { isId } from "./loading.js";
import { type Applied } from "./payments/applyAnswer.js";
import { type InvoiceReader } from "./payments/InvoiceReader.js";
import { suspectDoubles } from "./sync/Doubles.js";
import { isTransient } from "./sync/syncErrors.js";
import { backOffMs } from "./sync/outcomes.js";
import { isCredit, LookUps, readWaiting, type Waiting } from "./waitingEvents.js";

const inBackground = { background: true };

/** Until a right is given back, or an operator has mended the configuration. */
const longWaitMs = 300_000;

/** Xero's clock may be another, and its lists a little late. */
const overlapMs = 300_000;

/** What is announced of longer ago, which only a replay does, is looked for alone. */
const recentMs = 86_400_000;

/** Up to so many payments of unknown invoices are asked for one by one; of more there is a list. */
const fewPayments = 2;

/** What is read for the events. */
interface Wanted {
  /** Xero's ids of our invoices. */
  ids: Set<string>;
  /** By event; absent where the event is not about invoices. Empty: about none of ours. */
  byEvent: Map<string, string[]>;
}

export class Puller {
  private readonly lookUps = new LookUps();

  constructor(
    private readonly database: Database,
    private readonly gateway: XeroGateway,
    private readonly reader: InvoiceReader,
  ) {}

  /** Applies every event whose time has come for the organisation; safe to run any number of times at once. */
  async pull(workspaceId: string, connectionId: string): Promise<void> {
    for (;;) {
      const waiting = await this.database.inWorkspace(workspaceId, (tx) =>
        readWaiting(tx, connectionId, this.lookUps.freeAt(connectionId)),
      );
      if (!waiting) return;
      try {
        await this.applyAll(waiting);
      } catch (error) {
        if (!(error instanceof XeroFailure)) throw error;
        await this.afterFailure(waiting, error);
        return;
      }
    }
  }

  private async applyAll(waiting: Waiting): Promise<void> {
    const { connection, events, unknown, readAt, ours, due, importsContacts } = waiting;
    const wanted: Wanted = { ids: new Set(due.map(({ xeroId }) => xeroId ?? "")), byEvent: new Map() };
    const echoes = new Set<string>();
    for (const event of events) {
      const { id, category, resourceId } = event;
      if (isEcho(event) && event.detail === null && ours.has(resourceId)) echoes.add(id);
      else if (category === "INVOICE") wanted.byEvent.set(id, ours.has(resourceId) ? [resourceId] : []);
      else if (category === "PAYMENT") wanted.byEvent.set(id, waiting.invoicesOf.get(resourceId) ?? []);
    }
    const covered = new Set(events.filter((event) => isCovered(event, wanted, ours)).map(({ id }) => id));
    const changed = await this.lookFor(connection, unknown, wanted);
    for (const [event, ids] of wanted.byEvent) if (!covered.has(event)) for (const id of ids) wanted.ids.add(id);
    const applied = new Map<string, Applied>();
    const take = (outcomes: Map<string, Applied>): void => outcomes.forEach((outcome, id) => applied.set(id, outcome));
    const news = await this.reader.news(connection, changed);
    take(await this.reader.apply(connection, news, { readAt, source: "XERO_WEBHOOK" }));
    for (const id of applied.keys()) wanted.ids.delete(id);
    take(await this.reader.read(connection, [...wanted.ids], { source: "XERO_WEBHOOK", background: true }));
    await this.finish(connection, [...events, ...unknown], ({ id, category }) => {
      const invoiceIds = wanted.byEvent.get(id);
      if (echoes.has(id)) return ["APPLIED", "it was created from here"];
      if (covered.has(id)) return ["APPLIED", null];
      if (category === "CONTACT" && importsContacts) return ["APPLIED", "changed contacts are imported"];
      if (isCredit(category)) return ["APPLIED", "the invoices that changed since were looked at"];
      if (invoiceIds === undefined) return ["IGNORED", `nothing here depends on ${category}`];
      const isKnown = invoiceIds.some((xeroId) => (applied.get(xeroId) ?? "UNKNOWN") !== "UNKNOWN");
      return isKnown ? ["APPLIED", null] : ["IGNORED", "not an invoice that was sent from here"];
    });
    await this.database.inWorkspace(connection.workspaceId, (tx) => forgetDue(tx, due));
  }

  /**
   * Finds which invoices payments and credits are about that nobody here knows yet: payments by their own list, credits, whose list does
   * not say, by the invoices that changed since. Answers those invoices as far as they were read on the way.
   */
  private async lookFor(connection: Connection, events: WebhookEvent[], wanted: Wanted): Promise<XeroInvoiceAnswer[]> {
    if (events.length === 0) return [];
    this.lookUps.take(connection.id);
    const isRecent = ({ eventDate }: WebhookEvent): boolean => Date.now() - eventDate.getTime() < recentMs;
    const payments = events.filter(({ category }) => category === "PAYMENT");
    const credits = events.filter(({ category }) => category !== "PAYMENT");
    const invoiceOf = new Map<string, string | null>();
    const recent = payments.filter(isRecent);
    if (new Set(recent.map(({ resourceId }) => resourceId)).size > fewPayments) {
      await this.gateway.call(
        connection,
        async (accounting) => {
          for await (const page of accounting.fetchPayments({ modifiedSince: before(recent) })) {
            for (const { paymentId, invoiceId } of page) invoiceOf.set(paymentId.toLowerCase(), invoiceId ?? null);
          }
        },
        inBackground,
      );
    }
    for (const { id, resourceId } of payments) {
      const known = invoiceOf.get(resourceId);
      const invoiceId =
        known === undefined && isId(resourceId) ? await this.invoiceOfPayment(connection, resourceId) : known;
      invoiceOf.set(resourceId, invoiceId ?? null);
      wanted.byEvent.set(id, invoiceId == null ? [] : [invoiceId.toLowerCase()]);
    }
    const fresh = credits.filter(isRecent);
    const changed: XeroInvoiceAnswer[] = [];
    if (fresh.length > 0) {
      await this.gateway.call(
        connection,
        async (accounting) => {
          for await (const { elements } of accounting.fetchChangedInvoices(before(fresh))) changed.push(...elements);
        },
        inBackground,
      );
    }
    return changed;
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
      await tx.manager.query(
        `UPDATE webhook_event w SET status = r.status, detail = r.detail
         FROM jsonb_to_recordset($2::jsonb) AS r (id uuid, status text, detail text, was text)
         -- One that was marked anew since it was read is left, and is applied again.
         WHERE w.workspace_id = $1 AND w.id = r.id AND w.detail IS NOT DISTINCT FROM r.was`,
        [tx.workspaceId, JSON.stringify(rows)],
      );
      if (rows.some(({ status }, index) => status === "APPLIED" && events[index]?.category === "CONTACT")) {
        enqueue(tx, "import", { workspaceId: tx.workspaceId, connectionId: connection.id });
      }
      if (events.some((event, index) => isEcho(event) && rows[index]?.status === "IGNORED")) {
        await suspectDoubles(tx, connection.id);
      }
    });
  }

  /** What Xero refuses for good ends the events; whatever else it says they wait, and are looked at again later. */
  private async afterFailure({ connection, events, unknown }: Waiting, failure: XeroFailure): Promise<void> {
    if (failure.kind === "REJECTED" || failure.kind === "NOT_FOUND") {
      await this.finish(connection, [...events, ...unknown], () => [
        "FAILED",
        `Xero refused the read: ${failure.kind}`,
      ]);
      return;
    }
    const waitMs = failure.retryAfterMs ?? (isTransient(failure) ? backOffMs(4) : longWaitMs);
    await this.database.inWorkspace(connection.workspaceId, async (tx) => {
      const rows: unknown = await tx.manager.query(
        `UPDATE connection SET pull_not_before = now() + $3 * interval '1 ms' WHERE workspace_id = $1 AND id = $2 RETURNING pull_not_before AS at`,
        [tx.workspaceId, connection.id, waitMs],
      );
      const [[row]] = rows as [[{ at: Date }]];
      enqueue(tx, "pull", { workspaceId: tx.workspaceId, connectionId: connection.id }, { runAt: row.at });
    });
  }
}

/** Whether the last read of its invoice began after the event had come, and so showed what it told of. */
function isCovered(event: WebhookEvent, { byEvent }: Wanted, ours: Map<string, Invoice>): boolean {
  const ids = byEvent.get(event.id) ?? [];
  return ids.length > 0 && ids.every((id) => (ours.get(id)?.pulledAt ?? new Date(0)) > event.touchedAt);
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

/** Tells that an invoice was created, which whoever sent it knows; whatever happened to it later is announced as an UPDATE. */
function isEcho({ category, eventType }: WebhookEvent): boolean {
  return category === "INVOICE" && eventType === "CREATE";
}
