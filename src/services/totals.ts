/**
 * What an invoice comes to, by Xero's rounding rules, so that ours and Xero's totals are equal to the cent.
 *
 * The rule (https://developer.xero.com/documentation, "Rounding in Xero", with unitdp=4): a line is quantity times unit amount, rounded
 * to cents; tax is computed per line and rounded to cents, half up, and only then summed. Exclusive: tax is line times rate. Inclusive:
 * the net is line / (1 + rate), rounded; tax is the rest. Xero's subtotal of an inclusive invoice is its lines less their tax.
 */
import { Big } from "big.js";
import { type LineAmountTypes } from "../entities/enums.js";
import { roundToCents } from "../money.js";

/** Quantity and unit amount as decimal text of at most four places; the tax rate in per cent. */
export interface LineToTotal {
  quantity: string;
  unitAmount: string;
  taxPercent: string;
}

export interface LineTotals {
  lineAmount: Big;
  taxAmount: Big;
}

export interface InvoiceTotals {
  lines: LineTotals[];
  subtotal: Big;
  totalTax: Big;
  total: Big;
}

function taxOf(lineAmount: Big, taxPercent: string, types: LineAmountTypes): Big {
  const percent = new Big(taxPercent);
  if (types === "NO_TAX" || percent.eq(0)) return new Big(0);
  if (types === "EXCLUSIVE") return roundToCents(lineAmount.times(percent).div(100));
  const net = divideToCents(lineAmount.times(100), percent.plus(100));
  return lineAmount.minus(net);
}

/** The quotient, rounded once: Big divides to a fixed number of places, and rounding its result again could round up twice. */
function divideToCents(dividend: Big, divisor: Big): Big {
  const cents = dividend.times(100).div(divisor);
  const whole = cents.round(0, Big.roundDown);
  const twiceRest = dividend.times(100).minus(whole.times(divisor)).abs().times(2);
  const away = twiceRest.gte(divisor.abs()) ? (dividend.lt(0) ? -1 : 1) : 0;
  return whole.plus(away).div(100);
}

/** The totals of an invoice; `lines` in the order given. */
export function totalsOf(lines: LineToTotal[], types: LineAmountTypes): InvoiceTotals {
  const totalled = lines.map(({ quantity, unitAmount, taxPercent }) => {
    const lineAmount = roundToCents(new Big(quantity).times(unitAmount));
    return { lineAmount, taxAmount: taxOf(lineAmount, taxPercent, types) };
  });
  const sum = (amounts: Big[]) => amounts.reduce((total, amount) => total.plus(amount), new Big(0));
  const lineSum = sum(totalled.map(({ lineAmount }) => lineAmount));
  const totalTax = sum(totalled.map(({ taxAmount }) => taxAmount));
  return types === "INCLUSIVE"
    ? { lines: totalled, subtotal: lineSum.minus(totalTax), totalTax, total: lineSum }
    : { lines: totalled, subtotal: lineSum, totalTax, total: lineSum.plus(totalTax) };
}

/** What each component adds, in per cent of the amount: compound ones apply to it with all simple ones, and the compound ones before, added. */
export function effectsOf(components: { rate: string; compound: boolean }[]): Big[] {
  let base = components.reduce((sum, { rate, compound }) => (compound ? sum : sum.plus(rate)), new Big(100));
  return components.map(({ rate, compound }) => {
    if (!compound) return new Big(rate);
    const effect = base.times(rate).div(100);
    base = base.plus(effect);
    return effect;
  });
}

/** The effective rate, in per cent, of a rate made of components. */
export function effectiveRateOf(components: { rate: string; compound: boolean }[]): Big {
  return effectsOf(components).reduce((sum, effect) => sum.plus(effect), new Big(0));
}
