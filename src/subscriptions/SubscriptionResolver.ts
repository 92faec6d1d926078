/**
 * The subscriptions. Every event carries its cursor in the workspace's log: a client that comes back with `after` gets what it missed, in
 * order, then what is new, nothing twice and nothing left out.
 */
import { Arg, Ctx, Field, FieldResolver, ID, ObjectType, Resolver, Root, Subscription } from "type-graphql";
import { Alert } from "../entities/Alert.js";
import { Connection } from "../entities/Connection.js";
import { ConnectionStatus, PaymentEventKind, SyncRunStatus, SyncStatus } from "../entities/enums.js";
import { Invoice } from "../entities/Invoice.js";
import { type LogEvent, type Topic } from "../entities/LogEvent.js";
import { Payment } from "../entities/Payment.js";
import { SyncRun } from "../entities/SyncRun.js";
import { type Context } from "../resolvers/context.js";
import { DateTimeScalar } from "../scalars.js";

@ObjectType()
class SyncStatusEvent {
  @Field(() => ID)
  cursor!: string;

  @Field(() => DateTimeScalar)
  at!: Date;

  runId!: string | null;
  invoiceId!: string | null;

  @Field(() => SyncStatus, {
    nullable: true,
    description: "The status as it was when the event happened, not as it is when it is read.",
  })
  syncStatus!: SyncStatus | null;

  @Field(() => SyncRunStatus, { nullable: true })
  runStatus!: SyncRunStatus | null;
}

@ObjectType()
class PaymentEvent {
  @Field(() => ID)
  cursor!: string;

  @Field(() => DateTimeScalar)
  at!: Date;

  paymentId!: string;
  invoiceId!: string;
  paymentEventKind!: PaymentEventKind;
}

@ObjectType()
class ConnectionStatusEvent {
  @Field(() => ID)
  cursor!: string;

  @Field(() => DateTimeScalar)
  at!: Date;

  connectionId!: string;
  connectionStatus!: ConnectionStatus;
}

@ObjectType()
class AlertEvent {
  @Field(() => ID)
  cursor!: string;

  @Field(() => DateTimeScalar)
  at!: Date;

  alertId!: string;
}

interface SyncStatusArguments {
  runId?: string | null;
  invoiceId?: string | null;
  after?: string | null;
}

interface PaymentArguments {
  invoiceId?: string | null;
  after?: string | null;
}

async function followSync(
  context: Context,
  { runId, invoiceId, after }: SyncStatusArguments,
): Promise<AsyncIterable<LogEvent>> {
  const { services, viewer } = context;
  // An id that isn't there is said at once: silence for ever would look like nothing happening.
  const run = runId == null ? null : await services.syncRuns.load(viewer, runId, "runId");
  const invoice = invoiceId == null ? null : await services.invoices.load(viewer, invoiceId, "invoiceId");
  return services.eventFeed.follow(
    viewer.workspaceId,
    after ?? null,
    (event) =>
      event.topic === "SYNC" && (!run || event.runId === run.id) && (!invoice || event.invoiceId === invoice.id),
  );
}

async function followPayments(
  context: Context,
  { invoiceId, after }: PaymentArguments,
): Promise<AsyncIterable<LogEvent>> {
  const { services, viewer } = context;
  const invoice = invoiceId == null ? null : await services.invoices.load(viewer, invoiceId, "invoiceId");
  return services.eventFeed.follow(
    viewer.workspaceId,
    after ?? null,
    (event) => event.topic === "PAYMENT" && (!invoice || event.invoiceId === invoice.id),
  );
}

/** Follows all that the workspace's log tells on one topic. */
function followTopic(
  { services, viewer }: Context,
  topic: Topic,
  { after }: { after?: string | null },
): Promise<AsyncIterable<LogEvent>> {
  return services.eventFeed.follow(viewer.workspaceId, after ?? null, (event) => event.topic === topic);
}

