/** The configuration: what is read of the environment, and what is said of it when it will not do. */
import { describe, expect, it } from "@jest/globals";
import { ConfigError, readConfig, settings } from "../src/config.js";

type Environment = Record<string, string>;

const key = Buffer.alloc(32, 7).toString("base64");
const otherKey = Buffer.alloc(32, 8).toString("base64");

/** All that must be set, and no more. */
const least: Environment = {
  XERO_CLIENT_ID: "an id",
  XERO_CLIENT_SECRET: "a secret",
  ENCRYPTION_KEYS: `a:${key}`,
  AUTH_JWT_SECRET: "s".repeat(32),
};
const leastInProduction: Environment = {
  ...least,
  NODE_ENV: "production",
  AUTH_ISSUER: "https://login.example.com/",
  AUTH_AUDIENCE: "ledgerline",
};

function refusalOf(environment: Environment): string {
  try {
    readConfig(environment);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).message;
  }
  throw new Error("it was taken");
}

/** The problems that the message lists. */
const problemsOf = (environment: Environment): string[] =>
  refusalOf(environment)
    .split("\n")
    .filter((line) => line.startsWith("  - "))
    .map((line) => line.slice(4));

const without = (environment: Environment, ...names: string[]): Environment =>
  Object.fromEntries(Object.entries(environment).filter(([name]) => !names.includes(name)));

describe("defaults", () => {
  it("are the documented ones where only what is required is set", () => {
    expect(readConfig(least)).toEqual({
      production: false,
      role: "all",
      host: "127.0.0.1",
      port: 4000,
      publicUrl: null,
      appUrl: null,
      database: { url: null, embedded: true, dataDir: "./data", appRole: "ledgerline_app" },
      xero: {
        clientId: "an id",
        clientSecret: "a secret",
        webhookKeys: [],
        scopes: [
          "openid",
          "profile",
          "email",
          "offline_access",
          "accounting.invoices",
          "accounting.payments.read",
          "accounting.contacts",
          "accounting.settings.read",
        ],
        loginUrl: "https://login.xero.com",
        identityUrl: "https://identity.xero.com",
        apiUrl: "https://api.xero.com",
        timeoutMs: 30_000,
      },
      syncLeaseMs: 90_000,
      keyLifeMs: 300_000,
      paymentCatchUpEveryMs: 900_000,
      connection: { checkEveryMs: 86_400_000, warnAfterMs: 45 * 86_400_000, inactiveAfterMs: 60 * 86_400_000 },
      encryptionKeys: [{ id: "a", key: Buffer.from(key, "base64") }],
      auth: {
        secret: "s".repeat(32),
        jwksUrl: null,
        issuer: null,
        audience: null,
        workspaceClaim: "workspace_id",
        roleClaim: "role",
      },
      allowedOrigins: null,
      logLevel: "info",
      metricsToken: null,
      mail: { smtpUrl: null, from: "" },
      syncOverdueAfterMs: 86_400_000,
      webhookSilentAfterMs: 86_400_000,
    });
  });

  it("stand in for every setting that is empty or blank", () => {
    const optional = settings.map(({ name }) => name).filter((name) => !(name in least));
    for (const blank of ["", "  "]) {
      const environment = Object.fromEntries(optional.map((name) => [name, blank]));
      expect(readConfig({ ...environment, ...least })).toEqual(readConfig(least));
    }
  });

  it("are themselves well-formed, and named once each", () => {
    const names = settings.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    const written = settings.flatMap(({ name, default: value }) => (value === undefined ? [] : [[name, value]]));
    expect(readConfig({ ...(Object.fromEntries(written) as Environment), ...least })).toEqual(readConfig(least));
  });
});

