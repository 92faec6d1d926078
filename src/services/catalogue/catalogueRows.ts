/**
 * From the sheets of the NDIS Support Catalogue, as the NDIA publishes it (https://www.ndis.gov.au/providers/pricing-arrangements), to support items with
 * the price limit of one region and the period in which it holds; or what is wrong, row by row. Pure.
 */
import { Big } from "big.js";

/** A sheet's cells as text, numbers exactly as they are written in the file; null where a cell is empty. */
interface Sheet {
  sheet: string;
  data: (string | null)[][];
}

export type Region = "NATIONAL" | "REMOTE" | "VERY_REMOTE";

/** A support item and its price limit in one period. */
export interface CatalogueItem {
  itemNumber: string;
  name: string;
  unit: string;
  validFrom: string;
  /** Null: until further notice. */
  validTo: string | null;
  /** Two decimal places; null: none, as for what is quoted. */
  priceLimit: string | null;
}

/** What is wrong with a row; rows are numbered as a spreadsheet shows them. */
export interface RowError {
  sheet: string;
  row: number;
  reason: string;
}

/** What a workbook holds. */
export interface Catalogue {
  items: CatalogueItem[];
  errors: RowError[];
}

const columns = {
  itemNumber: "Support Item Number",
  name: "Support Item Name",
  unit: "Unit",
  validFrom: "Start date",
  validTo: "End Date",
};
const priceColumns: Record<Region, string> = { NATIONAL: "National", REMOTE: "Remote", VERY_REMOTE: "Very Remote" };

const units = ["H", "D", "E", "WK", "MON", "YR"];

/** The heading stands in one of the first rows; published files begin with it. */
const headingWithin = 20;

/** Xero's end of time, and the NDIA's. */
const forEver = "9999-12-31";

const mostErrors = 200;

/** The items of all sheets that have the catalogue's columns, and what is wrong; where anything is, the items are not to be used. */
export function readCatalogue(sheets: Sheet[], region: Region): Catalogue {
  const items: CatalogueItem[] = [];
  const errors: RowError[] = [];
  const seen = new Map<string, string>();
  let catalogues = 0;
  for (const { sheet, data } of sheets) {
    const heading = data
      .slice(0, headingWithin)
      .findIndex((row) => row.some((cell) => isNamed(cell, columns.itemNumber)));
    if (heading < 0) continue;
    catalogues += 1;
    const places = placesOf(data[heading] ?? [], region);
    if ("missing" in places) {
      errors.push({ sheet, row: heading + 1, reason: `there is no column ${places.missing.join(", nor ")}` });
      continue;
    }
    for (const [index, cells] of data.entries()) {
      if (index <= heading || cells.every((cell) => (cell ?? "").trim() === "")) continue;
      const row = index + 1;
      const item = readRow((column) => (cells[places[column]] ?? "").trim());
      if (Array.isArray(item)) {
        errors.push(...item.map((reason) => ({ sheet, row, reason })));
        continue;
      }
      const key = `${item.itemNumber} from ${item.validFrom}`;
      const first = seen.get(key);
      if (first !== undefined) errors.push({ sheet, row, reason: `${key} is in ${first} already` });
      else items.push(item);
      seen.set(key, first ?? `${sheet}, row ${row}`);
    }
  }
  if (catalogues === 0) {
    errors.push({
      sheet: "",
      row: 0,
      reason: `no sheet has a column ${columns.itemNumber}: this is no NDIS Support Catalogue`,
    });
  } else if (items.length === 0 && errors.length === 0) {
    errors.push({ sheet: "", row: 0, reason: "no sheet has a row below its heading" });
  }
  return { items, errors: errors.slice(0, mostErrors) };
}

type Column = keyof typeof columns | "price";

function placesOf(heading: (string | null)[], region: Region): Record<Column, number> | { missing: string[] } {
  const wanted = { ...columns, price: priceColumns[region] };
  const places = Object.fromEntries(
    Object.entries(wanted).map(([column, name]) => [column, heading.findIndex((cell) => isNamed(cell, name))]),
  ) as Record<Column, number>;
  const missing = (Object.keys(wanted) as Column[])
    .filter((column) => places[column] < 0)
    .map((column) => wanted[column]);
  return missing.length > 0 ? { missing } : places;
}

function isNamed(cell: string | null | undefined, name: string): boolean {
  return (cell ?? "").replace(/\s+/g, " ").trim().toLowerCase() === name.toLowerCase();
}

/** The row's item, or everything that is wrong with it. */
function readRow(text: (column: Column) => string): CatalogueItem | string[] {
  const problems: string[] = [];
  const itemNumber = text("itemNumber");
  if (!/^[\w-]{1,50}$/.test(itemNumber))
    problems.push(`${columns.itemNumber} "${shown(itemNumber)}" is no item number`);
  const name = text("name").replace(/\s+/g, " ");
  if (name === "" || name.length > 500) problems.push(`${columns.name} must have 1 to 500 characters`);
  const unit = text("unit").toUpperCase();
  if (!units.includes(unit)) problems.push(`${columns.unit} "${shown(unit)}" is none of ${units.join(", ")}`);
  const validFrom = dayOf(text("validFrom"));
  if (validFrom === null)
    problems.push(`${columns.validFrom} "${shown(text("validFrom"))}" is no day such as 20260701`);
  const validTo = dayOf(text("validTo"));
  if (validTo === null) problems.push(`${columns.validTo} "${shown(text("validTo"))}" is no day such as 99991231`);
  if (validFrom !== null && validTo !== null && validTo < validFrom) problems.push("it ends before it starts");
  const priceLimit = priceOf(text("price"));
  if (priceLimit === undefined) problems.push(`the price "${shown(text("price"))}" is no amount from 0 to 999,999,999`);
  if (problems.length > 0 || validFrom === null || priceLimit === undefined) return problems;
  return { itemNumber, name, unit, validFrom, validTo: validTo === forEver ? null : validTo, priceLimit };
}

/** YYYYMMDD, as published, or an ISO date, as a cell with a date format comes; null: neither. */
function dayOf(text: string): string | null {
  const [, year, month, day] = /^(\d{4})-?(\d{2})-?(\d{2})(?:T00:00:00.*)?$/.exec(text) ?? [];
  const iso = `${year}-${month}-${day}`;
  const date = new Date(`${iso}T00:00:00Z`);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(iso) ? iso : null;
}

/** Two decimal places, half up, since files hold floats such as 311.79000000000002; null: no limit; undefined: no amount. */
function priceOf(text: string): string | null | undefined {
  const plain = text.replace(/[$,\s]/g, "");
  if (plain === "" || /^(na|n\/a)$/i.test(plain)) return null;
  if (!/^\d{1,12}(\.\d+)?(e-?\d{1,2})?$/i.test(plain)) return undefined;
  const price = new Big(plain).round(2, Big.roundHalfUp);
  return price.gt(999_999_999) ? undefined : price.toFixed(2);
}

function shown(text: string): string {
  return text.slice(0, 40);
}
