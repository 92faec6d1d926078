/**
 * Applies what webhooks announced. An event says only that something changed, so the present state is read from Xero, in one call for many
 * invoices, and applied; however many events came for an invoice, one read serves them all. Events stay RECEIVED until what they announced
 * is committed here, so nothing is lost when a process dies in between.
 *
 * The first event of an invoice is followed at once; those that come on its heels wait until it is quiet for a moment, so that a burst costs two
 * reads: Xero's smallest plan allows a thousand calls a day.
 */
import { In, IsNull, Not } from "typeorm";
import { type Database, type WorkspaceTransaction } from "../database.js";
import { Connection } from "../entities/Connection.js";
import { Invoice } from "../entities/Invoice.js";
import { Payment } from "../entities/Payment.js";
import { type WebhookEventStatus } from "../entities/enums.js";
import { WebhookEvent } from "../entities/WebhookEvent.js";
import { enqueue } from "../jobs/queue.js";
import { type XeroInvoiceAnswer } from "../xero/answers.js";
import { XeroFailure } from "../xero/XeroFailure.js";
import { type XeroGateway } from "../xero/XeroGateway.js";
import { loadIntegration } from "./Integrations.js";
import { find, groupBy, isId } from "./loading.js";
import { type Applied } from "./payments/applyAnswer.js";
import { type InvoiceReader } from "./payments/InvoiceReader.js";
import { suspectDoubles } from "./sync/Doubles.js";
import { isTransient } from "./sync/syncErrors.js";
import { backOffMs } from "./sync/outcomes.js";

const eventsAtOnce = 500;
const invoicesAtOnce = 40;

/** So long after a read of an invoice its events wait for a moment of quiet, and so long is that. */
const followMs = 10_000;
const quietMs = 1_000;

const inBackground = { background: true };

/** Until a right is given back, or an operator has mended the configuration. */
const longWaitMs = 300_000;

/** Xero's clock may be another, and its lists a little late. */
const overlapMs = 300_000;

/** What is announced of longer ago, which only a replay does, is looked for alone. */
const recentMs = 86_400_000;

/** Up to so many payments of unknown invoices are asked for one by one; of more there is a list. */
const fewPayments = 2;

const creditCategories = ["CREDITNOTE", "OVERPAYMENT", "PREPAYMENT"];

interface Waiting {
  connection: Connection;
  events: WebhookEvent[];
  /** PostgreSQL's clock before the read. */
  readAt: Date;
  /** Our invoices' Xero ids among what the events are about, and those to be read for another reason. */
  ours: Map<string, Invoice>;
  due: Invoice[];
  /** Our invoices' Xero ids by the payment or credit that is known to be theirs. */
  invoicesOf: Map<string, string[]>;
  /** Whether contacts are taken in. */
  importsContacts: boolean;
}

/** What is read for the events. */
interface Wanted {
  /** Xero's ids of our invoices. */
  ids: Set<string>;
  /** By event; absent where the event is not about invoices. Empty: about none of ours. */
  byEvent: Map<string, string[]>;
}

export class Puller {
  constructor(
    private readonly database: Database,
    private readonly gateway: XeroGateway,
    private readonly reader: InvoiceReader,
  ) {}

