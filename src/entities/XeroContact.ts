import { Column, Entity, ForeignKey, Index, PrimaryColumn } from "typeorm";
import { Connection } from "./Connection.js";

/** The copy of one of an organisation's contacts, archived ones too, by which participants are matched without asking Xero for each. */
@Entity("xero_contact")
@ForeignKey(() => Connection, ["workspaceId", "connectionId"], ["workspaceId", "id"], {
  name: "fk_xero_contact_connection",
})
@Index("ix_xero_contact_number", ["workspaceId", "connectionId", "contactNumber"])
@Index("ix_xero_contact_name", ["workspaceId", "connectionId", "nameKey"])
export class XeroContact {
  @PrimaryColumn({ type: "text" })
  workspaceId!: string;

  @PrimaryColumn({ type: "uuid" })
  connectionId!: string;

  @PrimaryColumn({ type: "uuid" })
  contactId!: string;

  @Column({ type: "text", nullable: true })
  contactNumber!: string | null;

  @Column({ type: "text" })
  name!: string;

  @Column({ type: "text", nullable: true })
  firstName!: string | null;

  @Column({ type: "text", nullable: true })
  lastName!: string | null;

  @Column({ type: "text", nullable: true })
  email!: string | null;

  @Column({ type: "text", nullable: true })
  phone!: string | null;

  /** ACTIVE, ARCHIVED or GDPRREQUEST, as Xero says. */
  @Column({ type: "text" })
  status!: string;

  @Column({ type: "uuid", nullable: true })
  mergedToContactId!: string | null;

  /** The name as Xero compares it: without case and accents. */
  @Column({ type: "text" })
  nameKey!: string;
}
