/**
 * Every error that a caller may see, and the mask over all others.
 *
 * Services throw an AppError, made by one of the small functions below; its code is one of the runtime contract's. Whatever else
 * reaches the edge (a bug, a database that is down) is logged whole and leaves as INTERNAL_SERVER_ERROR with a correlation id and
 * nothing more: no stack, no SQL, no path, in any NODE_ENV.
 */
import { GraphQLError } from "graphql";

export type ErrorCode =
  | "UNAUTHENTICATED"
  | "FORBIDDEN"
  | "NOT_FOUND"
  | "BAD_USER_INPUT"
  | "XERO_DISABLED"
  | "XERO_NOT_CONNECTED"
  | "XERO_WEBHOOK_NOT_CONFIGURED"
  | "SETUP_INCOMPLETE"
  | "TAX_RATE_MISMATCH"
  | "ACCOUNT_NOT_ALLOWED"
  | "INVOICE_LOCKED"
  | "XERO_UNAVAILABLE"
  | "XERO_RATE_LIMITED"
  | "RATE_LIMITED"
  | "INTERNAL_SERVER_ERROR";

/** A field of the caller's input and what is wrong with it; `field` is a path such as `input.lineItems[0].quantity`. */
export interface FieldProblem {
  field: string;
  reason: string;
}

/** An error that is meant for the caller: its message and extensions leave the service as they are. */
export class AppError extends GraphQLError {
  constructor(code: ErrorCode, message: string, extensions: Record<string, unknown> = {}) {
    super(message, { extensions: { code, ...extensions } });
    this.name = "AppError";
  }

  get code(): ErrorCode {
    return this.extensions["code"] as ErrorCode;
  }
}

/** BAD_USER_INPUT for the given fields; the message repeats them, so that it can be shown as it is. */
export function badInput(...fields: FieldProblem[]): AppError {
  const message = fields.map(({ field, reason }) => `${field}: ${reason}`).join("; ");
  return new AppError("BAD_USER_INPUT", message, { fields });
}

/** NOT_FOUND, the same for what does not exist and for what belongs to another workspace. */
export function notFound(thing: string): AppError {
  return new AppError("NOT_FOUND", `There is no such ${thing} in this workspace.`);
}

/** UNAUTHENTICATED, answered over HTTP with status 401 and the `www-authenticate` header. */
export function unauthenticated(message: string): AppError {
  const headers = new Map([["www-authenticate", "Bearer"]]);
  return new AppError("UNAUTHENTICATED", message, { http: { status: 401, headers } });
}
