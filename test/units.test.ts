/** Pure units, by tables and, where there is a law, by properties: money, scalars, page cursors, encryption, signatures. */
import { createHmac, randomBytes } from "node:crypto";
import { describe, expect, it } from "@jest/globals";
import { Big } from "big.js";
import fc from "fast-check";
import { type GraphQLError, type GraphQLScalarType, Kind, parseValue } from "graphql";
import { AppError } from "../src/errors.js";
import { decimalPlaces, decimalText, moneyText, roundToCents } from "../src/money.js";
import { DateScalar, DateTimeScalar, DecimalScalar } from "../src/scalars.js";
import { checkFirst, cursorOf, type ListOrder, pageOf, readCursor } from "../src/services/paging.js";
import { isSigned } from "../src/webhooks/receiver.js";
import { Vault } from "../src/xero/Vault.js";

/** The decimal with four places that so many ten-thousandths make. */
const decimalOf = (tenThousandths: bigint): string => {
  const digits = (tenThousandths < 0n ? -tenThousandths : tenThousandths).toString().padStart(5, "0");
  return `${tenThousandths < 0n ? "-" : ""}${digits.slice(0, -4)}.${digits.slice(-4)}`;
};
const tenThousandths = fc.bigInt({ min: -(10n ** 15n), max: 10n ** 15n });

describe("money", () => {
  it.each([
    ["0.005", "0.01"],
    ["0.0049", "0.00"],
    ["-0.005", "-0.01"],
    ["2.675", "2.68"],
    ["1.005", "1.01"],
    ["245.805", "245.81"],
    ["99999999999.995", "100000000000.00"],
  ])("rounds %s to %s", (exact, rounded) => {
    expect(moneyText(roundToCents(new Big(exact)))).toBe(rounded);
    expect(moneyText(exact)).toBe(rounded);
  });

  it("rounds half away from zero, as integers would", () => {
    fc.assert(
      fc.property(tenThousandths, (n) => {
        const size = n < 0n ? -n : n;
        const cents = (size + 50n) / 100n;
        const expected = new Big(cents.toString()).div(100).times(n < 0n ? -1 : 1);
        expect(roundToCents(new Big(decimalOf(n))).eq(expected)).toBe(true);
      }),
    );
  });

  it.each([
    ["1.5000", 0, "1.5"],
    ["10.0000", 2, "10.00"],
    ["10", 0, "10"],
    ["0.9900", 2, "0.99"],
    ["68.5025", 2, "68.5025"],
    ["-0.10", 0, "-0.1"],
  ])("writes %s with at least %d places as %s", (value, places, text) => {
    expect(decimalText(value, places)).toBe(text);
  });

  it("writes a decimal without changing it, and counts its places", () => {
    fc.assert(
      fc.property(tenThousandths, fc.integer({ min: 0, max: 6 }), (n, places) => {
        const text = decimalText(decimalOf(n), places);
        expect(new Big(text).eq(decimalOf(n))).toBe(true);
        expect(text.split(".")[1]?.length ?? 0).toBe(Math.max(places, decimalPlaces(text)));
      }),
    );
  });
});

/** What a value in a variable comes to, and the same value written in the document. */
function both(scalar: GraphQLScalarType, value: unknown): unknown[] {
  return [scalar.parseValue(value), scalar.parseLiteral(parseValue(JSON.stringify(value)))];
}

function refused(run: () => unknown): { code: unknown; reason: unknown } {
  try {
    run();
  } catch (error) {
    const { extensions } = error as { extensions: Record<string, unknown> };
    return { code: extensions["code"], reason: extensions["reason"] };
  }
  throw new Error("it was taken");
}

