import { Column, Entity, PrimaryColumn } from "typeorm";
import { InstantColumn } from "./columns.js";
import { type ConnectionStatus, type PaymentEventKind, type SyncRunStatus, type SyncStatus } from "./enums.js";

/** What an entry of the event log is about: each subscription reads one topic. */
export type Topic = "SYNC" | "PAYMENT" | "CONNECTION" | "ALERT";

/** One thing that happened in a workspace. Cursors grow in commit order, without gaps. */
@Entity("event_log")
export class LogEvent {
  @PrimaryColumn({ type: "text" })
  workspaceId!: string;

  @PrimaryColumn({ type: "bigint" })
  cursor!: string;

  @InstantColumn()
  at!: Date;

  @Column({ type: "text" })
  topic!: Topic;

  @Column({ type: "uuid", nullable: true })
  runId!: string | null;

  @Column({ type: "uuid", nullable: true })
  invoiceId!: string | null;

  @Column({ type: "uuid", nullable: true })
  paymentId!: string | null;

  @Column({ type: "text", nullable: true })
  syncStatus!: SyncStatus | null;

  @Column({ type: "text", nullable: true })
  runStatus!: SyncRunStatus | null;

  @Column({ type: "text", nullable: true })
  paymentEventKind!: PaymentEventKind | null;

  @Column({ type: "uuid", nullable: true })
  connectionId!: string | null;

  @Column({ type: "text", nullable: true })
  connectionStatus!: ConnectionStatus | null;

  @Column({ type: "uuid", nullable: true })
  alertId!: string | null;
}

/** The last cursor given out in a workspace; its row's lock is what puts commits in order. */
@Entity("event_counter")
export class EventCounter {
  @PrimaryColumn({ type: "text" })
  workspaceId!: string;

  @Column({ type: "bigint" })
  lastCursor!: string;
}
