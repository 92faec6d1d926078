/**
 * Xero's contacts as participants: all of them when it is asked for or switched on, then what changes, of which webhooks and If-Modified-Since
 * tell. What was looked at is marked in the copy of the contacts, page by page, so that a process that dies in between loses nothing and a
 * repeat changes nothing.
 */
import { In, IsNull } from "typeorm";
import { v7 as uuidv7 } from "uuid";
import { type Database, type WorkspaceTransaction } from "../../database.js";
import { Connection } from "../../entities/Connection.js";
import { type SyncOutcome, type SyncRunStatus } from "../../entities/enums.js";
import type { Integration } from "../../entities/Integration.js";
import { SyncRun } from "../../entities/SyncRun.js";
import { XeroContact } from "../../entities/XeroContact.js";
import { AppError } from "../../errors.js";
import { enqueue } from "../../jobs/queue.js";
import { record } from "../../subscriptions/eventLog.js";
import { type Viewer } from "../../viewer.js";
import { type XeroAccounting } from "../../xero/XeroAccounting.js";
import { XeroFailure } from "../../xero/XeroFailure.js";
import { type XeroGateway } from "../../xero/XeroGateway.js";
import { findActiveConnection } from "../accounts.js";
import { noteActivity } from "../connectionStatus.js";
import { loadIntegration } from "../Integrations.js";
import { find } from "../loading.js";
import { ContactMirrors } from "../sync/ContactMirrors.js";
import { failed, isTransient } from "../sync/syncErrors.js";
import { type ImportChoice, importPage, type ImportResult, markAll } from "./importPage.js";

const contactsAtOnce = 200;
const problemsKept = 200;

export class ContactImports {
  private readonly mirrors: ContactMirrors;

  constructor(
    private readonly database: Database,
    private readonly gateway: XeroGateway,
  ) {
    this.mirrors = new ContactMirrors(database);
  }

  /** Queues the import of all chosen contacts of the active organisation; while one is going, answers that. Throws XERO_DISABLED or XERO_NOT_CONNECTED. */
  async request(viewer: Viewer): Promise<SyncRun> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const connection = await requireActive(tx);
      const key = { workspaceId: tx.workspaceId, connectionId: connection.id };
      const [going] = await openRuns(tx, connection.id);
      if (going) return going;
      const run = newRun(tx, connection.id, { trigger: "MANUAL", requestedBy: viewer.subject });
      await tx.manager.insert(SyncRun, run);
      await markAll(tx, connection.id);
      await noteActivity(tx, connection.id);
      enqueue(tx, "import", key);
      record(tx, { topic: "SYNC", runId: run.id, runStatus: "QUEUED" });
      return run;
    });
  }

  /** The job: takes in whatever has changed, if that is wanted or was asked for; safe to run any number of times at once. */
  async run(workspaceId: string, connectionId: string): Promise<void> {
    const work = await this.database.inWorkspace(workspaceId, (tx) => begin(tx, connectionId));
    if (!work) return;
    const { connection, integration, runIds } = work;
    // One that is asked for from here on has a job of its own, which reads Xero after that.
    const ours = async (tx: WorkspaceTransaction): Promise<SyncRun[]> =>
      (await openRuns(tx, connectionId)).filter(({ id }) => runIds.has(id));
    let calls = 0;
    const choice: ImportChoice = { includeSuppliers: integration.contactImportSuppliers, members: null };
    try {
      await this.gateway.call(
        connection,
        async (accounting) => {
          // Not all changes have a stamp by which they would be found: whoever asks for an import gets all of them.
          await this.mirrors.refresh(accounting, connection, runIds.size > 0 ? "ALL" : "NOW");
          choice.members = await readMembers(accounting, integration.contactImportGroupIds);
        },
        { background: runIds.size === 0, count: (made) => (calls = made) },
      );
    } catch (error) {
      if (!(error instanceof XeroFailure) || isTransient(error)) throw error;
      await this.database.inWorkspace(workspaceId, async (tx) =>
        finish(tx, await ours(tx), { calls, problem: failed(error).message }),
      );
      return;
    }
    if (choice.members) {
      const members = [...choice.members];
      await this.database.inWorkspace(workspaceId, (tx) => markNewMembers(tx, connectionId, members));
    }
    // What happens by itself is a run only where it came to something.
    const byItself: ImportResult = { counts: {}, problems: [] };
    for (;;) {
      const page = await this.database.inWorkspace(workspaceId, (tx) =>
        importDue(tx, connectionId, { ...choice, madeFor: integration }),
      );
      // Others are chosen since: the job that was queued with that goes on.
      if (page === "OUTDATED") return;
      if (!page) break;
      if (!page.isCounted) add(byItself, page.result);
    }
    await this.database.inWorkspace(workspaceId, async (tx) => {
      const runs = await ours(tx);
      const { CREATED = 0, UPDATED = 0 } = byItself.counts;
      if (CREATED + UPDATED > 0 || (await isNews(tx, connectionId, byItself.problems))) {
        const run = newRun(tx, connectionId, { trigger: "SCHEDULED", requestedBy: null });
        runs.push(await tx.manager.save(SyncRun, { ...run, ...byItself }));
      }
      await finish(tx, runs, { calls, problem: null });
    });
  }
}

