/**
 * One alert for each run that left invoices behind, and for each invoice only one at a time: a digest that names them, with Xero's words and what to
 * do. What another alert tells already (a lost link, a broken mapping) is left to that. It resolves when none of its invoices is kept back.
 *
 * The words may go out by mail, so they say nothing of a person but the participant's number: names, addresses and what was supported are
 * replaced where Xero's words hold them, and our own words for an error are those for its code.
 */
import { In } from "typeorm";
import { type WorkspaceTransaction } from "../../database.js";
import { Alert, type FailedInvoice } from "../../entities/Alert.js";
import { type SyncErrorCode } from "../../entities/enums.js";
import { type SyncError } from "../../entities/SyncError.js";
import { type SyncRun } from "../../entities/SyncRun.js";
import { openAlert, resolveAlerts } from "./Alerts.js";

/** So many are described, and so many are named in the alert's own words. */
const mostDescribed = 200;
const mostNamed = 10;

const kind = "SYNC_FAILED";

/** Whatever keeps an invoice `i` from being in Xero as it should be. */
const keptBack =
  "i.sync_status IN ('FAILED', 'QUEUED', 'SYNCING', 'UNCERTAIN') AND i.status NOT IN ('DRAFT', 'VOIDED')";

const failedOf = `
  SELECT i.id, i.number, i.sync_error AS error,
    (SELECT a.subject FROM alert a WHERE a.workspace_id = $1 AND a.kind = '${kind}' AND a.state = 'OPEN' AND a.details->'invoiceIds' ? i.id::text LIMIT 1) AS told
  FROM sync_attempt t JOIN invoice i ON i.workspace_id = t.workspace_id AND i.id = t.invoice_id
  JOIN connection c ON c.workspace_id = t.workspace_id AND c.id = t.connection_id JOIN integration s ON s.workspace_id = t.workspace_id
  WHERE t.workspace_id = $1 AND t.run_id = $2 AND t.outcome = 'FAILED' AND i.sync_status = 'FAILED'
    AND i.sync_error->>'brokenMapping' IS NULL AND c.connection_status = 'CONNECTED' AND s.enabled
  ORDER BY i.number`;

interface Failed {
  id: string;
  number: string;
  error: SyncError;
  /** The subject of the open alert that names it already. */
  told: string | null;
}

/** A run is over: tells of what it left behind, and that what was told is put right. */
export async function tellOfRun(tx: WorkspaceTransaction, run: SyncRun): Promise<void> {
  if (run.kind !== "INVOICES") return;
  const failed = await tx.manager.query<Failed[]>(failedOf, [tx.workspaceId, run.id]);
  await tellAgain(tx, [...new Set(failed.flatMap(({ told }) => told ?? []))]);
  const news = failed.filter(({ told }) => told === null);
  if (news.length > 0) {
    const named = news.slice(0, mostNamed).map(({ number }) => number);
    const more = news.length > named.length ? ` and ${news.length - named.length} more` : "";
    await openAlert(tx, {
      kind,
      subject: run.id,
      message: `${news.length === 1 ? "One invoice" : `${news.length} invoices`} could not be synced with Xero: ${named.join(", ")}${more}.`,
      resolution:
        "Put right what is named for each invoice; most are then queued by themselves, and any can be synced by hand.",
      details: { invoiceIds: news.map(({ id }) => id), invoices: await describe(tx, news.slice(0, mostDescribed)) },
    });
  }
  await resolveMended(tx);
}

/** Resolves every digest of which no invoice is kept back any more. */
export async function resolveMended(tx: WorkspaceTransaction): Promise<void> {
  const mended = await tx.manager.query<{ subject: string }[]>(
    `SELECT a.subject FROM alert a WHERE a.workspace_id = $1 AND a.kind = '${kind}' AND a.state = 'OPEN' AND NOT EXISTS (
       SELECT FROM jsonb_array_elements_text(a.details->'invoiceIds') AS named(id) JOIN invoice i ON i.workspace_id = $1 AND i.id = named.id::uuid
       WHERE ${keptBack})`,
    [tx.workspaceId],
  );
  for (const { subject } of mended) await resolveAlerts(tx, [kind], subject);
}

