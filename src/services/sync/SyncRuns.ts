/** Asking for a sync, and reading what became of it. Sending is the Pusher's. */
import { In } from "typeorm";
import { type Database, type WorkspaceTransaction } from "../../database.js";
import { type SyncOutcome } from "../../entities/enums.js";
import { Invoice } from "../../entities/Invoice.js";
import { SyncAttempt } from "../../entities/SyncAttempt.js";
import { SyncRun } from "../../entities/SyncRun.js";
import { badInput } from "../../errors.js";
import { type Viewer } from "../../viewer.js";
import { record } from "../../subscriptions/eventLog.js";
import { type Integrations } from "../Integrations.js";
import { isId, load } from "../loading.js";
import { type ListOrder, type Page, type PageRequest, readPage } from "../paging.js";
import { Problems } from "../problems.js";
import { applyChanges } from "./attempts.js";
import { dueInvoices, goingRun } from "./dueInvoices.js";
import { queueRun } from "./queueRun.js";

const attemptOrder: ListOrder<SyncAttempt> = {
  name: "attempts",
  direction: "ASC",
  keys: [{ property: "id", column: "id", type: "uuid" }],
};

const runOrder: ListOrder<SyncRun> = {
  name: "syncRuns",
  direction: "DESC",
  keys: [
    { property: "queuedAt", column: "queued_at", type: "timestamptz" },
    { property: "id", column: "id", type: "uuid" },
  ],
};

/** Invoices in one request. */
const mostAtOnce = 1_000;

export class SyncRuns {
  constructor(
    private readonly database: Database,
    private readonly integrations: Integrations,
  ) {}

