/**
 * Which of the organisation's accounts may be used for what. Lines: active, class REVENUE, and no system account. Payments: active,
 * payments enabled, not a bank account (real bank accounts report payments as not enabled, though Xero takes payments there).
 */
import { type WorkspaceTransaction } from "../database.js";
import { Account } from "../entities/Account.js";
import { Connection } from "../entities/Connection.js";
import { type XeroAccountUse } from "../entities/enums.js";
import { Integration } from "../entities/Integration.js";
import { AppError, notFound } from "../errors.js";
import { checkId } from "./loading.js";

/** Why the account may not be used so; null: it may. */
export function accountProblem(account: Account, use: XeroAccountUse): string | null {
  if (account.status !== "ACTIVE") return `the account ${account.name} is ${account.status.toLowerCase()} in Xero`;
  if (use === "PAYMENT_ACCOUNTS") {
    if (account.type === "BANK")
      return `${account.name} is a bank account; choose one with payments enabled that is not`;
    return account.paymentsEnabled
      ? null
      : `payments are not enabled for ${account.name}: in Xero, open its account in the chart of accounts and tick "Enable payments to this account"`;
  }
  if (account.class !== "REVENUE") return `${account.name} is no revenue account`;
  if (account.systemAccount) return `${account.name} is one of Xero's own system accounts`;
  return account.code === null ? `${account.name} has no code in Xero's chart of accounts; give it one` : null;
}

/** The connection that syncs use, or null; whatever its status. */
export async function findActiveConnection(tx: WorkspaceTransaction): Promise<Connection | null> {
  const integration = await tx.manager.findOneByOrFail(Integration, { workspaceId: tx.workspaceId });
  if (integration.activeConnectionId === null) return null;
  return tx.manager.findOneBy(Connection, { workspaceId: tx.workspaceId, id: integration.activeConnectionId });
}

/** The active organisation's account, checked for its use. Throws XERO_NOT_CONNECTED, NOT_FOUND or ACCOUNT_NOT_ALLOWED. */
export async function loadAccount(
  tx: WorkspaceTransaction,
  accountId: string,
  use: XeroAccountUse,
  field: string,
): Promise<Account> {
  const connection = await findActiveConnection(tx);
  if (!connection)
    throw new AppError(
      "XERO_NOT_CONNECTED",
      "Connect to Xero and choose an organisation first: accounts are chosen from its list.",
    );
  const key = { workspaceId: tx.workspaceId, connectionId: connection.id, accountId: checkId(accountId, field) };
  const account = await tx.manager.findOneBy(Account, key);
  if (!account) throw notFound("account in the active organisation");
  const problem = accountProblem(account, use);
  if (problem !== null) throw new AppError("ACCOUNT_NOT_ALLOWED", `Not allowed here: ${problem}.`);
  return account;
}

/** The active organisation's account if lines may use it. Throws as `loadAccount`. */
export async function loadRevenueAccount(tx: WorkspaceTransaction, accountId: string, field: string): Promise<Account> {
  return loadAccount(tx, accountId, "REVENUE_ACCOUNTS", field);
}
