/**
 * The sandbox as a process: `node --import tsx sandbox/main.ts [--port N] [--with-parent]`. Prints one JSON line,
 * then serves.
 */
import { parseArgs } from "node:util";
import { startSandbox } from "./Sandbox.js";

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "0" },
    "webhook-url": { type: "string" },
    "with-parent": { type: "boolean", default: false },
  },
});

const sandbox = await startSandbox({
  port: Number(values.port),
  ...(values["webhook-url"] === undefined ? {} : { webhookUrl: values["webhook-url"] }),
});
const { url, clientId, clientSecret, webhookKey } = sandbox;
console.log(JSON.stringify({ url, clientId, clientSecret, webhookKey }));

const end = (): void => {
  void sandbox.close().then(() => process.exit(0));
};
process.on("SIGTERM", end);
process.on("SIGINT", end);
if (values["with-parent"]) {
  process.stdin.resume();
  process.stdin.on("end", end);
  process.stdin.on("close", end);
  process.on("disconnect", end);
}
