/** Xero's rounding: by the amounts that are recorded, by laws, and against a second implementation in whole numbers. */
import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { effectiveRateOf, type LineToTotal, totalsOf } from "../src/services/totals.js";

type Types = Parameters<typeof totalsOf>[1];

const line = (quantity: string, unitAmount: string, taxPercent: string): LineToTotal => ({
  quantity,
  unitAmount,
  taxPercent,
});

function summary(lines: LineToTotal[], types: Types): [subtotal: string, totalTax: string, total: string] {
  const { subtotal, totalTax, total } = totalsOf(lines, types);
  return [subtotal.toFixed(2), totalTax.toFixed(2), total.toFixed(2)];
}

describe("the totals that Xero is known to compute", () => {
  it.each<[string, LineToTotal[], Types, string[]]>([
    [
      "tax per line, then summed",
      [line("1", "25.06", "15"), line("1", "25.61", "15"), line("1", "25.63", "15")],
      "EXCLUSIVE",
      ["76.30", "11.44", "87.74"],
    ],
    ["inclusive of 15 %", [line("1", "541.25", "15")], "INCLUSIVE", ["470.65", "70.60", "541.25"]],
    ["inclusive, a round amount", [line("1", "500", "15")], "INCLUSIVE", ["434.78", "65.22", "500.00"]],
    ["half up", [line("1", "2.165", "0")], "NO_TAX", ["2.17", "0.00", "2.17"]],
    ["half up in the tax", [line("1", "0.05", "10")], "EXCLUSIVE", ["0.05", "0.01", "0.06"]],
    ["half away from zero", [line("-1", "2.165", "0")], "NO_TAX", ["-2.17", "0.00", "-2.17"]],
    ["a discount line", [line("1", "100", "10"), line("-1", "0.05", "10")], "EXCLUSIVE", ["99.95", "9.99", "109.94"]],
    ["four places in both", [line("0.3333", "0.3333", "10")], "EXCLUSIVE", ["0.11", "0.01", "0.12"]],
    ["unit amounts are not rounded first", [line("1000", "0.3333", "0")], "EXCLUSIVE", ["333.30", "0.00", "333.30"]],
    ["no tax, whatever the rate", [line("2", "10", "10")], "NO_TAX", ["20.00", "0.00", "20.00"]],
    ["nothing", [line("0", "10", "10")], "INCLUSIVE", ["0.00", "0.00", "0.00"]],
    ["no lines", [], "EXCLUSIVE", ["0.00", "0.00", "0.00"]],
  ])("%s", (_name, lines, types, expected) => {
    expect(summary(lines, types)).toEqual(expected);
  });
});

/** Ten-thousandths as text: 12345n is "1.2345". */
function decimalOf(tenThousandths: bigint): string {
  const digits = (tenThousandths < 0n ? -tenThousandths : tenThousandths).toString().padStart(5, "0");
  return `${tenThousandths < 0n ? "-" : ""}${digits.slice(0, -4)}.${digits.slice(-4)}`;
}

/** A quotient to the nearest whole, halves away from zero; the divisor is positive. */
function nearest(dividend: bigint, divisor: bigint): bigint {
  const size = dividend < 0n ? -dividend : dividend;
  const whole = (2n * size + divisor) / (2n * divisor);
  return dividend < 0n ? -whole : whole;
}

interface Whole {
  quantity: bigint;
  unitAmount: bigint;
  percent: bigint;
}

/** The rule again, in whole cents from whole ten-thousandths. */
function reference(lines: Whole[], types: Types): { subtotal: bigint; totalTax: bigint; total: bigint } {
  let amounts = 0n;
  let totalTax = 0n;
  for (const { quantity, unitAmount, percent } of lines) {
    const amount = nearest(quantity * unitAmount, 1_000_000n);
    amounts += amount;
    if (types === "EXCLUSIVE") totalTax += nearest(amount * percent, 1_000_000n);
    if (types === "INCLUSIVE") totalTax += amount - nearest(amount * 1_000_000n, 1_000_000n + percent);
  }
  return types === "INCLUSIVE"
    ? { subtotal: amounts - totalTax, totalTax, total: amounts }
    : { subtotal: amounts, totalTax, total: amounts + totalTax };
}

