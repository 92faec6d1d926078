/**
 * The front door for tests: the real service on port 0 with a database of its own, a sandbox of its own over HTTP, and client apps. Nothing is
 * shared between test files, and nothing of ours is mocked.
 */
import { randomBytes } from "node:crypto";
import { consent, configure } from "../../demo/setUp.js";
import { GraphqlClient, signToken } from "../../demo/graphqlClient.js";
import { type Sandbox, startSandbox } from "../../sandbox/Sandbox.js";
import { type App, startApp } from "../../src/app.js";
import { type Config, readConfig } from "../../src/config.js";
import { createLogger, type Logger } from "../../src/logger.js";
import { type DatabaseDoor } from "./DatabaseDoor.js";
import { type FreshDatabase, freshDatabase } from "./database.js";

export const secret = "a secret that only tests use, of more than 32 bytes";

/** Few tests are about limits; those narrow them by control. */
const wideLimits = { minuteLimit: 100_000, dayLimit: 1_000_000, appMinuteLimit: 1_000_000 };

export interface ServiceOptions {
  /** Environment variables on top of the test's own. */
  environment?: Record<string, string>;
  logger?: Logger;
  /** By whatever database; an operator needs PostgreSQL to split the roles. */
  role?: Config["role"];
  /** Between the service and its database; the test closes it, last. */
  door?: DatabaseDoor;
}

export class Service {
  private readonly clients: GraphqlClient[] = [];

  constructor(
    readonly app: App,
    readonly sandbox: Sandbox,
    readonly database: FreshDatabase,
    readonly config: Config,
  ) {}

  get url(): string {
    return this.app.url;
  }

  /** A client app of the workspace (its own for each test that names one) in a role. */
  async client(role = "admin", workspace = "one"): Promise<GraphqlClient> {
    const client = new GraphqlClient(this.url, await signToken(secret, { workspace, role }));
    this.clients.push(client);
    return client;
  }

  /** An administrator's client of a workspace that is connected and set up. */
  async readyClient(workspace = "one"): Promise<GraphqlClient> {
    const client = await this.client("admin", workspace);
    const end = await consent(client);
    if (end.searchParams.get("xero") !== "connected") throw new Error(`the consent ended at ${end.search}`);
    await configure(client);
    return client;
  }

  /** Does what a person would do in Xero: see sandbox/README.md. */
  async control<T = Record<string, unknown>>(call: string, body?: object): Promise<T> {
    const response = await fetch(
      `${this.sandbox.url}/sandbox/${call}`,
      body && { method: "POST", body: JSON.stringify(body) },
    );
    const answer = (await response.json()) as T;
    if (!response.ok) throw new Error(`sandbox ${call}: ${JSON.stringify(answer)}`);
    return answer;
  }

  async close(): Promise<void> {
    await Promise.all(this.clients.map((client) => client.close()));
    await this.app.close();
    await this.sandbox.close();
    await this.database.drop();
  }
}

/** Starts everything; the sandbox posts its webhooks to the service. Close it in `afterAll`. */
export async function startService({ environment = {}, logger, role, door }: ServiceOptions = {}): Promise<Service> {
  const [sandbox, database] = await Promise.all([startSandbox({ switches: wideLimits }), freshDatabase()]);
  const config = readConfig({
    NODE_ENV: "test",
    PORT: "0",
    XERO_CLIENT_ID: sandbox.clientId,
    XERO_CLIENT_SECRET: sandbox.clientSecret,
    XERO_WEBHOOK_KEYS: sandbox.webhookKey,
    XERO_LOGIN_URL: sandbox.url,
    XERO_IDENTITY_URL: sandbox.url,
    XERO_API_URL: sandbox.url,
    XERO_REQUEST_TIMEOUT: "5s",
    SYNC_LEASE: "10s",
    ENCRYPTION_KEYS: `test:${randomBytes(32).toString("base64")}`,
    AUTH_JWT_SECRET: secret,
    LOG_LEVEL: "silent",
    ...environment,
  });
  const { embedded, appRole } = database;
  config.database = { ...config.database, url: door ? await door.open(database.url) : database.url, embedded, appRole };
  if (role) config.role = role;
  const app = await startApp(config, logger ?? createLogger(config.logLevel));
  const service = new Service(app, sandbox, database, config);
  await service.control("webhooks", { url: `${app.url}/webhooks/xero` });
  return service;
}
