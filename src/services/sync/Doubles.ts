/**
 * Looks whether Xero holds an invoice more than once. That can happen in one way only: a process is paused between its last look at the clock
 * and the write until Xero has forgotten the key, and meanwhile another sent the invoice under a new one. It can't be prevented where Xero
 * numbers, but it is found and told.
 */
import { type Database, type WorkspaceTransaction } from "../../database.js";
import { type Connection } from "../../entities/Connection.js";
import { type Invoice } from "../../entities/Invoice.js";
import { enqueue } from "../../jobs/queue.js";
import { type XeroInvoiceAnswer } from "../../xero/answers.js";
import { type XeroFailure } from "../../xero/XeroFailure.js";
import { type CallOptions, type XeroGateway } from "../../xero/XeroGateway.js";
import { openAlert, resolveAlerts } from "../alerts/Alerts.js";
import { groupBy } from "../loading.js";

const atOnce = 50;

/** An invoice that is there twice is looked at again so often, until a person has voided the copy. */
const againMs = 900_000;

export class Doubles {
  constructor(
    private readonly database: Database,
    private readonly gateway: XeroGateway,
  ) {}

  /** Asks Xero for the invoices whose time has come, and opens or resolves an alert for each. Throws XeroFailure; they are asked for again then. */
  async recheck(connection: Connection, options: CallOptions): Promise<XeroFailure | null> {
    const { workspaceId } = connection;
    const invoices = await this.database.inWorkspace(workspaceId, (tx) => claim(tx, connection.id));
    if (invoices.length === 0) return null;
    const references = invoices.map(({ number }) => number);
    const found = await this.gateway.call(
      connection,
      (accounting) => accounting.fetchInvoices({ references }),
      options,
    );
    const standing = groupBy(
      found.filter(({ status, url }) => status !== "VOIDED" && status !== "DELETED" && url !== undefined),
      ({ url = "" }) => url.slice(url.lastIndexOf("/") + 1),
    );
    await this.database.inWorkspace(workspaceId, async (tx) => {
      for (const invoice of invoices) await tell(tx, invoice, standing.get(invoice.id) ?? []);
    });
    return null;
  }
}

/**
 * An invoice that nobody here knows was created in Xero: it may be the copy of one that was sent under more than one key of late, so those are
 * looked at again.
 */
export async function suspectDoubles(tx: WorkspaceTransaction, connectionId: string): Promise<void> {
  const rows: unknown = await tx.manager.query(
    `UPDATE invoice i SET recheck_at = now() FROM sync_attempt a
     WHERE a.workspace_id = $1 AND a.connection_id = $2 AND a.resent AND a.finished_at > now() - interval '1 day'
       AND i.workspace_id = $1 AND i.id = a.invoice_id AND i.sync_status = 'SYNCED' RETURNING 1`,
    [tx.workspaceId, connectionId],
  );
  if ((rows as [unknown[]])[0].length > 0) enqueue(tx, "push", { workspaceId: tx.workspaceId, connectionId });
}

/** Takes what is due, put off for everybody else; should this process die, it is due again. */
async function claim(
  tx: WorkspaceTransaction,
  connectionId: string,
): Promise<Pick<Invoice, "id" | "number" | "xeroInvoiceNumber">[]> {
  const rows: unknown = await tx.manager.query(
    `UPDATE invoice i SET recheck_at = now() + $3 * interval '1 ms'
     FROM (SELECT id FROM invoice WHERE workspace_id = $1 AND connection_id = $2 AND recheck_at <= now() AND sync_status = 'SYNCED'
           ORDER BY recheck_at LIMIT $4 FOR UPDATE SKIP LOCKED) due
     WHERE i.workspace_id = $1 AND i.id = due.id RETURNING i.id, i.number, i.xero_invoice_number AS "xeroInvoiceNumber"`,
    [tx.workspaceId, connectionId, againMs, atOnce],
  );
  return (rows as [Pick<Invoice, "id" | "number" | "xeroInvoiceNumber">[]])[0];
}

async function tell(
  tx: WorkspaceTransaction,
  { id, number, xeroInvoiceNumber }: Pick<Invoice, "id" | "number" | "xeroInvoiceNumber">,
  standing: XeroInvoiceAnswer[],
): Promise<void> {
  if (standing.length < 2) {
    await tx.manager.query("UPDATE invoice SET recheck_at = NULL WHERE workspace_id = $1 AND id = $2", [
      tx.workspaceId,
      id,
    ]);
    await resolveAlerts(tx, ["DUPLICATE_IN_XERO"], id);
    return;
  }
  const names = standing.map(({ invoiceNumber, invoiceId }) => invoiceNumber ?? invoiceId).sort();
  await openAlert(tx, {
    kind: "DUPLICATE_IN_XERO",
    subject: id,
    message: `Xero holds invoice ${number} ${standing.length} times: ${names.join(", ")}.`,
    resolution: `Void all but ${xeroInvoiceNumber ?? "the one that is linked here"} in Xero.`,
  });
}
