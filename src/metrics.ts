/**
 * What this process counts, and how Prometheus reads it. The only user of prom-client: the others are handed functions by the composition root,
 * or tally what they did in the transaction that did it (`Transaction.tally`), which is told here once it is committed.
 *
 * A label takes few values, all of them ours: a client, a customer or Xero can't make more. No label and no value tells of a person. What all
 * processes share (the queue, Xero's limits) is read from the database at the scrape and is the same whichever process is asked.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import { type Tally } from "./database.js";
import { type Logger, messageOf } from "./logger.js";
import { type OperationLabel } from "./operationLabel.js";
import { type Readiness } from "./Readiness.js";
import { type Watcher } from "./Watcher.js";

/** One call to Xero; `status` 0: no answer came. */
export interface XeroCall {
  operation: string;
  status: number;
  durationMs: number;
}

export interface Metrics {
  /** `outcome`: OK, or the code of the first error. */
  operationAnswered: (label: OperationLabel, outcome: string, durationMs?: number) => void;
  webhookAnswered: (status: number, durationMs: number) => void;
  xeroAnswered: (call: XeroCall) => void;
  /** Events reached this process's subscribers so long after the newest of them had happened. */
  eventsHanded: (lagMs: number) => void;
  /** Something was done, and is committed. */
  done: (tally: Tally) => void;
  contentType: string;
  /** All of it as text; never throws for want of the database. */
  text: () => Promise<string>;
}

export interface MetricsOptions {
  watcher: Watcher;
  readiness: Readiness;
  /** How many are open. */
  sockets: () => { sockets: number; subscriptions: number };
  /** How long ago the sweep last went through; null where there is none. */
  sweepAgeMs: () => number | null;
  logger: Logger;
}

/** What was read for one scrape is good for another within this time. */
const readAgainMs = 5_000;
const readWithinMs = 3_000;

/** A job that is due is so late as the oldest of its task; one that has failed too often is tried no more. */
const queue = `
  WITH job AS (
    SELECT task_identifier AS task, run_at, CASE WHEN locked_at IS NOT NULL THEN 'running' WHEN attempts >= max_attempts THEN 'dead'
      WHEN run_at <= now() THEN 'due' ELSE 'later' END AS state
    FROM graphile_worker.jobs)
  SELECT t.identifier AS task, job.state, count(job.state)::int AS jobs, extract(epoch FROM now() - min(job.run_at))::float8 AS age
  FROM graphile_worker._private_tasks t LEFT JOIN job ON job.task = t.identifier GROUP BY t.identifier, job.state`;

interface JobsRow {
  task: string;
  /** Null: of this task there are none. */
  state: (typeof jobStates)[number] | null;
  jobs: number;
  age: number | null;
}

const jobStates = ["due", "running", "later", "dead"] as const;

/** A reading that is older than this says nothing of the day's calls any more. */
const limits = `
  SELECT c.id AS connection, l.day_remaining AS remaining, l.day_limit AS total
  FROM connection c JOIN tenant_limit l ON l.tenant_id = c.tenant_id
  WHERE c.connection_status = 'CONNECTED' AND l.day_remaining IS NOT NULL AND l.day_limit > 0 AND l.day_seen_at > now() - interval '1 hour'
  ORDER BY l.day_remaining::float8 / l.day_limit, c.id LIMIT 50`;

