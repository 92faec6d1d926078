/**
 * Looks through what changed in each organisation, for what no webhook told of: every few minutes, four times as rarely while webhooks arrive and
 * nothing else is found. It reads from Xero's own last time stamp less an overlap, page by page, and applies what it finds by the same code as
 * a webhook, so a change that comes by both counts once.
 *
 * A page that was read is never read again, however often the poll is interrupted: pages are in the order of ids, and what changes meanwhile
 * moves others to later pages only (https://developer.xero.com/documentation/api/accounting/requests-and-responses, paging and If-Modified-Since).
 */
import { randomUUID } from "node:crypto";
import { In } from "typeorm";
import { type Database, type WorkspaceTransaction } from "../../database.js";
import { Connection } from "../../entities/Connection.js";
import { Invoice } from "../../entities/Invoice.js";
import { Payment } from "../../entities/Payment.js";
import { PaymentPoll as PollState } from "../../entities/PaymentPoll.js";
import { enqueue } from "../../jobs/queue.js";
import { type XeroInvoiceAnswer, type XeroPaymentAnswer } from "../../xero/answers.js";
import { type ChangedPage } from "../../xero/XeroAccounting.js";
import { XeroFailure } from "../../xero/XeroFailure.js";
import { type XeroGateway } from "../../xero/XeroGateway.js";
import { openAlert, resolveAlerts } from "../alerts/Alerts.js";
import { loadIntegration } from "../Integrations.js";
import { find } from "../loading.js";
import { backOffMs } from "../sync/outcomes.js";
import { isTransient } from "../sync/syncErrors.js";
import { type InvoiceReader } from "./InvoiceReader.js";

/** Xero's lists may be a little late, and its stamps are of one clock of many. */
const overlapMs = 300_000;

/** Webhooks arrive as long as one came within this time. */
const arrivingMs = 86_400_000;

const whileHealthy = 4;

/** So many organisations are queued at a time. */
const atOnce = 50;

const source = "XERO_POLL" as const;

interface Found {
  workspaceId: string;
  connectionId: string;
}

export class PaymentPoll {
  constructor(
    private readonly database: Database,
    private readonly gateway: XeroGateway,
    private readonly reader: InvoiceReader,
    private readonly periods: { everyMs: number; silentAfterMs: number },
  ) {}

  /** Queues the poll of every organisation whose time has come and that has invoices of ours, without a call to Xero. */
  async run(): Promise<void> {
    await this.database.asSystem(async (tx) => {
      const pollable = `c.connection_status = 'CONNECTED' AND i.enabled
        AND EXISTS (SELECT FROM invoice v WHERE v.workspace_id = c.workspace_id AND v.connection_id = c.id AND v.xero_id IS NOT NULL)`;
      await tx.manager.query(
        `INSERT INTO payment_poll (workspace_id, connection_id, due_at)
         SELECT c.workspace_id, c.id, now() + $1 * interval '1 ms' FROM connection c JOIN integration i ON i.workspace_id = c.workspace_id
         WHERE NOT EXISTS (SELECT FROM payment_poll p WHERE p.workspace_id = c.workspace_id AND p.connection_id = c.id) AND ${pollable}
         ON CONFLICT DO NOTHING`,
        [this.periods.everyMs],
      );
      const rows: unknown = await tx.manager.query(
        `UPDATE payment_poll p SET due_at = now() + $1 * interval '1 ms'
         FROM (SELECT p.workspace_id, p.connection_id FROM payment_poll p
               JOIN connection c ON c.workspace_id = p.workspace_id AND c.id = p.connection_id
               JOIN integration i ON i.workspace_id = p.workspace_id
               WHERE p.due_at <= now() AND ${pollable} ORDER BY p.due_at LIMIT $2 FOR UPDATE OF p SKIP LOCKED) due
         WHERE p.workspace_id = due.workspace_id AND p.connection_id = due.connection_id
         RETURNING p.workspace_id AS "workspaceId", p.connection_id AS "connectionId"`,
        [this.periods.everyMs, atOnce],
      );
      for (const found of (rows as [Found[]])[0]) enqueue(tx, "poll", found, { priority: 10 });
    });
  }

