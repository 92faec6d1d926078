/**
 * The README, held against the truth: its operations are those that the demo prints and work as printed, its blocks for the shell work when they
 * are pasted, its table is the configuration, its files are there. The demo runs as a newcomer would run it: with a clean environment.
 */
import { type ChildProcessByStdio, execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { type Readable } from "node:stream";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { GraphqlClient } from "../demo/graphqlClient.js";
import { operations, pasteIns } from "../demo/pasteIns.js";
import { settings } from "../src/config.js";

type Program = ChildProcessByStdio<null, Readable, Readable>;

const readme = readFileSync("README.md", "utf8");
const hasCurl = spawnSync("curl", ["--version"]).status === 0;
const onlyWithCurl = hasCurl ? it : it.skip;
const { PATH = "" } = process.env;

let folder: string;
let demo: Program;
let demoEnded: Promise<unknown[]>;
let complaints = "";
/** What the demo printed once it was done. */
let printed = "";
const others = new Set<Program>();

/** Whatever follows this label in what the demo printed. */
function printedAfter(label: string): string {
  const [, value] = new RegExp(`^ *${label} +(\\S+)`, "m").exec(printed) ?? [];
  if (value === undefined) throw new Error(`the demo printed no ${label}`);
  return value;
}

/** What a newcomer's shell holds after the README's exports. */
function exported(): Record<string, string> {
  return {
    PATH,
    HOME: folder,
    TMPDIR: folder,
    URL: printedAfter("GraphQL:").replace(/\/graphql$/, ""),
    XERO: printedAfter("Xero:"),
    TOKEN: printedAfter("bookkeeper"),
  };
}

/** The README's block for the shell that holds this text. */
function blockWith(text: string): string {
  const blocks = [...readme.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block = ""]) => block);
  const found = blocks.filter((block) => block.includes(text));
  expect(found).toHaveLength(1);
  return found[0] ?? "";
}

async function untilDone(lines: Interface): Promise<string> {
  const said: string[] = [];
  for await (const line of lines) {
    said.push(line);
    if (line.startsWith("Ctrl-C ends the demo")) return said.join("\n");
  }
  throw new Error(`the demo ended early: ${said.join("\n")}\n${complaints}`);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ll-"));
  demo = spawn(process.execPath, ["--import", "tsx", "demo/main.ts"], {
    env: { PATH, HOME: folder, TMPDIR: folder },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true, // A group of its own, as a shell gives it one: Ctrl-C is told to all of it.
  });
  demo.stderr.setEncoding("utf8").on("data", (chunk: string) => (complaints += chunk));
  demoEnded = once(demo, "close");
  printed = await untilDone(createInterface({ input: demo.stdout }));
});

afterAll(async () => {
  for (const program of others) program.kill("SIGKILL");
  if (demo.exitCode === null && demo.signalCode === null && demo.pid !== undefined) process.kill(-demo.pid, "SIGKILL");
  await demoEnded;
  await rm(folder, { recursive: true, force: true });
});

