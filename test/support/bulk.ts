/** Many invoices at once: their rows are copied, for the sake of time, and one run brings them to Xero by the front door. */
import { type GraphqlClient } from "../../demo/graphqlClient.js";
import { type Link } from "./links.js";
import { runSql, saveInvoice } from "./records.js";

interface Run {
  id: string;
  status: string;
  total: number;
  created: number;
  failed: number;
  xeroCalls: number;
}

/** Copies an approved invoice of each of these participants so often, as `count` presses of "save" would: rows only, for the sake of time. */
export async function copyInvoices({ service, workspace }: Link, participants: number, each: number): Promise<void> {
  await runSql(
    service,
    `INSERT INTO participant (workspace_id, id, contact_number, name, email, plan_management, updated_at)
     SELECT workspace_id, gen_random_uuid(), 'BULK-' || n, 'Bulk ' || n, 'bulk' || n || '@example.com', 'SELF_MANAGED', now()
     FROM (SELECT workspace_id FROM participant WHERE workspace_id = $1 LIMIT 1) one, generate_series(1, $2) n`,
    [workspace, participants],
  );
  await runSql(
    service,
    `WITH template AS (SELECT * FROM invoice WHERE workspace_id = $1 LIMIT 1), line AS (SELECT * FROM line_item WHERE workspace_id = $1 LIMIT 1),
     made AS (
       INSERT INTO invoice (workspace_id, id, number, participant_id, status, date, due_date, currency, line_amount_types, subtotal, total_tax, total,
                            amount_due, created_at, updated_at)
       SELECT $1, gen_random_uuid(), 'BULK-' || p.contact_number || '-' || n, p.id, 'APPROVED', t.date, t.due_date, t.currency, t.line_amount_types,
              t.subtotal, t.total_tax, t.total, t.amount_due, now(), now()
       FROM template t, participant p, generate_series(1, $2) n WHERE p.workspace_id = $1 AND starts_with(p.contact_number, 'BULK-')
       RETURNING id
     )
     INSERT INTO line_item (workspace_id, id, invoice_id, position, description, quantity, unit_amount, tax_rate_id, tax_percent, tax_amount, line_amount)
     SELECT $1, gen_random_uuid(), made.id, 1, line.description, line.quantity, line.unit_amount, line.tax_rate_id, line.tax_percent,
            line.tax_amount, line.line_amount FROM made, line`,
    [workspace, each],
  );
}

/** The run once it is over. */
async function untilOver(client: GraphqlClient, id: string): Promise<Run> {
  const events = client.watch<{ syncStatus: { runStatus: string | null } }>(
    'subscription ($id: ID!) { syncStatus(runId: $id, after: "0") { runStatus } }',
    { id },
  );
  for await (const { syncStatus: event } of events) {
    if (event.runStatus === null || event.runStatus === "QUEUED" || event.runStatus === "RUNNING") continue;
    const query = "query ($id: ID!) { syncRun(id: $id) { id status total created failed xeroCalls } }";
    return (await client.ask<{ syncRun: Run }>(query, { id })).syncRun;
  }
  throw new Error("the subscription ended");
}

/** Presses Run Now, and waits. */
export async function runNow({ client }: Pick<Link, "client">): Promise<Run> {
  const { runInvoiceSync } = await client.ask<{ runInvoiceSync: { id: string } }>("mutation { runInvoiceSync { id } }");
  return untilOver(client, runInvoiceSync.id);
}

/** An invoice that is in Xero. */
export interface BulkInvoice {
  id: string;
  number: string;
  xeroId: string;
}

/** So many invoices that are in Xero, of this total each and so many to a participant; in the order of their numbers. */
export async function invoicesInXero(
  link: Link,
  count: number,
  { total = "100.00", each = 5 } = {},
): Promise<BulkInvoice[]> {
  const lineItems = [{ description: "Support", quantity: "1", unitAmount: total }];
  await saveInvoice(link.client, { lineItems }, { approve: false });
  await copyInvoices(link, count / each, each);
  const { created } = await runNow(link);
  if (created !== count) throw new Error(`only ${created} of ${count} invoices came to Xero`);
  return runSql<BulkInvoice>(
    link.service,
    `SELECT id, number, xero_id AS "xeroId" FROM invoice WHERE workspace_id = $1 AND xero_id IS NOT NULL ORDER BY number`,
    [link.workspace],
  );
}
