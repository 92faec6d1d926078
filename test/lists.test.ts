/** Lists: pages that neither repeat nor leave out, filters, orders, search; and what a page costs, however long it is. */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { pino } from "pino";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { saveInvoice, saveParticipant, syncInvoice, untilPaid, untilSync } from "./support/records.js";
import { type Service, startService } from "./support/service.js";

interface Node {
  id: string;
  number: string;
  date: string;
  updatedAt: string;
  status: string;
  syncStatus: string;
}

interface Page {
  totalCount?: number;
  nodes: Node[];
  edges: { cursor: string; node: { id: string } }[];
  pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean; startCursor: string | null; endCursor: string | null };
}

type Order = "NEWEST_FIRST" | "OLDEST_FIRST" | "RECENTLY_UPDATED";
const orders: Order[] = ["NEWEST_FIRST", "OLDEST_FIRST", "RECENTLY_UPDATED"];

const count = 55;

const statements: string[] = [];
let service: Service;
let client: GraphqlClient;
/** A workspace of its own for rows that come in between. */
let other: GraphqlClient;
let participants: { id: string; contactNumber: string }[];
let failedId: string;
let draftId: string;

beforeAll(async () => {
  const stream = {
    write: (line: string) => {
      const { msg, sql } = JSON.parse(line) as { msg?: string; sql?: string };
      if (msg === "statement" && sql !== undefined) statements.push(sql);
    },
  };
  service = await startService({ logger: pino({ level: "trace" }, stream) });
  await service.control("switches", { minuteLimit: 10_000 });
  client = await service.readyClient();
  other = await service.client("admin", "two");
  participants = await Promise.all(
    Array.from({ length: 8 }, (_, n) =>
      saveParticipant(client, {
        name: `Person ${String.fromCharCode(65 + n)}`,
        email: `person${n}@example.com`,
        contactNumber: `C-${n}`,
        ndisNumber: `43000000${n}`,
      }),
    ),
  );
  const { accounts, taxRates } = await client.ask<{ accounts: { accountId: string }[]; taxRates: { id: string }[] }>(
    "{ accounts: xeroAccounts(use: REVENUE_ACCOUNTS) { accountId } taxRates { id } }",
  );
  for (const n of [1, 2, 3]) {
    await client.ask("mutation ($input: SaveSupportItemInput!) { saveSupportItem(input: $input) { id } }", {
      input: { itemNumber: `01_0${n}`, name: `Item ${n}`, unit: "H", taxRateId: taxRates[0]?.id },
    });
  }
  const { supportItems } = await client.ask<{ supportItems: { nodes: { id: string }[] } }>(
    "{ supportItems { nodes { id } } }",
  );
  const saved = await Promise.all(
    Array.from({ length: count }, (_, n) =>
      saveInvoice(client, {
        number: `N-${n}`,
        participantId: participants[n % 8]?.id ?? "",
        // Several share a day, so that the order needs more than the day.
        date: `2026-11-${String(1 + (n % 7)).padStart(2, "0")}`,
        lineItems: [0, 1].map((line) => ({
          supportItemId: supportItems.nodes[(n + line) % 3]?.id,
          salesAccountId: accounts[(n + line) % 3]?.accountId,
          taxRateId: taxRates[0]?.id,
          quantity: "1",
          unitAmount: "100.00",
        })),
      }),
    ),
  );
  await Promise.all(saved.map(({ id }) => syncInvoice(client, id)));
  await Promise.all(saved.map(({ id }) => untilSync(client, id, "SYNCED")));
  const states = await client.ask<{ invoices: { nodes: { id: string; number: string; xeroId: string }[] } }>(
    "{ invoices(first: 100) { nodes { id number xeroId } } }",
  );
  const paying = states.invoices.nodes.filter((_, n) => n % 5 === 0);
  await Promise.all(paying.map(({ xeroId }) => service.control("pay", { invoiceId: xeroId, amount: "10.00" })));
  await Promise.all(paying.map(({ id }) => untilPaid(client, id, ({ status }) => status === "PARTIALLY_PAID")));
  draftId = (await saveInvoice(client, { number: "draft" }, { approve: false })).id;
  await service.control("lock", { periodLockDate: "2026-06-30" });
  failedId = (await saveInvoice(client, { number: "refused", date: "2026-06-01" })).id;
  await syncInvoice(client, failedId);
  await untilSync(client, failedId, "FAILED");
}, 120_000);

