/** Subscriptions over graphql-ws: every event once and in order, to whoever may see it, and sockets that are closed with the contract's codes. */
import { once } from "node:events";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import pg from "pg";
import { WebSocket } from "ws";
import { type GraphqlClient, GraphqlClient as Client, signToken } from "../demo/graphqlClient.js";
import { startApp } from "../src/app.js";
import { createLogger } from "../src/logger.js";
import { saveInvoice, saveParticipant, syncedInvoice, syncInvoice, untilPaid, untilSync } from "./support/records.js";
import { secret, type Service, startService } from "./support/service.js";

const unknownId = "01890000-0000-7000-8000-000000000000";

let service: Service;
let client: GraphqlClient;

beforeAll(async () => {
  service = await startService();
  await service.control("switches", { minuteLimit: 10_000 });
  client = await service.readyClient();
  const first = await syncedInvoice(client);
  await syncedInvoice(client);
  for (const amount of ["10.00", "20.00", "70.00"]) await service.control("pay", { invoiceId: first.xeroId, amount });
  await untilPaid(client, first.id, ({ status }) => status === "PAID");
});

afterAll(() => service.close());

interface Logged {
  cursor: string;
  topic: "SYNC" | "PAYMENT";
  run_id: string | null;
  invoice_id: string | null;
}

/** The log as it stands, which is what every subscription must tell. */
async function log(workspace = "one"): Promise<Logged[]> {
  const database = new pg.Client(service.database.url);
  await database.connect();
  try {
    const { rows } = await database.query<Logged>("SELECT * FROM event_log WHERE workspace_id = $1 ORDER BY cursor", [
      workspace,
    ]);
    return rows;
  } finally {
    await database.end();
  }
}

const cursors = (rows: Logged[], matches: (row: Logged) => boolean): string[] =>
  rows.filter(matches).map(({ cursor }) => cursor);

/** So many cursors of the subscription from there on. */
async function take(
  field: string,
  variables: { after: string } & Record<string, unknown>,
  count: number,
): Promise<string[]> {
  const declared = field === "payments" ? "$after: ID, $invoiceId: ID" : "$after: ID, $invoiceId: ID, $runId: ID";
  const passed =
    field === "payments"
      ? "after: $after, invoiceId: $invoiceId"
      : "after: $after, invoiceId: $invoiceId, runId: $runId";
  const events = client.watch<Record<string, { cursor: string }>>(
    `subscription (${declared}) { ${field}(${passed}) { cursor } }`,
    variables,
  );
  const seen: string[] = [];
  if (count === 0) return seen;
  for await (const event of events) {
    seen.push(event[field]?.cursor ?? "");
    if (seen.length === count) break;
  }
  return seen;
}

describe("a subscriber that comes back with its last cursor", () => {
  it.each([
    ["syncStatus", "SYNC"],
    ["payments", "PAYMENT"],
  ] as const)("has all of %s without gap or repeat, wherever it was cut off", async (field, topic) => {
    const whole = cursors(await log(), (row) => row.topic === topic);
    expect(whole.length).toBeGreaterThanOrEqual(3);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 5 }), async (cuts) => {
        const seen: string[] = [];
        for (let turn = 0; seen.length < whole.length; turn += 1) {
          const wanted = Math.min(cuts[turn % cuts.length] ?? 1, whole.length - seen.length);
          seen.push(...(await take(field, { after: seen.at(-1) ?? "0" }, wanted)));
        }
        expect(seen).toEqual(whole);
      }),
      { numRuns: 6 },
    );
  });

  it("goes on with what happens from then on", async () => {
    const last = (await log()).at(-1)?.cursor ?? "0";
    const events = client.watch<{
      syncStatus: { cursor: string; syncStatus: string | null; at: string; invoice: { id: string } | null };
    }>("subscription ($after: ID) { syncStatus(after: $after) { cursor at syncStatus invoice { id } } }", {
      after: last,
    });
    const { id } = await saveInvoice(client);
    await syncInvoice(client, id);
    const statuses: (string | null)[] = [];
    let before = BigInt(last);
    for await (const { syncStatus: event } of events) {
      expect(BigInt(event.cursor)).toBe(before + 1n);
      before = BigInt(event.cursor);
      if (event.invoice) expect(event.invoice.id).toBe(id);
      if (event.syncStatus) statuses.push(event.syncStatus);
      if (event.syncStatus === "SYNCED") break;
    }
    expect(statuses).toEqual(["QUEUED", "SYNCING", "SYNCED"]);
  });

  it("hears of the run that ends, with its status as it was at each event", async () => {
    const { id } = await saveInvoice(client);
    const run = await syncInvoice(client, id);
    const events = client.watch<{ syncStatus: { runStatus: string | null; run: { id: string } } }>(
      'subscription ($runId: ID) { syncStatus(runId: $runId, after: "0") { runStatus run { id } } }',
      { runId: run.id },
    );
    const statuses: string[] = [];
    for await (const { syncStatus: event } of events) {
      expect(event.run.id).toBe(run.id);
      if (event.runStatus) statuses.push(event.runStatus);
      if (event.runStatus === "SUCCEEDED") break;
    }
    expect(statuses).toEqual(["QUEUED", "RUNNING", "SUCCEEDED"]);
  });
});

