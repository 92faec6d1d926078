/** A page of invoices for each of many participants, in one statement. */
import { In } from "typeorm";
import { type Database, type WorkspaceTransaction } from "../database.js";
import { Invoice } from "../entities/Invoice.js";
import { invoiceOrders } from "./Invoices.js";
import { groupBy } from "./loading.js";
import { type Page, pageOf, type PageRequest, readCursor } from "./paging.js";

/** The participants' invoices, the newest first; in the order of the ids. Throws BAD_USER_INPUT for a malformed cursor. */
export async function readInvoicesOf(
  database: Database,
  tx: WorkspaceTransaction,
  participantIds: readonly string[],
  page: PageRequest,
): Promise<Page<Invoice>[]> {
  const { workspaceId } = tx;
  const order = invoiceOrders.NEWEST_FIRST;
  const [day, id] = page.after == null ? [null, null] : readCursor(page.after, order);
  const rows = await tx.manager
    .createQueryBuilder(Invoice, "i")
    .where({ workspaceId })
    .andWhere(
      `i.id IN (SELECT newest.id FROM unnest(:ids::uuid[]) AS p (id) CROSS JOIN LATERAL
         (SELECT n.id FROM invoice n WHERE n.workspace_id = :workspaceId AND n.participant_id = p.id
            AND (:day::date IS NULL OR (n.date, n.id) < (:day::date, :after::uuid))
          ORDER BY n.date DESC, n.id DESC LIMIT :limit) newest)`,
      { ids: [...participantIds], workspaceId, day, after: id, limit: page.first + 1 },
    )
    .orderBy("i.date", "DESC")
    .addOrderBy("i.id", "DESC")
    .getMany();
  const groups = groupBy(rows, ({ participantId }) => participantId);
  let counted: Promise<Map<string, number>> | undefined;
  const count = async (participantId: string): Promise<number> => {
    counted ??= countAll(database, workspaceId, participantIds);
    return (await counted).get(participantId) ?? 0;
  };
  return participantIds.map((participantId) =>
    pageOf(groups.get(participantId) ?? [], order, page, () => count(participantId)),
  );
}

async function countAll(
  database: Database,
  workspaceId: string,
  participantIds: readonly string[],
): Promise<Map<string, number>> {
  const rows = await database.inWorkspace(workspaceId, (tx) =>
    tx.manager
      .createQueryBuilder(Invoice, "i")
      .select("i.participant_id", "participantId")
      .addSelect("count(*)::int", "count")
      .where({ workspaceId, participantId: In([...participantIds]) })
      .groupBy("i.participant_id")
      .getRawMany<{ participantId: string; count: number }>(),
  );
  return new Map(rows.map(({ participantId, count }) => [participantId, count]));
}