const anyType = fc.constantFrom<Types>("EXCLUSIVE", "INCLUSIVE", "NO_TAX");
const anyWhole: fc.Arbitrary<Whole> = fc.record({
  // Small, large, negative, and the halves in which rounding goes wrong.
  quantity: fc.oneof(fc.bigInt(-50_000n, 50_000n), fc.bigInt(-99_999_999_999n, 99_999_999_999n), fc.constant(10_000n)),
  unitAmount: fc.oneof(fc.bigInt(-50_000n, 50_000n), fc.bigInt(-999_999_999_999n, 999_999_999_999n), fc.constant(50n)),
  percent: fc.oneof(fc.constantFrom(0n, 50_000n, 100_000n, 125_000n, 150_000n), fc.bigInt(0n, 1_000_000n)),
});
const anyLines = fc.array(anyWhole, { maxLength: 12 });

const textOf = ({ quantity, unitAmount, percent }: Whole): LineToTotal =>
  line(decimalOf(quantity), decimalOf(unitAmount), decimalOf(percent));

describe("the totals of any lines", () => {
  it("are those of the same rule in whole numbers", () => {
    fc.assert(
      fc.property(anyLines, anyType, (lines, types) => {
        const { subtotal, totalTax, total } = totalsOf(lines.map(textOf), types);
        const cents = [subtotal, totalTax, total].map((amount) => BigInt(amount.times(100).toFixed()));
        const expected = reference(lines, types);
        expect(cents).toEqual([expected.subtotal, expected.totalTax, expected.total]);
      }),
      { numRuns: 2_000 },
    );
  });

  it("add up: lines to totals, and net and tax to the total", () => {
    fc.assert(
      fc.property(anyLines, anyType, (whole, types) => {
        const { lines, subtotal, totalTax, total } = totalsOf(whole.map(textOf), types);
        const cents = (amount: { times(by: number): { toFixed(): string } }) => BigInt(amount.times(100).toFixed());
        const sum = (amounts: bigint[]) => amounts.reduce((all, one) => all + one, 0n);
        expect(subtotal.plus(totalTax).eq(total)).toBe(true);
        expect(sum(lines.map(({ taxAmount }) => cents(taxAmount)))).toBe(cents(totalTax));
        const expected = types === "INCLUSIVE" ? total : subtotal;
        expect(sum(lines.map(({ lineAmount }) => cents(lineAmount)))).toBe(cents(expected));
        if (types === "NO_TAX") expect(totalTax.eq(0)).toBe(true);
      }),
    );
  });

  it("do not depend on the order of the lines", () => {
    const shuffled = anyLines.chain((lines) =>
      fc.tuple(fc.constant(lines), fc.shuffledSubarray(lines, { minLength: lines.length })),
    );
    fc.assert(
      fc.property(shuffled, anyType, ([lines, others], types) => {
        expect(summary(others.map(textOf), types)).toEqual(summary(lines.map(textOf), types));
      }),
    );
  });

  it("are the negative of the negative lines' totals", () => {
    fc.assert(
      fc.property(anyLines, anyType, (lines, types) => {
        const negated = lines.map((whole) => ({ ...whole, quantity: -whole.quantity }));
        const [one, other] = [lines, negated].map((all) => totalsOf(all.map(textOf), types));
        expect(one?.total.plus(other?.total ?? 1).eq(0)).toBe(true);
        expect(one?.totalTax.plus(other?.totalTax ?? 1).eq(0)).toBe(true);
      }),
    );
  });
});

describe("an effective rate", () => {
  const part = (rate: string, compound = false) => ({ rate, compound });

  it.each<[string, { rate: string; compound: boolean }[], string]>([
    ["of one part is that part", [part("10")], "10"],
    ["of simple parts is their sum", [part("5"), part("9.975")], "14.975"],
    ["counts a compound part on the amount with the simple tax", [part("10"), part("2", true)], "12.2"],
    ["takes the compound part last, wherever it stands", [part("2", true), part("10")], "12.2"],
    ["of a compound part alone is that part", [part("10", true)], "10"],
    ["of nothing is nothing", [part("0")], "0"],
    ["keeps every place", [part("8.375"), part("1.125", true)], "9.59421875"],
  ])("%s", (_name, parts, expected) => {
    expect(effectiveRateOf(parts).toFixed()).toBe(expected);
  });
});
