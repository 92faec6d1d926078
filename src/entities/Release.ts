import { Column, Entity, ForeignKey } from "typeorm";
import { InstantColumn, WorkspaceRecord } from "./columns.js";
import { Connection } from "./Connection.js";

/**
 * A link that was given up here and is still to be ended at Xero. It is written with whatever gave it up and kept until Xero has taken it in,
 * so that a Xero that is down leaves no link standing that nobody knows of.
 */
@Entity("release")
@ForeignKey(() => Connection, ["workspaceId", "connectionId"], ["workspaceId", "id"], { name: "fk_release_connection" })
export class Release extends WorkspaceRecord {
  @Column({ type: "uuid" })
  connectionId!: string;

  /** Xero's id of the connection, and the user whose grant can end it: the connection's own may be others by now. */
  @Column({ type: "uuid" })
  xeroConnectionId!: string;

  @Column({ type: "text" })
  xeroUserId!: string;

  @InstantColumn({ default: () => "now()" })
  dueAt!: Date;

  @Column({ type: "integer", default: 0 })
  failures!: number;
}
