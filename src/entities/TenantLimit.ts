import { Column, Entity, PrimaryColumn } from "typeorm";
import { InstantColumn } from "./columns.js";

/** What Xero last said of an organisation's limits; shared by every workspace that has it connected. */
@Entity("tenant_limit")
export class TenantLimit {
  @PrimaryColumn({ type: "uuid" })
  tenantId!: string;

  /** No call for the organisation before this instant: Xero's Retry-After. */
  @InstantColumn({ nullable: true })
  blockedUntil!: Date | null;

  /** When the calls of the last minute began. */
  @Column({ type: "timestamptz", array: true, default: "{}" })
  recent!: Date[];

  /** Calls in progress: an id each, and the time in milliseconds after which it counts no more. */
  @Column({ type: "jsonb", default: {} })
  flights!: Record<string, number>;

  /** Calls a minute: Xero's sixty, or more where it said that more were left. */
  @Column({ type: "integer", default: 60 })
  minuteLimit!: number;

  /** Calls a day, as far as is known: the most that Xero ever said were left. */
  @Column({ type: "integer", default: 0 })
  dayLimit!: number;

  /** Calls left of the day, as Xero last said, and when it did. */
  @Column({ type: "integer", nullable: true })
  dayRemaining!: number | null;

  @InstantColumn({ nullable: true })
  daySeenAt!: Date | null;

  @InstantColumn()
  updatedAt!: Date;
}
