/** Support items: what is billed, with what it means in Xero. */
import { Field, ID, InputType } from "type-graphql";
import { v7 as uuidv7 } from "uuid";
import { type Database, type WorkspaceTransaction } from "../database.js";
import { SupportItem } from "../entities/SupportItem.js";
import { TaxRate } from "../entities/TaxRate.js";
import { DecimalScalar } from "../scalars.js";
import { type Viewer } from "../viewer.js";
import { loadRevenueAccount } from "./accounts.js";
import { noteActivity } from "./connectionStatus.js";
import { load } from "./loading.js";
import { type ListOrder, type Page, type PageRequest, readPage } from "./paging.js";
import { likePattern } from "./Participants.js";
import { Problems } from "./problems.js";
import { brokenMapping, queueMended } from "./sync/queueRun.js";

@InputType()
export class SaveSupportItemInput {
  @Field(() => String)
  itemNumber!: string;

  @Field(() => String)
  name!: string;

  @Field(() => String)
  unit!: string;

  @Field(() => DecimalScalar, { nullable: true })
  priceLimit?: string | null;

  @Field(() => String, { nullable: true })
  xeroLineDescription?: string | null;

  @Field(() => ID, { nullable: true })
  salesAccountId?: string | null;

  @Field(() => ID, { nullable: true })
  taxRateId?: string | null;
}

const byItemNumber: ListOrder<SupportItem> = {
  name: "supportItems",
  direction: "ASC",
  keys: [
    { property: "itemNumber", column: "item_number", type: "text" },
    { property: "id", column: "id", type: "uuid" },
  ],
};

export class SupportItems {
  constructor(private readonly database: Database) {}

  /**
   * Creates the support item, or updates the one with this item number: a field left out keeps its value, null clears it.
   * Throws BAD_USER_INPUT, ACCOUNT_NOT_ALLOWED, and NOT_FOUND for an unknown account or tax rate.
   */
  async save(viewer: Viewer, input: SaveSupportItemInput): Promise<SupportItem> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const problems = new Problems();
      const itemNumber = problems.required("input.itemNumber", input.itemNumber, 50);
      const name = problems.required("input.name", input.name, 500);
      const unit = problems.required("input.unit", input.unit, 20);
      if (input.priceLimit != null) {
        problems.decimal("input.priceLimit", input.priceLimit, 2, 999_999_999);
        if (input.priceLimit.startsWith("-")) problems.add("input.priceLimit", "must not be negative");
      }
      const description = problems.paragraph("input.xeroLineDescription", input.xeroLineDescription, 4000);
      problems.throwIfAny();
      if (input.taxRateId != null)
        await load(tx, TaxRate, input.taxRateId, { thing: "tax rate", field: "input.taxRateId" });
      if (input.salesAccountId != null) await loadRevenueAccount(tx, input.salesAccountId, "input.salesAccountId");
      const changes = {
        name,
        unit,
        ...(input.priceLimit !== undefined && { priceLimit: input.priceLimit }),
        ...(input.xeroLineDescription !== undefined && { xeroLineDescription: description }),
        ...(input.salesAccountId !== undefined && { salesAccountId: input.salesAccountId }),
        ...(input.taxRateId !== undefined && { taxRateId: input.taxRateId }),
      };
      // One statement decides between insert and update, so two saves of one new item number at once make one item.
      await tx.manager
        .createQueryBuilder()
        .insert()
        .into(SupportItem)
        .values({ workspaceId: tx.workspaceId, id: uuidv7(), itemNumber, ...changes })
        .orUpdate(columnsOf(changes), ["workspace_id", "item_number"])
        .execute();
      await noteActivity(tx);
      await queueMended(tx, brokenMapping);
      return tx.manager.findOneByOrFail(SupportItem, { workspaceId: tx.workspaceId, itemNumber });
    });
  }

  /** One page of support items by item number; `search` looks in number and name. */
  async list(viewer: Viewer, page: PageRequest, search?: string | null): Promise<Page<SupportItem>> {
    const query = (tx: WorkspaceTransaction) => {
      const all = tx.manager.createQueryBuilder(SupportItem, "s").where("s.workspace_id = :ws", { ws: tx.workspaceId });
      if (search?.trim()) all.andWhere("(s.item_number ILIKE :q OR s.name ILIKE :q)", { q: likePattern(search) });
      return all;
    };
    return readPage(this.database, viewer, { order: byItemNumber, request: page, query });
  }
}

function columnsOf(changes: object): string[] {
  return Object.keys(changes).map((property) => property.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
}
