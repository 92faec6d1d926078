/** Writing many rows of one table with one statement, each with values of its own. */
import { type EntityTarget } from "typeorm";
import { type WorkspaceTransaction } from "../database.js";
import { type WorkspaceRecord } from "../entities/columns.js";
import { groupBy } from "./loading.js";

/**
 * Sets what each patch names in the workspace's row of that id, and leaves the rest alone: one statement per set of columns, however many
 * rows. A row that is not there is passed over.
 */
export async function patchAll<T extends WorkspaceRecord>(
  tx: WorkspaceTransaction,
  entity: EntityTarget<T>,
  patches: ({ id: string } & Partial<Omit<T, "id">>)[],
): Promise<void> {
  const { tableName, columns } = tx.manager.dataSource.getMetadata(entity);
  const rows = patches.map((patch) =>
    columns.flatMap((column) => {
      const value: unknown = patch[column.propertyName as keyof typeof patch];
      return value === undefined ? [] : [{ column, value }];
    }),
  );
  const shapeOf = (row: (typeof rows)[number]): string => row.map(({ column }) => column.databaseName).join();
  for (const alike of groupBy(rows, shapeOf).values()) {
    const shape = (alike[0] ?? []).map(({ column }) => column);
    const set = shape.filter(({ databaseName }) => databaseName !== "id").map(({ databaseName: n }) => `${n} = p.${n}`);
    if (set.length === 0) continue;
    const typed = shape.map(
      ({ databaseName, type, isArray }) => `${databaseName} ${String(type)}${isArray ? "[]" : ""}`,
    );
    const values = alike.map((row) => Object.fromEntries(row.map(({ column, value }) => [column.databaseName, value])));
    await tx.manager.query(
      `UPDATE ${tableName} t SET ${set.join(", ")} FROM jsonb_to_recordset($2::jsonb) AS p(${typed.join(", ")})
       WHERE t.workspace_id = $1 AND t.id = p.id`,
      [tx.workspaceId, JSON.stringify(values)],
    );
  }
}