  /**
   * Queues the invoice and answers at once; while an earlier request for it still runs, answers that one's run. An invoice that is in Xero
   * as it stands here makes a run that says UNCHANGED; one that never arrived at the organisation it was first meant for goes to the one that
   * is chosen now, with a warning. Throws the contract's refusals in their order, then NOT_FOUND or BAD_USER_INPUT.
   */
  async requestInvoice(viewer: Viewer, id: string): Promise<SyncRun> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const { connection } = await this.integrations.requireReady(tx);
      // The row's lock makes two presses at once, on whichever processes, come one after the other.
      const invoice = await load(tx, Invoice, id, { thing: "invoice", field: "id", lock: true });
      const reason = unsyncable(invoice);
      if (reason !== null) throw badInput({ field: "id", reason });
      const [going] = await goingAttempts(tx, [invoice.id]);
      if (going) return load(tx, SyncRun, going.runId, { thing: "run", field: "id" });
      const cause = { trigger: "MANUAL" as const, requestedBy: viewer.subject };
      return queueRun(tx, connection.id, { due: [invoice], moves: true }, cause);
    });
  }

  /**
   * Queues up to 1,000 invoices as one run. Those that another run is at are SKIPPED in it; where one earlier run is at all of them, that one
   * is answered. Throws the contract's refusals in their order, then BAD_USER_INPUT naming each id that can't be synced, with nothing queued.
   */
  async requestInvoices(viewer: Viewer, ids: string[]): Promise<SyncRun> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const { connection } = await this.integrations.requireReady(tx);
      const invoices = await loadAll(tx, ids);
      const going = await goingAttempts(tx, [...invoices.keys()]);
      const runs = new Set(going.map(({ runId }) => runId));
      const [only] = runs;
      if (only !== undefined && runs.size === 1 && going.length === invoices.size) {
        return load(tx, SyncRun, only, { thing: "run", field: "ids" });
      }
      const busy = new Set(going.map(({ invoiceId }) => invoiceId));
      const all = [...invoices.values()];
      const split = { due: all.filter(({ id }) => !busy.has(id)), going: all.filter(({ id }) => busy.has(id)) };
      return queueRun(tx, connection.id, split, { trigger: "MANUAL", requestedBy: viewer.subject });
    });
  }

  /** "Run Now": queues every invoice that is due. While such a run is going, answers that one. Throws the contract's refusals. */
  async runNow(viewer: Viewer): Promise<SyncRun> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const { connection } = await this.integrations.requireReady(tx);
      const going = await goingRun(tx, "RUN_NOW");
      if (going) return going;
      const due = await dueInvoices(tx, connection.id, { rejectedToo: true });
      return queueRun(tx, connection.id, { due }, { trigger: "RUN_NOW", requestedBy: viewer.subject });
    });
  }

  /** Queues again whatever of the run is FAILED still. Throws the contract's refusals, NOT_FOUND, or BAD_USER_INPUT while it is going. */
  async retry(viewer: Viewer, id: string): Promise<SyncRun> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      await this.integrations.requireReady(tx);
      const run = await load(tx, SyncRun, id, { thing: "run", field: "id", lock: true });
      if (run.finishedAt === null) throw badInput({ field: "id", reason: "this run is still going" });
      if (run.kind === "CONTACT_IMPORT") {
        throw badInput({ field: "id", reason: "is an import of contacts; start another by importContacts" });
      }
      const due = tx.manager
        .createQueryBuilder(Invoice, "i")
        .where("i.workspace_id = :ws AND i.sync_status = 'FAILED' AND i.status NOT IN ('DRAFT', 'VOIDED')", {
          ws: tx.workspaceId,
        })
        .andWhere(
          `i.id IN (SELECT a.invoice_id FROM sync_attempt a
             WHERE a.workspace_id = i.workspace_id AND a.run_id = :runId AND a.outcome = 'FAILED')`,
          { runId: run.id },
        );
      return queueRun(tx, run.connectionId, { due }, { trigger: "RETRY", requestedBy: viewer.subject });
    });
  }

  /** Takes back whatever of the run was not begun; what is in flight finishes. One that is over stays as it is. Throws NOT_FOUND. */
  async cancel(viewer: Viewer, id: string): Promise<SyncRun> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const run = await load(tx, SyncRun, id, { thing: "run", field: "id" });
      // An import is one piece of work: it is taken back whole, or goes on.
      if (run.kind === "CONTACT_IMPORT") await cancelQueued(tx, run.id);
      for (;;) {
        const attempts = await tx.manager
          .createQueryBuilder(SyncAttempt, "a")
          .where("a.workspace_id = :ws AND a.run_id = :runId", { ws: tx.workspaceId, runId: run.id })
          .andWhere("a.outcome = 'PENDING' AND a.batch_id IS NULL")
          .limit(mostAtOnce)
          .setLock("pessimistic_write")
          .setOnLocked("skip_locked")
          .getMany();
        if (attempts.length === 0) break;
        await applyChanges(
          tx,
          attempts.map((attempt) => ({
            attempt,
            outcome: "CANCELLED",
            // What was to be voided stands in Xero as it did.
            syncStatus: attempt.action === "VOID" ? "SYNCED" : "NOT_SYNCED",
            invoice: { voidRequested: false },
            also: { notBefore: null },
          })),
        );
      }
      return load(tx, SyncRun, run.id, { thing: "run", field: "id" });
    });
  }

  /** One page of runs, the newest first. */
  async list(viewer: Viewer, page: PageRequest): Promise<Page<SyncRun>> {
    const query = (tx: WorkspaceTransaction) =>
      tx.manager.createQueryBuilder(SyncRun, "r").where("r.workspace_id = :ws", { ws: tx.workspaceId });
    return readPage(this.database, viewer, { order: runOrder, request: page, query });
  }

  /** The run that the schedule made last, or null. */
  async lastScheduled(viewer: Viewer): Promise<SyncRun | null> {
    return this.database.inWorkspace(viewer.workspaceId, (tx) =>
      tx.manager.findOne(SyncRun, {
        where: { workspaceId: tx.workspaceId, kind: "INVOICES", trigger: "SCHEDULED" },
        order: { queuedAt: "DESC", id: "DESC" },
      }),
    );
  }

  async load(viewer: Viewer, id: string, field = "id"): Promise<SyncRun> {
    return this.database.inWorkspace(viewer.workspaceId, (tx) => load(tx, SyncRun, id, { thing: "run", field }));
  }

  /** One page of the run's attempts, in the order in which they were queued. */
  async attempts(
    viewer: Viewer,
    runId: string,
    page: PageRequest,
    outcome?: SyncOutcome[] | null,
  ): Promise<Page<SyncAttempt>> {
    const query = (tx: WorkspaceTransaction) => {
      const all = tx.manager
        .createQueryBuilder(SyncAttempt, "a")
        .where("a.workspace_id = :ws AND a.run_id = :runId", { ws: tx.workspaceId, runId });
      if (outcome) all.andWhere("a.outcome = ANY(:outcome)", { outcome });
      return all;
    };
    return readPage(this.database, viewer, { order: attemptOrder, request: page, query });
  }
}

