/**
 * Makes the migrated template that every test file's database is a copy of, tells the Jest run that started it where it is, and
 * cleans up when that run ends, however it ends: the channel closes for a killed parent too.
 *
 * Embedded: a snapshot file in a folder of the run. PostgreSQL: a template database and a role of the run, named after it. While
 * the run lasts its name is this connection's application_name, which is how other runs see that it lives; what bears the name of
 * a run that does not live any more is dropped first. The login needs CREATEDB and CREATEROLE, no more.
 */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { pino } from "pino";
import { openDatabase } from "../../src/database.js";
import { startEmbedded } from "../../src/embedded.js";
import { type Template, withDatabase } from "./database.js";

type CleanUp = () => Promise<void>;

async function migrate(url: string, embedded: boolean, appRole: string): Promise<void> {
  const database = await openDatabase({ url, embedded, appRole, logger: pino({ level: "warn" }) });
  try {
    await database.migrate();
  } finally {
    await database.close();
  }
}

async function makeSnapshot(): Promise<[Template, CleanUp]> {
  const folder = await mkdtemp(join(tmpdir(), "ledgerline-test-"));
  const snapshotFile = join(folder, "template.tar");
  const appRole = "ledgerline_app";
  const embedded = await startEmbedded({});
  await migrate(embedded.url, true, appRole);
  await writeFile(snapshotFile, await embedded.snapshot());
  await embedded.close();
  return [{ kind: "embedded", snapshotFile, appRole }, () => rm(folder, { recursive: true, force: true })];
}

async function makeTemplateDatabase(serverUrl: string): Promise<[Template, CleanUp]> {
  const run = `ledgerline_test_${randomBytes(5).toString("hex")}`;
  const template: Template = { kind: "postgres", serverUrl, run, database: `${run}_template`, appRole: `${run}_app` };
  const client = new pg.Client({ connectionString: serverUrl, application_name: run });
  await client.connect();
  await dropDeadRuns(client);
  const cleanUp = async (): Promise<void> => {
    await dropRun(client, run);
    await client.end();
  };
  try {
    await client.query(`CREATE DATABASE ${template.database}`);
    await migrate(withDatabase(serverUrl, template.database), false, template.appRole);
  } catch (error) {
    await cleanUp();
    throw error;
  }
  return [template, cleanUp];
}

async function dropDeadRuns(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ run: string }>(`
    SELECT DISTINCT substring(name FROM '^ledgerline_test_[0-9a-f]{10}') AS run
    FROM (
      SELECT datname AS name FROM pg_database WHERE pg_get_userbyid(datdba) = current_user
      UNION ALL SELECT rolname FROM pg_roles WHERE pg_has_role(current_user, oid, 'MEMBER')
    ) named
    WHERE name ~ '^ledgerline_test_[0-9a-f]{10}_'
      AND substring(name FROM '^ledgerline_test_[0-9a-f]{10}') NOT IN (SELECT application_name FROM pg_stat_activity)
  `);
  for (const { run } of rows) await dropRun(client, run);
}

async function dropRun(client: pg.Client, run: string): Promise<void> {
  const { rows } = await client.query<{ datname: string }>("SELECT datname FROM pg_database WHERE datname LIKE $1", [
    `${run}\\_%`,
  ]);
  for (const { datname } of rows) await client.query(`DROP DATABASE IF EXISTS ${datname} WITH (FORCE)`);
  await client.query(`DROP ROLE IF EXISTS ${run}_app`);
}

// Ctrl-C reaches the whole process group. Jest ends by it; this process ends when Jest has, and cleans up first.
process.on("SIGINT", () => undefined);

const serverUrl = process.env.DATABASE_URL;
const [template, cleanUp] = serverUrl ? await makeTemplateDatabase(serverUrl) : await makeSnapshot();
process.once("disconnect", () => {
  cleanUp().catch((error: unknown) => {
    process.stderr.write(`Test databases were left behind; the next run drops them. ${String(error)}\n`);
    process.exitCode = 1;
  });
});
if (!process.connected) await cleanUp();
else process.send?.(template);
