/**
 * The thread that PGlite and its socket server live in; started by embedded.ts only. PGlite is PostgreSQL in single-user mode:
 * one session, shared by all clients. The server passes messages on one by one and keeps to one client only while a transaction
 * is open. A query outside of one that arrives in pieces (seen with parameters of 300 kB) is then broken into by another's, whose
 * statement takes the place of the unnamed one: "bind message supplies 2 parameters, but prepared statement requires 1", or the
 * wrong rows (electric-sql/pglite issue 1046, pull request 977). `SharedSession` holds others off until the client's Sync, and
 * can go when that is mended there.
 */
import {
  PGlite,
  type ExecProtocolOptionsStream,
  type PGliteOptions,
  type QueryOptions,
  type Results,
} from "@electric-sql/pglite";
import { PGLiteSocketServer } from "@electric-sql/pglite-socket";
import { parentPort, workerData } from "node:worker_threads";

/** What embedded.ts starts the thread with. */
export interface WorkerOptions {
  /** Null: in memory. */
  folder: string | null;
  snapshot: Uint8Array | null;
  /** Null: a free port on loopback. */
  socketPath: string | null;
}

/** What embedded.ts asks for. */
export type WorkerRequest = "snapshot" | "close";

/** What the thread says. */
export type WorkerReport =
  { kind: "listening"; port: number } | { kind: "snapshot"; bytes: Uint8Array } | { kind: "failed"; message: string };

/** Above the pools of one process together; beyond it the server hangs up with a line that is no PostgreSQL message. */
const maxConnections = 200;

const sync = Uint8Array.of(0x53, 0, 0, 0, 4);

class SharedSession extends PGlite {
  #midQuery = false;

  override isInTransaction(): boolean {
    return this.#midQuery || super.isInTransaction();
  }

  /** Runs one client message. Never rejects: the server's queue would stand still for everyone after it (issue 1046 again). */
  override async execProtocolRawStream(message: Uint8Array, options: ExecProtocolOptionsStream): Promise<void> {
    const kind = String.fromCharCode(message[0] ?? 0);
    let answered = 0;
    const onRawData = (data: Uint8Array): void => {
      answered += data.length;
      options.onRawData(data);
    };
    try {
      await super.execProtocolRawStream(message, { ...options, onRawData });
    } catch (error) {
      onRawData(fatalError(error instanceof Error ? error.message : String(error)));
    }
    // Every query and every Sync is answered. Silence means that the engine itself broke, and its client would wait for ever.
    if (answered === 0 && (kind === "Q" || kind === "S")) fail(new Error("the engine stopped answering"));
    // Parse, Bind, Describe, Execute, Close, Flush: what they leave behind is this client's until its Sync.
    this.#midQuery = "PBDECH".includes(kind);
  }

  /** The server calls it with ROLLBACK when a client has left in the middle of something. */
  override async exec(query: string, options?: QueryOptions): Promise<Results[]> {
    if (this.#midQuery) {
      this.#midQuery = false;
      await this.execProtocolRaw(sync); // ends an aborted query, in which PostgreSQL skips all but a Sync
    }
    return super.exec(query, options);
  }
}

function fatalError(message: string): Uint8Array {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C08P01\0M${message}\0\0`);
  const head = Buffer.alloc(5);
  head.write("E");
  head.writeInt32BE(fields.length + 4, 1);
  return Buffer.concat([head, fields]);
}

function report(what: WorkerReport): void {
  parentPort?.postMessage(what);
}

function fail(error: unknown): void {
  report({ kind: "failed", message: error instanceof Error ? error.message : String(error) });
  parentPort?.close();
}

async function serve({ folder, snapshot, socketPath }: WorkerOptions): Promise<void> {
  // A new cluster begins with a whole segment of write-ahead log: 1 MB instead of 16 makes start and snapshot a quarter quicker.
  const options: PGliteOptions = { initDbStartParams: ["--wal-segsize=1"] };
  if (folder !== null) options.dataDir = folder;
  if (snapshot) options.loadDataDir = new Blob([Uint8Array.from(snapshot)]);
  const db = new SharedSession(options);
  await db.waitReady;

  const server = new PGLiteSocketServer({
    db,
    maxConnections,
    ...(socketPath === null ? { host: "127.0.0.1", port: 0 } : { path: socketPath }),
  });
  const dump = async (): Promise<void> => {
    const file = await db.dumpDataDir("none");
    report({ kind: "snapshot", bytes: new Uint8Array(await file.arrayBuffer()) });
  };
  const close = async (): Promise<void> => {
    await server.stop();
    await db.close();
    parentPort?.close();
  };
  parentPort?.on("message", (request: WorkerRequest) => {
    (request === "close" ? close() : dump()).catch(fail);
  });

  await server.start();
  report({ kind: "listening", port: socketPath === null ? Number(server.getServerConn().split(":").at(-1)) : 5432 });
}

await serve(workerData as WorkerOptions).catch(fail);
