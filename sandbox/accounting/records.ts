/**
 * Owns what an organisation's records are, as the sandbox keeps them. Leaves rules to the module of each record and
 * Xero's wire shapes to the renderers. Every field is always present, nested values are replaced and never changed in
 * place: Changes relies on both when it undoes a refused call.
 */
import type Big from "big.js";
import type { Json } from "../http.js";

export interface Contact {
  readonly id: string;
  number: string | undefined;
  name: string;
  status: string;
  /** The plain fields, under Xero's names. */
  details: Json;
  phones: Readonly<Record<string, Json>>;
  addresses: Readonly<Record<string, Json>>;
  persons: readonly Json[];
  mergedToId: string | undefined;
  isCustomer: boolean;
  isSupplier: boolean;
  updatedAt: number;
}

export interface ContactGroup {
  readonly id: string;
  name: string;
  status: string;
  contactIds: readonly string[];
}

export interface Line {
  readonly id: string;
  readonly description: string | undefined;
  readonly quantity: Big | undefined;
  readonly unitAmount: Big | undefined;
  readonly discountRate: Big | undefined;
  readonly discountAmount: Big | undefined;
  readonly lineAmount: Big;
  readonly taxAmount: Big;
  readonly taxType: string | undefined;
  readonly accountId: string | undefined;
  readonly itemCode: string | undefined;
  readonly tracking: readonly Json[];
}

export type LineAmountTypes = "Exclusive" | "Inclusive" | "NoTax";

export interface Invoice {
  readonly id: string;
  readonly type: "ACCREC" | "ACCPAY";
  readonly byApp: boolean;
  number: string | undefined;
  reference: string | undefined;
  url: string | undefined;
  contactId: string;
  date: string;
  dueDate: string | undefined;
  status: string;
  lineAmountTypes: LineAmountTypes;
  lines: readonly Line[];
  subTotal: Big;
  totalTax: Big;
  total: Big;
  amountPaid: Big;
  amountCredited: Big;
  currencyCode: string;
  brandingThemeId: string | undefined;
  expectedPaymentDate: string | undefined;
  plannedPaymentDate: string | undefined;
  sentToContact: boolean;
  fullyPaidOn: string | undefined;
  updatedAt: number;
}

export interface Payment {
  readonly id: string;
  readonly invoiceId: string;
  readonly accountId: string;
  readonly type: string;
  readonly date: string;
  readonly amount: Big;
  readonly reference: string | undefined;
  readonly batchId: string | undefined;
  isReconciled: boolean;
  status: string;
  updatedAt: number;
}

export type CreditKind = "CREDITNOTE" | "OVERPAYMENT" | "PREPAYMENT";

interface Allocation {
  readonly id: string;
  readonly invoiceId: string;
  readonly amount: Big;
  readonly date: string;
}

export interface Credit {
  readonly id: string;
  readonly kind: CreditKind;
  readonly number: string | undefined;
  readonly contactId: string;
  readonly date: string;
  readonly total: Big;
  status: string;
  allocations: readonly Allocation[];
  updatedAt: number;
}

export interface Account {
  readonly id: string;
  code: string | undefined;
  name: string;
  readonly type: string;
  status: string;
  taxType: string;
  description: string;
  systemAccount: string | undefined;
  enablePayments: boolean;
  bankAccountNumber: string | undefined;
  updatedAt: number;
}

interface TaxComponent {
  readonly name: string;
  readonly rate: number;
  readonly isCompound: boolean;
}

export interface TaxRate {
  readonly taxType: string;
  name: string;
  reportTaxType: string;
  status: string;
  components: readonly TaxComponent[];
  /** Account classes it may be used with. */
  appliesTo: readonly AccountClass[];
}

export type AccountClass = "ASSET" | "EQUITY" | "EXPENSE" | "LIABILITY" | "REVENUE";

export interface Profile {
  readonly id: string;
  name: string;
  legalName: string;
  shortCode: string;
  baseCurrency: string;
  countryCode: string;
  timezone: string;
  isDemoCompany: boolean;
  class: string;
  periodLockDate: string | undefined;
  endOfYearLockDate: string | undefined;
  readonly createdAt: number;
}

const classes: readonly (readonly [AccountClass, string])[] = [
  ["ASSET", "BANK CURRENT FIXED INVENTORY NONCURRENT PREPAYMENT"],
  ["LIABILITY", "CURRLIAB LIABILITY TERMLIAB PAYG"],
  ["EQUITY", "EQUITY"],
  ["REVENUE", "REVENUE SALES OTHERINCOME"],
];

/** The class that an account's type belongs to. */
export function classOf(accountType: string): AccountClass {
  return classes.find(([, types]) => types.split(" ").includes(accountType))?.[0] ?? "EXPENSE";
}

/** The rate to compute with, in percent: a compound component applies to the amount and the earlier tax. */
export function effectiveRate(rate: TaxRate): number {
  const plain = rate.components.filter((one) => !one.isCompound).reduce((sum, one) => sum + one.rate, 0);
  const compound = rate.components.filter((one) => one.isCompound).reduce((sum, one) => sum + one.rate, 0);
  return Number((plain + compound * (1 + plain / 100)).toFixed(4));
}
