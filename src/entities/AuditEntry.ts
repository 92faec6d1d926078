import { Field, ID, ObjectType } from "type-graphql";
import { Column, Entity, Index } from "typeorm";
import { DateTimeScalar } from "../scalars.js";
import { InstantColumn, WorkspaceRecord } from "./columns.js";

/** One line of the audit log. Written by the database's triggers and functions only; see the migration that makes them. */
@ObjectType()
@Entity("audit_entry")
@Index("ix_audit_entry_at", ["workspaceId", "at", "id"])
export class AuditEntry extends WorkspaceRecord {
  @Field(() => DateTimeScalar)
  @InstantColumn()
  at!: Date;

  @Field(() => String, { description: "The token's subject, or the part of the service that acted." })
  @Column({ type: "text" })
  actor!: string;

  @Field(() => String, {
    description:
      "The operation; `refused` for one that the caller's role does not allow, whose name is then the subjectType.",
  })
  @Column({ type: "text" })
  action!: string;

  @Field(() => String)
  @Column({ type: "text" })
  subjectType!: string;

  @Field(() => ID, { nullable: true })
  @Column({ type: "text", nullable: true })
  subjectId!: string | null;

  @Field(() => String, {
    nullable: true,
    description: "Changed fields, old and new, as JSON text; secrets and personal data left out.",
  })
  @Column({ type: "text", nullable: true })
  changes!: string | null;

  @Field(() => String, { nullable: true })
  @Column({ type: "text", nullable: true })
  correlationId!: string | null;
}