describe("many mutations at once", () => {
  it("are told to every subscriber in the order of their commits, with cursors that leave none out", async () => {
    const start = (await log()).at(-1)?.cursor ?? "0";
    const watching = [1, 2, 3].map(() =>
      client.watch<{ syncStatus: { cursor: string } }>(
        "subscription ($after: ID) { syncStatus(after: $after) { cursor } }",
        { after: start },
      ),
    );
    const participantId = (await saveParticipant(client)).id;
    const ids = await Promise.all(
      Array.from({ length: 20 }, async () => (await saveInvoice(client, { participantId })).id),
    );
    await Promise.all(ids.flatMap((id) => [syncInvoice(client, id), syncInvoice(client, id)]));
    await Promise.all(ids.map((id) => untilSync(client, id, "SYNCED")));
    const rows = (await log()).filter(({ cursor }) => BigInt(cursor) > BigInt(start));
    expect(rows.map(({ cursor }) => cursor)).toEqual(rows.map((_, n) => String(BigInt(start) + BigInt(n) + 1n)));
    const told = cursors(rows, ({ topic }) => topic === "SYNC");
    for (const events of watching) {
      const seen: string[] = [];
      for await (const { syncStatus: event } of events) {
        seen.push(event.cursor);
        if (seen.length === told.length) break;
      }
      expect(seen).toEqual(told);
    }
  });
});

describe("a filter", () => {
  it("by invoice, by run and by both lets exactly its own events through", async () => {
    const rows = await log();
    const one = rows.find(({ topic }) => topic === "PAYMENT");
    const run = rows.find(({ invoice_id }) => invoice_id === one?.invoice_id);
    const [invoiceId, runId] = [one?.invoice_id, run?.run_id];
    const sync = (matches: (row: Logged) => boolean) => cursors(rows, (row) => row.topic === "SYNC" && matches(row));
    const ofInvoice = sync((row) => row.invoice_id === invoiceId);
    const ofRun = sync((row) => row.run_id === runId);
    const ofBoth = sync((row) => row.invoice_id === invoiceId && row.run_id === runId);
    const paid = cursors(rows, (row) => row.topic === "PAYMENT" && row.invoice_id === invoiceId);
    expect(ofBoth.length).toBeLessThan(ofRun.length);
    expect(await take("syncStatus", { after: "0", invoiceId }, ofInvoice.length)).toEqual(ofInvoice);
    expect(await take("syncStatus", { after: "0", runId }, ofRun.length)).toEqual(ofRun);
    expect(await take("syncStatus", { after: "0", runId, invoiceId }, ofBoth.length)).toEqual(ofBoth);
    expect(await take("payments", { after: "0", invoiceId }, paid.length)).toEqual(paid);
  });
});

interface Message {
  type: string;
  id?: string;
  payload?: unknown;
}

interface Refusal {
  message: string;
  extensions: { code: string; fields?: { field: string }[] };
}

/** A socket that says what it is told to, without a library's manners. */
class RawSocket {
  readonly socket: WebSocket;
  readonly messages: Message[] = [];
  readonly closed: Promise<{ code: number; reason: string }>;
  private arrived: () => void = () => undefined;

