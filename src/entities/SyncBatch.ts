import { Column, Entity, ForeignKey, Index } from "typeorm";
import { InstantColumn, WorkspaceRecord } from "./columns.js";
import { Connection } from "./Connection.js";

/** SENT: its bytes are written down and may have gone out, until every one of its attempts has a definite outcome. DONE: settled, whichever way. */
export type BatchState = "SENT" | "DONE";

export type BatchKind = "INVOICES" | "PAYMENTS";

/**
 * What one call to Xero carries, written down before it is made: the exact bytes, their idempotency key and when it was first used.
 * Whoever finds the lease run out can go on from this row alone.
 */
@Entity("sync_batch")
@ForeignKey(() => Connection, ["workspaceId", "connectionId"], ["workspaceId", "id"], {
  name: "fk_sync_batch_connection",
})
@Index("ix_sync_batch_open", { synchronize: false })
export class SyncBatch extends WorkspaceRecord {
  @Column({ type: "uuid" })
  connectionId!: string;

  /** Whether it carries invoices, which its attempts name, or payments, which name it. */
  @Column({ type: "text", default: "INVOICES" })
  kind!: BatchKind;

  @Column({ type: "text" })
  state!: BatchState;

  /** PUT creates, POST changes what is there. */
  @Column({ type: "text", default: "PUT" })
  method!: "PUT" | "POST";

  @Column({ type: "text" })
  body!: string;

  @Column({ type: "text" })
  idempotencyKey!: string;

  /** PostgreSQL's clock when the key was first about to be used; Xero forgets a key six minutes after its first use. */
  @InstantColumn()
  keyUsedAt!: Date;

  /** When it was last about to be sent: a look-up soon after could overtake it. */
  @InstantColumn({ default: () => "now()" })
  sentAt!: Date;

  /** Compared with PostgreSQL's clock only. */
  @InstantColumn()
  leaseUntil!: Date;

  /** Changes with every claim, so that a paused holder cannot write over its successor. */
  @Column({ type: "uuid" })
  leaseId!: string;

  /** How often it was sent or looked up without a definite answer. */
  @Column({ type: "integer", default: 0 })
  doubts!: number;

  /** How often Xero answered 5xx; it repeats such an answer under the same key. */
  @Column({ type: "integer", default: 0 })
  serverErrors!: number;

  /** Xero said that the key was used with a different request: it can prove nothing any more. */
  @Column({ type: "boolean", default: false })
  keyReused!: boolean;

  /** Not before this instant is it tried again. */
  @InstantColumn({ nullable: true })
  notBefore!: Date | null;
}
