/**
 * Takes jobs from the queue and calls one service method for each. A job that throws is tried again by the queue, with growing waits; since
 * jobs are only wake-ups, doing one twice or late is harmless.
 *
 * On PostgreSQL the queue's own NOTIFY wakes the workers. The embedded database delivers none, so there the process that queues a job nudges
 * them itself, after its commit.
 */
import { setTimeout as delay } from "node:timers/promises";
import { Logger as QueueLogger, runTaskList, type TaskList, type WorkerPool } from "graphile-worker";
import { Pool } from "pg";
import { type Database } from "../database.js";
import { type Logger, messageOf, withCorrelation } from "../logger.js";
import { type ConnectionCare } from "../services/ConnectionCare.js";
import { type ContactImports } from "../services/contacts/ContactImports.js";
import { type Disconnections } from "../services/Disconnections.js";
import { type OrganisationData } from "../services/OrganisationData.js";
import { type PaymentPoll } from "../services/payments/PaymentPoll.js";
import { type PaymentPusher } from "../services/payments/PaymentPusher.js";
import { type Mails } from "../services/alerts/Mails.js";
import { type OverdueWatch } from "../services/alerts/OverdueWatch.js";
import { type Puller } from "../services/Puller.js";
import { type Schedule } from "../services/sync/Schedule.js";
import { type Sweep } from "../services/Sweep.js";
import { type Pusher } from "../services/sync/Pusher.js";
import { keyOfWakeUp, type Tasks } from "./queue.js";

export interface WorkerServices {
  pusher: Pusher;
  puller: Puller;
  paymentPusher: PaymentPusher;
  paymentPoll: PaymentPoll;
  organisationData: OrganisationData;
  connectionCare: ConnectionCare;
  contactImports: ContactImports;
  disconnections: Disconnections;
  mails: Mails;
  overdueWatch: OverdueWatch;
  schedule: Schedule;
  sweep: Sweep;
}

/** Jobs wait for Xero most of their time, so many go at once, and an organisation that is slow takes one of many. */
const concurrency = 16;

/** The queue's own statements are short. */
const queueConnections = 6;

/** The sweep came round lately if it did within so many of its periods and a little for the sweep itself. */
const latelyPeriods = 4;
const latelySpareMs = 5_000;

/** How long a process that stops waits for the care of grants, which waits for Xero. What it leaves in doubt another settles. */
const patienceMs = 10_000;

export class Worker {
  private pool: WorkerPool | undefined;
  private connections: Pool | undefined;
  private sweepTimer: NodeJS.Timeout | undefined;
  private sweeping: Promise<void> | null = null;
  private caring: Promise<void> | null = null;
  /** Takes jobs: false before the start, from the moment it is stopped, and when the pool has given up. */
  private taking = false;
  /** When the sweep last went through, or the worker started, by `performance.now()`. */
  private sweptAt = 0;
  /** What runs alone now, and whether it was asked for again. */
  private readonly running = new Map<string, boolean>();

  constructor(
    private readonly database: Database,
    private readonly services: WorkerServices,
    private readonly options: { url: string; logger: Logger; sweepEveryMs: number },
  ) {}

  /** Whether it takes jobs, and wakes what was forgotten. */
  isWorking(): boolean {
    return this.taking && this.sweepAgeMs() <= this.options.sweepEveryMs * latelyPeriods + latelySpareMs;
  }

  /** How long ago the sweep last went through. */
  sweepAgeMs(): number {
    return performance.now() - this.sweptAt;
  }

  /** Starts to take jobs; resolves once it does. */
  start(): void {
    const { url, logger } = this.options;
    this.connections = new Pool({
      connectionString: url,
      max: queueConnections,
      application_name: "ledgerline-worker",
    });
    this.connections.on("error", (error) =>
      logger.warn({ reason: messageOf(error) }, "a worker's database connection was lost"),
    );
    // A client that the queue has in hand when its connection breaks would otherwise end the process.
    this.connections.on("connect", (client) => client.on("error", () => undefined));
    this.pool = runTaskList(
      {
        concurrency,
        noHandleSignals: true,
        pollInterval: 1_000,
        preset: { worker: { preparedStatements: !this.database.embedded } },
        logger: new QueueLogger(() => (level, message) => {
          if (["error", "warning"].includes(level)) logger.warn({ queue: message }, "job queue");
        }),
      },
      this.tasks(),
      this.connections,
    );
    this.taking = true;
    this.sweptAt = performance.now();
    this.pool.promise
      .catch((error: unknown) => logger.fatal({ err: error }, "the workers stopped: restart this process"))
      .finally(() => (this.taking = false));
    this.database.signals.on("jobs", this.nudge);
    // At once as well: it may have been started because another died.
    this.look();
    this.sweepTimer = setInterval(() => this.look(), this.options.sweepEveryMs);
  }

