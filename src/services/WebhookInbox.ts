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

/** Whatever can't be kept as text: NUL, and half a character. */
const kept = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^[^\0\p{Surrogate}]*$/u);

/** Lenient: categories and types are Xero's to add to, and an event must never be lost because of what it carries besides. */
const eventSchema = z.object({
  resourceId: kept(200),
  tenantId: kept(200),
  eventCategory: kept(100),
  eventType: kept(100),
  eventDateUtc: kept(50),
});

const deliverySchema = z.object({ events: z.array(z.unknown()) });

const insertEvents = `
  INSERT INTO webhook_event (workspace_id, id, connection_id, tenant_id, category, event_type, resource_id, event_date, received_at, status, detail)
  SELECT DISTINCT ON (coalesce(c.workspace_id, ''), e."tenantId", e.category, e."resourceId", e."eventType", e."eventDate")
         coalesce(c.workspace_id, ''), e.id, c.id, e."tenantId", e.category, e."eventType", e."resourceId", e."eventDate", now(),
         CASE WHEN c.id IS NULL THEN 'IGNORED' ELSE 'RECEIVED' END,
         CASE WHEN c.id IS NULL THEN 'no workspace has this organisation connected' END
  FROM jsonb_to_recordset($1::jsonb) AS e (
    id uuid, "tenantId" text, "tenantUuid" uuid, category text, "eventType" text, "resourceId" text, "eventDate" timestamptz
  ) LEFT JOIN connection c ON c.tenant_id = e."tenantUuid"
  ON CONFLICT (workspace_id, tenant_id, category, resource_id, event_type, event_date) DO UPDATE
    -- Two changes within a millisecond have one key, so a repeat is looked at once more; where nothing changed that costs one read.
    -- The mark tells whoever is just applying the earlier one that it read too soon; it is another one each time.
    SET status = excluded.status, touched_at = clock_timestamp(), detail = coalesce(excluded.detail, 'announced again at ' || clock_timestamp())
  RETURNING workspace_id AS "workspaceId", connection_id AS "connectionId"`;

export class WebhookInbox {
  constructor(private readonly database: Database) {}

  /**
   * Keeps the delivery's events, and answers how many could not be read: one that can't must not keep the others from being kept, nor be
   * sent again for ever. An empty delivery is Xero's intent to receive, and is noted as such.
   */
  async keep(body: Buffer): Promise<number> {
    const given = parse(body);
    if (!given) return 1;
    const events = given.flatMap((event) => eventSchema.safeParse(event).data ?? []);
    await this.database.asSystem(async (tx) => {
      if (given.length === 0) {
        await tx.manager.upsert(WebhookState, { id: "xero", lastValidatedAt: new Date() }, ["id"]);
        return;
      }
      const rows = events.map((event) => ({
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
    return given.length - events.length;
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

function parse(body: Buffer): unknown[] | null {
  try {
    return deliverySchema.parse(JSON.parse(body.toString("utf8"))).events;
  } catch {
    return null;
  }
}

/** Xero leaves out the Z, and JavaScript would take the text for local time. */
function instantOf(text: string): string {
  const instant = new Date(/(?:Z|[+-]\d{2}:\d{2})$/.test(text) ? text : `${text}Z`);
  const year = instant.getUTCFullYear();
  return year > 1900 && year < 10_000 ? instant.toISOString() : new Date().toISOString();
}
