/**
 * The only doors to the database.
 *
 * `inWorkspace` is how requests and jobs reach a workspace's rows: one short transaction that first gives up the login's rights for
 * those of the unprivileged role and names the workspace; row-level security does the rest, so that a forgotten condition returns
 * nothing rather than somebody else's rows. `asSystem` runs as the owner of the tables, for what belongs to no workspace or to
 * several, and `asSystemAtOnce` does so for a single statement; their few users are listed by a lint rule.
 *
 * Neither nests, and nothing inside awaits Xero, a lease or another connection: the embedded database has one session underneath, and
 * a second transaction awaited inside the first would wait for ever (the guard throws instead).
 * What must come last in a transaction (jobs, then events, whose counter row orders all commits of a workspace) is left with
 * `beforeCommit`, and is run in that order.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { EventEmitter } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { runMigrations as installQueue } from "graphile-worker";
import { DataSource, DefaultNamingStrategy, type EntityManager, QueryFailedError, type QueryRunner } from "typeorm";
import { type PoolClient, types } from "pg";
import { Account } from "./entities/Account.js";
import { Alert } from "./entities/Alert.js";
import { Connection } from "./entities/Connection.js";
import { Consent } from "./entities/Consent.js";
import { ContactLink } from "./entities/ContactLink.js";
import { ContactMirror } from "./entities/ContactMirror.js";
import { type SyncErrorCode, type SyncOutcome, type WebhookEventStatus } from "./entities/enums.js";
import { EventCounter, LogEvent } from "./entities/LogEvent.js";
import { Grant } from "./entities/Grant.js";
import { Integration } from "./entities/Integration.js";
import { Invoice } from "./entities/Invoice.js";
import { LineItem } from "./entities/LineItem.js";
import { AuditEntry } from "./entities/AuditEntry.js";
import { Mail } from "./entities/Mail.js";
import { Participant } from "./entities/Participant.js";
import { Payment } from "./entities/Payment.js";
import { PaymentPoll } from "./entities/PaymentPoll.js";
import { Release } from "./entities/Release.js";
import { SupportItem } from "./entities/SupportItem.js";
import { SupportItemPrice } from "./entities/SupportItemPrice.js";
import { SyncAttempt } from "./entities/SyncAttempt.js";
import { SyncBatch } from "./entities/SyncBatch.js";
import { SyncRun } from "./entities/SyncRun.js";
import { TaxRate } from "./entities/TaxRate.js";
import { TaxRateMapping } from "./entities/TaxRateMapping.js";
import { TenantLimit } from "./entities/TenantLimit.js";
import { WebhookEvent } from "./entities/WebhookEvent.js";
import { WebhookState } from "./entities/WebhookState.js";
import { XeroContact } from "./entities/XeroContact.js";
import { XeroTaxRate } from "./entities/XeroTaxRate.js";
import { whoActs } from "./acting.js";
import { correlationId, type Logger, messageOf } from "./logger.js";
import { InitialSchema1763769600000 } from "./migrations/1763769600000-InitialSchema.js";
import { ConnectionLife1763856000000 } from "./migrations/1763856000000-ConnectionLife.js";
import { SyncEntry1763942400000 } from "./migrations/1763942400000-SyncEntry.js";
import { ContactMatching1764028800000 } from "./migrations/1764028800000-ContactMatching.js";
import { SupportCatalogue1764115200000 } from "./migrations/1764115200000-SupportCatalogue.js";
import { ContactImport1764201600000 } from "./migrations/1764201600000-ContactImport.js";
import { WebhookDoor1764288000000 } from "./migrations/1764288000000-WebhookDoor.js";
import { Payments1764374400000 } from "./migrations/1764374400000-Payments.js";
import { AlertMail1764460800000 } from "./migrations/1764460800000-AlertMail.js";
import { Audit1764547200000 } from "./migrations/1764547200000-Audit.js";
import { prepareAppRole } from "./privileges.js";

/** Work that must be done last in a transaction: all jobs first, then all events. */
export type CommitStage = "jobs" | "events";

/** Hints within the process that there is something to look at; losing one costs time only. */
export type Signal = "jobs" | "events";

/** Something that was done, for the metrics: nothing hangs on it. */
export type Tally =
  | { of: "attempt"; outcome: SyncOutcome; code?: SyncErrorCode | undefined }
  | { of: "payment"; outcome: "CREATED" | "DELETED" | "FAILED" | "UNCERTAIN"; code?: SyncErrorCode | undefined }
  | { of: "webhookEvent"; outcome: WebhookEventStatus; ageMs: number };

/** An open transaction; `workspaceId` is null on the system path. */
export interface Transaction {
  readonly workspaceId: string | null;
  readonly manager: EntityManager;
  readonly embedded: boolean;
  /** Runs the hook right before commit, in its stage; a hook that throws rolls back. */
  beforeCommit(stage: CommitStage, hook: () => Promise<void>): void;
  /** Wakes whoever waits for the signal in this process, once committed. */
  signal(name: Signal, workspaceId?: string): void;
  /** Counts it in this process, once committed. */
  tally(done: Tally): void;
}

