import { Field, ID, ObjectType } from "type-graphql";
import { Column, Entity, Index } from "typeorm";
import { DateTimeScalar } from "../scalars.js";
import { InstantColumn, WorkspaceRecord } from "./columns.js";
import { WebhookEventStatus } from "./enums.js";

/**
 * One event of a delivery, for one workspace that has its organisation connected; an event of an organisation that nobody has connected is
 * kept under the workspace "", which no token can name. Xero gives events no id, so all that tells them apart is their key here.
 */
@ObjectType({ description: "What Xero announced; of the same change announced again there is one." })
@Entity("webhook_event")
@Index("uq_webhook_event", ["workspaceId", "tenantId", "category", "resourceId", "eventType", "eventDate"], {
  unique: true,
})
@Index("ix_webhook_event_failed", { synchronize: false })
@Index("ix_webhook_event_list", ["workspaceId", "receivedAt", "id"])
@Index("ix_webhook_event_open", { synchronize: false })
@Index("ix_webhook_event_received", ["workspaceId", "connectionId", "receivedAt"])
@Index("ix_webhook_event_resource", ["workspaceId", "resourceId"])
export class WebhookEvent extends WorkspaceRecord {
  @Column({ type: "uuid", nullable: true })
  connectionId!: string | null;

  @Column({ type: "text" })
  tenantId!: string;

  @Field(() => String, { description: "INVOICE, CONTACT, PAYMENT, or whatever else Xero announces." })
  @Column({ type: "text" })
  category!: string;

  @Field(() => String, { description: "CREATE or UPDATE, as Xero has it." })
  @Column({ type: "text" })
  eventType!: string;

  @Field(() => ID, { description: "Xero's id of what has changed." })
  @Column({ type: "text" })
  resourceId!: string;

  @Field(() => DateTimeScalar, { description: "When Xero says that it happened." })
  @InstantColumn()
  eventDate!: Date;

  @Field(() => DateTimeScalar, { description: "When it first came." })
  @InstantColumn()
  receivedAt!: Date;

  /** When it last came, or was last replayed. */
  @Column({ type: "timestamptz", default: () => "now()" })
  touchedAt!: Date;

  @Field(() => WebhookEventStatus)
  @Column({ type: "text" })
  status!: WebhookEventStatus;

  @Field(() => String, { nullable: true, description: "Why it is so, in words." })
  @Column({ type: "text", nullable: true })
  detail!: string | null;
}
