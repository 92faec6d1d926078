/**
 * What the benches stand on: a stand-in Xero and processes of the service over one PostgreSQL, each a process of its own, all on loopback. The
 * database is given, or a cluster that ends with the rig.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { GraphqlClient, signToken } from "../demo/graphqlClient.js";
import { SandboxProcess } from "../demo/SandboxProcess.js";
import { configure, consent } from "../demo/setUp.js";
import { type Build, buildService } from "./build.js";
import { NoPostgres, PostgresCluster } from "./PostgresCluster.js";
import { type Complaint, ServiceProcess } from "./ServiceProcess.js";

export interface RigOptions {
  /** By default the rig starts a cluster of its own. */
  database?: { url: string; appRole: string };
  workers: number;
  /** Of the service, on top of what connects it to the rest. */
  environment?: Record<string, string>;
  /** Of the stand-in Xero. */
  switches?: Record<string, unknown>;
}

/** A workspace that is connected to an organisation of its own, and set up. */
export interface Member {
  workspaceId: string;
  connectionId: string;
  tenantId: string;
  client: GraphqlClient;
}

const appUrl = "https://app.ledgerline.example";
const secret = "a secret that only benches use, of more than 32 bytes";

export class Rig {
  readonly workers: ServiceProcess[] = [];
  /** Those whose place others have taken. */
  private readonly gone: ServiceProcess[] = [];
  api: ServiceProcess;
  private readonly clients: GraphqlClient[] = [];
  private closing: Promise<void> | undefined;

  private constructor(
    readonly sandbox: SandboxProcess,
    readonly cluster: PostgresCluster | undefined,
    readonly sql: pg.Pool,
    private readonly build: Build,
    private readonly environment: Record<string, string>,
  ) {
    this.api = this.spawn("api");
  }

  /** Starts everything and waits until it is up. Throws NoPostgres, or with what did not start; nothing is left of it then. */
  static async start({ database, workers, environment, switches = {} }: RigOptions): Promise<Rig> {
    const undo: (() => Promise<unknown>)[] = [];
    try {
      const cluster = database ? undefined : await PostgresCluster.start();
      if (cluster) undo.push(() => cluster.remove());
      const build = await buildService();
      undo.push(build.remove);
      const sandbox = await SandboxProcess.start();
      undo.push(() => sandbox.stop());
      await sandbox.control("switches", switches);
      const url = database?.url ?? cluster?.url ?? "";
      const sql = new pg.Pool({ connectionString: url, max: 2 });
      sql.on("error", () => undefined); // A restart of the database: the next query connects anew.
      undo.push(() => sql.end());
      const appRole = database?.appRole ?? "ledgerline_app";
      const rig = new Rig(sandbox, cluster, sql, build, { ...settings(sandbox, url, appRole), ...environment });
      undo.push(() => rig.endProcesses());
      await rig.api.listening; // It migrates, alone.
      for (let count = 0; count < workers; count += 1) rig.workers.push(rig.spawn("worker"));
      await Promise.all(rig.workers.map(({ listening }) => listening));
      return rig;
    } catch (error) {
      for (const each of undo.reverse()) await each();
      throw error;
    }
  }

  /** Ends all processes and removes what they left; asked twice, it waits for the first. */
  async close(): Promise<void> {
    await (this.closing ??= this.remove());
  }

  private async remove(): Promise<void> {
    await this.endProcesses();
    await this.sql.end();
    await this.sandbox.stop();
    await this.build.remove();
    await this.cluster?.remove();
  }

  /** Puts a new process in a worker's place. */
  replaceWorker(index: number): ServiceProcess {
    this.gone.push(...this.workers.slice(index, index + 1));
    return (this.workers[index] = this.spawn("worker"));
  }

  /** Puts a new process in the api's place. Clients made before do not know where it is. */
  replaceApi(): ServiceProcess {
    this.gone.push(this.api);
    return (this.api = this.spawn("api"));
  }

  /** Ends api and workers as a deploy would, and starts others. Clients made before do not know where they are. */
  async redeploy(): Promise<void> {
    await Promise.all([this.api, ...this.workers].map((each) => each.stop()));
    this.replaceApi();
    for (const index of this.workers.keys()) this.replaceWorker(index);
    await Promise.all([this.api, ...this.workers].map(({ listening }) => listening));
  }

