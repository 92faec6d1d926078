/**
 * Owns delivery: the queue of events, signed posts, retries, the state of the subscription and the intent to receive.
 * Leaves when an event happens to the rules of the records, and its bytes to payload.ts.
 *
 * Source: docs/xero-facts.md section 10. One address and key per app, for all organisations; 2xx with an empty body and no
 * cookie within five seconds is healthy, anything else is tried again at once, then every 15 minutes (here: by
 * control's flush, or an interval) for 24 hours, then the subscription is disabled; events are kept and replayed in
 * order.
 */
import type { Announcement } from "../accounting/Changes.js";
import type { Clock } from "../Clock.js";
import { shuffled } from "../random.js";
import type { Switches } from "../switches.js";
import { payloadOf, signatureOf, type WebhookEvent } from "./payload.js";

const dayMs = 24 * 60 * 60_000;
const keptMs = 31 * dayMs;

const plurals: Readonly<Record<string, string>> = {
  CONTACT: "Contacts",
  INVOICE: "Invoices",
  PAYMENT: "Payments",
  CREDITNOTE: "CreditNotes",
  OVERPAYMENT: "Overpayments",
  PREPAYMENT: "Prepayments",
};

interface Queued {
  readonly sequence: number;
  readonly at: number;
  readonly event: WebhookEvent;
}

interface Delivery {
  readonly body: string;
  readonly events: readonly WebhookEvent[];
  readonly attempts: { status: number | "no answer"; problem: string | undefined }[];
  accepted: boolean;
}

