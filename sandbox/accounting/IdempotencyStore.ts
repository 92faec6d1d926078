/**
 * Owns Idempotency-Keys: what was asked under a key and what was answered, for six minutes from the first call.
 *
 * Source: docs/xero-facts.md section 4. Scope is the app, so another organisation is a different request; errors are
 * remembered as well; a repeat that comes while the first is at work waits for it and gets its answer.
 */
import { createHash } from "node:crypto";
import type { Clock } from "../Clock.js";
import { header, type Call, type Reply } from "../http.js";
import { badRequest } from "../refusals.js";
import type { Switches } from "../switches.js";

const longestKey = 128;

interface Entry {
  readonly fingerprint: string;
  readonly firstAt: number;
  readonly reply: Promise<Reply>;
}

export class IdempotencyStore {
  readonly #entries = new Map<string, Entry>();

  constructor(
    private readonly clock: Clock,
    private readonly switches: Switches,
  ) {}

  /** Does the work at most once per key and request; `replayed` tells whether this answer is another call's. */
  async run(call: Call, work: () => Promise<Reply>): Promise<{ reply: Reply; replayed: boolean }> {
    const key = header(call, "idempotency-key");
    if (key === undefined || this.switches.idempotencyIgnored || !["POST", "PUT", "PATCH"].includes(call.method))
      return { reply: await work(), replayed: false };
    if (key.length > longestKey) {
      const reply = badRequest(
        `Idempotency Key: ${key} has ${key.length} characters, at most ${longestKey} are allowed.`,
      );
      return { reply, replayed: false };
    }
    this.#forgetExpired();
    const fingerprint = fingerprintOf(call);
    const known = this.#entries.get(key);
    if (known && known.fingerprint !== fingerprint) {
      return { reply: badRequest(`Idempotency Key: ${key} is used with a different request.`), replayed: false };
    }
    if (known) return { reply: await known.reply, replayed: true };
    const reply = work();
    const entry = { fingerprint, firstAt: this.clock.now(), reply };
    this.#entries.set(key, entry);
    const settled = await reply.catch((error: unknown) => {
      this.#entries.delete(key);
      throw error;
    });
    if (!this.#remembers(settled.status) && this.#entries.get(key) === entry) this.#entries.delete(key);
    return { reply: settled, replayed: false };
  }

  #remembers(status: number): boolean {
    if (status === 503) return this.switches.idempotencyCaches503;
    if (status >= 500) return this.switches.idempotencyCaches500;
    return status < 400 || status === 404 || this.switches.idempotencyCaches400;
  }

  /** Entries are in the order of their first calls, so the old ones are in front. */
  #forgetExpired(): void {
    for (const [key, entry] of this.#entries) {
      if (this.clock.now() - entry.firstAt < this.switches.idempotencyLifetimeMs) return;
      this.#entries.delete(key);
    }
  }
}

function fingerprintOf(call: Call): string {
  const hash = createHash("sha256");
  hash.update(`${call.method} ${call.target} ${header(call, "xero-tenant-id") ?? ""}\n`);
  return hash.update(call.body).digest("base64");
}
