/**
 * What a person should know of, once per cause. A cause is a kind and a subject; while it lasts its alert is open and counts how often it was
 * met, and whoever ends the cause resolves it. Opening and resolving belong to the transaction that finds or mends the cause, and so do the
 * mails about it.
 */
import { In } from "typeorm";
import { v7 as uuidv7 } from "uuid";
import { type Database, type WorkspaceTransaction } from "../../database.js";
import { Alert, type AlertDetails } from "../../entities/Alert.js";
import { type AlertKind, type AlertState } from "../../entities/enums.js";
import { record } from "../../subscriptions/eventLog.js";
import { type Viewer } from "../../viewer.js";
import { mailOpened, mailResolved } from "./outbox.js";
import { type ListOrder, type Page, type PageRequest, readPage } from "../paging.js";

const newestFirst: ListOrder<Alert> = {
  name: "alerts",
  direction: "DESC",
  keys: [
    { property: "firstSeenAt", column: "first_seen_at", type: "timestamptz" },
    { property: "id", column: "id", type: "uuid" },
  ],
};

export class Alerts {
  constructor(private readonly database: Database) {}

  /** One page of alerts, the newest first; of one state where it is given. */
  async list(viewer: Viewer, page: PageRequest, state?: AlertState | null): Promise<Page<Alert>> {
    const query = (tx: WorkspaceTransaction) => {
      const all = tx.manager.createQueryBuilder(Alert, "a").where("a.workspace_id = :ws", { ws: tx.workspaceId });
      if (state != null) all.andWhere("a.state = :state", { state });
      return all;
    };
    return readPage(this.database, viewer, { order: newestFirst, request: page, query });
  }
}

/** Opens the cause's alert, or counts one more occurrence where it is open already, with the newer words. */
export async function openAlert(
  tx: WorkspaceTransaction,
  { kind, subject, message, resolution, details }: NewAlert,
): Promise<void> {
  const id = uuidv7();
  const [alert] = await tx.manager.query<{ id: string }[]>(
    `INSERT INTO alert (workspace_id, id, kind, subject, state, message, resolution, details, first_seen_at, last_seen_at)
     VALUES ($1, $2, $3, $4, 'OPEN', $5, $6, $7, now(), now())
     ON CONFLICT (workspace_id, kind, subject) WHERE state = 'OPEN'
     DO UPDATE SET message = $5, resolution = $6, details = $7, occurrences = alert.occurrences + 1, last_seen_at = now() RETURNING id`,
    [tx.workspaceId, id, kind, subject, message, resolution, details ? JSON.stringify(details) : null],
  );
  if (!alert) return;
  record(tx, { topic: "ALERT", alertId: alert.id });
  if (alert.id === id) await mailOpened(tx, id);
}

/** A cause, in words. */
type NewAlert = Pick<Alert, "kind" | "subject" | "message" | "resolution"> & { details?: AlertDetails };

/**
 * Resolves whatever is open of these kinds about the subject, and tells whoever was told of it; `quietly` where another alert takes its place, or
 * the one who would be told has done it.
 */
export async function resolveAlerts(
  tx: WorkspaceTransaction,
  kinds: AlertKind[],
  subject: string,
  { quietly = false }: { quietly?: boolean } = {},
): Promise<void> {
  const open = await tx.manager.findBy(Alert, {
    workspaceId: tx.workspaceId,
    kind: In(kinds),
    subject,
    state: "OPEN",
  });
  for (const { id } of open) {
    const { affected } = await tx.manager.update(
      Alert,
      { workspaceId: tx.workspaceId, id, state: "OPEN" },
      { state: "RESOLVED", resolvedAt: new Date() },
    );
    if (affected !== 1) continue;
    record(tx, { topic: "ALERT", alertId: id });
    if (!quietly) await mailResolved(tx, id);
  }
}