afterAll(() => service.close());

const pageFields =
  "nodes { id number date updatedAt status syncStatus } edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }";

async function page(
  of: GraphqlClient,
  variables: { first?: number; after?: string | null; orderBy?: Order; filter?: object },
): Promise<Page> {
  const { invoices } = await of.ask<{ invoices: Page }>(
    `query ($first: Int, $after: String, $orderBy: InvoiceOrder, $filter: InvoiceFilter) {
      invoices(first: $first, after: $after, orderBy: $orderBy, filter: $filter) { totalCount ${pageFields} } }`,
    variables,
  );
  return invoices;
}

/** Every page to the end; `between` runs after each. */
async function walk(
  of: GraphqlClient,
  orderBy: Order,
  sizes: number[],
  between: (turn: number) => Promise<unknown> = () => Promise.resolve(),
): Promise<Page[]> {
  const pages: Page[] = [];
  for (let after: string | null = null; ;) {
    const next: Page = await page(of, { first: sizes[pages.length % sizes.length] ?? 1, after, orderBy });
    pages.push(next);
    if (!next.pageInfo.hasNextPage) return pages;
    after = next.pageInfo.endCursor;
    await between(pages.length);
  }
}

const idsOf = (pages: Page[]): string[] => pages.flatMap(({ nodes }) => nodes.map(({ id }) => id));

const compare: Record<Order, (one: Node, two: Node) => number> = {
  NEWEST_FIRST: (one, two) => (one.date + one.id < two.date + two.id ? 1 : -1),
  OLDEST_FIRST: (one, two) => (one.date + one.id < two.date + two.id ? -1 : 1),
  RECENTLY_UPDATED: (one, two) => (one.updatedAt + one.id < two.updatedAt + two.id ? 1 : -1),
};

