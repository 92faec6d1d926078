import { Column, Entity, ForeignKey, PrimaryColumn } from "typeorm";
import { Connection } from "./Connection.js";

/** How far an organisation's changes were looked through for what no webhook told of. */
@Entity("payment_poll")
@ForeignKey(() => Connection, ["workspaceId", "connectionId"], ["workspaceId", "id"], {
  name: "fk_payment_poll_connection",
})
export class PaymentPoll {
  @PrimaryColumn({ type: "text" })
  workspaceId!: string;

  @PrimaryColumn({ type: "uuid" })
  connectionId!: string;

  @Column({ type: "timestamptz" })
  dueAt!: Date;

  /** Xero's newest time stamp up to which all was looked through; null: nothing was yet. */
  @Column({ type: "timestamptz", nullable: true })
  changedUntil!: Date | null;

  /** Of a poll that is not through: from which of Xero's time stamps on it reads, which page comes next, and the newest stamp so far. Null: none. */
  @Column({ type: "timestamptz", nullable: true })
  since!: Date | null;

  @Column({ type: "integer", default: 1 })
  page!: number;

  /** When its first page was answered, by Xero's clock. */
  @Column({ type: "timestamptz", nullable: true })
  answeredAt!: Date | null;

  @Column({ type: "timestamptz", nullable: true })
  seenUntil!: Date | null;

  /** Which poll is under way, so that a process that was paused in an earlier one changes nothing of it. */
  @Column({ type: "uuid", nullable: true })
  pollId!: string | null;
}