describe("scalars", () => {
  it.each(["2026-11-21", "2028-02-29", "1900-01-01", "9999-12-31"])("Date takes %s", (day) => {
    expect(both(DateScalar, day)).toEqual([day, day]);
  });

  it.each([
    "",
    "2026-02-29",
    "2026-13-01",
    "2026-11-31",
    "1899-12-31",
    "0000-01-01",
    "2026-11-21T00:00:00Z",
    "21/11/2026",
    "20261121",
    "2026-1-2",
    "+002026-11-21",
    20261121,
    null,
    true,
    ["2026-11-21"],
  ])("Date refuses %j", (value) => {
    expect(refused(() => DateScalar.parseValue(value))).toEqual({
      code: "BAD_USER_INPUT",
      reason: expect.any(String) as unknown,
    });
    expect(refused(() => DateScalar.parseLiteral(parseValue(JSON.stringify(value)))).code).toBe("BAD_USER_INPUT");
  });

  it.each([
    ["2026-11-21T03:04:05.678Z", "2026-11-21T03:04:05.678Z"],
    ["2026-11-21T03:04:05Z", "2026-11-21T03:04:05.000Z"],
    ["2026-11-21T14:04:05+11:00", "2026-11-21T03:04:05.000Z"],
    ["2026-11-21t03:04:05.6z", "2026-11-21T03:04:05.600Z"],
  ])("DateTime takes %s", (given, instant) => {
    for (const parsed of both(DateTimeScalar, given)) expect(DateTimeScalar.serialize(parsed)).toBe(instant);
  });

  it.each([
    "2026-11-21",
    "2026-11-21T03:04:05",
    "2026-11-21T24:00:00Z",
    "2026-11-21T03:60:00Z",
    "2026-02-30T03:04:05Z",
    "2026-11-21 03:04:05Z",
    1795230245678,
    null,
  ])("DateTime refuses %j", (value) => {
    expect(refused(() => DateTimeScalar.parseValue(value)).code).toBe("BAD_USER_INPUT");
    expect(refused(() => DateTimeScalar.parseLiteral(parseValue(JSON.stringify(value)))).code).toBe("BAD_USER_INPUT");
  });

  it("DateTime keeps an instant to the millisecond", () => {
    const range = { min: new Date("1900-01-01"), max: new Date("9999-12-31"), noInvalidDate: true };
    fc.assert(
      fc.property(fc.date(range), (instant) => {
        for (const parsed of both(DateTimeScalar, instant.toISOString())) expect(parsed).toEqual(instant);
      }),
    );
  });

  it.each([
    ["123.40", "123.40"],
    ["-0.01", "-0.01"],
    ["0", "0"],
    ["123456789012345.1234567890", "123456789012345.1234567890"],
    [12, "12"],
    [-7, "-7"],
  ])("Decimal takes %j", (given, text) => {
    expect(both(DecimalScalar, given)).toEqual([text, text]);
  });

  it.each([
    1.5,
    0.1,
    1e21,
    "1e3",
    "1,000.00",
    "1.",
    ".5",
    "+1",
    " 1",
    "1 ",
    "",
    "NaN",
    "Infinity",
    "0x10",
    "1234567890123456",
    "1.12345678901",
    null,
    true,
    {},
  ])("Decimal refuses %j", (value) => {
    expect(refused(() => DecimalScalar.parseValue(value)).code).toBe("BAD_USER_INPUT");
    const literal = typeof value === "object" && value !== null ? "{}" : JSON.stringify(value);
    expect(refused(() => DecimalScalar.parseLiteral(parseValue(literal))).code).toBe("BAD_USER_INPUT");
  });

  it("Decimal takes whatever decimal it gives, unchanged", () => {
    fc.assert(
      fc.property(tenThousandths, (n) => {
        const text = decimalOf(n);
        expect(both(DecimalScalar, DecimalScalar.serialize(text))).toEqual([text, text]);
      }),
    );
  });

  it("a refusal in a document says where it stands", () => {
    const node = parseValue('"tomorrow"');
    expect(node.kind).toBe(Kind.STRING);
    let nodes: unknown;
    try {
      DateScalar.parseLiteral(node);
    } catch (error) {
      ({ nodes } = error as GraphQLError);
    }
    expect(nodes).toEqual([node]);
  });
});

interface Row {
  day: string;
  at: Date;
  name: string;
  id: string;
}

const order: ListOrder<Row> = {
  name: "rows",
  direction: "ASC",
  keys: [
    { property: "day", column: "day", type: "date" },
    { property: "at", column: "at", type: "timestamptz" },
    { property: "name", column: "name", type: "text" },
    { property: "id", column: "id", type: "uuid" },
  ],
};
const range = { min: new Date("1900-01-01"), max: new Date("9999-12-31"), noInvalidDate: true };
const row: fc.Arbitrary<Row> = fc.record({
  day: fc.date(range).map((date) => date.toISOString().slice(0, 10)),
  at: fc.date(range),
  name: fc.string({ unit: "grapheme" }).map((name) => name.replaceAll("\0", "")),
  id: fc.uuid(),
});
const cursorWith = (...values: unknown[]): string => Buffer.from(JSON.stringify(values)).toString("base64url");
const good: Row = {
  day: "2026-11-21",
  at: new Date("2026-11-21T03:04:05.678Z"),
  name: "Ada",
  id: "01a20176-f0c8-769b-bade-3618f61d91ed",
};
const goodValues = ["rows", good.day, good.at.toISOString(), good.name, good.id];

