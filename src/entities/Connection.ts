/** A group of contacts in Xero. */
@ObjectType()
export class XeroContactGroup {
  @Field(() => ID)
  id!: string;

  @Field(() => String)
  name!: string;
}
import { Field, ID, Int, ObjectType } from "type-graphql";
import { Column, Entity, ForeignKey, Index, Unique } from "typeorm";
import { DateTimeScalar } from "../scalars.js";
import { InstantColumn, WorkspaceRecord } from "./columns.js";
import { ConnectionStatus } from "./enums.js";
import { Integration } from "./Integration.js";

/**
 * The authorised link from one workspace to one Xero organisation. It outlives a disconnection: links of records, mappings and
 * chosen accounts belong to it and are there again when the same organisation is connected again.
 */
@ObjectType("XeroOrganisation", { description: "A Xero organisation that this workspace is, or was, connected to." })
@Entity("connection")
@Unique("uq_connection_tenant", ["workspaceId", "tenantId"])
@Index("ix_connection_check_due_at", { synchronize: false })
@Index("ix_connection_last_activity_at", { synchronize: false })
@Index("ix_connection_xero_user", ["xeroUserId"])
@ForeignKey(() => Integration, ["workspaceId"], ["workspaceId"], { name: "fk_connection_workspace" })
export class Connection extends WorkspaceRecord {
  @Field(() => ID, { description: "Xero's id of the organisation." })
  @Column({ type: "uuid" })
  tenantId!: string;

  /** Xero's id of the connection itself, which is what ends it there. */
  @Column({ type: "uuid" })
  xeroConnectionId!: string;

  /** The grant that its calls are made with: a Xero user's id. */
  @Column({ type: "text" })
  xeroUserId!: string;

  @Field(() => String, { description: "ORGANISATION, PRACTICE or PRACTICEMANAGER." })
  @Column({ type: "text" })
  tenantType!: string;

  @Field(() => String)
  @Column({ type: "text" })
  name!: string;

  @Field(() => ConnectionStatus)
  @Column({ type: "text" })
  connectionStatus!: ConnectionStatus;

  @Field(() => String, { nullable: true, description: "Why it is not CONNECTED, in words." })
  @Column({ type: "text", nullable: true })
  statusReason!: string | null;

  @Field(() => [String], { description: "Scopes that the consent lacks." })
  @Column({ type: "text", array: true, default: "{}" })
  missingScopes!: string[];

  @Field(() => String, { nullable: true })
  @Column({ type: "text", nullable: true })
  baseCurrency!: string | null;

  @Field(() => Boolean, { nullable: true })
  @Column({ type: "boolean", nullable: true })
  isDemoCompany!: boolean | null;

  /** Goes into deep links; such as `!Qj35V`. */
  @Column({ type: "text", nullable: true })
  shortCode!: string | null;

  /** IANA name of the organisation's own time zone. */
  @Column({ type: "text", nullable: true })
  timeZone!: string | null;

  /** Nothing dated on or before these may be written: the organisation's own lock, and its accountant's. */
  @Column({ type: "date", nullable: true })
  periodLockDate!: string | null;

  @Column({ type: "date", nullable: true })
  endOfYearLockDate!: string | null;

  @Field(() => DateTimeScalar)
  @InstantColumn()
  connectedAt!: Date;

  @Field(() => DateTimeScalar, { nullable: true, description: "When Xero last answered a call made for it." })
  @InstantColumn({ nullable: true })
  lastUsedAt!: Date | null;

  @Field(() => DateTimeScalar, { nullable: true })
  @InstantColumn({ nullable: true })
  disconnectedAt!: Date | null;

  @Field(() => Int, { nullable: true, description: "Calls left today, as Xero last said." })
  @Column({ type: "integer", nullable: true })
  dailyCallsRemaining!: number | null;

  /** Xero's AccountID of the account that lines use when nothing nearer names one. */
  @Column({ type: "uuid", nullable: true })
  salesAccountId!: string | null;

  /** Xero's AccountID of the account that payments recorded on the platform are sent to. */
  @Column({ type: "uuid", nullable: true })
  paymentAccountId!: string | null;

  /** No webhook event is applied before this instant, after Xero failed to answer for one. */
  @InstantColumn({ nullable: true })
  pullNotBefore!: Date | null;

  /** Which piece of work is applying events now, one at a time, so that none reads what another reads. Null: none. */
  @Column({ type: "uuid", nullable: true })
  pullLeaseId!: string | null;

  /** Compared with PostgreSQL's clock only. */
  @Column({ type: "timestamptz", nullable: true })
  pullLeaseUntil!: Date | null;

  /** When accounts, tax rates and the organisation itself were last read from Xero. */
  @InstantColumn({ nullable: true })
  dataReadAt!: Date | null;

  /** The organisation's contact groups as last read; null: never. */
  @Column({ type: "jsonb", nullable: true })
  contactGroups!: XeroContactGroup[] | null;

  /** The last sync, payment, import or change of settings; reading in the background is none. */
  @InstantColumn({ default: () => "now()" })
  lastActivityAt!: Date;

  /** When the next light call is due that notices a link ended at Xero. */
  @InstantColumn({ default: () => "now()" })
  checkDueAt!: Date;

  /** Since when Xero refuses access tokens that it has only just issued; null: it does not. */
  @InstantColumn({ nullable: true })
  refusedSince!: Date | null;
}
