/** What is counted moves as traffic does, under names that no client can add to, and says nothing of anybody; a scrape works whatever else does not. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { GraphqlClient } from "../demo/graphqlClient.js";
import { startApp } from "../src/app.js";
import { createLogger } from "../src/logger.js";
import { DatabaseDoor } from "./support/DatabaseDoor.js";
import { until, update } from "./support/links.js";
import { change, recordPayment, scopesToPush, untilPayment } from "./support/payments.js";
import {
  runSql,
  saveInvoice,
  saveParticipant,
  syncedInvoice,
  syncInvoice,
  untilPaid,
  untilSync,
} from "./support/records.js";
import { Scrape, scrape } from "./support/scrape.js";
import { type Service, startService } from "./support/service.js";

type Labels = Record<string, string>;

/** By how much each of these sums grew while the work was done, looked at until it has grown at all. */
async function growth(
  service: { url: string },
  work: () => Promise<unknown>,
  ...of: [string, Labels?][]
): Promise<number[]> {
  const read = async (): Promise<number[]> => {
    const now = await scrape(service);
    return of.map(([name, labels]) => now.sum(name, labels));
  };
  const before = await read();
  await work();
  let grown: number[] = [];
  await until(async () => {
    grown = (await read()).map((value, index) => value - (before[index] ?? 0));
    return grown.every((by) => by > 0);
  }).catch(() => undefined);
  return grown;
}

const requests = (operation: string, outcome = "OK", type = "query"): [string, Labels] => [
  "graphql_requests_total",
  { type, operation, outcome },
];

