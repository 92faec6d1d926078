/**
 * Completes package-lock.json for platforms other than this one; `--check` fails when it is incomplete.
 *
 * Packages with native parts (@swc/core, oxc-parser, unrs-resolver) name one optional package per platform. Where the registry
 * in use does not hold those of other platforms, `npm install` leaves them out of the lock without a word, and `npm ci` then
 * refuses the lock as incomplete, on every platform (npm/cli issue 9846, npm 11.16 and later; seen with 11.19). Their names say
 * all that an entry needs. No checksum: npm takes the registry's own.
 */
import { readFile } from "node:fs/promises";
import { writeOrCheck } from "./generatedFile.js";

interface LockedPackage {
  version?: string;
  dev?: boolean;
  optional?: boolean;
  os?: string[];
  cpu?: string[];
  libc?: string[];
  optionalDependencies?: Record<string, string>;
}

interface Lock {
  packages: Record<string, LockedPackage>;
}

const platform =
  /(android|darwin|freebsd|linux|openharmony|win32)-(arm64|arm|ia32|loong64|ppc64|riscv64|s390x|x64)(?:-(gnu|musl|msvc|eabi)\w*)?$/;

const lock = JSON.parse(await readFile("package-lock.json", "utf8")) as Lock;
const additions: Record<string, LockedPackage> = {};

for (const [path, { dev, optionalDependencies = {} }] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(optionalDependencies)) {
    if (isLocked(path, name)) continue;
    const [, os, cpu, abi] = platform.exec(name) ?? [];
    if (os === undefined || cpu === undefined || !/^\d/.test(version)) {
      throw new Error(
        `${name}@${version}, wanted by ${path}, is not in package-lock.json, and its name names no platform.`,
      );
    }
    const libc = os === "linux" ? { libc: [abi === "musl" ? "musl" : "glibc"] } : {};
    additions[`node_modules/${name}`] = {
      version,
      cpu: [cpu],
      ...(dev ? { dev } : {}),
      ...libc,
      optional: true,
      os: [os],
    };
  }
}

const packages = Object.fromEntries(
  Object.entries({ ...lock.packages, ...additions }).sort(([a], [b]) => a.localeCompare(b, "en")),
);
await writeOrCheck("package-lock.json", `${JSON.stringify({ ...lock, packages }, null, 2)}\n`, "npm run lock");

/** As Node finds packages: next to the one that wants it, or anywhere above. */
function isLocked(path: string, name: string): boolean {
  for (let base = path; ; base = base.slice(0, Math.max(0, base.lastIndexOf("/node_modules/")))) {
    if (`${base === "" ? "" : `${base}/`}node_modules/${name}` in lock.packages) return true;
    if (base === "") return false;
  }
}
