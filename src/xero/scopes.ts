/**
 * The granular scopes that this service needs, and what the older broad ones cover: an app made before 2 March 2026 may still hold those
 * (https://developer.xero.com/documentation/guides/oauth2/scopes). A write scope covers its `.read`.
 */

/** Without any one of these some part of the service can't work. */
const needed = [
  "accounting.invoices",
  "accounting.payments.read",
  "accounting.contacts",
  "accounting.settings.read",
] as const;

/** What payments made here are sent with; nothing else needs it, so a consent without it is a good one. */
const pushing = "accounting.payments";

const broad: Record<string, string[]> = {
  "accounting.transactions": ["accounting.invoices", "accounting.payments"],
  "accounting.transactions.read": ["accounting.invoices.read", "accounting.payments.read"],
};

/** Which of the scopes the service needs are not among those granted; none where it is not known what was granted. */
export function missingScopes(granted: readonly string[]): string[] {
  if (granted.length === 0) return [];
  const held = new Set(granted.flatMap((scope) => [scope, ...(broad[scope] ?? [])]));
  return needed.filter((scope) => !held.has(scope) && !held.has(scope.replace(/\.read$/, "")));
}

/** Whether a consent with these scopes may send payments; true where it is not known what was granted. */
export function mayPushPayments(granted: readonly string[]): boolean {
  return granted.length === 0 || granted.some((scope) => scope === pushing || broad[scope]?.includes(pushing));
}

/** Whether the call needs a scope without which the link is good for everything else. */
export function isOptional(operation: string): boolean {
  return scopeOf(operation) === pushing;
}

/** The scope that a call needs, by the operation's name: Xero says that one is missing and not which. */
export function scopeOf(operation: string): string | undefined {
  return operations.find(([pattern]) => pattern.test(operation))?.[1];
}

const operations: [RegExp, (typeof needed)[number] | typeof pushing][] = [
  [/putPayment|deletePayment/, pushing],
  [/invoice/i, "accounting.invoices"],
  [/payment/i, "accounting.payments.read"],
  [/contact/i, "accounting.contacts"],
  [/account|tax|organisation/i, "accounting.settings.read"],
];