/** Digests whose invoices failed once more. */
async function tellAgain(tx: WorkspaceTransaction, subjects: string[]): Promise<void> {
  const { workspaceId } = tx;
  const alerts = await tx.manager.findBy(Alert, { workspaceId, kind, state: "OPEN", subject: In(subjects) });
  for (const { subject, message, resolution, details } of alerts) {
    await openAlert(tx, { kind, subject, message, resolution, ...(details && { details }) });
  }
}

interface Person {
  invoiceId: string;
  number: string;
  words: (string | null)[];
}

async function describe(tx: WorkspaceTransaction, failed: Failed[]): Promise<FailedInvoice[]> {
  const people = await tx.manager.query<Person[]>(
    `SELECT i.id AS "invoiceId", p.contact_number AS number, array_agg(word) AS words
     FROM invoice i JOIN participant p ON p.workspace_id = i.workspace_id AND p.id = i.participant_id
     LEFT JOIN participant m ON m.workspace_id = i.workspace_id AND m.id = p.plan_manager_id
     LEFT JOIN line_item l ON l.workspace_id = i.workspace_id AND l.invoice_id = i.id
     CROSS JOIN LATERAL unnest(ARRAY[p.name, p.first_name, p.last_name, p.email, p.phone, p.ndis_number, m.name, m.email, m.phone, l.description]) AS word
     WHERE i.workspace_id = $1 AND i.id = ANY($2) GROUP BY 1, 2`,
    [tx.workspaceId, failed.map(({ id }) => id)],
  );
  const byInvoice = new Map(people.map((person) => [person.invoiceId, person]));
  return failed.map(({ id, number, error }) => {
    const person = byInvoice.get(id);
    const told = (text: string): string =>
      withoutPeople(text, person?.words ?? [], person?.number ?? "the participant");
    return {
      invoiceId: id,
      number,
      code: error.code,
      problem: ownWords.has(error.code) ? told(error.message) : plainWords[error.code],
      xeroMessages: error.xeroMessages.slice(0, 3).map(told),
      resolution: told(error.resolution),
    };
  });
}

/** The text with the participant's number in the place of what says who it is or what was done for them. Exported for its test. */
export function withoutPeople(text: string, words: (string | null)[], number: string): string {
  const known = words.filter((word) => word !== null && word.trim().length > 1).map((word) => (word ?? "").trim());
  known.sort((a, b) => b.length - a.length);
  let told = text;
  for (const word of known) {
    const exact = word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/\s+/g, "\\s+");
    told = told.replace(new RegExp(`(?<![\\p{L}\\p{N}])${exact}(?![\\p{L}\\p{N}])`, "giu"), number);
  }
  // Whatever else it quotes: addresses, and numbers as long as a telephone's or the NDIS's.
  return told.replace(/[^\s"'<>,;:()]+@[^\s"'<>,;:()]+\.\w+/gu, number).replace(/\+?\d[\d ()-]{7,}\d/gu, number);
}

/** Codes whose own words speak of the invoice and of nobody. */
const ownWords: ReadonlySet<SyncErrorCode> = new Set(["INVALID_INVOICE", "PERIOD_LOCKED"]);

const plainWords: Record<SyncErrorCode, string> = {
  XERO_DISABLED: "The Xero integration is switched off.",
  XERO_NOT_CONNECTED: "The organisation is not connected.",
  RECONNECT_REQUIRED: "The link to Xero does not allow it.",
  INVALID_MAPPING: "An account or tax rate of one of its lines can't be used in Xero.",
  INVALID_INVOICE: "It can't be sent as it is.",
  CONTACT_AMBIGUOUS: "Several contacts in Xero could be the participant's.",
  CONTACT_ARCHIVED: "The participant's contact is archived in Xero.",
  CONTACT_REJECTED: "Xero does not accept the participant's contact.",
  INVOICE_AMBIGUOUS: "Xero holds several invoices that could be this one.",
  NUMBER_TAKEN: "Another invoice in Xero has its number.",
  PERIOD_LOCKED: "Its date is in a closed period.",
  LOCKED_BY_PAYMENT: "It has payments or credits in Xero and can't be changed there any more.",
  VALIDATION_FAILED: "Xero did not accept it.",
  RATE_LIMITED: "Xero's limit of calls was reached.",
  XERO_UNAVAILABLE: "Xero did not take it, however often it was tried.",
  OUTCOME_UNKNOWN: "It is not known whether Xero has it.",
  INTERNAL: "Something went wrong in this service.",
};