  /** Applies every event whose time has come for the organisation; safe to run any number of times at once. */
  async pull(workspaceId: string, connectionId: string): Promise<void> {
    for (;;) {
      const waiting = await this.database.inWorkspace(workspaceId, (tx) => readWaiting(tx, connectionId));
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
    const { connection, events, readAt, ours, due, importsContacts } = waiting;
    const wanted: Wanted = { ids: new Set(due.map(({ xeroId }) => xeroId ?? "")), byEvent: new Map() };
    const echoes = new Set<string>();
    const unknown: WebhookEvent[] = [];
    for (const event of events) {
      const { id, category, resourceId } = event;
      if (isEcho(event) && event.detail === null && ours.has(resourceId)) echoes.add(id);
      else if (category === "INVOICE") wanted.byEvent.set(id, ours.has(resourceId) ? [resourceId] : []);
      else if (category === "PAYMENT" || creditCategories.includes(category)) {
        const known = waiting.invoicesOf.get(resourceId);
        if (known) wanted.byEvent.set(id, known);
        // Of a credit there may be others by now.
        if (!known || category !== "PAYMENT") unknown.push(event);
      }
    }
    const changed = await this.lookFor(connection, unknown, wanted);
    for (const ids of wanted.byEvent.values()) for (const id of ids) wanted.ids.add(id);
    const applied = new Map<string, Applied>();
    const take = (outcomes: Map<string, Applied>): void => outcomes.forEach((outcome, id) => applied.set(id, outcome));
    const news = await this.reader.news(connection, changed);
    take(await this.reader.apply(connection, news, { readAt, source: "XERO_WEBHOOK" }));
    for (const id of applied.keys()) wanted.ids.delete(id);
    take(await this.reader.read(connection, [...wanted.ids], { source: "XERO_WEBHOOK", background: true }));
    await this.finish(connection, events, (event) => {
      const invoiceIds = wanted.byEvent.get(event.id);
      if (echoes.has(event.id)) return ["APPLIED", "it was created from here"];
      if (event.category === "CONTACT" && importsContacts) return ["APPLIED", "changed contacts are imported"];
      if (invoiceIds === undefined) return ["IGNORED", `nothing here depends on ${event.category}`];
      if (creditCategories.includes(event.category))
        return ["APPLIED", "the invoices that changed since were looked at"];
      const isKnown = invoiceIds.some((id) => (applied.get(id) ?? "UNKNOWN") !== "UNKNOWN");
      return isKnown ? ["APPLIED", null] : ["IGNORED", "not an invoice that was sent from here"];
    });
    await this.database.inWorkspace(connection.workspaceId, (tx) => forgetDue(tx, due));
  }

  /**
   * Finds which invoices payments and credits are about that nobody here knows yet: payments by their own list, credits, whose list does
   * not say, by the invoices that changed since. Answers those invoices as far as they were read on the way.
   */
  private async lookFor(connection: Connection, events: WebhookEvent[], wanted: Wanted): Promise<XeroInvoiceAnswer[]> {
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
    for (const { id } of credits) wanted.byEvent.set(id, wanted.byEvent.get(id) ?? []);
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
  private async afterFailure({ connection, events }: Waiting, failure: XeroFailure): Promise<void> {
    if (failure.kind === "REJECTED" || failure.kind === "NOT_FOUND") {
      await this.finish(connection, events, () => ["FAILED", `Xero refused the read: ${failure.kind}`]);
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

/** What waits for the organisation and is ripe; null: nothing now, and whatever is to come has its wake-up. */
async function readWaiting(tx: WorkspaceTransaction, connectionId: string): Promise<Waiting | null> {
  const { workspaceId } = tx;
  const connection = await find(tx, Connection, connectionId);
  // While the switch is off or the link is down events wait, and are applied in order when it is up again.
  const { enabled, contactImportEnabled } = await loadIntegration(tx);
  if (connection?.connectionStatus !== "CONNECTED" || !enabled) return null;
  const [clock] = await tx.manager.query<{ now: Date }[]>("SELECT clock_timestamp() AS now");
  const readAt = clock?.now ?? new Date();
  if (connection.pullNotBefore !== null && connection.pullNotBefore > readAt) return null;
  const all = await tx.manager.find(WebhookEvent, {
    where: { workspaceId, connectionId, status: "RECEIVED" },
    order: { id: "ASC" },
    take: eventsAtOnce,
  });
  const due = await tx.manager.find(Invoice, {
    where: { workspaceId, connectionId, pullDueAt: Not(IsNull()), xeroId: Not(IsNull()) },
    order: { pullDueAt: "ASC" },
    take: invoicesAtOnce,
  });
  if (all.length === 0 && due.length === 0) return null;
  const resources = all.map(({ resourceId }) => resourceId).filter(isId);
  const known = await tx.manager.findBy(Payment, [
    { workspaceId, connectionId, xeroPaymentId: In(resources) },
    {
      workspaceId,
      connectionId,
      financeExternalId: In(resources),
      type: In(["CREDIT_NOTE", "OVERPAYMENT", "PREPAYMENT"]),
    },
  ]);
  const invoices = await tx.manager.findBy(Invoice, [
    { workspaceId, connectionId, xeroId: In(resources) },
    { workspaceId, connectionId, id: In(known.map(({ invoiceId }) => invoiceId)) },
  ]);
  const xeroIds = new Map(invoices.map(({ id, xeroId }) => [id, xeroId ?? ""]));
  const invoicesOf = new Map(
    [...groupBy(known, ({ xeroPaymentId, financeExternalId }) => xeroPaymentId ?? financeExternalId ?? "")].map(
      ([resource, payments]) => [resource, payments.flatMap(({ invoiceId }) => xeroIds.get(invoiceId) ?? [])],
    ),
  );
  const ours = new Map(invoices.map((invoice) => [invoice.xeroId ?? "", invoice]));
  const events = ripe(tx, connectionId, all, { readAt, ours, invoicesOf });
  if (events.length === 0 && due.length === 0) return null;
  return { connection, events, readAt, ours, due, invoicesOf, importsContacts: contactImportEnabled };
}

/** Those events that need not wait for a moment of quiet; for the others there is a wake-up. */
function ripe(
  tx: WorkspaceTransaction,
  connectionId: string,
  events: WebhookEvent[],
  { readAt, ours, invoicesOf }: Pick<Waiting, "readAt" | "ours" | "invoicesOf">,
): WebhookEvent[] {
  const now = readAt.getTime();
  const invoiceOf = ({ resourceId }: WebhookEvent): string => invoicesOf.get(resourceId)?.[0] ?? resourceId;
  let wakeAt = Infinity;
  const found = [...groupBy(events, invoiceOf)].flatMap(([xeroId, group]) => {
    const lastReadAt = ours.get(xeroId)?.pulledAt?.getTime() ?? -Infinity;
    const lastCameAt = Math.max(...group.map(({ touchedAt }) => touchedAt.getTime()));
    const ripeAt = Math.min(lastReadAt + followMs, lastCameAt + quietMs);
    if (ripeAt <= now) return group;
    wakeAt = Math.min(wakeAt, ripeAt);
    return [];
  });
  if (wakeAt < Infinity) {
    enqueue(tx, "pull", { workspaceId: tx.workspaceId, connectionId }, { runAt: new Date(wakeAt) });
  }
  return found;
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
