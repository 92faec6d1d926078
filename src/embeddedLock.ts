/**
 * Owns the right to use a data folder: one process at a time, since two PostgreSQL engines over the same files destroy them.
 * What lives in the folder is embedded.ts's business.
 *
 * Node has no lock that dies with its process, so a claim is a file naming its process, and a claim whose process is gone counts
 * for nothing. A single lock file would have to be deleted and made anew to be taken over, and two who find it stale at once can
 * delete each other's. So everyone files a claim of their own, under a name never used again, and then looks around: who finds an
 * older living claim withdraws, who finds only younger ones waits for them to withdraw. Whoever comes later sees the winner's file.
 */
import { randomUUID } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

interface Claim {
  pid: number;
  host: string;
  /** Tells a process from a later one that was given the same pid; null where the platform does not say. */
  birth: string | null;
  since: string;
}

const giveWayMs = 5_000;

/**
 * Takes the folder for this process, making it if need be, and resolves to the function that gives it back.
 * Throws when another living process has it, or this one already; a claim left by a killed process is cleared away.
 */
export async function lockFolder(folder: string): Promise<() => void> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const mine = `lock-${String(Date.now()).padStart(14, "0")}-${randomUUID()}.json`;
  const claim: Claim = {
    pid: process.pid,
    host: hostname(),
    birth: birthOf(process.pid),
    since: new Date().toISOString(),
  };
  // Renamed into place, so that nobody reads half a claim.
  writeFileSync(join(folder, `${mine}.new`), JSON.stringify(claim));
  renameSync(join(folder, `${mine}.new`), join(folder, mine));
  const release = (): void => rmSync(join(folder, mine), { force: true });

  const deadline = Date.now() + giveWayMs;
  for (;;) {
    const [oldest] = livingClaims(folder).filter(({ name }) => name !== mine);
    if (!oldest) return release;
    if (oldest.name < mine || Date.now() > deadline) {
      release();
      throw new Error(refusal(folder, oldest.name, oldest.claim));
    }
    await sleep(20);
  }
}

function livingClaims(folder: string): { name: string; claim: Claim }[] {
  const living = [];
  for (const name of readdirSync(folder).sort()) {
    if (!/^lock-.*\.json$/.test(name)) continue;
    let claim: Claim;
    try {
      claim = JSON.parse(readFileSync(join(folder, name), "utf8")) as Claim;
    } catch (error) {
      if (isErrnoException(error) && error.code === "ENOENT") continue; // given back just now
      throw new Error(
        `The lock ${join(folder, name)} cannot be read. If no other process uses the folder, delete it.`,
        {
          cause: error,
        },
      );
    }
    if (isAlive(claim)) living.push({ name, claim });
    else rmSync(join(folder, name), { force: true });
  }
  return living;
}

function isAlive({ pid, host, birth }: Claim): boolean {
  // Another machine or container on a shared volume: its processes cannot be seen from here, so it is believed.
  if (host !== hostname()) return true;
  try {
    process.kill(pid, 0);
  } catch (error) {
    return isErrnoException(error) && error.code === "EPERM";
  }
  const birthNow = birthOf(pid);
  return birth === null || birthNow === null || birth === birthNow;
}

/** Whether a call to the operating system failed. By shape: in Jest's VM, Node's own errors are of another Error class. */
export function isErrnoException(error: unknown): error is NodeJS.ErrnoException {
  return typeof error === "object" && error !== null && "code" in error && "syscall" in error;
}

/** A restarted container hands out the same few pids again, so the pid alone would hold the folder for ever. */
function birthOf(pid: number): string | null {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field, the program's name in brackets, may hold spaces; the start time is the 22nd.
    const started = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    return started === undefined ? null : `${boot}:${started}`;
  } catch {
    return null;
  }
}

function refusal(folder: string, name: string, { pid, host, since }: Claim): string {
  const elsewhere = host !== hostname();
  const holder = !elsewhere && pid === process.pid ? `this process (${pid})` : `process ${pid}`;
  return (
    `The data folder ${folder} is in use by ${holder}${elsewhere ? ` on ${host}` : ""} since ${since}. ` +
    "One process at a time may use it: stop that one, give this one a DATA_DIR of its own, or set DATABASE_URL to a PostgreSQL that many can share." +
    (elsewhere ? ` If ${host} is gone for good, delete ${join(folder, name)}.` : "")
  );
}
