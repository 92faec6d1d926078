import { Field, ID, ObjectType } from "type-graphql";
import { Column, Entity, ForeignKey, Index, PrimaryColumn } from "typeorm";
import { Connection } from "./Connection.js";

/** The copy of one of an organisation's contacts, archived ones too, by which participants are matched without asking Xero for each. */
@ObjectType()
@Entity("xero_contact")
@ForeignKey(() => Connection, ["workspaceId", "connectionId"], ["workspaceId", "id"], {
  name: "fk_xero_contact_connection",
})
@Index("ix_xero_contact_number", ["workspaceId", "connectionId", "contactNumber"])
@Index("ix_xero_contact_name", ["workspaceId", "connectionId", "nameKey"])
@Index("ix_xero_contact_email", ["workspaceId", "connectionId", "emailKey"])
@Index("ix_xero_contact_phone", ["workspaceId", "connectionId", "phoneKey"])
@Index("ix_xero_contact_import_due", { synchronize: false })
@Index("ix_xero_contact_merged", { synchronize: false })
export class XeroContact {
  @PrimaryColumn({ type: "text" })
  workspaceId!: string;

  @PrimaryColumn({ type: "uuid" })
  connectionId!: string;

  @Field(() => ID)
  @PrimaryColumn({ type: "uuid" })
  contactId!: string;

  @Field(() => String, { nullable: true })
  @Column({ type: "text", nullable: true })
  contactNumber!: string | null;

  @Field(() => String)
  @Column({ type: "text" })
  name!: string;

  @Column({ type: "text", nullable: true })
  firstName!: string | null;

  @Column({ type: "text", nullable: true })
  lastName!: string | null;

  @Field(() => String, { nullable: true })
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

  /** The e-mail address likewise. */
  @Column({ type: "text", nullable: true })
  emailKey!: string | null;

  /** The telephone number's digits; null where there are too few. */
  @Column({ type: "text", nullable: true })
  phoneKey!: string | null;

  /** As Xero has it: whether it has bills, and whether it has invoices. */
  @Column({ type: "boolean", default: false })
  isSupplier!: boolean;

  @Column({ type: "boolean", default: false })
  isCustomer!: boolean;

  /** Xero's stamp of its last change. */
  @Column({ type: "timestamptz", nullable: true })
  updatedAt!: Date | null;

  /** Whether it has changed since the import last looked at it. */
  @Column({ type: "boolean", default: true })
  importDue!: boolean;
}
