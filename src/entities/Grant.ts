import { Column, Entity, PrimaryColumn } from "typeorm";
import { InstantColumn } from "./columns.js";

/**
 * The token set of one Xero user's consents to this app: a row of the system, shared by every connection that came from it, in
 * whichever workspace. Both tokens are encrypted, bound to this row.
 */
@Entity("xero_grant")
export class Grant {
  @PrimaryColumn({ type: "text" })
  xeroUserId!: string;

  @Column({ type: "text" })
  accessToken!: string;

  @Column({ type: "text" })
  refreshToken!: string;

  @Column({ type: "text", array: true })
  scopes!: string[];

  @InstantColumn()
  accessExpiresAt!: Date;

  /** When Xero gave it. */
  @InstantColumn({ default: () => "now()" })
  storedAt!: Date;

  /** ALIVE, or DEAD once Xero refused the refresh token. */
  @Column({ type: "text" })
  state!: "ALIVE" | "DEAD";

  /** Counts the token sets: whoever refreshed from an older one has lost. */
  @Column({ type: "integer", default: 1 })
  version!: number;

  @Column({ type: "uuid", nullable: true })
  leaseId!: string | null;

  @InstantColumn({ nullable: true })
  leaseUntil!: Date | null;
}
