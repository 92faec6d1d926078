/**
 * Owns how Xero writes and reads single values: dates, instants, decimals, ids. Leaves the shape of records to the
 * modules that render them.
 *
 * Source: docs/xero-facts.md section 5. Calendar dates go out as midnight UTC with "+0000", instants of DateTimeUTC
 * without it; dates come in as YYYY-MM-DD, as an ISO date-time or as /Date(...)/.
 */
import Big from "big.js";

export const zeroId = "00000000-0000-0000-0000-000000000000";

/** "/Date(1789344000000+0000)/": for dates and UpdatedDateUTC. */
export function wireInstant(ms: number): string {
  return `/Date(${ms}+0000)/`;
}

/** "/Date(1789378199160)/", without an offset: DateTimeUTC and history. */
export function wireBareInstant(ms: number): string {
  return `/Date(${ms})/`;
}

/** "2026-09-14T09:29:59Z": second accuracy. */
export function wireInstantString(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

/** A calendar date as midnight UTC. */
export function wireDate(day: string): string {
  return wireInstant(dayToMs(day));
}

/** "2026-09-14T00:00:00". */
export function wireDateString(day: string): string {
  return `${day}T00:00:00`;
}

/** Midnight UTC of a calendar date. */
export function dayToMs(day: string): number {
  return Date.parse(`${day}T00:00:00Z`);
}

/** The UTC date of an instant. */
export function msToDay(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

/** DD/MM/YYYY, as Xero's messages write a lock date. */
export function spokenDay(day: string): string {
  return day.split("-").reverse().join("/");
}

/** The calendar date in any form that Xero takes, or undefined where it is none. */
export function parseDay(text: string): string | undefined {
  const wire = /^\/Date\((-?\d+)(?:[+-]\d{4})?\)\/$/.exec(text);
  if (wire) return msToDay(Number(wire[1]));
  const iso = /^(\d{4}-\d{2}-\d{2})(?:T.*)?$/.exec(text);
  const day = iso?.[1];
  if (day === undefined) return undefined;
  const ms = dayToMs(day);
  return Number.isNaN(ms) || msToDay(ms) !== day ? undefined : day;
}

/** Half up at two places, away from zero, as Xero rounds money. */
export function round2(value: Big): Big {
  return value.round(2, Big.roundHalfUp);
}

/** Half up at four places. */
export function round4(value: Big): Big {
  return value.round(4, Big.roundHalfUp);
}

/** Whether the text is a GUID. */
export function isId(text: string): boolean {
  return /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text);
}
