/**
 * Xero's contacts as participants: all of them when it is asked for or switched on, then what changes, of which webhooks and If-Modified-Since
 * tell. What was looked at is marked in the copy of the contacts, page by page, so that a process that dies in between loses nothing and a
 * repeat changes nothing.
 */
import { In } from "typeorm";
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
import { type XeroContactGroupAnswer } from "../../xero/answers.js";
import { XeroFailure } from "../../xero/XeroFailure.js";
import { type XeroGateway } from "../../xero/XeroGateway.js";
import { findActiveConnection } from "../accounts.js";
import { noteActivity } from "../connectionStatus.js";
import { loadIntegration } from "../Integrations.js";
import { find } from "../loading.js";
import { unavailable } from "../OrganisationData.js";
import { ContactMirrors } from "../sync/ContactMirrors.js";
import { isTransient } from "../sync/syncErrors.js";
import { type ImportChoice, importPage, type ImportResult, markAll } from "./importPage.js";

const contactsAtOnce = 200;
const problemsKept = 200;

const open: SyncRunStatus[] = ["QUEUED", "RUNNING"];

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
      const going = await tx.manager.findOneBy(SyncRun, { ...key, kind: "CONTACT_IMPORT", status: In(open) });
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

  /** The active organisation's contact groups, as Xero has them now; null while none is chosen. Throws as a read of Xero does. */
  async groups(viewer: Viewer): Promise<XeroContactGroupAnswer[] | null> {
    const connection = await this.database.inWorkspace(viewer.workspaceId, async (tx) =>
      (await findActiveConnection(tx)) ? requireActive(tx) : null,
    );
    if (!connection) return null;
    try {
      return await this.gateway.call(connection, (accounting) => accounting.fetchContactGroups());
    } catch (error) {
      throw error instanceof XeroFailure ? unavailable(error) : error;
    }
  }

  /** The job: takes in whatever has changed, if that is wanted or was asked for; safe to run any number of times at once. */
  async run(workspaceId: string, connectionId: string): Promise<void> {
    const work = await this.database.inWorkspace(workspaceId, (tx) => begin(tx, connectionId));
    if (!work) return;
    const { connection, integration, runs } = work;
    let members: Set<string> | null = null;
    let calls = 0;
    try {
      await this.gateway.call(
        connection,
        async (accounting) => {
          await this.mirrors.refresh(accounting, connection, "NOW");
          const { contactImportGroupIds: groupIds } = integration;
          if (groupIds.length === 0) return;
          members = new Set();
          // Whether a change of a group changes its contacts is not known, so groups are asked each time.
          for (const id of groupIds)
            for (const contactId of await accounting.fetchContactGroupMembers(id)) members.add(contactId);
        },
        { background: runs.length === 0, count: (made) => (calls = made) },
      );
    } catch (error) {
      if (!(error instanceof XeroFailure) || isTransient(error)) throw error;
      await this.database.inWorkspace(workspaceId, (tx) =>
        finish(tx, runs, { counts: {}, problems: [`Xero could not be read: ${error.kind}.`] }, { calls, failed: true }),
      );
      return;
    }
    const choice: ImportChoice = { includeSuppliers: integration.contactImportSuppliers, members };
    const total: ImportResult = { counts: {}, problems: [] };
    for (;;) {
      const page = await this.database.inWorkspace(workspaceId, (tx) => importDue(tx, connectionId, choice));
      if (!page) break;
      add(total, page);
      if (runs.length > 0) await this.database.inWorkspace(workspaceId, (tx) => showProgress(tx, runs, total));
    }
    await this.database.inWorkspace(workspaceId, async (tx) => {
      const { CREATED = 0, UPDATED = 0, FAILED = 0 } = total.counts;
      // What happens by itself is a run only where it came to something.
      if (runs.length === 0 && CREATED + UPDATED + FAILED > 0) {
        const run = newRun(tx, connectionId, { trigger: "SCHEDULED", requestedBy: null });
        await tx.manager.insert(SyncRun, run);
        runs.push(run);
      }
      await finish(tx, runs, total, { calls, failed: false });
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
): Promise<{ connection: Connection; integration: Integration; runs: SyncRun[] } | null> {
  const { workspaceId } = tx;
  const integration = await loadIntegration(tx);
  const connection = await find(tx, Connection, connectionId);
  const runs = await tx.manager.findBy(SyncRun, {
    workspaceId,
    connectionId,
    kind: "CONTACT_IMPORT",
    status: In(open),
  });
  if (!connection || !integration.enabled) return null;
  if (connection.connectionStatus !== "CONNECTED" || integration.activeConnectionId !== connectionId) {
    const problems = [`${connection.name} is no longer connected and chosen.`];
    await finish(tx, runs, { counts: {}, problems }, { calls: 0, failed: true });
    return null;
  }
  if (!integration.contactImportEnabled && runs.length === 0) return null;
  for (const run of runs.filter(({ status }) => status === "QUEUED")) {
    await tx.manager.update(SyncRun, { workspaceId, id: run.id }, { status: "RUNNING", startedAt: new Date() });
    record(tx, { topic: "SYNC", runId: run.id, runStatus: "RUNNING" });
  }
  return { connection, integration, runs };
}

/** Takes in the next contacts that are marked; null where none is left. */
async function importDue(
  tx: WorkspaceTransaction,
  connectionId: string,
  choice: ImportChoice,
): Promise<ImportResult | null> {
  const { workspaceId } = tx;
  // One import at a time: whoever waits here finds what is left.
  await tx.manager.query("SELECT 1 FROM contact_mirror WHERE workspace_id = $1 AND connection_id = $2 FOR UPDATE", [
    workspaceId,
    connectionId,
  ]);
  const contacts = await tx.manager.find(XeroContact, {
    where: { workspaceId, connectionId, importDue: true },
    order: { contactId: "ASC" },
    take: contactsAtOnce,
  });
  if (contacts.length === 0) return null;
  const result = await importPage(tx, connectionId, contacts, choice);
  const contactId = In(contacts.map((contact) => contact.contactId));
  await tx.manager.update(XeroContact, { workspaceId, connectionId, contactId }, { importDue: false });
  return result;
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

async function showProgress(
  tx: WorkspaceTransaction,
  runs: SyncRun[],
  { counts, problems }: ImportResult,
): Promise<void> {
  for (const { id } of runs) {
    await tx.manager.update(SyncRun, { workspaceId: tx.workspaceId, id }, { counts, problems });
    record(tx, { topic: "SYNC", runId: id, runStatus: "RUNNING" });
  }
}

async function finish(
  tx: WorkspaceTransaction,
  runs: SyncRun[],
  { counts, problems }: ImportResult,
  { calls, failed }: { calls: number; failed: boolean },
): Promise<void> {
  const { FAILED = 0, CREATED = 0, UPDATED = 0, UNCHANGED = 0, SKIPPED = 0 } = counts;
  const good = CREATED + UPDATED + UNCHANGED + SKIPPED;
  const status =
    failed || (FAILED > 0 && good === 0)
      ? "FAILED"
      : FAILED > 0
        ? "PARTIALLY_SUCCEEDED"
        : good > 0
          ? "SUCCEEDED"
          : "NOTHING_TO_DO";
  const now = new Date();
  for (const { id, startedAt } of runs) {
    const ended = { status, counts, problems, startedAt: startedAt ?? now, finishedAt: now, xeroCalls: calls } as const;
    const { affected } = await tx.manager.update(SyncRun, { workspaceId: tx.workspaceId, id, status: In(open) }, ended);
    if (affected === 1) record(tx, { topic: "SYNC", runId: id, runStatus: status });
  }
}
