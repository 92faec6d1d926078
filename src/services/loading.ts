/** How services find records by the ids that clients gave, and put together what belongs together. */
import { type EntityTarget, type FindOptionsWhere } from "typeorm";
import { type WorkspaceTransaction } from "../database.js";
import { type WorkspaceRecord } from "../entities/columns.js";
import { badInput, notFound } from "../errors.js";

const uuid = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;

/** Whether the text could be one of our ids, or Xero's; anything else can't be found and must not reach a uuid column. */
export function isId(text: string): boolean {
  return uuid.test(text);
}

/** The id that a client sent as `field`, as it is kept. Throws BAD_USER_INPUT for what can't be one. */
export function checkId(id: string, field: string): string {
  if (!isId(id)) throw badInput({ field, reason: "is no id" });
  return id.toLowerCase();
}

/** The record whose id a client sent as `field`. Throws BAD_USER_INPUT for what can't be an id, NOT_FOUND when the workspace has none. */
export async function load<T extends WorkspaceRecord>(
  tx: WorkspaceTransaction,
  entity: EntityTarget<T>,
  id: string,
  { thing, field, lock = false }: { thing: string; field: string; lock?: boolean },
): Promise<T> {
  const found = await find(tx, entity, checkId(id, field), { lock });
  if (!found) throw notFound(thing);
  return found;
}

/** The record with this id, or null; with `lock`, held until the transaction ends, against changes (`"share"`) or for one. */
export async function find<T extends WorkspaceRecord>(
  tx: WorkspaceTransaction,
  entity: EntityTarget<T>,
  id: string,
  { lock = false }: { lock?: boolean | "share" } = {},
): Promise<T | null> {
  if (!isId(id)) return null;
  const where = { workspaceId: tx.workspaceId, id } as FindOptionsWhere<T>;
  return tx.manager.findOne(
    entity,
    lock ? { where, lock: { mode: lock === "share" ? "pessimistic_read" : "pessimistic_write" } } : { where },
  );
}

/** The rows by their key, in the order in which they came; a key without rows is absent. */
export function groupBy<T>(rows: Iterable<T>, keyOf: (row: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const row of rows) {
    const group = groups.get(keyOf(row));
    if (group) group.push(row);
    else groups.set(keyOf(row), [row]);
  }
  return groups;
}
