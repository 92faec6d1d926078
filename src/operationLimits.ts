/**
 * The limits on what one operation may ask for. They hold on both ways in: over HTTP, where Apollo is told of them, and over the WebSocket,
 * where nothing of Apollo's applies (`subscriptions/socketServer`).
 */
import { createRequire } from "node:module";
import { type DocumentNode, GraphQLError, type GraphQLSchema, visit } from "graphql";
import type * as complexity from "graphql-query-complexity";
import { pathOf } from "./errorMask.js";
import { AppError, badInput, type FieldProblem } from "./errors.js";

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

/** An operation as a client sent it. */
export interface Operation {
  document: DocumentNode;
  variables: Record<string, unknown> | null;
  operationName: string | null;
}

/** Refuses an operation that would cost too much or holds text that nothing here can keep, before any of it runs. Throws BAD_USER_INPUT. */
export function checkOperation(schema: GraphQLSchema, operation: Operation): void {
  checkText(operation);
  const cost = costOf(schema, operation);
  if (cost <= maxCost) return;
  throw tooMuch(`The operation costs ${cost}, and may cost ${maxCost}`);
}

function tooMuch(message: string): AppError {
  return new AppError("BAD_USER_INPUT", `${message}: ask for smaller pages or fewer fields.`, {
    fields: [{ field: "query", reason: "asks for too much at once" }],
  });
}

function costOf(schema: GraphQLSchema, operation: Operation): number {
  try {
    return measure(schema, operation);
  } catch (error) {
    if (error instanceof GraphQLError && error.nodes !== undefined) throw error;
    // The library's own limit, of nodes visited, which fragments that hold each other several times run into.
    throw tooMuch("The operation visits too many fields");
  }
}

function measure(schema: GraphQLSchema, operation: Operation): number {
  return getComplexity({
    schema,
    query: operation.document,
    variables: operation.variables ?? {},
    ...(operation.operationName && { operationName: operation.operationName }),
    estimators: [pageEstimator, simpleEstimator({ defaultComplexity: 1 })],
  });
}

/** NUL, which PostgreSQL can't keep, and half a character, which no encoding can. */
const unkeepable = /\0|\p{Surrogate}/u;

function checkText({ document, variables }: Operation): void {
  const problems: FieldProblem[] = [];
  const look = (value: unknown, path: string): void => {
    if (typeof value === "string" && unkeepable.test(value)) {
      problems.push({ field: path, reason: "must not contain NUL or half a character" });
    } else if (Array.isArray(value)) {
      value.forEach((item, index) => look(item, `${path}[${index}]`));
    } else if (typeof value === "object" && value !== null) {
      for (const [name, item] of Object.entries(value)) look(item, path === "" ? name : `${path}.${name}`);
    }
  };
  look(variables, "");
  visit(document, {
    StringValue: (node) => {
      if (unkeepable.test(node.value)) look(node.value, pathOf(node) ?? "query");
    },
  });
  if (problems.length > 0) throw badInput(...problems);
}
