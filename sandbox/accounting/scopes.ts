/**
 * Owns which scope opens which endpoint. Granular scopes only, unless the app is an old one (switch `broadScopes`).
 *
 * Source: docs/xero-facts.md section 1, "Scopes"; Xero's OpenAPI file still names the broad ones and is no guide here.
 */
const readable = (scope: string): string[] => [scope, `${scope}.read`];

const granular = new Set([
  "openid",
  "profile",
  "email",
  "offline_access",
  ...["invoices", "payments", "banktransactions", "manualjournals", "contacts", "settings", "attachments"].flatMap(
    (name) => readable(`accounting.${name}`),
  ),
  ...["aged", "balancesheet", "banksummary", "budgetsummary", "executivesummary"].map(
    (name) => `accounting.reports.${name}.read`,
  ),
  ...["profitandloss", "trialbalance", "taxreports"].map((name) => `accounting.reports.${name}.read`),
]);

const broad = new Set([...readable("accounting.transactions"), "accounting.reports.read"]);

const owner: Readonly<Record<string, string>> = {
  invoices: "accounting.invoices",
  creditnotes: "accounting.invoices",
  payments: "accounting.payments",
  overpayments: "accounting.payments",
  prepayments: "accounting.payments",
  contacts: "accounting.contacts",
  contactgroups: "accounting.contacts",
  organisation: "accounting.settings",
  accounts: "accounting.settings",
  taxrates: "accounting.settings",
};

/** Whether an app may ask for the scope at all. */
export function knownScope(scope: string, withBroad: boolean): boolean {
  return granular.has(scope) || (withBroad && broad.has(scope));
}

/** Whether these scopes open the endpoint (its first path segment, lower case) for reading or writing. */
export function scopesAllow(granted: readonly string[], endpoint: string, writes: boolean): boolean {
  const scope = owner[endpoint];
  if (scope === undefined) return true;
  const old = /invoices|payments/.test(scope) ? ["accounting.transactions"] : [];
  const enough = [scope, ...old].flatMap((name) => (writes ? [name] : readable(name)));
  return enough.some((name) => granted.includes(name));
}
