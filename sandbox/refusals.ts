/**
 * Owns the refusals: the two ways in which a call or one of its elements ends early, and the bodies Xero answers
 * with. Leaves the rules that lead there to the modules that own the records.
 *
 * Source: docs/xero-facts.md section 5, "Error bodies". A 404 is HTML, a 429 is empty, a 503 is text: clients that expect
 * JSON everywhere must break here.
 */
import { randomUUID } from "node:crypto";
import { json, type Reply } from "./http.js";

/** Ends the whole call with this answer; nothing of it is saved. */
export class Refusal extends Error {
  constructor(readonly reply: Reply) {
    super(`refused with ${String(reply.status)}`);
  }
}

/** One element of a call is not acceptable, for all these reasons at once. */
export class Invalid extends Error {
  constructor(readonly messages: readonly string[]) {
    super(messages.join(" "));
  }
}

/** Throws Invalid where there is anything to complain about. */
export function refuseIf(messages: readonly string[]): void {
  if (messages.length > 0) throw new Invalid(messages);
}

/** The gateway's own shape for 401 and 403. */
function problem(status: number, title: string, detail: string, headers: Record<string, string> = {}): Reply {
  return json(
    status,
    { Type: null, Title: title, Status: status, Detail: detail, Instance: randomUUID(), Extensions: {} },
    headers,
  );
}

/** 401 for a token that is unknown, or malformed, or absent. */
export function unauthenticated(): Reply {
  return problem(401, "Unauthorized", "AuthenticationUnsuccessful");
}

/** 401 for a token past its thirty minutes; the date is American, as recorded. */
export function tokenExpired(expiredAt: number): Reply {
  const [day = "", time = ""] = new Date(expiredAt).toISOString().slice(0, 19).split("T");
  const [year = "", month = "", date = ""] = day.split("-");
  return problem(401, "Unauthorized", `TokenExpired: token expired at ${month}/${date}/${year} ${time}`);
}

/** 401 for a token that was not granted the scope; the header's spelling is Xero's. */
export function insufficientScope(): Reply {
  return problem(401, "Unauthorized", "AuthorizationUnsuccessful", {
    "WWW-Authenticate": 'Bearer error="insufficent_scope"',
  });
}

/** 403 for a wrong, absent or disconnected tenant. */
export function forbidden(detail = "AuthenticationUnsuccessful"): Reply {
  return problem(403, "Forbidden", detail);
}

/** 404 is a page, never JSON. */
export function notFound(): Reply {
  return {
    status: 404,
    headers: { "Content-Type": "text/html; charset=utf-8" },
    body: "<!DOCTYPE html><html><body><h1>The resource you're looking for cannot be found</h1></body></html>",
  };
}

/** 400 for a body that cannot be read at all. */
export function postDataInvalid(message: string): Reply {
  return json(400, { ErrorNumber: 14, Type: "PostDataInvalidException", Message: message });
}

/** 400 for a where or order that cannot be parsed: no Elements, the reason in Message. */
export function queryParse(message: string): Reply {
  return json(400, { ErrorNumber: 16, Type: "QueryParseException", Message: message });
}

/** 400 for the call as a whole; `elements` are the refused ones, echoed. */
export function validationFailed(elements: readonly unknown[]): Reply {
  return json(400, {
    ErrorNumber: 10,
    Type: "ValidationException",
    Message: "A validation exception occurred",
    Elements: elements,
  });
}

/** 400 that concerns no element, such as a misused Idempotency-Key. */
export function badRequest(message: string): Reply {
  return json(400, { ErrorNumber: 10, Type: "ValidationException", Message: message });
}

/** A text answer, as Xero's 5xx are. */
export function text(status: number, body: string): Reply {
  return { status, headers: { "Content-Type": "text/plain; charset=utf-8" }, body };
}

/** 429: no content type, no body; Retry-After only where a window will end. */
export function tooMany(rateProblem: string, retryAfterSeconds?: number): Reply {
  return {
    status: 429,
    headers: {
      "X-Rate-Limit-Problem": rateProblem,
      ...(retryAfterSeconds === undefined ? {} : { "Retry-After": String(retryAfterSeconds) }),
    },
  };
}