/** A statement that is planned once per connection, under its name. */
export interface NamedStatement {
  name: string;
  text: string;
}

/** A transaction of one workspace, seen through row-level security. */
export interface WorkspaceTransaction extends Transaction {
  readonly workspaceId: string;
}

export interface DatabaseOptions {
  url: string;
  /** PGlite behind its socket: one session for all, so no LISTEN, no named statements, no session locks. */
  embedded: boolean;
  appRole: string;
  logger: Logger;
}

const entities = [
  Account,
  Alert,
  AuditEntry,
  Connection,
  Consent,
  ContactLink,
  ContactMirror,
  EventCounter,
  Grant,
  Integration,
  Invoice,
  LineItem,
  LogEvent,
  Mail,
  Participant,
  Payment,
  PaymentPoll,
  Release,
  SupportItem,
  SupportItemPrice,
  SyncAttempt,
  SyncBatch,
  SyncRun,
  TaxRate,
  TaxRateMapping,
  TenantLimit,
  WebhookEvent,
  WebhookState,
  XeroContact,
  XeroTaxRate,
];

/** Session-level lock that lets one process at a time migrate; any constant that nobody else uses. */
const migrationLock = 4_711_202_611;

const inside = new AsyncLocalStorage<true>();

/** Deadlock and serialization failure: PostgreSQL rolled back, and the same work may simply run again. */
const retryable = new Set<unknown>(["40P01", "40001"]);

function sqlState(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

/** What a server that restarts, or a connection that breaks, makes of a query or of an attempt to connect. */
const lostCodes = new Set([
  ...["ECONNREFUSED", "ECONNRESET", "EHOSTUNREACH", "EPIPE", "ETIMEDOUT"],
  ...["57P01", "57P02", "57P03"],
]);

/** Whether the error says nothing but that the database is gone for the moment. */
export function isLostDatabase(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as { code?: unknown };
  return (typeof code === "string" && lostCodes.has(code)) || /^Connection terminated/.test(error.message);
}

/** Whether the error is PostgreSQL's unique violation of the named constraint or index. */
export function violates(error: unknown, constraint: string): boolean {
  return (
    error instanceof QueryFailedError &&
    sqlState(error) === "23505" &&
    (error.driverError as { constraint?: string }).constraint === constraint
  );
}

export class Database {
  /** Emits `jobs`, `events` (with the workspace) and `tally` (with what was done) after the commit that gave rise to them. */
  readonly signals = new EventEmitter().setMaxListeners(0);

  constructor(
    readonly source: DataSource,
    private readonly options: DatabaseOptions,
  ) {}

  get embedded(): boolean {
    return this.options.embedded;
  }

  /** The names of all migrations of this build. */
  get migrations(): string[] {
    return this.source.migrations.map(({ name, constructor }) => name ?? constructor.name);
  }

  /**
   * Runs the work in one transaction that sees this workspace's rows and no others.
   * Throws what the work throws, after a rollback; after a deadlock the work is run again, so it must do nothing but database work.
   */
  async inWorkspace<T>(workspaceId: string, work: (tx: WorkspaceTransaction) => Promise<T>): Promise<T> {
    return this.transaction(workspaceId, work as (tx: Transaction) => Promise<T>);
  }

  /** Runs the work in one transaction as the owner of the tables, past row-level security. */
  async asSystem<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    return this.transaction(null, work);
  }

  /**
   * Runs one statement as the owner of the tables. It is a transaction by itself, so this takes one round trip where `asSystem` takes three
   * at least: for what comes so often that it counts. Emits the signal once committed; throws, and runs it again, as `asSystem` does.
   */
  async asSystemAtOnce({ name, text }: NamedStatement, values: unknown[], signal: Signal): Promise<void> {
    await this.repeated(async () => {
      const runner = this.source.createQueryRunner();
      try {
        const client = (await runner.connect()) as PoolClient;
        this.options.logger.trace({ sql: text }, "statement");
        await client.query({ ...(!this.embedded && { name }), text, values });
      } finally {
        await runner.release();
      }
    });
    this.signals.emit(signal);
  }

  /** Brings the schema, the job queue and the unprivileged role up to date; safe while other processes do the same. */
  async migrate(): Promise<void> {
    const runner = this.source.createQueryRunner();
    try {
      if (!this.embedded) await runner.query("SELECT pg_advisory_lock($1)", [migrationLock]);
      await this.source.runMigrations({ transaction: "each" });
      await installQueue({ connectionString: this.options.url });
      await prepareAppRole(runner, this.options.appRole);
      if (!this.embedded) await runner.query("SELECT pg_advisory_unlock($1)", [migrationLock]);
    } finally {
      await runner.release();
    }
  }

  async close(): Promise<void> {
    await this.source.destroy();
  }

  private async transaction<T>(workspaceId: string | null, work: (tx: Transaction) => Promise<T>): Promise<T> {
    const { result, signals, tallies } = await this.repeated(() => this.attempt(workspaceId, work));
    for (const [name, value] of signals) this.signals.emit(name, value);
    for (const done of tallies) this.signals.emit("tally", done);
    return result;
  }

  /** Does the work, and again while PostgreSQL had to roll it back for others' sake; never inside a transaction. */
  private async repeated<T>(work: () => Promise<T>): Promise<T> {
    if (inside.getStore())
      throw new Error("A transaction was opened inside another: do the work in one, or one after the other.");
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await inside.run(true, work);
      } catch (error) {
        if (attempt === 4 || !retryable.has(sqlState(error))) throw error;
        this.options.logger.warn({ attempt, reason: messageOf(error) }, "transaction is run again");
      }
    }
  }

  private async attempt<T>(
    workspaceId: string | null,
    work: (tx: Transaction) => Promise<T>,
  ): Promise<{ result: T; signals: Map<Signal, string | undefined>; tallies: Tally[] }> {
    const runner = this.source.createQueryRunner();
    const hooks: Record<CommitStage, (() => Promise<void>)[]> = { jobs: [], events: [] };
    const signals = new Map<Signal, string | undefined>();
    const tallies: Tally[] = [];
    try {
      await runner.startTransaction();
      const acting = workspaceId === null ? undefined : whoActs();
      if (workspaceId !== null) {
        const actor = acting ? actorSettings : "";
        await runner.query(`SELECT set_config('app.workspace_id', $1, true)${actor}, set_config('role', $2, true)`, [
          workspaceId,
          this.options.appRole,
          ...(acting
            ? [
                acting.actor,
                acting.action,
                acting.subjectType,
                acting.subjectId ?? "",
                correlationId(),
                acting.bulk ? "1" : "",
              ]
            : []),
        ]);
      }
      const result = await work({
        workspaceId,
        manager: runner.manager,
        embedded: this.embedded,
        beforeCommit: (stage, hook) => void hooks[stage].push(hook),
        signal: (name, workspaceOfSignal) => void signals.set(name, workspaceOfSignal),
        tally: (done) => void tallies.push(done),
      });
      for (const hook of hooks.jobs) await hook();
      // With the first change that an operation makes, in its own transaction.
      const noted = acting?.noted === false && (await noteOperation(runner));
      for (const hook of hooks.events) await hook();
      await runner.commitTransaction();
      if (acting && noted) acting.noted = true;
      return { result, signals, tallies };
    } catch (error) {
      if (runner.isTransactionActive) await runner.rollbackTransaction().catch(() => undefined);
      throw error;
    } finally {
      await runner.release();
    }
  }
}

