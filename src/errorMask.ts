/**
 * What of an error leaves the service. Ours (AppError) leave as they are; GraphQL's own, about a document or its values, leave with the field
 * named; everything else is logged whole and leaves as INTERNAL_SERVER_ERROR with a correlation id. In whatever NODE_ENV.
 */
import { type ASTNode, GraphQLError, type GraphQLFormattedError, Kind, parse, visit } from "graphql";
import { AppError, type FieldProblem } from "./errors.js";
import { correlationId, type Logger } from "./logger.js";

/** Codes of Apollo's and graphql-js's own errors about a request; their messages speak of the client's document only. */
const aboutTheDocument = new Set(["GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED"]);
const aboutTheRequest = new Set([
  "BAD_REQUEST",
  "BAD_USER_INPUT",
  "OPERATION_RESOLUTION_FAILURE",
  "PERSISTED_QUERY_NOT_FOUND",
  "PERSISTED_QUERY_NOT_SUPPORTED",
]);

const valueKinds: string[] = [
  Kind.BOOLEAN,
  Kind.ENUM,
  Kind.FLOAT,
  Kind.INT,
  Kind.LIST,
  Kind.NULL,
  Kind.OBJECT,
  Kind.STRING,
];

/** The error as the client gets it. `fallbackCode` is for errors of graphql-js that carry no code of their own. */
export function maskError(error: unknown, logger: Logger, fallbackCode?: string): GraphQLFormattedError {
  if (!(error instanceof GraphQLError)) return hide(error, logger);
  const place = { ...(error.locations && { locations: error.locations }), ...(error.path && { path: error.path }) };
  const original = error.originalError ?? error;
  if (original instanceof AppError) {
    const { http: _http, ...extensions } = original.extensions;
    return { message: original.message, ...place, extensions };
  }
  const field = badValue(error);
  if (field) {
    return {
      message: `${field.field}: ${field.reason}`,
      ...place,
      extensions: { code: "BAD_USER_INPUT", fields: [field] },
    };
  }
  const code = (error.extensions["code"] as string | undefined) ?? fallbackCode;
  const own = original === error || original instanceof GraphQLError;
  if (own && code !== undefined && aboutTheDocument.has(code))
    return { message: error.message, ...place, extensions: { code } };
  if (own && code !== undefined && aboutTheRequest.has(code)) {
    const fields = [{ field: "query", reason: error.message }];
    return { message: error.message, ...place, extensions: { code: "BAD_USER_INPUT", fields } };
  }
  return { ...hide(error.originalError ?? error, logger), ...place };
}

function hide(error: unknown, logger: Logger): GraphQLFormattedError {
  const id = correlationId();
  logger.error({ err: error, correlationId: id }, "an operation failed");
  return {
    message: "Something went wrong here. Quote the correlation id when you report it.",
    extensions: { code: "INTERNAL_SERVER_ERROR", correlationId: id },
  };
}

/** The field and the reason, where the error is about a value that the client sent: in a variable, or in the document itself. */
function badValue(error: GraphQLError): FieldProblem | null {
  const variable = /^Variable "\$(\w+)"/.exec(error.message);
  if (variable) {
    const path = / at "([\w.[\]]+)"; /.exec(error.message)?.[1];
    const problem = error.message.slice(error.message.lastIndexOf("; ") + 1).trim();
    return { field: path ?? variable[1] ?? "variables", reason: reasonOf(error) ?? problem };
  }
  const [node] = error.nodes ?? [];
  if (!node || !valueKinds.includes(node.kind)) return null;
  return { field: pathOf(node) ?? "query", reason: reasonOf(error) ?? error.message };
}

function reasonOf(error: GraphQLError): string | undefined {
  const { reason } = error.extensions;
  return typeof reason === "string" ? reason : undefined;
}

/** Where in the document a value stands: `input.lineItems[0].quantity`; null where it is not in its document. */
export function pathOf(value: ASTNode): string | null {
  const { loc } = value;
  if (!loc) return null;
  let found: string | null = null;
  visit(parse(loc.source), {
    enter(node, _key, parent, _path, ancestors) {
      if (node.kind !== value.kind || node.loc?.start !== loc.start || node.loc.end !== loc.end) return;
      const lineage = [...ancestors, parent, node].filter(
        (step): step is ASTNode => step !== undefined && "kind" in step,
      );
      found = lineage
        .map((step, index) => {
          if (step.kind === Kind.ARGUMENT) return step.name.value;
          if (step.kind === Kind.OBJECT_FIELD) return `.${step.name.value}`;
          const next = lineage[index + 1];
          return step.kind === Kind.LIST && next ? `[${step.values.findIndex((item) => item === next)}]` : "";
        })
        .join("");
    },
  });
  return found;
}
