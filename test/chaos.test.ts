/**
 * The ordeal of `npm run chaos` in its short form: two workers are killed and stopped while Xero refuses, is slow and answers nobody, and every
 * invoice is in Xero once, and linked. The database is not restarted, for others use it too.
 */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { endure, type OrdealOptions, surroundings } from "../bench/ordeal.js";
import { Rig } from "../bench/rig.js";
import { type FreshDatabase, freshDatabase } from "./support/database.js";

const onPostgres = process.env.DATABASE_URL !== undefined;
if (!onPostgres) process.stdout.write("chaos: skipped, the embedded database takes one process only.\n");

const short: OrdealOptions = {
  seed: 4,
  invoices: 120,
  kills: 12,
  stops: 3,
  restarts: 0,
  window: "open",
  numbering: "xero",
  break: "none",
};

/** On a machine that does much else at the same time. */
const patienceMs = 240_000;

(onPostgres ? describe : describe.skip)("invoices in a storm", () => {
  let database: FreshDatabase;
  let rig: Rig;

  beforeAll(async () => {
    database = await freshDatabase();
    rig = await Rig.start({ database, workers: 2, ...surroundings(short) });
  }, patienceMs);

  afterAll(async () => {
    await rig.close();
    await database.drop();
  });

  it(
    "come to Xero once each, and are linked",
    async () => {
      const { reasons, verdict } = await endure(rig, short, () => undefined);
      expect(reasons).toEqual([]);
      expect(verdict).toMatchObject({ invoices: short.invoices, doubled: [] });
    },
    patienceMs,
  );
});
