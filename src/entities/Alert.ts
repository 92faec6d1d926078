import { Field, Int, ObjectType } from "type-graphql";
import { Column, Entity, ForeignKey, Index } from "typeorm";
import { DateTimeScalar } from "../scalars.js";
import { InstantColumn, WorkspaceRecord } from "./columns.js";
import { AlertKind, AlertState } from "./enums.js";
import { Integration } from "./Integration.js";

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
}
