/**
 * The copy of what an organisation's settings page needs: its name and currency, its accounts and its tax rates. Read when it is connected and
 * when somebody asks; what Xero no longer lists stays here as DELETED, so that a mapping to it is seen to be broken.
 */
import { type Database, type WorkspaceTransaction } from "../database.js";
import { Account } from "../entities/Account.js";
import { Connection, type XeroContactGroup } from "../entities/Connection.js";
import { type XeroAccountUse } from "../entities/enums.js";
import type { Integration } from "../entities/Integration.js";
import { XeroTaxRate } from "../entities/XeroTaxRate.js";
import { AppError } from "../errors.js";
import { decimalText } from "../money.js";
import { type Viewer } from "../viewer.js";
import { type XeroAccountAnswer, type XeroOrganisationAnswer, type XeroTaxRateAnswer } from "../xero/answers.js";
import { XeroFailure } from "../xero/XeroFailure.js";
import { type XeroGateway } from "../xero/XeroGateway.js";
import { accountProblem, findActiveConnection } from "./accounts.js";
import { loadIntegration } from "./Integrations.js";
import { find } from "./loading.js";
import { requeuePayments } from "./payments/pushQueue.js";
import { brokenMapping, queueMended } from "./sync/queueRun.js";
import { isUsable } from "./TaxRates.js";
import { switchedOff, unavailable } from "./unavailable.js";

/** Xero names time zones as Windows does, without spaces; those where NDIS providers and their neighbours are. */
const timeZones: Record<string, string | undefined> = {
  AUSEASTERNSTANDARDTIME: "Australia/Sydney",
  EAUSTRALIASTANDARDTIME: "Australia/Brisbane",
  CENAUSTRALIASTANDARDTIME: "Australia/Adelaide",
  AUSCENTRALSTANDARDTIME: "Australia/Darwin",
  WAUSTRALIASTANDARDTIME: "Australia/Perth",
  TASMANIASTANDARDTIME: "Australia/Hobart",
  AUSCENTRALWSTANDARDTIME: "Australia/Eucla",
  LORDHOWESTANDARDTIME: "Australia/Lord_Howe",
  NORFOLKSTANDARDTIME: "Pacific/Norfolk",
  NEWZEALANDSTANDARDTIME: "Pacific/Auckland",
};

const freshMs = 3_600_000;

export class OrganisationData {
  constructor(
    private readonly database: Database,
    private readonly gateway: XeroGateway,
  ) {}

  /** Reads the active organisation's data now. Throws XERO_DISABLED, XERO_NOT_CONNECTED, XERO_RATE_LIMITED or XERO_UNAVAILABLE. */
  async refreshActive(viewer: Viewer): Promise<Integration> {
    const connection = await this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      if (!(await loadIntegration(tx)).enabled) throw switchedOff();
      return findActiveConnection(tx);
    });
    if (connection?.connectionStatus !== "CONNECTED") {
      throw new AppError("XERO_NOT_CONNECTED", "No Xero organisation is connected and chosen.");
    }
    try {
      await this.refresh(connection);
      await this.refreshGroups(connection);
    } catch (error) {
      throw error instanceof XeroFailure ? unavailable(error) : error;
    }
    return this.database.inWorkspace(viewer.workspaceId, (tx) => loadIntegration(tx));
  }

  /** Reads one organisation's data and replaces the copy, unless a read that began later already has. Throws XeroFailure. */
  async refresh(connection: Connection): Promise<void> {
    const dataReadAt = new Date();
    const [organisation, accounts, taxRates] = await this.gateway.call(connection, (accounting) =>
      Promise.all([accounting.fetchOrganisation(), accounting.fetchAccounts(), accounting.fetchTaxRates()]),
    );
    await this.database.inWorkspace(connection.workspaceId, async (tx) => {
      const present = await find(tx, Connection, connection.id, { lock: true });
      if (present?.dataReadAt && present.dataReadAt > dataReadAt) return;
      await keepOrganisation(tx, connection.id, organisation);
      await keepAccounts(tx, connection.id, accounts);
      await keepTaxRates(tx, connection.id, taxRates);
      await tx.manager.update(Connection, { workspaceId: tx.workspaceId, id: connection.id }, { dataReadAt });
    });
  }

  /** Reads the organisation's data again where the copy is an hour old, so that nothing is sent by rules that hold no more. Throws XeroFailure. */
  async refreshWhereOld(connection: Connection): Promise<void> {
    const { dataReadAt } = connection;
    if (dataReadAt === null || Date.now() - dataReadAt.getTime() > freshMs) await this.refresh(connection);
  }

  /** Reads the organisation itself again, which is the lightest call there is. Throws XeroFailure. */
  async refreshOrganisation(connection: Connection): Promise<void> {
    const organisation = await this.gateway.call(connection, (accounting) => accounting.fetchOrganisation(), {
      background: true,
    });
    await this.database.inWorkspace(connection.workspaceId, (tx) => keepOrganisation(tx, connection.id, organisation));
  }

  /** The job's form of `refresh`: does nothing where the connection is gone or the switch is off. */
  async refreshById(workspaceId: string, connectionId: string): Promise<void> {
    const connection = await this.database.inWorkspace(workspaceId, async (tx) =>
      (await loadIntegration(tx)).enabled ? find(tx, Connection, connectionId) : null,
    );
    if (connection?.connectionStatus !== "CONNECTED") return;
    // A minute ago is fresh, if it was after the consent: the consent's own read most likely came first.
    const { dataReadAt, connectedAt } = connection;
    if (dataReadAt !== null && dataReadAt > connectedAt && Date.now() - dataReadAt.getTime() < 60_000) return;
    await this.refresh(connection);
  }

  /** The active organisation's contact groups as last read; read now where they never were. Null where that can't be done. */
  async contactGroups(viewer: Viewer): Promise<XeroContactGroup[] | null> {
    const { connection, enabled } = await this.database.inWorkspace(viewer.workspaceId, async (tx) => ({
      connection: await findActiveConnection(tx),
      enabled: (await loadIntegration(tx)).enabled,
    }));
    if (!connection) return null;
    if (connection.contactGroups || connection.connectionStatus !== "CONNECTED" || !enabled)
      return connection.contactGroups;
    try {
      return await this.refreshGroups(connection);
    } catch (error) {
      if (error instanceof XeroFailure) return null;
      throw error;
    }
  }

  private async refreshGroups(connection: Connection): Promise<XeroContactGroup[]> {
    const contactGroups = await this.gateway.call(connection, (accounting) => accounting.fetchContactGroups());
    const key = { workspaceId: connection.workspaceId, id: connection.id };
    await this.database.inWorkspace(connection.workspaceId, (tx) =>
      tx.manager.update(Connection, key, { contactGroups }),
    );
    return contactGroups;
  }

  /**
   * The active organisation's accounts that may be used so, by code; null when there is no copy of them yet. Throws ACCOUNT_NOT_ALLOWED, with what to
   * do in Xero, where none takes payments.
   */
  async accounts(viewer: Viewer, use: XeroAccountUse): Promise<Account[] | null> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const connection = await findActiveConnection(tx);
      if (!connection?.dataReadAt) return null;
      const accounts = await tx.manager.find(Account, {
        where: { workspaceId: tx.workspaceId, connectionId: connection.id },
        order: { code: "ASC", name: "ASC" },
      });
      const usable = accounts.filter((account) => accountProblem(account, use) === null);
      if (use === "PAYMENT_ACCOUNTS" && usable.length === 0) throw noPaymentAccount(connection);
      return usable;
    });
  }
}

