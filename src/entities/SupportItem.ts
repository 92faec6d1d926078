import { Field, ObjectType } from "type-graphql";
import { Column, Entity, ForeignKey, Unique } from "typeorm";
import { MoneyColumn, WorkspaceRecord } from "./columns.js";
import { Integration } from "./Integration.js";
import { TaxRate } from "./TaxRate.js";

@ObjectType()
@Entity("support_item")
@Unique("uq_support_item_item_number", ["workspaceId", "itemNumber"])
@ForeignKey(() => Integration, ["workspaceId"], ["workspaceId"], { name: "fk_support_item_workspace" })
@ForeignKey(() => TaxRate, ["workspaceId", "taxRateId"], ["workspaceId", "id"], { name: "fk_support_item_tax_rate" })
export class SupportItem extends WorkspaceRecord {
  @Field(() => String, { description: "NDIS support item number, such as 01_011_0107_1_1." })
  @Column({ type: "text" })
  itemNumber!: string;

  @Field(() => String)
  @Column({ type: "text" })
  name!: string;

  @Field(() => String, { description: "H, D, E, WK, MON, YR as in the NDIS support catalogue." })
  @Column({ type: "text" })
  unit!: string;

  /** Set by hand, for whichever day; null: the uploaded catalogue's holds. */
  @MoneyColumn({ nullable: true })
  priceLimit!: string | null;

  @Field(() => String, { nullable: true, description: "Text for the line in Xero; null: the name." })
  @Column({ type: "text", nullable: true })
  xeroLineDescription!: string | null;

  /** Xero's AccountID, in whichever organisation it was chosen. */
  @Column({ type: "uuid", nullable: true })
  salesAccountId!: string | null;

  @Column({ type: "uuid", nullable: true })
  taxRateId!: string | null;
}
