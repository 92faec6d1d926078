/** Taking over the NDIS Support Catalogue: its items and their price limits by period, all of a file or nothing. */
import { v7 as uuidv7 } from "uuid";
import { type Database, type WorkspaceTransaction } from "../../database.js";
import { Integration } from "../../entities/Integration.js";
import { SupportItem } from "../../entities/SupportItem.js";
import { SupportItemPrice } from "../../entities/SupportItemPrice.js";
import { type Viewer } from "../../viewer.js";
import { noteActivity } from "../connectionStatus.js";
import { groupBy } from "../loading.js";
import { type CatalogueItem, type Region, type RowError } from "./catalogueRows.js";
import { readWorkbook } from "./readWorkbook.js";

/** What came of an upload: every row of the file is one of the first three, or, where any is wrong, none is. */
export interface CatalogueImport {
  created: number;
  updated: number;
  unchanged: number;
  errors: RowError[];
}

/** So many rows go in one statement. */
const rowsAtOnce = 2_000;

export class SupportCatalogue {
  constructor(private readonly database: Database) {}

  /**
   * Creates and updates support items by item number and period from a workbook (.xlsx) with the catalogue's columns; price limits are the
   * region's. Accounts, tax rates, descriptions and limits that were set by hand stay. Throws BAD_USER_INPUT where it is no workbook; rows that
   * do not parse are answered, and then nothing is changed.
   */
  async import(viewer: Viewer, file: Uint8Array, region: Region): Promise<CatalogueImport> {
    const { items, errors } = await readWorkbook(file, region);
    if (errors.length > 0) return { created: 0, updated: 0, unchanged: 0, errors };
    const counts = await this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      // One upload at a time, so that two of one file make one of each.
      await tx.manager.findOneOrFail(Integration, {
        where: { workspaceId: tx.workspaceId },
        lock: { mode: "pessimistic_write" },
      });
      await noteActivity(tx);
      return keep(tx, items);
    });
    return { ...counts, errors: [] };
  }
}

async function keep(
  tx: WorkspaceTransaction,
  items: CatalogueItem[],
): Promise<Pick<CatalogueImport, "created" | "updated" | "unchanged">> {
  const { workspaceId } = tx;
  const known = new Map((await tx.manager.findBy(SupportItem, { workspaceId })).map((item) => [item.itemNumber, item]));
  const prices = await tx.manager.findBy(SupportItemPrice, { workspaceId });
  const pricesOf = groupBy(prices, ({ supportItemId }) => supportItemId);
  const counts = { created: 0, updated: 0, unchanged: 0 };
  const itemRows: Partial<SupportItem>[] = [];
  const priceRows: SupportItemPrice[] = [];
  for (const [itemNumber, periods] of groupBy(items, (item) => item.itemNumber)) {
    const item = known.get(itemNumber);
    const id = item?.id ?? uuidv7();
    // An item is called what its last period calls it.
    const newest = periods.reduce((last, period) => (period.validFrom > last.validFrom ? period : last));
    const isRenamed = item?.name !== newest.name || item.unit !== newest.unit;
    if (isRenamed) itemRows.push({ workspaceId, id, itemNumber, name: newest.name, unit: newest.unit });
    for (const { validFrom, validTo, priceLimit } of periods) {
      const before = (pricesOf.get(id) ?? []).find((price) => price.validFrom === validFrom);
      const isSame = before?.validTo === validTo && before.priceLimit === priceLimit;
      if (!isSame) priceRows.push({ workspaceId, supportItemId: id, validFrom, validTo, priceLimit });
      if (!before) counts.created += 1;
      else if (isSame && !isRenamed) counts.unchanged += 1;
      else counts.updated += 1;
    }
  }
  for (let start = 0; start < itemRows.length; start += rowsAtOnce) {
    await tx.manager
      .createQueryBuilder()
      .insert()
      .into(SupportItem)
      .values(itemRows.slice(start, start + rowsAtOnce))
      .orUpdate(["name", "unit"], ["workspace_id", "item_number"])
      .execute();
  }
  for (let start = 0; start < priceRows.length; start += rowsAtOnce) {
    const rows = priceRows.slice(start, start + rowsAtOnce);
    await tx.manager.upsert(SupportItemPrice, rows, ["workspaceId", "supportItemId", "validFrom"]);
  }
  return counts;
}
