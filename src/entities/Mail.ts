import { Column, Entity, ForeignKey, Index } from "typeorm";
import { Alert } from "./Alert.js";
import { InstantColumn, WorkspaceRecord } from "./columns.js";

/** Why a mail is sent. */
export type MailOccasion = "OPENED" | "RESOLVED";

/** PENDING until the mail server has taken it. FAILED: it never did. UNSENT: there was no mail server to give it to. */
export type MailState = "PENDING" | "SENT" | "FAILED" | "UNSENT";

/** One mail to one address, kept with what gives rise to it, so that it is sent once whatever dies. */
@Entity("mail")
@ForeignKey(() => Alert, ["workspaceId", "alertId"], ["workspaceId", "id"], { name: "fk_mail_alert" })
@Index("uq_mail_occasion", ["workspaceId", "alertId", "occasion", "address"], { unique: true })
@Index("ix_mail_pending", { synchronize: false })
export class Mail extends WorkspaceRecord {
  @Column({ type: "uuid" })
  alertId!: string;

  @Column({ type: "text" })
  occasion!: MailOccasion;

  @Column({ type: "text" })
  address!: string;

  @Column({ type: "text", default: "PENDING" })
  state!: MailState;

  @Column({ type: "integer", default: 0 })
  tries!: number;

  @InstantColumn({ default: () => "now()" })
  createdAt!: Date;

  /** By PostgreSQL's clock. */
  @Column({ type: "timestamptz", nullable: true })
  notBefore!: Date | null;

  @Column({ type: "uuid", nullable: true })
  leaseId!: string | null;

  @Column({ type: "timestamptz", nullable: true })
  leaseUntil!: Date | null;

  @InstantColumn({ nullable: true })
  sentAt!: Date | null;

  /** What the mail server said when it last did not take it. */
  @Column({ type: "text", nullable: true })
  problem!: string | null;
}
