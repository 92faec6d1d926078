/**
 * A local HTTP server that answers as a test says, for the odd answers that the sandbox, being a well-behaved Xero, does not
 * give; and the two sides of a recorded batch.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type CallRecord, XeroAccounting } from "../../src/xero/XeroAccounting.js";

export interface SeenRequest {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: IncomingMessage["headers"];
  body: string;
}

export type Handler = (response: ServerResponse, request: SeenRequest) => void;

/** Runs the work against an HTTP server that answers as told and remembers what it was asked. */
export async function withServer(
  handler: Handler,
  work: (url: string, seen: SeenRequest[]) => Promise<void>,
): Promise<void> {
  const seen: SeenRequest[] = [];
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const url = new URL(request.url ?? "/", "http://localhost");
      const received = {
        method: request.method ?? "",
        path: url.pathname,
        query: url.searchParams,
        headers: request.headers,
        body: Buffer.concat(parts).toString(),
      };
      seen.push(received);
      handler(response, received);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await work(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

/** Ends the response with this status and body, as JSON unless the body is text. */
export function answer(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(typeof body === "string" ? body : JSON.stringify(body));
}

/** The error that the work rejects with. */
export async function rejection(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => {
      throw new Error("it should have been rejected");
    },
    (error: unknown) => error,
  );
}

export const token = "secret-token";

/** Runs the work against a stand-in of the accounting API that answers as told. */
export async function withXero(
  handler: Handler,
  work: (xero: XeroAccounting, seen: SeenRequest[], records: CallRecord[]) => Promise<void>,
  timeoutMs = 5000,
): Promise<void> {
  await withServer(handler, async (apiUrl, seen) => {
    const records: CallRecord[] = [];
    const onAnswer = (record: CallRecord): void => void records.push(record);
    await work(
      new XeroAccounting({ apiUrl: `${apiUrl}/`, accessToken: token, tenantId: "t-1", timeoutMs, onAnswer }),
      seen,
      records,
    );
  });
}

/** One invoice of a batch as Xero answers it, saved. */
export const saved = {
  InvoiceID: "243216c5-369e-4056-ac67-05388f86dc81",
  InvoiceNumber: "INV-0055",
  Reference: "R-1",
  Url: "http://localhost/invoices/1",
  Type: "ACCREC",
  Status: "AUTHORISED",
  Contact: { ContactID: "c-1", Name: "Jane", HasValidationErrors: false },
  DateString: "2026-09-14T00:00:00",
  Date: "/Date(1789344000000+0000)/",
  DueDate: "/Date(1790553600000+0000)/",
  LineAmountTypes: "Exclusive",
  SubTotal: 21,
  TotalTax: 3.15,
  Total: 24.15,
  AmountDue: 24.15,
  AmountPaid: 0.0,
  UpdatedDateUTC: "/Date(1789378199160+0000)/",
  LineItems: [{ LineItemID: "l-1", Description: "Support", Quantity: 1.5, UnitAmount: 14.0, LineAmount: 21 }],
  SomethingNew: { at: "Xero" },
  StatusAttributeString: "OK",
};
/** Another one, refused. */
export const refused = {
  InvoiceID: "00000000-0000-0000-0000-000000000000",
  Reference: "R-2",
  Url: "http://localhost/invoices/2",
  StatusAttributeString: "ERROR",
  HasErrors: true,
  ValidationErrors: [{ Message: "Account code '999' is not a valid code for this document." }],
};
