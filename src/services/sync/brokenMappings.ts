/** Tells of accounts and tax rates that were chosen once and that Xero's data contradicts by now: one alert, which names the invoices they keep back. */
import { type WorkspaceTransaction } from "../../database.js";
import { IsNull, Not } from "typeorm";
import { Alert } from "../../entities/Alert.js";
import { type SyncAction, SyncAttempt } from "../../entities/SyncAttempt.js";
import { openAlert, resolveAlerts } from "../alerts/Alerts.js";
import { type Change } from "./attempts.js";

const alert = { kind: "MAPPING_BROKEN", subject: "mappings" } as const;

const numbersNamed = 20;

/** Opens the alert, or brings it up to date, where some of the changes are invoices that such a mapping keeps back. */
export async function noteBrokenMappings(tx: WorkspaceTransaction, changes: Change[]): Promise<void> {
  if (!changes.some(({ error }) => error?.brokenMapping !== undefined)) return;
  const rows = await readBroken(tx);
  if (rows.length > 0) await openAlert(tx, { ...alert, ...wordsFor(rows) });
}

/** Resolves the alert where such a mapping keeps nothing back any more, and nothing is queued of which that is not known yet. */
export async function noteMendedMappings(tx: WorkspaceTransaction): Promise<void> {
  const { workspaceId } = tx;
  if (!(await tx.manager.existsBy(Alert, { workspaceId, ...alert, state: "OPEN" }))) return;
  const unknown = { workspaceId, outcome: "PENDING" as const, contactId: IsNull(), action: Not<SyncAction>("VOID") };
  if (await tx.manager.existsBy(SyncAttempt, unknown)) return;
  if ((await readBroken(tx)).length === 0) await resolveAlerts(tx, [alert.kind], alert.subject);
}

interface Broken {
  mapping: string;
  count: number;
  numbers: string[];
}

/** Each broken mapping with the invoices that it keeps back. */
async function readBroken(tx: WorkspaceTransaction): Promise<Broken[]> {
  return tx.manager.query<Broken[]>(
    `SELECT i.sync_error->>'brokenMapping' AS mapping, count(*)::int AS count, (array_agg(i.number ORDER BY i.number))[1:${numbersNamed}] AS numbers
     FROM invoice i WHERE i.workspace_id = $1 AND i.sync_status = 'FAILED' AND i.sync_error->>'brokenMapping' IS NOT NULL
       AND i.status NOT IN ('DRAFT', 'VOIDED')
     GROUP BY 1 ORDER BY 1`,
    [tx.workspaceId],
  );
}

function wordsFor(rows: Broken[]): Pick<Alert, "message" | "resolution"> {
  const parts = rows.map(({ mapping, count, numbers }) => {
    const more = count > numbers.length ? ` and ${count - numbers.length} more` : "";
    return `${mapping}, which keeps back ${count === 1 ? "invoice" : "invoices"} ${numbers.join(", ")}${more}`;
  });
  const text = parts.join("; ");
  return {
    message: `${text.charAt(0).toUpperCase()}${text.slice(1)}.`,
    resolution:
      "Choose another account or tax rate where it is used (a line, its support item, the workspace's default), or mend it in Xero and refresh Xero's data; the invoices are then queued by themselves.",
  };
}
