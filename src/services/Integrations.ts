/** The workspace's settings of the integration: what they are, whether they suffice for a sync, and their changes. */
import { v7 as uuidv7 } from "uuid";
import { type Database, type WorkspaceTransaction } from "../database.js";
import { Account } from "../entities/Account.js";
import { Connection } from "../entities/Connection.js";
import { type SetupStep } from "../entities/enums.js";
import { Integration } from "../entities/Integration.js";
import { Participant } from "../entities/Participant.js";
import { TaxRate } from "../entities/TaxRate.js";
import { TaxRateMapping } from "../entities/TaxRateMapping.js";
import { AppError, badInput } from "../errors.js";
import { type Viewer } from "../viewer.js";
import { enqueue, wakeConnection } from "../jobs/queue.js";
import { findActiveConnection, loadAccount, loadRevenueAccount } from "./accounts.js";
import { noteActivity } from "./connectionStatus.js";
import { markAll } from "./contacts/importPage.js";
import { load } from "./loading.js";
import { checkedChanges, type UpdateIntegrationInput } from "./integrationInput.js";
import { requeuePayments, stopPushing } from "./payments/pushQueue.js";
import { type Grants } from "../xero/Grants.js";
import { mayPushPayments } from "../xero/scopes.js";
import { brokenMapping, queueMended, queueWhatBecameDue } from "./sync/queueRun.js";
import { nextTick } from "./sync/cron.js";

/** What a sync needs to know once it is certain that it may run. */
export interface ReadyToSync {
  integration: Integration;
  connection: Connection;
}

/** The contact number of the National Disability Insurance Agency, which pays for the agency-managed. */
const ndiaNumber = "NDIA";

/** NDIS is Australia's, so its largest time zone stands in until an organisation is connected. */
const fallbackTimeZone = "Australia/Sydney";

/** What a sync needs: the settings, the organisation that it would use, and which steps of setting up are open. */
export interface Readiness {
  integration: Integration;
  connection: Connection | null;
  missing: SetupStep[];
}

export class Integrations {
  /** Workspaces whose settings row this process has seen, so that only a first request looks. */
  private readonly known = new Set<string>();

  constructor(
    private readonly database: Database,
    private readonly grants: Pick<Grants, "scopes">,
    private readonly webhookConfigured: boolean,
  ) {}

  /** Makes the workspace's settings and first tax rates when it first appears; repeats change nothing. */
  async ensure(workspaceId: string): Promise<void> {
    if (this.known.has(workspaceId)) return;
    await this.database.inWorkspace(workspaceId, async (tx) => {
      const made = await tx.manager
        .createQueryBuilder()
        .insert()
        .into(Integration)
        .values({ workspaceId })
        .orIgnore()
        .returning("workspace_id")
        .execute();
      if ((made.raw as unknown[]).length > 0) await tx.manager.insert(TaxRate, firstTaxRates(workspaceId));
    });
    this.known.add(workspaceId);
  }

  async load(viewer: Viewer): Promise<Integration> {
    return this.database.inWorkspace(viewer.workspaceId, (tx) => loadIntegration(tx));
  }

  async activeOrganisation(viewer: Viewer): Promise<Connection | null> {
    return this.database.inWorkspace(viewer.workspaceId, (tx) => findActiveConnection(tx));
  }