/** Metrics of this app alone, so that several can be in one process. */
export function createMetrics({ watcher, readiness, sockets, sweepAgeMs, logger }: MetricsOptions): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const prefix = "ledgerline_";
  const counter = <L extends string>(name: string, help: string, ...labelNames: L[]): Counter<L> =>
    new Counter({ name: prefix + name, help, labelNames, registers });
  const gauge = <L extends string>(name: string, help: string, ...labelNames: L[]): Gauge<L> =>
    new Gauge({ name: prefix + name, help, labelNames, registers });
  const histogram = <L extends string>(
    name: string,
    help: string,
    buckets: number[],
    ...labelNames: L[]
  ): Histogram<L> => new Histogram({ name: prefix + name, help, buckets, labelNames, registers });

  collectDefaultMetrics({ register: registry, prefix });

  const requests = counter(
    "graphql_requests_total",
    "GraphQL operations answered, by type, root field (one, several, introspection or unknown) and OK or the first error's code.",
    "type",
    "operation",
    "outcome",
  );
  const requestDuration = histogram(
    "graphql_request_duration_seconds",
    "From the request to its answer, of GraphQL over HTTP.",
    [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    "type",
    "operation",
  );
  const openSockets = gauge("sockets", "WebSockets that are open.");
  const openSubscriptions = gauge("subscriptions", "Subscriptions that are open.");
  const eventLag = histogram(
    "event_lag_seconds",
    "Age of the newest event when it is handed to this process's subscribers.",
    [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 30],
  );
  const webhookAnswers = counter("webhook_answers_total", "Deliveries of Xero's answered, by HTTP status.", "status");
  const webhookDuration = histogram(
    "webhook_answer_duration_seconds",
    "From a delivery to its answer, for which Xero waits five seconds.",
    [0.005, 0.025, 0.1, 0.5, 1, 2.5, 5],
  );
  const webhookAge = histogram(
    "webhook_event_age_seconds",
    "From the receipt of an event until it was done with, by what became of it.",
    [1, 2.5, 5, 15, 60, 300, 900, 3_600, 21_600],
    "outcome",
  );
  const xeroCalls = counter(
    "xero_calls_total",
    "Calls to Xero, by operation and class of the answer's status: 2xx, 3xx, 4xx, 429, 5xx, or none.",
    "operation",
    "status",
  );
  const xeroDuration = histogram(
    "xero_call_duration_seconds",
    "From a call to Xero to its answer, or until none was waited for any more.",
    [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
    "operation",
  );
  const dayRemaining = gauge(
    "xero_day_calls_remaining",
    "Calls left of the day, as Xero last said within the hour, of the 50 connections with the smallest share left.",
    "connection",
  );
  const dayLimit = gauge("xero_day_calls_limit", "Calls a day of the same connections, as far as known.", "connection");
  const attempts = counter(
    "sync_attempts_total",
    "Attempts to bring an invoice to Xero, by outcome and error code.",
    "outcome",
    "code",
  );
  const payments = counter(
    "payments_pushed_total",
    "Payments told to Xero, by outcome and error code.",
    "outcome",
    "code",
  );
  const queueJobs = gauge("queue_jobs", "Jobs in the queue, by task and state.", "task", "state");
  const queueAge = gauge("queue_oldest_age_seconds", "How late the oldest job is that is due, by task.", "task");
  const ready = gauge("ready", "Whether this part of the process is ready, as /health/ready says: 1 or 0.", "part");
  const sweepAge = gauge("worker_sweep_age_seconds", "Time since the worker's sweep last went through.");
  const scrapeErrors = counter("scrape_errors_total", "Scrapes that lack what is read from the database.");

  const readQueue = async (): Promise<void> => {
    const rows = await watcher.ask<JobsRow>(queue, [], readWithinMs);
    queueJobs.reset();
    queueAge.reset();
    for (const { task } of rows) {
      for (const state of jobStates) queueJobs.set({ task, state }, 0);
      queueAge.set({ task }, 0);
    }
    for (const { task, state, jobs, age } of rows) {
      if (state !== null) queueJobs.set({ task, state }, jobs);
      if (state === "due") queueAge.set({ task }, age ?? 0);
    }
  };
  const readLimits = async (): Promise<void> => {
    const rows = await watcher.ask<{ connection: string; remaining: number; total: number }>(limits, [], readWithinMs);
    dayRemaining.reset();
    dayLimit.reset();
    for (const { connection, remaining, total } of rows) {
      dayRemaining.set({ connection }, remaining);
      dayLimit.set({ connection }, total);
    }
  };
  let reading: Promise<void> | null = null;
  let readAt = -Infinity;
  const readDatabase = async (): Promise<void> => {
    try {
      await readQueue();
      await readLimits();
      readAt = performance.now();
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, "a scrape could not read the database");
      scrapeErrors.inc();
      // What is not known is left out: what was known before would look like the present.
      for (const each of [queueJobs, queueAge, dayRemaining, dayLimit]) each.reset();
    }
  };
  const readReadiness = async (): Promise<void> => {
    const failing = await readiness.failing();
    for (const part of readiness.parts) ready.set({ part }, failing.includes(part) ? 0 : 1);
  };
  const look = (): void => {
    const open = sockets();
    openSockets.set(open.sockets);
    openSubscriptions.set(open.subscriptions);
    const ageMs = sweepAgeMs();
    if (ageMs === null) sweepAge.remove();
    else sweepAge.set(ageMs / 1_000);
  };

  return {
    operationAnswered: ({ type, operation }, outcome, durationMs) => {
      requests.inc({ type, operation, outcome });
      if (durationMs !== undefined) requestDuration.observe({ type, operation }, seconds(durationMs));
    },
    webhookAnswered: (status, durationMs) => {
      webhookAnswers.inc({ status });
      webhookDuration.observe(seconds(durationMs));
    },
    xeroAnswered: ({ operation, status, durationMs }) => {
      xeroCalls.inc({ operation, status: statusClass(status) });
      xeroDuration.observe({ operation }, seconds(durationMs));
    },
    eventsHanded: (lagMs) => eventLag.observe(seconds(lagMs)),
    done: (tally) => {
      if (tally.of === "attempt") attempts.inc({ outcome: tally.outcome, code: tally.code ?? "" });
      else if (tally.of === "payment") payments.inc({ outcome: tally.outcome, code: tally.code ?? "" });
      else webhookAge.observe({ outcome: tally.outcome }, seconds(tally.ageMs));
    },
    contentType: registry.contentType,
    text: async () => {
      if (performance.now() - readAt > readAgainMs) reading ??= readDatabase().finally(() => (reading = null));
      await Promise.all([reading, readReadiness()]);
      look();
      return registry.metrics();
    },
  };
}

/** Clocks differ: what is told to have been before it began took no time. */
function seconds(ms: number): number {
  return Math.max(0, ms) / 1_000;
}

function statusClass(status: number): string {
  if (status === 0) return "none";
  return status === 429 ? "429" : `${Math.floor(status / 100)}xx`;
}
