/**
 * Owns the single values of Xero's JSON: dates, decimals and the strings inside a `where` filter. Xero writes a date as
 * `/Date(1789344000000+0000)/` (the number is UTC; the offset changes nothing), as `/Date(1789378199160)/`, or as ISO text
 * without a zone that means UTC, with up to seven fraction digits:
 * https://developer.xero.com/documentation/api/accounting/requests-and-responses
 */
import { Big } from "big.js";

/** The instant that Xero's text names, or undefined where it names none. ISO text without a zone is UTC. */
export function instant(value: unknown): Date | undefined {
  if (typeof value !== "string") return undefined;
  const milliseconds = /^\/Date\((-?\d+)(?:[+-]\d{4})?\)\/$/.exec(value)?.[1];
  if (milliseconds !== undefined) return validDate(new Date(Number(milliseconds)));
  if (!/^\d{4}-\d{2}-\d{2}/.test(value)) return undefined;
  const hasTime = value.includes("T");
  const hasZone = /(?:Z|[+-]\d{2}:?\d{2})$/i.test(value);
  return validDate(new Date(hasTime && !hasZone ? `${value}Z` : value));
}

/** The calendar day, "YYYY-MM-DD", of a date that Xero gives as midnight UTC, or undefined where it gives none. */
export function calendarDate(value: unknown): string | undefined {
  return instant(value)?.toISOString().slice(0, 10);
}

/**
 * The amount as plain decimal text, or undefined where it is none. JSON.parse made it a double, whose shortest text is
 * what Xero wrote as long as that had at most 15 significant digits; Xero's own limits (10 digits before the point, 4
 * after it) keep to 14.
 */
export function decimalText(value: number | string): string | undefined {
  try {
    const amount = new Big(value);
    return amount.eq(0) ? "0" : amount.toFixed();
  } catch {
    return undefined;
  }
}

/**
 * The text as a string of a `where` filter. Only a doubled quote is understood inside one; a backslash before it is a
 * 400 (probed on a live organisation).
 */
export function quoted(text: string): string {
  // Half a surrogate pair cannot be percent-encoded, and cannot be at Xero either.
  return `"${text.replaceAll('"', '""').replace(/\p{Surrogate}/gu, "\uFFFD")}"`;
}

function validDate(date: Date): Date | undefined {
  return Number.isNaN(date.getTime()) ? undefined : date;
}
