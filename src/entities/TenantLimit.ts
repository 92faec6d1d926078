import { Entity, PrimaryColumn } from "typeorm";
import { InstantColumn } from "./columns.js";

/** What Xero last said of an organisation's limits; shared by every workspace that has it connected. */
@Entity("tenant_limit")
export class TenantLimit {
  @PrimaryColumn({ type: "uuid" })
  tenantId!: string;

  /** No call for the organisation before this instant: Xero's Retry-After. */
  @InstantColumn({ nullable: true })
  blockedUntil!: Date | null;

  @InstantColumn()
  updatedAt!: Date;
}
