/** Dates, decimals and filter texts by tables; decimals also by the law that every amount Xero can hold survives JSON. */
import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { calendarDate, decimalText, instant, quoted } from "../../src/xero/wireValues.js";

describe("instant", () => {
  it.each([
    ["/Date(1789378199160)/", "2026-09-14T09:29:59.160Z"],
    ["/Date(1789344000000+0000)/", "2026-09-14T00:00:00.000Z"],
    ["/Date(1789344000000+1300)/", "2026-09-14T00:00:00.000Z"],
    ["/Date(-62135596800000)/", "0001-01-01T00:00:00.000Z"],
    ["2019-12-07T18:46:19.5165400", "2019-12-07T18:46:19.516Z"],
    ["2026-09-14T09:29:59", "2026-09-14T09:29:59.000Z"],
    ["2026-09-14T09:29:59Z", "2026-09-14T09:29:59.000Z"],
    ["2026-09-14T09:29:59+10:00", "2026-09-13T23:29:59.000Z"],
    ["2026-09-14", "2026-09-14T00:00:00.000Z"],
  ])("reads %s", (text, iso) => expect(instant(text)?.toISOString()).toBe(iso));

  it.each([
    "",
    "/Date(x)/",
    "/Date(1) and more",
    "14/09/2026",
    "2026-99-99T00:00:00",
    "/Date(99999999999999999999)/",
    7,
    null,
  ])("finds none in %j", (value) => expect(instant(value)).toBeUndefined());

  it("gives the calendar day in UTC, whatever this machine's zone", () => {
    expect(calendarDate("/Date(1789344000000+0000)/")).toBe("2026-09-14");
    expect(calendarDate("2026-09-14T00:00:00")).toBe("2026-09-14");
    expect(calendarDate(undefined)).toBeUndefined();
  });
});

describe("decimalText", () => {
  it.each([
    [24.15, "24.15"],
    [0, "0"],
    [-0, "0"],
    [1e-7, "0.0000001"],
    [1e21, "1000000000000000000000"],
    [9999999999.99, "9999999999.99"],
    ["24.10", "24.1"],
    ["-3.50", "-3.5"],
    ["", undefined],
    ["1,000.00", undefined],
    [NaN, undefined],
  ])("writes %j as %j", (value, text) => expect(decimalText(value)).toBe(text));

  it("keeps every amount that Xero can hold through JSON", () => {
    fc.assert(
      fc.property(fc.bigInt(-(10n ** 14n) + 1n, 10n ** 14n - 1n), (units) => {
        const [sign, digits] = units < 0n ? ["-", -units] : ["", units];
        const padded = digits.toString().padStart(5, "0");
        const written = `${sign}${padded.slice(0, -4)}.${padded.slice(-4)}`;
        const text = decimalText(JSON.parse(written) as number) ?? "";
        expect(text).toBe(written.replace(/\.?0+$/, ""));
      }),
    );
  });
});

describe("quoted", () => {
  it.each([
    ["INV-1", '"INV-1"'],
    ['say "hi"', '"say ""hi"""'],
    ['" OR Status=="DELETED', '""" OR Status==""DELETED"'],
    ["back\\slash & ünicode 😀", '"back\\slash & ünicode 😀"'],
    ["half \ud83d", '"half \ufffd"'],
  ])("writes %j", (text, literal) => expect(quoted(text)).toBe(literal));
});
