/** Which price limit holds for a support item on a day. */
import { type SupportItem } from "../../entities/SupportItem.js";
import { type SupportItemPrice } from "../../entities/SupportItemPrice.js";

/**
 * The limit for what is done on that day ("YYYY-MM-DD"): what was set by hand, on whichever day; else that of the catalogue's period that
 * holds the day, the one that began last where several do. Null: there is none.
 */
export function priceLimitOn(item: SupportItem, prices: SupportItemPrice[], day: string): string | null {
  if (item.priceLimit !== null) return item.priceLimit;
  const period = prices
    .filter(({ validFrom, validTo }) => validFrom <= day && (validTo === null || day <= validTo))
    .sort((one, other) => other.validFrom.localeCompare(one.validFrom))[0];
  return period?.priceLimit ?? null;
}