describe("a list of invoices", () => {
  it("in pages of any sizes is the whole list in order, each row once", async () => {
    const whole = await page(client, { first: 100 });
    expect(whole.totalCount).toBe(count + 2);
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...orders),
        fc.array(fc.integer({ min: 3, max: 40 }), { minLength: 1, maxLength: 4 }),
        async (orderBy, sizes) => {
          const pages = await walk(client, orderBy, sizes);
          expect(idsOf(pages)).toEqual([...whole.nodes].sort(compare[orderBy]).map(({ id }) => id));
          pages.forEach(({ nodes, edges, pageInfo, totalCount }, index) => {
            expect(totalCount).toBe(count + 2);
            expect(edges.map(({ node }) => node.id)).toEqual(nodes.map(({ id }) => id));
            expect(pageInfo).toEqual({
              hasNextPage: index < pages.length - 1,
              hasPreviousPage: index > 0,
              startCursor: edges[0]?.cursor,
              endCursor: edges.at(-1)?.cursor,
            });
          });
        },
      ),
      { numRuns: 12 },
    );
  });

  it("goes on after any of its rows, not only a page's last", async () => {
    const whole = await page(client, { first: 100 });
    const middle = whole.edges[20];
    const rest = await page(client, { first: 5, after: middle?.cursor ?? "" });
    expect(rest.nodes.map(({ id }) => id)).toEqual(whole.nodes.slice(21, 26).map(({ id }) => id));
  });

  it("neither repeats nor hides a row when others come in between", async () => {
    const participantId = (await saveParticipant(other)).id;
    const day = (n: number) => `2026-11-${String(1 + (n % 28)).padStart(2, "0")}`;
    const add = (n: number) => saveInvoice(other, { participantId, date: day(n) }, { approve: false });
    for (let n = 0; n < 12; n += 1) await add(n * 5);
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...orders),
        fc.integer({ min: 2, max: 7 }),
        fc.array(fc.nat(27), { minLength: 1, maxLength: 3 }),
        async (orderBy, size, days) => {
          const before = idsOf([await page(other, { first: 100, orderBy })]);
          const seen = idsOf(
            await walk(other, orderBy, [size], async (turn) => {
              const when = days[turn - 1];
              if (when !== undefined) await add(when);
            }),
          );
          expect(new Set(seen).size).toBe(seen.length);
          expect(seen.filter((id) => before.includes(id))).toEqual(before);
        },
      ),
      { numRuns: 8 },
    );
  });

  it("is empty past its end", async () => {
    const whole = await page(client, { first: 100 });
    expect(await page(client, { after: whole.pageInfo.endCursor })).toMatchObject({
      nodes: [],
      pageInfo: { hasNextPage: false, hasPreviousPage: true, startCursor: null, endCursor: null },
    });
  });

  it("refuses a cursor of another order or list", async () => {
    const { invoices, participants: people } = await client.ask<{ invoices: Page; participants: Page }>(
      "{ invoices(first: 1) { pageInfo { endCursor } } participants(first: 1) { pageInfo { endCursor } } }",
    );
    const cursors: [string | null, string][] = [
      [invoices.pageInfo.endCursor, "invoices(after: $after, orderBy: OLDEST_FIRST) { nodes { id } }"],
      [invoices.pageInfo.endCursor, "invoices(after: $after, orderBy: RECENTLY_UPDATED) { nodes { id } }"],
      [invoices.pageInfo.endCursor, "participants(after: $after) { nodes { id } }"],
      [people.pageInfo.endCursor, "invoices(after: $after) { nodes { id } }"],
      [people.pageInfo.endCursor, "payments(after: $after) { nodes { id } }"],
      [people.pageInfo.endCursor, "supportItems(after: $after) { nodes { id } }"],
    ];
    for (const [after, field] of cursors) {
      const { errors } = await client.send(`query ($after: String) { ${field} }`, { after });
      expect(errors?.[0]?.extensions).toMatchObject({ code: "BAD_USER_INPUT", fields: [{ field: "after" }] });
    }
  });

  const filters: [name: string, filter: () => object, (node: Node) => boolean][] = [
    ["one status", () => ({ status: ["PARTIALLY_PAID"] }), ({ status }) => status === "PARTIALLY_PAID"],
    [
      "several statuses",
      () => ({ status: ["PARTIALLY_PAID", "DRAFT"] }),
      ({ status }) => ["PARTIALLY_PAID", "DRAFT"].includes(status),
    ],
    ["no status at all", () => ({ status: [] }), () => false],
    ["a sync status", () => ({ syncStatus: ["SYNCED"] }), ({ syncStatus }) => syncStatus === "SYNCED"],
    [
      "several sync statuses",
      () => ({ syncStatus: ["FAILED", "NOT_SYNCED"] }),
      ({ id }) => [failedId, draftId].includes(id),
    ],
    ["an error", () => ({ syncErrorCode: ["PERIOD_LOCKED"] }), ({ id }) => id === failedId],
    ["errors that none has", () => ({ syncErrorCode: ["NUMBER_TAKEN", "INTERNAL"] }), () => false],
    ["a number, whatever the case", () => ({ number: "n-17" }), ({ number }) => number === "N-17"],
    ["a part of a number", () => ({ number: "N-" }), () => false],
    ["a first day", () => ({ dateFrom: "2026-11-04" }), ({ date }) => date >= "2026-11-04"],
    ["a last day", () => ({ dateTo: "2026-11-03" }), ({ date }) => date <= "2026-11-03"],
    [
      "one day and a status",
      () => ({ dateFrom: "2026-11-03", dateTo: "2026-11-03", status: ["PARTIALLY_PAID"] }),
      ({ date, status }) => date === "2026-11-03" && status === "PARTIALLY_PAID",
    ],
    ["days the wrong way round", () => ({ dateFrom: "2026-11-05", dateTo: "2026-11-01" }), () => false],
    ["nothing", () => ({}), () => true],
    ["nulls", () => ({ status: null, number: null, dateFrom: null, participantId: null }), () => true],
  ];

  it.each(filters)("can be narrowed by %s", async (_name, filter, matches) => {
    const whole = await page(client, { first: 100 });
    const wanted = whole.nodes.filter(matches).map(({ id }) => id);
    const narrowed = await page(client, { first: 100, filter: filter() });
    expect([narrowed.totalCount, narrowed.nodes.map(({ id }) => id)]).toEqual([wanted.length, wanted]);
    if (wanted.length < 2) return;
    const first = await page(client, { first: 1, filter: filter() });
    const second = await page(client, { first: 100, filter: filter(), after: first.pageInfo.endCursor });
    expect([first, second].flatMap(({ nodes }) => nodes.map(({ id }) => id))).toEqual(wanted);
  });

  it("can be narrowed by participant, which is the participant's own list too", async () => {
    const [person] = participants;
    const narrowed = await page(client, { first: 100, filter: { participantId: person?.id.toUpperCase() } });
    const { participant } = await client.ask<{ participant: { invoices: Page } }>(
      `query ($id: ID!) { participant(id: $id) { invoices(first: 3) { totalCount ${pageFields} } } }`,
      { id: person?.id },
    );
    expect(narrowed.totalCount).toBe(7);
    expect(participant.invoices).toMatchObject({ totalCount: 7, nodes: narrowed.nodes.slice(0, 3) });
    expect(participant.invoices.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: false });
    const { participant: next } = await client.ask<{ participant: { invoices: Page } }>(
      `query ($id: ID!, $after: String) { participant(id: $id) { invoices(first: 100, after: $after) { ${pageFields} } } }`,
      { id: person?.id, after: participant.invoices.pageInfo.endCursor },
    );
    expect(next.invoices.nodes).toEqual(narrowed.nodes.slice(3));
    expect(next.invoices.pageInfo).toMatchObject({ hasNextPage: false, hasPreviousPage: true });
  });
});

