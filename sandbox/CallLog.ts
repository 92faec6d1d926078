/**
 * Owns the record of every call that reached the sandbox, for tests to count and to look at; and how many were in
 * progress at once, per organisation too, which is how a client's own limiter is judged. Bodies are kept as a hash:
 * equal bytes show, contents do not.
 */
import { createHash } from "node:crypto";
import { header, type Call } from "./http.js";

const mostCalls = 200_000;

export interface LoggedCall {
  readonly number: number;
  readonly at: number;
  readonly kind: "api" | "identity" | "connections";
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly tenantId: string | undefined;
  readonly idempotencyKey: string | undefined;
  readonly grantType: string | undefined;
  readonly bodyBytes: number;
  readonly bodySha256: string | undefined;
  status: number | "no answer" | "in progress";
  replayed: boolean;
  fault: string | undefined;
}

export class CallLog {
  readonly calls: LoggedCall[] = [];
  readonly #inFlight = new Map<string, number>();
  readonly maxInFlightByTenant: Record<string, number> = {};
  maxInFlight = 0;
  #total = 0;
  #current = 0;

  begin(kind: LoggedCall["kind"], call: Call, at: number): LoggedCall {
    const tenantId = header(call, "xero-tenant-id");
    this.#total += 1;
    this.#current += 1;
    this.maxInFlight = Math.max(this.maxInFlight, this.#current);
    if (tenantId !== undefined) {
      const now = (this.#inFlight.get(tenantId) ?? 0) + 1;
      this.#inFlight.set(tenantId, now);
      this.maxInFlightByTenant[tenantId] = Math.max(this.maxInFlightByTenant[tenantId] ?? 0, now);
    }
    const entry: LoggedCall = {
      number: this.#total,
      at,
      kind,
      method: call.method,
      path: call.path,
      query: call.query.toString(),
      tenantId,
      idempotencyKey: header(call, "idempotency-key"),
      grantType: kind === "identity" ? grantType(call) : undefined,
      bodyBytes: call.body.length,
      bodySha256: call.body.length > 2 ? createHash("sha256").update(call.body).digest("hex") : undefined,
      status: "in progress",
      replayed: false,
      fault: undefined,
    };
    if (this.calls.length >= mostCalls) this.calls.shift();
    this.calls.push(entry);
    return entry;
  }

  end(entry: LoggedCall, status: LoggedCall["status"]): void {
    entry.status = status;
    this.#current -= 1;
    if (entry.tenantId !== undefined) this.#inFlight.set(entry.tenantId, (this.#inFlight.get(entry.tenantId) ?? 1) - 1);
  }

  /** How often each endpoint was called: ids in paths are left out. */
  countsByEndpoint(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { method, path } of this.calls) {
      const shape = path.replace("/api.xro/2.0", "").replaceAll(/[0-9a-f-]{36}/gi, "{id}");
      counts[`${method} ${shape}`] = (counts[`${method} ${shape}`] ?? 0) + 1;
    }
    return counts;
  }

  forget(): void {
    this.calls.length = 0;
    this.maxInFlight = this.#current;
    for (const tenantId of Object.keys(this.maxInFlightByTenant)) {
      this.maxInFlightByTenant[tenantId] = this.#inFlight.get(tenantId) ?? 0;
    }
  }
}

function grantType(call: Call): string | undefined {
  return new URLSearchParams(call.body.toString("utf8")).get("grant_type") ?? undefined;
}