describe("what the README says", () => {
  it("of the demo's operations is what the demo prints", () => {
    const placeholders = { viewer: "VIEWER_TOKEN", bookkeeper: "BOOKKEEPER_TOKEN", admin: "ADMIN_TOKEN" };
    const url = "http://localhost:4000";
    const lines = pasteIns({ url, sandboxUrl: "", tokens: placeholders, invoiceId: "INVOICE_ID" })
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => /^(#|curl) /.test(line));
    expect(lines).toHaveLength(2 * operations.length);
    const block = blockWith(lines[0] ?? "").split("\n");
    expect(block.filter((line) => line !== "")).toEqual(lines);
  });

  it("of the configuration is what is read", () => {
    const rows = settings.map(
      ({ name, default: value, description }) =>
        `| \`${name}\` | ${value === undefined ? "" : `\`${value}\``} | ${description} |`,
    );
    const [, table = ""] = readme.split("| variable | default | meaning |\n| --- | --- | --- |\n");
    expect(table.slice(0, table.indexOf("\n\n")).split("\n")).toEqual(rows);
  });

  it("of files and commands is there", () => {
    const links = [...readme.matchAll(/\]\((?!https?:|#)([^)]+)\)/g)].map(([, target = ""]) => target);
    expect(links.filter((target) => !existsSync(target))).toEqual([]);
    const { scripts } = JSON.parse(readFileSync("package.json", "utf8")) as { scripts: Record<string, string> };
    const named = [...readme.matchAll(/npm (?:run )?([a-z:-]+)/g)].map(([, name = ""]) => name);
    expect(named.filter((name) => name !== "ci" && !(name in scripts))).toEqual([]);
  });
});

/** The values that the operations answer, in the order in which they are printed. */
const answers = [
  {
    invoices: {
      totalCount: 3,
      nodes: [
        {
          number: "DEMO-1",
          status: "APPROVED",
          total: "80.00",
          amountDue: "80.00",
          xeroInvoiceNumber: "INV-0003",
          syncStatus: "SYNCED",
          payments: [],
        },
        {
          number: "INV-000002",
          status: "PAID",
          total: "516.50",
          amountDue: "0.00",
          xeroInvoiceNumber: "INV-0002",
          syncStatus: "SYNCED",
          payments: [{ amount: "516.50", paidOn: expect.stringMatching(/^\d{4}-\d{2}-\d{2}$/) as unknown }],
        },
        {
          number: "INV-000001",
          status: "PAID",
          total: "400.72",
          amountDue: "0.00",
          xeroInvoiceNumber: "INV-0001",
          syncStatus: "SYNCED",
          payments: expect.arrayContaining([
            expect.objectContaining({ amount: "150.00" }),
            expect.objectContaining({ amount: "250.72" }),
          ]) as unknown,
        },
      ],
    },
  },
  { syncInvoice: { status: "SUCCEEDED", total: 1, unchanged: 1, created: 0 } },
  {
    integration: {
      missingSetup: [],
      activeOrganisation: {
        name: "Demo Company (AU)",
        connectionStatus: "CONNECTED",
        dailyCallsRemaining: expect.any(Number) as unknown,
      },
      webhook: {
        deliveryUrl: expect.stringMatching(/^http:\/\/localhost:\d+\/webhooks\/xero$/) as unknown,
        lastEventAt: expect.stringMatching(/^\d{4}-\d{2}-\d{2}T[\d:.]+Z$/) as unknown,
      },
    },
  },
];

/** Runs a printed command as a person would paste it; where there is no curl, sends what it would send. */
async function paste(command: string): Promise<unknown> {
  if (hasCurl) {
    const { stdout } = await promisify(execFile)("/bin/sh", ["-c", command], { env: { PATH, HOME: folder } });
    return JSON.parse(stdout) as unknown;
  }
  const [, url = "", body = ""] = /^curl -s (\S+) .* -d '(.*)'$/.exec(command) ?? [];
  const headers = [...command.matchAll(/-H '([^:]+): ([^']+)'/g)].map(([, name = "", value = ""]) => [name, value]);
  const sent = { method: "POST", headers: Object.fromEntries(headers) as Record<string, string> };
  return (await fetch(url, { ...sent, body: body.replaceAll("'\\''", "'") })).json();
}

describe("against the running demo", () => {
  it.each(operations.map(({ title }, index) => [title, index] as const))(
    "works as printed: %s",
    async (_title, index) => {
      const commands = printed
        .split("\n")
        .map((line) => line.trim())
        .filter((line) => line.startsWith("curl "));
      expect(commands).toHaveLength(operations.length);
      expect(await paste(commands[index] ?? "")).toEqual({ data: answers[index] });
    },
  );

  onlyWithCurl("its own invoice is saved, sent, paid by the control address, and the snippet sees it", async () => {
    const snippet = spawn("/bin/sh", ["-c", `exec ${blockWith("graphql-ws")}`], {
      env: exported(),
      stdio: ["ignore", "pipe", "pipe"],
    });
    others.add(snippet);
    const events = createInterface({ input: snippet.stdout })[Symbol.asyncIterator]();
    const next = async (): Promise<unknown> => {
      const event = await events.next();
      if (event.done) throw new Error(`the snippet ended: ${String(snippet.stderr.read())}`);
      return JSON.parse(event.value) as unknown;
    };
    const event = (amount: string, number: string): unknown =>
      expect.objectContaining({
        cursor: expect.stringMatching(/^\d+$/) as unknown,
        kind: "RECEIVED",
        payment: { amount },
        invoice: { number, status: "PAID", amountDue: "0.00" },
      });
    // What was there before it looked.
    expect(await next()).toEqual(event("150.00", "INV-000001"));
    expect(await next()).toEqual(event("250.72", "INV-000001"));
    expect(await next()).toEqual(event("516.50", "INV-000002"));

    const shell = { env: exported() };
    const made = await promisify(execFile)("/bin/sh", ["-c", blockWith("saveInvoice")], shell);
    expect(JSON.parse(made.stdout)).toEqual({
      data: { approveInvoice: { number: "INV-000003", total: "111.00" }, syncInvoice: { status: "QUEUED" } },
    });
    await untilSynced("INV-000003");
    const paid = await promisify(execFile)("/bin/sh", ["-c", blockWith('"$XERO/pay"')], shell);
    expect(JSON.parse(paid.stdout)).toMatchObject({ invoiceNumber: "INV-0004", status: "PAID", amountDue: "0.00" });
    expect(await next()).toEqual(event("111.00", "INV-000003"));

    snippet.kill();
    await once(snippet, "close");
    others.delete(snippet);
  });

  it("Ctrl-C ends it with 0, and it leaves nothing behind", async () => {
    const addresses = [printedAfter("GraphQL:"), printedAfter("Xero:")];
    process.kill(-(demo.pid ?? 0), "SIGINT"); // As a terminal does,
    demo.kill("SIGINT"); // and npm and tsx may pass it on once more.
    expect(await demoEnded).toEqual([0, null]);
    expect(complaints).toBe("");
    for (const address of addresses) await expect(fetch(address)).rejects.toThrow("fetch failed");
    expect((await readdir(folder)).filter((name) => name.startsWith("ledgerline"))).toEqual([]);
  });
});

/** As the demo's terminal shows it: told by the subscription, from the log's beginning. */
async function untilSynced(number: string): Promise<void> {
  const { URL: url = "", TOKEN: token = "" } = exported();
  const client = new GraphqlClient(url, token);
  const events = client.watch<{ syncStatus: { syncStatus: string | null; invoice: { number: string } | null } }>(
    'subscription { syncStatus(after: "0") { syncStatus invoice { number } } }',
  );
  try {
    for await (const { syncStatus: event } of events)
      if (event.invoice?.number === number && event.syncStatus === "SYNCED") return;
    throw new Error("the subscription ended");
  } finally {
    await client.close();
  }
}
