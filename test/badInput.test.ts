/**
 * What a client may get wrong, and what it is told then. Whatever it sends, and whatever NODE_ENV is: a code of the contract, the field
 * named, and nothing of how the service is made. `NODE_ENV` is set for the process too, since libraries read it there.
 */
import { randomBytes } from "node:crypto";
import { request } from "node:http";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { SignJWT } from "jose";
import { type Answer, GraphqlClient } from "../demo/graphqlClient.js";
import { type App, startApp } from "../src/app.js";
import { readConfig } from "../src/config.js";
import { createLogger } from "../src/logger.js";
import { type FreshDatabase, freshDatabase } from "./support/database.js";
import { saveInvoice, saveParticipant } from "./support/records.js";
import { secret } from "./support/service.js";

const codes = new Set([
  "UNAUTHENTICATED",
  "FORBIDDEN",
  "NOT_FOUND",
  "BAD_USER_INPUT",
  "XERO_DISABLED",
  "XERO_NOT_CONNECTED",
  "XERO_WEBHOOK_NOT_CONFIGURED",
  "SETUP_INCOMPLETE",
  "TAX_RATE_MISMATCH",
  "ACCOUNT_NOT_ALLOWED",
  "INVOICE_LOCKED",
  "CURSOR_EXPIRED",
  "XERO_UNAVAILABLE",
  "XERO_RATE_LIMITED",
  "RATE_LIMITED",
  "INTERNAL_SERVER_ERROR",
  "GRAPHQL_PARSE_FAILED",
  "GRAPHQL_VALIDATION_FAILED",
]);
const inside = /at .*\.ts|node_modules|SELECT |INSERT |relation "|<html|<HTML/;
const unknownId = "01890000-0000-7000-8000-000000000000";

/** The service alone: nothing here needs Xero, so that it can also run as in production. */
interface Alone {
  app: App;
  database: FreshDatabase;
  client: (role?: string) => Promise<GraphqlClient>;
  close: () => Promise<void>;
}

const issuer = "https://login.example.com/";

async function startAlone(nodeEnv: string): Promise<Alone> {
  const before = process.env.NODE_ENV;
  process.env.NODE_ENV = nodeEnv;
  const database = await freshDatabase();
  const config = readConfig({
    NODE_ENV: nodeEnv,
    PORT: "0",
    XERO_CLIENT_ID: "nobody",
    XERO_CLIENT_SECRET: "nothing",
    ENCRYPTION_KEYS: `test:${randomBytes(32).toString("base64")}`,
    AUTH_JWT_SECRET: secret,
    LOG_LEVEL: "silent",
    ...(nodeEnv === "production" && { AUTH_ISSUER: issuer, AUTH_AUDIENCE: "ledgerline" }),
  });
  config.database = { ...config.database, url: database.url, embedded: database.embedded, appRole: database.appRole };
  const app = await startApp(config, createLogger("silent"));
  return {
    app,
    database,
    client: async (role = "admin") => new GraphqlClient(app.url, await token({ role })),
    close: async () => {
      await app.close();
      await database.drop();
      process.env.NODE_ENV = before;
    },
  };
}

function token(claims: Record<string, unknown> = {}, expires: string | number = "1h", key = secret): Promise<string> {
  return new SignJWT({ workspace_id: "one", role: "admin", ...claims })
    .setProtectedHeader({ alg: "HS256" })
    .setSubject("somebody")
    .setIssuer(issuer)
    .setAudience("ledgerline")
    .setExpirationTime(expires)
    .sign(new TextEncoder().encode(key));
}

interface Refusal {
  message: string;
  extensions: { code: string; fields?: { field: string; reason: string }[]; correlationId?: string };
}

interface HttpAnswer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
  errors: Refusal[];
  data: unknown;
}

interface Call {
  method?: string;
  path?: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
}

/** A request as it is written here: `fetch` would mend the address and refuse a body for GET. */
async function call(
  url: string,
  { method = "POST", path = "/graphql", headers = {}, body }: Call,
): Promise<HttpAnswer> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const sent = request({ hostname, port, method, path, headers, agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("end", () => {
        const text = Buffer.concat(parts).toString("utf8");
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, ...parsed(text) });
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

function parsed(text: string): { errors: Refusal[]; data: unknown } {
  try {
    const { errors = [], data } = JSON.parse(text) as { errors?: Refusal[]; data?: unknown };
    return { errors, data };
  } catch {
    return { errors: [], data: undefined };
  }
}

/** Sends bytes that are no HTTP; answers the body of what comes back. */
async function rawCall(url: string, bytes: string): Promise<string> {
  const { port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), "localhost", () => socket.write(bytes));
    let text = "";
    socket.on("data", (part) => (text += part.toString("utf8")));
    socket.on("error", reject);
    socket.on("close", () => resolve(text.slice(text.indexOf("\r\n\r\n") + 4)));
  });
}

/** The first code, once it is certain that the answer tells nothing that it should not. */
function codeOf({ errors, text }: { errors: Refusal[]; text: string }): string | undefined {
  expect(text).not.toMatch(inside);
  for (const { extensions } of errors) expect(codes).toContain(extensions.code);
  return errors[0]?.extensions.code;
}

const json = { "content-type": "application/json" };
const operation = (query: string, variables?: unknown): string => JSON.stringify({ query, variables });

