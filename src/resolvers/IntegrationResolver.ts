/** The integration as an administrator's settings page shows it, and the connection to Xero. */
import {
  Arg,
  Authorized,
  Ctx,
  Field,
  FieldResolver,
  ID,
  Mutation,
  ObjectType,
  Query,
  Resolver,
  Root,
} from "type-graphql";
import { Account } from "../entities/Account.js";
import { Connection } from "../entities/Connection.js";
import { SetupStep, XeroAccountUse } from "../entities/enums.js";
import { Integration } from "../entities/Integration.js";
import { SyncRun } from "../entities/SyncRun.js";
import { TaxRate } from "../entities/TaxRate.js";
import { DateTimeScalar } from "../scalars.js";
import { ConnectXeroPayload } from "../services/Connections.js";
import { UpdateIntegrationInput } from "../services/integrationInput.js";
import { Viewer } from "../viewer.js";
import { type Context } from "./context.js";

@ObjectType()
class WebhookStatus {
  @Field(() => String, { description: "The address to enter in Xero's developer portal." })
  deliveryUrl!: string;

  @Field(() => Boolean)
  configured!: boolean;

  @Field(() => DateTimeScalar, { nullable: true, description: "When Xero last passed the intent-to-receive check." })
  lastValidatedAt!: Date | null;

  @Field(() => DateTimeScalar, { nullable: true })
  lastEventAt!: Date | null;
}

@ObjectType()
class SyncSchedule {
  @Field(() => Boolean)
  enabled!: boolean;

  @Field(() => String, { description: "Five-field cron expression." })
  cron!: string;

  @Field(() => String, { description: "IANA time zone." })
  timeZone!: string;

  @Field(() => DateTimeScalar, { nullable: true })
  nextRunAt!: Date | null;
}

@ObjectType()
class ContactImportSettings {
  @Field(() => Boolean)
  enabled!: boolean;

  @Field(() => [ID], { description: "Xero contact groups to import; empty: all." })
  groupIds!: string[];

  @Field(() => Boolean, { description: "Contacts too that have bills and no invoices." })
  includeSuppliers!: boolean;
}

@Resolver(() => SyncSchedule)
export class SyncScheduleResolver {
  @FieldResolver(() => SyncRun, { nullable: true })
  lastRun(@Ctx() { services, viewer }: Context): Promise<SyncRun | null> {
    return services.syncRuns.lastScheduled(viewer);
  }
}

@Resolver(() => Integration)
export class IntegrationResolver {
  @Query(() => Viewer, { description: "Who the bearer token says the caller is." })
  viewer(@Ctx() { viewer }: Context): Viewer {
    return viewer;
  }

  @Query(() => Integration, {
    description: "The Xero integration's settings and state: what an administrator's settings page shows.",
  })
  integration(@Ctx() { services, viewer }: Context): Promise<Integration> {
    return services.integrations.load(viewer);
  }

  @Query(() => [Connection], {
    description: "Every Xero organisation this workspace is or was connected to, the newest first.",
  })
  xeroOrganisations(@Ctx() { services, viewer }: Context): Promise<Connection[]> {
    return services.connections.list(viewer);
  }

  @Query(() => [Account], {
    nullable: true,
    description: "Accounts of the active organisation: REVENUE_ACCOUNTS for lines, PAYMENT_ACCOUNTS for payments.",
  })
  xeroAccounts(
    @Arg("use", () => XeroAccountUse) use: XeroAccountUse,
    @Ctx() { services, viewer }: Context,
  ): Promise<Account[] | null> {
    return services.organisationData.accounts(viewer, use);
  }

  @Authorized("ADMIN")
  @Mutation(() => ConnectXeroPayload, {
    description: "Starts the OAuth consent; send the administrator's browser to the address.",
  })
  connectXero(@Ctx() { services, viewer }: Context): Promise<ConnectXeroPayload> {
    return services.connections.start(viewer);
  }

  @Authorized("ADMIN")
  @Mutation(() => Connection, { description: "Makes one of the connected organisations the one that syncs use." })
  selectXeroOrganisation(@Arg("id", () => ID) id: string, @Ctx() { services, viewer }: Context): Promise<Connection> {
    return services.connections.select(viewer, id);
  }

  @Authorized("ADMIN")
  @Mutation(() => Connection, {
    description: "Ends the connection at Xero too; record links, settings and history stay.",
  })
  disconnectXero(
    @Arg("organisationId", () => ID) organisationId: string,
    @Ctx() { services, viewer }: Context,
  ): Promise<Connection> {
    return services.disconnections.disconnect(viewer, organisationId);
  }

