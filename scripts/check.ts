/**
 * Runs everything that CI checks, one after the other, so that one run tells all that is wrong: a line of progress each, the
 * output of what failed, and at the end a list of the failures. `npm run check -- lint format` runs only those named.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";

interface Stage {
  name: string;
  command: string;
  remedy: string;
  /** Its output is shown as it comes: it takes long, and its summary matters even when it passes. */
  live?: boolean;
}

const folders = ["src", "sandbox", "demo", "scripts", "test", "bench"].filter((folder) => existsSync(folder));

const stages: Stage[] = [
  { name: "types", command: "tsc --noEmit", remedy: "mend what the compiler names" },
  { name: "lint", command: "eslint . --max-warnings 0", remedy: "npx eslint . --fix mends some of it" },
  { name: "format", command: "prettier --check .", remedy: "npm run format" },
  {
    name: "imports",
    command: `depcruise ${folders.join(" ")}`,
    remedy: "see the rule's comment in .dependency-cruiser.cjs",
  },
  { name: "unused", command: "knip", remedy: "delete what nothing uses, or its export keyword" },
  { name: "lock", command: "npm run --silent lock:check", remedy: "npm run lock" },
  { name: "env", command: "npm run --silent env:check", remedy: "npm run env" },
  { name: "schema", command: "npm run --silent schema:check", remedy: "npm run schema" },
  { name: "migrations", command: "npm run --silent migrations:check", remedy: "see its output" },
  { name: "tests", command: "npm test --silent", remedy: "npm test -- <file> runs one", live: true },
];

interface Outcome {
  stage: Stage;
  passed: boolean;
}

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !stages.some((stage) => stage.name === name));
if (unknown.length > 0) {
  console.error(`No such check: ${unknown.join(", ")}. There are ${stages.map(({ name }) => name).join(", ")}.`);
  process.exit(2);
}

const outcomes: Outcome[] = [];
for (const stage of stages) {
  if (asked.length === 0 || asked.includes(stage.name)) outcomes.push({ stage, passed: await run(stage) });
}

const failed = outcomes.filter(({ passed }) => !passed);
console.log(`\nchecks: ${outcomes.length - failed.length} passed, ${failed.length} failed`);
for (const { stage } of failed) {
  console.log(`  ${stage.name}: ${stage.remedy}; once more with "npm run check -- ${stage.name}"`);
}
process.exitCode = failed.length > 0 ? 1 : 0;

async function run({ name, command, live }: Stage): Promise<boolean> {
  process.stdout.write(live ? `${name}:\n` : `${name.padEnd(11)} `);
  const started = performance.now();
  // Through a shell, for the commands' .cmd files on Windows; npm has put node_modules/.bin on the path.
  const child = spawn(command, {
    shell: true,
    stdio: ["ignore", live ? "inherit" : "pipe", live ? "inherit" : "pipe"],
  });
  const output: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (chunk: Buffer) => output.push(chunk));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${live ? `${name.padEnd(11)} ` : ""}${code === 0 ? "ok" : "FAILED"} (${seconds} s)`);
  if (code !== 0 && !live) console.log(Buffer.concat(output).toString().trimEnd());
  return code === 0;
}
