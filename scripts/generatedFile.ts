/** What the scripts that write a committed file have in common: write it, or with `--check` fail when it is out of date. */
import { readFile, writeFile } from "node:fs/promises";

/** Writes the file; with `--check` on the command line only compares, and ends the process with 1 naming the remedy. */
export async function writeOrCheck(file: string, text: string, remedy: string): Promise<void> {
  const current = await readFile(file, "utf8").catch(() => null);
  if (!process.argv.includes("--check")) {
    if (current !== text) await writeFile(file, text);
    console.log(`${file}: ${current === text ? "already up to date" : "written"}`);
  } else if (current === text) {
    console.log(`${file}: up to date`);
  } else {
    console.error(
      current === null ? `${file} is missing.` : `${file} is out of date. ${firstDifference(current, text)}`,
    );
    console.error(`Run "${remedy}" and commit the result.`);
    process.exitCode = 1;
  }
}

function firstDifference(current: string, wanted: string): string {
  const [has, wants] = [current.split("\n"), wanted.split("\n")];
  const line = wants.findIndex((text, i) => text !== has[i]);
  if (line === -1) return `It has lines too many from line ${wants.length} on.`;
  return `Line ${line + 1} is\n  ${has[line] ?? "(no line)"}\nand should be\n  ${wants[line] ?? "(no line)"}`;
}
