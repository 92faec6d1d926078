/** What calls are put together from, and the failures of those that can't be. */
import { XeroFailure } from "./XeroFailure.js";

// Encoded; with the rest of the address and other parameters it stays below 4 KB.
const maxWhereLength = 3500;
const maxAlternatives = 50;

/** Nothing was sent, and why. */
export function notSent(operation: string, why: string): XeroFailure {
  return new XeroFailure({ kind: "REJECTED", operation, problem: `not sent: ${why}` });
}

/** An answer of a write that leaves out something that was written. */
export function incomplete(operation: string): XeroFailure {
  return new XeroFailure({ kind: "UNCERTAIN", operation, status: 200, problem: "not the expected answer" });
}

/** The items in parts of at most so many. */
export function chunks<Item>(items: Item[], size: number): Item[][] {
  const parts: Item[][] = [];
  for (let start = 0; start < items.length; start += size) parts.push(items.slice(start, start + size));
  return parts;
}

/** The conditions joined by OR, in as few filters as keep an address short. */
export function alternatives(conditions: string[]): string[] {
  const filters: string[][] = [];
  let length = Infinity;
  for (const condition of conditions) {
    length += encodeURIComponent(` OR ${condition}`).length;
    const last = filters.at(-1);
    if (last !== undefined && last.length < maxAlternatives && length <= maxWhereLength) {
      last.push(condition);
    } else {
      filters.push([condition]);
      length = encodeURIComponent(condition).length;
    }
  }
  return filters.map((filter) => filter.join(" OR "));
}
