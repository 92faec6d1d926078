import { Field, ID, ObjectType } from "type-graphql";
import { Column, Entity, ForeignKey, PrimaryColumn } from "typeorm";
import { DecimalScalar } from "../scalars.js";
import { DecimalColumn } from "./columns.js";
import { Connection } from "./Connection.js";
import { TaxComponent } from "./TaxRate.js";

/** The copy last read of one tax rate of a connected organisation. Names are the user's to edit; the tax type identifies it there. */
@ObjectType()
@Entity("xero_tax_rate")
@ForeignKey(() => Connection, ["workspaceId", "connectionId"], ["workspaceId", "id"], {
  name: "fk_xero_tax_rate_connection",
})
export class XeroTaxRate {
  @PrimaryColumn({ type: "text" })
  workspaceId!: string;

  @PrimaryColumn({ type: "uuid" })
  connectionId!: string;

  @Field(() => ID)
  @PrimaryColumn({ type: "text" })
  taxType!: string;

  @Field(() => String)
  @Column({ type: "text" })
  name!: string;

  @Field(() => DecimalScalar)
  @DecimalColumn(0)
  effectiveRate!: string;

  @Field(() => [TaxComponent])
  @Column({ type: "jsonb" })
  components!: TaxComponent[];

  /** ACTIVE, ARCHIVED, DELETED, PENDING; DELETED too when Xero no longer lists it. */
  @Column({ type: "text" })
  status!: string;

  @Column({ type: "boolean" })
  appliesToRevenue!: boolean;
}
