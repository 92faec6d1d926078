/**
 * Owns reading of what a client sent: an object whose keys Xero matches without regard to case, and values it coerces
 * or refuses. Leaves whether a value is acceptable to the rules of each record.
 *
 * Source: docs/xero-facts.md section 5 (root key in either case [L]); null counts as not sent; a value of the wrong kind
 * is not a validation error of the element but a PostDataInvalidException for the call.
 */
import Big from "big.js";
import type { Json } from "./http.js";
import { postDataInvalid, Refusal } from "./refusals.js";
import { isId, parseDay, wireDate, wireDateString, zeroId } from "./wire.js";

export class Fields {
  readonly #values = new Map<string, unknown>();

  constructor(readonly sent: Json) {
    for (const [key, value] of Object.entries(sent)) {
      if (value !== null && value !== undefined) this.#values.set(key.toLowerCase(), value);
    }
  }

  has(name: string): boolean {
    return this.#values.has(name.toLowerCase());
  }

  get size(): number {
    return this.#values.size;
  }

  text(name: string): string | undefined {
    const value = this.#value(name);
    if (value === undefined || typeof value === "string") return value;
    if (typeof value === "number" || typeof value === "boolean") return String(value);
    throw this.#unreadable(name, "System.String");
  }

  flag(name: string): boolean | undefined {
    const value = this.#value(name);
    if (value === undefined || typeof value === "boolean") return value;
    if (value === "true" || value === "false") return value === "true";
    throw this.#unreadable(name, "System.Boolean");
  }

  decimal(name: string): Big | undefined {
    const value = this.#value(name);
    if (value === undefined || value === "") return undefined;
    try {
      if (typeof value === "number" || typeof value === "string") return new Big(value);
    } catch {
      // Big's own complaint says less than the refusal below
    }
    throw this.#unreadable(name, "System.Decimal");
  }

  /** A calendar date in any form Xero takes. */
  day(name: string): string | undefined {
    const value = this.#value(name);
    if (value === undefined || value === "") return undefined;
    const day = typeof value === "string" ? parseDay(value) : undefined;
    if (day === undefined) throw this.#unreadable(name, "System.DateTime");
    return day;
  }

  /** An id in lower case; the id of all zeros means none. */
  id(name: string): string | undefined {
    const value = this.#value(name);
    if (value === undefined || value === "") return undefined;
    if (typeof value !== "string" || !isId(value)) throw this.#unreadable(name, "System.Guid");
    return value === zeroId ? undefined : value.toLowerCase();
  }

  part(name: string): Fields | undefined {
    const value = this.#value(name);
    if (value === undefined) return undefined;
    if (!isObject(value)) throw this.#unreadable(name, "an object");
    return new Fields(value);
  }

  parts(name: string): Fields[] | undefined {
    const value = this.#value(name);
    if (value === undefined) return undefined;
    if (!Array.isArray(value)) throw this.#unreadable(name, "an array");
    return value.map((item) => {
      if (!isObject(item)) throw this.#unreadable(name, "an array of objects");
      return new Fields(item);
    });
  }

  /** As sent, with keys in Xero's case: what a refused element shows of itself. */
  echo(): Json {
    return echoed(this.sent);
  }

  #value(name: string): unknown {
    return this.#values.get(name.toLowerCase());
  }

  #unreadable(name: string, type: string): Refusal {
    const value = JSON.stringify(this.#value(name));
    return new Refusal(
      postDataInvalid(`JSON for post data was invalid,Error converting value ${value} of '${name}' to type '${type}'.`),
    );
  }
}

/** Whether the value is a JSON object. */
export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function echoed(sent: Json): Json {
  const result: Json = {};
  for (const [key, value] of Object.entries(sent)) {
    if (value === null || value === undefined) continue;
    const name = pascal(key);
    const day = /^(Due)?Date$/.test(name) && typeof value === "string" ? parseDay(value) : undefined;
    if (day !== undefined) {
      result[`${name}String`] = wireDateString(day);
      result[name] = wireDate(day);
    } else if (Array.isArray(value)) {
      result[name] = value.map((item: unknown) => (isObject(item) ? echoed(item) : item));
    } else {
      result[name] = isObject(value) ? echoed(value) : value;
    }
  }
  return result;
}

function pascal(key: string): string {
  return key.charAt(0).toUpperCase() + key.slice(1);
}
