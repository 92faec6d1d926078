/**
 * Keeps what a delivery announced, in one transaction with the wake-up for its application. A delivery may mix organisations, and an
 * organisation may be several workspaces': each gets its own row. What is there already is not kept twice, for Xero delivers at least once.
 *
 * A commit costs the same for one event as for hundreds, and Xero announces every change of every customer at this one door. So what comes
 * while a transaction is under way waits for its end, and shares the next one.
 */
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import { type Database, isLostDatabase, type NamedStatement } from "../database.js";
import { WebhookState } from "../entities/WebhookState.js";
import { enqueueWhereNoneWaits } from "../jobs/queue.js";
import { correlationId } from "../logger.js";
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

/** One statement: while it is under way nothing else is committed, and every turn on the wire would double the wait. */
const keepEvents: NamedStatement = {
  name: "keep_webhook_events",
  text: `
    WITH kept AS (
      INSERT INTO webhook_event (workspace_id, id, connection_id, tenant_id, category, event_type, resource_id, event_date, received_at, touched_at,
                                 status, detail)
      SELECT DISTINCT ON (coalesce(c.workspace_id, ''), e."tenantId", e.category, e."resourceId", e."eventType", e."eventDate")
             coalesce(c.workspace_id, ''),
             -- The beginning of the id is the event's place in time, the end each row's own: none is another workspace's.
             overlay(e.id::text PLACING right(gen_random_uuid()::text, 10) FROM 27)::uuid,
             c.id, e."tenantId", e.category, e."eventType", e."resourceId", e."eventDate", now(), clock_timestamp(),
             CASE WHEN c.id IS NULL THEN 'IGNORED' ELSE 'RECEIVED' END,
             CASE WHEN c.id IS NULL THEN 'no workspace has this organisation connected' END
      FROM jsonb_to_recordset($1::jsonb) AS e (
        id uuid, "tenantId" text, "tenantUuid" uuid, category text, "eventType" text, "resourceId" text, "eventDate" timestamptz
      ) LEFT JOIN connection c ON c.tenant_id = e."tenantUuid"
      ON CONFLICT (workspace_id, tenant_id, category, resource_id, event_type, event_date) DO UPDATE
        -- Two changes within a millisecond have one key, so a repeat is looked at once more; where nothing changed that costs one read.
        -- The mark tells whoever is just applying the earlier one that it read too soon; it is another one each time.
        SET status = excluded.status, touched_at = clock_timestamp(),
            detail = coalesce(excluded.detail, 'announced again at ' || clock_timestamp())
      RETURNING workspace_id, connection_id)
    ${enqueueWhereNoneWaits(
      "pull",
      // In order, as the events are too: two processes that keep the same ones wait for each other, and not each for the other.
      "SELECT DISTINCT workspace_id, connection_id FROM kept WHERE connection_id IS NOT NULL ORDER BY 1, 2",
      "$2",
    )}`,
};

/** A group is one statement, so it may not grow without end. A delivery that is larger by itself is a group of its own. */
const groupLimits = { events: 1_000, bytes: 4 * 1024 * 1024 };

interface Delivery {
  events: object[];
  bytes: number;
  committed: () => void;
  failed: (reason: unknown) => void;
}

export class WebhookInbox {
  private readonly waiting: Delivery[] = [];
  private busy = false;

  constructor(private readonly database: Database) {}

  /**
   * Keeps the delivery's events, and answers, once they are committed, how many could not be read: one that can't must not keep the others
   * from being kept, nor be sent again for ever. An empty delivery is Xero's intent to receive, and is noted as such. Throws where the
   * commit failed, but not for what is wrong with other deliveries that shared it.
   */
  async keep(body: Buffer): Promise<number> {
    const given = parse(body);
    if (!given) return 1;
    if (given.length === 0) {
      await this.database.asSystem((tx) =>
        tx.manager.upsert(WebhookState, { id: "xero", lastValidatedAt: new Date() }, ["id"]),
      );
      return 0;
    }
    const events = given.flatMap((event) => eventSchema.safeParse(event).data ?? []).map(rowOf);
    if (events.length > 0) {
      await new Promise<void>((committed, failed) => {
        this.waiting.push({ events, bytes: body.length, committed, failed });
        if (!this.busy) void this.commitWaiting();
      });
    }
    return given.length - events.length;
  }

  private async commitWaiting(): Promise<void> {
    this.busy = true;
    while (this.waiting.length > 0) {
      await this.commit(this.waiting.splice(0, groupSize(this.waiting)));
    }
    this.busy = false;
  }

  /** Commits the group and tells each delivery of it how that went; never throws. */
  private async commit(group: Delivery[]): Promise<void> {
    const events = group.flatMap((delivery) => delivery.events);
    try {
      await this.database.asSystemAtOnce(keepEvents, [JSON.stringify(events), correlationId()], "jobs");
      for (const { committed } of group) committed();
    } catch (error) {
      if (group.length === 1 || isLostDatabase(error)) {
        for (const { failed } of group) failed(error);
      } else {
        // One of them is at fault, and must not take the others with it.
        for (const delivery of group) await this.commit([delivery]);
      }
    }
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

/** How many of those that wait, from the first on, are kept together. */
function groupSize(waiting: Delivery[]): number {
  let [events, bytes] = [0, 0];
  const rest = waiting.findIndex((delivery) => {
    events += delivery.events.length;
    bytes += delivery.bytes;
    return events > groupLimits.events || bytes > groupLimits.bytes;
  });
  return rest === -1 ? waiting.length : Math.max(1, rest);
}

function rowOf(event: z.infer<typeof eventSchema>): object {
  return {
    id: uuidv7(),
    tenantId: event.tenantId,
    tenantUuid: isId(event.tenantId) ? event.tenantId : null,
    category: event.eventCategory,
    eventType: event.eventType,
    resourceId: event.resourceId.toLowerCase(),
    eventDate: instantOf(event.eventDateUtc),
  };
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