export class Webhooks {
  url: string | undefined;
  categories: ReadonlySet<string> = new Set(Object.keys(plurals));
  state: "HEALTHY" | "RETRYING" | "DISABLED" = "HEALTHY";
  readonly deliveries: Delivery[] = [];
  #queue: Queued[] = [];
  #held: Delivery | undefined;
  #sequence = 0;
  #failingSince: number | undefined;
  #pumping: Promise<void> | undefined;
  #scheduled = false;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(
    private readonly clock: Clock,
    private readonly switches: Switches,
    public key: string,
    private readonly isConnected: (tenantId: string) => boolean,
  ) {}

  /** Queues what happened in an organisation that the app is connected to; delivery follows by itself. */
  announce(tenantId: string, announcements: readonly Announcement[]): void {
    if (this.url === undefined || !this.isConnected(tenantId)) return;
    for (const { category, type, resourceId, data } of announcements) {
      if (!this.categories.has(category)) continue;
      const at = this.clock.now();
      const event = {
        resourceUrl: `https://api.xero.com/api.xro/2.0/${plurals[category] ?? category}/${resourceId}`,
        resourceId,
        tenantId,
        tenantType: "ORGANISATION",
        eventCategory: category,
        eventType: type,
        eventDateUtc: new Date(at).toISOString().slice(0, -1),
        ...(data === undefined ? {} : { data }),
      };
      this.#queue.push({ sequence: ++this.#sequence, at, event });
    }
    this.#schedule();
  }

  /** Goes on after the switches changed. */
  wake(): void {
    this.#schedule();
  }

  /** How many events wait: for their turn, or for a receiver that is unhealthy or paused. */
  get waiting(): number {
    return this.#queue.length + (this.#held?.events.length ?? 0);
  }

  /** Tries again what an unhealthy receiver did not take, and then the rest in order. */
  async flush(): Promise<void> {
    if (this.state === "RETRYING") this.state = "HEALTHY";
    await this.drain();
  }

  /** Resolves when every delivery that can be made now was answered. */
  async drain(): Promise<void> {
    while (this.#pumping ?? this.#canDeliver()) await (this.#pumping ?? this.#pump());
  }

  /** Posts a body of the caller's choice: an old one again, another tenant's, or wrongly signed. */
  async post(body: string, signature = signatureOf(body, this.key)): Promise<Delivery["attempts"][number]> {
    return await this.#attempt(body, signature);
  }

  /** Xero's check of a receiver: right signatures must get 200, wrong ones 401. Passing it enables a disabled subscription. */
  async intentToReceive(): Promise<{
    passed: boolean;
    checks: { signed: "right" | "wrong"; status: number | string }[];
  }> {
    const kinds = shuffled(["right", "wrong", "right", "wrong"] as const);
    const checks: { signed: "right" | "wrong"; status: number | string; passed: boolean }[] = [];
    for (const signed of kinds) {
      const body = payloadOf([], 0, 0);
      const attempt = await this.post(body, signatureOf(body, signed === "right" ? this.key : `${this.key}?`));
      const expected = signed === "right" ? attempt.problem === undefined : attempt.status === 401;
      checks.push({ signed, status: attempt.status, passed: expected });
    }
    const passed = checks.every((check) => check.passed);
    if (passed) {
      this.state = "HEALTHY";
      this.#failingSince = undefined;
      this.#schedule();
    }
    return { passed, checks };
  }

  close(): void {
    this.#closed = true;
    this.#queue = [];
    this.#held = undefined;
    clearTimeout(this.#timer);
  }

  #canDeliver(): boolean {
    const able = this.state === "HEALTHY" && !this.switches.webhookPaused && !this.#closed && this.url !== undefined;
    return able && this.waiting > 0;
  }

  /** In the next turn of the event loop, so that events of one call travel together. */
  #schedule(): void {
    if (this.#scheduled || this.#pumping) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (!this.#pumping && this.#canDeliver()) void this.#pump();
    });
  }

  #pump(): Promise<void> {
    this.#pumping ??= this.#deliverAll().finally(() => {
      this.#pumping = undefined;
    });
    return this.#pumping;
  }

  async #deliverAll(): Promise<void> {
    while (this.#canDeliver()) {
      const delivery = this.#held ?? this.#nextDelivery();
      this.#held = delivery;
      const signature = signatureOf(delivery.body, this.key);
      for (let tries = 0; tries < 2 && !delivery.accepted; tries += 1) {
        const attempt = await this.#attempt(delivery.body, signature);
        delivery.attempts.push(attempt);
        delivery.accepted = attempt.problem === undefined;
      }
      if (!delivery.accepted) {
        this.#becomeUnhealthy();
        return;
      }
      this.#held = undefined;
      this.#failingSince = undefined;
      for (let again = 0; again < this.switches.webhookDuplicates; again += 1) {
        delivery.attempts.push(await this.#attempt(delivery.body, signature));
      }
    }
  }

  #nextDelivery(): Delivery {
    const oldest = this.clock.now() - keptMs;
    const kept = this.#queue.filter((queued) => queued.at >= oldest);
    const ordered = this.switches.webhookShuffle ? shuffled(kept) : kept;
    const batch = ordered.slice(0, this.switches.webhookBatchSize);
    this.#queue = ordered.slice(batch.length);
    const sequences = batch.map((queued) => queued.sequence);
    const events = batch.map((queued) => queued.event);
    const body = payloadOf(events, Math.min(...sequences), Math.max(...sequences));
    const delivery: Delivery = { body, events, attempts: [], accepted: false };
    this.deliveries.push(delivery);
    return delivery;
  }

  #becomeUnhealthy(): void {
    if (this.#closed) return;
    this.#failingSince ??= this.clock.now();
    this.state = this.clock.now() - this.#failingSince > dayMs ? "DISABLED" : "RETRYING";
    const every = this.switches.webhookRetryEveryMs;
    if (every > 0 && this.state === "RETRYING") {
      this.#timer = setTimeout(() => void this.flush(), every).unref();
    }
  }

  async #attempt(body: string, signature: string): Promise<Delivery["attempts"][number]> {
    try {
      const answer = await fetch(this.url ?? "", {
        method: "POST",
        headers: { "Content-Type": "application/json; charset=utf-8", "x-xero-signature": signature },
        body,
        redirect: "manual",
        signal: AbortSignal.timeout(this.switches.webhookTimeoutMs),
      });
      const text = await answer.text();
      const problem = !answer.ok
        ? `answered ${answer.status}`
        : text !== ""
          ? "the body of the answer is not empty"
          : answer.headers.has("set-cookie")
            ? "the answer sets a cookie"
            : undefined;
      return { status: answer.status, problem };
    } catch (error) {
      return { status: "no answer", problem: error instanceof Error ? error.message : "failed" };
    }
  }
}
