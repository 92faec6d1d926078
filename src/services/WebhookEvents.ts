/** What Xero announced to a workspace and what became of it; and looking once more at what one of them is about. */
import { type Database, type WorkspaceTransaction } from "../database.js";
import { type WebhookEventStatus } from "../entities/enums.js";
import { WebhookEvent } from "../entities/WebhookEvent.js";
import { enqueue } from "../jobs/queue.js";
import { type Viewer } from "../viewer.js";
import { load } from "./loading.js";
import { type ListOrder, type Page, type PageRequest, readPage } from "./paging.js";

const newestFirst: ListOrder<WebhookEvent> = {
  name: "webhookEvents",
  direction: "DESC",
  keys: [
    { property: "receivedAt", column: "received_at", type: "timestamptz" },
    { property: "id", column: "id", type: "uuid" },
  ],
};

export class WebhookEvents {
  constructor(private readonly database: Database) {}

  /** One page of events, the newest first; of one status where it is given. */
  async list(viewer: Viewer, page: PageRequest, status?: WebhookEventStatus | null): Promise<Page<WebhookEvent>> {
    const query = (tx: WorkspaceTransaction) => {
      const all = tx.manager
        .createQueryBuilder(WebhookEvent, "w")
        .where("w.workspace_id = :ws", { ws: tx.workspaceId });
      if (status != null) all.andWhere("w.status = :status", { status });
      return all;
    };
    return readPage(this.database, viewer, { order: newestFirst, request: page, query });
  }

  /**
   * Puts the event back to RECEIVED, so that what it is about is read from Xero and applied as it stands there now; while the link is down or
   * the switch off it waits. Harmless however often, and for one that is RECEIVED still. Throws BAD_USER_INPUT and NOT_FOUND.
   */
  async replay(viewer: Viewer, id: string): Promise<WebhookEvent> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const event = await load(tx, WebhookEvent, id, { thing: "webhook event", field: "id", lock: true });
      // As the inbox marks a repeat: whoever is just applying it must not take it for done.
      await tx.manager.query(
        `UPDATE webhook_event SET status = 'RECEIVED', detail = 'replayed at ' || clock_timestamp(), touched_at = clock_timestamp()
         WHERE workspace_id = $1 AND id = $2`,
        [tx.workspaceId, event.id],
      );
      const { connectionId } = event;
      if (connectionId !== null) enqueue(tx, "pull", { workspaceId: tx.workspaceId, connectionId });
      return load(tx, WebhookEvent, id, { thing: "webhook event", field: "id" });
    });
  }
}
