import { Column, Entity, ForeignKey, PrimaryColumn } from "typeorm";
import { Connection } from "./Connection.js";
import { TaxRate } from "./TaxRate.js";

/** What a tax rate of the platform is in one organisation. */
@Entity("tax_rate_mapping")
@ForeignKey(() => Connection, ["workspaceId", "connectionId"], ["workspaceId", "id"], {
  name: "fk_tax_rate_mapping_connection",
})
@ForeignKey(() => TaxRate, ["workspaceId", "taxRateId"], ["workspaceId", "id"], {
  name: "fk_tax_rate_mapping_tax_rate",
})
export class TaxRateMapping {
  @PrimaryColumn({ type: "text" })
  workspaceId!: string;

  @PrimaryColumn({ type: "uuid" })
  connectionId!: string;

  @PrimaryColumn({ type: "uuid" })
  taxRateId!: string;

  @Column({ type: "text" })
  taxType!: string;
}