  /** What processes of the service said of more than a warning, and how many ended by themselves after they had been up. */
  health(): { complaints: Complaint[]; deaths: number } {
    const all = [...this.gone, this.api, ...this.workers];
    return {
      complaints: all.flatMap(({ complaints }) => complaints),
      deaths: all.filter(({ died, url }) => died && url !== "").length,
    };
  }

  /** An administrator's client of the workspace. */
  async client(workspaceId: string): Promise<GraphqlClient> {
    const token = await signToken(secret, { workspace: workspaceId, role: "admin" });
    const client = new GraphqlClient(this.api.url, token);
    this.clients.push(client);
    return client;
  }

  /** Connects a workspace to a new organisation by a new Xero user, and sets it up. */
  async addMember(workspaceId: string): Promise<Member> {
    const { sandbox } = this;
    const { tenantId } = await sandbox.control<{ tenantId: string }>("organisations/add", {
      name: `Of ${workspaceId}`,
    });
    const { userId } = await sandbox.control<{ userId: string }>("users/add", { email: `${workspaceId}@example.com` });
    await sandbox.control("consent/next", { organisations: [tenantId], userId });
    const client = await this.client(workspaceId);
    const end = await consent(client);
    if (end.searchParams.get("xero") !== "connected") throw new Error(`the consent ended at ${end.search}`);
    await configure(client);
    const { rows } = await this.sql.query<{ id: string }>("SELECT id FROM connection WHERE workspace_id = $1", [
      workspaceId,
    ]);
    return { workspaceId, connectionId: rows[0]?.id ?? "", tenantId, client };
  }

  /** What the stand-in Xero shows: see sandbox/README.md. */
  async look<T>(dump: string): Promise<T> {
    const response = await fetch(`${this.sandbox.address.url}/sandbox/${dump}`);
    return (await response.json()) as T;
  }

  private spawn(role: "api" | "worker"): ServiceProcess {
    return new ServiceProcess(this.build.main, { ...this.environment, ROLE: role });
  }

  private async endProcesses(): Promise<void> {
    await Promise.all(this.clients.map((client) => client.close()));
    // No state is in them, and one that is stopped would not hear anything gentler.
    await Promise.all([this.api, ...this.workers].map((each) => each.kill()));
  }
}

function settings({ address }: SandboxProcess, url: string, appRole: string): Record<string, string> {
  return {
    NODE_ENV: "test",
    PORT: "0",
    APP_URL: appUrl,
    DATABASE_URL: url,
    DATABASE_APP_ROLE: appRole,
    XERO_CLIENT_ID: address.clientId,
    XERO_CLIENT_SECRET: address.clientSecret,
    XERO_WEBHOOK_KEYS: address.webhookKey,
    XERO_LOGIN_URL: address.url,
    XERO_IDENTITY_URL: address.url,
    XERO_API_URL: address.url,
    ENCRYPTION_KEYS: `bench:${randomBytes(32).toString("base64")}`,
    AUTH_JWT_SECRET: secret,
    LOG_LEVEL: "info",
  };
}

/** Where our invoices are, which is their `Url` in Xero. */
export function urlOf(invoiceId: string): string {
  return `${appUrl}/invoices/${invoiceId}`;
}

/** Looks again and again until it is so. Answers whether it was in time. */
export async function until(
  isSo: () => boolean | Promise<boolean>,
  { withinMs, everyMs = 200 }: { withinMs: number; everyMs?: number },
): Promise<boolean> {
  const giveUpAt = performance.now() + withinMs;
  while (!(await isSo())) {
    if (performance.now() > giveUpAt) return false;
    await delay(everyMs);
  }
  return true;
}

/**
 * Runs a bench with its rig: Ctrl-C and a failure remove all there is of it. The bench answers why it does not hold; any reason is printed
 * and makes the exit code 1. Without PostgreSQL the exit code is 2.
 */
export async function withRig(options: RigOptions, bench: (rig: Rig) => Promise<string[]>): Promise<void> {
  let rig: Rig | undefined;
  const starting = Rig.start(options);
  const stop = (): void => {
    void starting.then((started) => started.close()).finally(() => process.exit(130));
  };
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  try {
    rig = await starting;
    const reasons = await bench(rig);
    for (const reason of reasons) console.error(`does not hold: ${reason}`);
    if (reasons.length > 0) process.exitCode = 1;
  } catch (error) {
    console.error(error instanceof NoPostgres ? error.message : error);
    process.exitCode = error instanceof NoPostgres ? 2 : 1;
  } finally {
    await rig?.close();
  }
}
