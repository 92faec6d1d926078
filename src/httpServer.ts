/** The HTTP doors: GraphQL, the end of the consent, health and metrics, and one shape for whatever Fastify itself refuses. */
import { createHash, randomUUID, timingSafeEqual } from "node:crypto";
import { ApolloServer, type ApolloServerPlugin } from "@apollo/server";
import { unwrapResolverError } from "@apollo/server/errors";
import {
  ApolloServerPluginCacheControlDisabled,
  ApolloServerPluginLandingPageDisabled,
} from "@apollo/server/plugin/disabled";
import { fastifyApolloHandler } from "@as-integrations/fastify";
import cors from "@fastify/cors";
import helmet from "@fastify/helmet";
import { type FastifyError, fastify, type FastifyInstance, type FastifyReply } from "fastify";
import { GraphQLError, type GraphQLSchema, OperationTypeNode } from "graphql";
import { maskError } from "./errorMask.js";
import { AppError, badInput, type ErrorCode } from "./errors.js";
import { type Logger, withCorrelation } from "./logger.js";
import { type Metrics } from "./metrics.js";
import { labelOf, unknownOperation } from "./operationLabel.js";
import { checkOperation, maxTokens } from "./operationLimits.js";
import { type Readiness } from "./Readiness.js";
import { type Context } from "./resolvers/context.js";
import { type Connections } from "./services/Connections.js";

const bodyLimit = 1024 * 1024;

