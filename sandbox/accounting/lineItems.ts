/**
 * Owns one line of an invoice: what may be on it, its amount and its tax, and the totals of all lines. Leaves the
 * invoice itself to invoices.ts.
 *
 * Source: docs/xero-facts.md section 7, "Rounding": the unit amount is rounded to 2 places first unless unitdp=4, quantity
 * to 4; tax is rounded per line, half up, then summed; inclusive tax is what is left of the line after its rounded
 * net. Section 9 for AU's TaxType NONE.
 */
import { randomUUID } from "node:crypto";
import Big from "big.js";
import type { Fields } from "../Fields.js";
import { round2, round4 } from "../wire.js";
import type { Organisation } from "./Organisation.js";
import { classOf, effectiveRate, type Account, type Line, type LineAmountTypes, type TaxRate } from "./records.js";

const largestLine = new Big("9999999999.99");

export interface LineSetting {
  readonly org: Organisation;
  readonly type: "ACCREC" | "ACCPAY";
  readonly lineAmountTypes: LineAmountTypes;
  readonly approved: boolean;
  readonly unitDecimals: 2 | 4;
  /** Collects what is wrong, so that the answer names all of it. */
  readonly messages: string[];
}

/** The line that an element describes; `before` is the one it updates, whose values stay where none are sent. */
export function readLine(setting: LineSetting, sent: Fields, before: Line | undefined): Line {
  const { messages } = setting;
  const description = sent.text("Description") ?? before?.description;
  const itemCode = sent.text("ItemCode") ?? before?.itemCode;
  if ((description ?? "") === "" && itemCode === undefined) messages.push("Description must be specified.");
  if ((description?.length ?? 0) > 4000) messages.push("Description must be at most 4000 characters.");
  const tracking = sent.parts("Tracking")?.map((part) => part.echo()) ?? before?.tracking ?? [];
  if (tracking.length > 2) messages.push("A line item may have at most 2 tracking categories.");

  const sentTotal = sent.decimal("LineAmount");
  const hasAmounts = sent.has("UnitAmount") || sentTotal !== undefined || before?.unitAmount !== undefined;
  const quantity =
    hasAmounts || sent.has("Quantity") ? round4(sent.decimal("Quantity") ?? before?.quantity ?? new Big(1)) : undefined;
  const unitAmount = hasAmounts ? unitOf(setting, sent, before, sentTotal, quantity) : undefined;
  const discountRate = sent.decimal("DiscountRate") ?? before?.discountRate;
  const discountAmount = sent.decimal("DiscountAmount") ?? before?.discountAmount;
  if (setting.type === "ACCPAY" && (discountRate ?? discountAmount))
    messages.push("Discounts are only allowed on sales invoices.");
  const lineAmount = amountOf(quantity, unitAmount, discountRate, discountAmount);
  if (sentTotal && !round2(sentTotal).eq(lineAmount)) {
    messages.push(
      `The line total ${sentTotal.toFixed(2)} does not match the expected line total ${lineAmount.toFixed(2)}`,
    );
  }
  if (lineAmount.abs().gt(largestLine)) messages.push("The line amount must be at most 9,999,999,999.99.");

  const account = accountOf(setting, sent, before, hasAmounts);
  const rate = rateOf(setting, sent, before, account);
  const taxAmount = setting.lineAmountTypes === "NoTax" ? new Big(0) : sent.decimal("TaxAmount");
  return {
    id: before?.id ?? randomUUID(),
    description,
    quantity,
    unitAmount,
    discountRate,
    discountAmount,
    lineAmount,
    taxAmount: taxAmount ? round2(taxAmount) : taxOf(lineAmount, rate, setting.lineAmountTypes),
    taxType: rate?.taxType,
    accountId: account?.id,
    itemCode,
    tracking,
  };
}

/** The same line under another way of stating amounts. */
export function restated(setting: LineSetting, line: Line): Line {
  const rate = line.taxType === undefined ? undefined : setting.org.taxRates.get(line.taxType);
  return { ...line, taxAmount: taxOf(line.lineAmount, rate, setting.lineAmountTypes) };
}

