/**
 * Runs a command with DATABASE_URL set to a new, empty database on the PostgreSQL of this machine, and clears up after it:
 * `npm run on-postgres -- npm test`. Its login may do no more than the runtime contract asks of an operator's (as a superuser,
 * row-level security would be tested against nothing), plus make databases and roles, which the tests need.
 *
 * Needs the server at 127.0.0.1:5432 to let `postgres` in without a password; where it does not, prints so, runs nothing and
 * exits with 0.
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import pg from "pg";

const server = { host: "127.0.0.1", port: 5432, user: "postgres", database: "postgres" };

/** Also the application_name of the run's own connection, by which others see that it lives. */
const name = `ledgerline_run_${randomBytes(5).toString("hex")}`;

async function connect(): Promise<pg.Client | null> {
  const client = new pg.Client({ ...server, application_name: name, connectionTimeoutMillis: 5_000 });
  try {
    await client.connect();
    return client;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    console.log(`PostgreSQL: skipped, none at ${server.host}:${server.port} lets "${server.user}" in (${reason}).`);
    return null;
  }
}

async function dropDeadRuns(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ rolname: string }>(`
    SELECT rolname FROM pg_roles
    WHERE rolname ~ '^ledgerline_run_[0-9a-f]{10}$' AND rolname NOT IN (SELECT application_name FROM pg_stat_activity)
  `);
  for (const { rolname } of rows) await dropRun(client, rolname);
}

async function dropRun(client: pg.Client, role: string): Promise<void> {
  const { rows } = await client.query<{ datname: string }>(
    "SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = $1",
    [role],
  );
  for (const { datname } of rows) await client.query(`DROP DATABASE IF EXISTS ${datname} WITH (FORCE)`);
  await client.query(`DROP ROLE IF EXISTS ${role}`);
}

async function run(command: string[], databaseUrl: string): Promise<number> {
  const child = spawn(command.join(" "), {
    shell: true,
    stdio: "inherit",
    env: { ...process.env, DATABASE_URL: databaseUrl },
  });
  return new Promise((resolve) => child.once("close", (code) => resolve(code ?? 1)));
}

const command = process.argv.slice(2);
if (command.length === 0) {
  console.error("Say what to run: npm run on-postgres -- npm test");
  process.exit(2);
}
// The command gets these too and ends by them; this process stays to clear up.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => undefined);

const client = await connect();
if (client) {
  try {
    await dropDeadRuns(client);
    const password = randomBytes(16).toString("hex");
    await client.query(`CREATE ROLE ${name} LOGIN PASSWORD '${password}' NOSUPERUSER NOBYPASSRLS CREATEDB CREATEROLE`);
    await client.query(`CREATE DATABASE ${name} OWNER ${name}`);
    process.exitCode = await run(command, `postgres://${name}:${password}@${server.host}:${server.port}/${name}`);
  } finally {
    await dropRun(client, name);
    await client.end();
  }
}
