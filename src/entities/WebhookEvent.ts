import { Column, Entity, Index } from "typeorm";
import { InstantColumn, WorkspaceRecord } from "./columns.js";
import { type WebhookEventStatus } from "./enums.js";

/**
 * One event of a delivery, for one workspace that has its organisation connected; an event of an organisation that nobody has connected is
 * kept under the workspace "", which no token can name. Xero gives events no id, so all that tells them apart is their key here.
 */
@Entity("webhook_event")
@Index("uq_webhook_event", ["workspaceId", "tenantId", "category", "resourceId", "eventType", "eventDate"], {
  unique: true,
})
@Index("ix_webhook_event_open", { synchronize: false })
@Index("ix_webhook_event_received", ["workspaceId", "connectionId", "receivedAt"])
@Index("ix_webhook_event_resource", ["workspaceId", "resourceId"])
export class WebhookEvent extends WorkspaceRecord {
  @Column({ type: "uuid", nullable: true })
  connectionId!: string | null;

  @Column({ type: "text" })
  tenantId!: string;

  @Column({ type: "text" })
  category!: string;

  @Column({ type: "text" })
  eventType!: string;

  @Column({ type: "text" })
  resourceId!: string;

  @InstantColumn()
  eventDate!: Date;

  @InstantColumn()
  receivedAt!: Date;

  @Column({ type: "text" })
  status!: WebhookEventStatus;

  @Column({ type: "text", nullable: true })
  detail!: string | null;
}
