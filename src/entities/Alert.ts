import { Field, Int, ObjectType } from "type-graphql";
import { Column, Entity, ForeignKey, Index } from "typeorm";
import { DateTimeScalar } from "../scalars.js";
import { InstantColumn, WorkspaceRecord } from "./columns.js";
import { AlertKind, AlertState } from "./enums.js";
import { Integration } from "./Integration.js";

/** One invoice of a digest, with nothing in it that says more of a person than a number. */
export interface FailedInvoice {
  invoiceId: string;
  number: string;
  code: string;
  /** In words, and Xero's own. */
  problem: string;
  xeroMessages: string[];
  resolution: string;
}

/** What a digest is about: the invoices by id, and of the first of them what went wrong. */
export interface AlertDetails {
  invoiceIds: string[];
  invoices: FailedInvoice[];
}

/** Something that a person should know of. At most one is open for a cause, which is its kind and its subject. */
@ObjectType({ description: "One per cause: repeats update it, and it resolves itself when the cause is gone." })
@Entity("alert")
@Index("uq_alert_open", { synchronize: false })
@Index("ix_alert_first_seen_at", ["workspaceId", "firstSeenAt", "id"])
@ForeignKey(() => Integration, ["workspaceId"], ["workspaceId"], { name: "fk_alert_workspace" })
export class Alert extends WorkspaceRecord {
  @Field(() => AlertKind)
  @Column({ type: "text" })
  kind!: AlertKind;

  /** What it is about: for those about a link, the connection's id. */
  @Column({ type: "text" })
  subject!: string;

  @Field(() => AlertState)
  @Column({ type: "text" })
  state!: AlertState;

  @Field(() => String, { description: "What happened, in words." })
  @Column({ type: "text" })
  message!: string;

  @Field(() => String, { description: "What to do about it." })
  @Column({ type: "text" })
  resolution!: string;

  @Field(() => Int, { description: "How often the cause was met." })
  @Column({ type: "integer", default: 1 })
  occurrences!: number;

  @Field(() => DateTimeScalar)
  @InstantColumn()
  firstSeenAt!: Date;

  @Field(() => DateTimeScalar)
  @InstantColumn()
  lastSeenAt!: Date;

  @Field(() => DateTimeScalar, { nullable: true })
  @InstantColumn({ nullable: true })
  resolvedAt!: Date | null;

  @Field(() => DateTimeScalar, {
    nullable: true,
    description: "When the first mail about it was taken by the mail server; null: none was.",
  })
  @InstantColumn({ nullable: true })
  emailedAt!: Date | null;

  /** Null where the words say it all. */
  @Column({ type: "jsonb", nullable: true })
  details!: AlertDetails | null;
}
