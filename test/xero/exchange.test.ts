/**
 * How one exchange with the accounting API ends, over real HTTP: good answers, refusals, and every way in which an answer
 * can fail to be one. What matters is that a write that may have happened is never taken for one that did not.
 */
import { describe, expect, it } from "@jest/globals";
import type { ServerResponse } from "node:http";
import { XeroAccounting } from "../../src/xero/XeroAccounting.js";
import { answer, type Handler, refused, rejection, saved, token, withServer, withXero } from "./localServer.js";

const body = '{"Invoices":[{"Reference":"/Date(x)/ é","Url":"http://localhost/invoices/1","Total":0.10}]}';

describe("putInvoices", () => {
  it("sends exactly the body, once, and reads saved and refused invoices", async () => {
    const headers = {
      "xero-correlation-id": "c-1",
      "x-daylimit-remaining": "4999",
      "x-minlimit-remaining": "59",
      "x-appminlimit-remaining": "9999",
    };
    const handler: Handler = (response) => answer(response, 200, { Invoices: [refused, saved] }, headers);
    await withXero(handler, async (xero, seen, records) => {
      const outcomes = await xero.putInvoices(body, "key-1");
      expect(outcomes[0]).toEqual({
        ok: false,
        invoice: { reference: "R-2", url: "http://localhost/invoices/2" },
        messages: ["Account code '999' is not a valid code for this document."],
      });
      expect(outcomes[1]).toMatchObject({
        ok: true,
        invoice: {
          invoiceId: saved.InvoiceID,
          date: "2026-09-14",
          dueDate: "2026-09-28",
          total: "24.15",
          subTotal: "21",
          amountCredited: "0",
          updatedAt: new Date(1789378199160),
          lines: [{ lineItemId: "l-1", quantity: "1.5", unitAmount: "14", lineAmount: "21" }],
          payments: [],
          warnings: [],
        },
      });
      expect(seen).toHaveLength(1);
      expect(seen[0]).toMatchObject({
        method: "PUT",
        path: "/api.xro/2.0/Invoices",
        body,
        headers: {
          authorization: `Bearer ${token}`,
          "xero-tenant-id": "t-1",
          "idempotency-key": "key-1",
          "content-type": "application/json",
          accept: "application/json",
        },
      });
      expect(Object.fromEntries(seen[0]?.query ?? [])).toEqual({ summarizeErrors: "false", unitdp: "4" });
      expect(records).toEqual([
        {
          operation: "putInvoices",
          method: "PUT",
          status: 200,
          durationMs: expect.any(Number),
          correlationId: "c-1",
          dayRemaining: 4999,
          minuteRemaining: 59,
          appMinuteRemaining: 9999,
        },
      ]);
    });
  });

  it("takes text that xero-node would turn into a date or choke on", async () => {
    const odd = { ...saved, Reference: "/Date(x)/", InvoiceNumber: "/Date(0)/" };
    await withXero(
      (response) => answer(response, 200, { Invoices: [odd] }),
      async (xero) => {
        const [outcome] = await xero.putInvoices(body, "key-1");
        expect(outcome).toMatchObject({ ok: true, invoice: { reference: "/Date(x)/", invoiceNumber: "/Date(0)/" } });
      },
    );
  });

  it.each<[string, unknown]>([
    ["an empty body", ""],
    ["HTML", "<html><body>Welcome</body></html>"],
    ["cut JSON", '{"Invoices":[{"Invoice'],
    ["another envelope", { Contacts: [] }],
    ["an empty list", { Invoices: [] }],
    ["an element without id", { Invoices: [{ ...saved, InvoiceID: undefined }] }],
    ["an element not saved and not refused", { Invoices: [{ ...saved, InvoiceID: refused.InvoiceID }] }],
    ["an element without total", { Invoices: [{ ...saved, Total: null }] }],
    ["null", "null"],
  ])("is uncertain about a 200 with %s", async (_name, text) => {
    await withXero(
      (response) => answer(response, 200, text, { "xero-correlation-id": "c-1" }),
      async (xero, _seen, records) => {
        const failure = await rejection(xero.putInvoices(body, "key-1"));
        expect(failure).toMatchObject({ kind: "UNCERTAIN", status: 200, mayHaveWritten: true });
        expect(records).toMatchObject([{ status: 200 }]);
      },
    );
  });

  it.each<[string, (response: ServerResponse) => void]>([
    ["a silent server", () => undefined],
    ["an interim answer only", (response) => response.writeProcessing()],
    [
      "a stalled body",
      (response) => {
        response.writeHead(200, { "content-type": "application/json" });
        response.write('{"Invoices":[');
      },
    ],
    [
      "a body that drips",
      (response) => {
        response.writeHead(200, { "content-type": "application/json" });
        const drip = setInterval(() => response.write(" "), 20);
        response.on("close", () => clearInterval(drip));
      },
    ],
  ])("gives up on %s within the time limit", async (_name, handler) => {
    await withXero(
      handler,
      async (xero, _seen, records) => {
        const startedAt = Date.now();
        const failure = await rejection(xero.putInvoices(body, "key-1"));
        expect(failure).toMatchObject({ kind: "UNCERTAIN", problem: "no answer within 200 ms", status: undefined });
        expect(Date.now() - startedAt).toBeLessThan(1500);
        expect(records).toMatchObject([{ operation: "putInvoices", status: 0 }]);
      },
      200,
    );
  });

  it("is uncertain when the socket is lost after the whole request, and sends no second time", async () => {
    await withXero(
      (response) => response.destroy(),
      async (xero, seen) => {
        const failure = await rejection(xero.putInvoices(body, "key-1"));
        expect(failure).toMatchObject({ kind: "UNCERTAIN", mayHaveWritten: true });
        expect(seen).toHaveLength(1);
      },
    );
  });

  it.each([200, 400, 500])("is uncertain about a %i that was cut off", async (status) => {
    await withXero(
      (response) => {
        response.writeHead(status, { "content-type": "application/json", "content-length": "1000" });
        response.write('{"Message":"Idempotency Key: k is', () => response.destroy());
      },
      async (xero, _seen, records) => {
        const failure = await rejection(xero.putInvoices(body, "key-1"));
        expect(failure).toMatchObject({ kind: "UNCERTAIN", mayHaveWritten: true });
        expect(records).toMatchObject([{ status: 0 }]);
      },
    );
  });

  it("is uncertain when nobody listens", async () => {
    const xero = new XeroAccounting({
      apiUrl: "http://127.0.0.1:1",
      accessToken: token,
      tenantId: "t",
      timeoutMs: 2000,
    });
    const failure = await rejection(xero.putInvoices(body, "key-1"));
    expect(failure).toMatchObject({ kind: "UNCERTAIN", problem: "no answer: ECONNREFUSED" });
  });

  it("follows no redirect with the token", async () => {
    await withXero(
      (response) => answer(response, 307, "", { location: "/stolen" }),
      async (xero, seen) => {
        expect(await rejection(xero.putInvoices(body, "key-1"))).toMatchObject({ kind: "UNCERTAIN", status: 307 });
        expect(seen).toHaveLength(1);
      },
    );
  });

  it("knows the recorded 429: no body, no content type", async () => {
    await withXero(
      (response) => {
        response.writeHead(429, {
          "X-DayLimit-Remaining": "344",
          "X-MinLimit-Remaining": "0",
          "Retry-After": "26",
          "X-Rate-Limit-Problem": "minute",
        });
        response.end();
      },
      async (xero, _seen, records) => {
        const failure = await rejection(xero.putInvoices(body, "key-1"));
        expect(failure).toMatchObject({
          kind: "RATE_LIMITED",
          problem: "minute",
          retryAfterMs: 26_000,
          mayHaveWritten: false,
        });
        expect(records).toMatchObject([{ status: 429, dayRemaining: 344, minuteRemaining: 0 }]);
      },
    );
  });

  it.each([
    [404, "<!DOCTYPE html><p>The resource you're looking for cannot be found", "NOT_FOUND"],
    [500, "", "SERVER_ERROR"],
    [503, "The Organisation is Offline", "OFFLINE"],
    [400, { Message: "Idempotency Key: key-1 is used with a different request." }, "KEY_REUSED"],
  ])("throws a %i as what it is", async (status, text, kind) => {
    await withXero(
      (response) => answer(response, status, text),
      async (xero) => expect(await rejection(xero.putInvoices(body, "key-1"))).toMatchObject({ kind, status }),
    );
  });

  it("never tells the token or the body", async () => {
    await withXero(
      (response) => answer(response, 500, `echo ${token} ${body}`),
      async (xero) => {
        const failure = (await rejection(xero.putInvoices(body, "key-1"))) as Error;
        expect(`${failure.message} ${failure.stack ?? ""}`).not.toMatch(/secret-token|Invoices"/);
      },
    );
  });

  it("sends nothing when there is no place within the limits", async () => {
    await withServer(
      () => undefined,
      async (apiUrl, seen) => {
        const beforeCall = (operation: string): Promise<void> => Promise.reject(new Error(`no place for ${operation}`));
        const options = { apiUrl, accessToken: token, tenantId: "t-1", timeoutMs: 1000, beforeCall };
        const failure = await rejection(new XeroAccounting(options).putInvoices(body, "key-1"));
        expect(failure).toEqual(new Error("no place for putInvoices"));
        expect(seen).toHaveLength(0);
      },
    );
  });
});