describe("other lists", () => {
  it.each([
    ["participants", "name"],
    ["payments", "paymentDate"],
    ["supportItems", "itemNumber"],
  ])("%s are paged without repeat or gap", async (list) => {
    const read = async (first: number, after: string | null) =>
      (
        await client.ask<Record<string, Page>>(
          `query ($first: Int, $after: String) { ${list}(first: $first, after: $after) { totalCount nodes { id } pageInfo { hasNextPage endCursor } } }`,
          { first, after },
        )
      )[list];
    const whole = await read(100, null);
    const ids: string[] = [];
    for (let after: string | null = null; ;) {
      const next = await read(2, after);
      ids.push(...(next?.nodes ?? []).map(({ id }) => id));
      if (!next?.pageInfo.hasNextPage) break;
      after = next.pageInfo.endCursor;
    }
    expect(ids).toEqual(whole?.nodes.map(({ id }) => id));
    expect([ids.length, new Set(ids).size]).toEqual([whole?.totalCount, whole?.totalCount]);
  });

  it.each([
    ["person c", 1],
    ["PERSON3@", 1],
    ["c-5", 1],
    ["430000006", 1],
    ["  Person  ", 8],
    ["nobody", 0],
    ["", 10],
    ["   ", 10],
  ])("participants with %j are %i", async (search, found) => {
    const answer = await client.ask<{ participants: { totalCount: number; nodes: unknown[] } }>(
      "query ($search: String) { participants(search: $search, first: 100) { totalCount nodes { id } } }",
      { search },
    );
    expect([answer.participants.totalCount, answer.participants.nodes.length]).toEqual([found, found]);
  });

  it("participants come by name, and two of one name are both there", async () => {
    const name = `Same ${randomUUID()}`;
    const two = [await saveParticipant(other, { name }), await saveParticipant(other, { name })]
      .map(({ id }) => id)
      .sort();
    const query =
      "query ($search: String, $after: String) { participants(search: $search, after: $after, first: 1) { nodes { id } pageInfo { endCursor } } }";
    const first = await other.ask<{ participants: Page }>(query, { search: name });
    const second = await other.ask<{ participants: Page }>(query, {
      search: name,
      after: first.participants.pageInfo.endCursor,
    });
    expect([...first.participants.nodes, ...second.participants.nodes].map(({ id }) => id).sort()).toEqual(two);
  });

  it("support items are found by number and name", async () => {
    for (const [search, found] of [
      ["01_02", 1],
      ["item", 3],
      ["01%02", 0],
    ] as const) {
      const { supportItems } = await client.ask<{ supportItems: { totalCount: number } }>(
        "query ($search: String) { supportItems(search: $search) { totalCount } }",
        { search },
      );
      expect([search, supportItems.totalCount]).toEqual([search, found]);
    }
  });
});

