/** What settings ask of each other, and which must be there. */
import { type Values } from "./config.js";

const required: (keyof Values)[] = ["XERO_CLIENT_ID", "XERO_CLIENT_SECRET", "ENCRYPTION_KEYS"];

/** Every rule that the settings break, in words; `environment` as it was given. */
export function problemsOf(values: Values, environment: Record<string, string | undefined>): string[] {
  const problems: string[] = [];
  for (const name of required) if (!environment[name]) problems.push(`${name} is missing`);
  if (!environment["AUTH_JWT_SECRET"] === !environment["AUTH_JWKS_URL"]) {
    problems.push("AUTH_JWT_SECRET or AUTH_JWKS_URL must be set, and only one of them");
  }
  if (
    values.ENCRYPTION_KEYS &&
    new Set(values.ENCRYPTION_KEYS.map(({ id }) => id)).size < values.ENCRYPTION_KEYS.length
  ) {
    problems.push("ENCRYPTION_KEYS names an id twice");
  }
  if (values.XERO_KEY_LIFE && values.XERO_REQUEST_TIMEOUT && values.XERO_KEY_LIFE <= values.XERO_REQUEST_TIMEOUT) {
    problems.push("XERO_KEY_LIFE must exceed XERO_REQUEST_TIMEOUT, or no key would ever be used");
  }
  if (values.SYNC_LEASE && values.XERO_REQUEST_TIMEOUT && values.SYNC_LEASE <= values.XERO_REQUEST_TIMEOUT) {
    problems.push("SYNC_LEASE must exceed XERO_REQUEST_TIMEOUT, or two workers would send one batch");
  }
  const { CONNECTION_WARN_AFTER: warnAfter, CONNECTION_INACTIVE_AFTER: endAfter } = values;
  if (warnAfter !== undefined && endAfter !== undefined && warnAfter >= endAfter) {
    problems.push("CONNECTION_WARN_AFTER must be less than CONNECTION_INACTIVE_AFTER, or nobody would be warned");
  }
  if (environment["SMTP_URL"] && !environment["MAIL_FROM"]) problems.push("MAIL_FROM is missing: SMTP_URL needs it");
  if (!environment["DATABASE_URL"] && values.ROLE !== undefined && values.ROLE !== "all") {
    problems.push("ROLE must be all with the embedded database; set DATABASE_URL to split the roles");
  }
  for (const name of ["APP_URL", "PUBLIC_URL"] as const) {
    // It becomes the invoice's Url at Xero, which refuses any that holds its own name.
    if (values[name]?.toLowerCase().includes("xero"))
      problems.push(`${name} must not contain "xero": Xero refuses invoices that link to it`);
  }
  if (values.NODE_ENV === "production") {
    for (const name of ["AUTH_ISSUER", "AUTH_AUDIENCE"] as const) {
      if (!environment[name]) problems.push(`${name} is missing; it is required in production`);
    }
    for (const name of ["XERO_LOGIN_URL", "XERO_IDENTITY_URL", "XERO_API_URL"] as const) {
      if (values[name]?.startsWith("http:"))
        problems.push(`${name} is a demo setting: production talks to Xero by https only`);
    }
  }
  return problems;
}
