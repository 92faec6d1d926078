import { Column, Entity, ForeignKey, PrimaryColumn } from "typeorm";
import { InstantColumn } from "./columns.js";
import { Connection } from "./Connection.js";

/** How far the copy of an organisation's contacts goes, and who is settling contacts with it now. */
@Entity("contact_mirror")
@ForeignKey(() => Connection, ["workspaceId", "connectionId"], ["workspaceId", "id"], {
  name: "fk_contact_mirror_connection",
})
export class ContactMirror {
  @PrimaryColumn({ type: "text" })
  workspaceId!: string;

  @PrimaryColumn({ type: "uuid" })
  connectionId!: string;

  /** Xero's newest time stamp among the contacts read; null: none was ever read. */
  @Column({ type: "timestamptz", nullable: true })
  changedUntil!: Date | null;

  /** PostgreSQL's clock when the last complete read began. */
  @Column({ type: "timestamptz", nullable: true })
  readAt!: Date | null;

  /** Whoever settles contacts of the organisation, one at a time, so that none is made twice. Null: nobody. */
  @Column({ type: "uuid", nullable: true })
  leaseId!: string | null;

  /** Compared with PostgreSQL's clock only. */
  @InstantColumn({ nullable: true })
  leaseUntil!: Date | null;
}