const actorSettings = ["actor", "action", "subject_type", "subject_id", "correlation_id", "bulk"]
  .map((name, index) => `, set_config('app.${name}', $${index + 3}, true)`)
  .join("");

async function noteOperation(runner: QueryRunner): Promise<boolean> {
  const [row] = (await runner.query("SELECT ledgerline_audit_operation(false) AS noted")) as { noted: boolean }[];
  return row?.noted ?? false;
}

/** Columns are named in snake case; tables and constraints are named by hand. */
class ColumnNames extends DefaultNamingStrategy {
  override columnName(propertyName: string, customName: string | undefined): string {
    return customName ?? propertyName.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  }

  override primaryKeyName(table: { name: string } | string): string {
    return `pk_${typeof table === "string" ? table : table.name}`;
  }
}

/** A server that is just starting, or restarting, is waited for so long. */
const patienceMs = 5_000;

/** Connects; does not migrate. Throws when the database cannot be reached within some seconds. */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  // A calendar date stays its text: `pg` would make it an instant in the process's time zone.
  types.setTypeParser(types.builtins.DATE, (text) => text);
  const source = new DataSource({
    type: "postgres",
    url: options.url,
    entities,
    migrations: [
      InitialSchema1763769600000,
      ConnectionLife1763856000000,
      SyncEntry1763942400000,
      ContactMatching1764028800000,
      SupportCatalogue1764115200000,
      ContactImport1764201600000,
      WebhookDoor1764288000000,
      Payments1764374400000,
      AlertMail1764460800000,
      Audit1764547200000,
    ],
    migrationsTableName: "schema_migration",
    synchronize: false,
    installExtensions: false,
    namingStrategy: new ColumnNames(),
    uuidExtension: "pgcrypto",
    applicationName: "ledgerline",
    poolSize: 10,
    logging: ["query"],
    logger: {
      logQuery: (sql) => options.logger.trace({ sql }, "statement"),
      logQueryError: () => undefined,
      logQuerySlow: () => undefined,
      logSchemaBuild: () => undefined,
      logMigration: () => undefined,
      log: () => undefined,
    },
  });
  const waitUntil = Date.now() + patienceMs;
  for (;;) {
    try {
      await source.initialize();
      break;
    } catch (error) {
      if (!isLostDatabase(error) || Date.now() > waitUntil) throw error;
      options.logger.debug({ reason: messageOf(error) }, "waiting for the database");
      await delay(500);
    }
  }
  return new Database(source, options);
}
