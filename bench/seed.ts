/**
 * Records in bulk, as if they had been entered long ago: through the front door a hundred thousand invoices would take longer than the bench
 * that wants them. What is written is what `saveParticipant` and `saveInvoice` write, with one line of 100.00 free of tax.
 */
import type pg from "pg";

export interface Wish {
  workspaceId: string;
  invoices: number;
  /** Begins their numbers and names; another one, another set. */
  prefix: string;
  /** Whose participants are billed; by default new ones. */
  billed?: string;
  /** How many invoices one participant is billed for; 4 where nothing is said. */
  each?: number;
  status?: "DRAFT" | "APPROVED";
}

/** Makes the invoices, with participants where they have none yet. */
export async function seed(
  sql: pg.Pool,
  { workspaceId, invoices, prefix, billed, each = 4, status }: Wish,
): Promise<void> {
  const participants = Math.ceil(invoices / each);
  if (billed === undefined) {
    await sql.query(
      `INSERT INTO participant (workspace_id, id, contact_number, name, plan_management, updated_at)
       SELECT $1, gen_random_uuid(), $2 || '-P' || n, 'Participant ' || $2 || ' ' || n, 'SELF_MANAGED', now() FROM generate_series(0, $3 - 1) n`,
      [workspaceId, prefix, participants],
    );
  }
  await sql.query(
    `WITH billed AS (
       SELECT id, row_number() OVER (ORDER BY id) - 1 AS position FROM participant
       WHERE workspace_id = $1 AND contact_number LIKE $3 || '-P%'),
     made AS (
       INSERT INTO invoice (workspace_id, id, number, participant_id, status, date, due_date, currency, line_amount_types, subtotal, total_tax, total,
         amount_due, created_at, updated_at)
       SELECT $1, gen_random_uuid(), $2 || '-' || lpad(n::text, 6, '0'), billed.id, $5, current_date, current_date + 14, 'AUD', 'EXCLUSIVE', 100, 0, 100,
         100, now(), now()
       FROM generate_series(0, $4 - 1) n JOIN billed ON billed.position = n / $6::integer
       RETURNING id)
     INSERT INTO line_item (workspace_id, id, invoice_id, position, description, quantity, unit_amount, tax_rate_id, tax_percent, tax_amount, line_amount)
     SELECT $1, gen_random_uuid(), made.id, 0, 'Support', 1, 100, i.default_tax_rate_id, 0, 0, 100
     FROM made CROSS JOIN integration i WHERE i.workspace_id = $1`,
    [workspaceId, prefix, billed ?? prefix, invoices, status ?? "APPROVED", each],
  );
  // As autovacuum would have by then: without it the first queries go by wrong guesses.
  await sql.query("ANALYZE invoice, participant, line_item");
}

/** The ids of the set's invoices, in the order of their numbers. */
export async function invoiceIds(sql: pg.Pool, workspaceId: string, prefix: string): Promise<string[]> {
  const { rows } = await sql.query<{ id: string }>(
    "SELECT id FROM invoice WHERE workspace_id = $1 AND number LIKE $2 || '-%' ORDER BY number",
    [workspaceId, prefix],
  );
  return rows.map(({ id }) => id);
}
