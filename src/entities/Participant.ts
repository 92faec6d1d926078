import { Field, ObjectType } from "type-graphql";
import { Column, Entity, ForeignKey, Index, Unique } from "typeorm";
import { DateTimeScalar } from "../scalars.js";
import { InstantColumn, WorkspaceRecord } from "./columns.js";
import { PlanManagement } from "./enums.js";
import { Integration } from "./Integration.js";

@ObjectType()
@Entity("participant")
@Unique("uq_participant_contact_number", ["workspaceId", "contactNumber"])
@Index("ix_participant_name", { synchronize: false })
@Index("ix_participant_email", { synchronize: false })
@Index("ix_participant_phone", { synchronize: false })
@ForeignKey(() => Integration, ["workspaceId"], ["workspaceId"], { name: "fk_participant_workspace" })
@ForeignKey(() => Participant, ["workspaceId", "planManagerId"], ["workspaceId", "id"], {
  name: "fk_participant_plan_manager",
})
export class Participant extends WorkspaceRecord {
  @Field(() => String, { description: "What Xero knows the contact by, next to its id: unique in the workspace." })
  @Column({ type: "text" })
  contactNumber!: string;

  @Field(() => String)
  @Column({ type: "text" })
  name!: string;

  @Field(() => String, { nullable: true })
  @Column({ type: "text", nullable: true })
  firstName!: string | null;

  @Field(() => String, { nullable: true })
  @Column({ type: "text", nullable: true })
  lastName!: string | null;

  @Field(() => String, { nullable: true })
  @Column({ type: "text", nullable: true })
  email!: string | null;

  @Field(() => String, { nullable: true })
  @Column({ type: "text", nullable: true })
  phone!: string | null;

  @Field(() => String, { nullable: true })
  @Column({ type: "text", nullable: true })
  ndisNumber!: string | null;

  @Field(() => PlanManagement)
  @Column({ type: "text" })
  planManagement!: PlanManagement;

  @Column({ type: "uuid", nullable: true })
  planManagerId!: string | null;

  @Field(() => DateTimeScalar)
  @InstantColumn()
  updatedAt!: Date;
}
