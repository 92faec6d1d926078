/**
 * Holds the migrations against the entities, on an embedded database and, when DATABASE_URL is set, on PostgreSQL too (in a
 * database of its own, made and dropped here): all the way up there must be nothing left that TypeORM would change, all the way
 * down nothing left of ours, and up again must work.
 */
import { randomBytes } from "node:crypto";
import pg from "pg";
import { type DataSource } from "typeorm";
import { openDatabase } from "../src/database.js";
import { startEmbedded } from "../src/embedded.js";
import { createLogger } from "../src/logger.js";

const remedy =
  'Change the entity, or the newest migration that is not released yet, or add one; then "npm run migrations:check".';

/** The job queue brings its own tables and migrations; the list of ours that ran is TypeORM's. */
const notOurs = ["graphile_worker", "schema_migration"];

async function problemsOn(url: string, embedded: boolean, appRole: string): Promise<string[]> {
  const database = await openDatabase({ url, embedded, appRole, logger: createLogger("warn") });
  const { source } = database;
  try {
    const before = await objectsIn(source);
    await database.migrate();
    const { upQueries } = await source.driver.createSchemaBuilder().log();
    if (upQueries.length > 0) {
      return ["The entities want what no migration makes:", ...upQueries.map(({ query }) => `  ${query}`)];
    }
    for (let downs = source.migrations.length; downs > 0; downs -= 1)
      await source.undoLastMigration({ transaction: "each" });
    const left = (await objectsIn(source)).filter((object) => !before.includes(object));
    if (left.length > 0) return ["Migrated down, this is left:", ...left.map((object) => `  ${object}`)];
    await database.migrate();
    return [];
  } finally {
    await database.close();
  }
}

/** Tables, views, sequences, types, functions, policies and triggers outside PostgreSQL's own schemas. */
async function objectsIn(source: DataSource): Promise<string[]> {
  const rows = await source.query<{ schema: string; name: string }[]>(`
    SELECT * FROM (
      SELECT nspname AS schema, relkind::text || ' ' || relname AS name
        FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
      UNION ALL SELECT nspname, 'type ' || typname FROM pg_type JOIN pg_namespace n ON n.oid = typnamespace
      UNION ALL SELECT nspname, 'function ' || proname FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace
      UNION ALL SELECT nspname, 'schema' FROM pg_namespace
    ) objects WHERE schema <> 'information_schema' AND schema !~ '^pg_' ORDER BY 1, 2
  `);
  return rows
    .map(({ schema, name }) => `${schema}: ${name}`)
    .filter((object) => !notOurs.some((word) => object.includes(word)));
}

async function onEmbedded(): Promise<string[]> {
  const embedded = await startEmbedded({});
  try {
    return await problemsOn(embedded.url, true, "ledgerline_app");
  } finally {
    await embedded.close();
  }
}

async function onPostgres(serverUrl: string): Promise<string[]> {
  const name = `ledgerline_drift_${randomBytes(5).toString("hex")}`;
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  const client = new pg.Client(serverUrl);
  await client.connect();
  try {
    await client.query(`CREATE DATABASE ${name}`);
    return await problemsOn(url.href, false, `${name}_app`);
  } finally {
    await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    await client.query(`DROP ROLE IF EXISTS ${name}_app`);
    await client.end();
  }
}

async function reportOn(where: string, check: () => Promise<string[]>): Promise<void> {
  const problems = await check().catch((error: unknown) => [
    error instanceof Error ? (error.stack ?? error.message) : String(error),
  ]);
  console.log(`migrations on ${where}: ${problems.length === 0 ? "up, no drift, down, up" : "FAILED"}`);
  if (problems.length === 0) return;
  console.error([...problems, remedy].join("\n"));
  process.exitCode = 1;
}

await reportOn("the embedded database", onEmbedded);
const serverUrl = process.env.DATABASE_URL;
if (serverUrl) await reportOn("PostgreSQL", () => onPostgres(serverUrl));
