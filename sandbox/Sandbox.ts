/**
 * Owns one running sandbox: its server on loopback, its world, and which part answers which address. Leaves all
 * meaning to the parts.
 *
 * One port serves what Xero spreads over login.xero.com, identity.xero.com and api.xero.com (contract/runtime.md,
 * "XERO_*_URL"). Several sandboxes may run in one process: nothing is shared between them.
 */
import { randomBytes, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { accountingApi, basePath } from "./accounting/api.js";
import { control } from "./control/control.js";
import { hangUp, json, readCall, send, type Call, type Outcome, type Reply } from "./http.js";
import { connections } from "./identity/connections.js";
import { authorize } from "./identity/login.js";
import { Signer } from "./identity/Signer.js";
import { discovery, revocation, token } from "./identity/token.js";
import { interfered } from "./interference.js";
import { notFound } from "./refusals.js";
import { addDemoOrganisation } from "./seed/demo.js";
import type { Switches } from "./switches.js";
import { World, type App } from "./World.js";

export interface SandboxOptions {
  readonly port?: number;
  readonly clientId?: string;
  readonly clientSecret?: string;
  readonly webhookKey?: string;
  readonly webhookUrl?: string;
  /** Byte-exact, as registered; without them any http://localhost and http://127.0.0.1 address is accepted. */
  readonly redirectUris?: readonly string[];
  readonly switches?: Partial<Switches>;
  /** False: no organisation at all until control adds one. */
  readonly demo?: boolean;
}

export interface Sandbox {
  readonly url: string;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly webhookKey: string;
  /** Ends it at once, connections included. */
  close(): Promise<void>;
}

/** A running stand-in Xero on loopback. */
export async function startSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const app: App = {
    name: "Ledgerline sandbox app",
    clientId: options.clientId ?? randomBytes(16).toString("hex").toUpperCase(),
    clientSecret: options.clientSecret ?? randomBytes(24).toString("base64url"),
    redirectUris: options.redirectUris,
  };
  const webhookKey = options.webhookKey ?? randomBytes(48).toString("base64");
  const signer = new Signer();
  let world: World | undefined;
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    if (world) void respond(world, request, response, reset);
    else response.destroy();
  };
  const servers = await listen(listener, options.port ?? 0);
  const url = `http://localhost:${(servers[0]?.address() as AddressInfo).port}`;
  const reset = (): void => {
    world?.end();
    world = new World({ ...app }, signer, url, webhookKey, options.switches ?? {});
    world.webhooks.url = options.webhookUrl;
    if (options.demo !== false) addDemoOrganisation(world);
  };
  reset();

  return {
    url,
    clientId: app.clientId,
    clientSecret: app.clientSecret,
    webhookKey,
    async close() {
      world?.end();
      await Promise.all(servers.map(closed));
    },
  };
}

async function respond(
  world: World,
  request: IncomingMessage,
  response: ServerResponse,
  reset: () => void,
): Promise<void> {
  response.on("error", () => undefined);
  try {
    const call = await readCall(request);
    const isControl = call.path === "/sandbox" || call.path.startsWith("/sandbox/");
    const outcome = isControl ? await control(world, call, reset) : await logged(world, call);
    const extra = { "Xero-Correlation-Id": randomUUID() };
    send(response, outcome === hangUp ? hangUp : { ...outcome, headers: { ...extra, ...outcome.headers } });
  } catch (error) {
    // A caller that went away while sending is not worth a word; a mistake of ours is
    if (request.complete && !response.headersSent) {
      console.error(error);
      send(response, json(599, { error: "the sandbox itself failed", detail: String(error) }));
    }
  }
}

async function logged(world: World, call: Call): Promise<Outcome> {
  const kind = call.path.startsWith(basePath)
    ? "api"
    : call.path.startsWith("/connections")
      ? "connections"
      : "identity";
  const entry = world.calls.begin(kind, call, world.clock.now());
  let status: typeof entry.status = "no answer";
  try {
    const outcome =
      kind === "api"
        ? await accountingApi(world, call, entry)
        : await interfered(world, call, entry, (around) => around(() => identityReply(world, call)));
    if (outcome !== hangUp) status = outcome.status;
    return outcome;
  } finally {
    world.calls.end(entry, status);
  }
}

function identityReply(world: World, call: Call): Reply | Promise<Reply> {
  switch (`${call.method} ${call.path}`) {
    case "GET /identity/connect/authorize":
      return authorize(world, call);
    case "POST /connect/token":
      return token(world, call);
    case "POST /connect/revocation":
      return revocation(world, call);
    case "GET /.well-known/openid-configuration":
      return discovery(world);
    case "GET /.well-known/openid-configuration/jwks":
      return world.signer.keySet().then((keys) => json(200, keys));
    default:
      return call.path.startsWith("/connections") ? connections(world, call) : notFound();
  }
}

/** Listens on both loopback addresses, because clients differ in which of them "localhost" is. */
async function listen(
  listener: (request: IncomingMessage, response: ServerResponse) => void,
  port: number,
): Promise<Server[]> {
  const first = await listenOn(listener, port, "127.0.0.1");
  const second = await listenOn(listener, (first.address() as AddressInfo).port, "::1").catch(() => undefined);
  return second ? [first, second] : [first];
}

function listenOn(
  listener: (request: IncomingMessage, response: ServerResponse) => void,
  port: number,
  host: string,
): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer({ keepAliveTimeout: 30_000, requestTimeout: 0 }, listener);
    server.once("error", reject);
    server.listen(port, host, () => {
      resolve(server);
    });
  });
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => {
      resolve();
    });
    server.closeAllConnections();
  });
}
