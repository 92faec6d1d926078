/** The types of a Relay connection, made for each kind of node; and its arguments. */
import { ArgsType, type ClassType, Field, Int, ObjectType } from "type-graphql";
import { Alert } from "../entities/Alert.js";
import { AuditEntry } from "../entities/AuditEntry.js";
import { Invoice } from "../entities/Invoice.js";
import { Participant } from "../entities/Participant.js";
import { Payment } from "../entities/Payment.js";
import { SupportItem } from "../entities/SupportItem.js";
import { SyncAttempt } from "../entities/SyncAttempt.js";
import { SyncRun } from "../entities/SyncRun.js";
import { WebhookEvent } from "../entities/WebhookEvent.js";

@ObjectType()
class PageInfo {
  @Field(() => Boolean)
  hasNextPage!: boolean;

  @Field(() => Boolean)
  hasPreviousPage!: boolean;

  @Field(() => String, { nullable: true })
  startCursor!: string | null;

  @Field(() => String, { nullable: true })
  endCursor!: string | null;
}

/** `first` (1 to 100) and `after` of a list. */
@ArgsType()
export class PageArguments {
  @Field(() => Int, { nullable: true, defaultValue: 50, description: "1 to 100." })
  first!: number;

  @Field(() => String, { nullable: true, description: "endCursor of the page before." })
  after?: string | null;
}

interface CountedPage {
  count: () => Promise<number>;
}

function pageType<T extends object>(node: ClassType<T>, name: string): ClassType<CountedPage> {
  @ObjectType(`${name}Edge`)
  class Edge {
    @Field(() => String)
    cursor!: string;

    @Field(() => node)
    node!: T;
  }

  @ObjectType(`${name}Connection`)
  class Connection {
    @Field(() => [node])
    nodes!: T[];

    @Field(() => [Edge])
    edges!: Edge[];

    @Field(() => PageInfo)
    pageInfo!: PageInfo;

    count!: () => Promise<number>;

    @Field(() => Int, { description: "All that the list holds; counted only when asked for." })
    totalCount(): Promise<number> {
      return this.count();
    }
  }
  return Connection;
}

export const AlertConnection = pageType(Alert, "Alert");
export const AuditEntryConnection = pageType(AuditEntry, "AuditEntry");
export const InvoiceConnection = pageType(Invoice, "Invoice");
export const ParticipantConnection = pageType(Participant, "Participant");
export const PaymentConnection = pageType(Payment, "Payment");
export const SupportItemConnection = pageType(SupportItem, "SupportItem");
export const SyncAttemptConnection = pageType(SyncAttempt, "SyncAttempt");
export const SyncRunConnection = pageType(SyncRun, "SyncRun");
export const WebhookEventConnection = pageType(WebhookEvent, "WebhookEvent");