function refusedCursor(cursor: string): unknown {
  try {
    return readCursor(cursor, order);
  } catch (error) {
    expect(error).toBeInstanceOf(AppError);
    return (error as AppError).extensions;
  }
}

const badCursor = { code: "BAD_USER_INPUT", fields: [{ field: "after", reason: expect.any(String) as unknown }] };

describe("page cursors", () => {
  it("name the row they were made of", () => {
    fc.assert(
      fc.property(row, (one) => {
        expect(readCursor(cursorOf(one, order), order)).toEqual([one.day, one.at.toISOString(), one.name, one.id]);
      }),
    );
  });

  it.each([
    ["nothing", ""],
    ["text", "next page, please"],
    ["no base64", "%%%"],
    ["JSON that is no list", Buffer.from("{}").toString("base64url")],
    ["null", Buffer.from("null").toString("base64url")],
    ["another list's", cursorWith("columns", ...goodValues.slice(1))],
    ["too few keys", cursorWith(...goodValues.slice(0, -1))],
    ["too many keys", cursorWith(...goodValues, "more")],
    ["a number for a text", cursorWith(...goodValues.with(3, 7 as never))],
    ["a null", cursorWith(...goodValues.with(1, null as never))],
    ["a NUL, which PostgreSQL has no text for", cursorWith(...goodValues.with(3, "a\0b"))],
    ["no uuid", cursorWith(...goodValues.with(4, "1"))],
    ["no instant", cursorWith(...goodValues.with(2, "2026-11-21T25:00:00.000Z"))],
    ["a day that the calendar lacks", cursorWith(...goodValues.with(1, "2026-02-30"))],
    ["an instant on such a day", cursorWith(...goodValues.with(2, "2026-02-30T00:00:00.000Z"))],
    ["the year 0, which PostgreSQL lacks", cursorWith(...goodValues.with(1, "0000-01-01"))],
  ])("refuse %s", (_what, cursor) => {
    expect(refusedCursor(cursor)).toEqual(badCursor);
  });

  it("refuse whatever else a client makes up, and throw nothing but BAD_USER_INPUT", () => {
    const madeUp = fc.oneof(
      fc.string(),
      fc.base64String(),
      fc.json().map((json) => Buffer.from(json).toString("base64url")),
      fc.array(fc.jsonValue(), { maxLength: 6 }).map((values) => cursorWith("rows", ...values)),
    );
    fc.assert(fc.property(madeUp, (cursor) => expect(refusedCursor(cursor)).toEqual(badCursor)));
  });

  it.each([1, 50, 100])("a page may hold %d", (first) => {
    expect(() => checkFirst(first)).not.toThrow();
  });

  it.each([0, -1, 101, 1.5, Number.NaN, Number.POSITIVE_INFINITY])("a page may not hold %d", (first) => {
    expect(() => checkFirst(first)).toThrow(AppError);
  });

  it("a page of rows read with one more than asked for knows whether there are more", () => {
    const rows = [1, 2, 3].map((n) => ({ ...good, name: String(n) }));
    const nothing = () => Promise.resolve(0);
    const page = pageOf(rows, order, { first: 2 }, nothing);
    expect(page.nodes.map(({ name }) => name)).toEqual(["1", "2"]);
    expect(page.pageInfo).toEqual({
      hasNextPage: true,
      hasPreviousPage: false,
      startCursor: cursorOf(rows[0] ?? good, order),
      endCursor: cursorOf(rows[1] ?? good, order),
    });
    expect(pageOf(rows, order, { first: 3, after: "x" }, nothing).pageInfo).toMatchObject({
      hasNextPage: false,
      hasPreviousPage: true,
    });
    expect(pageOf([], order, { first: 3 }, nothing).pageInfo).toMatchObject({ startCursor: null, endCursor: null });
  });
});

