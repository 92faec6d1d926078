/**
 * Has the template of all test databases made, once per run, by a process of its own (templateKeeper.ts): Jest loads this file
 * as CommonJS, which the app's modules are not, and a process that outlives a killed Jest can still clean up.
 */
import { fork, type ChildProcess } from "node:child_process";
import type { Template } from "./database.js";

declare global {
  var templateKeeper: ChildProcess | undefined;
}

export default async function globalSetup(): Promise<void> {
  const keeper = fork("test/support/templateKeeper.ts", { execArgv: ["--import", "tsx"] });
  globalThis.templateKeeper = keeper;
  const template = await new Promise<Template>((resolve, reject) => {
    keeper.once("message", (message) => resolve(message as Template));
    keeper.once("exit", (code) =>
      reject(
        new Error(`The test database template could not be made (exit code ${String(code)}); see the lines above.`),
      ),
    );
  });
  process.env.TEST_DATABASE_TEMPLATE = JSON.stringify(template);
}