  /** Wakes what was forgotten or has come due, without waiting for it. */
  private look(): void {
    const { sweep, schedule, connectionCare, paymentPoll, overdueWatch } = this.services;
    this.sweeping ??= this.guarded(async () => {
      await sweep.run();
      await schedule.run();
      await connectionCare.run();
      await paymentPoll.run();
      await overdueWatch.run();
      this.sweptAt = performance.now();
    }).finally(() => (this.sweeping = null));
    // Waits for Xero, and keeps nothing else waiting.
    this.caring ??= this.guarded(() => connectionCare.runGrants()).finally(() => (this.caring = null));
  }

  /** Stops taking jobs and waits for those in hand. */
  async stop(): Promise<void> {
    this.taking = false;
    this.database.signals.off("jobs", this.nudge);
    clearInterval(this.sweepTimer);
    await this.sweeping;
    if (this.caring) await Promise.race([this.caring, delay(patienceMs, undefined, { ref: false })]);
    await this.pool?.gracefulShutdown();
    await this.unlock();
    await this.connections?.end();
  }

  /** The queue does not wait until the ends of its last jobs are written down: one would stay locked for hours, and nobody else could do it. */
  private async unlock(): Promise<void> {
    try {
      await this.connections?.query("SELECT graphile_worker.force_unlock_workers($1)", [[this.pool?.id]]);
    } catch (error) {
      this.options.logger.warn({ reason: messageOf(error) }, "the last jobs of this process may stay locked");
    }
  }

  private readonly nudge = (): void => {
    if (this.pool && !this.pool._shuttingDown) this.pool.nudge(1);
  };

  private tasks(): TaskList {
    const {
      pusher,
      puller,
      paymentPusher,
      paymentPoll,
      mails,
      organisationData,
      connectionCare,
      contactImports,
      disconnections,
    } = this.services;
    const run: { [T in keyof Tasks]: (payload: Tasks[T]) => Promise<void> } = {
      push: ({ workspaceId, connectionId }) =>
        this.alone(`push:${connectionId}`, () => pusher.push(workspaceId, connectionId)),
      pull: async ({ workspaceId, connectionId }) => {
        await this.giveUpKey("pull", { workspaceId, connectionId });
        await this.guarded(() => this.alone(`pull:${connectionId}`, () => puller.pull(workspaceId, connectionId)));
      },
      pay: ({ workspaceId, connectionId }) =>
        this.alone(`pay:${connectionId}`, () => paymentPusher.push(workspaceId, connectionId)),
      poll: ({ workspaceId, connectionId }) =>
        this.alone(`poll:${connectionId}`, () => paymentPoll.poll(workspaceId, connectionId)),
      mail: ({ workspaceId }) => this.alone(`mail:${workspaceId}`, () => mails.send(workspaceId)),
      refresh: ({ workspaceId, connectionId }) => organisationData.refreshById(workspaceId, connectionId),
      check: ({ workspaceId, connectionId }) => connectionCare.check(workspaceId, connectionId),
      import: ({ workspaceId, connectionId }) =>
        this.alone(`import:${connectionId}`, () => contactImports.run(workspaceId, connectionId)),
      release: ({ workspaceId, connectionId }) => disconnections.release(workspaceId, connectionId),
    };
    return Object.fromEntries(
      (Object.keys(run) as (keyof Tasks)[]).map((task) => [
        task,
        // The queue has checked nothing of the payload, but only `enqueue` writes it.
        (payload: unknown, { job }) => {
          const { correlationId = `job-${job.id}` } = payload as { correlationId?: string };
          return withCorrelation(correlationId, () => run[task](payload as never));
        },
      ]),
    );
  }

  /** From now on this wake-up stands for nothing that comes: another is queued for that. The queue does not try it again; the sweep does. */
  private async giveUpKey<T extends keyof Tasks>(task: T, payload: Tasks[T]): Promise<void> {
    await this.connections?.query("SELECT graphile_worker.remove_job($1)", [keyOfWakeUp(task, payload)]);
  }

  /**
   * Runs the work for an organisation once at a time in this process; a wake-up that comes meanwhile makes it run once more. So one that is
   * slow takes one worker and not all of them.
   */
  private async alone(key: string, work: () => Promise<void>): Promise<void> {
    if (this.running.has(key)) {
      this.running.set(key, true);
      return;
    }
    this.running.set(key, false);
    try {
      await work();
      while (this.running.get(key)) {
        this.running.set(key, false);
        await work();
      }
    } finally {
      this.running.delete(key);
    }
  }

  private async guarded(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.options.logger.warn({ reason: messageOf(error) }, "this failed, and the sweep will see to it again");
    }
  }
}
