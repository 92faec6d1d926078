/** What Xero's door promises by a 200: that it is committed. Shown by a database that refuses, at the statement or at the commit, waits, and is gone. */
import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import pg from "pg";
import { pino } from "pino";
import { deliver, delivery, eventOf, type Posted, postDelivery } from "./support/deliveries.js";
import { until } from "./support/links.js";
import { runSql } from "./support/records.js";
import { type Service, startService } from "./support/service.js";

const statements: string[] = [];
let service: Service;

beforeAll(async () => {
  const stream = {
    write: (line: string) => {
      const { msg, sql } = JSON.parse(line) as { msg?: string; sql?: string };
      if (msg === "statement" && sql !== undefined) statements.push(sql);
    },
  };
  // Where there may be a process without a worker: the database is taken away from under it.
  const { DATABASE_URL } = process.env;
  const environment: Record<string, string> = DATABASE_URL === undefined ? {} : { ROLE: "api", DATABASE_URL };
  service = await startService({ logger: pino({ level: "trace" }, stream), environment });
});

afterAll(() => service.close());

/** Nobody has the organisation connected: what is said of it is kept all the same. */
const someEvent = (changes: object = {}): Record<string, unknown> => eventOf(randomUUID(), changes);

/** How often the change is kept. */
async function kept({ resourceId }: Record<string, unknown>): Promise<number> {
  const [row] = await runSql<{ count: number }>(
    service,
    "SELECT count(*)::integer AS count FROM webhook_event WHERE resource_id = $1",
    [resourceId],
  );
  return row?.count ?? 0;
}

/** Keeps every transaction that would write an event waiting, until the answer is called. */
async function holdCommits(): Promise<() => Promise<void>> {
  const client = new pg.Client(service.database.url);
  await client.connect();
  // The embedded database has one session for all: there the transaction alone is enough.
  await client.query("BEGIN");
  await client.query("LOCK TABLE webhook_event IN SHARE ROW EXCLUSIVE MODE");
  return async () => {
    await client.query("COMMIT");
    await client.end();
  };
}

/** Posts them all at once, and does not let the first be committed before the others have come; none may be answered before that. */
async function together(deliveries: Record<string, unknown>[][]): Promise<Posted[]> {
  const release = await holdCommits();
  let answered = 0;
  const posted = deliveries.map(async (events) => {
    const answer = await deliver(service, ...events);
    answered += 1;
    return answer;
  });
  try {
    // What has come before has been read before: the door is in this process.
    for (let times = 0; times < 3; times += 1) await fetch(`${service.url}/health/live`);
    expect(answered).toBe(0);
  } finally {
    await release();
  }
  return Promise.all(posted);
}

const statuses = (answers: Posted[]): number[] => answers.map(({ status }) => status);

describe("deliveries that come at once", () => {
  it("share a commit", async () => {
    const deliveries = Array.from({ length: 20 }, () => [someEvent()]);
    statements.length = 0;
    expect(statuses(await together(deliveries))).toEqual(deliveries.map(() => 200));
    for (const [event] of deliveries) expect(await kept(event ?? {})).toBe(1);
    expect(statements.filter((sql) => sql.includes("INSERT INTO webhook_event")).length).toBeLessThan(5);
  });

  it("may be the same one", async () => {
    const [one, other] = [someEvent(), someEvent()];
    expect(statuses(await together([[other], [one], [one, other], [one, one]]))).toEqual([200, 200, 200, 200]);
    expect([await kept(one), await kept(other)]).toEqual([1, 1]);
  });

  it("of more than one statement takes are kept all the same", async () => {
    const deliveries = Array.from({ length: 4 }, () => Array.from({ length: 600 }, () => someEvent()));
    expect(statuses(await together(deliveries))).toEqual([200, 200, 200, 200]);
    const ids = deliveries.flat().map(({ resourceId }) => resourceId);
    const rows = await runSql(service, "SELECT FROM webhook_event WHERE resource_id = ANY($1)", [ids]);
    expect(rows).toHaveLength(2_400);
  });
});

describe("a delivery that the database refuses", () => {
  const bad = "REFUSED";

  /** Lets the database refuse events of one category, when they are written or when they are committed. */
  async function refuse(when: "write" | "commit"): Promise<void> {
    await runSql(
      service,
      `CREATE FUNCTION refuse_event() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused by the test'; END $$`,
    );
    await runSql(
      service,
      `CREATE CONSTRAINT TRIGGER refuse_event AFTER INSERT ON webhook_event
       ${when === "commit" ? "DEFERRABLE INITIALLY DEFERRED" : ""} FOR EACH ROW WHEN (NEW.category = '${bad}') EXECUTE FUNCTION refuse_event()`,
    );
  }

  afterEach(() => runSql(service, "DROP FUNCTION refuse_event CASCADE"));

  it.each(["write", "commit"] as const)("at the %s gets an empty 503, and takes no other with it", async (when) => {
    await refuse(when);
    const [first, good, more] = [someEvent(), someEvent(), someEvent()];
    const [refused, mixed] = [someEvent({ eventCategory: bad }), someEvent()];
    const answers = await together([[first], [good], [mixed, refused], [more]]);
    expect(statuses(answers)).toEqual([200, 200, 503, 200]);
    expect(answers.map(({ text }) => text)).toEqual(["", "", "", ""]);
    expect(await Promise.all([first, good, more, refused, mixed].map(kept))).toEqual([1, 1, 1, 0, 0]);
  });
});

describe("while the database is gone", () => {
  /** Takes it away; the answer brings it back. */
  async function takeAway(): Promise<() => Promise<void>> {
    if (service.database.embedded) {
      await runSql(service, "ALTER TABLE webhook_event RENAME TO webhook_event_away");
      return async () => {
        await runSql(service, "ALTER TABLE webhook_event_away RENAME TO webhook_event");
      };
    }
    const server = new pg.Client(process.env.DATABASE_URL);
    await server.connect();
    const name = new URL(service.database.url).pathname.slice(1);
    await server.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
    await server.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = current_user",
      [name],
    );
    return async () => {
      await server.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
      await server.end();
    };
  }

  it("a delivery gets an empty 503, and 200 when Xero sends it again after it is back", async () => {
    const one = someEvent();
    const bringBack = await takeAway();
    const answers = await Promise.all([deliver(service, one), deliver(service, one), deliver(service, one)]);
    expect(answers.map(({ status, text }) => [status, text])).toEqual(answers.map(() => [503, ""]));
    const unsigned = await postDelivery(service.url, delivery(someEvent()), "wrong");
    expect([unsigned.status, unsigned.text]).toEqual([401, ""]);
    await bringBack();
    await until(async () => (await deliver(service, one)).status === 200);
    expect(await kept(one)).toBe(1);
  });
});