  constructor({ origin, protocol = "graphql-transport-ws" }: { origin?: string; protocol?: string } = {}) {
    this.socket = new WebSocket(
      `${service.url.replace("http", "ws")}/graphql`,
      protocol,
      origin === undefined ? {} : { origin },
    );
    this.socket.on("message", (data: Buffer) => {
      this.messages.push(JSON.parse(data.toString("utf8")) as Message);
      this.arrived();
    });
    this.closed = new Promise((resolve) => {
      this.socket.on("close", (code, reason) => {
        resolve({ code, reason: reason.toString("utf8") });
        this.arrived();
      });
    });
    this.socket.on("error", () => undefined);
  }

  async send(...messages: (Message | string)[]): Promise<void> {
    if (this.socket.readyState === WebSocket.CONNECTING) await once(this.socket, "open");
    for (const message of messages) this.socket.send(typeof message === "string" ? message : JSON.stringify(message));
  }

  /** The next message that has not been taken yet. */
  async next(): Promise<Message> {
    for (;;) {
      const message = this.messages.shift();
      if (message) return message;
      if (this.socket.readyState === WebSocket.CLOSED) throw new Error(`closed: ${(await this.closed).code}`);
      await new Promise<void>((resolve) => (this.arrived = resolve));
    }
  }
}

const initial = (token?: unknown): Message => ({
  type: "connection_init",
  ...(token !== undefined && { payload: { authorization: token } }),
});

async function connected(): Promise<RawSocket> {
  const raw = new RawSocket();
  await raw.send(initial(`Bearer ${client.token}`));
  expect(await raw.next()).toMatchObject({ type: "connection_ack" });
  return raw;
}