describe("encryption", () => {
  const key = (id: string): { id: string; key: Buffer } => ({ id, key: randomBytes(32) });
  const [old, current] = [key("old"), key("new")];
  const vault = new Vault([current, old]);

  it("gives back what was encrypted for the same row, and never looks the same twice", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string(), (plain, place) => {
        const text = Buffer.from(plain, "utf8").toString("utf8"); // Without lone surrogates, which UTF-8 can't hold.
        const sealed = vault.encrypt(text, place);
        expect(vault.decrypt(sealed, place)).toBe(text);
        expect(vault.encrypt(text, place)).not.toBe(sealed);
      }),
    );
  });

  it("is bound to its row", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (one, other) => {
        fc.pre(Buffer.from(one).compare(Buffer.from(other)) !== 0);
        expect(() => vault.decrypt(vault.encrypt("token", one), other)).toThrow();
      }),
    );
  });

  it("still decrypts what an older key encrypted, and encrypts with the first", () => {
    const sealed = new Vault([old]).encrypt("token", "row");
    expect(vault.decrypt(sealed, "row")).toBe("token");
    expect(vault.encrypt("token", "row")).toMatch(/^new:/);
  });

  it("says which key is missing", () => {
    const sealed = new Vault([old]).encrypt("token", "row");
    expect(() => new Vault([current]).decrypt(sealed, "row")).toThrow("ENCRYPTION_KEYS has no key old");
    expect(() => new Vault([])).toThrow();
  });

  it("does not decrypt with another key of the same name, nor under another name", () => {
    const sealed = vault.encrypt("token", "row");
    expect(() => new Vault([key("new")]).decrypt(sealed, "row")).toThrow();
    const renamed = new Vault([{ id: "other", key: current.key }]);
    expect(() => renamed.decrypt(sealed.replace(/^new:/, "other:"), "row")).toThrow();
  });

  it("notices every changed bit and every cut", () => {
    const sealed = vault.encrypt("a token of some length", "row");
    const bytes = Buffer.from(sealed.slice("new:".length), "base64");
    const back = (changed: Buffer): string => vault.decrypt(`new:${changed.toString("base64")}`, "row");
    fc.assert(
      fc.property(fc.nat(bytes.length * 8 - 1), (bit) => {
        const changed = Buffer.from(bytes);
        changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
        expect(() => back(changed)).toThrow();
      }),
    );
    for (let length = 0; length < bytes.length; length += 1) expect(() => back(bytes.subarray(0, length))).toThrow();
    expect(back(bytes)).toBe("a token of some length");
  });
});

describe("the signature of a delivery", () => {
  const sign = (body: Buffer, key: string): string => createHmac("sha256", key).update(body).digest("base64");
  // The white space of Xero's deliveries is irregular, and is signed as it is.
  const body = Buffer.from('{"events":[],\r\n "firstEventSequence": 0,"lastEventSequence": 0, "entropy": "S0m3"}');

  it("is taken under any of the keys", () => {
    expect(isSigned(body, sign(body, "new"), ["old", "new"])).toBe(true);
    expect(isSigned(body, sign(body, "old"), ["old", "new"])).toBe(true);
    expect(isSigned(Buffer.alloc(0), sign(Buffer.alloc(0), "new"), ["new"])).toBe(true);
  });

  it.each([
    ["none", undefined],
    ["an empty one", ""],
    ["one under a key that is gone", sign(body, "older")],
    ["one of another body", sign(Buffer.from("{}"), "new")],
    ["one of the body with its white space mended", sign(Buffer.from(JSON.stringify(JSON.parse(String(body)))), "new")],
    ["one in hexadecimal", createHmac("sha256", "new").update(body).digest("hex")],
    ["one cut short", sign(body, "new").slice(0, -1)],
    ["one with more behind it", `${sign(body, "new")}=`],
    ["one in another case", sign(body, "new").toLowerCase()],
    ["letters of two bytes", "é".repeat(22)],
  ])("is refused: %s", (_what, signature) => {
    expect(isSigned(body, signature, ["old", "new"])).toBe(false);
  });

  it("is never taken where there is no key", () => {
    expect(isSigned(body, sign(body, ""), [])).toBe(false);
  });

  it("holds for the bytes that were signed and for no others", () => {
    const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));
    fc.assert(
      fc.property(bytes, bytes, fc.string({ minLength: 1 }), (one, other, key) => {
        expect(isSigned(one, sign(one, key), [key])).toBe(true);
        expect(isSigned(other, sign(one, key), [key])).toBe(one.equals(other));
      }),
    );
  });
});