/** Nests the selection so many times: `a { b { … } }` of one participant's invoices' participants. */
function deep(levels: number): string {
  return levels === 0 ? "id" : `invoices(first: 100) { nodes { participant { ${deep(levels - 1)} } } }`;
}

/** 2 to the power of `levels` fields in a few lines. */
function doubling(levels: number): string {
  const fragments = Array.from(
    { length: levels },
    (_, level) => `fragment F${level} on Viewer { ...F${level + 1} ...F${level + 1} }`,
  );
  return `{ viewer { ...F0 } } ${fragments.join(" ")} fragment F${levels} on Viewer { role }`;
}

const httpTable: [name: string, call: Call, status: number, code: string][] = [
  ["JSON that is cut short", { headers: json, body: '{"query": "{ vie' }, 400, "BAD_USER_INPUT"],
  ["an empty body", { headers: json, body: "" }, 400, "BAD_USER_INPUT"],
  ["null for a body", { headers: json, body: "null" }, 400, "BAD_USER_INPUT"],
  ["text for a body", { headers: json, body: '"{ viewer { role } }"' }, 400, "BAD_USER_INPUT"],
  ["a list for a body", { headers: json, body: '[{"query":"{ viewer { role } }"}]' }, 400, "BAD_USER_INPUT"],
  ["an empty list for a body", { headers: json, body: "[]" }, 400, "BAD_USER_INPUT"],
  ["no query", { headers: json, body: "{}" }, 400, "BAD_USER_INPUT"],
  ["an empty query", { headers: json, body: operation("") }, 400, "BAD_USER_INPUT"],
  ["a number for a query", { headers: json, body: '{"query": 5}' }, 400, "BAD_USER_INPUT"],
  ["text for variables", { headers: json, body: operation("{ viewer { role } }", "x") }, 400, "BAD_USER_INPUT"],
  [
    "a name of no operation",
    { headers: json, body: '{"query":"query A { viewer { role } }","operationName":"B"}' },
    400,
    "BAD_USER_INPUT",
  ],
  [
    "two operations and no name",
    { headers: json, body: operation("query A { viewer { role } } query B { viewer { role } }") },
    400,
    "BAD_USER_INPUT",
  ],
  [
    "a persisted query",
    {
      headers: json,
      body: JSON.stringify({ extensions: { persistedQuery: { version: 1, sha256Hash: "0".repeat(64) } } }),
    },
    // By the protocol of persisted queries: the client is to send the whole query instead.
    200,
    "BAD_USER_INPUT",
  ],
  [
    "a subscription",
    { headers: json, body: operation("subscription { syncStatus { cursor } }") },
    400,
    "BAD_USER_INPUT",
  ],
  ["__proto__ in the body", { headers: json, body: '{"__proto__": {"x": 1}}' }, 400, "BAD_USER_INPUT"],
  ["plain text", { headers: { "content-type": "text/plain" }, body: "{ viewer { role } }" }, 415, "BAD_USER_INPUT"],
  [
    "a form",
    { headers: { "content-type": "application/x-www-form-urlencoded" }, body: "query=x" },
    415,
    "BAD_USER_INPUT",
  ],
  ["XML", { headers: { "content-type": "text/xml" }, body: "<query/>" }, 415, "BAD_USER_INPUT"],
  ["no content type that could be one", { headers: { "content-type": "nonsense" }, body: "x" }, 415, "BAD_USER_INPUT"],
  [
    "bytes that say they are gzip",
    { headers: { ...json, "content-encoding": "gzip" }, body: "\x1f\x8b" },
    400,
    "BAD_USER_INPUT",
  ],
  [
    "a body over the limit",
    { headers: json, body: operation(`{ viewer { role } } # ${"x".repeat(1_100_000)}`) },
    413,
    "BAD_USER_INPUT",
  ],
  ["an address that is not there", { method: "GET", path: "/nowhere" }, 404, "NOT_FOUND"],
  ["a method that is not there", { method: "DELETE", path: "/graphql" }, 404, "NOT_FOUND"],
  ["an address that can't be read", { method: "GET", path: "/%zz" }, 400, "BAD_USER_INPUT"],
  ["no query by GET", { method: "GET", path: "/graphql" }, 400, "BAD_USER_INPUT"],
  [
    "variables by GET that are no JSON",
    { method: "GET", path: "/graphql?query=%7Bviewer%7Brole%7D%7D&variables=nonsense" },
    400,
    "BAD_USER_INPUT",
  ],
  [
    "a mutation by GET",
    { method: "GET", path: `/graphql?query=${encodeURIComponent("mutation { connectXero { expiresAt } }")}` },
    405,
    "BAD_USER_INPUT",
  ],
  ["a document that is none", { headers: json, body: operation("{ viewer { role }") }, 400, "GRAPHQL_PARSE_FAILED"],
  [
    "a document of too many words",
    { headers: json, body: operation(`{ ${"viewer { role } ".repeat(2_000)} }`) },
    400,
    "GRAPHQL_PARSE_FAILED",
  ],
  ["brackets without end", { headers: json, body: operation("{a".repeat(100_000)) }, 400, "GRAPHQL_PARSE_FAILED"],
  [
    "a field that is not there",
    { headers: json, body: operation("{ viewer { password } }") },
    400,
    "GRAPHQL_VALIDATION_FAILED",
  ],
  [
    "a fragment that holds itself",
    { headers: json, body: operation("{ viewer { ...A } } fragment A on Viewer { ...A }") },
    400,
    "GRAPHQL_VALIDATION_FAILED",
  ],
  [
    "a query that asks for too much",
    { headers: json, body: operation(`{ participants(first: 100) { nodes { ${deep(3)} } } }`) },
    400,
    "BAD_USER_INPUT",
  ],
  [
    "a deep query",
    { headers: json, body: operation(`{ participants(first: 1) { nodes { ${deep(60)} } } }`) },
    400,
    "BAD_USER_INPUT",
  ],
  ["fragments that double", { headers: json, body: operation(doubling(26)) }, 400, "BAD_USER_INPUT"],
  [
    "a page too large for the list, in a variable",
    {
      headers: json,
      body: operation("query ($first: Int) { invoices(first: $first) { nodes { id } } }", { first: "x" }),
    },
    400,
    "BAD_USER_INPUT",
  ],
];

