/** Deliveries as Xero posts them, and as nobody should. */
import { createHmac, randomUUID } from "node:crypto";
import { request } from "node:http";
import { type Service } from "./service.js";

export interface Posted {
  status: number;
  text: string;
  headers: Record<string, string | string[] | undefined>;
}

/** Base64 of the body's HMAC, as Xero sends it. */
export function signatureOf(body: string | Buffer, key: string): string {
  return createHmac("sha256", key).update(body).digest("base64");
}

/** One event of a delivery: that some invoice of the organisation has changed. */
export function eventOf(tenantId: string, changes: object = {}): Record<string, unknown> {
  const resourceId = randomUUID();
  return {
    resourceUrl: `https://api.xero.com/api.xro/2.0/Invoices/${resourceId}`,
    resourceId,
    tenantId,
    tenantType: "ORGANISATION",
    eventCategory: "INVOICE",
    eventType: "UPDATE",
    eventDateUtc: "2026-11-21T03:04:05.678",
    ...changes,
  };
}

export function delivery(...events: unknown[]): string {
  return JSON.stringify({ events, firstEventSequence: 1, lastEventSequence: events.length, entropy: "ABC" });
}

/** Posts to the service's door whatever it is, on a connection of its own. */
export async function postDelivery(
  url: string,
  body: string | Buffer,
  signature: string | null,
  { method = "POST", headers = {} }: { method?: string; headers?: object } = {},
): Promise<Posted> {
  return new Promise((resolve, reject) => {
    const sent = request(
      `${url}/webhooks/xero`,
      {
        method,
        agent: false,
        headers: {
          "content-type": "application/json; charset=utf-8",
          ...(signature !== null && { "x-xero-signature": signature }),
          ...headers,
        },
      },
      (response) => {
        let text = "";
        response.on("data", (part: Buffer) => (text += part.toString("utf8")));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text, headers: response.headers }));
      },
    );
    sent.on("error", reject);
    sent.end(body);
  });
}

/** Posts a well-signed delivery of these events. */
export function deliver(service: Service, ...events: unknown[]): Promise<Posted> {
  const body = delivery(...events);
  return postDelivery(service.url, body, signatureOf(body, service.sandbox.webhookKey));
}
