/**
 * Owns the bytes: reading a request whole, writing an answer, hanging up. Leaves what they mean to the routes.
 *
 * node:http and not Fastify, because a stand-in must do what frameworks prevent: answer 429 without a content type,
 * cut the connection after the work was done, take a body on GET (xero-node sends "{}"), keep the raw bytes.
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";

const largestBody = 10 * 1024 * 1024;

export type Json = Record<string, unknown>;

export interface Call {
  readonly method: string;
  /** Decoded, without the query. */
  readonly path: string;
  /** As sent, query included. */
  readonly target: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly tooLarge: boolean;
}

export interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Instead of an answer: the connection is cut. */
export const hangUp = Symbol("hang up");
export type Outcome = Reply | typeof hangUp;

/** The whole request; a body beyond Xero's 10 MB is read to its end but not kept. */
export async function readCall(request: IncomingMessage): Promise<Call> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size <= largestBody) chunks.push(chunk);
  }
  const target = request.url ?? "/";
  const url = new URL(target, "http://localhost");
  return {
    method: request.method ?? "GET",
    path: decodePath(url.pathname),
    target,
    query: url.searchParams,
    headers: request.headers,
    body: Buffer.concat(chunks),
    tooLarge: size > largestBody,
  };
}

/** Sends the answer, or cuts the connection; a client that has already gone is nobody's error. */
export function send(response: ServerResponse, outcome: Outcome): void {
  if (outcome === hangUp) {
    response.socket?.destroy();
    return;
  }
  response.writeHead(outcome.status, {
    ...outcome.headers,
    "Content-Length": Buffer.byteLength(outcome.body ?? ""),
  });
  response.end(outcome.body);
}

/** An answer whose body is this value as JSON. */
export function json(status: number, value: unknown, headers: Record<string, string> = {}): Reply {
  return {
    status,
    headers: { "Content-Type": "application/json; charset=utf-8", ...headers },
    body: JSON.stringify(value),
  };
}

/** One header as text, the first where it was repeated. */
export function header(call: Call, name: string): string | undefined {
  const value = call.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function decodePath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
