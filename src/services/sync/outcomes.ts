/** What an invoice shows once Xero has it, and what waits for that moment. */
import { type WorkspaceTransaction } from "../../database.js";
import { type Invoice } from "../../entities/Invoice.js";
import { type SyncAttempt } from "../../entities/SyncAttempt.js";
import { enqueue } from "../../jobs/queue.js";
import { type XeroInvoiceAnswer } from "../../xero/answers.js";
import { contentOf, warningsOf } from "../payments/xeroContent.js";
import { type Change } from "./attempts.js";
import { type WrittenInvoice } from "./batchRows.js";

/** One invoice of a batch. */
export interface Member {
  attempt: SyncAttempt;
  invoice: Invoice;
  written: WrittenInvoice;
}

/** What is known of one member: it is in Xero, as the answer says. */
export interface Arrival {
  member: Member;
  answer: XeroInvoiceAnswer;
  outcome: "CREATED" | "UPDATED" | "ADOPTED";
}

/** What is known when an invoice has arrived, by PostgreSQL's clock. */
export interface Arriving {
  connectionId: string;
  now: Date;
  /** When one that was sent under more than one key is looked at again, lest it be there twice. */
  recheckAt: Date;
  /** Its answer may be an old one: it was there before, or was asked for more than once. */
  isLate: boolean;
  /** Xero's time stamp of what was read of it meanwhile. */
  seenUntil: Date | null;
}

/**
 * The change for an invoice that Xero has as it was sent: its ids and number there, and what differs from ours as a warning. What a newer read has
 * shown of its state stays, and after a late answer it is read once more, for it may have been paid or voided by now.
 */
export function taken({ member, answer, outcome }: Arrival, arriving: Arriving): Change {
  const { connectionId, now, recheckAt, isLate, seenUntil } = arriving;
  const { attempt, invoice } = member;
  const isNewest = seenUntil === null || answer.updatedAt >= seenUntil;
  const isVoid = attempt.action === "VOID";
  return {
    attempt,
    outcome,
    syncStatus: "SYNCED",
    error: null,
    also: { notBefore: null },
    invoice: {
      connectionId,
      xeroId: answer.invoiceId,
      xeroInvoiceNumber: answer.invoiceNumber ?? null,
      ...(isNewest && { xeroStatus: answer.status, xeroUpdatedAt: answer.updatedAt }),
      syncedAt: now,
      ...(attempt.resent && { recheckAt }),
      ...(isLate && { pullDueAt: now }),
      ...(isVoid
        ? { status: "VOIDED", voidRequested: false }
        : {
            sentRevision: attempt.revision ?? invoice.revision,
            syncWarnings: [...invoice.syncWarnings, ...answer.warnings],
            sentContent: contentOf(answer),
            ...(isNewest && { xeroWarnings: warningsOf(invoice, null, answer) }),
          }),
    },
  };
}

/** How long to wait after so many failures: doubling from half a second to five minutes, jittered so that many do not come back at once. */
export function backOffMs(failures: number): number {
  const full = Math.min(300_000, 500 * 2 ** Math.min(failures - 1, 20));
  return full * (0.5 + Math.random() / 2);
}

/**
 * An event for an invoice may have come before its id was written back; it was ignored as nobody's, or is about to be: now it is somebody's.
 * The mark in `detail` tells whoever is just applying it that what was found out of it no longer holds. That an invoice was created is no news to
 * whoever sent it, unless a payment was announced meanwhile, which may have been this one's and nobody's then.
 */
export async function requeueEvents(tx: WorkspaceTransaction, connectionId: string, xeroIds: string[]): Promise<void> {
  const rows: unknown = await tx.manager.query(
    `UPDATE webhook_event e SET status = n.status, detail = n.detail
     FROM (SELECT id, CASE WHEN is_news THEN 'RECEIVED' ELSE 'APPLIED' END AS status,
                  CASE WHEN is_news THEN 'the invoice was written back' ELSE 'it was created from here' END AS detail
           FROM (SELECT id, event_type <> 'CREATE' OR EXISTS (
                   SELECT FROM webhook_event p WHERE p.workspace_id = $1 AND p.connection_id = $2
                     AND p.received_at > now() - interval '1 hour' AND p.category NOT IN ('INVOICE', 'CONTACT')) AS is_news
                 FROM webhook_event WHERE workspace_id = $1 AND connection_id = $2 AND status IN ('RECEIVED', 'IGNORED') AND resource_id = ANY($3)) known) n
     WHERE e.workspace_id = $1 AND e.id = n.id RETURNING e.status`,
    [tx.workspaceId, connectionId, xeroIds],
  );
  const [changed] = rows as [{ status: string }[]];
  if (changed.some(({ status }) => status === "RECEIVED")) {
    enqueue(tx, "pull", { workspaceId: tx.workspaceId, connectionId });
  }
}
