import { Field, ID, ObjectType } from "type-graphql";
import { Column, Entity, ForeignKey, Index } from "typeorm";
import { DateScalar, DateTimeScalar, DecimalScalar } from "../scalars.js";
import { InstantColumn, MoneyColumn, WorkspaceRecord } from "./columns.js";
import { Connection } from "./Connection.js";
import { PaymentSource, PaymentType, SyncStatus } from "./enums.js";
import { Invoice } from "./Invoice.js";
import { SyncBatch } from "./SyncBatch.js";
import { SyncError } from "./SyncError.js";

/** What Xero is still to be told of a payment of ours: that it was made, or that it was taken back. */
export type PushAction = "CREATE" | "DELETE";

@ObjectType()
@Entity("payment")
@ForeignKey(() => Invoice, ["workspaceId", "invoiceId"], ["workspaceId", "id"], { name: "fk_payment_invoice" })
@ForeignKey(() => Connection, ["workspaceId", "connectionId"], ["workspaceId", "id"], { name: "fk_payment_connection" })
@ForeignKey(() => SyncBatch, ["workspaceId", "pushBatchId"], ["workspaceId", "id"], { name: "fk_payment_push_batch" })
@Index("uq_payment_finance_external_id", { synchronize: false })
@Index("uq_payment_credit", { synchronize: false })
@Index("ix_payment_push", { synchronize: false })
@Index("ix_payment_push_batch", { synchronize: false })
@Index("uq_payment_xero_payment_id", ["workspaceId", "connectionId", "xeroPaymentId"], { unique: true })
@Index("ix_payment_invoice", ["workspaceId", "invoiceId", "paymentDate", "id"])
@Index("ix_payment_date", ["workspaceId", "paymentDate", "id"])
export class Payment extends WorkspaceRecord {
  @Column({ type: "uuid" })
  invoiceId!: string;

  /** The organisation that holds it; null for one recorded on the platform and not pushed. */
  @Column({ type: "uuid", nullable: true })
  connectionId!: string | null;

  @Field(() => PaymentType, {
    description: "A Stripe transaction, a reconciliation that came from Xero, or one entered by hand.",
  })
  @Column({ type: "text" })
  type!: PaymentType;

  @Field(() => PaymentSource, { description: "How the record came to be." })
  @Column({ type: "text" })
  source!: PaymentSource;

  @Field(() => Boolean, { description: "Whether it went through; a payment deleted in Xero is kept with false." })
  @Column({ type: "boolean" })
  paid!: boolean;

  @Field(() => Boolean, { description: "Whether it counts towards the invoice's total payment amount." })
  @Column({ type: "boolean", default: true })
  include!: boolean;

  @Field(() => DateTimeScalar, {
    description: "When it was received. Xero knows only the day: then midnight UTC of that day.",
  })
  @InstantColumn()
  paymentDate!: Date;

  @Field(() => DateScalar, { description: "The day it counts for, in the workspace's time zone." })
  @Column({ type: "date" })
  paidOn!: string;

  @Field(() => DecimalScalar)
  @MoneyColumn()
  amount!: string;

  @Field(() => String, { nullable: true })
  @Column({ type: "text", nullable: true })
  reference!: string | null;

  @Field(() => String, {
    nullable: true,
    description: "Its id in the system it came from: Xero's PaymentID, Stripe's charge.",
  })
  @Column({ type: "text", nullable: true })
  financeExternalId!: string | null;

  @Field(() => ID, { nullable: true, description: "Its PaymentID in Xero, whichever side it came from." })
  @Column({ type: "uuid", nullable: true })
  xeroPaymentId!: string | null;

  @Field(() => SyncStatus, { description: "How its way to Xero stands; NOT_SYNCED where it has none to go." })
  @Column({ type: "text", default: "NOT_SYNCED" })
  syncStatus!: SyncStatus;

  @Field(() => SyncError, { nullable: true })
  @Column({ type: "jsonb", nullable: true })
  syncError!: SyncError | null;

  /** Null: nothing. While FAILED it waits for a change, or for a person. */
  @Column({ type: "text", nullable: true })
  pushAction!: PushAction | null;

  /** What carries it to Xero, once its bytes are written down. */
  @Column({ type: "uuid", nullable: true })
  pushBatchId!: string | null;

  /** By PostgreSQL's clock; also how one that is being deleted is kept from others. */
  @Column({ type: "timestamptz", nullable: true })
  pushNotBefore!: Date | null;

  @Column({ type: "integer", default: 0 })
  pushFailures!: number;

  /** It was taken back here, and not in Xero. */
  @Column({ type: "boolean", default: false })
  reversedHere!: boolean;

  /** PostgreSQL's clock when what is known of its standing in Xero was so; a read that began before says nothing against it. */
  @Column({ type: "timestamptz", nullable: true })
  xeroAsOf!: Date | null;

  @Field(() => DateTimeScalar)
  @InstantColumn()
  createdAt!: Date;
}
