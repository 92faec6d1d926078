/** `npm run chaos`: the ordeal in its long form, on a cluster of its own; see bench/README.md. */
import { parseArgs } from "node:util";
import { z } from "zod";
import { endure, surroundings } from "./ordeal.js";
import { withRig } from "./rig.js";
import { Progress, table } from "./terminal.js";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    invoices: { type: "string", default: "2000" },
    kills: { type: "string", default: "200" },
    stops: { type: "string", default: "40" },
    restarts: { type: "string", default: "5" },
    window: { type: "string", default: "open" },
    numbering: { type: "string", default: "xero" },
    break: { type: "string", default: "none" },
  },
});

const count = z.coerce.number().int().nonnegative();
const asked = z
  .object({
    seed: count,
    invoices: count.min(1).max(20_000),
    kills: count.max(1_000),
    stops: count.max(200),
    restarts: count.max(50),
    window: z.enum(["open", "shut"]),
    numbering: z.enum(["xero", "ours"]),
    break: z.enum(["key", "lookup", "none"]),
  })
  .safeParse(values);

if (asked.success) {
  const options = asked.data;
  await withRig({ workers: 2, ...surroundings(options) }, async (rig) => {
    const progress = new Progress();
    const { reasons, figures } = await endure(rig, options, (line) => progress.show(line));
    progress.end();
    console.log(table([["seed", options.seed], ...figures].map((row) => row.map(String))));
    if (reasons.length === 0) {
      console.log(
        options.break === "none" ? "All of it holds." : "The doubles were found: without that layer it fails.",
      );
    }
    return reasons;
  });
} else {
  for (const { path, message } of asked.error.issues) console.error(`--${path.join(".")}: ${message}`);
  process.exitCode = 2;
}
