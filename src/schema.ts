/**
 * The GraphQL schema, built from the classes, and the limits that hold on both ways in: HTTP, where Apollo applies them, and the WebSocket,
 * where nothing does unless we do (`subscriptions/socketServer`).
 */
import "reflect-metadata";
import { createRequire } from "node:module";
import { type DocumentNode, type GraphQLSchema } from "graphql";
import type * as complexity from "graphql-query-complexity";
import { type AuthChecker, buildSchema } from "type-graphql";
import { Role } from "./entities/enums.js";
import { AppError } from "./errors.js";
import { type Context } from "./resolvers/context.js";
import { IntegrationResolver, XeroOrganisationResolver } from "./resolvers/IntegrationResolver.js";
import { InvoiceResolver, LineItemResolver } from "./resolvers/InvoiceResolver.js";
import { ParticipantResolver } from "./resolvers/ParticipantResolver.js";
import { PaymentResolver } from "./resolvers/PaymentResolver.js";
import { SupportItemResolver } from "./resolvers/SupportItemResolver.js";
import { SyncAttemptResolver, SyncRunResolver } from "./resolvers/SyncResolver.js";
import { TaxRateResolver } from "./resolvers/TaxRateResolver.js";
import { PaymentSubscription, SyncStatusSubscription } from "./subscriptions/SubscriptionResolver.js";

// Its ES module names graphql's by its file, which Node takes for another copy of graphql than everybody else's.
const { getComplexity, simpleEstimator } = createRequire(import.meta.url)(
  "graphql-query-complexity",
) as typeof complexity;

/** A document longer than this is not parsed to its end. */
export const maxTokens = 4_000;

/** A page of 100 invoices with all that belongs to them comes to about 30,000. */
const maxCost = 50_000;

/** What a list without a page size is taken to hold. */
const assumedLength = 10;

const roles = [Role.VIEWER, Role.BOOKKEEPER, Role.ADMIN];

const authChecker: AuthChecker<Context, Role> = ({ context: { viewer } }, [needed = "VIEWER"]) => {
  if (roles.indexOf(viewer.role) >= roles.indexOf(needed)) return true;
  throw new AppError("FORBIDDEN", `This needs the role ${needed}; the bearer token's is ${viewer.role}.`);
};

/** The schema; the same for every process. */
export async function buildAppSchema(): Promise<GraphQLSchema> {
  const unused = (): never => {
    throw new Error("Subscriptions follow the event log; nothing is published in memory.");
  };
  return buildSchema({
    resolvers: [
      IntegrationResolver,
      InvoiceResolver,
      LineItemResolver,
      ParticipantResolver,
      PaymentResolver,
      PaymentSubscription,
      SupportItemResolver,
      SyncAttemptResolver,
      SyncRunResolver,
      SyncStatusSubscription,
      TaxRateResolver,
      XeroOrganisationResolver,
    ],
    authChecker,
    validate: false,
    // Asked for by TypeGraphQL wherever there are subscriptions, though each of ours brings its own source.
    pubSub: { publish: unused, subscribe: unused },
  });
}

/** A list costs its page size times what one of its rows costs. */
const pageEstimator: complexity.ComplexityEstimator = ({ args, childComplexity, field }) => {
  const { first } = args as { first?: unknown };
  if (typeof first === "number") return 1 + Math.max(1, Math.min(first, 100)) * childComplexity;
  const type = String(field.type);
  // The rows of a connection are counted by its page size already.
  return type.startsWith("[") && !["nodes", "edges"].includes(field.name)
    ? 1 + assumedLength * childComplexity
    : undefined;
};

/** Refuses an operation that would cost too much, before any of it runs. Throws BAD_USER_INPUT. */
export function checkCost(
  schema: GraphQLSchema,
  operation: { document: DocumentNode; variables?: Record<string, unknown> | null; operationName?: string | null },
): void {
  const cost = getComplexity({
    schema,
    query: operation.document,
    variables: operation.variables ?? {},
    ...(operation.operationName && { operationName: operation.operationName }),
    estimators: [pageEstimator, simpleEstimator({ defaultComplexity: 1 })],
  });
  if (cost <= maxCost) return;
  throw new AppError(
    "BAD_USER_INPUT",
    `The operation costs ${cost}, and may cost ${maxCost}: ask for smaller pages or fewer fields.`,
    {
      fields: [{ field: "query", reason: "asks for too much at once" }],
    },
  );
}