async function requireActive(tx: WorkspaceTransaction): Promise<Connection> {
  if (!(await loadIntegration(tx)).enabled) {
    throw new AppError("XERO_DISABLED", "The Xero integration is switched off. Switch it on in its settings.");
  }
  const connection = await findActiveConnection(tx);
  if (connection?.connectionStatus === "CONNECTED") return connection;
  throw new AppError("XERO_NOT_CONNECTED", "No Xero organisation is connected and chosen.");
}

async function begin(
  tx: WorkspaceTransaction,
  connectionId: string,
): Promise<{ connection: Connection; integration: Integration; runIds: Set<string> } | null> {
  const integration = await loadIntegration(tx);
  const connection = await find(tx, Connection, connectionId);
  if (!connection || !integration.enabled) return null;
  const runs = await openRuns(tx, connectionId);
  if (connection.connectionStatus !== "CONNECTED" || integration.activeConnectionId !== connectionId) {
    await finish(tx, runs, { calls: 0, problem: `${connection.name} is no longer connected and chosen.` });
    return null;
  }
  if (!integration.contactImportEnabled && runs.length === 0) return null;
  for (const run of runs.filter(({ status }) => status === "QUEUED")) {
    await tx.manager.update(
      SyncRun,
      { workspaceId: tx.workspaceId, id: run.id },
      { status: "RUNNING", startedAt: new Date() },
    );
    record(tx, { topic: "SYNC", runId: run.id, runStatus: "RUNNING" });
  }
  return { connection, integration, runIds: new Set(runs.map(({ id }) => id)) };
}

/** The contacts of the groups; null where none is chosen, and so all are. */
async function readMembers(accounting: XeroAccounting, groupIds: string[]): Promise<Set<string> | null> {
  if (groupIds.length === 0) return null;
  const members = new Set<string>();
  // Whether a change of a group changes its contacts is not known, so groups are asked each time.
  for (const id of groupIds) {
    for (const contactId of await accounting.fetchContactGroupMembers(id)) members.add(contactId);
  }
  return members;
}

/** Whoever was put into a group since need not have changed otherwise. */
async function markNewMembers(tx: WorkspaceTransaction, connectionId: string, members: string[]): Promise<void> {
  await tx.manager.query(
    `UPDATE xero_contact c SET import_due = true WHERE c.workspace_id = $1 AND c.connection_id = $2 AND c.contact_id = ANY($3) AND NOT c.import_due
       AND NOT EXISTS (SELECT FROM contact_link l WHERE l.workspace_id = $1 AND l.connection_id = $2 AND l.contact_id = c.contact_id)`,
    [tx.workspaceId, connectionId, members],
  );
}

/** The imports that are asked for and not over, locked. */
async function openRuns(tx: WorkspaceTransaction, connectionId: string): Promise<SyncRun[]> {
  return tx.manager.find(SyncRun, {
    where: { workspaceId: tx.workspaceId, connectionId, kind: "CONTACT_IMPORT", finishedAt: IsNull() },
    order: { id: "ASC" },
    lock: { mode: "pessimistic_write" },
  });
}

/** Which contacts the settings choose. */
function chosenBy({ contactImportSuppliers, contactImportGroupIds }: Integration): string {
  return JSON.stringify([contactImportSuppliers, contactImportGroupIds]);
}

