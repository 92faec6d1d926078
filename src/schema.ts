/** The GraphQL schema, built from the classes: one for HTTP and WebSocket. */
import "reflect-metadata";
import { type GraphQLSchema } from "graphql";
import { type AuthChecker, buildSchema } from "type-graphql";
import { Role } from "./entities/enums.js";
import { AppError } from "./errors.js";
import { type Context } from "./resolvers/context.js";
import { AuditResolver, auditMutations } from "./resolvers/AuditResolver.js";
import { AlertResolver } from "./resolvers/AlertResolver.js";
import {
  IntegrationResolver,
  SyncScheduleResolver,
  XeroOrganisationResolver,
} from "./resolvers/IntegrationResolver.js";
import { InvoiceResolver, LineItemResolver } from "./resolvers/InvoiceResolver.js";
import { SyncErrorResolver, XeroContactResolver } from "./resolvers/ContactResolver.js";
import { ParticipantResolver } from "./resolvers/ParticipantResolver.js";
import { PaymentResolver } from "./resolvers/PaymentResolver.js";
import { SupportItemResolver } from "./resolvers/SupportItemResolver.js";
import { SyncAttemptResolver, SyncRunResolver } from "./resolvers/SyncResolver.js";
import { TaxRateResolver } from "./resolvers/TaxRateResolver.js";
import { WebhookResolver } from "./resolvers/WebhookResolver.js";
import {
  AlertSubscription,
  ConnectionStatusSubscription,
  PaymentSubscription,
  SyncStatusSubscription,
} from "./subscriptions/SubscriptionResolver.js";

const roles = [Role.VIEWER, Role.BOOKKEEPER, Role.ADMIN];

const authChecker: AuthChecker<Context, Role> = async (
  { context: { viewer, services }, info },
  [needed = "VIEWER"],
) => {
  if (roles.indexOf(viewer.role) >= roles.indexOf(needed)) return true;
  await services.auditLog.refused(viewer, info.fieldName);
  throw new AppError("FORBIDDEN", `This needs the role ${needed}; the bearer token's is ${viewer.role}.`);
};

/** The schema; the same for every process. */
export async function buildAppSchema(): Promise<GraphQLSchema> {
  const unused = (): never => {
    throw new Error("Subscriptions follow the event log; nothing is published in memory.");
  };
  return buildSchema({
    resolvers: [
      AlertResolver,
      AlertSubscription,
      AuditResolver,
      ConnectionStatusSubscription,
      IntegrationResolver,
      InvoiceResolver,
      LineItemResolver,
      ParticipantResolver,
      PaymentResolver,
      PaymentSubscription,
      SupportItemResolver,
      SyncAttemptResolver,
      SyncErrorResolver,
      SyncRunResolver,
      SyncScheduleResolver,
      SyncStatusSubscription,
      TaxRateResolver,
      WebhookResolver,
      XeroContactResolver,
      XeroOrganisationResolver,
    ],
    authChecker,
    globalMiddlewares: [auditMutations],
    validate: false,
    // Asked for by TypeGraphQL wherever there are subscriptions, though each of ours brings its own source.
    pubSub: { publish: unused, subscribe: unused },
  });
}