/** The first refusal of an operation sent over a socket; and the socket stays up. */
async function refusalOf(query: unknown, variables?: unknown, operationName?: string): Promise<Refusal | undefined> {
  const raw = await connected();
  await raw.send({ id: "1", type: "subscribe", payload: { query, variables, operationName } });
  const { type, payload } = await raw.next();
  raw.socket.close();
  expect(JSON.stringify(payload)).not.toMatch(/at .*\.ts|node_modules|SELECT |INSERT |relation "|<html|<HTML/);
  expect(["error", "next"]).toContain(type);
  return type === "error" ? (payload as Refusal[])[0] : (payload as { errors?: Refusal[] }).errors?.[0];
}

describe("a subscription is refused", () => {
  it.each([
    ["an unknown invoice", `syncStatus(invoiceId: "${unknownId}") { cursor }`],
    ["an unknown run", `syncStatus(runId: "${unknownId}") { cursor }`],
    ["an unknown invoice's payments", `payments(invoiceId: "${unknownId}") { cursor }`],
  ])("with NOT_FOUND for %s", async (_name, field) => {
    expect((await refusalOf(`subscription { ${field} }`))?.extensions.code).toBe("NOT_FOUND");
  });

  it.each(["", "x", "-1", "1.5", "1e3", "999999999999", "9".repeat(18), "9".repeat(40), "0x1", "\0", " 1", "\ud800"])(
    "with BAD_USER_INPUT for the cursor %j",
    async (after) => {
      for (const field of ["syncStatus", "payments"]) {
        const refusal = await refusalOf(`subscription ($after: ID) { ${field}(after: $after) { cursor } }`, { after });
        expect(refusal?.extensions).toMatchObject({ code: "BAD_USER_INPUT", fields: [{ field: "after" }] });
      }
    },
  );

  it.each<[string, unknown, unknown, string]>([
    ["a query", "{ viewer { role } }", undefined, "BAD_USER_INPUT"],
    ["a mutation", "mutation { connectXero { expiresAt } }", undefined, "BAD_USER_INPUT"],
    ["no operation", "fragment A on Viewer { role }", undefined, "GRAPHQL_VALIDATION_FAILED"],
    [
      "two subscriptions and no name",
      "subscription A { syncStatus { cursor } } subscription B { payments { cursor } }",
      undefined,
      "BAD_USER_INPUT",
    ],
    [
      "two fields",
      "subscription { syncStatus { cursor } payments { cursor } }",
      undefined,
      "GRAPHQL_VALIDATION_FAILED",
    ],
    ["a document that is none", "subscription {", undefined, "GRAPHQL_PARSE_FAILED"],
    ["an empty document", "", undefined, "GRAPHQL_PARSE_FAILED"],
    [
      "a document of too many words",
      `subscription { syncStatus { ${"cursor ".repeat(5_000)} } }`,
      undefined,
      "GRAPHQL_PARSE_FAILED",
    ],
    ["a field that is not there", "subscription { syncStatus { password } }", undefined, "GRAPHQL_VALIDATION_FAILED"],
    [
      "a variable of another type",
      "subscription ($id: ID) { payments(invoiceId: $id) { cursor } }",
      { id: { x: 1 } },
      "BAD_USER_INPUT",
    ],
    [
      "one that costs too much",
      "subscription { syncStatus { invoice { participant { invoices(first: 100) { nodes { participant { invoices(first: 100) { nodes { lineItems { id } } } } } } } } } }",
      undefined,
      "BAD_USER_INPUT",
    ],
  ])("for %s", async (_name, query, variables, code) => {
    expect((await refusalOf(query, variables))?.extensions.code).toBe(code);
  });
});

describe("a socket", () => {
  const expired = () =>
    signToken(secret, { workspace: "one", role: "admin", expires: Math.floor(Date.now() / 1000) - 60 });

  it.each<[string, () => unknown]>([
    ["no token", () => undefined],
    ["garbage for a token", () => "Bearer garbage"],
    ["a number for a token", () => 5],
    [
      "another secret's token",
      () => signToken(`${secret}?`, { workspace: "one", role: "admin" }).then((token) => `Bearer ${token}`),
    ],
    ["a token that has expired", () => expired().then((token) => `Bearer ${token}`)],
    [
      "a token of no role",
      () => signToken(secret, { workspace: "one", role: "owner" }).then((token) => `Bearer ${token}`),
    ],
    [
      "a token of no workspace",
      () => signToken(secret, { workspace: "", role: "admin" }).then((token) => `Bearer ${token}`),
    ],
  ])("with %s is closed with 4403", async (_name, token) => {
    const raw = new RawSocket();
    await raw.send(initial(await token()));
    expect((await raw.closed).code).toBe(4403);
    expect(raw.messages).toEqual([]);
  });

  it("is closed with 4403 when its token ends, and tells nothing more", async () => {
    const token = await signToken(secret, {
      workspace: "one",
      role: "viewer",
      expires: Math.floor(Date.now() / 1000) + 2,
    });
    const raw = new RawSocket();
    await raw.send(initial(`Bearer ${token}`));
    expect(await raw.next()).toMatchObject({ type: "connection_ack" });
    await raw.send({ id: "1", type: "subscribe", payload: { query: "subscription { syncStatus { cursor } }" } });
    expect((await raw.closed).code).toBe(4403);
  });

  it("that subscribes before it is connected is closed with 4401", async () => {
    const raw = new RawSocket();
    await raw.send({ id: "1", type: "subscribe", payload: { query: "subscription { syncStatus { cursor } }" } });
    expect((await raw.closed).code).toBe(4401);
  });

  it("that connects twice is closed with 4429", async () => {
    const raw = await connected();
    await raw.send(initial(`Bearer ${client.token}`));
    expect((await raw.closed).code).toBe(4429);
  });

  it("that uses an id twice is closed with 4409", async () => {
    const raw = await connected();
    const message = { id: "1", type: "subscribe", payload: { query: "subscription { syncStatus { cursor } }" } };
    await raw.send(message, message);
    expect((await raw.closed).code).toBe(4409);
  });

  it.each<[string, string | Message]>([
    ["no JSON", "garbage"],
    ["null", "null"],
    ["no type", "{}"],
    ["an unknown type", { type: "unknown" }],
    ["a subscription without query", { id: "1", type: "subscribe", payload: {} }],
    ["a number for a query", { id: "1", type: "subscribe", payload: { query: 5 } }],
    [
      "a list for variables",
      { id: "1", type: "subscribe", payload: { query: "subscription { payments { cursor } }", variables: "x" } },
    ],
    ["a subscription without id", { type: "subscribe", payload: { query: "subscription { payments { cursor } }" } }],
  ])("that says %s is closed with 4400, and told nothing of how the service is made", async (_name, message) => {
    const raw = await connected();
    await raw.send(message);
    const { code, reason } = await raw.closed;
    expect([code, /\.ts|node_modules|at /.test(reason)]).toEqual([4400, false]);
  });

  it("that sends too much is closed with 1009", async () => {
    const raw = await connected();
    await raw.send({
      id: "1",
      type: "subscribe",
      payload: { query: `subscription { payments { cursor } } # ${"x".repeat(300_000)}` },
    });
    expect((await raw.closed).code).toBe(1009);
  });

  it.each(["https://evil.example.com", "null", "http://localhost", "http://localhost.evil.example.com"])(
    "of a page at %s is not opened",
    async (origin) => {
      const raw = new RawSocket({ origin });
      const [, response] = (await once(raw.socket, "unexpected-response")) as [
        unknown,
        { statusCode: number; destroy: () => void },
      ];
      expect(response.statusCode).toBe(403);
      response.destroy();
    },
  );

  it("of the app's own page is", async () => {
    const raw = new RawSocket({ origin: new URL(service.url).origin });
    await raw.send(initial(`Bearer ${client.token}`));
    expect(await raw.next()).toMatchObject({ type: "connection_ack" });
    raw.socket.close();
  });

  it("may complete what it subscribed to, and is told nothing of it any more", async () => {
    const raw = await connected();
    await raw.send({
      id: "1",
      type: "subscribe",
      payload: { query: 'subscription { payments(after: "0") { cursor } }' },
    });
    expect(await raw.next()).toMatchObject({ id: "1", type: "next" });
    await raw.send({ id: "1", type: "complete" }, { type: "ping" });
    for (let message = await raw.next(); message.type !== "pong"; message = await raw.next());
    expect(raw.messages).toEqual([]);
    raw.socket.close();
  });
});

describe("whoever asks for a socket in a way that no client does", () => {
  const upgrade = (target: string): string =>
    `GET ${target} HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`;

  const port = (): number => Number(new URL(service.url).port);

  it.each(["/nowhere", "/graphql/", "//", "///graphql", "http://[", "/%zz", "*"])(
    "at %s is refused, and the service lives",
    async (target) => {
      const socket = connect(port(), "localhost", () => socket.write(upgrade(target)));
      let text = "";
      socket.on("data", (part) => (text += part.toString("utf8")));
      socket.setTimeout(2_000, () => socket.destroy());
      await once(socket, "close");
      expect(text).toMatch(/^HTTP\/1\.1 (404|400)/);
      await client.ask("{ viewer { role } }");
    },
  );

  it("and hangs up at once leaves the service as it was", async () => {
    for (let n = 0; n < 20; n += 1) {
      const socket = connect(port(), "localhost");
      socket.on("error", () => undefined);
      await once(socket, "connect");
      await new Promise((sent) => socket.write(upgrade(n % 2 ? "/nowhere" : "/graphql"), sent));
      socket.resetAndDestroy();
      await client.ask("{ viewer { role } }");
    }
  });
});

describe("what another process commits", () => {
  it("is told within two seconds", async () => {
    if (service.database.embedded) {
      process.stdout.write(
        "subscriptions.test.ts: skipped on the embedded database, which one process uses at a time: events of another process\n",
      );
      return;
    }
    const second = await startApp(service.config, createLogger("silent"));
    const there = new Client(second.url, await signToken(secret, { workspace: "one", role: "admin" }));
    try {
      const last = (await log()).at(-1)?.cursor ?? "0";
      const here = client.watch<{ syncStatus: { at: string; cursor: string } }>(
        "subscription ($after: ID) { syncStatus(after: $after) { at cursor } }",
        { after: last },
      );
      const { id } = await saveInvoice(there);
      await syncInvoice(there, id);
      const { value } = (await here.next()) as { value: { syncStatus: { at: string; cursor: string } } };
      expect(value.syncStatus.cursor).toBe(String(BigInt(last) + 1n));
      expect(Date.now() - Date.parse(value.syncStatus.at)).toBeLessThan(2_000);
      await untilSync(client, id, "SYNCED");
    } finally {
      await there.close();
      await second.close();
    }
  });
});
