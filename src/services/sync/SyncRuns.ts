/** Asking for a sync, and reading what became of it. Sending is the Pusher's. */
import { In } from "typeorm";
import { type Database, type WorkspaceTransaction } from "../../database.js";
import { type SyncOutcome } from "../../entities/enums.js";
import { Invoice } from "../../entities/Invoice.js";
import { SyncAttempt } from "../../entities/SyncAttempt.js";
import { SyncRun } from "../../entities/SyncRun.js";
import { badInput } from "../../errors.js";
import { type Viewer } from "../../viewer.js";
import { type Integrations } from "../Integrations.js";
import { load } from "../loading.js";
import { type ListOrder, type Page, pageOf, type PageRequest, seek } from "../paging.js";
import { queueRun } from "./queueRun.js";

const attemptOrder: ListOrder<SyncAttempt> = {
  name: "attempts",
  direction: "ASC",
  keys: [{ property: "id", column: "id", type: "uuid" }],
};

export class SyncRuns {
  constructor(
    private readonly database: Database,
    private readonly integrations: Integrations,
  ) {}

  /**
   * Queues the invoice and answers at once; while an earlier request for it still runs, answers that one's run. An invoice that is in Xero
   * as it stands here makes a run that says UNCHANGED. Throws the contract's refusals in their order, then NOT_FOUND or BAD_USER_INPUT.
   */
  async requestInvoice(viewer: Viewer, id: string): Promise<SyncRun> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const ready = await this.integrations.requireReady(tx);
      // The row's lock makes two presses at once, on whichever processes, come one after the other.
      const invoice = await load(tx, Invoice, id, { thing: "invoice", field: "id", lock: true });
      checkSyncable(invoice);
      const going = await tx.manager.findOneBy(SyncAttempt, {
        workspaceId: tx.workspaceId,
        invoiceId: invoice.id,
        outcome: In<SyncOutcome>(["PENDING", "UNCERTAIN"]),
      });
      if (going) return load(tx, SyncRun, going.runId, { thing: "run", field: "id" });
      // An invoice belongs to the organisation it was first sent to, whichever is active now.
      const connectionId = invoice.connectionId ?? ready.connection.id;
      return queueRun(tx, connectionId, [invoice], { trigger: "MANUAL", requestedBy: viewer.subject });
    });
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
    const rows = await this.database.inWorkspace(viewer.workspaceId, (tx) => {
      const pageQuery = query(tx);
      seek(pageQuery, attemptOrder, page);
      return pageQuery.getMany();
    });
    return pageOf(rows, attemptOrder, page, () =>
      this.database.inWorkspace(viewer.workspaceId, (tx) => query(tx).getCount()),
    );
  }
}

function checkSyncable(invoice: Invoice): void {
  const refuse = (reason: string) => badInput({ field: "id", reason });
  if (invoice.status === "DRAFT") throw refuse(`invoice ${invoice.number} is a draft; approve it first`);
  if (invoice.status === "VOIDED") throw refuse(`invoice ${invoice.number} is voided`);
  if (invoice.syncStatus === "IGNORED") throw refuse(`invoice ${invoice.number} is taken out of the sync`);
}
