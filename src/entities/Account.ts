import { Field, ID, ObjectType } from "type-graphql";
import { Column, Entity, ForeignKey, PrimaryColumn } from "typeorm";
import { Connection } from "./Connection.js";

/** The copy last read of one account of a connected organisation's chart of accounts. Kept by AccountID: codes change and may be missing. */
@ObjectType("XeroAccount")
@Entity("account")
@ForeignKey(() => Connection, ["workspaceId", "connectionId"], ["workspaceId", "id"], { name: "fk_account_connection" })
export class Account {
  @PrimaryColumn({ type: "text" })
  workspaceId!: string;

  @PrimaryColumn({ type: "uuid" })
  connectionId!: string;

  @Field(() => ID)
  @PrimaryColumn({ type: "uuid" })
  accountId!: string;

  @Field(() => String, { nullable: true })
  @Column({ type: "text", nullable: true })
  code!: string | null;

  @Field(() => String)
  @Column({ type: "text" })
  name!: string;

  @Field(() => String)
  @Column({ type: "text" })
  type!: string;

  @Field(() => String, { nullable: true })
  @Column({ type: "text", nullable: true })
  taxType!: string | null;

  @Column({ type: "text" })
  class!: string;

  /** ACTIVE, ARCHIVED or DELETED; DELETED too when Xero no longer lists it. */
  @Column({ type: "text" })
  status!: string;

  @Column({ type: "boolean" })
  paymentsEnabled!: boolean;

  /** Xero's name of the role it plays (DEBTORS, GST, ROUNDING, …); such an account must not be used on lines. */
  @Column({ type: "text", nullable: true })
  systemAccount!: string | null;
}