/** SubTotal, TotalTax and Total; always at two places. */
export function totals(lines: readonly Line[], types: LineAmountTypes): { subTotal: Big; totalTax: Big; total: Big } {
  const sum = lines.reduce((all, line) => all.plus(line.lineAmount), new Big(0));
  const totalTax = lines.reduce((all, line) => all.plus(line.taxAmount), new Big(0));
  return types === "Inclusive"
    ? { subTotal: sum.minus(totalTax), totalTax, total: sum }
    : { subTotal: sum, totalTax, total: sum.plus(totalTax) };
}

function unitOf(
  setting: LineSetting,
  sent: Fields,
  before: Line | undefined,
  sentTotal: Big | undefined,
  quantity: Big | undefined,
): Big {
  const round = setting.unitDecimals === 4 ? round4 : round2;
  const unit = sent.decimal("UnitAmount") ?? before?.unitAmount;
  if (unit) return sent.has("UnitAmount") ? round(unit) : unit;
  return sentTotal && quantity && !quantity.eq(0) ? round(sentTotal.div(quantity)) : new Big(0);
}

function amountOf(
  quantity: Big | undefined,
  unitAmount: Big | undefined,
  discountRate: Big | undefined,
  discountAmount: Big | undefined,
): Big {
  if (!quantity || !unitAmount) return new Big(0);
  const gross = quantity.times(unitAmount);
  if (discountRate) return round2(gross.times(new Big(100).minus(discountRate)).div(100));
  return round2(discountAmount ? gross.minus(discountAmount) : gross);
}

function taxOf(lineAmount: Big, rate: TaxRate | undefined, types: LineAmountTypes): Big {
  if (!rate || types === "NoTax") return new Big(0);
  const percent = new Big(effectiveRate(rate));
  if (types === "Exclusive") return round2(lineAmount.times(percent).div(100));
  return lineAmount.minus(round2(lineAmount.times(100).div(percent.plus(100))));
}

function accountOf(
  setting: LineSetting,
  sent: Fields,
  before: Line | undefined,
  hasAmounts: boolean,
): Account | undefined {
  const { org, messages } = setting;
  const code = sent.text("AccountCode");
  const id = sent.id("AccountID");
  if (code === undefined && id === undefined) {
    if (before?.accountId !== undefined) return org.accounts.get(before.accountId);
    if (setting.approved && hasAmounts) messages.push("Account code '' is not a valid code for this document.");
    return undefined;
  }
  const account = code === undefined ? org.account({ id }) : org.account({ code });
  const shown = code ?? id ?? "";
  if (account && account.status !== "ACTIVE") {
    messages.push(
      `Account code '${shown}' has been archived, or has been deleted. Each line item must reference a valid account.`,
    );
    return undefined;
  }
  const usable = account && account.type !== "BANK" && (account.systemAccount ?? "ROUNDING") === "ROUNDING";
  if (!usable) messages.push(`Account code '${shown}' is not a valid code for this document.`);
  return usable ? account : undefined;
}

function rateOf(
  setting: LineSetting,
  sent: Fields,
  before: Line | undefined,
  account: Account | undefined,
): TaxRate | undefined {
  const { org, messages } = setting;
  const asked = sent.text("TaxType")?.toUpperCase();
  const kept = sent.has("AccountCode") || sent.has("AccountID") ? undefined : before?.taxType;
  const wanted =
    setting.lineAmountTypes === "NoTax"
      ? "NONE"
      : asked !== undefined && asked !== ""
        ? asked
        : (kept ?? account?.taxType);
  if (wanted === undefined) return undefined;
  const taxType = wanted === "NONE" && !org.taxRates.has("NONE") ? untaxed(account) : wanted;
  const rate = org.taxRates.get(taxType);
  if (rate?.status !== "ACTIVE") {
    messages.push(`The TaxType code '${wanted}' does not exist or cannot be used for this type of transaction.`);
    return undefined;
  }
  const applies = org.switches.taxFlags === "all" || !account || rate.appliesTo.includes(classOf(account.type));
  if (!applies) messages.push(`The TaxType code '${wanted}' cannot be used with account code '${account.code ?? ""}'.`);
  return rate;
}

/** AU has no rate NONE: it stands for one of these. */
function untaxed(account: Account | undefined): string {
  return account && classOf(account.type) === "EXPENSE" ? "EXEMPTEXPENSES" : "BASEXCLUDED";
}
