/** Which invoices go by themselves, for every way in that names none: "Run Now", the schedule, an approval. */
import { In, type SelectQueryBuilder } from "typeorm";
import { type WorkspaceTransaction } from "../../database.js";
import { type SyncTrigger } from "../../entities/enums.js";
import { Integration } from "../../entities/Integration.js";
import { Invoice } from "../../entities/Invoice.js";
import { SyncRun } from "../../entities/SyncRun.js";
import { isUnsent } from "./queueRun.js";

/** What failed for a reason that time alone may have mended; anything else waits for a change, which queues it by itself. */
const mayHavePassed = [
  "XERO_DISABLED",
  "XERO_NOT_CONNECTED",
  "RECONNECT_REQUIRED",
  "RATE_LIMITED",
  "XERO_UNAVAILABLE",
  "INTERNAL",
];

/**
 * The query for what is due: approved, dated on or after the sync start date, not ignored, in no organisation of Xero or changed since it was
 * sent, and never synced or failed before; with `rejectedToo` also those that wait for a change, since a person may know better. One that
 * was first sent to another organisation stays with that one.
 */
export async function dueInvoices(
  tx: WorkspaceTransaction,
  connectionId: string,
  { rejectedToo }: { rejectedToo: boolean },
): Promise<SelectQueryBuilder<Invoice>> {
  const { syncStartDate } = await tx.manager.findOneByOrFail(Integration, { workspaceId: tx.workspaceId });
  const query = tx.manager
    .createQueryBuilder(Invoice, "i")
    .where(`i.workspace_id = :ws AND ${isUnsent} AND i.sync_status IN ('NOT_SYNCED', 'FAILED')`, {
      ws: tx.workspaceId,
    })
    .andWhere("i.status NOT IN ('DRAFT', 'VOIDED') AND (i.connection_id IS NULL OR i.connection_id = :connectionId)", {
      connectionId,
    });
  if (syncStartDate !== null) query.andWhere("i.date >= :syncStartDate", { syncStartDate });
  if (!rejectedToo) {
    query.andWhere("(i.sync_status = 'NOT_SYNCED' OR i.sync_error->>'code' = ANY(:mayHavePassed))", { mayHavePassed });
  }
  return query;
}

/** Whether an invoice that was just approved goes by itself. */
export function isDue(invoice: Invoice, { syncStartDate }: Integration): boolean {
  return (
    invoice.xeroId === null &&
    (invoice.syncStatus === "NOT_SYNCED" || invoice.syncStatus === "FAILED") &&
    (syncStartDate === null || invoice.date >= syncStartDate)
  );
}

/** The run of this kind that is still going, or null. Two requests at once come one after the other, and the second finds the first's. */
export async function goingRun(tx: WorkspaceTransaction, trigger: SyncTrigger): Promise<SyncRun | null> {
  const { workspaceId } = tx;
  await tx.manager.findOneOrFail(Integration, { where: { workspaceId }, lock: { mode: "pessimistic_write" } });
  return tx.manager.findOneBy(SyncRun, { workspaceId, trigger, kind: "INVOICES", status: In(["QUEUED", "RUNNING"]) });
}
