import { Field, Int, ObjectType } from "type-graphql";
import { Column, Entity, ForeignKey, Index } from "typeorm";
import { DateTimeScalar } from "../scalars.js";
import { InstantColumn, WorkspaceRecord } from "./columns.js";
import { Connection } from "./Connection.js";
import { type SyncOutcome, SyncRunKind, SyncRunStatus, SyncTrigger } from "./enums.js";

/** One press, tick or approval, and all that follows from it. How its invoices ended is counted from its attempts, never kept twice. */
@ObjectType()
@Entity("sync_run")
@ForeignKey(() => Connection, ["workspaceId", "connectionId"], ["workspaceId", "id"], {
  name: "fk_sync_run_connection",
})
@Index("ix_sync_run_queued_at", ["workspaceId", "queuedAt", "id"])
@Index("ix_sync_run_import", { synchronize: false })
export class SyncRun extends WorkspaceRecord {
  @Column({ type: "uuid" })
  connectionId!: string;

  @Field(() => SyncRunKind)
  @Column({ type: "text" })
  kind!: SyncRunKind;

  @Field(() => SyncTrigger)
  @Column({ type: "text" })
  trigger!: SyncTrigger;

  @Field(() => SyncRunStatus)
  @Column({ type: "text" })
  status!: SyncRunStatus;

  @Field(() => String, { nullable: true })
  @Column({ type: "text", nullable: true })
  requestedBy!: string | null;

  @Field(() => DateTimeScalar)
  @InstantColumn()
  queuedAt!: Date;

  @Field(() => DateTimeScalar, { nullable: true })
  @InstantColumn({ nullable: true })
  startedAt!: Date | null;

  @Field(() => DateTimeScalar, { nullable: true })
  @InstantColumn({ nullable: true })
  finishedAt!: Date | null;

  @Field(() => Int, { description: "Calls made to Xero for it." })
  @Column({ type: "integer", default: 0 })
  xeroCalls!: number;

  /** How many of each outcome there are, for a run without attempts: an import's contacts. Null: counted from its attempts. */
  @Column({ type: "jsonb", nullable: true })
  counts!: Partial<Record<SyncOutcome, number>> | null;

  @Field(() => [String], { description: "Why an import left some contacts alone, in words; up to 200." })
  @Column({ type: "text", array: true, default: "{}" })
  problems!: string[];
}
