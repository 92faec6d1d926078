/**
 * Owns the answers about an organisation itself: Organisation, Accounts, TaxRates. They are read-only here: nothing
 * that the service does creates one; control does. Source: docs/xero-facts.md section 9: neither list is paged, both show
 * what is archived or deleted.
 */
import type { Call, Json, Reply } from "../http.js";
import { notFound } from "../refusals.js";
import { wireBareInstant, wireDate, wireInstant } from "../wire.js";
import type { World } from "../World.js";
import { envelope, selected } from "./lists.js";
import type { Organisation } from "./Organisation.js";
import { classOf, effectiveRate, type Account, type TaxRate } from "./records.js";
import type { FieldTable } from "./where.js";

const actions = [
  "CreateApprovedInvoice",
  "CreateDraftInvoice",
  "CreateInvoicePayment",
  "CreateApprovedBill",
  "CreateDraftBill",
];

const accountFields: FieldTable<Account> = {
  AccountID: { kind: "id", of: (account) => account.id },
  Code: { kind: "text", of: (account) => account.code },
  Name: { kind: "text", of: (account) => account.name },
  Type: { kind: "text", of: (account) => account.type },
  Class: { kind: "text", of: (account) => classOf(account.type) },
  Status: { kind: "text", of: (account) => account.status },
  TaxType: { kind: "text", of: (account) => account.taxType },
  SystemAccount: { kind: "text", of: (account) => account.systemAccount ?? "" },
  EnablePaymentsToAccount: { kind: "flag", of: (account) => account.enablePayments },
  UpdatedDateUTC: { kind: "day", of: (account) => account.updatedAt },
};

const taxRateFields: FieldTable<TaxRate> = {
  Name: { kind: "text", of: (rate) => rate.name },
  TaxType: { kind: "text", of: (rate) => rate.taxType },
  Status: { kind: "text", of: (rate) => rate.status },
  EffectiveRate: { kind: "number", of: effectiveRate },
  CanApplyToRevenue: { kind: "flag", of: (rate) => rate.appliesTo.includes("REVENUE") },
};

/** GET /Organisation and /Organisation/Actions. */
export function organisationRoute(world: World, org: Organisation, rest: readonly string[]): Reply {
  if (rest[0]?.toLowerCase() === "actions") {
    const refused = org.approvalsLeft === 0 ? "CreateApprovedInvoice" : "";
    return envelope(
      world,
      "Actions",
      actions.map((Name) => ({ Name, Status: Name === refused ? "NOT-ALLOWED" : "ALLOWED" })),
    );
  }
  return rest.length === 0 ? envelope(world, "Organisations", [wireOrganisation(org)]) : notFound();
}

/** GET /Accounts and /Accounts/{AccountID}. */
export function accountsRoute(world: World, org: Organisation, call: Call, rest: readonly string[]): Reply {
  const id = rest[0];
  if (id !== undefined) {
    const account = org.accounts.get(id.toLowerCase());
    return account && rest.length === 1 ? envelope(world, "Accounts", [wireAccount(org, account)]) : notFound();
  }
  const { items } = selected(call, org.accounts.values(), {
    fields: accountFields,
    canPage: false,
    updatedAt: (account) => account.updatedAt,
    inclusive: org.switches.modifiedSinceInclusive,
    id: (account) => account.code ?? account.id,
  });
  return envelope(
    world,
    "Accounts",
    items.map((account) => wireAccount(org, account)),
  );
}

/** GET /TaxRates and /TaxRates/{TaxType}. */
export function taxRatesRoute(world: World, org: Organisation, call: Call, rest: readonly string[]): Reply {
  const taxType = rest[0];
  if (taxType !== undefined) {
    const rate = org.taxRates.get(taxType.toUpperCase());
    return rate && rest.length === 1 ? envelope(world, "TaxRates", [wireTaxRate(org, rate)]) : notFound();
  }
  const rules = { fields: taxRateFields, canPage: false, inclusive: true, id: (rate: TaxRate) => rate.name };
  const { items } = selected(call, org.taxRates.values(), rules);
  return envelope(
    world,
    "TaxRates",
    items.map((rate) => wireTaxRate(org, rate)),
  );
}

function wireOrganisation(org: Organisation): Json {
  const { profile } = org;
  const lock = (name: string, value: string | undefined): Json =>
    value === undefined ? {} : { [name]: wireDate(value) };
  return {
    Name: profile.name,
    LegalName: profile.legalName,
    PaysTax: true,
    Version: profile.countryCode,
    OrganisationType: "COMPANY",
    BaseCurrency: profile.baseCurrency,
    CountryCode: profile.countryCode,
    IsDemoCompany: profile.isDemoCompany,
    OrganisationStatus: "ACTIVE",
    FinancialYearEndDay: 30,
    FinancialYearEndMonth: 6,
    SalesTaxBasis: "ACCRUALS",
    SalesTaxPeriod: "QUARTERLY1",
    DefaultSalesTax: "Tax Exclusive",
    DefaultPurchasesTax: "Tax Exclusive",
    ...lock("PeriodLockDate", profile.periodLockDate),
    ...lock("EndOfYearLockDate", profile.endOfYearLockDate),
    CreatedDateUTC: wireBareInstant(profile.createdAt),
    OrganisationEntityType: "COMPANY",
    Timezone: profile.timezone,
    ShortCode: profile.shortCode,
    OrganisationID: profile.id,
    Edition: "BUSINESS",
    Class: profile.class,
    Addresses: [],
    Phones: [],
    ExternalLinks: [],
    PaymentTerms: {},
  };
}

function wireAccount(org: Organisation, account: Account): Json {
  const isBank = account.type === "BANK";
  return {
    AccountID: account.id,
    ...(account.code === undefined ? {} : { Code: account.code }),
    Name: account.name,
    Status: account.status,
    Type: account.type,
    TaxType: account.taxType,
    ...(account.description === "" ? {} : { Description: account.description }),
    Class: classOf(account.type),
    SystemAccount: account.systemAccount ?? "",
    EnablePaymentsToAccount: account.enablePayments,
    ShowInExpenseClaims: false,
    ...(isBank
      ? {
          BankAccountNumber: account.bankAccountNumber,
          BankAccountType: "BANK",
          CurrencyCode: org.profile.baseCurrency,
        }
      : { BankAccountType: "" }),
    ReportingCode: "",
    HasAttachments: false,
    UpdatedDateUTC: wireInstant(account.updatedAt),
    AddToWatchlist: false,
  };
}

function wireTaxRate(org: Organisation, rate: TaxRate): Json {
  const applies = (name: TaxRate["appliesTo"][number]): boolean =>
    org.switches.taxFlags === "all" || rate.appliesTo.includes(name);
  const effective = effectiveRate(rate);
  const sum = rate.components.reduce((all, one) => all + one.rate, 0);
  return {
    Name: rate.name,
    TaxType: rate.taxType,
    ReportTaxType: rate.reportTaxType,
    CanApplyToAssets: applies("ASSET"),
    CanApplyToEquity: applies("EQUITY"),
    CanApplyToExpenses: applies("EXPENSE"),
    CanApplyToLiabilities: applies("LIABILITY"),
    CanApplyToRevenue: applies("REVENUE"),
    DisplayTaxRate: org.switches.compoundDisplayRate === "sum" ? Number(sum.toFixed(4)) : effective,
    EffectiveRate: effective,
    Status: rate.status,
    TaxComponents: rate.components.map((one) => ({
      Name: one.name,
      Rate: one.rate,
      IsCompound: one.isCompound,
      IsNonRecoverable: false,
    })),
  };
}
