/**
 * JSON lines on stdout, and the correlation id that ties a request or job to all that it logs.
 *
 * What must never be in a log (tokens, keys, names, e-mails, phone numbers, NDIS numbers) is not logged in the first place: callers
 * log ids and codes. The redaction here is the second fence.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { randomUUID } from "node:crypto";
import { type DestinationStream, type Logger, type LoggerOptions, pino } from "pino";

export type { Logger } from "pino";

const correlation = new AsyncLocalStorage<string>();

/** Runs the work under the given correlation id. */
export function withCorrelation<T>(id: string, work: () => T): T {
  return correlation.run(id, work);
}

/** The correlation id of what is running, or a new one where there is none. */
export function correlationId(): string {
  return correlation.getStore() ?? randomUUID();
}

const secretKeys = [
  "authorization",
  "accessToken",
  "refreshToken",
  "token",
  "secret",
  "password",
  "clientSecret",
  "body",
];
const personalKeys = ["name", "firstName", "lastName", "email", "phone", "ndisNumber"];

/**
 * Of an error what tells where it happened, and nothing that it was about: a failed statement carries its parameters, and PostgreSQL's detail the
 * values of the row.
 */
function tellableError(error: unknown): object {
  if (!(error instanceof Error)) return { type: typeof error };
  const { code, constraint, table } = ("driverError" in error ? error.driverError : error) as Record<string, unknown>;
  return {
    type: error.name,
    message: error.message,
    stack: error.stack,
    ...(typeof code === "string" && { code }),
    ...(typeof constraint === "string" && { constraint }),
    ...(typeof table === "string" && { table }),
    ...(error.cause !== undefined && { cause: tellableError(error.cause) }),
  };
}

/** A logger for the process; every line carries the correlation id of what is running. Its lines go to stdout, or to `destination`. */
export function createLogger(level: string, destination?: DestinationStream): Logger {
  const options: LoggerOptions = {
    level,
    serializers: { err: tellableError },
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    mixin: () => {
      const id = correlation.getStore();
      return id ? { correlationId: id } : {};
    },
    redact: { paths: [...secretKeys, ...personalKeys].flatMap((key) => [key, `*.${key}`]), censor: "[redacted]" },
  };
  return destination ? pino(options, destination) : pino(options);
}

/** The message of whatever was thrown, for logs and joined texts; never shown to a caller. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
