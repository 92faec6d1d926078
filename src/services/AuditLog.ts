/** Who did what and when. The lines are written by the database (see the migration Audit); this reads them, and notes what no change tells. */
import { type Acting } from "../acting.js";
import { type Database, type WorkspaceTransaction } from "../database.js";
import { AuditEntry } from "../entities/AuditEntry.js";
import { correlationId } from "../logger.js";
import { type Viewer } from "../viewer.js";
import { type ListOrder, type Page, type PageRequest, readPage } from "./paging.js";

const newestFirst: ListOrder<AuditEntry> = {
  name: "audit",
  direction: "DESC",
  keys: [
    { property: "at", column: "at", type: "timestamptz" },
    { property: "id", column: "id", type: "uuid" },
  ],
};

export class AuditLog {
  constructor(private readonly database: Database) {}

  /** One page of the log, the newest first. */
  async list(viewer: Viewer, page: PageRequest): Promise<Page<AuditEntry>> {
    const query = (tx: WorkspaceTransaction) =>
      tx.manager.createQueryBuilder(AuditEntry, "e").where("e.workspace_id = :ws", { ws: tx.workspaceId });
    return readPage(this.database, viewer, { order: newestFirst, request: page, query });
  }

  /** Notes an operation that has changed nothing, if nothing else did; to be called while it acts. */
  async note(viewer: Viewer, acting: Acting): Promise<void> {
    if (acting.noted) return;
    await this.database.inWorkspace(viewer.workspaceId, (tx) =>
      tx.manager.query("SELECT ledgerline_audit_operation(true)"),
    );
  }

  /** Notes that the caller's role does not allow an operation; once a minute for each of both. */
  async refused({ workspaceId, subject }: Viewer, operation: string): Promise<void> {
    await this.database.inWorkspace(workspaceId, (tx) =>
      tx.manager.query("SELECT ledgerline_audit_refusal($1, $2, $3)", [subject, operation, correlationId()]),
    );
  }
}
