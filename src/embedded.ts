/**
 * Owns the embedded database: PostgreSQL as WebAssembly (PGlite) in a worker thread, so that a long query never blocks the event
 * loop, reached through a socket by the same `pg` driver as a real server. It keeps the data folder to one process and starts and
 * stops the thread; what runs inside is embeddedWorker.ts's, roles and schema are database.ts's.
 *
 * One session is underneath, whatever the number of clients: queries and transactions run one at a time, `SET`, temporary tables,
 * named prepared statements, LISTEN and session advisory locks are everyone's. Who holds a transaction and waits for a second
 * connection waits for ever. fsync is off: data survive a killed process, not a power cut.
 *
 * The socket asks for no password (trust). It is a unix socket in a folder that only this user may enter; where there is none, on
 * Windows, a free port of the loopback interface, open to everyone on that machine.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type Worker } from "node:worker_threads";
import { isErrnoException, lockFolder } from "./embeddedLock.js";
import type { WorkerOptions, WorkerReport, WorkerRequest } from "./embeddedWorker.js";
import { startThread } from "./thread.js";

export interface EmbeddedOptions {
  /** Where the data live; left out, they live in memory and end with the process. */
  dataDir?: string;
  /** Start, in memory, from what another's `snapshot()` gave. */
  snapshot?: Uint8Array;
  /** Told when the thread dies later on. Left out, that is thrown, which ends a process that has no other handler. */
  onFailure?: (error: Error) => void;
}

export interface Embedded {
  /** For `pg`, TypeORM and graphile-worker alike. */
  url: string;
  /** The same in parts. `host` is the socket's folder, or an address. */
  connection: { host: string; port: number; user: string; database: string };
  /** Everything in it, as a tar file that `EmbeddedOptions.snapshot` takes. Not while a transaction is open. */
  snapshot(): Promise<Uint8Array>;
  /** Hangs up on all clients, rolls back what they left open, flushes, ends the thread and gives the folder back. */
  close(): Promise<void>;
}

const user = "postgres";
const database = "postgres";
const unixPort = 5432;
const closeWithinMs = 10_000;

/** In the data folder once a first start has gone through. */
const completeMark = "initialised";

/**
 * Starts the database and resolves once it takes connections.
 * Throws one error that says what is wrong: the folder is in use (naming the holder's pid), cannot be written, or does not start.
 */
export async function startEmbedded({ dataDir, snapshot, onFailure }: EmbeddedOptions): Promise<Embedded> {
  const folder = dataDir === undefined ? null : await takeFolder(resolve(dataDir));
  const name = folder?.path ?? "memory";
  const socketFolder = makeSocketFolder();
  const tidy = (): void => {
    if (socketFolder !== null) rmSync(socketFolder, { recursive: true, force: true });
  };
  process.once("exit", tidy); // for a process that ends without close()

  const workerData: WorkerOptions = {
    folder: folder?.cluster ?? null,
    snapshot: snapshot ?? null,
    socketPath: socketFolder === null ? null : join(socketFolder, `.s.PGSQL.${unixPort}`),
  };
  const worker = startThread("embeddedWorker", import.meta.url, { workerData });
  let closing = false;
  const ended = new Promise<void>((done) => {
    worker.once("exit", () => {
      process.removeListener("exit", tidy);
      tidy();
      folder?.unlock();
      done();
    });
  });

  let port: number;
  try {
    ({ port } = await reportOf(worker, "listening"));
    if (folder) writeFileSync(join(folder.path, completeMark), "");
  } catch (error) {
    await worker.terminate();
    await ended;
    throw new Error(`The embedded database in ${name} did not start: ${messageOf(error)}`, {
      cause: error,
    });
  }
  void reportOf(worker, "ended").catch((error: unknown) => {
    void worker.terminate();
    if (closing) return;
    const failure = new Error(`The embedded database in ${name} has stopped: ${messageOf(error)}`, {
      cause: error,
    });
    if (!onFailure) throw failure;
    onFailure(failure);
  });
  worker.unref(); // its clients' sockets keep the process alive while they matter

  const host = socketFolder ?? "127.0.0.1";
  return {
    connection: { host, port, user, database },
    url: `postgres://${user}@localhost:${port}/${database}?host=${encodeURIComponent(host)}`,
    async snapshot() {
      const answer = reportOf(worker, "snapshot");
      worker.postMessage("snapshot" satisfies WorkerRequest);
      return (await answer).bytes;
    },
    async close() {
      closing = true;
      worker.ref();
      worker.postMessage("close" satisfies WorkerRequest);
      const timer = setTimeout(() => void worker.terminate(), closeWithinMs);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** Resolves to the thread's next report of this kind; rejects when it fails or ends first. */
function reportOf<Kind extends WorkerReport["kind"] | "ended">(
  worker: Worker,
  kind: Kind,
): Promise<Extract<WorkerReport, { kind: Kind }>> {
  return new Promise((resolveReport, reject) => {
    worker.on("message", (report: WorkerReport) => {
      if (report.kind === "failed") reject(new Error(report.message));
      else if (report.kind === kind) resolveReport(report as Extract<WorkerReport, { kind: Kind }>);
    });
    worker.once("error", reject);
    worker.once("exit", () => reject(new Error("its thread ended")));
  });
}

/** Locks the data folder and makes a place in it for the database cluster. */
async function takeFolder(path: string): Promise<{ path: string; cluster: string; unlock: () => void }> {
  let unlock = (): void => undefined;
  try {
    unlock = await lockFolder(path);
    const cluster = join(path, "postgres");
    // What a start that was cut short in the middle of initdb left: no client has ever written to it.
    if (!existsSync(join(path, completeMark))) rmSync(cluster, { recursive: true, force: true });
    mkdirSync(cluster, { recursive: true, mode: 0o700 }); // PGlite's own files are open to everyone
    return { path, cluster, unlock };
  } catch (error) {
    unlock();
    if (isErrnoException(error)) {
      throw new Error(`The data folder ${path} cannot be used (DATA_DIR): ${error.message}`, { cause: error });
    }
    throw error;
  }
}

/** Null where there are no unix sockets, or where the path would not fit into one (about 104 bytes). */
function makeSocketFolder(): string | null {
  if (process.platform === "win32" || Buffer.byteLength(tmpdir()) > 60) return null;
  return mkdtempSync(join(tmpdir(), "ledgerline-")); // made 0700
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
