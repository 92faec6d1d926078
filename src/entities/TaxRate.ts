import { Field, ObjectType } from "type-graphql";
import { Column, Entity, ForeignKey, Index } from "typeorm";
import { DecimalScalar } from "../scalars.js";
import { DecimalColumn, WorkspaceRecord } from "./columns.js";
import { Integration } from "./Integration.js";

/** A part of a tax rate, in per cent; a compound one applies to the amount with the other taxes added. */
@ObjectType()
export class TaxComponent {
  @Field(() => String)
  name!: string;

  @Field(() => DecimalScalar)
  rate!: string;

  @Field(() => Boolean)
  compound!: boolean;
}

@ObjectType({ description: "A tax rate of the platform." })
@Entity("tax_rate")
@ForeignKey(() => Integration, ["workspaceId"], ["workspaceId"], { name: "fk_tax_rate_workspace" })
@Index("uq_tax_rate_name", { synchronize: false })
export class TaxRate extends WorkspaceRecord {
  @Field(() => String)
  @Column({ type: "text" })
  name!: string;

  /** In per cent, computed from the components when saved. */
  @Field(() => DecimalScalar)
  @DecimalColumn(0)
  effectiveRate!: string;

  @Field(() => [TaxComponent])
  @Column({ type: "jsonb" })
  components!: TaxComponent[];
}