describe.each(["test", "development", "production"])("with NODE_ENV=%s", (nodeEnv) => {
  let service: Alone;
  let authorization: string;

  beforeAll(async () => {
    service = await startAlone(nodeEnv);
    authorization = `Bearer ${await token()}`;
  });

  afterAll(() => service.close());

  it.each(httpTable)("%s is refused", async (_name, { headers, ...rest }, status, code) => {
    const answer = await call(service.app.url, { ...rest, headers: { authorization, ...headers } });
    expect([answer.status, codeOf(answer)]).toEqual([status, code]);
    expect(answer.headers["content-type"]).toMatch(/^application\/(json|graphql-response\+json)/);
  });

  it.each([
    ["no HTTP at all", "nonsense\r\n\r\n"],
    ["a header without end", `GET / HTTP/1.1\r\nhost: x\r\nx: ${"x".repeat(100_000)}\r\n\r\n`],
    ["a length that is none", "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n"],
  ])("%s is refused", async (_name, bytes) => {
    const text = await rawCall(service.app.url, bytes);
    expect(codeOf({ text, ...parsed(text) })).toBe("BAD_USER_INPUT");
  });

  it("a query by GET works", async () => {
    const path = `/graphql?query=${encodeURIComponent("{ viewer { role } }")}`;
    const answer = await call(service.app.url, { method: "GET", path, headers: { authorization } });
    expect([answer.status, answer.data]).toEqual([200, { viewer: { role: "ADMIN" } }]);
  });

  it.each<[string, () => Promise<string | undefined>]>([
    ["no token", () => Promise.resolve(undefined)],
    ["another scheme", () => Promise.resolve("Basic YTpi")],
    ["garbage", () => Promise.resolve("Bearer garbage")],
    ["a token of three empty parts", () => Promise.resolve("Bearer ..")],
    ["bytes that no token holds", () => Promise.resolve("Bearer \u00e9\u00e9")],
    ["another secret", async () => `Bearer ${await token({}, "1h", `${secret}?`)}`],
    ["a token that has expired", async () => `Bearer ${await token({}, Math.floor(Date.now() / 1000) - 60)}`],
    ["a token without signature", () => Promise.resolve(`Bearer ${unsigned()}`)],
    ["a token that was changed", async () => `Bearer ${tampered(await token({ role: "viewer" }))}`],
    ["no workspace", async () => `Bearer ${await token({ workspace_id: undefined })}`],
    ["an empty workspace", async () => `Bearer ${await token({ workspace_id: "" })}`],
    ["a number for a workspace", async () => `Bearer ${await token({ workspace_id: 5 })}`],
    ["a workspace with NUL", async () => `Bearer ${await token({ workspace_id: "a\0b" })}`],
    ["a workspace too long", async () => `Bearer ${await token({ workspace_id: "w".repeat(256) })}`],
  ])("%s is UNAUTHENTICATED", async (_name, given) => {
    const value = await given();
    const headers = { ...json, ...(value !== undefined && { authorization: Buffer.from(value).toString("latin1") }) };
    for (const query of ["{ viewer { role } }", "mutation { connectXero { expiresAt } }"]) {
      const answer = await call(service.app.url, { headers, body: operation(query) });
      expect([answer.status, codeOf(answer), answer.headers["www-authenticate"]]).toEqual([
        401,
        "UNAUTHENTICATED",
        "Bearer",
      ]);
      expect(answer.data ?? null).toBeNull();
    }
  });

  it.each([["owner"], [""], ["ADMIN"], ["__proto__"], ["constructor"], [undefined]])(
    "a role %j is FORBIDDEN",
    async (role) => {
      const headers = { ...json, authorization: `Bearer ${await token({ role })}` };
      expect(codeOf(await call(service.app.url, { headers, body: operation("{ viewer { role } }") }))).toBe(
        "FORBIDDEN",
      );
    },
  );

  it("a database that is gone is INTERNAL_SERVER_ERROR with a correlation id, and nothing more", async () => {
    const gone = await startAlone(nodeEnv);
    const client = await gone.client();
    await client.ask("{ viewer { role } }");
    await gone.database.drop();
    const queries: [string, object?][] = [
      ["{ invoices { totalCount nodes { id } } }"],
      ["{ integration { enabled missingSetup } }"],
      ["mutation ($name: String!) { saveTaxRate(input: { name: $name, components: [] }) { id } }", { name: "x" }],
      ["mutation { connectXero { expiresAt } }"],
    ];
    for (const [query, variables] of queries) {
      const body = operation(query, variables);
      for (const workspace of ["one", "one that was never here"]) {
        const headers = { ...json, authorization: `Bearer ${await token({ workspace_id: workspace })}` };
        const answer = await call(gone.app.url, { headers, body });
        const code = codeOf(answer);
        if (code === "BAD_USER_INPUT") continue; // Found before the database is asked.
        expect(code).toBe("INTERNAL_SERVER_ERROR");
        for (const { message, extensions } of answer.errors) {
          expect(Object.keys(extensions).sort()).toEqual(["code", "correlationId"]);
          expect(extensions.correlationId).toEqual(expect.any(String));
          expect(message).toBe("Something went wrong here. Quote the correlation id when you report it.");
        }
      }
    }
    const ready = await call(gone.app.url, { method: "GET", path: "/health/ready" });
    expect([ready.status, ready.text]).toEqual([503, '{"status":"unavailable","failing":["database"]}']);
    await gone.close();
  });
});

