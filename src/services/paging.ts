/**
 * Keyset pages: a cursor says after which row to go on, by the values the list is ordered by, so that a page costs the same however deep it
 * is and rows that come or go meanwhile neither repeat nor hide others. An offset would do neither.
 */
import { type ObjectLiteral, type SelectQueryBuilder } from "typeorm";
import { type Database, type WorkspaceTransaction } from "../database.js";
import { badInput } from "../errors.js";
import { type Viewer } from "../viewer.js";

export interface PageRequest {
  first: number;
  after?: string | null;
}

export interface Edge<T> {
  cursor: string;
  node: T;
}

/** One page of a list. `count` counts the whole list, and only when it is asked to. */
export interface Page<T> {
  nodes: T[];
  edges: Edge<T>[];
  pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean; startCursor: string | null; endCursor: string | null };
  count: () => Promise<number>;
}

type KeyType = "date" | "timestamptz" | "text" | "uuid";

/** What a list is ordered by, all in one direction; the last key must make the order total. */
export interface ListOrder<T> {
  name: string;
  direction: "ASC" | "DESC";
  keys: { property: keyof T & string; column: string; type: KeyType }[];
}

const valid: Record<KeyType, RegExp> = {
  date: /^\d{4}-\d{2}-\d{2}$/,
  timestamptz: /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/,
  text: /^[^\0]*$/u,
  uuid: /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/,
};

/** The cursor of a row in a list of this order; opaque to clients. */
export function cursorOf<T>(row: T, order: ListOrder<T>): string {
  const values = order.keys.map(({ property }) => {
    const value: unknown = row[property];
    return value instanceof Date ? value.toISOString() : value;
  });
  return Buffer.from(JSON.stringify([order.name, ...values])).toString("base64url");
}

function isValid(value: unknown, type: KeyType): value is string {
  if (typeof value !== "string" || !valid[type].test(value)) return false;
  if (type !== "date" && type !== "timestamptz") return true;
  const instant = new Date(type === "date" ? `${value}T00:00:00.000Z` : value);
  // JavaScript takes 30 February for 2 March, and has a year 0; PostgreSQL refuses both.
  return !Number.isNaN(instant.getTime()) && instant.toISOString().startsWith(value) && !value.startsWith("0000");
}

/** The key values in a cursor. Throws BAD_USER_INPUT for a cursor that is malformed or of a list in another order. */
export function readCursor<T>(cursor: string, order: ListOrder<T>): string[] {
  try {
    const [name, ...values] = JSON.parse(Buffer.from(cursor, "base64url").toString("utf8")) as unknown[];
    if (name === order.name && values.length === order.keys.length) {
      const keys = values.filter((value, index) => isValid(value, order.keys[index]?.type ?? "text"));
      if (keys.length === order.keys.length) return keys;
    }
  } catch {
    // Falls through to the one answer for every kind of bad cursor.
  }
  throw badInput({
    field: "after",
    reason: "is no cursor of this list in this order; use pageInfo.endCursor of the page before",
  });
}

/** Checks the page size. Throws BAD_USER_INPUT outside 1 to 100. */
export function checkFirst(first: number, field = "first"): void {
  if (!Number.isInteger(first) || first < 1 || first > 100)
    throw badInput({ field, reason: "must be between 1 and 100" });
}

/** Adds order, start and limit of the page to a query of one table, `alias`; one row more is read, to know whether there is a next page. */
export function seek<T extends ObjectLiteral>(
  query: SelectQueryBuilder<T>,
  order: ListOrder<T>,
  request: PageRequest,
): void {
  const { alias } = query;
  if (request.after != null) {
    const values = readCursor(request.after, order);
    const columns = order.keys.map(({ column }) => `${alias}.${column}`).join(", ");
    const parameters = order.keys.map(({ type }, index) => `:after${index}::${type}`).join(", ");
    query.andWhere(`(${columns}) ${order.direction === "ASC" ? ">" : "<"} (${parameters})`);
    query.setParameters(Object.fromEntries(values.map((value, index) => [`after${index}`, value])));
  }
  for (const { property } of order.keys) query.addOrderBy(`${alias}.${property}`, order.direction);
  query.limit(request.first + 1);
}

/** The page made of rows that were read with one more than asked for. */
export function pageOf<T>(rows: T[], order: ListOrder<T>, request: PageRequest, count: () => Promise<number>): Page<T> {
  const edges = rows.slice(0, request.first).map((node) => ({ cursor: cursorOf(node, order), node }));
  return {
    nodes: edges.map(({ node }) => node),
    edges,
    pageInfo: {
      hasNextPage: rows.length > request.first,
      hasPreviousPage: request.after != null,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
    count,
  };
}

/** One page of a list that is a query of one table. Throws BAD_USER_INPUT for a cursor that is none of this list. */
export async function readPage<T extends ObjectLiteral>(
  database: Database,
  { workspaceId }: Viewer,
  { order, request, query }: PagedList<T>,
): Promise<Page<T>> {
  const rows = await database.inWorkspace(workspaceId, (tx) => {
    const page = query(tx);
    seek(page, order, request);
    return page.getMany();
  });
  return pageOf(rows, order, request, () => database.inWorkspace(workspaceId, (tx) => query(tx).getCount()));
}

interface PagedList<T extends ObjectLiteral> {
  order: ListOrder<T>;
  request: PageRequest;
  query: (tx: WorkspaceTransaction) => SelectQueryBuilder<T>;
}