@Resolver(() => SyncStatusEvent)
export class SyncStatusSubscription {
  @Subscription(() => SyncStatusEvent, {
    description: "Progress of runs and of single invoices.",
    subscribe: ({ context, args }) => followSync(context as Context, args as SyncStatusArguments) as never,
  })
  syncStatus(
    @Root() event: LogEvent,
    @Arg("runId", () => ID, { nullable: true }) _runId: string | null | undefined,
    @Arg("invoiceId", () => ID, { nullable: true }) _invoiceId: string | null | undefined,
    @Arg("after", () => ID, { nullable: true }) _after: string | null | undefined,
  ): SyncStatusEvent {
    return event;
  }

  @FieldResolver(() => SyncRun, { nullable: true })
  async run(@Root() { runId }: SyncStatusEvent, @Ctx() { loaders }: Context): Promise<SyncRun | null> {
    return runId === null ? null : loaders.run.load(runId);
  }

  @FieldResolver(() => Invoice, { nullable: true, description: "Set where the event is about one invoice." })
  async invoice(@Root() { invoiceId }: SyncStatusEvent, @Ctx() { loaders }: Context): Promise<Invoice | null> {
    return invoiceId === null ? null : loaders.invoice.load(invoiceId);
  }
}

@Resolver(() => PaymentEvent)
export class PaymentSubscription {
  @Subscription(() => PaymentEvent, {
    description: "Payments that arrive, change or are reversed.",
    subscribe: ({ context, args }) => followPayments(context as Context, args as PaymentArguments) as never,
  })
  payments(
    @Root() event: LogEvent,
    @Arg("invoiceId", () => ID, { nullable: true }) _invoiceId: string | null | undefined,
    @Arg("after", () => ID, { nullable: true }) _after: string | null | undefined,
  ): PaymentEvent {
    return event as unknown as PaymentEvent;
  }

  @FieldResolver(() => PaymentEventKind)
  kind(@Root() { paymentEventKind }: PaymentEvent): PaymentEventKind {
    return paymentEventKind;
  }

  @FieldResolver(() => Payment)
  payment(@Root() { paymentId }: PaymentEvent, @Ctx() { loaders }: Context): Promise<Payment | null> {
    return loaders.payment.load(paymentId);
  }

  @FieldResolver(() => Invoice)
  invoice(@Root() { invoiceId }: PaymentEvent, @Ctx() { loaders }: Context): Promise<Invoice | null> {
    return loaders.invoice.load(invoiceId);
  }
}

@Resolver(() => ConnectionStatusEvent)
export class ConnectionStatusSubscription {
  @Subscription(() => ConnectionStatusEvent, {
    description: "Every change of the link to an organisation.",
    subscribe: ({ context, args }) =>
      followTopic(context as Context, "CONNECTION", args as { after?: string | null }) as never,
  })
  connectionStatus(
    @Root() event: LogEvent,
    @Arg("after", () => ID, { nullable: true }) _after: string | null | undefined,
  ): ConnectionStatusEvent {
    return event as unknown as ConnectionStatusEvent;
  }

  @FieldResolver(() => Connection)
  organisation(
    @Root() { connectionId }: ConnectionStatusEvent,
    @Ctx() { loaders }: Context,
  ): Promise<Connection | null> {
    return loaders.connection.load(connectionId);
  }

  @FieldResolver(() => ConnectionStatus, {
    description: "The status as it was when the event happened, not as it is when it is read.",
  })
  status(@Root() { connectionStatus }: ConnectionStatusEvent): ConnectionStatus {
    return connectionStatus;
  }
}

@Resolver(() => AlertEvent)
export class AlertSubscription {
  @Subscription(() => AlertEvent, {
    description: "Alerts that open, are met again or are resolved.",
    subscribe: ({ context, args }) =>
      followTopic(context as Context, "ALERT", args as { after?: string | null }) as never,
  })
  alerts(
    @Root() event: LogEvent,
    @Arg("after", () => ID, { nullable: true }) _after: string | null | undefined,
  ): AlertEvent {
    return event as unknown as AlertEvent;
  }

  @FieldResolver(() => Alert)
  alert(@Root() { alertId }: AlertEvent, @Ctx() { loaders }: Context): Promise<Alert | null> {
    return loaders.alert.load(alertId);
  }
}
