/** What the probes say: live while the process turns, ready while it can do its work, and which part of it fails where it can't. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { DatabaseDoor } from "./support/DatabaseDoor.js";
import { hold, newLink, until } from "./support/links.js";
import { runSql, saveInvoice, syncInvoice } from "./support/records.js";
import { type Service, startService } from "./support/service.js";

interface Answer {
  status: number;
  body: unknown;
  tookMs: number;
}

async function probe(service: Service, path: "live" | "ready"): Promise<Answer> {
  const startedAt = performance.now();
  const response = await fetch(`${service.url}/health/${path}`);
  return { status: response.status, body: await response.json(), tookMs: performance.now() - startedAt };
}

const well = { status: 200, body: { status: "ok" } };
const without = (...failing: string[]) => ({ status: 503, body: { status: "unavailable", failing } });

/** The answer once it is this one. */
async function untilReady(service: Service, wanted: { status: number; body: unknown }): Promise<void> {
  let last: unknown;
  const holds = async (): Promise<boolean> => {
    const { status, body } = await probe(service, "ready");
    last = { status, body };
    return JSON.stringify(last) === JSON.stringify(wanted);
  };
  await until(holds).catch(() => expect(last).toEqual(wanted));
}

/** Two seconds, and what a machine takes that has other things to do. */
const soonMs = 2_500;

describe("a service of which all is well", () => {
  let service: Service;
  let client: GraphqlClient;

  beforeAll(async () => {
    service = await startService();
    client = await service.readyClient();
  });

  afterAll(() => service.close());

  it("is live and ready, and says so to nobody's cache", async () => {
    expect(await probe(service, "live")).toMatchObject(well);
    expect(await probe(service, "ready")).toMatchObject(well);
    for (const path of ["live", "ready"]) {
      const { headers } = await fetch(`${service.url}/health/${path}`);
      expect(headers.get("cache-control")).toBe("no-store");
    }
  });

  it("stays so while Xero is down", async () => {
    await service.control("faults", { fault: "503-unavailable", times: 1_000 });
    const { errors } = await client.send("mutation { refreshXeroData { enabled } }");
    expect(errors?.[0]?.extensions.code).toBe("XERO_UNAVAILABLE");
    const { id } = await saveInvoice(client);
    await syncInvoice(client, id);
    await until(async () => (await service.control<{ calls: object[] }>("calls?path=/Contacts")).calls.length > 0);
    expect(await probe(service, "ready")).toMatchObject(well);
    expect(await probe(service, "live")).toMatchObject(well);
    await service.control("faults/clear", {});
  });

  it("is asked by many at once and asks the database little", async () => {
    const next = async (): Promise<number> => {
      const [row] = await runSql<{ n: string }>(service, "SELECT nextval('reads') AS n");
      return Number(row?.n);
    };
    // A view in the place of the migrations' table can count who reads it.
    await runSql(
      service,
      `CREATE SEQUENCE reads; ALTER TABLE schema_migration RENAME TO migrated;
       CREATE VIEW schema_migration AS SELECT m.*, n.n FROM (SELECT nextval('reads') AS n) n, migrated m`,
    );
    const before = await next();
    const startedAt = performance.now();
    let reads = 0;
    // At first what was found a moment ago still holds. Asking for the number counts too.
    for (let asked = 0; reads === 0; asked += 1, reads = (await next()) - before - asked) {
      const answers = await Promise.all(Array.from({ length: 100 }, () => probe(service, "ready")));
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    }
    expect(reads).toBeLessThanOrEqual(1 + (performance.now() - startedAt) / 500);
    await runSql(service, "DROP VIEW schema_migration; ALTER TABLE migrated RENAME TO schema_migration");
  });

  it("is not ready while a migration of its own is pending, and while the queue's schema or its migrations' table is missing", async () => {
    const [row] = await runSql<{ name: string; timestamp: string }>(
      service,
      "DELETE FROM schema_migration WHERE timestamp = (SELECT max(timestamp) FROM schema_migration) RETURNING name, timestamp",
    );
    await untilReady(service, without("migrations"));
    expect(await probe(service, "live")).toMatchObject(well);
    await runSql(service, "INSERT INTO schema_migration (name, timestamp) VALUES ($1, $2)", [
      row?.name,
      row?.timestamp,
    ]);
    await untilReady(service, well);
    await runSql(service, "INSERT INTO schema_migration (name, timestamp) VALUES ('OfANewerBuild', 9)");
    expect(await probe(service, "ready")).toMatchObject(well);
    for (const [there, gone] of [
      ["ALTER TABLE schema_migration RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO schema_migration"],
      ["ALTER SCHEMA graphile_worker RENAME TO elsewhere", "ALTER SCHEMA elsewhere RENAME TO graphile_worker"],
    ] as const) {
      await runSql(service, there);
      await untilReady(service, without("migrations"));
      await runSql(service, gone);
      await untilReady(service, well);
    }
  });
});

