/** What storms of changes and deliveries are made of: seeded plans, and many calls at once. */
import { createHmac } from "node:crypto";
import { seededRandom } from "../../sandbox/random.js";
import { type Link, until } from "./links.js";
import { runSql } from "./records.js";
import { type Service } from "./service.js";

/** Chances of one seed: the same ones in the same order each time. */
export class Chances {
  readonly next: () => number;

  constructor(seed: number) {
    this.next = seededRandom(seed);
  }

  /** True in so many of a hundred. */
  percent(share: number): boolean {
    return this.next() * 100 < share;
  }

  /** From the least to the most, both included. */
  between(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  /** One of them, of which there is at least one. */
  of<T>(items: readonly T[]): T {
    const item = items[this.between(0, items.length - 1)];
    if (item === undefined) throw new Error("nothing to choose from");
    return item;
  }
}

/** Does the work for each item, so many at a time; in no promised order of ends. Throws what the first failure throws, when all are over. */
export async function atOnce<T>(
  width: number,
  items: readonly T[],
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  const queue = items.values();
  const lanes = await Promise.allSettled(
    Array.from({ length: width }, async () => {
      for (const item of queue) await work(item);
    }),
  );
  for (const lane of lanes) if (lane.status === "rejected") throw lane.reason;
}

export interface XeroEvent {
  tenantId: string;
  resourceId: string;
  eventCategory: string;
  eventType: string;
  eventDateUtc: string;
  data?: object;
}

/** Posts the events as one delivery, signed as Xero signs. */
export async function deliver(service: Service, events: XeroEvent[]): Promise<void> {
  const body = JSON.stringify({ events, firstEventSequence: 1, lastEventSequence: events.length, entropy: "STORM" });
  const signature = createHmac("sha256", service.sandbox.webhookKey).update(body).digest("base64");
  const answer = await fetch(`${service.url}/webhooks/xero`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-xero-signature": signature },
    body,
  });
  if (answer.status !== 200) throw new Error(`a delivery was answered ${answer.status}`);
}

/** Once at most so many of the announced events wait to be applied: seen in the database only. */
export function untilApplied({ service, workspace }: Pick<Link, "service" | "workspace">, atMost = 0): Promise<void> {
  return until(async () => {
    const open = "SELECT count(*)::integer AS left FROM webhook_event WHERE workspace_id = $1 AND status = 'RECEIVED'";
    const [row] = await runSql<{ left: number }>(service, open, [workspace]);
    return row !== undefined && row.left <= atMost;
  });
}
