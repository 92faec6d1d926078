/** The upload of the NDIS Support Catalogue, through its door; and the price limits that it brings. */
import { existsSync, readFileSync } from "node:fs";
import { crc32, deflateRawSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import writeExcelFile from "write-excel-file/node";
import { type GraphqlClient, signToken } from "../demo/graphqlClient.js";
import { type Link, newLink } from "./support/links.js";
import { saveInvoice, syncedInvoice } from "./support/records.js";
import { secret, type Service, startService } from "./support/service.js";

let service: Service;

beforeAll(async () => {
  service = await startService();
});

afterAll(() => service.close());

const heading = [
  "Support Item Number",
  "Support Item Name",
  "Registration Group Number",
  "Unit",
  "Quote",
  "Start date",
  "End Date",
  "National",
  "Remote",
  "Very Remote",
  "Type",
];

type Cell = string | number | null;

/** A row of the catalogue as the NDIA writes it. */
function row(changes: Partial<Record<"number" | "name" | "unit" | "from" | "to" | "national" | "remote", Cell>> = {}) {
  const of = {
    number: "01_011_0107_1_1",
    name: "Self-care",
    unit: "H",
    from: 20260701,
    to: 99991231,
    national: 70.23,
    remote: 98.32,
    ...changes,
  };
  return [of.number, of.name, "0107", of.unit, "No", of.from, of.to, of.national, of.remote, 105.35, "Priced Supports"];
}

async function workbook(sheets: Record<string, Cell[][]>): Promise<Buffer> {
  return writeExcelFile(
    Object.entries(sheets).map(([sheet, rows]) => ({
      sheet,
      data: rows.map((cells) =>
        cells.map((value) => (value === null ? null : { value, type: typeof value === "number" ? Number : String })),
      ),
    })),
  ).toBuffer();
}

interface Answer {
  status: number;
  body: {
    created?: number;
    updated?: number;
    unchanged?: number;
    errors?: { sheet?: string; row?: number; reason?: string; message?: string; extensions?: { code: string } }[];
  };
}

async function upload(
  workspace: string,
  body: Uint8Array,
  { region, role = "admin", token }: { region?: string; role?: "admin" | "bookkeeper" | "viewer"; token?: string } = {},
): Promise<Answer> {
  const bearer = token ?? (await signToken(secret, { workspace, role }));
  const response = await fetch(
    `${service.url}/uploads/support-catalogue${region === undefined ? "" : `?region=${region}`}`,
    {
      method: "POST",
      headers: {
        authorization: `Bearer ${bearer}`,
        "content-type": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
      },
      body: Buffer.from(body),
    },
  );
  return { status: response.status, body: (await response.json()) as Answer["body"] };
}

interface Item {
  itemNumber: string;
  name: string;
  unit: string;
  priceLimit: string | null;
  xeroLineDescription: string | null;
  priceLimits: { validFrom: string; validTo: string | null; priceLimit: string | null }[];
}

async function itemsOf(client: GraphqlClient): Promise<Item[]> {
  const { supportItems } = await client.ask<{ supportItems: { nodes: Item[] } }>(
    `{ supportItems { nodes { itemNumber name unit priceLimit xeroLineDescription priceLimits { validFrom validTo priceLimit } } } }`,
  );
  return supportItems.nodes;
}

describe("an upload", () => {
  it("creates items with the region's price limits, and once more changes nothing", async () => {
    const client = await service.client("admin", "fresh");
    const file = await workbook({
      "Current Support Items": [
        heading,
        row({ national: 311.79000000000002 }),
        row({ number: "15_621_1323_1_3", name: "Quoted", unit: "E", national: null, remote: null }),
      ],
      "Legacy Support Items": [heading, row({ number: "05_000_0103_1_2", unit: "WK", to: 20270630, remote: 1.005 })],
      Notes: [["Nothing to see here"]],
    });
    expect(await upload("fresh", file)).toEqual({
      status: 200,
      body: { created: 3, updated: 0, unchanged: 0, errors: [] },
    });
    const forEver = { validFrom: "2026-07-01", validTo: null };
    expect(await itemsOf(client)).toMatchObject([
      {
        itemNumber: "01_011_0107_1_1",
        name: "Self-care",
        unit: "H",
        priceLimit: "311.79",
        priceLimits: [{ ...forEver, priceLimit: "311.79" }],
      },
      {
        itemNumber: "05_000_0103_1_2",
        priceLimits: [{ validFrom: "2026-07-01", validTo: "2027-06-30", priceLimit: "70.23" }],
      },
      {
        itemNumber: "15_621_1323_1_3",
        name: "Quoted",
        priceLimit: null,
        priceLimits: [{ ...forEver, priceLimit: null }],
      },
    ]);
    expect((await upload("fresh", file)).body).toEqual({ created: 0, updated: 0, unchanged: 3, errors: [] });
    expect((await upload("fresh", file, { region: "REMOTE" })).body).toEqual({
      created: 0,
      updated: 2,
      unchanged: 1,
      errors: [],
    });
    // Half a cent goes up, whatever the float makes of it.
    expect((await itemsOf(client)).map(({ priceLimit }) => priceLimit)).toEqual(["98.32", "1.01", null]);
  });

  it("keeps what was set by hand, renames what the catalogue renames, and adds the next period", async () => {
    const client = await service.client("admin", "by-hand");
    await client.ask(
      'mutation { saveSupportItem(input: { itemNumber: "01_011_0107_1_1", name: "Mine", unit: "H", xeroLineDescription: "Care", priceLimit: "60" }) { id } }',
    );
    const first = [heading, row({ to: 20270630 })];
    expect((await upload("by-hand", await workbook({ Items: first }))).body).toMatchObject({ created: 1, updated: 0 });
    expect(await itemsOf(client)).toMatchObject([
      { name: "Self-care", xeroLineDescription: "Care", priceLimit: "60.00", priceLimits: [{ priceLimit: "70.23" }] },
    ]);
    await client.ask(
      'mutation { saveSupportItem(input: { itemNumber: "01_011_0107_1_1", name: "Self-care", unit: "H", priceLimit: null }) { id } }',
    );
    const next = [heading, row({ to: 20270630 }), row({ from: 20270701, name: "Self-care, anew", national: 75 })];
    expect((await upload("by-hand", await workbook({ Items: next }))).body).toEqual({
      created: 1,
      updated: 1,
      unchanged: 0,
      errors: [],
    });
    expect(await itemsOf(client)).toMatchObject([
      {
        name: "Self-care, anew",
        priceLimit: "70.23",
        priceLimits: [
          { validFrom: "2027-07-01", priceLimit: "75.00" },
          { validFrom: "2026-07-01", validTo: "2027-06-30", priceLimit: "70.23" },
        ],
      },
    ]);
  });

  it("names sheet, row and reason of all that does not parse, and then changes nothing", async () => {
    const client = await service.client("admin", "wrong-rows");
    const file = await workbook({
      "Current Support Items": [
        ["NDIS Support Catalogue"],
        heading,
        row({ number: "01_001_0107_1_1" }),
        row({ number: "not a number" }),
        row({ number: "01_002_0107_1_1", name: "", unit: "DOZEN" }),
        row({ number: "01_003_0107_1_1", from: 20261301 }),
        row({ number: "01_004_0107_1_1", to: 20260630 }),
        row({ number: "01_005_0107_1_1", national: "a lot" }),
        row({ number: "01_001_0107_1_1", name: "Twice" }),
      ],
      "Without prices": [heading.slice(0, 7), row().slice(0, 7)],
    });
    const { status, body } = await upload("wrong-rows", file);
    expect(status).toBe(422);
    expect(body).toMatchObject({ created: 0, updated: 0, unchanged: 0 });
    const current = "Current Support Items";
    expect(body.errors).toEqual([
      { sheet: current, row: 4, reason: expect.stringMatching(/Support Item Number "not a number"/) },
      { sheet: current, row: 5, reason: expect.stringMatching(/Support Item Name/) },
      { sheet: current, row: 5, reason: expect.stringMatching(/Unit "DOZEN" is none of H, D, E/) },
      { sheet: current, row: 6, reason: expect.stringMatching(/Start date "20261301"/) },
      { sheet: current, row: 7, reason: "it ends before it starts" },
      { sheet: current, row: 8, reason: expect.stringMatching(/price "a lot"/) },
      { sheet: current, row: 9, reason: "01_001_0107_1_1 from 2026-07-01 is in Current Support Items, row 3 already" },
      { sheet: "Without prices", row: 1, reason: "there is no column National" },
    ]);
    expect(await itemsOf(client)).toEqual([]);
  });

  it.each<[string, () => Promise<Uint8Array> | Uint8Array, number, RegExp]>([
    ["nothing", () => Buffer.alloc(0), 400, /body: must be the workbook/],
    ["text", () => Buffer.from("Support Item Number,Unit\n"), 400, /is no Excel workbook/],
    [
      "a broken zip",
      () => Buffer.concat([Buffer.from("PK\x03\x04"), Buffer.alloc(500, 7)]),
      400,
      /is no Excel workbook/,
    ],
    ["a bomb", () => zipOf("xl/workbook.xml", Buffer.alloc(80 * 1024 * 1024)), 400, /unpacks to more than 64 MB/],
    ["eleven megabytes", () => Buffer.alloc(11 * 1024 * 1024), 413, /at most 10 MB/],
  ])("refuses %s", async (_what, make, status, words) => {
    const answer = await upload("refused", await make());
    expect(answer.status).toBe(status);
    expect(answer.body.errors?.[0]?.extensions?.code).toBe("BAD_USER_INPUT");
    expect(answer.body.errors?.[0]?.message).toMatch(words);
    expect((await fetch(`${service.url}/health/live`)).status).toBe(200);
  });

  it("refuses a workbook that is no catalogue", async () => {
    const { status, body } = await upload(
      "refused",
      await workbook({
        Other: [
          ["Name", "Age"],
          ["Ada", 36],
        ],
      }),
    );
    expect([status, body.errors]).toEqual([
      422,
      [{ sheet: "", row: 0, reason: expect.stringMatching(/no NDIS Support Catalogue/) }],
    ]);
  });

  it("refuses an unknown region, a caller without the role, and a token that does not verify", async () => {
    const file = await workbook({ Items: [heading, row()] });
    const code = ({ status, body }: Answer) => [status, body.errors?.[0]?.extensions?.code];
    expect(code(await upload("refused", file, { region: "MOON" }))).toEqual([400, "BAD_USER_INPUT"]);
    for (const role of ["viewer", "bookkeeper"] as const) {
      expect(code(await upload("refused", file, { role }))).toEqual([403, "FORBIDDEN"]);
    }
    expect(code(await upload("refused", file, { token: "x.y.z" }))).toEqual([401, "UNAUTHENTICATED"]);
    expect(await itemsOf(await service.client("admin", "refused"))).toEqual([]);
  });

  it("twice at once makes one of each", async () => {
    const file = await workbook({ Items: [heading, row(), row({ number: "01_002_0107_1_1" })] });
    const answers = await Promise.all([upload("at-once", file), upload("at-once", file)]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    expect(answers.map(({ body }) => body.created).sort()).toEqual([0, 2]);
    expect(await itemsOf(await service.client("admin", "at-once"))).toHaveLength(2);
  });

  const published = new URL("../../shared/data/ndis-support-catalogue-2026-27.xlsx", import.meta.url);
  (existsSync(published) ? it : it.skip)("takes the published catalogue whole", async () => {
    const file = readFileSync(published);
    expect((await upload("published", file)).body).toEqual({ created: 1016, updated: 0, unchanged: 0, errors: [] });
    expect((await upload("published", file)).body).toEqual({ created: 0, updated: 0, unchanged: 1016, errors: [] });
    const client = await service.client("admin", "published");
    const { supportItems } = await client.ask<{ supportItems: { totalCount: number; nodes: object[] } }>(
      '{ supportItems(search: "01_002_0107_1_1") { totalCount nodes { name unit priceLimit } } }',
    );
    expect(supportItems).toMatchObject({ totalCount: 1, nodes: [{ unit: "H", priceLimit: "82.57" }] });
  });
});

describe("a line above the price limit of its service date", () => {
  let link: Link;
  let supportItemId: string;

  beforeAll(async () => {
    link = await newLink(service, "limits");
    const rows = [heading, row({ to: 20261115 }), row({ from: 20261116, national: 75 })];
    expect((await upload("limits", await workbook({ Items: rows }))).body.created).toBe(2);
    const { supportItems } = await link.client.ask<{ supportItems: { nodes: { id: string }[] } }>(
      "{ supportItems { nodes { id } } }",
    );
    supportItemId = supportItems.nodes[0]?.id ?? "";
  });

  const line = (unitAmount: string, serviceDate: string | null) => [
    { description: "Care", quantity: "1", unitAmount, supportItemId, serviceDate },
  ];

  it.each([
    ["at the limit of the last day of the first period", "70.23", "2026-11-15", null],
    ["above it", "70.24", "2026-11-15", "70.24 is above the price limit of 70.23 on 2026-11-15"],
    ["at the limit of the first day of the second", "75", "2026-11-16", null],
    [
      "above it, by the invoice's date where none is given",
      "75.01",
      null,
      "75.01 is above the price limit of 75.00 on 2026-11-16",
    ],
    ["before any period", "1000", "2026-06-30", null],
  ])("is a warning and no refusal: %s", async (_title, unitAmount, serviceDate, warning) => {
    const { id } = await saveInvoice(link.client, { lineItems: line(unitAmount, serviceDate) });
    const { previewSync } = await link.client.ask<{ previewSync: { action: string; warnings: string[] }[] }>(
      "query ($ids: [ID!]!) { previewSync(invoiceIds: $ids) { action warnings } }",
      { ids: [id] },
    );
    const warnings = warning === null ? [] : [expect.stringContaining(warning)];
    expect(previewSync).toEqual([{ action: "CREATE", warnings }]);
    const synced = await syncedInvoice(link.client, { lineItems: line(unitAmount, serviceDate) });
    expect([synced.syncStatus, synced.syncWarnings]).toEqual(["SYNCED", warnings]);
  });

  it("is measured by what was set by hand, where that is", async () => {
    await link.client.ask(
      'mutation { saveSupportItem(input: { itemNumber: "01_011_0107_1_1", name: "Self-care", unit: "H", priceLimit: "50" }) { id } }',
    );
    const { syncWarnings } = await syncedInvoice(link.client, { lineItems: line("60", "2026-11-16") });
    expect(syncWarnings).toEqual([expect.stringContaining("above the price limit of 50.00")]);
  });
});

/** A zip file of one entry, whose header says that it is small. */
function zipOf(name: string, content: Buffer): Buffer {
  const packed = deflateRawSync(content);
  const local = Buffer.alloc(30);
  local.writeUInt32LE(0x04034b50, 0);
  local.writeUInt16LE(20, 4);
  local.writeUInt16LE(8, 8);
  local.writeUInt32LE(crc32(content), 14);
  local.writeUInt32LE(packed.length, 18);
  local.writeUInt32LE(1_000, 22);
  local.writeUInt16LE(name.length, 26);
  const central = Buffer.alloc(46);
  central.writeUInt32LE(0x02014b50, 0);
  local.copy(central, 6, 4, 30);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(1, 8);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(46 + name.length, 12);
  end.writeUInt32LE(30 + name.length + packed.length, 16);
  return Buffer.concat([local, Buffer.from(name), packed, central, Buffer.from(name), end]);
}