/** A server without routes of its own, in which every request has a correlation id and every refusal the contract's shape. */
export async function createHttpServer(logger: Logger, allowedOrigins: () => string[]): Promise<FastifyInstance> {
  const http = fastify({
    // A request that is not HTTP at all gets its refusal in the same shape.
    clientErrorHandler: (error, socket) => {
      if (error.code === "ECONNRESET" || !socket.writable) {
        socket.destroy();
        return;
      }
      const body = JSON.stringify(refusal("BAD_USER_INPUT", "This is no HTTP request that can be read."));
      const head = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/json";
      socket.end(`${head}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
    },
    frameworkErrors: (_error, _request, reply: FastifyReply) => {
      void reply.code(400).send(refusal("BAD_USER_INPUT", "The address can't be read."));
    },
    bodyLimit,
    genReqId: () => randomUUID(),
    logger: false,
    forceCloseConnections: "idle",
  });
  http.removeContentTypeParser("text/plain");
  http.addHook("preHandler", (request, _reply, done) => withCorrelation(request.id, done));
  http.setNotFoundHandler((_request, reply) =>
    reply.code(404).send(refusal("NOT_FOUND", "There is nothing at this address.")),
  );
  http.setErrorHandler((error: FastifyError, request, reply) => {
    const status = error.statusCode ?? 500;
    if (status < 500)
      return reply
        .code(status)
        .send(refusal("BAD_USER_INPUT", clientMistakes[error.code] ?? "The request can't be read."));
    logger.error({ err: error, correlationId: request.id }, "a request failed");
    return reply
      .code(500)
      .send(refusal("INTERNAL_SERVER_ERROR", "Something went wrong here.", { correlationId: request.id }));
  });
  await http.register(helmet);
  await http.register(cors, {
    origin: (origin, answer) => answer(null, origin !== undefined && allowedOrigins().includes(origin)),
  });
  return http;
}

const clientMistakes: Record<string, string | undefined> = {
  FST_ERR_CTP_INVALID_JSON_BODY: "The body is not JSON.",
  FST_ERR_CTP_EMPTY_JSON_BODY: "The body is empty.",
  FST_ERR_CTP_BODY_TOO_LARGE: `The body is larger than ${bodyLimit} bytes.`,
  FST_ERR_CTP_INVALID_MEDIA_TYPE: "The body must be sent as application/json.",
};

function refusal(code: ErrorCode, message: string, extensions: object = {}): object {
  return { errors: [{ message, extensions: { code, ...extensions } }] };
}

/** Adds `/graphql`. `contextFor` reads the caller from the authorization header, and throws UNAUTHENTICATED. */
export async function serveGraphql(
  http: FastifyInstance,
  schema: GraphQLSchema,
  options: {
    path: string;
    contextFor: (authorization: string | undefined) => Promise<Context>;
    metrics: Metrics;
    logger: Logger;
  },
): Promise<void> {
  const apollo = new ApolloServer<TimedContext>({
    schema,
    introspection: true,
    // A page of another site can't make a browser send our bearer token, which is what this guards against where cookies are used.
    csrfPrevention: false,
    includeStacktraceInErrorResponses: false,
    persistedQueries: false,
    stopOnTerminationSignals: false,
    parseOptions: { maxTokens },
    formatError: (formatted, error) => {
      const inner = unwrapResolverError(error);
      const graphqlError = error instanceof GraphQLError ? error : inner;
      return maskError(graphqlError, options.logger, formatted.extensions?.["code"] as string | undefined);
    },
    plugins: [
      ApolloServerPluginCacheControlDisabled(),
      ApolloServerPluginLandingPageDisabled(),
      count(schema, options.metrics),
      {
        requestDidStart: () =>
          Promise.resolve({
            didResolveOperation({ document, request, operation }) {
              try {
                if (operation?.operation === OperationTypeNode.SUBSCRIPTION) {
                  throw badInput({
                    field: "query",
                    reason: `is a subscription: those go over the WebSocket at ${options.path}`,
                  });
                }
                checkOperation(schema, {
                  document,
                  variables: request.variables ?? null,
                  operationName: request.operationName ?? null,
                });
              } catch (error) {
                // Nothing ran, so by GraphQL over HTTP this is no 200; thrown here, Apollo would make it a 500.
                if (error instanceof GraphQLError) error.extensions["http"] = { status: 400 };
                throw error;
              }
              return Promise.resolve();
            },
          }),
      },
    ],
  });
  await apollo.start();
  http.addHook("onClose", () => apollo.stop());
  const handler = fastifyApolloHandler(apollo, {
    context: async (request) => {
      const startedAt = performance.now();
      return { ...(await options.contextFor(request.headers.authorization)), startedAt };
    },
  });
  http.route({ url: options.path, method: ["GET", "POST"], handler });
}

/** With when the request was read, by `performance.now()`: to check the token and the workspace is part of what an answer takes. */
type TimedContext = Context & { startedAt: number };

/** Counts each operation once, when it is answered. */
function count(schema: GraphQLSchema, metrics: Metrics): ApolloServerPlugin<TimedContext> {
  return {
    requestDidStart: ({ contextValue }) =>
      Promise.resolve({
        willSendResponse({ document, operation, response }) {
          const label = document && operation ? labelOf(schema, document, operation) : unknownOperation;
          const [error] = response.body.kind === "single" ? (response.body.singleResult.errors ?? []) : [];
          const outcome = error === undefined ? "OK" : (error.extensions?.["code"] as string);
          metrics.operationAnswered(label, outcome, performance.now() - contextValue.startedAt);
          return Promise.resolve();
        },
      }),
    contextCreationDidFail({ error }) {
      metrics.operationAnswered(
        unknownOperation,
        error instanceof AppError ? error.code : ("INTERNAL_SERVER_ERROR" satisfies ErrorCode),
      );
      return Promise.resolve();
    },
    invalidRequestWasReceived() {
      metrics.operationAnswered(unknownOperation, "BAD_USER_INPUT" satisfies ErrorCode);
      return Promise.resolve();
    },
  };
}

/** Adds the end of the OAuth consent: the browser goes on to the app, told how it ended and nothing else. */
export function serveConsent(
  http: FastifyInstance,
  path: string,
  connections: Connections,
  appUrl: () => string,
): void {
  http.get(path, async (request, reply) => {
    const query = request.query as Record<string, unknown>;
    const text = (name: string) => (typeof query[name] === "string" ? { [name]: query[name] } : {});
    const failure = await connections.finish({ ...text("state"), ...text("code"), ...text("error") });
    const target = new URL(appUrl());
    target.searchParams.set("xero", failure === null ? "connected" : "failed");
    if (failure !== null) target.searchParams.set("reason", failure);
    return reply
      .header("cache-control", "no-store")
      .header("referrer-policy", "no-referrer")
      .redirect(target.href, 302);
  });
}

/** Adds `/health/live`, which says only that the process turns, and `/health/ready`, which names what keeps it from its work. */
export function serveHealth(http: FastifyInstance, readiness: Readiness): void {
  http.get("/health/live", (_request, reply) => reply.header("cache-control", "no-store").send({ status: "ok" }));
  http.get("/health/ready", async (_request, reply) => {
    const failing = await readiness.failing();
    return reply
      .header("cache-control", "no-store")
      .code(failing.length === 0 ? 200 : 503)
      .send(failing.length === 0 ? { status: "ok" } : { status: "unavailable", failing });
  });
}

/** Adds `/metrics`; where there is a token, for its bearer only. */
export function serveMetrics(http: FastifyInstance, metrics: Metrics, token: string | null): void {
  // Of the same length whatever is given, which the comparison needs.
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  const expected = token === null ? null : digest(`Bearer ${token}`);
  http.get("/metrics", async (request, reply) => {
    if (expected && !timingSafeEqual(digest(request.headers.authorization ?? ""), expected)) {
      return reply
        .code(401)
        .header("www-authenticate", "Bearer")
        .send(refusal("UNAUTHENTICATED", "The metrics are for the bearer of METRICS_TOKEN."));
    }
    return reply
      .header("cache-control", "no-store")
      .type(metrics.contentType)
      .send(await metrics.text());
  });
}
