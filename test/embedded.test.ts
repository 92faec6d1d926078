/**
 * What embedded.ts promises on top of PGlite: clients do not disturb each other although one session is underneath, a client that
 * leaves takes its open work with it, one process at a time has the folder, and nothing committed is lost by a kill.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { cp, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { type Embedded, startEmbedded } from "../src/embedded.js";

type Outcome = { url: string; error?: never } | { error: string; url?: never };

let folder: string;
const children: ChildProcess[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "embedded-"));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

afterEach(async () => {
  await Promise.all(children.splice(0).map(killed));
});

async function startElsewhere(dataDir: string): Promise<Outcome & { child: ChildProcess }> {
  const child = fork("test/support/embeddedHolder.ts", [dataDir], {
    execArgv: ["--import", "tsx"],
    env: { ...process.env, TMPDIR: folder }, // a killed process leaves its socket's folder behind
  });
  children.push(child);
  const [outcome] = (await once(child, "message")) as [Outcome];
  return { ...outcome, child };
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}

async function connected(url: string): Promise<pg.Client> {
  const client = new pg.Client(url);
  client.on("error", () => undefined); // being hung up on is what some tests are about
  await client.connect();
  return client;
}

describe("clients of one database", () => {
  let embedded: Embedded;
  let one: pg.Client;
  let two: pg.Client;

  beforeAll(async () => {
    embedded = await startEmbedded({});
    const setUp = await connected(embedded.url);
    await setUp.query("CREATE TABLE note (id int PRIMARY KEY, body text)");
    await setUp.end();
  });

  afterAll(() => embedded.close());

  test.each([["url"], ["connection"]] as const)("are let in by %s", async (how) => {
    const client = new pg.Client(how === "url" ? embedded.url : embedded.connection);
    await client.connect();
    expect((await client.query("SELECT $1::int + 1 AS sum", [1])).rows).toEqual([{ sum: 2 }]);
    await client.end();
  });

  test("get the answers to their own queries, however many ask at once", async () => {
    const pool = new pg.Pool({ connectionString: embedded.url, max: 30 });
    const numbers = Array.from({ length: 300 }, (_, i) => i);
    // Of two shapes, so that one client's values do not fit another's statement; and long, so that a query comes in pieces.
    const long = "x".repeat(300_000);
    const answers = await Promise.all(
      numbers.map(async (i) => {
        const statement = i % 2 ? "SELECT $1::int AS i" : "SELECT $1::int AS i, length($2::text)";
        const { rows } = await pool.query<{ i: number }>(statement, i % 2 ? [i] : [i, long]);
        return rows[0]?.i;
      }),
    );
    expect(answers).toEqual(numbers);
    await pool.end();
  });

  describe("with two of them", () => {
    beforeAll(async () => {
      one = await connected(embedded.url);
      two = await connected(embedded.url);
    });

    afterAll(() => Promise.all([one.end(), two.end()]));

    test("a transaction is seen by the other when it is committed, and not at all when rolled back", async () => {
      await one.query("BEGIN");
      await one.query("INSERT INTO note VALUES (1, 'committed')");
      const seen = two.query("SELECT body FROM note ORDER BY id");
      await one.query("COMMIT");
      expect((await seen).rows).toEqual([{ body: "committed" }]);

      await one.query("BEGIN");
      await one.query("INSERT INTO note VALUES (2, 'rolled back')");
      const after = two.query("SELECT body FROM note ORDER BY id");
      await one.query("ROLLBACK");
      expect((await after).rows).toEqual([{ body: "committed" }]);
    });

    test("an error ends the failed transaction only", async () => {
      await one.query("BEGIN");
      await expect(one.query("INSERT INTO note VALUES ($1, 'twice'), ($1, 'twice')", [9])).rejects.toMatchObject({
        code: "23505",
      });
      await expect(one.query("SELECT 1")).rejects.toMatchObject({ code: "25P02" });
      await one.query("ROLLBACK");
      expect((await two.query("SELECT count(*)::int AS n FROM note WHERE id = 9")).rows).toEqual([{ n: 0 }]);
    });
  });

  test.each([
    ["hangs up", (client: pg.Client) => client.end()],
    ["is cut off", cutOff],
  ])("one that %s inside a transaction is rolled back and holds up nobody", async (_, leave) => {
    const leaving = await connected(embedded.url);
    const staying = await connected(embedded.url);
    await leaving.query("BEGIN");
    await leaving.query("INSERT INTO note VALUES (3, 'left behind')");
    const waiting = staying.query("SELECT count(*)::int AS n FROM note WHERE id = 3");
    await leave(leaving);
    expect((await waiting).rows).toEqual([{ n: 0 }]);
    await staying.end();
  });

  test("one that leaves in the middle of a query holds up nobody", async () => {
    const { host, port } = embedded.connection;
    const socket = connect(host.startsWith("/") ? { path: `${host}/.s.PGSQL.${port}` } : { host, port });
    const parameters = Buffer.from("user\0postgres\0database\0postgres\0\0");
    const startup = Buffer.alloc(8);
    startup.writeInt32BE(parameters.length + 8, 0);
    startup.writeInt32BE(196_608, 4);
    socket.write(Buffer.concat([startup, parameters]));
    await once(socket, "data");
    // Parse of a faulty statement, then Flush for its error, but no Sync: PostgreSQL now skips all messages until one comes.
    const faulty = Buffer.from("\0SELEKT\0\0\0");
    const parse = Buffer.from([0x50, 0, 0, 0, faulty.length + 4]);
    socket.write(Buffer.concat([parse, faulty, Buffer.from([0x48, 0, 0, 0, 4])]));
    await once(socket, "data");
    const connecting = connected(embedded.url); // waits too: a client's start is a message like any other
    socket.destroy();
    const other = await connecting;
    expect((await other.query("SELECT $1::int AS n", [1])).rows).toEqual([{ n: 1 }]);
    await other.end();
  });

  test("a copy from a snapshot has the data and a life of its own", async () => {
    const original = await connected(embedded.url);
    await original.query("INSERT INTO note VALUES (5, 'before')");
    const copy = await startEmbedded({ snapshot: await embedded.snapshot() });
    await original.query("INSERT INTO note VALUES (6, 'after')");
    const client = await connected(copy.url);
    expect((await client.query("SELECT id FROM note WHERE id > 4")).rows).toEqual([{ id: 5 }]);
    await client.end();
    await copy.close();
    await original.end();
  });
});

describe("a data folder", () => {
  // Making one takes seconds, a copy half of one.
  let pristine: string;

  beforeAll(async () => {
    pristine = join(folder, "pristine");
    await startEmbedded({ dataDir: pristine }).then((embedded) => embedded.close());
  });

  async function copied(name: string): Promise<string> {
    await cp(pristine, join(folder, name), { recursive: true });
    return join(folder, name);
  }

  test("keeps what was committed, is given back by close, and close hangs up on clients", async () => {
    const dataDir = await copied("kept");
    const first = await startEmbedded({ dataDir });
    const client = await connected(first.url);
    await client.query("CREATE TABLE note AS SELECT 'kept' AS body");
    await client.query("BEGIN");
    await client.query("INSERT INTO note VALUES ('never committed')");
    const hungUp = new Promise((resolve) => client.once("end", resolve));
    await first.close();
    await hungUp;
    if (first.connection.host.startsWith("/")) expect(existsSync(first.connection.host)).toBe(false);
    expect((await readdir(dataDir)).filter((name) => name.startsWith("lock"))).toEqual([]);

    const second = await startEmbedded({ dataDir });
    const again = await connected(second.url);
    expect((await again.query("SELECT body FROM note")).rows).toEqual([{ body: "kept" }]);
    await again.end();
    await second.close();
    await second.close(); // twice does no harm
  });

  test("is refused to a second process, and to the same one, naming the holder; a killed holder's is taken over", async () => {
    const dataDir = await copied("held");
    const holder = await startElsewhere(dataDir);
    if (holder.error !== undefined) throw new Error(holder.error);
    await expect(startEmbedded({ dataDir })).rejects.toThrow(
      `The data folder ${dataDir} is in use by process ${String(holder.child.pid)} since`,
    );
    const client = await connected(holder.url);
    await client.query("CREATE TABLE note AS SELECT 'committed before the kill' AS body");
    await killed(holder.child);

    const heir = await startEmbedded({ dataDir });
    const reader = await connected(heir.url);
    expect((await reader.query("SELECT body FROM note")).rows).toEqual([{ body: "committed before the kill" }]);
    await reader.end();
    await expect(startEmbedded({ dataDir })).rejects.toThrow(`is in use by this process (${process.pid})`);
    await heir.close();
  });

  test("goes to exactly one of many who take it over at once", async () => {
    const dataDir = await copied("contested");
    await killed((await startElsewhere(dataDir)).child);
    const outcomes = await Promise.allSettled(Array.from({ length: 6 }, () => startEmbedded({ dataDir })));
    const winners = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
    expect(winners).toHaveLength(1);
    await winners[0]?.close();
  });

  test("that was left half made by a first start is made again", async () => {
    const dataDir = await copied("half");
    await rm(join(dataDir, "initialised"));
    await rm(join(dataDir, "postgres", "global"), { recursive: true });
    const embedded = await startEmbedded({ dataDir });
    await embedded.close();
  });

  test("that cannot be used or does not start gives one error that says so, and is not left locked", async () => {
    const file = join(folder, "file");
    await writeFile(file, "");
    await expect(startEmbedded({ dataDir: join(file, "data") })).rejects.toThrow(
      /The data folder .*file.data cannot be used \(DATA_DIR\): ENOTDIR/,
    );

    const dataDir = await copied("broken");
    await rm(join(dataDir, "postgres", "global", "pg_control"));
    await expect(startEmbedded({ dataDir })).rejects.toThrow(`The embedded database in ${dataDir} did not start: `);
    expect((await readdir(dataDir)).filter((name) => name.startsWith("lock"))).toEqual([]);
  });
});

function cutOff(client: pg.Client): Promise<void> {
  (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  return Promise.resolve();
}
