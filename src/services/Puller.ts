/**
 * Applies what webhooks announced. An event says only that something changed, so the present state is read from Xero, in one call for many
 * invoices, and applied; however many events came for an invoice, one read serves them all. Events stay RECEIVED until what they announced
 * is committed here, so nothing is lost when a process dies in between.
 */
import { In } from "typeorm";
import { type Database } from "../database.js";
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
import { find, isId } from "./loading.js";
import { applyAnswer } from "./Payments.js";
import { suspectDoubles } from "./sync/Doubles.js";
import { isTransient } from "./sync/syncErrors.js";
import { backOffMs } from "./sync/outcomes.js";

const eventsAtOnce = 500;
const invoicesAtOnce = 40;

const inBackground = { background: true };

/** Until a right is given back, or an operator has mended the configuration. */
const longWaitMs = 300_000;

interface Waiting {
  connection: Connection;
  events: WebhookEvent[];
  /** PostgreSQL's clock before the read. */
  readAt: Date;
  /** Our invoices' Xero ids among what the events are about. */
  ours: Set<string>;
  /** Invoices' Xero ids by the PaymentID that we know for theirs. */
  knownPayments: Map<string, string>;
  /** Whether contacts are taken in. */
  importsContacts: boolean;
}

export class Puller {
  constructor(
    private readonly database: Database,
    private readonly gateway: XeroGateway,
  ) {}

  /** Applies every event that waits for the organisation; safe to run any number of times at once. */
  async pull(workspaceId: string, connectionId: string): Promise<void> {
    for (;;) {
      const waiting = await this.read(workspaceId, connectionId);
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

  private async read(workspaceId: string, connectionId: string): Promise<Waiting | null> {
    return this.database.inWorkspace(workspaceId, async (tx) => {
      const connection = await find(tx, Connection, connectionId);
      // While the switch is off or the link is down events wait, and are applied in order when it is up again.
      const { enabled, contactImportEnabled } = await loadIntegration(tx);
      if (connection?.connectionStatus !== "CONNECTED" || !enabled) return null;
      const [clock] = await tx.manager.query<{ now: Date }[]>("SELECT clock_timestamp() AS now");
      const readAt = clock?.now ?? new Date();
      if (connection.pullNotBefore !== null && connection.pullNotBefore > readAt) return null;
      const events = await tx.manager.find(WebhookEvent, {
        where: { workspaceId, connectionId, status: "RECEIVED" },
        order: { id: "ASC" },
        take: eventsAtOnce,
      });
      if (events.length === 0) return null;
      const resources = events.map(({ resourceId }) => resourceId).filter(isId);
      const invoices = await tx.manager.findBy(Invoice, { workspaceId, connectionId, xeroId: In(resources) });
      const payments = await tx.manager.findBy(Payment, { workspaceId, connectionId, xeroPaymentId: In(resources) });
      const paid = await tx.manager.findBy(Invoice, {
        workspaceId,
        id: In(payments.map(({ invoiceId }) => invoiceId)),
      });
      return {
        connection,
        events,
        readAt,
        importsContacts: contactImportEnabled,
        ours: new Set(invoices.map(({ xeroId }) => xeroId ?? "")),
        knownPayments: new Map(
          payments.map(({ xeroPaymentId, invoiceId }) => [
            xeroPaymentId ?? "",
            paid.find(({ id }) => id === invoiceId)?.xeroId ?? "",
          ]),
        ),
      };
    });
  }

  private async applyAll({ connection, events, readAt, ours, knownPayments, importsContacts }: Waiting): Promise<void> {
    const invoiceOf = new Map<string, string | null>();
    const echoes = new Set<string>();
    for (const event of events) {
      if (isEcho(event) && event.detail === null && ours.has(event.resourceId)) echoes.add(event.id);
      else if (event.category === "INVOICE")
        invoiceOf.set(event.id, ours.has(event.resourceId) ? event.resourceId : null);
      else if (event.category === "PAYMENT" && isId(event.resourceId)) {
        const known = knownPayments.get(event.resourceId);
        invoiceOf.set(event.id, known ?? (await this.invoiceOfPayment(connection, event.resourceId)));
      }
    }
    const wanted = [...new Set([...invoiceOf.values()].filter((id) => id !== null))];
    const answers: XeroInvoiceAnswer[] = [];
    for (let start = 0; start < wanted.length; start += invoicesAtOnce) {
      const ids = wanted.slice(start, start + invoicesAtOnce);
      answers.push(
        ...(await this.gateway.call(connection, (accounting) => accounting.fetchInvoices({ ids }), inBackground)),
      );
    }
    const applied = new Set<string>();
    for (const answer of answers) {
      const outcome = await this.database.inWorkspace(connection.workspaceId, (tx) =>
        applyAnswer(tx, connection.id, answer, { readAt, source: "XERO_WEBHOOK" }),
      );
      if (outcome !== "UNKNOWN") applied.add(answer.invoiceId);
    }
    await this.finish(connection, events, (event) => {
      const invoiceId = invoiceOf.get(event.id);
      if (echoes.has(event.id)) return ["APPLIED", "it was created from here"];
      if (event.category === "CONTACT" && importsContacts) return ["APPLIED", "changed contacts are imported"];
      if (invoiceId === undefined) return ["IGNORED", `nothing here depends on ${event.category}`];
      return applied.has(invoiceId ?? "") ? ["APPLIED", null] : ["IGNORED", "not an invoice that was sent from here"];
    });
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

/** Tells that an invoice was created, which whoever sent it knows; whatever happened to it later is announced as an UPDATE. */
function isEcho({ category, eventType }: WebhookEvent): boolean {
  return category === "INVOICE" && eventType === "CREATE";
}
