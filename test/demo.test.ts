/**
 * Ledgerline as processes: the demo that tells the main job once, and the service's own start and stop. Each runs with a clean environment, as a
 * newcomer's or an operator's would, and on a folder of its own for temporary files, so that what it leaves behind is seen.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type Readable } from "node:stream";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";

// Whole processes, which another file's eight may keep from the processor: what is tested is what they do, not how soon.
jest.setTimeout(180_000);

type Program = ChildProcessByStdio<null, Readable, Readable>;

/** As it stands when the program is over and whoever held its output is gone. */
interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
const complete: Record<string, string> = {
  PORT: "0",
  XERO_CLIENT_ID: "an id",
  XERO_CLIENT_SECRET: "a secret",
  ENCRYPTION_KEYS: `a:${randomBytes(32).toString("base64")}`,
  AUTH_JWT_SECRET: "a secret that only tests use, of more than 32 bytes",
};

let folder: string;
const running = new Set<Program>();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ll-"));
});

afterAll(async () => {
  for (const program of running) program.kill("SIGKILL");
  await rm(folder, { recursive: true, force: true });
});

/** Starts a file of ours with these variables and no others but what every process needs; the service where no `.env` is. */
function run(file: string, environment: Record<string, string> = {}, ...args: string[]): [Program, Promise<Ended>] {
  const { PATH = "", HOME = folder } = process.env;
  const program = spawn(process.execPath, ["--import", tsx, join(process.cwd(), file), ...args], {
    cwd: file.startsWith("demo/") ? process.cwd() : folder,
    env: { PATH, HOME, TMPDIR: folder, TSX_TSCONFIG_PATH: join(process.cwd(), "tsconfig.json"), ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.add(program);
  const text = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    program[name].setEncoding("utf8").on("data", (chunk: string) => (text[name] += chunk));
  const ended = once(program, "close").then(([code]) => {
    running.delete(program);
    return { code: code as number | null, ...text };
  });
  return [program, ended];
}

/** What the program left in its folder for temporary files; the compiler's own cache is not its. */
async function leftBehind(): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name.startsWith("ledgerline"));
}

/** The first line of its log that says this. Throws with all that it said where it ends first. */
async function untilLogged(program: Program, ended: Promise<Ended>, message: string): Promise<Record<string, unknown>> {
  const said = async (): Promise<Record<string, unknown>> => {
    for await (const line of createInterface({ input: program.stdout })) {
      const entry = JSON.parse(line) as Record<string, unknown>;
      if (entry["msg"] === message) return entry;
    }
    throw new Error(`it never said "${message}": ${JSON.stringify(await ended)}`);
  };
  return said();
}

/** Said to a person: one message, and nothing of how the program is made. */
function expectPlain({ code, stdout, stderr }: Ended): void {
  expect(code).toBe(1);
  expect(stdout).toBe("");
  expect(stderr).not.toMatch(/^\s+at |node:internal|\.ts:\d|Error:/m);
}

describe("the demo", () => {
  it("does the main job once, says each step, exits with 0 and leaves nothing behind", async () => {
    const [, ended] = run("demo/main.ts", {}, "--once");
    const { code, stdout, stderr } = await ended;
    expect(stderr).toBe("");
    expect(code).toBe(0);
    const steps = stdout.split("\n").map((line) => line.replace(/^ *[\d.]+ s +/, ""));
    expect(steps.filter((step) => /^[A-Z]/.test(step))).toEqual([
      "Starting",
      "Connecting to Xero by the OAuth code flow",
      "Watching by GraphQL subscriptions",
      "Keeping a participant, support items and invoices",
      "Syncing with Xero",
      "Paying in Xero: signed webhooks bring the payments back",
      "When something goes wrong: people are told by e-mail, once, and when it is put right",
      "All of it happened.",
    ]);
    expect(steps).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^✓ stand-in Xero at http:\/\/localhost:\d+, a process of its own$/),
        expect.stringMatching(/^✓ Ledgerline at http:\/\/localhost:\d+, on its embedded database$/),
        "✓ connected to Demo Company (AU), books in AUD",
        "✓ participant Ada Okafor, self-managed",
        "✓ invoice INV-000001 with 3 lines, total 400.72, approved",
        expect.stringMatching(/^✓ INV-000001 is INV-0001 in Xero \([\da-f-]{36}\), total 400\.72$/),
        "⇠ live: invoice INV-000001 is QUEUED",
        "⇠ live: invoice INV-000001 is SYNCED",
        "⇠ live: payment of 150.00 RECEIVED: invoice INV-000001 is PARTIALLY_PAID, paid 150.00, due 250.72",
        "⇠ live: payment of 250.72 RECEIVED: invoice INV-000001 is PAID, paid 400.72, due 0.00",
        "⇠ live: payment of 516.50 RECEIVED: invoice INV-000002 is PAID, paid 516.50, due 0.00",
      ]),
    );
    expect(await leftBehind()).toEqual([]);
  });
});