  /** The account chosen for lines or payments in the active organisation, or null. */
  async chosenAccount(viewer: Viewer, which: "salesAccountId" | "paymentAccountId"): Promise<Account | null> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const connection = await findActiveConnection(tx);
      const accountId = connection?.[which];
      if (!connection || !accountId) return null;
      return tx.manager.findOneBy(Account, { workspaceId: tx.workspaceId, connectionId: connection.id, accountId });
    });
  }

  /** The time zone in which an instant becomes a day: the workspace's choice, else the organisation's. */
  async timeZone(viewer: Viewer, integration: Integration): Promise<string> {
    return this.database.inWorkspace(viewer.workspaceId, (tx) => timeZoneIn(tx, integration));
  }

  async missingSetup(viewer: Viewer): Promise<SetupStep[]> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) =>
      this.missingIn(tx, await loadIntegration(tx), await findActiveConnection(tx)),
    );
  }

  /** Changes the settings that are given. Throws BAD_USER_INPUT, NOT_FOUND, ACCOUNT_NOT_ALLOWED or XERO_NOT_CONNECTED. */
  async update(viewer: Viewer, input: UpdateIntegrationInput): Promise<Integration> {
    const changes = checkedChanges(input);
    if (input.pushPayments) await this.requirePushScope(viewer);
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const key = { workspaceId: tx.workspaceId };
      if (input.defaultTaxRateId != null)
        await load(tx, TaxRate, input.defaultTaxRateId, { thing: "tax rate", field: "input.defaultTaxRateId" });
      const wasOff = !(await loadIntegration(tx)).enabled;
      await this.chooseAccounts(tx, input);
      if (Object.keys(changes).length > 0) await tx.manager.update(Integration, key, changes);
      // What waited while the switch was off goes on at once.
      if (input.enabled && wasOff) await resume(tx);
      if (input.schedule || input.timeZone !== undefined) await this.scheduleNext(tx);
      if (input.contactImport) await importAll(tx);
      await noteActivity(tx);
      if (input.sendAgencyManaged) {
        await ensureNdia(tx);
        await queueMended(tx, ["INVALID_INVOICE"]);
      }
      if (input.pushPayments === false) await stopPushing(tx);
      if (input.paymentAccountId != null) await requeuePayments(tx, ["INVALID_MAPPING"]);
      if (input.salesAccountId != null || input.numbering != null) {
        await queueMended(tx, input.numbering == null ? brokenMapping : [...brokenMapping, "NUMBER_TAKEN"]);
      }
      return loadIntegration(tx);
    });
  }

  /** Throws the contract's refusals in its order, unless a sync may run now. */
  async requireReady(tx: WorkspaceTransaction): Promise<ReadyToSync> {
    const integration = await loadIntegration(tx);
    if (!integration.enabled)
      throw new AppError("XERO_DISABLED", "The Xero integration is switched off. Switch it on in its settings.");
    const connection = await findActiveConnection(tx);
    if (connection?.connectionStatus !== "CONNECTED") {
      throw new AppError(
        "XERO_NOT_CONNECTED",
        connection?.connectionStatus === "RECONNECT_REQUIRED"
          ? `The link to ${connection.name} must be renewed: an administrator has to connect to Xero again.`
          : "No Xero organisation is connected and chosen. An administrator has to connect to Xero.",
      );
    }
    if (!this.webhookConfigured) {
      throw new AppError(
        "XERO_WEBHOOK_NOT_CONFIGURED",
        "No webhook key is configured (XERO_WEBHOOK_KEYS): payments could not come back.",
      );
    }
    const missingSetup = await this.missingIn(tx, integration, connection);
    if (missingSetup.length > 0) {
      throw new AppError("SETUP_INCOMPLETE", `Setting up is not finished: ${missingSetup.join(", ")}.`, {
        missingSetup,
      });
    }
    return { integration, connection };
  }

  /** What a sync needs, and what of it is missing still; for those that ask without wanting a refusal. */
  async readiness(tx: WorkspaceTransaction): Promise<Readiness> {
    const integration = await loadIntegration(tx);
    const connection = await findActiveConnection(tx);
    return { integration, connection, missing: await this.missingIn(tx, integration, connection) };
  }

  /** The time zone in which the schedule's cron expression is meant. */
  async scheduleTimeZone(tx: WorkspaceTransaction, integration: Integration): Promise<string> {
    return integration.scheduleTimeZone ?? timeZoneIn(tx, integration);
  }

  private async scheduleNext(tx: WorkspaceTransaction): Promise<void> {
    const integration = await loadIntegration(tx);
    const { scheduleEnabled, scheduleCron } = integration;
    const scheduleNextRunAt = scheduleEnabled
      ? nextTick(scheduleCron, await this.scheduleTimeZone(tx, integration))
      : null;
    await tx.manager.update(Integration, { workspaceId: tx.workspaceId }, { scheduleNextRunAt });
  }

  private async missingIn(
    tx: WorkspaceTransaction,
    integration: Integration,
    active: Connection | null,
  ): Promise<SetupStep[]> {
    const missing: SetupStep[] = [];
    if (!integration.enabled) missing.push("ENABLE");
    if (active?.connectionStatus !== "CONNECTED") {
      const anyConnected = await tx.manager.existsBy(Connection, {
        workspaceId: tx.workspaceId,
        connectionStatus: "CONNECTED",
      });
      missing.push(anyConnected ? "SELECT_ORGANISATION" : "CONNECT");
    }
    if (!active?.salesAccountId) missing.push("SALES_ACCOUNT");
    if (!active?.paymentAccountId) missing.push("PAYMENT_ACCOUNT");
    if (!active || !(await ratesMapped(tx, integration, active))) missing.push("TAX_RATES");
    if (!this.webhookConfigured) missing.push("WEBHOOK");
    return missing;
  }

  /** Payments can be sent only by a consent that allows it; asked for apart from the rest, which works without. */
  private async requirePushScope(viewer: Viewer): Promise<void> {
    const connection = await this.activeOrganisation(viewer);
    if (connection?.connectionStatus !== "CONNECTED")
      throw new AppError("XERO_NOT_CONNECTED", "Connect to Xero and choose an organisation first.");
    if (mayPushPayments(await this.grants.scopes(connection.xeroUserId))) return;
    throw badInput({
      field: "input.pushPayments",
      reason: `can't be switched on: the consent for ${connection.name} lacks the scope accounting.payments. Add it to XERO_SCOPES, then connect to Xero again`,
    });
  }

  private async chooseAccounts(tx: WorkspaceTransaction, input: UpdateIntegrationInput): Promise<void> {
    const { salesAccountId, paymentAccountId } = input;
    if (salesAccountId === undefined && paymentAccountId === undefined) return;
    if (salesAccountId != null) await loadRevenueAccount(tx, salesAccountId, "input.salesAccountId");
    if (paymentAccountId != null) await loadAccount(tx, paymentAccountId, "PAYMENT_ACCOUNTS", "input.paymentAccountId");
    const connection = await findActiveConnection(tx);
    if (!connection) return; // Only null can come here: there is nothing to clear.
    await tx.manager.update(
      Connection,
      { workspaceId: tx.workspaceId, id: connection.id },
      {
        ...(salesAccountId !== undefined && { salesAccountId }),
        ...(paymentAccountId !== undefined && { paymentAccountId }),
      },
    );
  }
}

