import { Column, Entity, PrimaryColumn } from "typeorm";
import { InstantColumn } from "./columns.js";

/** A consent that was started: the state sent to Xero (as its hash), whose it is, and until when it may come back, once. */
@Entity("consent")
export class Consent {
  @PrimaryColumn({ type: "text" })
  stateHash!: string;

  @Column({ type: "text" })
  workspaceId!: string;

  @Column({ type: "text" })
  subject!: string;

  @InstantColumn()
  expiresAt!: Date;

  /** Whose consent it became, and which, once its code was exchanged: the code works once, so a second try goes on from here. */
  @Column({ type: "text", nullable: true })
  xeroUserId!: string | null;

  @Column({ type: "text", nullable: true })
  authEventId!: string | null;

  /** Claimed by a callback until then; given back only when Xero did not answer. */
  @InstantColumn({ nullable: true })
  leaseUntil!: Date | null;

  @InstantColumn({ nullable: true })
  usedAt!: Date | null;
}
