/**
 * Tells of what should have been in Xero long since, whatever the reason: by age, not by errors, so that what nobody thought of shows too. It
 * also resolves digests whose invoices were voided or taken out of the sync, which no run tells of.
 */
import { type Database, type WorkspaceTransaction } from "../../database.js";
import { Alert } from "../../entities/Alert.js";
import { isUnsent } from "../sync/queueRun.js";
import { openAlert, resolveAlerts } from "./Alerts.js";
import { resolveMended } from "./failedSyncs.js";

const cause = { kind: "SYNC_OVERDUE", subject: "sync" } as const;

/** Looked for four times in the period, but not more often than this, nor more seldom than that. */
const oftenMs = 1_000;
const seldomMs = 300_000;

const mostNamed = 10;

/**
 * What is due and since when: an invoice that was queued and never arrived since the first of those times, one that would go by itself since it was
 * last changed; a payment since it was recorded. While the switch is off nothing is due.
 */
const overdue = `
  SELECT workspace_id AS "workspaceId", count(*)::int AS count, min(since) AS since, (array_agg(name ORDER BY since))[1:${mostNamed}] AS names
  FROM (
    SELECT i.workspace_id, 'invoice ' || i.number AS name, CASE WHEN i.sync_status = 'NOT_SYNCED' THEN i.updated_at ELSE coalesce(
        (SELECT min(a.queued_at) FROM sync_attempt a WHERE a.workspace_id = i.workspace_id AND a.invoice_id = i.id
           AND a.queued_at > coalesce(i.synced_at, '-infinity')), i.updated_at) END AS since
    FROM invoice i JOIN integration s ON s.workspace_id = i.workspace_id AND s.enabled
    WHERE ${isUnsent} AND i.status NOT IN ('DRAFT', 'VOIDED') AND (s.sync_start_date IS NULL OR i.date >= s.sync_start_date)
      AND (i.sync_status IN ('QUEUED', 'SYNCING', 'UNCERTAIN', 'FAILED') OR i.sync_status = 'NOT_SYNCED' AND (s.schedule_enabled OR s.sync_on_approval))
    UNION ALL
    SELECT p.workspace_id, 'a payment of ' || p.amount || ' on invoice ' || i.number, p.created_at
    FROM payment p JOIN invoice i ON i.workspace_id = p.workspace_id AND i.id = p.invoice_id
    JOIN integration s ON s.workspace_id = p.workspace_id AND s.enabled
    WHERE p.push_action IS NOT NULL AND i.xero_id IS NOT NULL
  ) due
  WHERE since < now() - $1 * interval '1 ms' GROUP BY workspace_id`;

interface Overdue {
  workspaceId: string;
  count: number;
  since: Date;
  names: string[];
}

export class OverdueWatch {
  private dueAt = 0;

  constructor(
    private readonly database: Database,
    private readonly afterMs: number,
  ) {}

  /** Looks at all workspaces, where it is time to; safe on any number of processes at once. */
  async run(): Promise<void> {
    if (Date.now() < this.dueAt) return;
    this.dueAt = Date.now() + Math.min(seldomMs, Math.max(oftenMs, this.afterMs / 4));
    const found = await this.database.asSystem((tx) => tx.manager.query<Overdue[]>(overdue, [this.afterMs]));
    const open = await this.database.asSystem((tx) =>
      tx.manager.query<{ workspaceId: string; kind: string }[]>(
        `SELECT DISTINCT workspace_id AS "workspaceId", kind FROM alert WHERE state = 'OPEN' AND kind IN ('SYNC_OVERDUE', 'SYNC_FAILED')`,
      ),
    );
    for (const each of found) await this.database.inWorkspace(each.workspaceId, (tx) => this.tell(tx, each));
    for (const { workspaceId, kind } of open) {
      if (kind === "SYNC_FAILED") await this.database.inWorkspace(workspaceId, resolveMended);
      else if (!found.some((each) => each.workspaceId === workspaceId)) {
        await this.database.inWorkspace(workspaceId, (tx) => resolveAlerts(tx, [cause.kind], cause.subject));
      }
    }
  }

  private async tell(tx: WorkspaceTransaction, { count, since, names }: Overdue): Promise<void> {
    const more = count > names.length ? ` and ${count - names.length} more` : "";
    const message = `Not in Xero though due for more than ${inWords(this.afterMs)}, since ${since.toISOString()}: ${names.join(", ")}${more}.`;
    const key = { workspaceId: tx.workspaceId, ...cause, state: "OPEN" as const };
    // As it was told already.
    if ((await tx.manager.findOneBy(Alert, key))?.message === message) return;
    await openAlert(tx, {
      ...cause,
      message,
      resolution:
        "See each one's error and checklist (syncError, syncChecklist), and other alerts that are open; put right what they name, or take it out of the sync.",
    });
  }
}

function inWords(ms: number): string {
  const hours = ms / 3_600_000;
  return hours >= 1 ? `${Math.round(hours)} hours` : `${Math.round(ms / 1000)} seconds`;
}
