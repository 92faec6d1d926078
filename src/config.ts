/**
 * The only reader of the environment. `settings` describes every variable once: what it means, its default, how it is parsed;
 * `.env.example` is written from it and the README's table names the same. `readConfig` reports all that is missing or malformed
 * in one message, so that nobody mends a start one variable at a time.
 */
import { z } from "zod";
import { problemsOf } from "./configRules.js";

const xeroScopes =
  "openid profile email offline_access accounting.invoices accounting.payments.read accounting.contacts accounting.settings.read";

const durationUnits = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

const duration = z.string().transform((text, context) => {
  const [, amount, unit] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text) ?? [];
  if (amount && unit) return Number(amount) * durationUnits[unit as keyof typeof durationUnits];
  context.addIssue("must be a duration such as 500ms, 30s, 15m, 24h or 60d");
  return z.NEVER;
});

const address = z
  .url({ protocol: /^https?$/, error: "must be an http(s) address" })
  .transform((url) => url.replace(/\/+$/, ""));
const list = z.string().transform((text) =>
  text
    .split(",")
    .map((item) => item.trim())
    .filter(Boolean),
);
const text = z.string();

const encryptionKeys = list
  .refine((entries) => entries.length > 0, "must name a key")
  .transform((entries, context) =>
    entries.map((entry) => {
      const colon = entry.indexOf(":");
      const key = Buffer.from(entry.slice(colon + 1), "base64");
      if (colon < 1 || key.length !== 32) context.addIssue("must be id:base64 of exactly 32 bytes, comma-separated");
      return { id: entry.slice(0, colon), key };
    }),
  );

const roleName = z.string().regex(/^[a-z_][a-z0-9_]{0,62}$/, "must be a plain lower-case PostgreSQL role name");
const port = z
  .string()
  .regex(/^\d{1,5}$/, "must be a port number")
  .transform(Number)
  .refine((n) => n < 65_536, "must be at most 65535");