/** Whether the last import did not say all of it already. */
async function isNews(tx: WorkspaceTransaction, connectionId: string, problems: string[]): Promise<boolean> {
  if (problems.length === 0) return false;
  const last = await tx.manager.findOne(SyncRun, {
    where: { workspaceId: tx.workspaceId, connectionId, kind: "CONTACT_IMPORT" },
    order: { queuedAt: "DESC", id: "DESC" },
  });
  return !problems.every((problem) => last?.problems.includes(problem));
}

/** Takes in the next contacts that are marked, and counts them in the runs that wait for it; null where none is left. */
async function importDue(
  tx: WorkspaceTransaction,
  connectionId: string,
  choice: ImportChoice & { madeFor: Integration },
): Promise<{ result: ImportResult; isCounted: boolean } | "OUTDATED" | null> {
  const { workspaceId } = tx;
  // One import at a time: whoever waits here finds what is left.
  await tx.manager.query("SELECT 1 FROM contact_mirror WHERE workspace_id = $1 AND connection_id = $2 FOR UPDATE", [
    workspaceId,
    connectionId,
  ]);
  if (chosenBy(await loadIntegration(tx)) !== chosenBy(choice.madeFor)) {
    enqueue(tx, "import", { workspaceId, connectionId });
    return "OUTDATED";
  }
  const contacts = await tx.manager.find(XeroContact, {
    where: { workspaceId, connectionId, importDue: true },
    order: { contactId: "ASC" },
    take: contactsAtOnce,
    // One that changes meanwhile waits, and is marked again after this.
    lock: { mode: "pessimistic_write" },
  });
  if (contacts.length === 0) return null;
  const result = await importPage(tx, connectionId, contacts, choice);
  const contactId = In(contacts.map((contact) => contact.contactId));
  await tx.manager.update(XeroContact, { workspaceId, connectionId, contactId }, { importDue: false });
  const runs = await openRuns(tx, connectionId);
  for (const { id, counts, problems } of runs) {
    const total: ImportResult = { counts: { ...counts }, problems: [...problems] };
    add(total, result);
    await tx.manager.update(SyncRun, { workspaceId, id }, total);
    record(tx, { topic: "SYNC", runId: id, runStatus: "RUNNING" });
  }
  return { result, isCounted: runs.length > 0 };
}

function newRun(
  tx: WorkspaceTransaction,
  connectionId: string,
  cause: Pick<SyncRun, "trigger" | "requestedBy">,
): SyncRun {
  return tx.manager.create(SyncRun, {
    workspaceId: tx.workspaceId,
    id: uuidv7(),
    connectionId,
    kind: "CONTACT_IMPORT",
    status: "QUEUED",
    ...cause,
    queuedAt: new Date(),
    startedAt: null,
    finishedAt: null,
    xeroCalls: 0,
    counts: {},
    problems: [],
  });
}

function add(total: ImportResult, { counts, problems }: ImportResult): void {
  for (const [outcome, count] of Object.entries(counts)) {
    const key = outcome as SyncOutcome;
    total.counts[key] = (total.counts[key] ?? 0) + count;
  }
  total.problems.push(...problems.slice(0, problemsKept - total.problems.length));
}

/** Ends the runs, by what they have come to; with a problem that kept Xero from being read, as FAILED. */
async function finish(
  tx: WorkspaceTransaction,
  runs: SyncRun[],
  { calls, problem }: { calls: number; problem: string | null },
): Promise<void> {
  const now = new Date();
  for (const { id, startedAt, counts, problems, xeroCalls } of runs) {
    const status = problem === null ? statusOf(counts ?? {}) : "FAILED";
    const ended = {
      status,
      problems: problem === null ? problems : [...problems, problem],
      startedAt: startedAt ?? now,
      finishedAt: now,
      xeroCalls: xeroCalls + calls,
    } as const;
    await tx.manager.update(SyncRun, { workspaceId: tx.workspaceId, id }, ended);
    record(tx, { topic: "SYNC", runId: id, runStatus: status });
  }
}

function statusOf({
  FAILED = 0,
  CREATED = 0,
  UPDATED = 0,
  UNCHANGED = 0,
  SKIPPED = 0,
}: ImportResult["counts"]): SyncRunStatus {
  const good = CREATED + UPDATED + UNCHANGED + SKIPPED;
  if (FAILED > 0) return good > 0 ? "PARTIALLY_SUCCEEDED" : "FAILED";
  return good > 0 ? "SUCCEEDED" : "NOTHING_TO_DO";
}