  @Authorized("ADMIN")
  @Mutation(() => Integration)
  updateIntegration(
    @Arg("input", () => UpdateIntegrationInput) input: UpdateIntegrationInput,
    @Ctx() { services, viewer }: Context,
  ): Promise<Integration> {
    return services.integrations.update(viewer, input);
  }

  @Authorized("ADMIN")
  @Mutation(() => Integration, { description: "Reads accounts and tax rates from Xero afresh." })
  refreshXeroData(@Ctx() { services, viewer }: Context): Promise<Integration> {
    return services.organisationData.refreshActive(viewer);
  }

  @FieldResolver(() => Connection, { nullable: true })
  activeOrganisation(@Ctx() { services, viewer }: Context): Promise<Connection | null> {
    return services.integrations.activeOrganisation(viewer);
  }

  @FieldResolver(() => [SetupStep], { description: "Steps still open before a sync can run; empty when ready." })
  missingSetup(@Ctx() { services, viewer }: Context): Promise<SetupStep[]> {
    return services.integrations.missingSetup(viewer);
  }

  @FieldResolver(() => WebhookStatus)
  async webhook(@Ctx() { services, viewer }: Context): Promise<WebhookStatus> {
    const status = await services.webhookInbox.status(viewer);
    return { deliveryUrl: services.webhookUrl(), configured: services.webhookConfigured, ...status };
  }

  @FieldResolver(() => SyncSchedule)
  async schedule(@Root() integration: Integration, @Ctx() { services, viewer }: Context): Promise<SyncSchedule> {
    return {
      enabled: integration.scheduleEnabled,
      cron: integration.scheduleCron,
      timeZone: integration.scheduleTimeZone ?? (await services.integrations.timeZone(viewer, integration)),
      nextRunAt: integration.scheduleNextRunAt,
    };
  }

  @FieldResolver(() => ContactImportSettings)
  contactImport(@Root() integration: Integration): ContactImportSettings {
    return {
      enabled: integration.contactImportEnabled,
      groupIds: integration.contactImportGroupIds,
      includeSuppliers: integration.contactImportSuppliers,
    };
  }

  @FieldResolver(() => Account, {
    nullable: true,
    description: "Account that invoice lines use when their support item names none.",
  })
  salesAccount(@Ctx() { services, viewer }: Context): Promise<Account | null> {
    return services.integrations.chosenAccount(viewer, "salesAccountId");
  }

  @FieldResolver(() => Account, {
    nullable: true,
    description: "Account that payments recorded on the platform are sent to.",
  })
  paymentAccount(@Ctx() { services, viewer }: Context): Promise<Account | null> {
    return services.integrations.chosenAccount(viewer, "paymentAccountId");
  }

  @FieldResolver(() => TaxRate, {
    nullable: true,
    description: "Tax rate that invoice lines use when neither line nor support item names one.",
  })
  async defaultTaxRate(
    @Root() { defaultTaxRateId }: Integration,
    @Ctx() { loaders }: Context,
  ): Promise<TaxRate | null> {
    return defaultTaxRateId === null ? null : loaders.taxRate.load(defaultTaxRateId);
  }

  @FieldResolver(() => String, {
    description:
      "IANA time zone in which an instant becomes a day: a payment's day in Xero, today, the schedule's default. At first the organisation's own.",
  })
  timeZone(@Root() integration: Integration, @Ctx() { services, viewer }: Context): Promise<string> {
    return services.integrations.timeZone(viewer, integration);
  }
}

@Resolver(() => Connection)
export class XeroOrganisationResolver {
  @FieldResolver(() => Boolean, { description: "Whether this is the organisation that syncs use." })
  active(@Root() { id }: Connection, @Ctx() { loaders }: Context): Promise<boolean> {
    return loaders.isActive.load(id);
  }

  @FieldResolver(() => DateTimeScalar, {
    nullable: true,
    description:
      "When it is ended for want of activity, if nothing happens until then; null while kept alive, and when it is not connected.",
  })
  async expiresAt(
    @Root() { id, connectionStatus, lastActivityAt }: Connection,
    @Ctx() { loaders, services }: Context,
  ): Promise<Date | null> {
    if (connectionStatus !== "CONNECTED" || (await loaders.isKeptAlive.load(id))) return null;
    return new Date(lastActivityAt.getTime() + services.connectionEndsAfterMs);
  }
}
