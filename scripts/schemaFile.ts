/** Writes `schema.graphql` from the schema that is served; `--check` fails when the file differs. */
import { lexicographicSortSchema, printSchema } from "graphql";
import { buildAppSchema } from "../src/schema.js";
import { writeOrCheck } from "./generatedFile.js";

const head = "# Written by `npm run schema` from the code: change it there.\n\n";

await writeOrCheck(
  "schema.graphql",
  `${head}${printSchema(lexicographicSortSchema(await buildAppSchema()))}\n`,
  "npm run schema",
);