function noPaymentAccount({ name }: Connection): AppError {
  return new AppError(
    "ACCOUNT_NOT_ALLOWED",
    `No account of ${name} takes payments. In Xero, open the chart of accounts and an account that is no bank account, tick "Enable payments to this account" and save; then refresh Xero's data here (refreshXeroData).`,
  );
}

async function keepOrganisation(
  tx: WorkspaceTransaction,
  id: string,
  organisation: XeroOrganisationAnswer,
): Promise<void> {
  const before = await find(tx, Connection, id);
  const { periodLockDate = null, endOfYearLockDate = null } = organisation;
  await tx.manager.update(
    Connection,
    { workspaceId: tx.workspaceId, id },
    {
      periodLockDate,
      endOfYearLockDate,
      name: organisation.name,
      baseCurrency: organisation.baseCurrency ?? null,
      isDemoCompany: organisation.isDemoCompany,
      shortCode: organisation.shortCode ?? null,
      timeZone: timeZones[organisation.timeZone?.toUpperCase() ?? ""] ?? null,
    },
  );
  if (before?.periodLockDate !== periodLockDate || before.endOfYearLockDate !== endOfYearLockDate) {
    await queueMended(tx, ["PERIOD_LOCKED"]);
    await requeuePayments(tx, ["PERIOD_LOCKED"]);
  }
}

async function keepAccounts(
  tx: WorkspaceTransaction,
  connectionId: string,
  accounts: XeroAccountAnswer[],
): Promise<void> {
  const key = { workspaceId: tx.workspaceId, connectionId };
  const usable = async (): Promise<Map<string, boolean>> =>
    new Map(
      (await tx.manager.findBy(Account, key)).map((account) => [
        account.accountId,
        accountProblem(account, "REVENUE_ACCOUNTS") === null,
      ]),
    );
  const before = await usable();
  await tx.manager.update(Account, key, { status: "DELETED" });
  await tx.manager.upsert(
    Account,
    accounts.map((account) => ({
      ...key,
      accountId: account.accountId,
      code: account.code ?? null,
      name: account.name,
      type: account.type,
      taxType: account.taxType ?? null,
      class: account.class,
      status: account.status,
      paymentsEnabled: account.enablePaymentsToAccount,
      systemAccount: account.systemAccount ?? null,
    })),
    ["workspaceId", "connectionId", "accountId"],
  );
  await queueIfMended(tx, before, await usable());
}

async function keepTaxRates(tx: WorkspaceTransaction, connectionId: string, rates: XeroTaxRateAnswer[]): Promise<void> {
  const key = { workspaceId: tx.workspaceId, connectionId };
  const usable = async (): Promise<Map<string, boolean>> =>
    new Map((await tx.manager.findBy(XeroTaxRate, key)).map((rate) => [rate.taxType, isUsable(rate)]));
  const before = await usable();
  await tx.manager.update(XeroTaxRate, key, { status: "DELETED" });
  await tx.manager.upsert(
    XeroTaxRate,
    rates.map((rate) => ({
      ...key,
      taxType: rate.taxType,
      name: rate.name,
      effectiveRate: decimalText(rate.effectiveRate),
      components: rate.components.map((part) => ({ ...part, rate: decimalText(part.rate) })),
      status: rate.status,
      appliesToRevenue: rate.canApplyToRevenue,
    })),
    ["workspaceId", "connectionId", "taxType"],
  );
  await queueIfMended(tx, before, await usable());
}

/** Queues what was kept back for want of a mapping where something that could not be used before can be now. */
async function queueIfMended(
  tx: WorkspaceTransaction,
  before: Map<string, boolean>,
  after: Map<string, boolean>,
): Promise<void> {
  if ([...after].some(([id, isUsableNow]) => isUsableNow && before.get(id) === false))
    await queueMended(tx, brokenMapping);
}
