import { Field, ObjectType } from "type-graphql";
import { Column, Entity, Index, PrimaryColumn } from "typeorm";
import { DateScalar, DecimalScalar } from "../scalars.js";
import { InstantColumn, MoneyColumn } from "./columns.js";
import { InvoiceNumbering, LineAmountTypes, XeroInvoiceStatus } from "./enums.js";

/** A workspace's settings of the integration; made with the contract's defaults when the workspace first appears. */
@ObjectType()
@Entity("integration")
@Index("ix_integration_schedule", { synchronize: false })
export class Integration {
  @PrimaryColumn({ type: "text" })
  workspaceId!: string;

  @Field(() => Boolean, {
    description:
      "The master switch. Off: nothing is sent to Xero, syncs are refused, webhooks are kept and applied when it is on again.",
  })
  @Column({ type: "boolean", default: true })
  enabled!: boolean;

  @Column({ type: "uuid", nullable: true })
  activeConnectionId!: string | null;

  @Column({ type: "uuid", nullable: true })
  defaultTaxRateId!: string | null;

  @Field(() => LineAmountTypes, {
    description: "How the amounts of new invoices are meant; an invoice keeps what it was saved with.",
  })
  @Column({ type: "text", default: "EXCLUSIVE" })
  lineAmountTypes!: LineAmountTypes;

  /** Null: the active organisation's own. */
  @Column({ type: "text", nullable: true })
  timeZone!: string | null;

  @Field(() => XeroInvoiceStatus, {
    description: "Status that a new invoice is given in Xero. Only AUTHORISED invoices can be paid there.",
  })
  @Column({ type: "text", default: "AUTHORISED" })
  initialInvoiceStatus!: XeroInvoiceStatus;

  @Field(() => InvoiceNumbering)
  @Column({ type: "text", default: "XERO_NUMBERS" })
  numbering!: InvoiceNumbering;

  @Field(() => DecimalScalar, { description: "An invoice whose open balance is at most this counts as paid." })
  @MoneyColumn({ default: 0 })
  paidTolerance!: string;

  @Field(() => DateScalar, { nullable: true, description: "Invoices dated before this are never sent." })
  @Column({ type: "date", nullable: true })
  syncStartDate!: string | null;

  @Field(() => Boolean, { description: "Send an invoice as soon as it is approved." })
  @Column({ type: "boolean", default: false })
  syncOnApproval!: boolean;

  @Field(() => Boolean, { description: "Bring payments recorded on the platform (Stripe, by hand) to Xero." })
  @Column({ type: "boolean", default: false })
  pushPayments!: boolean;

  @Field(() => Boolean, {
    description:
      "Send invoices of agency-managed participants too, to the NDIA: the participant with the contact number NDIA, which is made when this is switched on.",
  })
  @Column({ type: "boolean", default: false })
  sendAgencyManaged!: boolean;

  @Column({ type: "boolean", default: false })
  contactImportEnabled!: boolean;

  @Column({ type: "uuid", array: true, default: "{}" })
  contactImportGroupIds!: string[];

  @Column({ type: "boolean", default: false })
  contactImportSuppliers!: boolean;

  /** Who is billed for the agency-managed. Null: that was never wanted. */
  @Column({ type: "uuid", nullable: true })
  ndiaId!: string | null;

  @Column({ type: "boolean", default: false })
  scheduleEnabled!: boolean;

  /** Five-field cron expression. */
  @Column({ type: "text", default: "0 * * * *" })
  scheduleCron!: string;

  /** Null: the integration's own. */
  @Column({ type: "text", nullable: true })
  scheduleTimeZone!: string | null;

  /** The tick that comes next; one that has gone by was missed, and is made up for by one run. Null while the schedule is off. */
  @InstantColumn({ nullable: true })
  scheduleNextRunAt!: Date | null;

  @Field(() => [String], { description: "Where alert e-mail goes." })
  @Column({ type: "text", array: true, default: "{}" })
  alertEmails!: string[];

  @Field(() => Boolean, {
    description:
      "Keep the link to Xero alive however long nobody uses it; off: it is ended after 60 days without activity.",
  })
  @Column({ type: "boolean", default: false })
  keepConnectionAlive!: boolean;

  /** What the next invoice without a number of its own is numbered. */
  @Column({ type: "integer", default: 1 })
  nextInvoiceNumber!: number;

  @InstantColumn({ default: () => "now()" })
  createdAt!: Date;
}
