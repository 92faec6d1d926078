/** Exact decimals: text outside, Big inside, never a float. */
import { Big } from "big.js";

/** Rounds to cents, half away from zero, as Xero does. */
export function roundToCents(value: Big): Big {
  return value.round(2, Big.roundHalfUp);
}

/** Money as text with two places: "123.40". */
export function moneyText(value: Big | string): string {
  return new Big(value).toFixed(2);
}

/** A decimal as text with as many places as it needs, and at least `places`: ("1.5000", 0) is "1.5", ("10.0000", 2) is "10.00". */
export function decimalText(value: Big | string, places = 0): string {
  const exact = new Big(value);
  const needed = exact.toFixed().split(".")[1]?.length ?? 0;
  return exact.toFixed(Math.max(needed, places));
}

/** How many decimal places the number has, trailing zeros left out. */
export function decimalPlaces(value: string): number {
  return new Big(value).toFixed().split(".")[1]?.length ?? 0;
}
