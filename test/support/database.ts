/**
 * Gives each test file a migrated database of its own, as a copy of the run's template (templateKeeper.ts makes it and clears up
 * after tests that crashed).
 */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import pg from "pg";
import { startEmbedded } from "../../src/embedded.js";

/** Where copies are made from; travels from the keeper to the tests as JSON. */
export type Template =
  | { kind: "embedded"; snapshotFile: string; appRole: string }
  | { kind: "postgres"; serverUrl: string; run: string; database: string; appRole: string };

export interface FreshDatabase {
  url: string;
  embedded: boolean;
  /** The unprivileged role that the template was migrated with: hand it to `openDatabase` and to the app. */
  appRole: string;
  drop(): Promise<void>;
}

/** Makes a database that nobody else uses: all tables, no rows. On PostgreSQL when DATABASE_URL is set, else embedded. */
export async function freshDatabase(): Promise<FreshDatabase> {
  const template = readTemplate();
  const { appRole } = template;
  if (template.kind === "embedded") {
    const database = await startEmbedded({ snapshot: await readFile(template.snapshotFile) });
    return { url: database.url, embedded: true, appRole, drop: () => database.close() };
  }
  const { serverUrl, run, database } = template;
  const name = `${run}_${randomBytes(6).toString("hex")}`;
  await onServer(serverUrl, `CREATE DATABASE ${name} TEMPLATE ${database}`);
  return {
    url: withDatabase(serverUrl, name),
    embedded: false,
    appRole,
    drop: () => onServer(serverUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`),
  };
}

/** The same server and login, another database. */
export function withDatabase(serverUrl: string, database: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${database}`;
  return url.href;
}

function readTemplate(): Template {
  const template = process.env.TEST_DATABASE_TEMPLATE;
  if (template === undefined) throw new Error("No test database template: start tests by `npm test`.");
  return JSON.parse(template) as Template;
}

async function onServer(serverUrl: string, statement: string): Promise<void> {
  const client = new pg.Client(serverUrl);
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
