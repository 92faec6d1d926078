/**
 * Asks the database for those who watch over the service, probes and scrapes, on connections of its own: so they are answered soon whatever the
 * service itself waits for, and take nothing from it. It runs as the owner of the tables and sees all workspaces, so it is for counting and for
 * nothing else; a rule in .dependency-cruiser.cjs lists who has it.
 *
 * A connection that does not answer in time is thrown away and not waited for: one that hangs would hide that the database is back.
 */
import { Pool, type QueryConfig } from "pg";

/** One for probes and one for scrapes, each of which asks one thing after the other. */
const connections = 2;

/** Longer than scrapes are apart, so that each finds a connection open. */
const idleMs = 60_000;

const connectWithinMs = 800;

/** What was given up here ends there too, lest monitoring add to what weighs on the database. */
const endAtServerMs = 5_000;

export class Watcher {
  private readonly pool: Pool;

  constructor({ url, embedded }: { url: string; embedded: boolean }) {
    this.pool = new Pool({
      connectionString: url,
      application_name: "ledgerline-watcher",
      max: connections,
      idleTimeoutMillis: idleMs,
      connectionTimeoutMillis: connectWithinMs,
    });
    // Whoever asks next is told, and one that broke while idle is nobody's trouble.
    this.pool.on("error", () => undefined);
    this.pool.on("connect", (client) => {
      client.on("error", () => undefined);
      // The embedded database has one session for all, so a setting would be everyone's.
      if (!embedded) client.query(`SET statement_timeout = ${endAtServerMs}`).catch(() => undefined);
    });
  }

  /** The rows of one statement. Throws within a second of the time given, whatever the database does. */
  async ask<Row extends object>(statement: string, values: unknown[], withinMs: number): Promise<Row[]> {
    const query: QueryConfig & { query_timeout: number } = { text: statement, values, query_timeout: withinMs };
    return (await this.pool.query<Row>(query)).rows;
  }

  async close(): Promise<void> {
    await this.pool.end();
  }
}
