/**
 * Owns what can go wrong between us and Xero: the one error that leaves this folder, and the reading of Xero's error
 * answers into it. What to do about a failure (repeat, look up, ask for a new consent, give up) is the services' business.
 *
 * Shaped by Xero's answers: https://developer.xero.com/documentation/api/accounting/responsecodes and recordings of the
 * live API. It gives no error codes: 404 is an HTML page, 429 an empty body, 503 prose, and 401 and 403 are told apart by
 * one word of the body or of WWW-Authenticate. xero-node adds its own wrapping: a rejection is a JSON *string*.
 */
import { z } from "zod";

export type XeroFailureKind =
  | "UNCERTAIN" // no answer, or a 200 that is not one: a write may have happened
  | "SERVER_ERROR" // 5xx: a write may have happened, and the answer may be cached under its key
  | "OFFLINE" // 503 that says so: maintenance, or this organisation is being moved
  | "RATE_LIMITED" // 429: nothing was written
  | "TOKEN_REFUSED" // 401 that a fresh access token may cure
  | "MISSING_SCOPE" // 401 that only a new consent cures
  | "DISCONNECTED" // 403: this organisation is no longer connected
  | "FORBIDDEN" // any other 403: the Xero user's role lacks the right
  | "NOT_FOUND"
  | "KEY_REUSED" // 400: the idempotency key was seen with another request
  | "REJECTED" // any other 4xx: definite, with Xero's own words
  | "SWITCHED_OFF" // the workspace's switch is off: nothing was sent
  | "INVALID_GRANT" // token endpoint: the code or refresh token is dead
  | "MISCONFIGURED"; // token endpoint: the app's id, secret, scopes or redirect URI are wrong

export type RateLimitProblem = "minute" | "day" | "concurrent" | "app-minute" | "unknown";

export interface XeroFailureDetails {
  kind: XeroFailureKind;
  operation: string;
  status?: number | undefined;
  xeroMessages?: string[] | undefined;
  retryAfterMs?: number | undefined;
  problem?: string | undefined;
  correlationId?: string | undefined;
  /** It failed before the call it was for was sent. */
  notSent?: boolean | undefined;
}

const mayHaveWritten: ReadonlySet<XeroFailureKind> = new Set(["UNCERTAIN", "SERVER_ERROR", "OFFLINE", "KEY_REUSED"]);

/** The only error that leaves the gateway. Its message holds no token, no body and none of Xero's words. */
export class XeroFailure extends Error {
  readonly kind: XeroFailureKind;
  readonly operation: string;
  readonly status?: number | undefined;
  /** Xero's own words, verbatim, never HTML; at most 20 of at most 500 characters. May name people: not for logs. */
  readonly xeroMessages: string[];
  readonly retryAfterMs?: number | undefined;
  /** The limit that was hit (a `RateLimitProblem`), or in a few words what was wrong with the exchange. */
  readonly problem?: string | undefined;
  readonly correlationId?: string | undefined;
  private readonly notSent: boolean;

  constructor(details: XeroFailureDetails) {
    const facts = [
      details.status ? `HTTP ${details.status}` : undefined,
      details.problem,
      details.correlationId && `correlation id ${details.correlationId}`,
    ].filter(Boolean);
    super(`Xero ${details.operation}: ${details.kind}${facts.length > 0 ? ` (${facts.join(", ")})` : ""}`);
    this.name = "XeroFailure";
    this.kind = details.kind;
    this.operation = details.operation;
    this.status = details.status;
    this.xeroMessages = boundMessages(details.xeroMessages ?? []);
    this.retryAfterMs = details.retryAfterMs;
    this.problem = details.problem;
    this.correlationId = details.correlationId;
    this.notSent = details.notSent ?? false;
  }

  /** The same failure of something that had to come first, as of a token: what it was for was not sent. */
  asNotSent(): XeroFailure {
    return new XeroFailure({ ...this, notSent: true });
  }

  /** True unless it is certain that the write this failure answers did not happen. Says nothing about reads. */
  get mayHaveWritten(): boolean {
    return !this.notSent && mayHaveWritten.has(this.kind);
  }
}

const sdkRejection = z.object({
  response: z.object({
    statusCode: z.number(),
    headers: z.record(z.string(), z.unknown()).catch({}),
    body: z.unknown(),
  }),
});

/**
 * The failure that an answer other than a good 200 stands for; never throws. The body may be text, HTML, JSON parsed or
 * not, xero-node's rejection string (its status and headers then count), or nothing. Status 0 is no answer at all.
 */
export function classify(
  status: number,
  headers: Readonly<Record<string, unknown>>,
  body: unknown,
  operation: string,
): XeroFailure {
  const parsed = parseBody(body);
  const wrapped = sdkRejection.safeParse(parsed);
  if (wrapped.success) {
    const { response } = wrapped.data;
    return classify(response.statusCode, response.headers, response.body, operation);
  }
  const header = headerReader(headers);
  const limited = status === 429;
  const xeroMessages = limited ? [] : readMessages(parsed);
  return new XeroFailure({
    kind: kindOf(status, xeroMessages, parsed, header),
    operation,
    status: status || undefined,
    xeroMessages,
    retryAfterMs: retryAfter(header("retry-after")),
    problem: limited ? rateLimitProblem(header("x-rate-limit-problem")) : undefined,
    correlationId: header("xero-correlation-id")?.slice(0, 100),
  });
}

