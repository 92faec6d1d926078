/**
 * From an invoice to what Xero is to be sent: pure, but for one read of all that a batch needs. What is known to fail is found here, before
 * any call: a line without an account or a tax rate that Xero would take, a tax that would come out otherwise, nobody to bill, a day on which the
 * books are closed (Xero itself lets an adviser's connection write there).
 *
 * The order of rules for a line's account: its own, its support item's, the workspace's default. Its tax rate was found by the same order
 * when it was saved.
 */
import { Big } from "big.js";
import { In } from "typeorm";
import { NIL } from "uuid";
import { type WorkspaceTransaction } from "../../database.js";
import { Account } from "../../entities/Account.js";
import { type Connection } from "../../entities/Connection.js";
import { ContactLink } from "../../entities/ContactLink.js";
import { type LineAmountTypes } from "../../entities/enums.js";
import { type Integration } from "../../entities/Integration.js";
import { Invoice } from "../../entities/Invoice.js";
import { LineItem } from "../../entities/LineItem.js";
import { Participant } from "../../entities/Participant.js";
import { SupportItem } from "../../entities/SupportItem.js";
import { SupportItemPrice } from "../../entities/SupportItemPrice.js";
import { type SyncError } from "../../entities/SyncError.js";
import { TaxRateMapping } from "../../entities/TaxRateMapping.js";
import { XeroTaxRate } from "../../entities/XeroTaxRate.js";
import { type InvoiceLinePayload, type InvoicePayload } from "../../xero/payloads.js";
import { accountProblem } from "../accounts.js";
import { priceLimitOn } from "../catalogue/priceLimits.js";
import { groupBy } from "../loading.js";
import { isUsable } from "../TaxRates.js";
import { syncError } from "./syncErrors.js";

/** All that is needed to prepare a batch, read once. */
export interface Materials {
  integration: Integration;
  connection: Connection;
  appUrl: string;
  invoices: Map<string, Invoice>;
  lines: Map<string, LineItem[]>;
  participants: Map<string, Participant>;
  items: Map<string, SupportItem>;
  /** By support item. */
  prices: Map<string, SupportItemPrice[]>;
  accounts: Map<string, Account>;
  /** By participant. */
  links: Map<string, ContactLink>;
  /** The organisation's rate that each of our rates is mapped to. */
  rates: Map<string, XeroTaxRate>;
}

/** What Xero is to be sent. */
export interface Prepared {
  /** Null: to void an invoice its contact does not matter. */
  billed: Participant | null;
  /** Still without its contact. */
  payload: InvoicePayload;
  /** What a person should know, though it does not keep the invoice back. */
  warnings: string[];
}

const byId = <T extends { id: string }>(rows: T[]): Map<string, T> => new Map(rows.map((row) => [row.id, row]));

/** Reads what preparing these invoices takes: a fixed number of statements, however many they are. */
export async function readMaterials(
  tx: WorkspaceTransaction,
  { integration, connection, appUrl }: Pick<Materials, "integration" | "connection" | "appUrl">,
  invoiceIds: string[],
): Promise<Materials> {
  const { workspaceId } = tx;
  const of = { workspaceId, connectionId: connection.id };
  const invoices = await tx.manager.findBy(Invoice, { workspaceId, id: In(invoiceIds) });
  const lines = await tx.manager.find(LineItem, {
    where: { workspaceId, invoiceId: In(invoiceIds) },
    order: { invoiceId: "ASC", position: "ASC" },
  });
  const participants = await tx.manager.findBy(Participant, {
    workspaceId,
    id: In(invoices.map((i) => i.participantId)),
  });
  const managers = await tx.manager.findBy(Participant, {
    workspaceId,
    id: In([...participants.flatMap(({ planManagerId }) => planManagerId ?? []), integration.ndiaId ?? NIL]),
  });
  const links = await tx.manager.findBy(ContactLink, {
    ...of,
    participantId: In([...participants, ...managers].map(({ id }) => id)),
  });
  const items = await tx.manager.findBy(SupportItem, {
    workspaceId,
    id: In(lines.flatMap((l) => l.supportItemId ?? [])),
  });
  const prices = await tx.manager.findBy(SupportItemPrice, {
    workspaceId,
    supportItemId: In(items.filter(({ priceLimit }) => priceLimit === null).map(({ id }) => id)),
  });
  const accounts = await tx.manager.findBy(Account, of);
  const theirs = new Map((await tx.manager.findBy(XeroTaxRate, of)).map((rate) => [rate.taxType, rate]));
  const mappings = await tx.manager.findBy(TaxRateMapping, of);
  return {
    integration,
    connection,
    appUrl,
    invoices: byId(invoices),
    lines: groupBy(lines, ({ invoiceId }) => invoiceId),
    participants: byId([...participants, ...managers]),
    links: new Map(links.map((link) => [link.participantId, link])),
    items: byId(items),
    prices: groupBy(prices, ({ supportItemId }) => supportItemId),
    accounts: new Map(accounts.map((account) => [account.accountId, account])),
    rates: new Map(
      mappings.flatMap(({ taxRateId, taxType }) =>
        theirs.has(taxType) ? [[taxRateId, theirs.get(taxType) as XeroTaxRate] as const] : [],
      ),
    ),
  };
}