const postgresUrl = z.string().regex(/^postgres(ql)?:\/\//, "must be a postgres:// address");
const secret = z.string().refine((value) => Buffer.byteLength(value) >= 32, "must be at least 32 bytes");
const shape = {
  NODE_ENV: z.enum(["development", "test", "production"], "must be development, test or production"),
  ROLE: z.enum(["all", "api", "worker"], "must be all, api or worker"),
  HOST: text,
  PORT: port,
  PUBLIC_URL: address,
  APP_URL: address,
  DATABASE_URL: postgresUrl,
  DATA_DIR: text,
  DATABASE_APP_ROLE: roleName,
  XERO_CLIENT_ID: text,
  XERO_CLIENT_SECRET: text,
  XERO_WEBHOOK_KEYS: list,
  XERO_SCOPES: z.string().transform((scopes) => scopes.split(/\s+/).filter(Boolean)),
  XERO_LOGIN_URL: address,
  XERO_IDENTITY_URL: address,
  XERO_API_URL: address,
  XERO_REQUEST_TIMEOUT: duration.refine((ms) => ms >= 100 && ms <= 60_000, "must be between 100ms and 60s"),
  SYNC_LEASE: duration,
  XERO_KEY_LIFE: duration.refine((ms) => ms <= 300_000, "must be at most 5m: Xero forgets a key after six minutes"),
  ENCRYPTION_KEYS: encryptionKeys,
  AUTH_JWT_SECRET: secret,
  AUTH_JWKS_URL: address,
  AUTH_ISSUER: text,
  AUTH_AUDIENCE: text,
  AUTH_WORKSPACE_CLAIM: text,
  AUTH_ROLE_CLAIM: text,
  ALLOWED_ORIGINS: list,
  PAYMENT_CATCH_UP_EVERY: duration.refine((ms) => ms >= 100, "must be at least 100ms"),
  CONNECTION_CHECK_EVERY: duration.refine(
    (ms) => ms > 0 && ms <= 30 * 86_400_000,
    "must be more than nothing and at most 30d: the check keeps tokens alive, which Xero ends after 60 days",
  ),
  CONNECTION_INACTIVE_AFTER: duration,
  CONNECTION_WARN_AFTER: duration.refine((ms) => ms > 0, "must be more than nothing"),
  SMTP_URL: z.string().regex(/^smtps?:\/\/\S+$/, "must be an smtp:// or smtps:// address"),
  MAIL_FROM: z
    .string()
    .regex(/^[^<>\r\n]*<?[^\s<>@]+@[^\s<>@]+>?$/, "must be an e-mail address, with or without a name before it"),
  SYNC_OVERDUE_AFTER: duration.refine((ms) => ms > 0, "must be more than nothing"),
  WEBHOOK_SILENT_AFTER: duration.refine((ms) => ms > 0, "must be more than nothing"),
  LOG_LEVEL: z.enum(
    ["fatal", "error", "warn", "info", "debug", "trace", "silent"],
    "must be a pino level such as info",
  ),
  METRICS_TOKEN: text,
} as const;

type Name = keyof typeof shape;
export type Values = { [name in Name]: z.output<(typeof shape)[name]> | undefined };

export interface Setting {
  name: Name;
  /** Used when the variable is unset or empty. */
  default?: string;
  /** Shown in `.env.example` where there is no default. */
  example?: string;
  description: string;
}

/** Every environment variable that the service reads, in the order in which they are documented. */
export const settings: Setting[] = [
  { name: "NODE_ENV", default: "development", description: "production refuses demo settings" },
  { name: "ROLE", default: "all", description: "all, api or worker: many of each may run over one database" },
  { name: "HOST", default: "127.0.0.1", description: "address to listen on" },
  { name: "PORT", default: "4000", description: "port to listen on; 0 takes any free one" },
  {
    name: "PUBLIC_URL",
    example: "https://ledgerline.example.com",
    description: "where Xero and browsers reach this service; default http://localhost:PORT",
  },
  {
    name: "APP_URL",
    example: "https://app.example.com",
    description: "where the browser goes after the consent; default PUBLIC_URL",
  },
  {
    name: "DATABASE_URL",
    example: "postgres://ledgerline:secret@localhost:5432/ledgerline",
    description: "PostgreSQL 15 or later; unset: embedded. Its login owns the schema and need not be a superuser",
  },
  {
    name: "DATA_DIR",
    default: "./data",
    description: "where the embedded database lives; one process at a time, only with ROLE=all",
  },
  {
    name: "DATABASE_APP_ROLE",
    default: "ledgerline_app",
    description: "the unprivileged role that requests run as; created if it may be, else expected to be there",
  },
  { name: "XERO_CLIENT_ID", example: "0123456789ABCDEF0123456789ABCDEF", description: "the Xero app; required" },
  { name: "XERO_CLIENT_SECRET", example: "…", description: "the Xero app; required" },
  {
    name: "XERO_WEBHOOK_KEYS",
    example: "…",
    description: "webhook signing keys, comma-separated; any of them is accepted, so a key can be rotated",
  },
  {
    name: "XERO_SCOPES",
    default: xeroScopes,
    description:
      "what a consent asks for, space-separated; with accounting.payments in place of accounting.payments.read payments recorded here can be sent (pushPayments)",
  },
  { name: "XERO_LOGIN_URL", default: "https://login.xero.com", description: "/identity/connect/authorize is under it" },
  {
    name: "XERO_IDENTITY_URL",
    default: "https://identity.xero.com",
    description: "/connect/token and /connect/revocation are under it",
  },
  { name: "XERO_API_URL", default: "https://api.xero.com", description: "/connections and /api.xro/2.0 are under it" },
  { name: "XERO_REQUEST_TIMEOUT", default: "30s", description: "for one call to Xero; at most 60s" },
  {
    name: "SYNC_LEASE",
    default: "90s",
    description: "how long a silent worker keeps its batch; must exceed the timeout",
  },
  {
    name: "XERO_KEY_LIFE",
    default: "5m",
    description: "how long Xero is trusted to know an idempotency key; at most 5m, and more than XERO_REQUEST_TIMEOUT",
  },
  {
    name: "ENCRYPTION_KEYS",
    example: "2026a:base64-of-32-bytes",
    description: "id:base64 of 32 bytes, comma-separated; the first encrypts, all decrypt; required",
  },
  {
    name: "AUTH_JWT_SECRET",
    example: "at-least-32-bytes-of-shared-secret",
    description: "bearer tokens are HS256 with this secret (at least 32 bytes); this or AUTH_JWKS_URL is required",
  },
  {
    name: "AUTH_JWKS_URL",
    example: "https://login.example.com/.well-known/jwks.json",
    description: "or RS256, ES256, EdDSA by this key set",
  },
  {
    name: "AUTH_ISSUER",
    example: "https://login.example.com/",
    description: "unset: not checked; required in production",
  },
  { name: "AUTH_AUDIENCE", example: "ledgerline", description: "unset: not checked; required in production" },
  {
    name: "AUTH_WORKSPACE_CLAIM",
    default: "workspace_id",
    description: "claim that names the workspace: any string of 1 to 255 characters",
  },
  { name: "AUTH_ROLE_CLAIM", default: "role", description: "claim with viewer, bookkeeper or admin" },
  {
    name: "ALLOWED_ORIGINS",
    example: "https://app.example.com",
    description: "browsers' origins for CORS and the WebSocket, comma-separated; default APP_URL's origin",
  },
  {
    name: "PAYMENT_CATCH_UP_EVERY",
    default: "15m",
    description:
      "how often changes in Xero are looked through for what webhooks missed; four times as rare while webhooks arrive and nothing is missed",
  },
  {
    name: "CONNECTION_CHECK_EVERY",
    default: "1d",
    description: "how often a light call looks whether a link was ended at Xero",
  },
  {
    name: "CONNECTION_INACTIVE_AFTER",
    default: "60d",
    description: "a link is ended after so long without a sync, payment, import or change of settings",
  },
  {
    name: "CONNECTION_WARN_AFTER",
    default: "45d",
    description: "an alert says so before; less than CONNECTION_INACTIVE_AFTER",
  },
  {
    name: "SMTP_URL",
    example: "smtps://user:secret@mail.example.com",
    description: "where alert e-mail is handed in; unset: alerts are kept, no mail is sent",
  },
  {
    name: "MAIL_FROM",
    example: "Ledgerline <alerts@example.com>",
    description: "who alert e-mail is from; required with SMTP_URL",
  },
  {
    name: "SYNC_OVERDUE_AFTER",
    default: "24h",
    description: "an alert says when something that should be in Xero has not been for so long, whatever the reason",
  },
  {
    name: "WEBHOOK_SILENT_AFTER",
    default: "24h",
    description: "an alert says when changes are found in Xero and no webhook has come for so long",
  },
  { name: "LOG_LEVEL", default: "info", description: "JSON lines on stdout" },
  {
    name: "METRICS_TOKEN",
    example: "…",
    description: "GET /metrics answers the bearer of this token only; unset: everyone who reaches it",
  },
];

/** The configuration, parsed; durations in milliseconds. */
export interface Config {
  production: boolean;
  role: "all" | "api" | "worker";
  host: string;
  port: number;
  /** Null: `http://localhost:` and the port that was bound. */
  publicUrl: string | null;
  appUrl: string | null;
  /** `url` null: the embedded database in `dataDir`. */
  database: { url: string | null; embedded: boolean; dataDir: string; appRole: string };
  xero: {
    clientId: string;
    clientSecret: string;
    webhookKeys: string[];
    scopes: string[];
    loginUrl: string;
    identityUrl: string;
    apiUrl: string;
    timeoutMs: number;
  };
  syncLeaseMs: number;
  keyLifeMs: number;
  paymentCatchUpEveryMs: number;
  connection: { checkEveryMs: number; warnAfterMs: number; inactiveAfterMs: number };
  /** `smtpUrl` null: no mail is sent. */
  mail: { smtpUrl: string | null; from: string };
  syncOverdueAfterMs: number;
  webhookSilentAfterMs: number;
  encryptionKeys: { id: string; key: Buffer }[];
  auth: {
    secret: string | null;
    jwksUrl: string | null;
    issuer: string | null;
    audience: string | null;
    workspaceClaim: string;
    roleClaim: string;
  };
  /** Null: the origin of `appUrl`. */
  allowedOrigins: string[] | null;
  logLevel: string;
  /** Null: the metrics are open to everyone who reaches them. */
  metricsToken: string | null;
}

/** Thrown by `readConfig`; `message` lists every problem, a line each. */
export class ConfigError extends Error {}

/** Parses the environment. Throws ConfigError with every problem at once; secrets are never repeated in it. */
export function readConfig(environment: Record<string, string | undefined> = process.env): Config {
  const problems: string[] = [];
  const values = {} as Record<Name, unknown>;
  for (const { name, default: fallback } of settings) {
    const given = environment[name]?.trim() || fallback;
    if (given === undefined) continue;
    const parsed = shape[name].safeParse(given);
    if (parsed.success) values[name] = parsed.data;
    else problems.push(`${name} ${parsed.error.issues[0]?.message ?? "is malformed"}`);
  }
  const read = values as Values;
  const given = Object.fromEntries(settings.map(({ name }) => [name, environment[name]?.trim()]));
  problems.push(...problemsOf(read, given));
  if (problems.length > 0) {
    throw new ConfigError(
      `The configuration is not complete:\n${problems.map((line) => `  - ${line}`).join("\n")}\nSee .env.example.`,
    );
  }
  const value = <N extends Name>(name: N): NonNullable<Values[N]> => read[name] as NonNullable<Values[N]>;
  return {
    production: value("NODE_ENV") === "production",
    role: value("ROLE"),
    host: value("HOST"),
    port: value("PORT"),
    publicUrl: read.PUBLIC_URL ?? null,
    appUrl: read.APP_URL ?? null,
    database: {
      url: read.DATABASE_URL ?? null,
      embedded: read.DATABASE_URL === undefined,
      dataDir: value("DATA_DIR"),
      appRole: value("DATABASE_APP_ROLE"),
    },
    xero: {
      clientId: value("XERO_CLIENT_ID"),
      clientSecret: value("XERO_CLIENT_SECRET"),
      webhookKeys: read.XERO_WEBHOOK_KEYS ?? [],
      scopes: value("XERO_SCOPES"),
      loginUrl: value("XERO_LOGIN_URL"),
      identityUrl: value("XERO_IDENTITY_URL"),
      apiUrl: value("XERO_API_URL"),
      timeoutMs: value("XERO_REQUEST_TIMEOUT"),
    },
    syncLeaseMs: value("SYNC_LEASE"),
    keyLifeMs: value("XERO_KEY_LIFE"),
    paymentCatchUpEveryMs: value("PAYMENT_CATCH_UP_EVERY"),
    connection: {
      checkEveryMs: value("CONNECTION_CHECK_EVERY"),
      warnAfterMs: value("CONNECTION_WARN_AFTER"),
      inactiveAfterMs: value("CONNECTION_INACTIVE_AFTER"),
    },
    mail: { smtpUrl: read.SMTP_URL ?? null, from: read.MAIL_FROM ?? "" },
    syncOverdueAfterMs: value("SYNC_OVERDUE_AFTER"),
    webhookSilentAfterMs: value("WEBHOOK_SILENT_AFTER"),
    encryptionKeys: value("ENCRYPTION_KEYS"),
    auth: {
      secret: read.AUTH_JWT_SECRET ?? null,
      jwksUrl: read.AUTH_JWKS_URL ?? null,
      issuer: read.AUTH_ISSUER ?? null,
      audience: read.AUTH_AUDIENCE ?? null,
      workspaceClaim: value("AUTH_WORKSPACE_CLAIM"),
      roleClaim: value("AUTH_ROLE_CLAIM"),
    },
    allowedOrigins: read.ALLOWED_ORIGINS ?? null,
    logLevel: value("LOG_LEVEL"),
    metricsToken: read.METRICS_TOKEN ?? null,
  };
}