/** How many statements the query takes: the fewest of six times, for the service does other things in between. */
async function cost(query: string, variables: object): Promise<number> {
  const counts: number[] = [];
  for (let time = 0; time < 6; time += 1) {
    statements.length = 0;
    await client.ask(query, variables);
    counts.push(statements.length);
  }
  return Math.min(...counts);
}

describe("a page costs the same however long it is:", () => {
  it.each<[string, string, number]>([
    [
      "invoices with all that belongs to them",
      `query ($first: Int) { invoices(first: $first) { nodes { number participant { name } lineItems { description supportItem { name } taxRate { name }
        salesAccount { code } } payments { amount } xeroOrganisation { name } syncAttempts { outcome } } } }`,
      50,
    ],
    [
      "the organisation's state",
      "query ($first: Int) { invoices(first: $first) { nodes { xeroOrganisation { name active } } } }",
      15,
    ],
    [
      "links and contacts",
      "query ($first: Int) { invoices(first: $first) { nodes { xeroUrl participant { xeroContactId xeroContactStatus planManager { name } } } } }",
      20,
    ],
    [
      "what support items and rates are in Xero",
      "query ($first: Int) { invoices(first: $first) { nodes { lineItems { supportItem { salesAccount { code } taxRate { name } } taxRate { xeroTaxRate { name } matchingXeroTaxRates { name } } } } } }",
      40,
    ],
    [
      "a payment's invoice",
      "query ($first: Int) { payments(first: $first) { nodes { amount invoice { number participant { name } } } } }",
      15,
    ],
    ["counts", "query ($first: Int) { invoices(first: $first) { totalCount nodes { id } } }", 10],
  ])("%s", async (_name, query, most) => {
    const [short, long] = [await cost(query, { first: 2 }), await cost(query, { first: 50 })];
    expect(long).toBe(short);
    expect(long).toBeLessThanOrEqual(most);
  });

  it("participants with their invoices", async () => {
    const query =
      "query ($first: Int) { participants(first: $first) { nodes { name invoices(first: 2) { nodes { number } } } } }";
    expect(await cost(query, { first: 8 })).toBe(await cost(query, { first: 2 }));
  });

  it("participants with the number of their invoices", async () => {
    const query =
      "query ($first: Int) { participants(first: $first) { nodes { name invoices(first: 1) { totalCount } } } }";
    expect(await cost(query, { first: 8 })).toBe(await cost(query, { first: 2 }));
  });
});