/** Other contacts are chosen now, so all are looked at; the job knows whether that is wanted. */
async function importAll(tx: WorkspaceTransaction): Promise<void> {
  const { workspaceId } = tx;
  const connection = await findActiveConnection(tx);
  if (!connection) return;
  await markAll(tx, connection.id);
  enqueue(tx, "import", { workspaceId, connectionId: connection.id });
}

/** Makes whoever is billed for the agency-managed, unless it is there. */
async function ensureNdia(tx: WorkspaceTransaction): Promise<void> {
  const { workspaceId } = tx;
  if ((await loadIntegration(tx)).ndiaId !== null) return;
  const ndia = {
    contactNumber: ndiaNumber,
    name: "National Disability Insurance Agency",
    planManagement: "NOT_NDIS" as const,
  };
  await tx.manager
    .createQueryBuilder()
    .insert()
    .into(Participant)
    .values({ workspaceId, id: uuidv7(), ...ndia, updatedAt: new Date() })
    .orIgnore()
    .execute();
  const { id } = await tx.manager.findOneByOrFail(Participant, { workspaceId, contactNumber: ndiaNumber });
  await tx.manager.update(Integration, { workspaceId }, { ndiaId: id });
}

/** The time zone in which an instant becomes a day. */
async function timeZoneIn(tx: WorkspaceTransaction, { timeZone }: Integration): Promise<string> {
  return timeZone ?? (await findActiveConnection(tx))?.timeZone ?? fallbackTimeZone;
}

/** What day it is for the workspace ("YYYY-MM-DD"). */
export async function today(tx: WorkspaceTransaction): Promise<string> {
  return dayOf(tx, new Date());
}

/** Which day the instant is for the workspace ("YYYY-MM-DD"). */
export async function dayOf(tx: WorkspaceTransaction, instant: Date): Promise<string> {
  const [row] = await tx.manager.query<{ day: string }[]>(
    "SELECT ($2::timestamptz AT TIME ZONE $1)::date::text AS day",
    [await timeZoneIn(tx, await loadIntegration(tx)), instant],
  );
  if (!row) throw new Error("the database does not tell the day");
  return row.day;
}

/** The workspace's settings. */
export async function loadIntegration(tx: WorkspaceTransaction): Promise<Integration> {
  return tx.manager.findOneByOrFail(Integration, { workspaceId: tx.workspaceId });
}

/** The switch is on: what waited for it goes on, and what failed for want of it is queued. */
async function resume(tx: WorkspaceTransaction): Promise<void> {
  const { workspaceId } = tx;
  const connections = await tx.manager.findBy(Connection, { workspaceId, connectionStatus: "CONNECTED" });
  for (const { id, dataReadAt, connectedAt } of connections) {
    wakeConnection(tx, workspaceId, id);
    await queueWhatBecameDue(tx, id);
    if (dataReadAt === null || dataReadAt < connectedAt) enqueue(tx, "refresh", { workspaceId, connectionId: id });
  }
}

/** Whether invoices can find their tax in Xero: some rate is mapped, and the default one if there is one. */
async function ratesMapped(
  tx: WorkspaceTransaction,
  integration: Integration,
  connection: Connection,
): Promise<boolean> {
  return tx.manager.existsBy(TaxRateMapping, {
    workspaceId: tx.workspaceId,
    connectionId: connection.id,
    ...(integration.defaultTaxRateId !== null && { taxRateId: integration.defaultTaxRateId }),
  });
}

function firstTaxRates(workspaceId: string): TaxRate[] {
  const rate = (name: string, percent: string): TaxRate => ({
    workspaceId,
    id: uuidv7(),
    name,
    effectiveRate: percent,
    components: [{ name: "GST", rate: percent, compound: false }],
  });
  return [rate("GST free", "0"), rate("GST 10 %", "10")];
}
