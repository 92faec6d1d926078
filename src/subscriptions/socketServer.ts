/**
 * GraphQL over WebSocket (`graphql-transport-ws`). Nothing of Apollo's hardening applies on this path, so every rule is applied again here:
 * the token, the origin, the size of a message and of a document, validation, cost, and the mask over errors. Only subscriptions run here.
 */
import { type IncomingMessage, type Server } from "node:http";
import { type Duplex } from "node:stream";
import {
  type DocumentNode,
  type ExecutionArgs,
  getOperationAST,
  GraphQLError,
  type GraphQLFormattedError,
  type GraphQLSchema,
  OperationTypeNode,
  parse,
  validate,
} from "graphql";
import { CloseCode, type Context as SocketContext, type SubscribePayload } from "graphql-ws";
import { useServer } from "graphql-ws/use/ws";
import { type WebSocket, WebSocketServer } from "ws";
import { maskError } from "../errorMask.js";
import { AppError, badInput } from "../errors.js";
import { type Logger, withCorrelation } from "../logger.js";
import { type Metrics } from "../metrics.js";
import { labelOf, type OperationLabel, unknownOperation } from "../operationLabel.js";
import { type Context } from "../resolvers/context.js";
import { checkOperation, maxTokens } from "../operationLimits.js";
import { type ReadViewer, type Viewer } from "../viewer.js";

// A type and not an interface: graphql-ws wants an index signature, which only types have of themselves.
type Extra = { socket: WebSocket; viewer?: Viewer; expiry?: NodeJS.Timeout };

type Socket = SocketContext<Record<string, unknown>, Extra>;

export interface SocketOptions {
  path: string;
  schema: GraphQLSchema;
  readViewer: ReadViewer;
  /** The context of one operation; its loaders must keep nothing, since it lives as long as the subscription. */
  contextFor: (viewer: Viewer) => Promise<Context>;
  allowedOrigins: () => string[];
  metrics: Metrics;
  logger: Logger;
}

export interface Sockets {
  /** How many are open now. */
  count(): { sockets: number; subscriptions: number };
  /** Closes every socket with 1001. */
  close(): Promise<void>;
}

const maxMessageBytes = 256 * 1024;

/** The longest that setTimeout can wait. */
const longestTimerMs = 2 ** 31 - 1;

/** Adds the WebSocket to the server. */
export function serveSockets(server: Server, options: SocketOptions): Sockets {
  const sockets = new WebSocketServer({ noServer: true, maxPayload: maxMessageBytes });
  const open = new Set<Socket>();
  const counted = new WeakSet<SubscribePayload>();
  /** Counts an operation by how it began: once, whatever comes later. */
  const answered = (payload: SubscribePayload, label: OperationLabel, outcome: unknown): void => {
    if (counted.has(payload)) return;
    counted.add(payload);
    options.metrics.operationAnswered(label, outcome as string);
  };
  const labelOfArgs = ({ document, operationName }: ExecutionArgs): OperationLabel => {
    const operation = getOperationAST(document, operationName);
    return operation ? labelOf(options.schema, document, operation) : unknownOperation;
  };
  const handle = useServer<Record<string, unknown>, Extra>(
    {
      connectionInitWaitTimeout: 10_000,
      onConnect: (ctx) => {
        open.add(ctx);
        return connect(ctx, options);
      },
      onDisconnect: ({ extra }) => clearTimeout(extra.expiry),
      onClose: (ctx) => void open.delete(ctx),
      onSubscribe: (ctx, id, payload) => withCorrelation(`socket-${id}`, () => subscribe(ctx, payload, options)),
      onOperation: (_ctx, _id, payload, args, result) => {
        if (Symbol.asyncIterator in result) answered(payload, labelOfArgs(args), "OK");
      },
      onNext: (_ctx, _id, payload, args, result) => {
        if (!result.errors) return;
        const errors = result.errors.map((error) => maskError(error, options.logger));
        answered(payload, labelOfArgs(args), codeOf(errors));
        return { ...result, errors };
      },
      onError: (_ctx, _id, payload, errors) => {
        const masked = errors.map((error) => maskError(error, options.logger, "GRAPHQL_VALIDATION_FAILED"));
        answered(payload, unknownOperation, codeOf(masked));
        return masked;
      },
    },
    sockets,
  );
  const upgrade = (request: IncomingMessage, stream: Duplex, head: Buffer): void => {
    // A client that hangs up while it is being refused must not bring the process down.
    stream.on("error", () => stream.destroy());
    if (request.url?.split("?")[0] !== options.path) {
      refuse(stream, "404 Not Found");
      return;
    }
    const { origin } = request.headers;
    if (origin !== undefined && !options.allowedOrigins().includes(origin)) {
      refuse(stream, "403 Forbidden");
      return;
    }
    sockets.handleUpgrade(request, stream, head, (socket) => sockets.emit("connection", socket, request));
  };
  server.on("upgrade", upgrade);
  return {
    count: () => ({
      sockets: sockets.clients.size,
      subscriptions: [...open].reduce((sum, { subscriptions }) => sum + Object.keys(subscriptions).length, 0),
    }),
    close: async () => {
      server.off("upgrade", upgrade);
      for (const socket of sockets.clients) socket.close(1001, "Going away");
      await handle.dispose();
      sockets.close();
    },
  };
}