describe("a service with traffic", () => {
  let service: Service;
  let client: GraphqlClient;

  beforeAll(async () => {
    service = await startService({ environment: { XERO_SCOPES: scopesToPush } });
    client = await service.readyClient();
    await update(client, { pushPayments: true, timeZone: "Australia/Sydney" });
  });

  afterEach(() => service.control("faults/clear", {}));

  afterAll(() => service.close());

  it("is read as Prometheus reads, with a help and our prefix for everything", async () => {
    const response = await fetch(`${service.url}/metrics`);
    expect(response.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
    expect(response.headers.get("cache-control")).toBe("no-store");
    const { text, samples } = new Scrape(await response.text());
    for (const { name } of samples) expect(name).toMatch(/^ledgerline_/);
    const described = [...text.matchAll(/^# HELP (\S+) (.*)$/gm)];
    for (const [, , help] of described) expect(help?.length).toBeGreaterThan(10);
    for (const [, name = ""] of text.matchAll(/^# TYPE (\S+) counter$/gm)) expect(name).toMatch(/_total$/);
  });

  it.each<[string, string, [string, Labels]]>([
    ["by its root field", "{ invoices { totalCount } }", requests("invoices")],
    ["whatever the client calls it and its fields", "query SecretOfMine { mine: viewer { role } }", requests("viewer")],
    ["that has several", "{ viewer { role } alerts { totalCount } }", requests("several")],
    ["that asks for one twice", "{ a: viewer { role } b: viewer { subject: role } }", requests("viewer")],
    ["through fragments", "{ ...F } fragment F on Query { ... { viewer { role } __typename } }", requests("viewer")],
    ["of the schema", "{ __schema { queryType { name } } }", requests("introspection")],
    ["that can't be read", "{ invoices {", requests("unknown", "GRAPHQL_PARSE_FAILED", "unknown")],
    ["that is not valid", "{ secretOfMine }", requests("unknown", "GRAPHQL_VALIDATION_FAILED", "unknown")],
    [
      "that is refused",
      'mutation { syncInvoice(id: "7e57ab1e-0000-7000-8000-000000000000") { id } }',
      requests("syncInvoice", "NOT_FOUND", "mutation"),
    ],
    ["that goes elsewhere", "subscription { alerts { cursor } }", requests("alerts", "BAD_USER_INPUT", "subscription")],
    ["without any text", "", requests("unknown", "BAD_USER_INPUT", "unknown")],
  ])("counts a request %s", async (_what, query, label) => {
    expect(await growth(service, () => client.send(query), label)).toEqual([1]);
  });

  it("counts whoever is not let in, and how long an answer takes of whoever is", async () => {
    const nobody = new GraphqlClient(service.url, "no token");
    const refused = requests("unknown", "UNAUTHENTICATED", "unknown");
    expect(await growth(service, () => nobody.send("{ viewer { role } }"), refused)).toEqual([1]);
    const times: [string, Labels][] = [
      ["graphql_request_duration_seconds_count", { type: "query", operation: "viewer" }],
      ["graphql_request_duration_seconds_sum", { type: "query", operation: "viewer" }],
    ];
    const [count, sum] = await growth(service, () => client.ask("{ viewer { role } }"), ...times);
    expect(count).toBe(1);
    expect(sum).toBeLessThan(10);
  });

  it("counts sockets and subscriptions while they are open, how they began, and how old events are that reach them", async () => {
    const watcher = await service.client();
    const began = requests("syncStatus", "OK", "subscription");
    const events = watcher.watch<unknown>("subscription A { syncStatus { cursor } }");
    const more = watcher.watch<unknown>("subscription B { alerts { cursor } }");
    const first = events.next();
    void more.next();
    await until(async () => (await scrape(service)).sum(...began) === 1);
    const open = await scrape(service);
    expect([open.sum("sockets"), open.sum("subscriptions")]).toEqual([2, 2]);
    const grown = await growth(
      service,
      async () => {
        await saveInvoice(client).then(({ id }) => syncInvoice(client, id));
        await first;
      },
      ["event_lag_seconds_count"],
      ["event_lag_seconds_sum"],
    );
    expect(grown[1]).toBeLessThan(30);
    await watcher.close();
    await until(async () => {
      const now = await scrape(service);
      return now.sum("sockets") === 0 && now.sum("subscriptions") === 0;
    });
    expect((await scrape(service)).sum(...began)).toBe(1);
  });

  it("counts subscriptions that are refused, once each", async () => {
    const refused = async (query: string): Promise<void> => {
      const watcher = await service.client();
      await expect(watcher.watch(query).next()).rejects.toBeDefined();
      await watcher.close();
    };
    for (const [query, label] of [
      ['subscription { alerts(after: "x") { cursor } }', requests("alerts", "BAD_USER_INPUT", "subscription")],
      ["subscription { secretOfMine }", requests("unknown", "GRAPHQL_VALIDATION_FAILED", "unknown")],
      ["{ viewer { role } }", requests("unknown", "BAD_USER_INPUT", "unknown")],
    ] as const) {
      expect(await growth(service, () => refused(query), label)).toEqual([1]);
    }
  });

  it("counts Xero's deliveries by our answer, and how long it took until their events were applied", async () => {
    const asked = () => service.control("webhooks/intent-to-receive", {});
    const answers = await growth(
      service,
      asked,
      ["webhook_answers_total", { status: "200" }],
      ["webhook_answers_total", { status: "401" }],
      ["webhook_answer_duration_seconds_count"],
    );
    expect(answers[2]).toBe((answers[0] ?? 0) + (answers[1] ?? 0));
    const { id, xeroId } = await syncedInvoice(client);
    const paid = async (): Promise<void> => {
      await service.control("pay", { invoiceId: xeroId });
      await untilPaid(client, id, ({ status }) => status === "PAID");
    };
    const of: Labels = { outcome: "APPLIED" };
    const [events, age] = await growth(
      service,
      paid,
      ["webhook_event_age_seconds_count", of],
      ["webhook_event_age_seconds_sum", of],
    );
    expect(events).toBeGreaterThan(0);
    expect(age).toBeLessThan(60);
    const stranger = { tenantId: "7e57ab1e-0000-4000-8000-000000000000" };
    expect(
      await growth(service, () => service.control("webhooks/send", { events: [stranger], signature: "wrong" }), [
        "webhook_answers_total",
        { status: "401" },
      ]),
    ).toEqual([1]);
  });

  it("counts calls to Xero by what is asked for and how it ends, those for tokens too", async () => {
    const now = await scrape(service);
    for (const operation of ["exchangeCode", "connections", "fetchOrganisation", "fetchAccounts"]) {
      expect(now.sum("xero_calls_total", { operation, status: "2xx" })).toBeGreaterThan(0);
      expect(now.sum("xero_call_duration_seconds_count", { operation })).toBeGreaterThan(0);
    }
    const refresh = () => client.send("mutation { refreshXeroData { enabled } }");
    for (const [fault, status] of [
      ["503-unavailable", "5xx"],
      ["lost-request", "none"],
      ["429-minute", "429"],
    ] as const) {
      await service.control("faults", { fault, times: 1, retryAfterSeconds: 1, match: { method: "GET" } });
      const [calls] = await growth(service, refresh, ["xero_calls_total", { status }]);
      expect([status, calls]).toEqual([status, 1]);
      await service.control("faults/clear", {});
      await until(async () => !(await refresh()).errors);
    }
  });

  it("counts how attempts end, and why those fail that do", async () => {
    const outcome = (of: string, code = ""): [string, Labels] => ["sync_attempts_total", { outcome: of, code }];
    let id = "";
    const created = async (): Promise<void> => void ({ id } = await syncedInvoice(client));
    expect(await growth(service, created, outcome("CREATED"))).toEqual([1]);
    expect(await growth(service, () => syncInvoice(client, id), outcome("UNCHANGED"))).toEqual([1]);
    const refused = async (): Promise<void> => {
      await service.control("lock", { periodLockDate: "2026-11-30" });
      await client.ask("mutation { refreshXeroData { enabled } }");
      const invoice = await saveInvoice(client);
      await syncInvoice(client, invoice.id);
      await untilSync(client, invoice.id, "FAILED");
      await service.control("lock", { periodLockDate: null });
      await client.ask("mutation { refreshXeroData { enabled } }");
      await untilSync(client, invoice.id, "SYNCED");
    };
    expect(await growth(service, refused, outcome("FAILED", "PERIOD_LOCKED"), outcome("CREATED"))).toEqual([1, 1]);
  });

  it("counts payments that are told to Xero, made, taken back and refused", async () => {
    const invoice = await syncedInvoice(client);
    const pushed = (outcome: string, code = ""): [string, Labels] => ["payments_pushed_total", { outcome, code }];
    const settled = (id: string, ...statuses: string[]) =>
      untilPayment(client, invoice.id, id, ({ syncStatus }) => statuses.includes(syncStatus));
    let id = "";
    const made = async (): Promise<void> => {
      ({ id } = await recordPayment(client, invoice.id));
      await settled(id, "SYNCED");
    };
    expect(await growth(service, made, pushed("CREATED"))).toEqual([1]);
    const ended = async (): Promise<void> => {
      await change(client, "reversePayment", id);
      await settled(id, "SYNCED");
    };
    expect(await growth(service, ended, pushed("DELETED"))).toEqual([1]);
    const refused = async (): Promise<void> => {
      await service.control("lock", { periodLockDate: "2026-12-31" });
      await client.ask("mutation { refreshXeroData { enabled } }");
      await settled((await recordPayment(client, invoice.id)).id, "FAILED");
    };
    expect(await growth(service, refused, pushed("FAILED", "PERIOD_LOCKED"))).toEqual([1]);
    await service.control("lock", { periodLockDate: null });
    await client.ask("mutation { refreshXeroData { enabled } }");
  });

  it("shows what is left of a day's calls, of the fifty connections that have least of theirs", async () => {
    await syncedInvoice(client);
    const [own] = await runSql<{ id: string }>(service, "SELECT id FROM connection");
    const left = async (): Promise<Scrape> => scrape(service);
    await until(async () => (await left()).all("xero_day_calls_remaining", { connection: own?.id ?? "" }).length === 1);
    const shown = await left();
    expect(shown.sum("xero_day_calls_remaining")).toBeLessThanOrEqual(shown.sum("xero_day_calls_limit"));
    await runSql(
      service,
      `INSERT INTO tenant_limit (tenant_id, day_limit, day_remaining, day_seen_at, updated_at)
         SELECT gen_random_uuid(), 1000, n, now() - CASE WHEN n > 60 THEN interval '2 hours' ELSE interval '0' END, now() FROM generate_series(1, 70) n;
       INSERT INTO connection SELECT (jsonb_populate_record(c, jsonb_build_object('id', gen_random_uuid(), 'tenant_id', l.tenant_id))).*
         FROM connection c, tenant_limit l WHERE c.tenant_id <> l.tenant_id`,
    );
    await until(async () => (await left()).all("xero_day_calls_remaining").length > 1);
    const most = (await left()).all("xero_day_calls_remaining").map(({ value }) => value);
    expect(most.sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
    await runSql(service, "DELETE FROM connection WHERE id <> $1", [own?.id]);
  });

  it("tells of the process: its parts, its sweep, its loop", async () => {
    const now = await scrape(service);
    expect(now.all("ready").map(({ labels, value }) => [labels["part"], value])).toEqual([
      ["database", 1],
      ["migrations", 1],
      ["worker", 1],
    ]);
    expect(now.all("worker_sweep_age_seconds")).toHaveLength(1);
    // Also of what has nothing to do.
    expect(now.all("queue_jobs", { task: "release", state: "dead" })).toMatchObject([{ value: 0 }]);
    expect(now.sum("worker_sweep_age_seconds")).toBeLessThan(60);
    expect(now.all("nodejs_eventloop_lag_p99_seconds")).toHaveLength(1);
    expect(now.sum("process_resident_memory_bytes")).toBeGreaterThan(1e6);
    expect(now.sum("scrape_errors_total")).toBe(0);
  });

  it("says nothing of anybody", async () => {
    const secrets = ["Zubeida Quandt", "zubeida.quandt@example.com", "0255501234", "INV-SECRET-9", "workspace-of-mine"];
    const [name, email, phone, number = "", workspace = ""] = secrets;
    const other = await service.client("admin", workspace);
    await other.send("query Zubeida_Quandt { viewer { role } }");
    const participant = await saveParticipant(client, { name, email, phone });
    const invoice = await syncedInvoice(client, { participantId: participant.id, number });
    await client.send("{ zubeidaQuandt }");
    await service.control("pay", { invoiceId: invoice.xeroId });
    await untilPaid(client, invoice.id, ({ status }) => status === "PAID");
    const { text, samples } = await scrape(service);
    const found = [
      ...secrets,
      client.token,
      invoice.id,
      "zubeida",
      "SecretOfMine",
      "Demo Company",
      service.sandbox.webhookKey,
    ];
    for (const secret of found) expect(text.toLowerCase()).not.toContain(secret.toLowerCase());
    for (const { name: metric, labels } of samples) {
      for (const [label, value] of Object.entries(labels)) {
        // Names of ours, numbers and versions; ids of connections, and nothing else.
        if (label === "connection") expect(metric).toMatch(/^ledgerline_xero_day_calls_/);
        else expect([metric, label, value]).toEqual([metric, label, expect.stringMatching(/^[A-Za-z0-9_.+-]{0,40}$/)]);
      }
    }
  });
});

describe("the queue", () => {
  it("is shown by task and state, with the age of what is due", async () => {
    // Nobody takes jobs here.
    const service = await startService({ role: "api" });
    try {
      await runSql(
        service,
        `SELECT graphile_worker.add_job('pull', '{}', run_at => now() - interval '100 s'), graphile_worker.add_job('pull', '{}'),
                graphile_worker.add_job('push', '{}', run_at => now() + interval '1 hour'), graphile_worker.add_job('pay', '{}')`,
      );
      await runSql(
        service,
        "UPDATE graphile_worker._private_jobs SET attempts = max_attempts WHERE id IN (SELECT id FROM graphile_worker.jobs WHERE task_identifier = 'pay')",
      );
      const shown = await scrape(service);
      const jobs = shown.all("queue_jobs").filter(({ value }) => value > 0);
      expect(jobs.map(({ labels, value }) => `${labels["task"]} ${labels["state"]} ${value}`).sort()).toEqual([
        "pay dead 1",
        "pull due 2",
        "push later 1",
      ]);
      const age = (task: string) => shown.sum("queue_oldest_age_seconds", { task });
      expect(age("pull")).toBeGreaterThanOrEqual(100);
      expect(age("pull")).toBeLessThan(200);
      expect([age("push"), age("pay")]).toEqual([0, 0]);
      await runSql(service, "DELETE FROM graphile_worker._private_jobs");
      await until(async () => (await scrape(service)).sum("queue_jobs") === 0);
      expect((await scrape(service)).all("queue_oldest_age_seconds", { task: "pull" })).toMatchObject([{ value: 0 }]);
      expect(shown.all("worker_sweep_age_seconds")).toEqual([]);
      expect(shown.all("ready").map(({ labels }) => labels["part"])).toEqual(["database", "migrations"]);
    } finally {
      await service.close();
    }
  });
});

describe("a scrape", () => {
  it("needs the token where there is one, and nothing less", async () => {
    const service = await startService({ role: "worker", environment: { METRICS_TOKEN: "a token for Prometheus" } });
    const answer = async (authorization?: string) =>
      fetch(`${service.url}/metrics`, { headers: authorization === undefined ? {} : { authorization } });
    try {
      for (const wrong of [
        undefined,
        "",
        "Bearer",
        "Bearer a token for prometheus",
        "Bearer a token for Prometheus2",
        "Basic a token for Prometheus",
        "a token for Prometheus",
      ]) {
        const response = await answer(wrong);
        expect([wrong, response.status, response.headers.get("www-authenticate")]).toEqual([wrong, 401, "Bearer"]);
        expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: "UNAUTHENTICATED" } }] });
      }
      const { text } = await scrape(service, "a token for Prometheus");
      expect(text).toContain("ledgerline_worker_sweep_age_seconds ");
      expect(text).not.toContain("a token for Prometheus");
      // What orchestrators ask has no token.
      expect((await fetch(`${service.url}/health/ready`)).status).toBe(200);
    } finally {
      await service.close();
    }
  });

  it("works while the database is gone or hangs, leaves out what only that knows, and says so", async () => {
    const door = new DatabaseDoor();
    const service = await startService({ role: "api", door });
    try {
      await runSql(service, "SELECT graphile_worker.add_job('pull', '{}')");
      await (await service.client()).ask("{ viewer { role } }");
      await until(async () => (await scrape(service)).all("queue_jobs").length > 0);
      for (const trouble of ["shut", "hang"] as const) {
        door[trouble]();
        // What was read a moment ago is shown once more.
        await until(async () => (await scrape(service)).all("queue_jobs").length === 0);
        const startedAt = performance.now();
        const without = await scrape(service);
        expect(performance.now() - startedAt).toBeLessThan(5_000);
        expect(without.all("queue_oldest_age_seconds")).toEqual([]);
        expect(without.sum("scrape_errors_total")).toBeGreaterThan(0);
        expect(without.all("ready", { part: "database" })).toMatchObject([{ value: 0 }]);
        expect(without.sum(...requests("viewer"))).toBe(1);
        door.shut();
        door.mend();
        await until(async () => (await scrape(service)).all("queue_jobs").length > 0);
        await until(async () => (await scrape(service)).sum("ready", { part: "database" }) === 1);
      }
    } finally {
      await service.close();
      door.close();
    }
  });

  it("of two services in one process shows each its own", async () => {
    const first = await startService({ role: "api" });
    const second = await startApp(first.config, createLogger("silent"));
    try {
      const client = await first.client();
      const other = new GraphqlClient(second.url, client.token);
      await client.ask("{ viewer { role } }");
      for (let times = 0; times < 3; times += 1) await other.ask("{ viewer { role } }");
      expect((await scrape(first)).sum(...requests("viewer"))).toBe(1);
      expect((await scrape(second)).sum(...requests("viewer"))).toBe(3);
    } finally {
      await second.close();
      await first.close();
    }
  });
});