describe("a database that", () => {
  const door = new DatabaseDoor();
  let service: Service;

  beforeAll(async () => {
    service = await startService({ role: "api", door });
  });

  afterEach(async () => {
    door.shut();
    door.mend();
    await untilReady(service, well);
  });

  afterAll(async () => {
    await service.close();
    door.close();
  });

  it("can't be reached is named, at once, and the process is live", async () => {
    expect(await probe(service, "ready")).toMatchObject(well);
    door.shut();
    await untilReady(service, without("database"));
    const answer = await probe(service, "ready");
    expect(answer).toMatchObject(without("database"));
    expect(answer.tookMs).toBeLessThan(soonMs);
    expect(await probe(service, "live")).toMatchObject(well);
  });

  it("hangs does not make the probe hang, however many there are", async () => {
    await untilReady(service, well);
    door.hang();
    const answers = await Promise.all(Array.from({ length: 20 }, () => probe(service, "ready")));
    for (const { tookMs } of answers) expect(tookMs).toBeLessThan(soonMs);
    await untilReady(service, without("database"));
    // And where not even a new connection is answered.
    expect(await probe(service, "live")).toMatchObject(well);
    const again = await probe(service, "ready");
    expect(again).toMatchObject(without("database"));
    expect(again.tookMs).toBeLessThan(soonMs);
  });

  it("comes back is seen at once, though what was asked before is never answered", async () => {
    await untilReady(service, well);
    door.hang();
    await untilReady(service, without("database"));
    door.mend();
    const startedAt = performance.now();
    await untilReady(service, well);
    expect(performance.now() - startedAt).toBeLessThan(2 * soonMs);
  });
});

describe("a worker that", () => {
  it("can't sweep any more is named, until it can", async () => {
    // Sweeps every twentieth of a second, so that one is late after five.
    const service = await startService({ environment: { PAYMENT_CATCH_UP_EVERY: "200ms" } });
    try {
      expect(await probe(service, "ready")).toMatchObject(well);
      await runSql(service, "ALTER TABLE release RENAME TO elsewhere");
      await untilReady(service, without("worker"));
      await runSql(service, "ALTER TABLE elsewhere RENAME TO release");
      await untilReady(service, well);
    } finally {
      await service.close();
    }
  });

  it("is being stopped is named, while its last job waits for Xero", async () => {
    const service = await startService();
    try {
      const link = await newLink(service, "stopped");
      const { reached, release } = await hold(link, { method: "GET", path: "/Contacts" });
      const { id } = await saveInvoice(link.client);
      await syncInvoice(link.client, id);
      await reached();
      await link.client.close();
      const closed = service.app.close();
      await untilReady(service, without("worker"));
      expect(await probe(service, "live")).toMatchObject(well);
      await release();
      await closed;
    } finally {
      await service.close();
    }
  });

  it("is alone in its process has both probes, and an API has no worker to fail", async () => {
    const [worker, api] = await Promise.all([startService({ role: "worker" }), startService({ role: "api" })]);
    try {
      expect(await probe(worker, "ready")).toMatchObject(well);
      expect(await probe(worker, "live")).toMatchObject(well);
      expect((await fetch(`${worker.url}/graphql`, { method: "POST" })).status).toBe(404);
      expect(await probe(api, "ready")).toMatchObject(well);
    } finally {
      await worker.close();
      await api.close();
    }
  });
});
