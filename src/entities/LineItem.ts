import { Field, ObjectType } from "type-graphql";
import { Column, Entity, ForeignKey, Index } from "typeorm";
import { DateScalar, DecimalScalar } from "../scalars.js";
import { DecimalColumn, MoneyColumn, WorkspaceRecord } from "./columns.js";
import { Invoice } from "./Invoice.js";
import { SupportItem } from "./SupportItem.js";
import { TaxRate } from "./TaxRate.js";

@ObjectType()
@Entity("line_item")
@ForeignKey(() => Invoice, ["workspaceId", "invoiceId"], ["workspaceId", "id"], {
  name: "fk_line_item_invoice",
  onDelete: "CASCADE",
})
@ForeignKey(() => SupportItem, ["workspaceId", "supportItemId"], ["workspaceId", "id"], {
  name: "fk_line_item_support_item",
})
@ForeignKey(() => TaxRate, ["workspaceId", "taxRateId"], ["workspaceId", "id"], { name: "fk_line_item_tax_rate" })
@Index("ix_line_item_invoice", ["workspaceId", "invoiceId", "position"])
export class LineItem extends WorkspaceRecord {
  @Column({ type: "uuid" })
  invoiceId!: string;

  /** Its place in the invoice, from 1. */
  @Column({ type: "integer" })
  position!: number;

  @Field(() => String)
  @Column({ type: "text" })
  description!: string;

  @Column({ type: "uuid", nullable: true })
  supportItemId!: string | null;

  @Field(() => DateScalar, { nullable: true })
  @Column({ type: "date", nullable: true })
  serviceDate!: string | null;

  @Field(() => DecimalScalar)
  @DecimalColumn(0)
  quantity!: string;

  @Field(() => DecimalScalar)
  @DecimalColumn(2)
  unitAmount!: string;

  /** The rate found when the line was saved: its own, its support item's or the workspace's default. */
  @Column({ type: "uuid", nullable: true })
  taxRateId!: string | null;

  /** That rate's per cent when the line was saved, which its tax was computed with. */
  @DecimalColumn(0)
  taxPercent!: string;

  /** Xero's AccountID where the line names its own. */
  @Column({ type: "uuid", nullable: true })
  salesAccountId!: string | null;

  @Field(() => DecimalScalar)
  @MoneyColumn()
  taxAmount!: string;

  @Field(() => DecimalScalar)
  @MoneyColumn()
  lineAmount!: string;
}