function codeOf([first]: GraphQLFormattedError[]): unknown {
  return first?.extensions?.["code"];
}

function refuse(stream: Duplex, status: string): void {
  stream.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
}

async function connect({ connectionParams, extra }: Socket, { readViewer, logger }: SocketOptions): Promise<boolean> {
  const authorization = connectionParams?.["authorization"];
  try {
    extra.viewer = await readViewer(typeof authorization === "string" ? authorization : undefined);
  } catch (error) {
    if (!(error instanceof AppError)) logger.error({ err: error }, "a socket's token could not be checked");
    return false; // graphql-ws closes with 4403.
  }
  const { expiresAt } = extra.viewer;
  if (expiresAt) {
    const leftMs = Math.min(expiresAt.getTime() - Date.now(), longestTimerMs);
    extra.expiry = setTimeout(
      () => extra.socket.close(CloseCode.Forbidden, "The token has expired"),
      Math.max(leftMs, 0),
    );
  }
  return true;
}

async function subscribe(
  { extra }: Socket,
  payload: SubscribePayload,
  options: SocketOptions,
): Promise<ExecutionArgs | readonly GraphQLError[]> {
  const { schema } = options;
  const { variables, operationName } = payload;
  try {
    const document = parseQuery(payload.query);
    const problems = validate(schema, document);
    if (problems.length > 0) return problems;
    if (getOperationAST(document, operationName)?.operation !== OperationTypeNode.SUBSCRIPTION) {
      throw badInput({
        field: "query",
        reason: "must be one subscription here; queries and mutations go to POST /graphql",
      });
    }
    checkOperation(schema, { document, variables: variables ?? null, operationName: operationName ?? null });
    if (!extra.viewer) throw new Error("a socket subscribes that was not connected");
    return {
      schema,
      document,
      variableValues: variables ?? {},
      operationName: operationName ?? null,
      contextValue: await options.contextFor(extra.viewer),
    };
  } catch (error) {
    if (error instanceof GraphQLError) return [error];
    return [new GraphQLError("failed", { originalError: error instanceof Error ? error : new Error(String(error)) })];
  }
}

function parseQuery(query: string): DocumentNode {
  try {
    return parse(query, { maxTokens });
  } catch (error) {
    if (!(error instanceof GraphQLError)) throw error;
    throw new GraphQLError(error.message, { ...error, extensions: { code: "GRAPHQL_PARSE_FAILED" } });
  }
}
