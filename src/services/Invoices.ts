/**
 * Invoices as the platform keeps them: saved as drafts, approved, listed. What they come to is computed here when they are saved; what is
 * paid of them is `payments/`'s business, and their way to Xero the sync's.
 */
import { Field, ID, InputType } from "type-graphql";
import { type SelectQueryBuilder } from "typeorm";
import { v7 as uuidv7 } from "uuid";
import { type Database, violates, type WorkspaceTransaction } from "../database.js";
import type { InvoiceOrder } from "../entities/enums.js";
import { InvoiceStatus, SyncErrorCode, SyncStatus } from "../entities/enums.js";
import { Integration } from "../entities/Integration.js";
import { Invoice } from "../entities/Invoice.js";
import { LineItem } from "../entities/LineItem.js";
import { Participant } from "../entities/Participant.js";
import { AppError, badInput } from "../errors.js";
import { decimalText, moneyText } from "../money.js";
import { DateScalar } from "../scalars.js";
import { record } from "../subscriptions/eventLog.js";
import { type Viewer } from "../viewer.js";
import { findActiveConnection } from "./accounts.js";
import { buildLines, checkInvoiceInput, type SaveInvoiceInput } from "./invoiceInput.js";
import { type Integrations } from "./Integrations.js";
import { checkId, load } from "./loading.js";
import { type ListOrder, type Page, type PageRequest, readPage } from "./paging.js";
import { syncApproved, syncChanged, underWay, voidInvoice } from "./sync/invoiceChanges.js";
import { queueMended, rejectedContent } from "./sync/queueRun.js";

@InputType()
export class InvoiceFilter {
  @Field(() => [InvoiceStatus], { nullable: true })
  status?: InvoiceStatus[] | null;

  @Field(() => [SyncStatus], { nullable: true })
  syncStatus?: SyncStatus[] | null;

  @Field(() => [SyncErrorCode], { nullable: true })
  syncErrorCode?: SyncErrorCode[] | null;

  @Field(() => ID, { nullable: true })
  participantId?: string | null;

  @Field(() => String, { nullable: true, description: "The whole number, whatever the case." })
  number?: string | null;

  @Field(() => DateScalar, { nullable: true })
  dateFrom?: string | null;

  @Field(() => DateScalar, { nullable: true })
  dateTo?: string | null;
}

const byDate: ListOrder<Invoice>["keys"] = [
  { property: "date", column: "date", type: "date" },
  { property: "id", column: "id", type: "uuid" },
];

/** The orders in which invoices are listed. */
export const invoiceOrders: Record<InvoiceOrder, ListOrder<Invoice>> = {
  NEWEST_FIRST: { name: "invoices.newest", direction: "DESC", keys: byDate },
  OLDEST_FIRST: { name: "invoices.oldest", direction: "ASC", keys: byDate },
  RECENTLY_UPDATED: {
    name: "invoices.updated",
    direction: "DESC",
    keys: [
      { property: "updatedAt", column: "updated_at", type: "timestamptz" },
      { property: "id", column: "id", type: "uuid" },
    ],
  },
};

export class Invoices {
  constructor(
    private readonly database: Database,
    private readonly integrations: Integrations,
  ) {}

  /**
   * Creates a DRAFT, or replaces the content of the invoice when an id is given; one that is in Xero is then brought up to date there by itself.
   * A repeat with the same id and content changes nothing else.
   * Throws BAD_USER_INPUT, NOT_FOUND, and INVOICE_LOCKED where the invoice's state forbids the change.
   */
  async save(viewer: Viewer, input: SaveInvoiceInput): Promise<Invoice> {
    checkInvoiceInput(input);
    try {
      return await this.database.inWorkspace(viewer.workspaceId, (tx) => this.saveIn(tx, input, viewer));
    } catch (error) {
      if (!violates(error, "uq_invoice_number")) throw error;
      throw badInput({
        field: "input.number",
        reason: "is another invoice's already; numbers differ by more than case",
      });
    }
  }

