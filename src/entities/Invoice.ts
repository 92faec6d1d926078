import { Field, ID, ObjectType } from "type-graphql";
import { Column, Entity, ForeignKey, Index } from "typeorm";
import { DateScalar, DateTimeScalar, DecimalScalar } from "../scalars.js";
import { InstantColumn, MoneyColumn, WorkspaceRecord } from "./columns.js";
import { Connection } from "./Connection.js";
import { InvoiceStatus, LineAmountTypes, SyncStatus } from "./enums.js";
import { Integration } from "./Integration.js";
import { Participant } from "./Participant.js";
import { SyncError } from "./SyncError.js";

/** An invoice in Xero's words, as far as it is compared; `lines` is a hash. */
export interface SentContent {
  contact: string;
  date: string;
  dueDate: string;
  reference: string;
  lines: string;
  subtotal: string;
  tax: string;
  total: string;
}

@ObjectType()
@Entity("invoice")
@ForeignKey(() => Integration, ["workspaceId"], ["workspaceId"], { name: "fk_invoice_workspace" })
@ForeignKey(() => Participant, ["workspaceId", "participantId"], ["workspaceId", "id"], {
  name: "fk_invoice_participant",
})
@ForeignKey(() => Connection, ["workspaceId", "connectionId"], ["workspaceId", "id"], { name: "fk_invoice_connection" })
@Index("uq_invoice_number", { synchronize: false })
@Index("uq_invoice_xero_id", ["workspaceId", "connectionId", "xeroId"], { unique: true })
@Index("ix_invoice_unsent", { synchronize: false })
@Index("ix_invoice_recheck", { synchronize: false })
@Index("ix_invoice_pull_due", { synchronize: false })
@Index("ix_invoice_date", ["workspaceId", "date", "id"])
@Index("ix_invoice_updated_at", ["workspaceId", "updatedAt", "id"])
@Index("ix_invoice_participant", ["workspaceId", "participantId", "date", "id"])
export class Invoice extends WorkspaceRecord {
  @Field(() => String, {
    description:
      "The platform's own invoice number, at most 50 characters: unique in the workspace whatever the case, the invoice's reference in Xero.",
  })
  @Column({ type: "text" })
  number!: string;

  @Column({ type: "uuid" })
  participantId!: string;

  @Field(() => InvoiceStatus)
  @Column({ type: "text", default: "DRAFT" })
  status!: InvoiceStatus;

  @Field(() => DateScalar)
  @Column({ type: "date" })
  date!: string;

  @Field(() => DateScalar)
  @Column({ type: "date" })
  dueDate!: string;

  @Field(() => String)
  @Column({ type: "text" })
  currency!: string;

  @Field(() => LineAmountTypes)
  @Column({ type: "text" })
  lineAmountTypes!: LineAmountTypes;

  @Field(() => DecimalScalar)
  @MoneyColumn()
  subtotal!: string;

  @Field(() => DecimalScalar)
  @MoneyColumn()
  totalTax!: string;

  @Field(() => DecimalScalar)
  @MoneyColumn()
  total!: string;

  @Field(() => DecimalScalar, {
    description: "Sum of the payments (RECONCILIATION, STRIPE, MANUAL) that are paid and included.",
  })
  @MoneyColumn({ default: 0 })
  totalPaymentAmount!: string;

  @Field(() => DecimalScalar, { description: "Credit notes, overpayments and prepayments applied in Xero." })
  @MoneyColumn({ default: 0 })
  totalCreditAmount!: string;

  /** What Xero itself says was credited, whatever is left out here. */
  @MoneyColumn({ default: 0 })
  creditedInXero!: string;

  @Field(() => DateTimeScalar, { nullable: true })
  @InstantColumn({ nullable: true })
  lastPaymentDate!: Date | null;

  @Field(() => DecimalScalar, {
    description: "total less totalPaymentAmount less totalCreditAmount; negative when overpaid.",
  })
  @MoneyColumn()
  amountDue!: string;

  @Field(() => SyncStatus)
  @Column({ type: "text", default: "NOT_SYNCED" })
  syncStatus!: SyncStatus;

  @Field(() => SyncError, {
    nullable: true,
    description: "Why the last attempt failed; null unless FAILED or UNCERTAIN.",
  })
  @Column({ type: "jsonb", nullable: true })
  syncError!: SyncError | null;

  /** What a person should know of how it was sent; shown with the two below. */
  @Column({ type: "text", array: true, default: "{}" })
  syncWarnings!: string[];

  /** Where Xero's invoice is not as it was sent. */
  @Column({ type: "text", array: true, default: "{}" })
  xeroWarnings!: string[];

  /** Payments that look like the same money. */
  @Column({ type: "text", array: true, default: "{}" })
  paymentWarnings!: string[];

  /** What Xero had of it right after it was last sent, to see what was changed there since. */
  @Column({ type: "jsonb", nullable: true })
  sentContent!: SentContent | null;

  @Field(() => DateTimeScalar, { nullable: true })
  @InstantColumn({ nullable: true })
  syncedAt!: Date | null;

  @Field(() => DateTimeScalar, {
    nullable: true,
    description: "When it will be tried again by itself; null: not before something changes.",
  })
  @InstantColumn({ nullable: true })
  nextAttemptAt!: Date | null;

  /** The organisation it was first sent to, and belongs to from then on. */
  @Column({ type: "uuid", nullable: true })
  connectionId!: string | null;

  /** Grows with every change of its content. */
  @Column({ type: "integer", default: 0 })
  revision!: number;

  /** The revision that Xero has; another than `revision` means that there is something to update. */
  @Column({ type: "integer", default: 0 })
  sentRevision!: number;

  /** A person wants it void, and Xero is still to be told. */
  @Column({ type: "boolean", default: false })
  voidRequested!: boolean;

  /** When Xero is asked whether it holds the invoice more than once; null: there is no reason to. */
  @InstantColumn({ nullable: true })
  recheckAt!: Date | null;

  @Field(() => String, { nullable: true })
  @Column({ type: "text", nullable: true })
  xeroInvoiceNumber!: string | null;

  @Field(() => ID, { nullable: true })
  @Column({ type: "uuid", nullable: true })
  xeroId!: string | null;

  @Field(() => String, {
    nullable: true,
    description: "Status that Xero last gave it: DRAFT, SUBMITTED, AUTHORISED, PAID, VOIDED or DELETED.",
  })
  @Column({ type: "text", nullable: true })
  xeroStatus!: string | null;

  /** Xero's own time stamp of the state last applied here; an older state is never applied over it. */
  @InstantColumn({ nullable: true })
  xeroUpdatedAt!: Date | null;

  /** When the read began whose answer was last applied: of two answers with one time stamp, the later read is the newer. */
  @Column({ type: "timestamptz", nullable: true })
  pulledAt!: Date | null;

  /** Since when a read of it is due, other than for an event; null: none is. */
  @InstantColumn({ nullable: true })
  pullDueAt!: Date | null;

  @InstantColumn()
  createdAt!: Date;

  @Field(() => DateTimeScalar)
  @InstantColumn()
  updatedAt!: Date;
}
