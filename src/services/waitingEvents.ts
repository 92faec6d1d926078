/**
 * Which events wait to be applied, and which of them need wait no longer: Xero's smallest plan allows a thousand calls a day for an
 * organisation, so what can be read together is.
 *
 * The first event of an invoice is ripe at once; those that come on its heels wait until it is quiet for a moment, so that a burst costs two
 * reads. Events of payments and credits that nobody here knows are looked up for all of them together, after such a moment, for most are
 * announced with their invoice, and not too often: an organisation may have many that are none of ours.
 */
import { In, IsNull, Not } from "typeorm";
import { type WorkspaceTransaction } from "../database.js";
import { Connection } from "../entities/Connection.js";
import { Invoice } from "../entities/Invoice.js";
import { Payment } from "../entities/Payment.js";
import { WebhookEvent } from "../entities/WebhookEvent.js";
import { enqueue } from "../jobs/queue.js";
import { loadIntegration } from "./Integrations.js";
import { find, groupBy, isId } from "./loading.js";

const eventsAtOnce = 500;
const invoicesAtOnce = 40;

/** So long after a read of an invoice its events wait for a moment of quiet, and so long is that. */
const followMs = 30_000;
const quietMs = 1_000;

/** What waits for an organisation and is ripe. */
export interface Waiting {
  connection: Connection;
  /** Those whose invoices are known, and those that are about none. */
  events: WebhookEvent[];
  /** Those of payments and credits whose invoices must be looked for. */
  unknown: WebhookEvent[];
  /** PostgreSQL's clock before the read. */
  readAt: Date;
  /** Our invoices, by Xero's ids, among what the events are about. */
  ours: Map<string, Invoice>;
  /** Those that are to be read for another reason. */
  due: Invoice[];
  /** Our invoice's Xero id by the payment that is known to be its. */
  invoicesOf: Map<string, string>;
  /** Whether contacts are taken in. */
  importsContacts: boolean;
}

/** Whether the category is that of what settles invoices without being a payment. */
function isCredit(category: string): boolean {
  return category === "CREDITNOTE" || category === "OVERPAYMENT" || category === "PREPAYMENT";
}

const everyMs = 300_000;
const inARow = 10;

/**
 * When this process may look for what nobody knows, by organisation: ten times in a row, and then every five minutes, for an organisation may have
 * any number of payments that are none of ours, and a thousand calls a day.
 */
export class LookUps {
  private readonly used = new Map<string, { left: number; since: number; notBefore: number }>();

  /** When the next one is free; in the past: now. */
  freeAt(connectionId: string): number {
    const { left, since, notBefore } = this.state(connectionId);
    return Math.max(notBefore, left >= 1 ? 0 : since + everyMs);
  }

  take(connectionId: string): void {
    const state = this.state(connectionId);
    this.used.set(connectionId, { ...state, left: Math.max(0, state.left - 1) });
  }

  /** None for so long, for Xero can't be asked; until when. */
  wait(connectionId: string, ms: number): Date {
    const notBefore = Date.now() + ms;
    this.used.set(connectionId, { ...this.state(connectionId), notBefore });
    return new Date(notBefore);
  }

  private state(connectionId: string): { left: number; since: number; notBefore: number } {
    const before = this.used.get(connectionId) ?? { left: inARow, since: Date.now(), notBefore: 0 };
    const gained = Math.floor((Date.now() - before.since) / everyMs);
    return { ...before, left: Math.min(inARow, before.left + gained), since: before.since + gained * everyMs };
  }
}