  /**
   * Approves a draft, which makes it one that may be synced, and with `syncOnApproval` queues it; an approved one stays as it is. Throws
   * NOT_FOUND or INVOICE_LOCKED, and nothing for want of Xero: that is the invoice's syncError.
   */
  async approve(viewer: Viewer, id: string): Promise<Invoice> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const invoice = await load(tx, Invoice, id, { thing: "invoice", field: "id", lock: true });
      if (invoice.status === "VOIDED") throw new AppError("INVOICE_LOCKED", `Invoice ${invoice.number} is voided.`);
      if (invoice.status !== "DRAFT") return invoice;
      const key = { workspaceId: tx.workspaceId, id: invoice.id };
      await tx.manager.update(Invoice, key, { status: "APPROVED", updatedAt: new Date() });
      await syncApproved(tx, await this.integrations.readiness(tx), { ...invoice, status: "APPROVED" }, viewer);
      return tx.manager.findOneByOrFail(Invoice, key);
    });
  }

  /**
   * Takes an invoice out of the sync, or puts it back; repeats change nothing. Throws NOT_FOUND, and INVOICE_LOCKED for one that is in Xero or
   * on its way there.
   */
  async setIgnored(viewer: Viewer, id: string, ignored: boolean): Promise<Invoice> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const invoice = await load(tx, Invoice, id, { thing: "invoice", field: "id", lock: true });
      if (invoice.xeroId !== null || underWay.includes(invoice.syncStatus)) {
        throw new AppError(
          "INVOICE_LOCKED",
          `Invoice ${invoice.number} is in Xero or on its way there: it can't be taken out of the sync.`,
        );
      }
      const syncStatus = ignored ? "IGNORED" : "NOT_SYNCED";
      if ((invoice.syncStatus === "IGNORED") === ignored) return invoice;
      const key = { workspaceId: tx.workspaceId, id: invoice.id };
      await tx.manager.update(Invoice, key, {
        syncStatus,
        syncError: null,
        nextAttemptAt: null,
        updatedAt: new Date(),
      });
      record(tx, { topic: "SYNC", invoiceId: invoice.id, syncStatus });
      return tx.manager.findOneByOrFail(Invoice, key);
    });
  }

  /**
   * Voids the invoice: here at once where Xero does not have it; else Xero is asked to delete the draft or void the approved one, and it is
   * VOIDED here as soon as that is done. Repeats change nothing. Throws NOT_FOUND, INVOICE_LOCKED for one that is paid or on its way to Xero, and
   * XERO_DISABLED or XERO_NOT_CONNECTED where Xero would have to be asked and can't.
   */
  async void(viewer: Viewer, id: string): Promise<Invoice> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const invoice = await load(tx, Invoice, id, { thing: "invoice", field: "id", lock: true });
      await voidInvoice(tx, invoice, viewer);
      return tx.manager.findOneByOrFail(Invoice, { workspaceId: tx.workspaceId, id: invoice.id });
    });
  }

  /** The invoice whose id came as `field`. Throws NOT_FOUND. */
  async load(viewer: Viewer, id: string, field = "id"): Promise<Invoice> {
    return this.database.inWorkspace(viewer.workspaceId, (tx) => load(tx, Invoice, id, { thing: "invoice", field }));
  }

  /** One page of invoices. Throws BAD_USER_INPUT for a cursor of another order. */
  async list(
    viewer: Viewer,
    page: PageRequest,
    { filter, orderBy }: { filter?: InvoiceFilter | null; orderBy: InvoiceOrder },
  ): Promise<Page<Invoice>> {
    const order = invoiceOrders[orderBy];
    const query = (tx: WorkspaceTransaction) => {
      const all = tx.manager.createQueryBuilder(Invoice, "i").where("i.workspace_id = :ws", { ws: tx.workspaceId });
      if (filter) narrow(all, filter);
      return all;
    };
    return readPage(this.database, viewer, { order, request: page, query });
  }

  private async saveIn(tx: WorkspaceTransaction, input: SaveInvoiceInput, viewer: Viewer): Promise<Invoice> {
    const existing =
      input.id != null ? await load(tx, Invoice, input.id, { thing: "invoice", field: "input.id", lock: true }) : null;
    const participant = await load(tx, Participant, input.participantId, {
      thing: "participant",
      field: "input.participantId",
    });
    if (existing) checkEditable(existing, participant.id);
    const integration = await tx.manager.findOneOrFail(Integration, {
      where: { workspaceId: tx.workspaceId },
      // Held while a number is given out, so that two invoices at once get two numbers.
      ...(!existing && !input.number && { lock: { mode: "pessimistic_write" } }),
    });
    const id = existing?.id ?? uuidv7();
    const lineAmountTypes = existing?.lineAmountTypes ?? integration.lineAmountTypes;
    const { lines, totals } = await buildLines(tx, integration, id, lineAmountTypes, input.lineItems);
    const now = new Date();
    const before =
      existing &&
      contentOf(
        existing,
        await tx.manager.find(LineItem, {
          where: { workspaceId: tx.workspaceId, invoiceId: id },
          order: { position: "ASC" },
        }),
      );
    const invoice = tx.manager.create(Invoice, {
      // A plain insert must answer with the columns' defaults as well.
      status: "DRAFT",
      syncStatus: "NOT_SYNCED",
      syncWarnings: [],
      xeroWarnings: [],
      paymentWarnings: [],
      revision: 0,
      totalPaymentAmount: "0.00",
      totalCreditAmount: "0.00",
      createdAt: now,
      currency: input.currency ?? (await findActiveConnection(tx))?.baseCurrency ?? "AUD",
      ...existing,
      ...(input.currency != null && { currency: input.currency }),
      workspaceId: tx.workspaceId,
      id,
      number: input.number?.replace(/\s+/gu, " ").trim() ?? existing?.number ?? (await nextNumber(tx)),
      participantId: participant.id,
      date: input.date,
      dueDate: input.dueDate,
      lineAmountTypes,
      subtotal: moneyText(totals.subtotal),
      totalTax: moneyText(totals.totalTax),
      total: moneyText(totals.total),
      amountDue: moneyText(totals.total),
      updatedAt: now,
    });
    const changed = before !== contentOf(invoice, lines);
    if (existing) {
      if (changed) invoice.revision += 1;
      await tx.manager.update(Invoice, { workspaceId: tx.workspaceId, id }, invoice);
      await tx.manager.delete(LineItem, { workspaceId: tx.workspaceId, invoiceId: id });
    } else {
      await tx.manager.insert(Invoice, invoice);
    }
    await tx.manager.insert(LineItem, lines);
    if (existing?.xeroId != null) {
      if (changed) await syncChanged(tx, invoice, viewer);
    } else if (existing) {
      await queueMended(tx, rejectedContent, (query) => query.andWhere("i.id = :id", { id }));
    }
    return tx.manager.findOneByOrFail(Invoice, { workspaceId: tx.workspaceId, id });
  }
}