/** The address of an invoice in the platform, which Xero shows as its link; no other invoice has it, so it proves that a found one is ours. */
function invoiceUrl(appUrl: string, invoiceId: string): string {
  return `${appUrl}/invoices/${invoiceId}`;
}

const wireTypes: Record<LineAmountTypes, "Exclusive" | "Inclusive" | "NoTax"> = {
  EXCLUSIVE: "Exclusive",
  INCLUSIVE: "Inclusive",
  NO_TAX: "NoTax",
};

/** What Xero is to be sent so that it has the invoice as it is here, and whom it bills; or why it can't be sent. */
export function prepareInvoice(
  materials: Materials,
  invoice: Invoice,
): (Prepared & { billed: Participant }) | SyncError {
  const { connection, integration, appUrl } = materials;
  const billed = billedParty(materials, invoice);
  if ("code" in billed) return billed;
  const locked = checkLock(materials, invoice);
  if (locked) return locked;
  if (connection.baseCurrency !== null && invoice.currency !== connection.baseCurrency) {
    return syncError(
      "INVALID_INVOICE",
      `The invoice is in ${invoice.currency}, and ${connection.name} keeps its books in ${connection.baseCurrency}.`,
      `Save the invoice in ${connection.baseCurrency}, then sync it again.`,
    );
  }
  const lines: InvoiceLinePayload[] = [...billed.heading];
  for (const line of materials.lines.get(invoice.id) ?? []) {
    const wireLine = prepareLine(materials, invoice, line);
    if ("code" in wireLine) return wireLine;
    lines.push(wireLine);
  }
  return {
    billed: billed.participant,
    payload: {
      invoiceId: invoice.xeroId ?? undefined,
      invoiceNumber: integration.numbering === "OUR_NUMBERS" ? invoice.number : undefined,
      reference: invoice.number,
      url: invoiceUrl(appUrl, invoice.id),
      date: invoice.date,
      dueDate: invoice.dueDate,
      // One that is there keeps its status: a person may have approved it in Xero.
      status: invoice.xeroId === null ? integration.initialInvoiceStatus : undefined,
      lineAmountTypes: wireTypes[invoice.lineAmountTypes],
      currencyCode: invoice.currency,
      lines,
    },
    warnings: [
      ...(invoice.connectionId === null || invoice.connectionId === connection.id
        ? []
        : [`It was meant for another organisation before, which refused it; it went to ${connection.name}.`]),
      ...(materials.lines.get(invoice.id) ?? []).flatMap((line) => overLimit(materials, invoice, line) ?? []),
    ],
  };
}

/** Where the line asks for more than the price limit of its service date. */
function overLimit({ items, prices }: Materials, invoice: Invoice, line: LineItem): string | null {
  const item = items.get(line.supportItemId ?? "");
  if (!item) return null;
  const day = line.serviceDate ?? invoice.date;
  const limit = priceLimitOn(item, prices.get(item.id) ?? [], day);
  if (limit === null || !new Big(line.unitAmount).gt(limit)) return null;
  return `Line ${line.position} (${item.itemNumber}): ${line.unitAmount} is above the price limit of ${limit} on ${day}.`;
}

