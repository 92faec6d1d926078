/**
 * Keeps what a delivery announced, in one transaction with the wake-up for its application. A delivery may mix organisations, and an
 * organisation may be several workspaces': each gets its own row. What is there already is not kept twice, for Xero delivers at least once.
 */
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import { type Database } from "../database.js";
import { WebhookState } from "../entities/WebhookState.js";
import { enqueue } from "../jobs/queue.js";
import { type Viewer } from "../viewer.js";
import { isId } from "./loading.js";

/** Lenient: categories and types are Xero's to add to, and an event must never be lost because of what it carries besides. */
const deliverySchema = z.object({
  events: z.array(
    z.object({
      resourceId: z.string().max(200),
      tenantId: z.string().max(200),
      eventCategory: z.string().max(100),
      eventType: z.string().max(100),
      eventDateUtc: z.string().max(50),
    }),
  ),
});

const insertEvents = `
  INSERT INTO webhook_event (workspace_id, id, connection_id, tenant_id, category, event_type, resource_id, event_date, received_at, status, detail)
  SELECT coalesce(c.workspace_id, ''), e.id, c.id, e."tenantId", e.category, e."eventType", e."resourceId", e."eventDate", now(),
         CASE WHEN c.id IS NULL THEN 'IGNORED' ELSE 'RECEIVED' END,
         CASE WHEN c.id IS NULL THEN 'no workspace has this organisation connected' END
  FROM jsonb_to_recordset($1::jsonb) AS e (
    id uuid, "tenantId" text, "tenantUuid" uuid, category text, "eventType" text, "resourceId" text, "eventDate" timestamptz
  ) LEFT JOIN connection c ON c.tenant_id = e."tenantUuid"
  ON CONFLICT DO NOTHING RETURNING workspace_id AS "workspaceId", connection_id AS "connectionId"`;

export class WebhookInbox {
  constructor(private readonly database: Database) {}

  /** Keeps the delivery's events; false where the body is none. An empty delivery is Xero's intent to receive, and is noted as such. */
  async keep(body: Buffer): Promise<boolean> {
    const delivery = parse(body);
    if (!delivery) return false;
    await this.database.asSystem(async (tx) => {
      if (delivery.events.length === 0) {
        await tx.manager.upsert(WebhookState, { id: "xero", lastValidatedAt: new Date() }, ["id"]);
        return;
      }
      const rows = delivery.events.map((event) => ({
        id: uuidv7(),
        tenantId: event.tenantId,
        tenantUuid: isId(event.tenantId) ? event.tenantId : null,
        category: event.eventCategory,
        eventType: event.eventType,
        resourceId: event.resourceId.toLowerCase(),
        eventDate: instantOf(event.eventDateUtc),
      }));
      const kept: { workspaceId: string; connectionId: string | null }[] = await tx.manager.query(insertEvents, [
        JSON.stringify(rows),
      ]);
      const targets = new Map(kept.map(({ workspaceId, connectionId }) => [connectionId, workspaceId]));
      for (const [connectionId, workspaceId] of targets) {
        if (connectionId !== null) enqueue(tx, "pull", { workspaceId, connectionId });
      }
    });
    return true;
  }

  /** When Xero last proved that it reaches us, and when it last told this workspace something. */
  async status(viewer: Viewer): Promise<{ lastValidatedAt: Date | null; lastEventAt: Date | null }> {
    const state = await this.database.asSystem((tx) => tx.manager.findOneBy(WebhookState, { id: "xero" }));
    const [last] = await this.database.inWorkspace(viewer.workspaceId, (tx) =>
      tx.manager.query<{ at: Date | null }[]>(
        "SELECT max(received_at) AS at FROM webhook_event WHERE workspace_id = $1",
        [tx.workspaceId],
      ),
    );
    return { lastValidatedAt: state?.lastValidatedAt ?? null, lastEventAt: last?.at ?? null };
  }
}

function parse(body: Buffer): z.infer<typeof deliverySchema> | null {
  try {
    return deliverySchema.parse(JSON.parse(body.toString("utf8")));
  } catch {
    return null;
  }
}

/** Xero leaves out the Z, and JavaScript would take the text for local time. */
function instantOf(text: string): string {
  const instant = new Date(/(?:Z|[+-]\d{2}:\d{2})$/.test(text) ? text : `${text}Z`);
  return Number.isNaN(instant.getTime()) ? new Date().toISOString() : instant.toISOString();
}
