/**
 * The second half of `npm run bench:webhooks` in its short form: the api process is killed while deliveries come, and whatever it answered 200 has
 * taken effect.
 */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { killDoor, outOfTheWay } from "../bench/killedDoor.js";
import { Rig } from "../bench/rig.js";
import { type FreshDatabase, freshDatabase } from "./support/database.js";

const onPostgres = process.env.DATABASE_URL !== undefined;
if (!onPostgres) process.stdout.write("killed door: skipped, the embedded database takes one process only.\n");

/** On a machine that does much else at the same time. */
const patienceMs = 240_000;

(onPostgres ? describe : describe.skip)("the webhook door, killed again and again", () => {
  let database: FreshDatabase;
  let rig: Rig;

  beforeAll(async () => {
    database = await freshDatabase();
    rig = await Rig.start({ database, workers: 1, switches: outOfTheWay });
  }, patienceMs);

  afterAll(async () => {
    await rig.close();
    await database.drop();
  });

  it(
    "has not answered 200 for anything that is lost",
    async () => {
      const { reasons } = await killDoor(rig, { seed: 4, invoices: 30, deliveries: 300, kills: 12 }, () => undefined);
      expect(reasons).toEqual([]);
    },
    patienceMs,
  );
});