describe("values", () => {
  it.each([
    ["500ms", 500],
    ["1s", 1_000],
    ["30s", 30_000],
    ["1m", 60_000],
  ])("a duration of %s is %d ms", (text, ms) => {
    const { xero } = readConfig({ ...least, XERO_REQUEST_TIMEOUT: text });
    expect(xero.timeoutMs).toBe(ms);
  });

  it.each([
    ["15m", 900_000],
    ["24h", 86_400_000],
    ["60d", 5_184_000_000],
  ])("a long duration of %s is %d ms", (text, ms) => {
    expect(readConfig({ ...least, SYNC_LEASE: text }).syncLeaseMs).toBe(ms);
  });

  it("are read with the spaces around them left out, and addresses without their last slash", () => {
    const config = readConfig({
      ...least,
      PUBLIC_URL: " https://ledgerline.example.com/ ",
      APP_URL: "https://app.example.com/billing//",
      XERO_WEBHOOK_KEYS: "one, two ,",
      XERO_SCOPES: "openid  accounting.invoices",
      ALLOWED_ORIGINS: "https://a.example.com,https://b.example.com",
      ENCRYPTION_KEYS: `new:${key}, old:${otherKey}`,
    });
    expect(config).toMatchObject({
      publicUrl: "https://ledgerline.example.com",
      appUrl: "https://app.example.com/billing",
      xero: { webhookKeys: ["one", "two"], scopes: ["openid", "accounting.invoices"] },
      allowedOrigins: ["https://a.example.com", "https://b.example.com"],
    });
    expect(config.encryptionKeys.map(({ id }) => id)).toEqual(["new", "old"]);
  });

  it("a database address is PostgreSQL's, and lets the roles be split", () => {
    for (const role of ["api", "worker", "all"]) {
      const DATABASE_URL = "postgresql://ledgerline@db.example.com/ledgerline";
      expect(readConfig({ ...least, DATABASE_URL, ROLE: role })).toMatchObject({
        role,
        database: { url: DATABASE_URL, embedded: false },
      });
    }
  });
});

