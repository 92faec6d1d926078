/**
 * Owns what every list of Xero has in common: where, order, If-Modified-Since, paging and the envelope. Leaves which
 * records a list has, its other filters and how records look to the module of each record.
 *
 * Source: docs/xero-facts.md section 5: pages from 1, 100 by default, at most 1,000, silently clamped; `pagination` in
 * lower case and on paged lists only; If-Modified-Since at second accuracy.
 */
import { randomUUID } from "node:crypto";
import { header, json, type Call, type Json, type Reply } from "../http.js";
import { queryParse, Refusal } from "../refusals.js";
import type { World } from "../World.js";
import { wireBareInstant } from "../wire.js";
import { compileWhere, type FieldTable, type Value } from "./where.js";

interface Page<T> {
  readonly items: readonly T[];
  readonly paged: boolean;
  readonly pagination?: Json;
}

interface ListRules<T> {
  readonly fields: FieldTable<T>;
  /** When not paged, all of it goes out at once. */
  readonly canPage: boolean;
  readonly updatedAt?: (record: T) => number;
  readonly inclusive: boolean;
  /** Breaks ties, so that pages neither repeat nor lose a record. */
  readonly id: (record: T) => string;
}

/** The part of the records that the call asks for. */
export function selected<T>(call: Call, records: Iterable<T>, rules: ListRules<T>): Page<T> {
  const where = call.query.get("where");
  const test = where === null || where.trim() === "" ? undefined : compileWhere(where, rules.fields);
  const since = modifiedSince(call);
  const { updatedAt } = rules;
  const items: T[] = [];
  for (const record of records) {
    if (since !== undefined && updatedAt) {
      const second = Math.floor(updatedAt(record) / 1000) * 1000;
      if (rules.inclusive ? second < since : second <= since) continue;
    }
    if (!test || test(record)) items.push(record);
  }
  items.sort(comparer(call, rules));
  const forced = call.query.get("summaryOnly")?.toLowerCase() === "true";
  const paged = rules.canPage && (forced || call.query.has("page") || call.query.has("pageSize"));
  if (!paged) return { items, paged };
  const page = clamped(call.query.get("page"), 1, Number.MAX_SAFE_INTEGER, 1);
  const pageSize = clamped(call.query.get("pageSize"), 1, 1000, 100);
  const pageCount = Math.ceil(items.length / pageSize);
  return {
    items: items.slice((page - 1) * pageSize, page * pageSize),
    paged,
    pagination: { page, pageSize, pageCount, itemCount: items.length },
  };
}

/** Xero's answer around a list of anything. */
export function envelope(world: World, plural: string, items: readonly unknown[], pagination?: Json): Reply {
  return json(200, {
    Id: randomUUID(),
    Status: "OK",
    ProviderName: world.app.name,
    DateTimeUTC: wireBareInstant(world.clock.now()),
    ...(pagination === undefined ? {} : { pagination }),
    [plural]: items,
  });
}

/** A comma list of the query, lower case, or undefined where it was not given. */
export function commaList(call: Call, name: string): ReadonlySet<string> | undefined {
  const text = call.query.get(name);
  if (text === null || text === "") return undefined;
  return new Set(text.split(",").map((item) => item.trim().toLowerCase()));
}

/** Whether a yes-or-no of the query is yes. */
export function asksFor(call: Call, name: string): boolean {
  return call.query.get(name)?.toLowerCase() === "true";
}

function modifiedSince(call: Call): number | undefined {
  const text = header(call, "if-modified-since");
  if (text === undefined) return undefined;
  const zoned = /[zZ]|GMT|[+-]\d\d:?\d\d$/.test(text) ? text : `${text}Z`;
  const ms = Date.parse(zoned);
  if (Number.isNaN(ms)) throw new Refusal({ status: 412 });
  return Math.floor(ms / 1000) * 1000;
}

function comparer<T>(call: Call, rules: ListRules<T>): (left: T, right: T) => number {
  const text = call.query.get("order") ?? "";
  const keys = text.trim() === "" ? [] : text.split(",").map((part) => orderKey(part, rules.fields));
  const { updatedAt } = rules;
  return (left, right) => {
    for (const { of, sign } of keys) {
      const difference = compare(of(left), of(right)) * sign;
      if (difference !== 0) return difference;
    }
    const byTime = keys.length === 0 && updatedAt ? updatedAt(left) - updatedAt(right) : 0;
    if (byTime !== 0) return byTime;
    return rules.id(left) < rules.id(right) ? -1 : 1;
  };
}

function orderKey<T>(part: string, fields: FieldTable<T>): { of: (record: T) => Value; sign: number } {
  const [path = "", direction = "ASC", ...rest] = part.trim().split(/\s+/);
  const field = Object.hasOwn(fields, path) ? fields[path] : undefined;
  const sign = { ASC: 1, DESC: -1 }[direction.toUpperCase()];
  if (!field || sign === undefined || rest.length > 0) {
    throw new Refusal(queryParse(`No property or field '${path}' exists to order by`));
  }
  return { of: field.of, sign };
}

function compare(left: Value, right: Value): number {
  if (left === right) return 0;
  if (left === undefined) return -1;
  if (right === undefined) return 1;
  if (typeof left === "string" && typeof right === "string")
    return left.localeCompare(right, "en", { sensitivity: "base" });
  return left < right ? -1 : 1;
}

function clamped(text: string | null, least: number, most: number, otherwise: number): number {
  const number = text === null || text === "" ? otherwise : Number(text);
  return Number.isFinite(number) ? Math.min(most, Math.max(least, Math.trunc(number))) : otherwise;
}
