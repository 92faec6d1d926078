import { Field, ID, ObjectType } from "type-graphql";
import { Column, Entity, ForeignKey, Index } from "typeorm";
import { DateTimeScalar } from "../scalars.js";
import { InstantColumn, WorkspaceRecord } from "./columns.js";
import { Connection } from "./Connection.js";
import { ContactAction, SyncOutcome } from "./enums.js";
import { Invoice } from "./Invoice.js";
import { SyncBatch } from "./SyncBatch.js";
import { SyncError } from "./SyncError.js";
import { SyncRun } from "./SyncRun.js";

/** What Xero is to be asked: a new invoice, its content anew, or its end. */
export type SyncAction = "CREATE" | "UPDATE" | "VOID";

/**
 * One invoice in one run: the row of the outbox. While it is PENDING or UNCERTAIN it is the invoice's only one, by a unique index, and
 * that index is what makes two presses at once into one.
 */
@ObjectType()
@Entity("sync_attempt")
@ForeignKey(() => SyncRun, ["workspaceId", "runId"], ["workspaceId", "id"], { name: "fk_sync_attempt_run" })
@ForeignKey(() => Invoice, ["workspaceId", "invoiceId"], ["workspaceId", "id"], { name: "fk_sync_attempt_invoice" })
@ForeignKey(() => Connection, ["workspaceId", "connectionId"], ["workspaceId", "id"], {
  name: "fk_sync_attempt_connection",
})
@ForeignKey(() => SyncBatch, ["workspaceId", "batchId"], ["workspaceId", "id"], { name: "fk_sync_attempt_batch" })
@Index("uq_sync_attempt_live", { synchronize: false })
@Index("ix_sync_attempt_due", { synchronize: false })
@Index("ix_sync_attempt_live_run", { synchronize: false })
@Index("ix_sync_attempt_resent", { synchronize: false })
@Index("ix_sync_attempt_run", ["workspaceId", "runId", "id"])
@Index("ix_sync_attempt_invoice", ["workspaceId", "invoiceId", "id"])
@Index("ix_sync_attempt_batch", ["workspaceId", "batchId"])
export class SyncAttempt extends WorkspaceRecord {
  @Field(() => ID)
  @Column({ type: "uuid" })
  runId!: string;

  @Column({ type: "uuid" })
  invoiceId!: string;

  @Column({ type: "uuid" })
  connectionId!: string;

  @Column({ type: "text", default: "CREATE" })
  action!: SyncAction;

  /** The contact it will be sent with; null: not settled yet, or none is needed to void it. */
  @Column({ type: "uuid", nullable: true })
  contactId!: string | null;

  /** Which of the invoice's revisions was written down; null: none was. */
  @Column({ type: "integer", nullable: true })
  revision!: number | null;

  /** Sent before under another key, and then not found in Xero. */
  @Column({ type: "boolean", default: false })
  resent!: boolean;

  /** The batch it goes out in; null: not claimed. */
  @Column({ type: "uuid", nullable: true })
  batchId!: string | null;

  @Field(() => DateTimeScalar)
  @InstantColumn()
  queuedAt!: Date;

  @Field(() => DateTimeScalar, { nullable: true })
  @InstantColumn({ nullable: true })
  startedAt!: Date | null;

  @Field(() => DateTimeScalar, { nullable: true })
  @InstantColumn({ nullable: true })
  finishedAt!: Date | null;

  @Field(() => SyncOutcome)
  @Column({ type: "text" })
  outcome!: SyncOutcome;

  @Field(() => SyncError, { nullable: true })
  @Column({ type: "jsonb", nullable: true })
  error!: SyncError | null;

  @Field(() => ContactAction, { nullable: true })
  @Column({ type: "text", nullable: true })
  contactAction!: ContactAction | null;

  /** Not before this instant, after a transient failure. */
  @InstantColumn({ nullable: true })
  notBefore!: Date | null;

  /** Lower goes first: what a person waits for overtakes what goes by itself. */
  @Column({ type: "smallint", default: 0 })
  priority!: number;

  /** How often it failed in a way that may pass. */
  @Column({ type: "integer", default: 0 })
  transientFailures!: number;
}
