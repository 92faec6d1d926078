/**
 * Owns one request to Xero's accounting API and its answer: time limit, connections, exact bytes, what was measured. It
 * leaves to XeroAccounting which request that is, and what the answer must look like.
 *
 * xero-node 20.0.0 builds the request (address, parameters, headers) and nothing more, because its own handling of answers
 * is unsafe: no time limit at all; a rejection is a JSON string; a 200 of garbage resolves to an empty body; and its
 * deserializer can throw after Xero did the write. So its public authentication hook, which is handed the axios request,
 * also takes the raw answer before xero-node sees it.
 */
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { z } from "zod";
import { AccountingApi } from "xero-node/dist/gen/api/accountingApi.js";
import { classify, XeroFailure } from "./XeroFailure.js";

/** What one call cost and what Xero said of the limits; `status` 0 means that no answer came. */
export interface CallRecord {
  operation: string;
  method: string;
  status: number;
  durationMs: number;
  correlationId?: string | undefined;
  /** Of a 429: how long Xero asks to wait, where it says so. */
  retryAfterMs?: number | undefined;
  dayRemaining?: number | undefined;
  minuteRemaining?: number | undefined;
  appMinuteRemaining?: number | undefined;
}

export interface ExchangeOptions {
  /** Base address; `/api.xro/2.0` is added. */
  apiUrl: string;
  accessToken: string;
  tenantId: string;
  /** Hard limit for one exchange, from connecting to the last byte of the answer. */
  timeoutMs: number;
  /** Awaited before every request, e.g. for a place within Xero's limits; what it throws is passed on and nothing is sent. */
  beforeCall?: ((operation: string) => Promise<void>) | undefined;
  /** Told of every answer and of every request that got none, exactly once. Must not throw. */
  onAnswer?: ((answer: CallRecord) => void) | undefined;
}

export interface Call {
  operation: string;
  method: "GET" | "PUT" | "POST";
  /** Sent exactly so, whatever xero-node was given. */
  body?: string | undefined;
  request: (api: AccountingApi) => Promise<unknown>;
}

interface Answer {
  status: number;
  headers: Record<string, unknown>;
  text: string;
}

// Idle sockets go before a load balancer drops them under a request: a write on a dead socket is an uncertain one.
const pool = { keepAlive: true, maxSockets: 256, maxFreeSockets: 32, timeout: 15_000 };
const httpAgent = new HttpAgent(pool);
const httpsAgent = new HttpsAgent(pool);
const maxAnswerBytes = 64 * 1024 * 1024;

/**
 * Xero's answer, parsed by the schema. Sends once, never repeats and follows no redirect. Throws XeroFailure for anything
 * else: UNCERTAIN when no complete answer came in time, or a 200 that the schema does not know.
 */
export async function exchange<Schema extends z.ZodType>(
  options: ExchangeOptions,
  call: Call,
  schema: Schema,
): Promise<z.output<Schema>> {
  await options.beforeCall?.(call.operation);
  const startedAt = performance.now();
  const outcome = await send(options, call);
  const answer = "text" in outcome ? outcome : undefined;
  const isGood = answer && answer.status >= 200 && answer.status <= 299;
  const refusal = answer && !isGood ? classify(answer.status, answer.headers, answer.text, call.operation) : undefined;
  const header = (name: string): unknown => answer?.headers[name];
  const correlationId = correlation.parse(header("xero-correlation-id"));
  options.onAnswer?.({
    operation: call.operation,
    method: call.method,
    status: answer?.status ?? 0,
    durationMs: Math.round(performance.now() - startedAt),
    correlationId,
    retryAfterMs: refusal?.kind === "RATE_LIMITED" ? refusal.retryAfterMs : undefined,
    dayRemaining: count.parse(header("x-daylimit-remaining")),
    minuteRemaining: count.parse(header("x-minlimit-remaining")),
    appMinuteRemaining: count.parse(header("x-appminlimit-remaining")),
  });
  const { operation } = call;
  if ("problem" in outcome) throw new XeroFailure({ kind: "UNCERTAIN", operation, problem: outcome.problem });
  if (refusal) throw refusal;
  const { status, text } = outcome;
  const parsed = schema.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  const problem = "not the expected answer";
  throw new XeroFailure({ kind: "UNCERTAIN", operation, status, problem, correlationId });
}

async function send(options: ExchangeOptions, call: Call): Promise<Answer | { problem: string }> {
  const received: { answer?: Answer } = {};
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), options.timeoutMs);
  const api = new AccountingApi(`${options.apiUrl.replace(/\/+$/, "")}/api.xro/2.0`);
  api.accessToken = options.accessToken;
  api.setDefaultAuthentication({
    applyToRequest: (config) => {
      Object.assign(config, {
        data: call.body,
        transformRequest: [(data: unknown) => data],
        // Both: `timeout` rules the socket, the signal the whole exchange, also a body that stalls.
        timeout: options.timeoutMs,
        signal: limit.signal,
        maxRedirects: 0,
        maxContentLength: maxAnswerBytes,
        httpAgent,
        httpsAgent,
        validateStatus: () => true,
        // Nothing is handed on: xero-node's deserializer finds nothing to throw on. Of an answer that was cut off axios
        // gives no text; its status must not count, since the missing words can be "used with a different request".
        transformResponse: [
          (text: unknown, headers: Record<string, unknown>, status: number): undefined => {
            if (typeof text !== "string") return;
            received.answer = { status, headers: Object.fromEntries(Object.entries(headers)), text };
          },
        ],
      });
      if (call.body !== undefined) Object.assign(config.headers ?? {}, { "Content-Type": "application/json" });
    },
  });
  let problem = "no answer";
  try {
    await call.request(api);
  } catch (rejection) {
    problem = limit.signal.aborted ? `no answer within ${options.timeoutMs} ms` : reason(rejection);
  } finally {
    clearTimeout(timer);
  }
  return received.answer ?? { problem };
}

const networkRejection = z.object({ response: z.object({ statusCode: z.literal(0) }), body: z.string() });

/** A few words on why no answer came, from the code that Node gives; never the text of a request or an answer. */
function reason(rejection: unknown): string {
  const parsed =
    typeof rejection === "string" ? networkRejection.safeParse(parseJson(rejection)).data?.body : undefined;
  const code = /\b(E[A-Z]{3,}|[A-Z]+_[A-Z_]+)\b/.exec(parsed ?? "")?.[0];
  if (code !== undefined) return `no answer: ${code}`;
  return parsed !== undefined && /socket hang up|aborted|timeout/.test(parsed)
    ? "no answer: connection lost"
    : "no answer";
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const correlation = z.string().optional().catch(undefined);
const count = z.string().regex(/^\d+$/).transform(Number).optional().catch(undefined);
