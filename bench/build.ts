/** The service as JavaScript, for processes that start often: a build of its own, so that `dist/` stays what it was. */
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { transformFile } from "@swc/core";

const root = fileURLToPath(new URL("..", import.meta.url));

export interface Build {
  /** The entry point. */
  main: string;
  remove: () => Promise<void>;
}

/** Translates `src/` into a new folder. Types are not looked at. */
export async function buildService(): Promise<Build> {
  // Inside the repository, where the packages and the package's type are found.
  await mkdir(join(root, "data"), { recursive: true });
  const folder = await mkdtemp(join(root, "data", "bench-"));
  for (const file of await readdir(join(root, "src"), { recursive: true })) {
    if (!file.endsWith(".ts")) continue;
    const { code } = await transformFile(join(root, "src", file), { cwd: root, sourceMaps: false });
    const target = join(folder, file.replace(/\.ts$/, ".js"));
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, code);
  }
  return { main: join(folder, "main.js"), remove: () => rm(folder, { recursive: true, force: true }) };
}
