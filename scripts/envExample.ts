/** Writes `.env.example` from the configuration's own description; `--check` fails when the file differs. */
import { settings } from "../src/config.js";
import { writeOrCheck } from "./generatedFile.js";

const head = [
  "# Every setting, with its default or an example. Written by `npm run env` from src/config.ts: change it there.",
  "# None is needed for `npm run demo` and `npm test`. Durations are written 500ms, 30s, 15m, 24h, 60d.",
];

const entries = settings.map(({ name, default: value, example, description }) =>
  [`# ${description}`, `# ${name}=${value ?? example ?? ""}`].join("\n"),
);

await writeOrCheck(".env.example", [head.join("\n"), ...entries].join("\n\n") + "\n", "npm run env");