type HeaderReader = (name: string) => string | undefined;

function kindOf(status: number, messages: string[], body: unknown, header: HeaderReader): XeroFailureKind {
  const says = (words: RegExp): boolean => messages.some((message) => words.test(message));
  const challenge = header("www-authenticate") ?? "";
  // "insufficent" is how Xero spells it.
  const lacksScope = /insufficen?t_scope|insufficient_scope/i.test(challenge);
  const oauth = oauthError.safeParse(body);
  if ((status === 400 || status === 401) && oauth.success) {
    return oauth.data.error === "invalid_grant" ? "INVALID_GRANT" : "MISCONFIGURED";
  }
  switch (status) {
    case 400:
      return says(/idempotency key.*different request/is) ? "KEY_REUSED" : "REJECTED";
    case 401:
      return lacksScope || says(/AuthorizationUnsuccessful/i) ? "MISSING_SCOPE" : "TOKEN_REFUSED";
    case 403:
      if (lacksScope) return "MISSING_SCOPE";
      return says(/AuthenticationUnsuccessful/i) ? "DISCONNECTED" : "FORBIDDEN";
    case 404:
      return "NOT_FOUND";
    case 408: // a proxy gave up waiting: what Xero did is unknown
      return "UNCERTAIN";
    case 429:
      return "RATE_LIMITED";
    case 503:
      // Any other 503 is a gateway's, which may have lost the connection to Xero after the write.
      return /\boffline\b|maintenance|temporarily unavailable/i.test(asText(body)) ? "OFFLINE" : "SERVER_ERROR";
  }
  if (status >= 500) return "SERVER_ERROR";
  return status >= 400 ? "REJECTED" : "UNCERTAIN";
}

function rateLimitProblem(text = ""): RateLimitProblem {
  // Only "minute" and "day" were ever recorded; the spelling of the other two is not documented.
  if (/app/i.test(text)) return "app-minute";
  if (/concurren/i.test(text)) return "concurrent";
  if (/minute/i.test(text)) return "minute";
  return /da(y|ily)/i.test(text) ? "day" : "unknown";
}

function retryAfter(text: string | undefined): number | undefined {
  if (text === undefined || text.trim() === "") return undefined;
  const seconds = Number(text);
  if (Number.isFinite(seconds)) return seconds >= 0 ? Math.ceil(seconds * 1000) : undefined;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now());
}

function headerReader(headers: Readonly<Record<string, unknown>>): HeaderReader {
  const byName = new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  return (name) => {
    const value = byName.get(name);
    const first: unknown = Array.isArray(value) ? value[0] : value;
    return typeof first === "string" || typeof first === "number" ? String(first) : undefined;
  };
}

const oauthError = z.object({ error: z.string().regex(/^[a-z_]+$/), error_description: z.string().optional() });
const problemBody = z.object({ Message: z.string(), Detail: z.string(), Title: z.string() }).partial().catch({});

function parseBody(body: unknown): unknown {
  if (typeof body !== "string") return body;
  try {
    return JSON.parse(body);
  } catch {
    return body;
  }
}

function asText(body: unknown): string {
  return typeof body === "string" ? body : JSON.stringify(body ?? null);
}

function readMessages(body: unknown): string[] {
  if (typeof body === "string") return isHtml(body) ? [] : [body];
  const oauth = oauthError.safeParse(body);
  if (oauth.success) return [oauth.data.error_description ?? oauth.data.error];
  const validation = validationMessages(body);
  if (validation.length > 0) return validation;
  const { Message, Detail, Title } = problemBody.parse(body ?? {});
  return [Message ?? Detail ?? Title ?? ""];
}

function isHtml(text: string): boolean {
  return /^\s*<|<\/?(html|head|body|title|h1|p|div)\b/i.test(text);
}

const messageItem = z.object({ Message: z.string() });

/** The texts of every `ValidationErrors` in an answer or in one element of it, at whatever depth Xero nested them. */
export function validationMessages(node: unknown, depth = 6): string[] {
  if (depth === 0 || typeof node !== "object" || node === null) return [];
  return Object.entries(node).flatMap(([name, value]: [string, unknown]) => {
    if (name !== "ValidationErrors" || !Array.isArray(value)) return validationMessages(value, depth - 1);
    return value.flatMap((item) => messageItem.safeParse(item).data?.Message ?? []);
  });
}

/** At most 20 distinct texts of at most 500 characters, fit for a database column (which takes no NUL). */
export function boundMessages(messages: string[]): string[] {
  const texts = messages.map((text) => Array.from(text.replaceAll("\0", "").trim()).slice(0, 500).join(""));
  return [...new Set(texts)].filter((text) => text !== "").slice(0, 20);
}