  /** Looks through one organisation's changes, from where the last poll ended or was interrupted. */
  async poll(workspaceId: string, connectionId: string): Promise<void> {
    const begun = await this.database.inWorkspace(workspaceId, (tx) => begin(tx, connectionId));
    if (!begun) return;
    const { connection, state } = begun;
    try {
      const changed = (await this.invoices(connection, state)) + (await this.payments(connection, state));
      await this.database.inWorkspace(workspaceId, async (tx) => {
        await this.finish(tx, state, changed);
        await this.tellSilence(tx, connection, changed);
      });
    } catch (error) {
      if (!(error instanceof XeroFailure)) throw error;
      const waitMs = error.retryAfterMs ?? (isTransient(error) ? backOffMs(5) : this.periods.everyMs);
      await this.database.inWorkspace(workspaceId, (tx) => putOff(tx, state, Math.min(waitMs, this.periods.everyMs)));
    }
  }

  /** Applies the invoices that changed; how many were not known here as they are. */
  private async invoices(connection: Connection, state: Begun): Promise<number> {
    let changed = 0;
    let readAt = await this.reader.now(connection);
    await this.gateway.call(
      connection,
      async (accounting) => {
        for await (const page of accounting.fetchChangedInvoices(state.since, state.page)) {
          const news = await this.reader.news(connection, page.elements);
          const applied = await this.reader.apply(connection, news, { readAt, source });
          changed += [...applied.values()].filter((outcome) => outcome === "CHANGED").length;
          await this.database.inWorkspace(connection.workspaceId, (tx) => notePage(tx, state, page));
          readAt = await this.reader.now(connection);
        }
      },
      { background: true },
    );
    return changed;
  }

  /** Reads the invoices of payments that changed and are not known here as they are: whether a payment touches its invoice's stamp is not promised. */
  private async payments(connection: Connection, { since }: Begun): Promise<number> {
    const unknown = new Set<string>();
    await this.gateway.call(
      connection,
      async (accounting) => {
        for await (const page of accounting.fetchPayments({ modifiedSince: since })) {
          const found = await this.database.inWorkspace(connection.workspaceId, (tx) =>
            invoicesToRead(tx, connection.id, page),
          );
          for (const id of found) unknown.add(id);
        }
      },
      { background: true },
    );
    const applied = await this.reader.read(connection, [...unknown], { source, background: true });
    return [...applied.values()].filter((outcome) => outcome === "CHANGED").length;
  }

  /** Changes that no webhook told of, and none for long: somebody has to look at what Xero posts to. */
  private async tellSilence(
    tx: WorkspaceTransaction,
    { id, name, connectedAt }: Connection,
    changed: number,
  ): Promise<void> {
    const [heard] = await tx.manager.query<{ last: Date | null; silent: boolean }[]>(
      `SELECT max(received_at) AS last, coalesce(max(received_at), $3) < now() - $4 * interval '1 ms' AS silent FROM webhook_event
       WHERE workspace_id = $1 AND connection_id = $2`,
      [tx.workspaceId, id, connectedAt, this.periods.silentAfterMs],
    );
    if (!heard?.silent) await resolveAlerts(tx, ["WEBHOOK_SILENT"], id);
    else if (changed > 0) {
      const since = heard.last ? `since ${heard.last.toISOString()}` : "yet";
      await openAlert(tx, {
        kind: "WEBHOOK_SILENT",
        subject: id,
        message: `Changes were found in ${name} of which no webhook told, and none has come ${since}. Payments are still found, minutes later.`,
        resolution:
          "Whoever operates the service has to look at the webhook in Xero's developer portal: whether it is enabled, its address is the one that the settings here show, and its key is among XERO_WEBHOOK_KEYS.",
      });
    }
  }

  private async finish(tx: WorkspaceTransaction, { connectionId, pollId }: Begun, changed: number): Promise<void> {
    // Whether webhooks arrive is told by any event, for the organisation may have nothing else to tell.
    await tx.manager.query(
      `UPDATE payment_poll SET changed_until = greatest(changed_until, seen_until), since = NULL, page = 1, answered_at = NULL, seen_until = NULL, poll_id = NULL,
         due_at = now() + $4 * interval '1 ms' * CASE WHEN NOT $3 AND EXISTS (
           SELECT FROM webhook_event WHERE workspace_id = $1 AND connection_id = $2 AND received_at > now() - $5 * interval '1 ms') THEN $6 ELSE 1 END
       WHERE workspace_id = $1 AND connection_id = $2 AND poll_id = $7`,
      [tx.workspaceId, connectionId, changed > 0, this.periods.everyMs, arrivingMs, whileHealthy, pollId],
    );
  }
}