async function cancelQueued(tx: WorkspaceTransaction, id: string): Promise<void> {
  const { affected } = await tx.manager.update(
    SyncRun,
    { workspaceId: tx.workspaceId, id, status: "QUEUED" },
    { status: "CANCELLED", finishedAt: new Date() },
  );
  if (affected === 1) record(tx, { topic: "SYNC", runId: id, runStatus: "CANCELLED" });
}

/** Why the invoice can't be synced as it is, in words; null: it can. */
export function unsyncable(invoice: Invoice): string | null {
  if (invoice.status === "DRAFT") return `invoice ${invoice.number} is a draft; approve it first`;
  if (invoice.status === "VOIDED") return `invoice ${invoice.number} is voided`;
  if (invoice.syncStatus === "IGNORED") return `invoice ${invoice.number} is taken out of the sync`;
  return null;
}

/** The invoices in the order of their ids, locked; everything that is wrong with the list is named at once. */
async function loadAll(tx: WorkspaceTransaction, given: string[]): Promise<Map<string, Invoice>> {
  return loadNamed(tx, given, { field: "ids", lock: true, problemOf: unsyncable });
}

/**
 * The invoices that a client named, up to 1,000, by their ids and in the order of these. Throws BAD_USER_INPUT, naming each id that is unknown,
 * named twice, or of an invoice that has a problem.
 */
export async function loadNamed(
  tx: WorkspaceTransaction,
  given: string[],
  options: { field: string; lock?: boolean; problemOf?: (invoice: Invoice) => string | null },
): Promise<Map<string, Invoice>> {
  const { field: list, lock = false, problemOf } = options;
  if (given.length === 0) throw badInput({ field: list, reason: "must name an invoice" });
  if (given.length > mostAtOnce) throw badInput({ field: list, reason: `must be at most ${mostAtOnce}` });
  const ids = given.map((id) => id.toLowerCase());
  const query = tx.manager
    .createQueryBuilder(Invoice, "i")
    .where("i.workspace_id = :ws AND i.id = ANY(:ids)", { ws: tx.workspaceId, ids: ids.filter(isId) })
    // One order for all, so that two requests at once wait for each other and not in a circle.
    .orderBy("i.id");
  if (lock) query.setLock("pessimistic_write");
  const invoices = new Map((await query.getMany()).map((invoice) => [invoice.id, invoice]));
  const problems = new Problems();
  const seen = new Set<string>();
  for (const [index, id] of ids.entries()) {
    const field = `${list}[${index}]`;
    const invoice = invoices.get(id);
    const reason = invoice ? problemOf?.(invoice) : "there is no such invoice in this workspace";
    if (reason != null) problems.add(field, reason);
    else if (seen.has(id)) problems.add(field, "is named twice");
    seen.add(id);
  }
  problems.throwIfAny();
  return invoices;
}

/** Attempts at these invoices that have no outcome yet: at most one for each. */
async function goingAttempts(tx: WorkspaceTransaction, invoiceIds: string[]): Promise<SyncAttempt[]> {
  return tx.manager.findBy(SyncAttempt, {
    workspaceId: tx.workspaceId,
    invoiceId: In(invoiceIds),
    outcome: In<SyncOutcome>(["PENDING", "UNCERTAIN"]),
  });
}
