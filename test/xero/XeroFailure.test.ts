/** The classifier by tables: recorded answers of the live API, what its documentation names, and what gateways add. */
import { describe, expect, it } from "@jest/globals";
import { classify, XeroFailure } from "../../src/xero/XeroFailure.js";

const unauthorized = (detail: string) => ({
  Type: null,
  Title: "Unauthorized",
  Status: 401,
  Detail: detail,
  Instance: "7c0a1b52-0f43-4c0e-a2b7-8a0d2f3f1f65",
  Extensions: {},
});
const validation = (...messages: string[]) => ({
  ErrorNumber: 10,
  Type: "ValidationException",
  Message: "A validation exception occurred",
  Elements: [{ HasErrors: true, ValidationErrors: messages.map((Message) => ({ Message })) }],
});
const html404 = "<!DOCTYPE html><html><body>The resource you're looking for cannot be found</body></html>";

describe("classify", () => {
  it.each([
    ["no answer", 0, {}, "connect ECONNREFUSED 127.0.0.1:1", "UNCERTAIN", true],
    ["a redirect", 302, { location: "/elsewhere" }, "", "UNCERTAIN", true],
    ["a proxy's time-out", 408, {}, "", "UNCERTAIN", true],
    ["validation", 400, {}, validation("Invoice # must be unique."), "REJECTED", false],
    ["a bad filter", 400, {}, { ErrorNumber: 16, Type: "QueryParseException", Message: "No" }, "REJECTED", false],
    ["a used key", 400, {}, { Message: "Idempotency Key: k1 is used with a different request." }, "KEY_REUSED", true],
    ["a used key as text", 400, {}, "Idempotency Key: k1 is used with a different request.", "KEY_REUSED", true],
    [
      "a used key as error",
      400,
      {},
      validation("Idempotency Key: k is used with a different request."),
      "KEY_REUSED",
      true,
    ],
    ["an overlong key", 400, {}, "Idempotency Key k has 129 characters, at most 128 are allowed", "REJECTED", false],
    [
      "an old token",
      401,
      {},
      unauthorized("TokenExpired: token expired at 02/20/2025 08:32:50"),
      "TOKEN_REFUSED",
      false,
    ],
    ["nothing at all", 401, {}, "", "TOKEN_REFUSED", false],
    ["a missing scope", 401, {}, unauthorized("AuthorizationUnsuccessful"), "MISSING_SCOPE", false],
    ["Xero's spelling", 401, { "WWW-Authenticate": 'Bearer error="insufficent_scope"' }, "", "MISSING_SCOPE", false],
    [
      "the right spelling",
      401,
      { "www-authenticate": 'Bearer error="insufficient_scope"' },
      "",
      "MISSING_SCOPE",
      false,
    ],
    ["a dead connection", 403, {}, unauthorized("AuthenticationUnsuccessful"), "DISCONNECTED", false],
    ["a role", 403, {}, { Title: "Forbidden", Detail: "You do not have permission" }, "FORBIDDEN", false],
    ["an empty 403", 403, {}, "", "FORBIDDEN", false],
    ["not found", 404, { "content-type": "text/html" }, html404, "NOT_FOUND", false],
    ["no data", 404, {}, { ErrorNumber: 17, Type: "NoDataException" }, "NOT_FOUND", false],
    ["a precondition", 412, {}, "", "REJECTED", false],
    ["too large", 413, {}, "", "REJECTED", false],
    ["too many", 429, {}, "", "RATE_LIMITED", false],
    ["a fault", 500, {}, { ErrorNumber: 500, Message: "An error occurred" }, "SERVER_ERROR", true],
    ["not implemented", 501, {}, "", "SERVER_ERROR", true],
    ["a gateway", 502, {}, "<html>Bad gateway</html>", "SERVER_ERROR", true],
    ["a gateway's 503", 503, {}, "upstream connect error or reset before headers", "SERVER_ERROR", true],
    ["maintenance", 503, {}, "The Xero API is currently offline for maintenance", "OFFLINE", true],
    ["maintenance page", 503, {}, "<html><body>Down for maintenance</body></html>", "OFFLINE", true],
    ["one organisation", 503, {}, "The Organisation is Offline", "OFFLINE", true],
    ["a dead refresh token", 400, {}, { error: "invalid_grant" }, "INVALID_GRANT", false],
    ["a wrong secret", 400, {}, { error: "invalid_client" }, "MISCONFIGURED", false],
    ["a wrong secret, by the book", 401, {}, { error: "invalid_client" }, "MISCONFIGURED", false],
    ["a scope unknown", 400, {}, { error: "invalid_scope" }, "MISCONFIGURED", false],
    ["a grant not allowed", 400, {}, { error: "unauthorized_client" }, "MISCONFIGURED", false],
  ])("reads %s", (_name, status, headers, body, kind, mayHaveWritten) => {
    for (const form of typeof body === "string" ? [body] : [body, JSON.stringify(body)]) {
      const failure = classify(status, headers, form, "putInvoices");
      expect(failure).toMatchObject({ kind, mayHaveWritten, operation: "putInvoices", status: status || undefined });
      expect(failure).toBeInstanceOf(XeroFailure);
    }
  });

  it("unwraps the JSON string that xero-node rejects with", () => {
    const body = validation("Email address must be valid.");
    const text = JSON.stringify({
      response: { statusCode: 400, headers: { "xero-correlation-id": "c-1" }, body },
      body,
    });
    expect(classify(0, {}, text, "createContacts")).toMatchObject({
      kind: "REJECTED",
      status: 400,
      correlationId: "c-1",
      xeroMessages: ["Email address must be valid."],
    });
  });

  it.each([
    ["minute", "minute"],
    ["Day", "day"],
    ["daily", "day"],
    ["concurrent", "concurrent"],
    ["Concurrency", "concurrent"],
    ["appminute", "app-minute"],
    ["App-Minute", "app-minute"],
    ["something", "unknown"],
    [undefined, "unknown"],
  ])("reads the limit %s as %s", (header, problem) => {
    const headers = { "x-rate-limit-problem": header, "retry-after": "26" };
    expect(classify(429, headers, "", "x")).toMatchObject({ problem, retryAfterMs: 26_000, xeroMessages: [] });
  });

  it.each([
    ["66975", 66_975_000],
    ["0", 0],
    ["", undefined],
    ["soon", undefined],
    ["-5", undefined],
    ["Thu, 01 Jan 1970 00:00:00 GMT", 0],
  ])("reads Retry-After %j", (header, retryAfterMs) => {
    expect(classify(429, { "Retry-After": header }, "", "x").retryAfterMs).toBe(retryAfterMs);
  });

  it("keeps Xero's own words, each once, from wherever they are nested", () => {
    const body = {
      Message: "A validation exception occurred",
      Elements: [
        { ValidationErrors: [{ Message: "one <two>" }, { Message: "one <two>" }] },
        {
          LineItems: [{ ValidationErrors: [{ Message: "three" }] }],
          Contact: { ValidationErrors: [{ Message: "four" }] },
        },
      ],
    };
    expect(classify(400, {}, body, "x").xeroMessages).toEqual(["one <two>", "three", "four"]);
    expect(classify(400, {}, { Message: "No property 'Foo'" }, "x").xeroMessages).toEqual(["No property 'Foo'"]);
    expect(classify(503, {}, "The Organisation is Offline", "x").xeroMessages).toEqual(["The Organisation is Offline"]);
  });

  it("bounds them and drops HTML", () => {
    const many = validation(...Array.from({ length: 40 }, (_, index) => `${index} ${"😀".repeat(600)}`));
    const { xeroMessages } = classify(400, {}, many, "x");
    expect(xeroMessages).toHaveLength(20);
    expect(Array.from(xeroMessages[0] ?? "")).toHaveLength(500);
    expect(classify(404, {}, html404, "x").xeroMessages).toEqual([]);
    expect(classify(502, {}, "Oops <h1>Bad</h1>", "x").xeroMessages).toEqual([]);
    expect(classify(400, {}, validation("a\0b"), "x").xeroMessages).toEqual(["ab"]);
  });

  it.each([null, undefined, 7, [], "null", '"text"', "{", { Elements: 3 }, { response: { statusCode: "x" } }])(
    "survives the body %j",
    (body) => expect(classify(400, {}, body, "x").kind).toBe("REJECTED"),
  );

  it("has a message that names neither words of Xero nor of the request", () => {
    const failure = classify(
      400,
      { "xero-correlation-id": "c-9" },
      validation("Jane Citizen is archived"),
      "putInvoices",
    );
    expect(failure.message).toBe("Xero putInvoices: REJECTED (HTTP 400, correlation id c-9)");
  });
});