/** What is ripe for the organisation; null: nothing now, and whatever is to come has its wake-up. `lookUpAt`: when unknown ones may be looked for. */
export async function readWaiting(
  tx: WorkspaceTransaction,
  connectionId: string,
  lookUpAt: number,
): Promise<Waiting | null> {
  const { workspaceId } = tx;
  const connection = await find(tx, Connection, connectionId);
  // While the switch is off or the link is down events wait, and are applied in order when it is up again.
  const { enabled, contactImportEnabled } = await loadIntegration(tx);
  if (connection?.connectionStatus !== "CONNECTED" || !enabled) return null;
  const [clock] = await tx.manager.query<{ now: Date }[]>("SELECT clock_timestamp() AS now");
  const readAt = clock?.now ?? new Date();
  if (connection.pullNotBefore !== null && connection.pullNotBefore > readAt) return null;
  // Apart, so that any number of those that must wait hides none of the others.
  const settling = In(["PAYMENT", "CREDITNOTE", "OVERPAYMENT", "PREPAYMENT"]);
  const all: WebhookEvent[] = [];
  for (const category of [settling, Not(settling)]) {
    const where = { workspaceId, connectionId, status: "RECEIVED" as const, category };
    all.push(...(await tx.manager.find(WebhookEvent, { where, order: { id: "ASC" }, take: eventsAtOnce })));
  }
  const due = await tx.manager.find(Invoice, {
    where: { workspaceId, connectionId, pullDueAt: Not(IsNull()), xeroId: Not(IsNull()) },
    order: { pullDueAt: "ASC" },
    take: invoicesAtOnce,
  });
  if (all.length === 0 && due.length === 0) return null;
  const resources = all.map(({ resourceId }) => resourceId).filter(isId);
  const payments = await tx.manager.findBy(Payment, { workspaceId, connectionId, xeroPaymentId: In(resources) });
  const invoices = await tx.manager.findBy(Invoice, [
    { workspaceId, connectionId, xeroId: In(resources) },
    { workspaceId, id: In(payments.map(({ invoiceId }) => invoiceId)) },
  ]);
  const xeroIds = new Map(invoices.map(({ id, xeroId }) => [id, xeroId ?? ""]));
  const invoicesOf = new Map(
    payments.map(({ xeroPaymentId, invoiceId }) => [xeroPaymentId ?? "", xeroIds.get(invoiceId) ?? ""]),
  );
  const ours = new Map(invoices.map((invoice) => [invoice.xeroId ?? "", invoice]));
  const isUnknown = ({ category, resourceId }: WebhookEvent): boolean =>
    isCredit(category) || (category === "PAYMENT" && !invoicesOf.has(resourceId));
  const invoiceOf = ({ resourceId }: WebhookEvent): string => invoicesOf.get(resourceId) ?? resourceId;
  const now = readAt.getTime();
  let wakeAt = Infinity;
  /** The group, if it need not wait until then. */
  const ripe = (group: WebhookEvent[], ripeAt: number): WebhookEvent[] => {
    if (ripeAt <= now) return group;
    wakeAt = Math.min(wakeAt, ripeAt);
    return [];
  };
  const events = [
    ...groupBy(
      all.filter((event) => !isUnknown(event)),
      invoiceOf,
    ),
  ].flatMap(([xeroId, group]) => {
    const lastReadAt = ours.get(xeroId)?.pulledAt?.getTime() ?? -Infinity;
    return ripe(group, Math.min(lastReadAt + followMs, quietAfter(group)));
  });
  const strangers = all.filter(isUnknown);
  const longestAt = Math.min(...strangers.map(({ touchedAt }) => touchedAt.getTime())) + followMs;
  const unknown =
    strangers.length === 0 ? [] : ripe(strangers, Math.max(lookUpAt, Math.min(quietAfter(strangers), longestAt)));
  if (wakeAt < Infinity) enqueue(tx, "pull", { workspaceId, connectionId }, { runAt: new Date(wakeAt) });
  if (events.length === 0 && unknown.length === 0 && due.length === 0) return null;
  return { connection, events, unknown, readAt, ours, due, invoicesOf, importsContacts: contactImportEnabled };
}

/** When it will have been quiet for a moment after these. */
function quietAfter(events: WebhookEvent[]): number {
  return Math.max(...events.map(({ touchedAt }) => touchedAt.getTime())) + quietMs;
}
