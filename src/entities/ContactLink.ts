import { Column, Entity, ForeignKey, PrimaryColumn, Unique } from "typeorm";
import { Connection } from "./Connection.js";
import { type XeroContactStatus } from "./enums.js";
import { Participant } from "./Participant.js";

/** What a participant and its contact share, besides the contact number. */
export interface ContactDetails {
  name: string;
  firstName: string | null;
  lastName: string | null;
  email: string | null;
  phone: string | null;
}

/** Which contact a participant is in one organisation, and what of the participant it was last told. */
@Entity("contact_link")
@Unique("uq_contact_link_contact", ["workspaceId", "connectionId", "contactId"])
@ForeignKey(() => Connection, ["workspaceId", "connectionId"], ["workspaceId", "id"], {
  name: "fk_contact_link_connection",
})
@ForeignKey(() => Participant, ["workspaceId", "participantId"], ["workspaceId", "id"], {
  name: "fk_contact_link_participant",
})
export class ContactLink {
  @PrimaryColumn({ type: "text" })
  workspaceId!: string;

  @PrimaryColumn({ type: "uuid" })
  connectionId!: string;

  @PrimaryColumn({ type: "uuid" })
  participantId!: string;

  @Column({ type: "uuid" })
  contactId!: string;

  @Column({ type: "text" })
  contactStatus!: XeroContactStatus;

  /** Hash of the contact's fields as last sent; another hash means that there is something to update. Null: never sent. */
  @Column({ type: "text", nullable: true })
  sentHash!: string | null;

  /** The details that participant and contact last agreed on: whichever differs from them has changed since. Null: they never have. */
  @Column({ type: "jsonb", nullable: true })
  agreed!: ContactDetails | null;

  /** The contact number that Xero was last told; null: none. */
  @Column({ type: "text", nullable: true })
  numberSent!: string | null;

  /** Whether the contact bears its number behind its name, which somebody else has in Xero. */
  @Column({ type: "boolean", default: false })
  suffixed!: boolean;

  /** What Xero said of the last update that it did not take as it was. */
  @Column({ type: "text", array: true, default: "{}" })
  warnings!: string[];
}
