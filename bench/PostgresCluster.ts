/**
 * A PostgreSQL of one's own in a temporary folder: nobody else's data is near, so it may be stopped as roughly as a power cut would, and
 * nothing is left of it afterwards. Listens on loopback only and lets everybody on this machine in. A server of the superuser root is refused
 * by PostgreSQL, so root runs it as the user `postgres`.
 */
import { execFile, execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { chown, mkdtemp, rm } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";

const run = promisify(execFile);

/** No PostgreSQL is installed here; the message says what to do. */
export class NoPostgres extends Error {}

interface Account {
  uid?: number;
  gid?: number;
}

export class PostgresCluster {
  private constructor(
    private readonly folder: string,
    private readonly binaries: string,
    private readonly account: Account,
    private readonly port: number,
  ) {}

  /** A running server with the database `ledgerline`, owned by a login that is no superuser. Throws NoPostgres where there are no binaries. */
  static async start(): Promise<PostgresCluster> {
    const binaries = findBinaries();
    const account = serverAccount();
    const folder = await mkdtemp(join(tmpdir(), "ledgerline-bench-"));
    const cluster = new PostgresCluster(folder, binaries, account, await freePort());
    try {
      if (account.uid !== undefined) await chown(folder, account.uid, account.gid ?? account.uid);
      await cluster.command("initdb", ["-D", cluster.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]);
      await cluster.control(["-w", "start"]);
      await cluster.prepare();
    } catch (error) {
      await cluster.remove();
      throw error;
    }
    return cluster;
  }

  get url(): string {
    return `postgres://ledgerline@127.0.0.1:${this.port}/ledgerline`;
  }

  /** Stops it as a power cut would, with every transaction in hand lost, and starts it again. */
  async restartAtOnce(): Promise<void> {
    await this.control(["-w", "-m", "immediate", "restart"]);
  }

  async remove(): Promise<void> {
    if (existsSync(join(this.data, "postmaster.pid"))) await this.control(["-w", "-m", "immediate", "stop"]);
    await rm(this.folder, { recursive: true, force: true });
  }

  private get data(): string {
    return join(this.folder, "data");
  }

  private async prepare(): Promise<void> {
    const client = new pg.Client({ host: "127.0.0.1", port: this.port, user: "postgres", database: "postgres" });
    await client.connect();
    try {
      await client.query("CREATE ROLE ledgerline LOGIN NOSUPERUSER NOBYPASSRLS CREATEROLE");
      await client.query("CREATE DATABASE ledgerline OWNER ledgerline");
    } finally {
      await client.end();
    }
  }

  private async control(order: string[]): Promise<void> {
    const settings = `-p ${this.port} -c listen_addresses=127.0.0.1 -c max_connections=300 -k ${this.folder}`;
    await this.command("pg_ctl", ["-D", this.data, "-l", join(this.folder, "log"), "-o", settings, ...order]);
  }

  private async command(name: string, parameters: string[]): Promise<void> {
    // Not to the server's own output, which would stay open as long as it runs.
    await run(join(this.binaries, name), parameters, { cwd: this.folder, ...this.account, timeout: 60_000 });
  }
}

function findBinaries(): string {
  const debian = "/usr/lib/postgresql";
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const candidates = [...configured(), ...versions.map((version) => join(debian, version, "bin"))];
  const found = candidates.find((folder) => existsSync(join(folder, "initdb")) && existsSync(join(folder, "pg_ctl")));
  if (found !== undefined) return found;
  throw new NoPostgres(
    "This needs PostgreSQL 15 or later on this machine (its programs initdb and pg_ctl), and found none: neither `pg_config --bindir` " +
      `nor ${debian} has them. On Debian: apt-get install postgresql.`,
  );
}

function configured(): string[] {
  try {
    return [execFileSync("pg_config", ["--bindir"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim()];
  } catch {
    return [];
  }
}

function serverAccount(): Account {
  if (process.getuid?.() !== 0) return {};
  const id = (option: string) => Number(execFileSync("id", [option, "postgres"], { encoding: "utf8" }));
  return { uid: id("-u"), gid: id("-g") };
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((listening) => probe.listen(0, "127.0.0.1", listening));
  const { port } = probe.address() as AddressInfo;
  await new Promise((closed) => probe.close(closed));
  return port;
}