/** A malformed value of every setting that has a form, and the words that say what form. */
const malformed: [string, string, RegExp][] = [
  ["NODE_ENV", "staging", /development, test or production/],
  ["ROLE", "both", /all, api or worker/],
  ["PORT", "http", /port number/],
  ["PORT", "65536", /at most 65535/],
  ["PORT", "-1", /port number/],
  ["PUBLIC_URL", "ledgerline.example.com", /http\(s\) address/],
  ["APP_URL", "ftp://app.example.com", /http\(s\) address/],
  ["DATABASE_URL", "mysql://localhost/ledgerline", /postgres:\/\/ address/],
  ["DATABASE_APP_ROLE", "app; DROP TABLE invoice", /role name/],
  ["DATABASE_APP_ROLE", "App", /role name/],
  ["XERO_LOGIN_URL", "login", /http\(s\) address/],
  ["XERO_IDENTITY_URL", "identity", /http\(s\) address/],
  ["XERO_API_URL", "api", /http\(s\) address/],
  ["XERO_REQUEST_TIMEOUT", "30", /duration such as/],
  ["XERO_REQUEST_TIMEOUT", "61s", /between 100ms and 60s/],
  ["XERO_REQUEST_TIMEOUT", "1ms", /between 100ms and 60s/],
  ["SYNC_LEASE", "1.5m", /duration such as/],
  ["SYNC_LEASE", "90 s", /duration such as/],
  ["SYNC_LEASE", "1w", /duration such as/],
  ["XERO_KEY_LIFE", "6 minutes", /duration such as/],
  ["XERO_KEY_LIFE", "6m", /at most 5m/],
  ["ENCRYPTION_KEYS", key, /id:base64 of exactly 32 bytes/],
  ["ENCRYPTION_KEYS", "a:c2hvcnQ=", /id:base64 of exactly 32 bytes/],
  ["ENCRYPTION_KEYS", `:${key}`, /id:base64 of exactly 32 bytes/],
  ["ENCRYPTION_KEYS", `a:${key},b`, /id:base64 of exactly 32 bytes/],
  ["AUTH_JWT_SECRET", "s".repeat(31), /at least 32 bytes/],
  ["AUTH_JWKS_URL", "keys", /http\(s\) address/],
  ["SMTP_URL", "https://mail.example.com", /smtp:\/\//],
  ["MAIL_FROM", "nobody", /e-mail address/],
  ["MAIL_FROM", "a@example.com\r\nBcc: b@example.com", /e-mail address/],
  ["SYNC_OVERDUE_AFTER", "0s", /more than nothing/],
  ["WEBHOOK_SILENT_AFTER", "soon", /duration such as/],
  ["PAYMENT_CATCH_UP_EVERY", "quarterly", /duration such as/],
  ["PAYMENT_CATCH_UP_EVERY", "99ms", /at least 100ms/],
  ["CONNECTION_CHECK_EVERY", "daily", /duration such as/],
  ["CONNECTION_CHECK_EVERY", "0s", /more than nothing/],
  ["CONNECTION_CHECK_EVERY", "31d", /at most 30d/],
  ["CONNECTION_INACTIVE_AFTER", "2 months", /duration such as/],
  ["CONNECTION_WARN_AFTER", "0d", /more than nothing/],
  ["LOG_LEVEL", "verbose", /pino level/],
];

/** Settings that take any text. */
const formless = [
  "HOST",
  "DATA_DIR",
  "XERO_CLIENT_ID",
  "XERO_CLIENT_SECRET",
  "XERO_WEBHOOK_KEYS",
  "XERO_SCOPES",
  "AUTH_ISSUER",
  "AUTH_AUDIENCE",
  "AUTH_WORKSPACE_CLAIM",
  "AUTH_ROLE_CLAIM",
  "ALLOWED_ORIGINS",
  "METRICS_TOKEN",
];

describe("a malformed setting", () => {
  it("is in the table below, or can't be malformed", () => {
    const covered = new Set([...malformed.map(([name]) => name), ...formless]);
    expect([...covered].sort()).toEqual(settings.map(({ name }) => name).sort());
  });

  it.each(malformed)("%s=%s is named, with what it must be", (name, value, words) => {
    const problems = problemsOf({ ...least, [name]: value });
    const [own] = problems.filter((problem) => problem.startsWith(`${name} `));
    expect(own).toMatch(words);
  });

  it("is named together with all others, in one message that ends with where to look", () => {
    const firsts = malformed.filter(([name], index) => malformed.findIndex(([other]) => other === name) === index);
    const message = refusalOf({ ...least, ...(Object.fromEntries(firsts) as Environment) });
    for (const [name] of firsts) expect(message).toContain(`\n  - ${name} `);
    expect(message).toMatch(/^The configuration is not complete:\n/);
    expect(message).toMatch(/\nSee \.env\.example\.$/);
  });

  it("never has its value repeated", () => {
    const marker = "Tr0ub4dor";
    const everywhere = Object.fromEntries(settings.map(({ name }) => [name, marker]));
    expect(refusalOf(everywhere)).not.toContain(marker);
    expect(refusalOf({ ...least, DATABASE_URL: `mysql://me:${marker}@localhost/x` })).not.toContain(marker);
    expect(refusalOf({ ...least, ENCRYPTION_KEYS: `a:${key},${marker}` })).not.toContain(key);
    expect(refusalOf({ ...least, ENCRYPTION_KEYS: `a:${key},a:${otherKey}` })).not.toContain(key);
  });
});

describe("a missing setting", () => {
  it("is named with all others that are missing", () => {
    expect(problemsOf({})).toEqual([
      "XERO_CLIENT_ID is missing",
      "XERO_CLIENT_SECRET is missing",
      "ENCRYPTION_KEYS is missing",
      expect.stringMatching(/^AUTH_JWT_SECRET or AUTH_JWKS_URL must be set/),
    ]);
  });

  it.each(["XERO_CLIENT_ID", "XERO_CLIENT_SECRET", "ENCRYPTION_KEYS", "AUTH_JWT_SECRET"])(
    "%s is missed as well where it is blank",
    (name) => {
      for (const blank of ["", "  "])
        expect(problemsOf({ ...least, [name]: blank })).toEqual(problemsOf(without(least, name)));
    },
  );

  it("ENCRYPTION_KEYS without a key in it is no key", () => {
    expect(problemsOf({ ...least, ENCRYPTION_KEYS: " , " })).toEqual([expect.stringMatching(/^ENCRYPTION_KEYS /)]);
  });
});

describe("settings that do not go together", () => {
  it.each<[string, Environment, RegExp]>([
    [
      "both ways to check tokens",
      { ...least, AUTH_JWKS_URL: "https://login.example.com/keys" },
      /AUTH_JWT_SECRET or AUTH_JWKS_URL must be set, and only one/,
    ],
    ["no way to check tokens", without(least, "AUTH_JWT_SECRET"), /AUTH_JWT_SECRET or AUTH_JWKS_URL/],
    ["a key id twice", { ...least, ENCRYPTION_KEYS: `a:${key},a:${otherKey}` }, /ENCRYPTION_KEYS names an id twice/],
    [
      "a key that lives no longer than a call",
      { ...least, XERO_KEY_LIFE: "30s" },
      /XERO_KEY_LIFE must exceed XERO_REQUEST_TIMEOUT/,
    ],
    ["a mail server without a sender", { ...least, SMTP_URL: "smtp://localhost" }, /MAIL_FROM is missing/],
    ["a lease as long as the timeout", { ...least, SYNC_LEASE: "30s" }, /SYNC_LEASE must exceed XERO_REQUEST_TIMEOUT/],
    [
      "a warning that would come with the end",
      { ...least, CONNECTION_WARN_AFTER: "60d" },
      /CONNECTION_WARN_AFTER must be less than CONNECTION_INACTIVE_AFTER/,
    ],
    ["an API process on the embedded database", { ...least, ROLE: "api" }, /ROLE must be all/],
    ["a worker process on the embedded database", { ...least, ROLE: "worker" }, /ROLE must be all/],
    ["an address that Xero refuses", { ...least, APP_URL: "https://my-Xero.example.com" }, /APP_URL must not contain/],
    ["and the other one", { ...least, PUBLIC_URL: "https://xero.example.com" }, /PUBLIC_URL must not contain/],
  ])("%s", (_what, environment, words) => {
    expect(problemsOf(environment)).toEqual([expect.stringMatching(words)]);
  });

  it("a key set instead of a secret is enough", () => {
    const AUTH_JWKS_URL = "https://login.example.com/keys";
    const { auth } = readConfig({ ...without(least, "AUTH_JWT_SECRET"), AUTH_JWKS_URL });
    expect(auth).toMatchObject({ secret: null, jwksUrl: AUTH_JWKS_URL });
  });
});

describe("production", () => {
  it("takes what is complete", () => {
    expect(readConfig(leastInProduction)).toMatchObject({ production: true });
  });

  it.each(["AUTH_ISSUER", "AUTH_AUDIENCE"])("requires %s, and not only blanks", (name) => {
    expect(problemsOf(without(leastInProduction, name))).toEqual([expect.stringMatching(`^${name} is missing`)]);
    expect(problemsOf({ ...leastInProduction, [name]: " " })).toEqual([expect.stringMatching(`^${name} is missing`)]);
  });

  it.each(["XERO_LOGIN_URL", "XERO_IDENTITY_URL", "XERO_API_URL"])("refuses a stand-in as %s", (name) => {
    const environment = { ...leastInProduction, [name]: "http://localhost:5500" };
    expect(problemsOf(environment)).toEqual([expect.stringMatching(`^${name} is a demo setting`)]);
    expect(readConfig({ ...environment, NODE_ENV: "development" }).production).toBe(false);
  });
});
