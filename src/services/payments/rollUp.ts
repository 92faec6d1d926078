/** What an invoice's payments come to: computed anew from its records each time, in one statement, and never added to. */
import { type WorkspaceTransaction } from "../../database.js";

/** Payments on both sides that are of one amount count as alike where so many days are between them at most. */
const daysApart = 7;

const counts = "paid AND include AND type IN ('RECONCILIATION', 'STRIPE', 'MANUAL')";

const statement = `
  WITH sums AS (
    SELECT coalesce(sum(amount) FILTER (WHERE ${counts}), 0) AS paid, max(payment_date) FILTER (WHERE ${counts}) AS last,
           coalesce(sum(amount) FILTER (WHERE paid AND NOT include AND type IN ('CREDIT_NOTE', 'OVERPAYMENT', 'PREPAYMENT')), 0) AS left_out
    FROM payment WHERE workspace_id = $1 AND invoice_id = $2
  ), computed AS (
    SELECT i.id, sums.paid, sums.last, i.credited_in_xero - sums.left_out AS credited,
           i.total - sums.paid - (i.credited_in_xero - sums.left_out) AS due
    FROM invoice i, sums WHERE i.workspace_id = $1 AND i.id = $2
  ), alike AS (
    SELECT coalesce(array_agg(format(
        'The %s payment of %s on %s (%s) and the reconciliation of %s in Xero (%s) look like the same money: take one back, or leave it out of the total.',
        CASE p.type WHEN 'STRIPE' THEN 'Stripe' ELSE 'manual' END, p.amount, p.paid_on, coalesce(p.finance_external_id, p.id::text), r.paid_on, r.xero_payment_id
      ) ORDER BY p.id, r.id), '{}') AS warnings
    FROM computed c
    JOIN payment p ON p.workspace_id = $1 AND p.invoice_id = c.id AND p.paid AND p.include AND p.type IN ('STRIPE', 'MANUAL') AND p.xero_payment_id IS NULL
    JOIN payment r ON r.workspace_id = $1 AND r.invoice_id = c.id AND r.paid AND r.include AND r.type = 'RECONCILIATION'
      AND r.amount = p.amount AND abs(r.paid_on - p.paid_on) <= ${daysApart}
    WHERE c.due < 0
  ), rolled AS (
    SELECT c.*, alike.warnings, CASE
        WHEN i.status NOT IN ('APPROVED', 'PARTIALLY_PAID', 'PAID') THEN i.status
        WHEN c.paid + c.credited = 0 THEN 'APPROVED'
        WHEN c.due <= s.paid_tolerance THEN 'PAID'
        ELSE 'PARTIALLY_PAID'
      END AS status
    FROM computed c, alike, invoice i, integration s WHERE i.workspace_id = $1 AND i.id = c.id AND s.workspace_id = $1
  )
  UPDATE invoice i SET total_payment_amount = r.paid, last_payment_date = r.last, total_credit_amount = r.credited, amount_due = r.due,
    status = r.status, payment_warnings = r.warnings, updated_at = now()
  FROM rolled r WHERE i.workspace_id = $1 AND i.id = r.id
    AND (i.total_payment_amount, i.last_payment_date, i.total_credit_amount, i.amount_due, i.status, i.payment_warnings)
        IS DISTINCT FROM (r.paid, r.last, r.credited, r.due, r.status, r.warnings)
  RETURNING 1`;

/**
 * Computes the invoice's totals, status and warnings from its payments; the caller holds the invoice's lock. True where something changed.
 * What is paid is the sum of the payments that went through and are included; what is credited is what Xero says, less the credits that are
 * left out. An invoice counts as paid when its open balance is at most the workspace's tolerance and something was paid or credited.
 */
export async function rollUp(tx: WorkspaceTransaction, invoiceId: string): Promise<boolean> {
  const rows: unknown = await tx.manager.query(statement, [tx.workspaceId, invoiceId]);
  return (rows as [unknown[]])[0].length > 0;
}