function unsigned(): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "none", typ: "JWT" })}.${part({ workspace_id: "one", role: "admin", sub: "x" })}.`;
}

function tampered(signed: string): string {
  const [head = "", , signature = ""] = signed.split(".");
  const claims = { workspace_id: "one", role: "admin", exp: Math.floor(Date.now() / 1000) + 3600 };
  return `${head}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.${signature}`;
}

describe("a value", () => {
  let service: Alone;
  let client: GraphqlClient;
  let participantId: string;
  let invoiceId: string;

  beforeAll(async () => {
    service = await startAlone("test");
    client = await service.client();
    participantId = (await saveParticipant(client)).id;
    invoiceId = (await saveInvoice(client, { participantId }, { approve: false })).id;
  });

  afterAll(() => service.close());

  const refusal = ({ errors, data }: Answer<unknown>): { code: string | undefined; fields: string[] } => {
    const text = JSON.stringify({ errors, data });
    const all = (errors ?? []) as Refusal[];
    return {
      code: codeOf({ errors: all, text }),
      fields: all.flatMap(({ extensions }) => (extensions.fields ?? []).map(({ field }) => field)),
    };
  };

  /** The answers to the mutation with the input as a variable, and written into the document. */
  const bothWays = (name: string, inputType: string, input: object): Promise<Answer<unknown>[]> =>
    Promise.all([
      client.send(`mutation ($input: ${inputType}!) { ${name}(input: $input) { __typename } }`, { input }),
      client.send(`mutation { ${name}(input: ${literal(input)}) { __typename } }`),
    ]);

  const invoiceWith = (line: object, rest: object = {}): object => ({
    participantId,
    date: "2026-11-16",
    dueDate: "2026-11-30",
    lineItems: [{ description: "Support", quantity: "1", unitAmount: "100.00", ...line }],
    ...rest,
  });

  const badDecimals: unknown[] = [
    "1e9",
    "1".repeat(40),
    "NaN",
    "Infinity",
    "-",
    "",
    " 1",
    "1 ",
    "1\n",
    "1,5",
    "1.",
    ".5",
    "+1",
    "0x10",
    "١٢",
    "--1",
    "0.00001",
    "100000000000",
    "-100000000000",
    1.5,
    1e21,
    9007199254740993,
    true,
    null,
    {},
    { value: "1" },
    ["1", "2"],
  ];

  it.each(badDecimals)("%j is no quantity and no unit amount", async (value) => {
    for (const name of ["quantity", "unitAmount"]) {
      for (const answer of await bothWays("saveInvoice", "SaveInvoiceInput", invoiceWith({ [name]: value }))) {
        expect(refusal(answer)).toEqual({ code: "BAD_USER_INPUT", fields: [`input.lineItems[0].${name}`] });
      }
    }
  });

  it.each(["1e9", "NaN", "1".repeat(40), "-1", "0.001", 0.5, true])(
    "%j is no limit, rate or tolerance",
    async (value) => {
      const item = { itemNumber: "1", name: "Item", unit: "H", priceLimit: value };
      for (const answer of await bothWays("saveSupportItem", "SaveSupportItemInput", item))
        expect(refusal(answer)).toEqual({ code: "BAD_USER_INPUT", fields: ["input.priceLimit"] });
      for (const answer of await bothWays("updateIntegration", "UpdateIntegrationInput", { paidTolerance: value }))
        expect(refusal(answer)).toEqual({ code: "BAD_USER_INPUT", fields: ["input.paidTolerance"] });
      if (value === "0.001") return; // A rate has four places.
      const rate = {
        name: "Rate",
        components: [
          { name: "GST", rate: "1" },
          { name: "Levy", rate: value },
        ],
      };
      for (const answer of await bothWays("saveTaxRate", "SaveTaxRateInput", rate))
        expect(refusal(answer)).toEqual({ code: "BAD_USER_INPUT", fields: ["input.components[1].rate"] });
    },
  );

  it("zero may have a sign, and is zero", async () => {
    const lineItems = { lineItems: [{ description: "x", quantity: "-0", unitAmount: "-0.00" }] };
    const { id } = await saveInvoice(client, lineItems);
    const { invoice } = await client.ask<{ invoice: object }>(
      "query ($id: ID!) { invoice(id: $id) { total amountDue lineItems { quantity lineAmount } } }",
      { id },
    );
    expect(invoice).toEqual({ total: "0.00", amountDue: "0.00", lineItems: [{ quantity: "0", lineAmount: "0.00" }] });
  });

  it("many lines of the largest amounts are too much, and said to be", async () => {
    const line = { description: "x", quantity: "99999999", unitAmount: "9999999999.99" };
    const answer = await client.send("mutation ($input: SaveInvoiceInput!) { saveInvoice(input: $input) { id } }", {
      input: invoiceWith({}, { lineItems: [line, line] }),
    });
    expect(refusal(answer)).toMatchObject({
      code: "BAD_USER_INPUT",
      fields: expect.arrayContaining(["input.lineItems"]),
    });
  });

  const badDates: unknown[] = [
    "2026-02-30",
    "2026-13-01",
    "2025-02-29",
    "0000-01-01",
    "1899-12-31",
    "10000-01-01",
    "+02026-01-01",
    "2026-1-1",
    "21/11/2026",
    "2026-11-21T00:00:00Z",
    "2026-11-21\n",
    "",
    "tomorrow",
    20261121,
    true,
    null,
    {},
  ];

  it.each(badDates)("%j is no date", async (value) => {
    for (const answer of await bothWays("saveInvoice", "SaveInvoiceInput", invoiceWith({}, { date: value })))
      expect(refusal(answer)).toEqual({ code: "BAD_USER_INPUT", fields: ["input.date"] });
    if (value === null) return; // Both of these may be.
    for (const answer of await bothWays("saveInvoice", "SaveInvoiceInput", invoiceWith({ serviceDate: value })))
      expect(refusal(answer)).toEqual({ code: "BAD_USER_INPUT", fields: ["input.lineItems[0].serviceDate"] });
    const query = "query ($filter: InvoiceFilter) { invoices(filter: $filter) { nodes { id } } }";
    expect(refusal(await client.send(query, { filter: { dateFrom: value } }))).toEqual({
      code: "BAD_USER_INPUT",
      fields: ["filter.dateFrom"],
    });
  });

  it("the last day there is, is one", async () => {
    const days = { date: "9999-12-31", dueDate: "9999-12-31" };
    const { id } = await saveInvoice(client, days);
    const { invoices } = await client.ask<{ invoices: object }>(
      '{ invoices(filter: { dateFrom: "9999-12-31" }) { nodes { id date dueDate } } }',
    );
    expect(invoices).toEqual({ nodes: [{ id, date: "9999-12-31", dueDate: "9999-12-31" }] });
  });

  it("a field that is left out is named", async () => {
    const { errors } = await client.send("mutation ($input: SaveInvoiceInput!) { saveInvoice(input: $input) { id } }", {
      input: { ...invoiceWith({}), dueDate: undefined },
    });
    expect(JSON.stringify(errors?.[0]?.extensions)).toContain("dueDate");
    expect(errors?.[0]?.extensions.code).toBe("BAD_USER_INPUT");
  });

  it("a field that is not there is named", async () => {
    for (const answer of await bothWays("saveInvoice", "SaveInvoiceInput", invoiceWith({ colour: "red" }))) {
      expect(["BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED"]).toContain(refusal(answer).code);
      expect(answer.errors?.[0]?.message).toContain("colour");
    }
  });

  /** Every place that takes an id of ours; `%` stands for it. */
  const idPlaces: [field: string, query: string][] = [
    ["id", "{ invoice(id: %) { id } }"],
    ["id", "{ participant(id: %) { id } }"],
    ["id", "{ syncRun(id: %) { id } }"],
    ["invoiceId", "{ payments(invoiceId: %) { nodes { id } } }"],
    ["id", "mutation { approveInvoice(id: %) { id } }"],
    ["id", "mutation { replayWebhookEvent(id: %) { id } }"],
    ["id", "mutation { selectXeroOrganisation(id: %) { id } }"],
    ["taxRateId", 'mutation { mapTaxRate(taxRateId: %, xeroTaxType: "OUTPUT") { id } }'],
    ["input.id", 'mutation { saveParticipant(input: { id: %, name: "x", planManagement: NOT_NDIS }) { id } }'],
    [
      "input.planManagerId",
      'mutation { saveParticipant(input: { planManagerId: %, name: "x", planManagement: NOT_NDIS }) { id } }',
    ],
    ["input.id", 'mutation { saveTaxRate(input: { id: %, name: "x", components: [{ name: "y", rate: 1 }] }) { id } }'],
    [
      "input.taxRateId",
      'mutation { saveSupportItem(input: { itemNumber: "1", name: "x", unit: "H", taxRateId: % }) { id } }',
    ],
    ["input.defaultTaxRateId", "mutation { updateIntegration(input: { defaultTaxRateId: % }) { enabled } }"],
    ["input.id", invoiceMutation("id: %")],
    ["input.participantId", invoiceMutation("", "%")],
    ["input.lineItems[0].supportItemId", invoiceMutation("", undefined, "supportItemId: %")],
    ["input.lineItems[0].taxRateId", invoiceMutation("", undefined, "taxRateId: %")],
  ];

  function invoiceMutation(more: string, participant = '"PARTICIPANT"', line = ""): string {
    return `mutation { saveInvoice(input: { ${more} participantId: ${participant}, date: "2026-11-16", dueDate: "2026-11-30",
      lineItems: [{ description: "x", quantity: 1, unitAmount: 1, ${line} }] }) { id } }`;
  }

  const withId = (query: string, id: unknown): string =>
    query.replace("PARTICIPANT", participantId).replace("%", JSON.stringify(id));

  it.each(idPlaces)("%s that nothing has is NOT_FOUND in %s", async (_field, query) => {
    for (const id of [unknownId, unknownId.toUpperCase()])
      expect(refusal(await client.send(withId(query, id))).code).toBe("NOT_FOUND");
  });

  it.each(idPlaces)("%s that is none is BAD_USER_INPUT in %s", async (field, query) => {
    for (const id of ["not-an-id", "", 17, `${unknownId} `, `{${unknownId}}`, "a\0b", "' OR 1=1 --"])
      expect([id, refusal(await client.send(withId(query, id)))]).toEqual([
        id,
        { code: "BAD_USER_INPUT", fields: [field] },
      ]);
  });

  it("a participant to filter by is BAD_USER_INPUT where it is no id, and finds nothing where it is unknown", async () => {
    const query = "query ($id: ID) { invoices(filter: { participantId: $id }) { totalCount } }";
    expect(await client.ask(query, { id: unknownId })).toEqual({ invoices: { totalCount: 0 } });
    expect(refusal(await client.send(query, { id: "not-an-id" }))).toEqual({
      code: "BAD_USER_INPUT",
      fields: ["filter.participantId"],
    });
  });

  const lists: [list: string, query: (args: string, variables: string) => string][] = [
    ["invoices", (args, variables) => `query ${variables} { invoices(${args}) { nodes { id } } }`],
    ["participants", (args, variables) => `query ${variables} { participants(${args}) { nodes { id } } }`],
    ["payments", (args, variables) => `query ${variables} { payments(${args}) { nodes { id } } }`],
    ["supportItems", (args, variables) => `query ${variables} { supportItems(${args}) { nodes { id } } }`],
    ["webhookEvents", (args, variables) => `query ${variables} { webhookEvents(${args}) { nodes { id } } }`],
    [
      "participant.invoices",
      (args, variables) =>
        `query ${variables} { participants(first: 1) { nodes { invoices(${args}) { nodes { id } } } } }`,
    ],
  ];

  it.each(lists)("the size of a page of %s is 1 to 100", async (_list, query) => {
    for (const first of [0, 101, -1, 2_147_483_647, 2_147_483_648, 1.5, "x", "5", true, null, [1, 2]]) {
      const answers = [
        await client.send(query("first: $first", "($first: Int)"), { first }),
        await client.send(query(`first: ${literal(first)}`, "")),
      ];
      for (const answer of answers)
        expect([first, refusal(answer)]).toEqual([first, { code: "BAD_USER_INPUT", fields: ["first"] }]);
    }
    for (const first of [1, 100]) expect((await client.send(query(`first: ${first}`, ""))).errors).toBeUndefined();
  });

  it("the number of attempts is 1 to 100", async () => {
    for (const first of [0, 101, -1, "x"]) {
      const query = `query ($id: ID!) { invoice(id: $id) { syncAttempts(first: ${literal(first)}) { id } } }`;
      expect(refusal(await client.send(query, { id: invoiceId }))).toEqual({
        code: "BAD_USER_INPUT",
        fields: ["first"],
      });
    }
  });

  it.each(lists)("a cursor that %s never gave is BAD_USER_INPUT", async (_list, query) => {
    const made = (...values: unknown[]) => Buffer.from(JSON.stringify(values)).toString("base64url");
    const names = ["invoices.newest", "participants", "payments", "supportItems", "webhookEvents"];
    const cursors = [
      "",
      "garbage",
      "\0",
      "\ud800",
      "x".repeat(100_000),
      made(),
      made("nothing"),
      Buffer.from("null").toString("base64url"),
      ...names.flatMap((name) => [
        made(name),
        made(name, null, null),
        made(name, "2026-11-16", "not-an-id"),
        made(name, "2026-02-30", unknownId),
        made(name, "0000-01-01", unknownId),
        made(name, "2026-02-30T00:00:00.000Z", unknownId),
        made(name, "0000-01-01T00:00:00.000Z", unknownId),
        made(name, "2026-11-16T24:00:00.001Z", unknownId),
        made(name, "a\0b", unknownId),
        made(name, "2026-11-16", unknownId, "more"),
        made(name, { $gt: "" }, unknownId),
      ]),
    ];
    for (const after of cursors) {
      const answer = refusal(await client.send(query("after: $after", "($after: String)"), { after }));
      // What fits the list's keys is a place in it, even if no page ended there.
      if (answer.code !== undefined)
        expect([after.slice(0, 200), answer]).toEqual([
          after.slice(0, 200),
          { code: "BAD_USER_INPUT", fields: ["after"] },
        ]);
    }
  });

  /** Every place for free text, with what is sent there. */
  const textPlaces: [field: string, most: number, send: (text: string) => Promise<Answer<unknown>>][] = [
    ...(
      [
        ["name", 255],
        ["contactNumber", 50],
        ["firstName", 255],
        ["lastName", 255],
        ["email", 255],
        ["phone", 50],
        ["ndisNumber", 9],
      ] as const
    ).map(([name, most]): [string, number, (text: string) => Promise<Answer<unknown>>] => [
      `input.${name}`,
      most,
      (text) =>
        client.send("mutation ($input: SaveParticipantInput!) { saveParticipant(input: $input) { id } }", {
          input: { name: "Text", planManagement: "NOT_NDIS", [name]: text },
        }),
    ]),
    ...(
      [
        ["itemNumber", 50],
        ["name", 500],
        ["unit", 20],
        ["xeroLineDescription", 4000],
      ] as const
    ).map(([name, most]): [string, number, (text: string) => Promise<Answer<unknown>>] => [
      `input.${name}`,
      most,
      (text) =>
        client.send("mutation ($input: SaveSupportItemInput!) { saveSupportItem(input: $input) { id } }", {
          input: { itemNumber: "text", name: "Text", unit: "H", [name]: text },
        }),
    ]),
    [
      "input.name",
      50,
      (text) =>
        client.send("mutation ($input: SaveTaxRateInput!) { saveTaxRate(input: $input) { id } }", {
          input: { name: text, components: [{ name: "GST", rate: "1" }] },
        }),
    ],
    [
      "input.components[0].name",
      50,
      (text) =>
        client.send("mutation ($input: SaveTaxRateInput!) { saveTaxRate(input: $input) { id } }", {
          input: { name: `Rate ${randomBytes(6).toString("hex")}`, components: [{ name: text, rate: "1" }] },
        }),
    ],
    ["input.timeZone", 50, (text) => updateIntegration({ timeZone: text })],
    ["input.number", 50, (text) => sendInvoice(invoiceWith({}, { number: text }))],
    ["input.currency", 3, (text) => sendInvoice(invoiceWith({}, { currency: text }))],
    ["input.lineItems[0].description", 4000, (text) => sendInvoice(invoiceWith({ description: text }))],
  ];

  const updateIntegration = (input: object): Promise<Answer<unknown>> =>
    client.send("mutation ($input: UpdateIntegrationInput!) { updateIntegration(input: $input) { enabled } }", {
      input,
    });
  const sendInvoice = (input: object): Promise<Answer<unknown>> =>
    client.send("mutation ($input: SaveInvoiceInput!) { saveInvoice(input: $input) { id } }", { input });

  it.each(textPlaces)("text for %s (%i) holds no NUL and no control characters", async (field, _most, send) => {
    for (const text of ["\0", "a\0b", "a\u0007b", "a\u001bb"])
      expect([text, refusal(await send(text))]).toEqual([text, expect.objectContaining({ code: "BAD_USER_INPUT" })]);
    expect(refusal(await send("a\0b")).fields).toContain(field);
  });

  it.each(textPlaces)("text for %s (%i) may not be too long", async (field, most, send) => {
    for (const text of ["x".repeat(most + 1), "x".repeat(900_000)])
      expect(refusal(await send(text))).toMatchObject({
        code: "BAD_USER_INPUT",
        fields: expect.arrayContaining([field]),
      });
  });

  it.each(textPlaces)("text for %s (%i) may be anything else, kept or refused", async (_field, _most, send) => {
    const texts = [
      "\ud800",
      "a\udfffb",
      "👩‍🦽 🇦🇺",
      "\u2028",
      "\u00a0\u3000",
      "'; DROP TABLE invoice; --",
      "${7*7}",
      "%s%n",
      "\u202e",
    ];
    for (const text of texts)
      expect([text, [undefined, "BAD_USER_INPUT"]]).toEqual([
        text,
        expect.arrayContaining([refusal(await send(text)).code]),
      ]);
  });

  it("names are trimmed of every kind of space, may hold emoji, and may not be empty", async () => {
    const mutation =
      "mutation ($name: String!) { saveParticipant(input: { name: $name, planManagement: NOT_NDIS }) { name } }";
    expect(await client.ask(mutation, { name: "\u00a0 Zoë\u3000\u2003 👩‍🦽 \n O’Neill\ufeff" })).toEqual({
      saveParticipant: { name: "Zoë 👩‍🦽 O’Neill" },
    });
    for (const name of ["", " ", "\u00a0\u3000\t"])
      expect(refusal(await client.send(mutation, { name }))).toEqual({
        code: "BAD_USER_INPUT",
        fields: ["input.name"],
      });
  });

  it("an invoice's number is kept as it is compared: without spaces around it and doubled inside", async () => {
    const number = `N ${randomBytes(4).toString("hex")}`;
    const spaced = { number: ` ${number.replace(" ", " \t\n ")} ` };
    const saved = await saveInvoice(client, spaced);
    expect(saved.number).toBe(number);
  });

  const hostile = [
    "\0",
    "a\0b",
    "\ud800",
    "'",
    "\\",
    "%",
    "_",
    "'; DROP TABLE invoice; --",
    "' OR '1'='1",
    "x') UNION SELECT * FROM xero_grant --",
    "\u3000",
    "👩‍🦽",
    "x".repeat(200_000),
  ];

  it.each([
    ["participants(search: $text) { totalCount }"],
    ["supportItems(search: $text) { totalCount }"],
    ["invoices(filter: { number: $text }) { totalCount }"],
  ])("whatever is looked for in %s, nothing breaks", async (field) => {
    for (const text of hostile) {
      const answer = await client.send(`query ($text: String) { ${field} nothing: __typename }`, { text });
      expect([text.slice(0, 50), [undefined, "BAD_USER_INPUT"]]).toEqual([
        text.slice(0, 50),
        expect.arrayContaining([refusal(answer).code]),
      ]);
    }
  });

  it("what LIKE takes for a wildcard is looked for as it is", async () => {
    await saveParticipant(client, { name: "Percent 100% _ \\ sign" });
    const search = async (text: string) =>
      (
        await client.ask<{ participants: { totalCount: number } }>(
          "query ($text: String) { participants(search: $text) { totalCount } }",
          { text },
        )
      ).participants.totalCount;
    expect([
      await search("0% _ \\ s"),
      await search("%sign"),
      await search("percent_100"),
      await search("100\\%"),
    ]).toEqual([1, 0, 0, 0]);
  });
});

describe("a role", () => {
  let service: Alone;

  beforeAll(async () => {
    service = await startAlone("test");
  });

  afterAll(() => service.close());

  const needs: Record<string, [role: "bookkeeper" | "admin", mutation: string]> = {
    approveInvoice: ["bookkeeper", `approveInvoice(id: "${unknownId}") { id }`],
    cancelSyncRun: ["bookkeeper", `cancelSyncRun(id: "${unknownId}") { id }`],
    connectXero: ["admin", "connectXero { expiresAt }"],
    disconnectXero: ["admin", `disconnectXero(organisationId: "${unknownId}") { id }`],
    importContacts: ["bookkeeper", "importContacts { id }"],
    linkContact: ["bookkeeper", `linkContact(participantId: "${unknownId}") { id }`],
    mapTaxRate: ["admin", `mapTaxRate(taxRateId: "${unknownId}") { id }`],
    recordPayment: [
      "bookkeeper",
      `recordPayment(input: { invoiceId: "${unknownId}", amount: "1.00", paymentDate: "2026-11-16T00:00:00Z" }) { id }`,
    ],
    refreshXeroData: ["admin", "refreshXeroData { enabled }"],
    replayWebhookEvent: ["bookkeeper", `replayWebhookEvent(id: "${unknownId}") { id }`],
    retryPayment: ["bookkeeper", `retryPayment(id: "${unknownId}") { id }`],
    retrySyncRun: ["bookkeeper", `retrySyncRun(id: "${unknownId}") { id }`],
    reversePayment: ["bookkeeper", `reversePayment(id: "${unknownId}") { id }`],
    runInvoiceSync: ["bookkeeper", "runInvoiceSync { id }"],
    saveInvoice: [
      "bookkeeper",
      `saveInvoice(input: { participantId: "${unknownId}", date: "2026-11-16", dueDate: "2026-11-16", lineItems: [] }) { id }`,
    ],
    saveParticipant: ["bookkeeper", 'saveParticipant(input: { name: "x" }) { id }'],
    saveSupportItem: ["bookkeeper", 'saveSupportItem(input: { itemNumber: "", name: "", unit: "" }) { id }'],
    saveTaxRate: ["admin", 'saveTaxRate(input: { name: "", components: [] }) { id }'],
    selectXeroOrganisation: ["admin", `selectXeroOrganisation(id: "${unknownId}") { id }`],
    setInvoiceIgnored: ["bookkeeper", `setInvoiceIgnored(id: "${unknownId}", ignored: true) { id }`],
    setPaymentIncluded: ["bookkeeper", `setPaymentIncluded(id: "${unknownId}", include: true) { id }`],
    setPaymentPaid: ["bookkeeper", `setPaymentPaid(id: "${unknownId}", paid: true) { id }`],
    syncInvoice: ["bookkeeper", `syncInvoice(id: "${unknownId}") { id }`],
    syncInvoices: ["bookkeeper", "syncInvoices(ids: []) { id }"],
    syncPayments: ["bookkeeper", `syncPayments(invoiceId: "${unknownId}") { id }`],
    updateIntegration: ["admin", "updateIntegration(input: { enabled: null }) { enabled }"],
    voidInvoice: ["bookkeeper", `voidInvoice(id: "${unknownId}") { id }`],
  };

  it("is asked for by every mutation", async () => {
    const { __schema } = await (
      await service.client("viewer")
    ).ask<{
      __schema: { mutationType: { fields: { name: string }[] } };
    }>("{ __schema { mutationType { fields { name } } } }");
    expect(__schema.mutationType.fields.map(({ name }) => name).sort()).toEqual(Object.keys(needs).sort());
  });

  const table = Object.entries(needs).flatMap(([name, [needed, mutation]]) =>
    (["viewer", "bookkeeper", "admin"] as const).map((role): [string, string, boolean, string] => [
      role,
      name,
      role === "admin" || role === needed,
      mutation,
    ]),
  );

  it.each(table)("%s for %s: %s", async (role, _name, allowed, mutation) => {
    const { errors, data } = await (await service.client(role)).send(`mutation { ${mutation} }`);
    const code = errors?.[0]?.extensions.code;
    if (!allowed) expect([code, data ?? null]).toEqual(["FORBIDDEN", null]);
    else expect(code).not.toBe("FORBIDDEN");
    expect(code).not.toBe("INTERNAL_SERVER_ERROR");
  });

  it("a viewer may read everything", async () => {
    const viewer = await service.client("viewer");
    await viewer.ask(`{ viewer { role } integration { enabled missingSetup webhook { deliveryUrl } } xeroOrganisations { id }
      taxRates { id } invoices { totalCount } participants { totalCount } payments { totalCount } supportItems { totalCount }
      webhookEvents { totalCount } }`);
  });
});

/** A value as GraphQL writes it. */
function literal(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  return `{ ${Object.entries(value)
    .map(([name, field]) => `${name}: ${literal(field)}`)
    .join(", ")} }`;
}
