/** What Xero posts: the body with its irregular whitespace, and the signature over exactly those bytes. */
import { createHmac } from "node:crypto";
import type { Json } from "../http.js";
import { randomText } from "../random.js";

export interface WebhookEvent {
  readonly resourceUrl: string;
  readonly resourceId: string;
  readonly tenantId: string;
  readonly tenantType: string;
  readonly eventCategory: string;
  readonly eventType: string;
  readonly eventDateUtc: string;
  readonly data?: Json;
}

/** The body as text; nobody who parses it and prints it again gets the same bytes. */
export function payloadOf(events: readonly unknown[], first: number, last: number): string {
  const entropy = randomText(20, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
  const list = events.map((event) => JSON.stringify(event)).join(",\n  ");
  return `{"events":[${list}],"firstEventSequence": ${first},"lastEventSequence":${last}, "entropy": "${entropy}"}`;
}

/** What x-xero-signature holds for that body. */
export function signatureOf(body: string, key: string): string {
  return createHmac("sha256", key).update(body, "utf8").digest("base64");
}
