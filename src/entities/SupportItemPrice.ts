import { Field, ObjectType } from "type-graphql";
import { Column, Entity, ForeignKey, PrimaryColumn } from "typeorm";
import { DateScalar, DecimalScalar } from "../scalars.js";
import { MoneyColumn } from "./columns.js";
import { SupportItem } from "./SupportItem.js";

/** The NDIS price limit of a support item in one period, from the catalogue that was uploaded. */
@ObjectType()
@Entity("support_item_price")
@ForeignKey(() => SupportItem, ["workspaceId", "supportItemId"], ["workspaceId", "id"], {
  name: "fk_support_item_price_support_item",
})
export class SupportItemPrice {
  @PrimaryColumn({ type: "text" })
  workspaceId!: string;

  @PrimaryColumn({ type: "uuid" })
  supportItemId!: string;

  @Field(() => DateScalar, { description: "First day of the period." })
  @PrimaryColumn({ type: "date" })
  validFrom!: string;

  @Field(() => DateScalar, { nullable: true, description: "Last day of the period; null: until further notice." })
  @Column({ type: "date", nullable: true })
  validTo!: string | null;

  @Field(() => DecimalScalar, { nullable: true, description: "Null: none, as for what is quoted." })
  @MoneyColumn({ nullable: true })
  priceLimit!: string | null;
}