/** All of the invoice that Xero is told, to see whether there is something to tell. */
function contentOf(invoice: Invoice, lines: LineItem[]): string {
  const { number, date, dueDate, currency } = invoice;
  const told = lines.map(
    ({ description, supportItemId, quantity, unitAmount, taxRateId, taxPercent, salesAccountId }) => [
      description,
      supportItemId,
      decimalText(quantity),
      decimalText(unitAmount),
      taxRateId,
      decimalText(taxPercent),
      salesAccountId,
    ],
  );
  return JSON.stringify([number, date, dueDate, currency, told]);
}

function checkEditable(invoice: Invoice, participantId: string): void {
  const locked = (why: string) => new AppError("INVOICE_LOCKED", `Invoice ${invoice.number} can't be changed: ${why}.`);
  if (invoice.status === "VOIDED") throw locked("it is voided");
  if (invoice.status === "PAID" || invoice.status === "PARTIALLY_PAID") throw locked("payments are applied to it");
  if (invoice.voidRequested) throw locked("it is being voided");
  if (underWay.includes(invoice.syncStatus)) throw locked("it is on its way to Xero; try again when it has arrived");
  if (invoice.xeroStatus === "VOIDED" || invoice.xeroStatus === "DELETED") throw locked("it was voided in Xero");
  if (invoice.status !== "DRAFT" && invoice.participantId !== participantId) {
    throw locked("an approved invoice keeps its participant");
  }
}

/** The next free number of the workspace; numbers that a person gave by hand are passed over. */
async function nextNumber(tx: WorkspaceTransaction): Promise<string> {
  const rows: unknown = await tx.manager.query(
    `WITH free AS (
       SELECT n FROM integration, generate_series(next_invoice_number::bigint, next_invoice_number::bigint + 10000) AS n
       WHERE workspace_id = $1 AND NOT EXISTS (
         SELECT FROM invoice i WHERE i.workspace_id = $1 AND lower(i.number) = 'inv-' || lpad(n::text, greatest(6, length(n::text)), '0'))
       ORDER BY n LIMIT 1
     )
     UPDATE integration SET next_invoice_number = free.n + 1 FROM free WHERE workspace_id = $1 RETURNING free.n`,
    [tx.workspaceId],
  );
  const [[row]] = rows as [[{ n: string }]];
  return `INV-${row.n.padStart(6, "0")}`;
}

function narrow(query: SelectQueryBuilder<Invoice>, filter: InvoiceFilter): void {
  if (filter.status) query.andWhere("i.status = ANY(:status)", { status: filter.status });
  if (filter.syncStatus) query.andWhere("i.sync_status = ANY(:syncStatus)", { syncStatus: filter.syncStatus });
  if (filter.syncErrorCode) query.andWhere("i.sync_error->>'code' = ANY(:codes)", { codes: filter.syncErrorCode });
  if (filter.participantId != null) {
    query.andWhere("i.participant_id = :participantId", {
      participantId: checkId(filter.participantId, "filter.participantId"),
    });
  }
  if (filter.number != null) query.andWhere("lower(i.number) = lower(:number)", { number: filter.number });
  if (filter.dateFrom != null) query.andWhere("i.date >= :dateFrom", { dateFrom: filter.dateFrom });
  if (filter.dateTo != null) query.andWhere("i.date <= :dateTo", { dateTo: filter.dateTo });
}
