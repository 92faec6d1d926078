/**
 * Owns the chart of accounts and the tax rates that an Australian organisation starts with. Leaves people and groups
 * to demo.ts.
 *
 * Source: docs/xero-facts.md section 9: bank accounts report EnablePaymentsToAccount false, system accounts must not be
 * used on lines, deleted rates stay listed. Which classes a rate applies to is a guess from its name (switch
 * `taxFlags`): no Australian recording exists.
 */
import { randomUUID } from "node:crypto";
import type { Organisation } from "../accounting/Organisation.js";
import type { Account, AccountClass, TaxRate } from "../accounting/records.js";

type Seed = readonly [code: string, name: string, type: string, taxType: string, more?: Partial<Account>];

const accounts: readonly Seed[] = [
  ["090", "Business Bank Account", "BANK", "BASEXCLUDED", { bankAccountNumber: "062000-12345678" }],
  ["091", "Business Savings Account", "BANK", "BASEXCLUDED", { bankAccountNumber: "062000-12345679" }],
  ["200", "Sales", "REVENUE", "OUTPUT", { description: "Income from any normal business activity" }],
  ["201", "NDIS Income", "REVENUE", "EXEMPTOUTPUT", { description: "Supports delivered to NDIS participants" }],
  ["260", "Other Revenue", "REVENUE", "OUTPUT"],
  ["270", "Interest Income", "OTHERINCOME", "EXEMPTOUTPUT"],
  ["299", "Former Programs", "REVENUE", "OUTPUT", { status: "ARCHIVED" }],
  ["310", "Cost of Goods Sold", "DIRECTCOSTS", "INPUT"],
  ["400", "Advertising", "OVERHEADS", "INPUT"],
  ["404", "Bank Fees", "OVERHEADS", "EXEMPTEXPENSES"],
  ["429", "General Expenses", "EXPENSE", "INPUT"],
  ["449", "Motor Vehicle Expenses", "EXPENSE", "INPUT"],
  ["477", "Wages and Salaries", "EXPENSE", "BASEXCLUDED"],
  ["610", "Accounts Receivable", "CURRENT", "BASEXCLUDED", { systemAccount: "DEBTORS" }],
  ["710", "Office Equipment", "FIXED", "INPUT"],
  ["800", "Accounts Payable", "CURRLIAB", "BASEXCLUDED", { systemAccount: "CREDITORS" }],
  ["820", "GST", "CURRLIAB", "BASEXCLUDED", { systemAccount: "GST" }],
  ["860", "Rounding", "CURRLIAB", "BASEXCLUDED", { systemAccount: "ROUNDING" }],
  ["877", "Tracking Transfers", "CURRLIAB", "BASEXCLUDED", { systemAccount: "TRACKINGTRANSFERS" }],
  ["880", "Owner A Drawings", "EQUITY", "BASEXCLUDED", { enablePayments: true }],
  ["960", "Retained Earnings", "EQUITY", "BASEXCLUDED", { systemAccount: "RETAINEDEARNINGS" }],
  ["970", "Owner A Funds Introduced", "EQUITY", "BASEXCLUDED", { enablePayments: true }],
];

const income: readonly AccountClass[] = ["REVENUE", "LIABILITY", "ASSET", "EQUITY"];
const spending: readonly AccountClass[] = ["EXPENSE", "LIABILITY", "ASSET", "EQUITY"];
const any: readonly AccountClass[] = ["REVENUE", "EXPENSE", "LIABILITY", "ASSET", "EQUITY"];

const taxRates: readonly (readonly [string, string, number, readonly AccountClass[], string?])[] = [
  ["OUTPUT", "GST on Income", 10, income],
  ["INPUT", "GST on Expenses", 10, spending],
  ["EXEMPTOUTPUT", "GST Free Income", 0, income],
  ["EXEMPTEXPENSES", "GST Free Expenses", 0, spending],
  ["BASEXCLUDED", "BAS Excluded", 0, any],
  ["GSTONIMPORTS", "GST on Imports", 0, spending],
  ["CAPEXINPUT", "GST on Capital", 10, ["ASSET", "LIABILITY"]],
  ["EXEMPTCAPITAL", "GST Free Capital", 0, ["ASSET", "LIABILITY"]],
  ["EXEMPTEXPORT", "GST Free Exports", 0, income],
  ["INPUTTAXED", "Input Taxed", 0, any],
  ["TAX001", "Former GST on Income", 12.5, income, "DELETED"],
];

/** Gives the organisation its accounts and tax rates. */
export function seedAustralia(org: Organisation): void {
  for (const [code, name, type, taxType, more] of accounts) addAccount(org, { code, name, type, taxType, ...more });
  for (const [taxType, name, rate, appliesTo, status] of taxRates) {
    addTaxRate(org, {
      taxType,
      name,
      reportTaxType: taxType.startsWith("TAX") ? "OUTPUT" : taxType,
      status: status ?? "ACTIVE",
      components: [{ name: "GST", rate, isCompound: false }],
      appliesTo,
    });
  }
}

/** Adds an account; what is not given is as for an ordinary one. */
export function addAccount(org: Organisation, wish: Pick<Account, "name" | "type"> & Partial<Account>): Account {
  const account: Account = {
    id: randomUUID(),
    code: undefined,
    status: "ACTIVE",
    taxType: "BASEXCLUDED",
    description: "",
    systemAccount: undefined,
    enablePayments: false,
    bankAccountNumber: undefined,
    updatedAt: org.clock.now(),
    ...wish,
  };
  org.accounts.set(account.id, account);
  if (account.code !== undefined) org.accountIdByCode.set(account.code.toLowerCase(), account.id);
  return account;
}

/** Adds a tax rate, or replaces the one of its TaxType. */
export function addTaxRate(org: Organisation, rate: TaxRate): TaxRate {
  org.taxRates.set(rate.taxType, rate);
  return rate;
}