/** A poll that has begun. */
interface Begun {
  connectionId: string;
  pollId: string;
  since: Date;
  page: number;
}

/** Where the poll goes on, or begins; null where it can't now. */
async function begin(
  tx: WorkspaceTransaction,
  connectionId: string,
): Promise<{ connection: Connection; state: Begun } | null> {
  const { workspaceId } = tx;
  const connection = await find(tx, Connection, connectionId);
  const { enabled } = await loadIntegration(tx);
  if (connection?.connectionStatus !== "CONNECTED" || !enabled) return null;
  const key = { workspaceId, connectionId };
  const state = await tx.manager.findOne(PollState, { where: key, lock: { mode: "pessimistic_write" } });
  if (!state) return null;
  if (state.pollId !== null && state.since !== null) {
    return { connection, state: { connectionId, pollId: state.pollId, since: state.since, page: state.page } };
  }
  const from = state.changedUntil ?? (await firstSyncedAt(tx, connectionId)) ?? connection.connectedAt;
  const begun = { pollId: randomUUID(), since: new Date(from.getTime() - overlapMs), page: 1 };
  await tx.manager.update(PollState, key, { ...begun, answeredAt: null, seenUntil: null });
  return { connection, state: { connectionId, ...begun } };
}

/** Before that nothing of ours could change in Xero. A consent may be much newer, and the link have been down for long. */
async function firstSyncedAt(tx: WorkspaceTransaction, connectionId: string): Promise<Date | null> {
  const [row] = await tx.manager.query<{ at: Date | null }[]>(
    "SELECT min(synced_at) AS at FROM invoice WHERE workspace_id = $1 AND connection_id = $2 AND xero_id IS NOT NULL",
    [tx.workspaceId, connectionId],
  );
  return row?.at ?? null;
}

/**
 * Notes that the page is through, and the newest stamp so far. What changed after the first page was answered is for the next poll: it may be
 * on a page that was through by then.
 */
async function notePage(
  tx: WorkspaceTransaction,
  { connectionId, pollId }: Begun,
  { page, elements, answeredAt }: ChangedPage<XeroInvoiceAnswer>,
): Promise<void> {
  await tx.manager.query(
    `UPDATE payment_poll SET page = greatest(page, $3 + 1),
       answered_at = CASE WHEN $3 = 1 THEN least(answered_at, $4) ELSE answered_at END,
       seen_until = greatest(seen_until, (
         SELECT max(stamp) FROM unnest($5::timestamptz[]) AS stamp
         WHERE $3 = 1 AND $4::timestamptz IS NULL OR stamp <= CASE WHEN $3 = 1 THEN $4 ELSE answered_at END))
     WHERE workspace_id = $1 AND connection_id = $2 AND poll_id = $6`,
    [tx.workspaceId, connectionId, page, answeredAt ?? null, elements.map(({ updatedAt }) => updatedAt), pollId],
  );
}

async function putOff(tx: WorkspaceTransaction, { connectionId }: Begun, waitMs: number): Promise<void> {
  await tx.manager.query(
    "UPDATE payment_poll SET due_at = least(due_at, now() + $3 * interval '1 ms') WHERE workspace_id = $1 AND connection_id = $2",
    [tx.workspaceId, connectionId, waitMs],
  );
}

/** The invoices of ours, by Xero's ids, that these payments are of and that do not show them as they are. */
async function invoicesToRead(
  tx: WorkspaceTransaction,
  connectionId: string,
  payments: XeroPaymentAnswer[],
): Promise<string[]> {
  const { workspaceId } = tx;
  const records = await tx.manager.findBy(Payment, {
    workspaceId,
    connectionId,
    xeroPaymentId: In(payments.map(({ paymentId }) => paymentId.toLowerCase())),
  });
  const known = new Map(records.map((payment) => [payment.xeroPaymentId, payment]));
  const odd = payments.filter(({ paymentId, status }) => {
    const payment = known.get(paymentId.toLowerCase());
    const stands = status.toUpperCase() !== "DELETED";
    return payment ? payment.paid !== stands && payment.pushAction === null : stands;
  });
  const ids = odd.flatMap(({ invoiceId }) => invoiceId ?? []);
  const ours = await tx.manager.findBy(Invoice, { workspaceId, connectionId, xeroId: In(ids) });
  return ours.flatMap(({ xeroId }) => xeroId ?? []);
}