/** What ends the invoice in Xero: a draft is deleted there, an approved one voided; or why it can't be sent. */
export function prepareVoid(materials: Materials, invoice: Invoice): Prepared | SyncError {
  const { xeroId, xeroStatus } = invoice;
  const status = xeroStatus === "DRAFT" || xeroStatus === "SUBMITTED" ? "DELETED" : "VOIDED";
  return (
    checkLock(materials, invoice) ?? {
      billed: null,
      payload: { invoiceId: xeroId ?? undefined, status },
      warnings: invoice.syncWarnings,
    }
  );
}

function checkLock({ connection }: Materials, { date }: Invoice): SyncError | null {
  const lockedUntil = [connection.periodLockDate, connection.endOfYearLockDate].filter((day) => day !== null).sort();
  const last = lockedUntil.at(-1);
  if (last === undefined || date > last) return null;
  return syncError(
    "PERIOD_LOCKED",
    `The invoice is dated ${date}, and the books of ${connection.name} are closed up to ${last}.`,
    "Date the invoice later, or have the lock date moved in Xero and refresh its data here; the invoice is then queued by itself.",
  );
}

function billedParty(
  { participants, integration }: Materials,
  invoice: Invoice,
): { participant: Participant; heading: InvoiceLinePayload[] } | SyncError {
  const participant = participants.get(invoice.participantId);
  if (!participant) throw new Error(`invoice ${invoice.id} has no participant`);
  const { planManagement } = participant;
  if (planManagement === "AGENCY_MANAGED" && !integration.sendAgencyManaged) {
    return syncError(
      "INVALID_INVOICE",
      "The participant is agency-managed: the NDIA is billed through its own portal, not through Xero.",
      "Claim it from the NDIA; or have such invoices sent to the NDIA (setting sendAgencyManaged), or correct the participant's plan management, and sync the invoice again.",
    );
  }
  if (planManagement !== "PLAN_MANAGED" && planManagement !== "AGENCY_MANAGED") return { participant, heading: [] };
  const payer = planManagement === "AGENCY_MANAGED" ? integration.ndiaId : participant.planManagerId;
  const manager = participants.get(payer ?? "");
  if (!manager) {
    return syncError(
      "INVALID_INVOICE",
      "The participant is plan-managed, and no plan manager is named: there is nobody to bill.",
      "Name the participant's plan manager, then sync the invoice again.",
    );
  }
  const ndisNumber = participant.ndisNumber === null ? "" : `, NDIS number ${participant.ndisNumber}`;
  return { participant: manager, heading: [{ description: `Participant: ${participant.name}${ndisNumber}` }] };
}

function prepareLine(materials: Materials, invoice: Invoice, line: LineItem): InvoiceLinePayload | SyncError {
  const item = materials.items.get(line.supportItemId ?? "");
  const accountId = line.salesAccountId ?? item?.salesAccountId ?? materials.connection.salesAccountId;
  const account = materials.accounts.get(accountId ?? "");
  const invalid = (problem: string) =>
    syncError(
      "INVALID_MAPPING",
      `Line ${line.position} (${line.description.slice(0, 80)}): ${problem}.`,
      "Choose an account and a tax rate that the organisation has, for the line, its support item or the workspace, then sync the invoice again.",
    );
  const broken = (mapping: string): SyncError => ({ ...invalid(mapping), brokenMapping: mapping });
  if (!account) return invalid("it has no sales account in the organisation");
  const problem = accountProblem(account, "REVENUE_ACCOUNTS");
  if (problem !== null) return broken(problem);
  const rate = materials.rates.get(line.taxRateId ?? "");
  if (invoice.lineAmountTypes !== "NO_TAX") {
    if (line.taxRateId === null) return invalid("it was saved without a tax rate; save it again with one");
    if (!rate) return invalid("its tax rate is not mapped to one of the organisation");
    if (!isUsable(rate)) return broken(`the tax rate ${rate.name} can't be used on sales in Xero any more`);
    if (!new Big(rate.effectiveRate).eq(line.taxPercent)) {
      return invalid(`it was saved with ${line.taxPercent} % tax, and ${rate.name} in Xero is ${rate.effectiveRate} %`);
    }
  }
  return {
    description: line.description,
    quantity: line.quantity,
    unitAmount: line.unitAmount,
    accountCode: account.code ?? undefined,
    taxType: rate?.taxType,
  };
}