describe("the service's start", () => {
  it("without configuration is refused in one message that lists all that is missing", async () => {
    const [, ended] = run("src/main.ts");
    const result = await ended;
    expectPlain(result);
    expect(result.stderr).toBe(
      [
        "The configuration is not complete:",
        "  - XERO_CLIENT_ID is missing",
        "  - XERO_CLIENT_SECRET is missing",
        "  - ENCRYPTION_KEYS is missing",
        "  - AUTH_JWT_SECRET or AUTH_JWKS_URL must be set, and only one of them",
        "See .env.example.",
        "",
      ].join("\n"),
    );
  });

  it("with malformed settings is refused in one message that lists them all, and repeats no secret", async () => {
    const malformed = {
      NODE_ENV: "live",
      ROLE: "everything",
      PORT: "high",
      PUBLIC_URL: "localhost",
      DATABASE_URL: "mysql://root:hunter2@localhost/ledgerline",
      XERO_REQUEST_TIMEOUT: "30",
      SYNC_LEASE: "soon",
      ENCRYPTION_KEYS: "a:hunter2",
      AUTH_JWT_SECRET: "hunter2",
      LOG_LEVEL: "loud",
    };
    const [, ended] = run("src/main.ts", malformed);
    const result = await ended;
    expectPlain(result);
    for (const name of [...Object.keys(malformed), "XERO_CLIENT_ID", "XERO_CLIENT_SECRET"])
      expect(result.stderr).toContain(`\n  - ${name} `);
    expect(result.stderr).not.toContain("hunter2");
  });

  it("on a database that is not there says so, without a stack trace or the password", async () => {
    const [, ended] = run("src/main.ts", { ...complete, DATABASE_URL: "postgres://me:hunter2@127.0.0.1:1/ledgerline" });
    const result = await ended;
    expectPlain(result);
    expect(result.stderr).toMatch(/^Ledgerline could not start: .*127\.0\.0\.1:1/);
    expect(result.stderr).not.toContain("hunter2");
  });

  it.each(["SIGTERM", "SIGINT"] as const)(
    "keeps its data folder to itself; %s ends it with 0 and gives the folder back",
    async (signal) => {
      const environment = { ...complete, DATA_DIR: join(folder, `data-${signal}`) };
      const [first, firstEnded] = run("src/main.ts", environment);
      const { url } = await untilLogged(first, firstEnded, "listening");
      expect(await (await fetch(`${String(url)}/health/ready`)).json()).toEqual({ status: "ok" });

      const [, secondEnded] = run("src/main.ts", environment);
      const refused = await secondEnded;
      expectPlain(refused);
      expect(refused.stderr).toContain(
        `The data folder ${environment.DATA_DIR} is in use by process ${first.pid ?? 0}`,
      );
      expect(refused.stderr).toContain("give this one a DATA_DIR of its own, or set DATABASE_URL");

      first.kill(signal);
      expect(await firstEnded).toMatchObject({ code: 0, stderr: "" });
      expect((await readdir(environment.DATA_DIR)).filter((name) => name.startsWith("lock"))).toEqual([]);
      expect(await leftBehind()).toEqual([]);
    },
  );
});
