/** Payments as a client lists them, records them and takes them back. What Xero says of them is applied by `applyAnswer`. */
import { v7 as uuidv7 } from "uuid";
import { type Database, violates, type WorkspaceTransaction } from "../../database.js";
import { Invoice } from "../../entities/Invoice.js";
import { Payment } from "../../entities/Payment.js";
import { badInput, notFound } from "../../errors.js";
import { record } from "../../subscriptions/eventLog.js";
import { type PaymentEventKind } from "../../entities/enums.js";
import { type Viewer } from "../../viewer.js";
import { noteActivity } from "../connectionStatus.js";
import { dayOf, loadIntegration } from "../Integrations.js";
import { find, load } from "../loading.js";
import { type ListOrder, type Page, pageOf, type PageRequest, seek } from "../paging.js";
import { requireLink } from "../sync/invoiceChanges.js";
import { unavailable } from "../unavailable.js";
import { XeroFailure } from "../../xero/XeroFailure.js";
import { type InvoiceReader } from "./InvoiceReader.js";
import { wakePayments } from "./pushQueue.js";
import { checkAgainst, checkPayment, type RecordedPayment, type RecordPaymentInput } from "./recordInput.js";
import { rollUp } from "./rollUp.js";

const newestFirst: ListOrder<Payment> = {
  name: "payments",
  direction: "DESC",
  keys: [
    { property: "paymentDate", column: "payment_date", type: "timestamptz" },
    { property: "id", column: "id", type: "uuid" },
  ],
};

type Columns = Partial<Omit<Payment, "id" | "workspaceId">>;

/** A change of one payment, and what dashboards are told of it. */
interface PaymentChange {
  columns: Columns;
  kind: PaymentEventKind;
}

export class Payments {
  constructor(
    private readonly database: Database,
    private readonly reader: InvoiceReader,
  ) {}

  /** One page of payments, the newest first, of one invoice or of all. Throws NOT_FOUND for an unknown invoice. */
  async list(viewer: Viewer, page: PageRequest, invoiceId?: string | null): Promise<Page<Payment>> {
    const query = (tx: WorkspaceTransaction) => {
      const all = tx.manager.createQueryBuilder(Payment, "p").where("p.workspace_id = :ws", { ws: tx.workspaceId });
      if (invoiceId != null) all.andWhere("p.invoice_id = :invoiceId", { invoiceId });
      return all;
    };
    const rows = await this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      if (invoiceId != null) await load(tx, Invoice, invoiceId, { thing: "invoice", field: "invoiceId" });
      const pageQuery = query(tx);
      seek(pageQuery, newestFirst, page);
      return pageQuery.getMany();
    });
    return pageOf(rows, newestFirst, page, () =>
      this.database.inWorkspace(viewer.workspaceId, (tx) => query(tx).getCount()),
    );
  }

  /**
   * Records a payment of an approved invoice; with `pushPayments` it goes to Xero as soon as the invoice is approved there. The same
   * financeExternalId again answers the same payment and changes nothing. Throws NOT_FOUND, and BAD_USER_INPUT for an amount over what is due, an
   * invoice that takes no payments, or a financeExternalId that is another payment's.
   */
  async record(viewer: Viewer, input: RecordPaymentInput): Promise<Payment> {
    const payment = checkPayment(input);
    try {
      return await this.recordIn(viewer, input.invoiceId, payment);
    } catch (error) {
      // Recorded a moment ago on another invoice, whose lock is another.
      if (!violates(error, "uq_payment_finance_external_id")) throw error;
      return this.recordIn(viewer, input.invoiceId, payment);
    }
  }

  private async recordIn(viewer: Viewer, invoiceId: string, payment: RecordedPayment): Promise<Payment> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const { workspaceId } = tx;
      const invoice = await load(tx, Invoice, invoiceId, { thing: "invoice", field: "input.invoiceId", lock: true });
      const { financeExternalId } = payment;
      const before =
        financeExternalId &&
        (await tx.manager.findOneBy(Payment, { workspaceId, financeExternalId, source: "PLATFORM" }));
      if (before) return sameOrThrow(before, invoice, payment);
      checkAgainst(invoice, payment);
      const id = uuidv7();
      await tx.manager.insert(Payment, {
        ...payment,
        workspaceId,
        id,
        invoiceId: invoice.id,
        connectionId: null,
        source: "PLATFORM",
        paidOn: await dayOf(tx, payment.paymentDate),
        xeroPaymentId: null,
        createdAt: new Date(),
        ...(payment.paid && payment.include && (await wayToXero(tx))),
      });
      await this.finish(tx, invoice, id, "RECEIVED");
      return tx.manager.findOneByOrFail(Payment, { workspaceId, id });
    });
  }

  /**
   * Takes back a payment that was recorded here: it counts no more, and where Xero has it, it is deleted there. Repeats change nothing. Throws
   * NOT_FOUND, and BAD_USER_INPUT for one that came from Xero.
   */
  async reverse(viewer: Viewer, id: string): Promise<Payment> {
    return this.change(viewer, id, (payment) => {
      refuseXeros(payment, "id", "delete it there");
      return Promise.resolve(payment.paid ? { columns: takenBack(payment), kind: "REVERSED" } : null);
    });
  }

  /**
   * Notes whether a payment that was recorded here has gone through; one that had, and has not, is taken back as by `reverse`. Repeats change
   * nothing. Throws NOT_FOUND, and BAD_USER_INPUT for one that came from Xero, or was deleted there.
   */
  async setPaid(viewer: Viewer, id: string, paid: boolean): Promise<Payment> {
    if (!paid) return this.reverse(viewer, id);
    return this.change(viewer, id, async (payment, tx, invoice) => {
      refuseXeros(payment, "id", "whether it went through is Xero's to say");
      if (payment.paid) return null;
      if (invoice.status === "VOIDED" || invoice.voidRequested) {
        throw badInput({ field: "id", reason: `is a payment of invoice ${invoice.number}, which is voided` });
      }
      return { columns: { paid: true, reversedHere: false, ...(await pushedAgain(tx, payment)) }, kind: "CHANGED" };
    });
  }

  /**
   * Lets a payment or credit count towards the invoice's totals, or leaves it out; one of ours that is left out does not go to Xero any more. Repeats
   * change nothing. Throws NOT_FOUND.
   */
  async setIncluded(viewer: Viewer, id: string, include: boolean): Promise<Payment> {
    return this.change(viewer, id, async (payment, tx) => {
      if (payment.include === include) return null;
      // One that does not count here has no business there: it is most likely the same money as another.
      const isHere =
        payment.source === "PLATFORM" && payment.paid && payment.xeroPaymentId === null && payment.pushBatchId === null;
      const way = isHere ? (include ? await wayToXero(tx) : noWay) : {};
      return { columns: { include, ...way }, kind: "CHANGED" };
    });
  }

  /**
   * Sends once more what Xero refused of a payment, or for the first time one that was recorded while `pushPayments` was off. One that is in Xero or
   * on its way stays as it is. Throws NOT_FOUND, XERO_DISABLED, XERO_NOT_CONNECTED, and BAD_USER_INPUT for one that has no way to go.
   */
  async retry(viewer: Viewer, id: string): Promise<Payment> {
    return this.change(viewer, id, async (payment, tx, invoice) => {
      refuseXeros(payment, "id", "it is never sent there");
      const isNew = payment.syncStatus === "NOT_SYNCED";
      if (payment.syncStatus !== "FAILED" && !isNew) return null;
      if (!payment.include && payment.pushAction !== "DELETE") {
        throw badInput({ field: "id", reason: "is a payment that is left out of the total; include it first" });
      }
      if (isNew && !payment.paid) throw badInput({ field: "id", reason: "is a payment that has not gone through" });
      if (isNew || payment.pushAction === "CREATE") {
        const { pushPayments } = await loadIntegration(tx);
        if (!pushPayments)
          throw badInput({
            field: "id",
            reason: "can't be sent: payments are not sent to Xero (setting pushPayments)",
          });
      }
      if (invoice.connectionId !== null) await requireLink(tx, invoice);
      return {
        columns: {
          pushAction: payment.pushAction ?? "CREATE",
          syncStatus: "QUEUED",
          syncError: null,
          pushFailures: 0,
          pushNotBefore: null,
        },
        kind: "CHANGED",
      };
    });
  }

  /**
   * Reads the invoice and its payments from Xero now. Throws NOT_FOUND, BAD_USER_INPUT for one that is not in Xero, XERO_DISABLED,
   * XERO_NOT_CONNECTED, XERO_RATE_LIMITED and XERO_UNAVAILABLE.
   */
  async sync(viewer: Viewer, invoiceId: string): Promise<Invoice> {
    const { workspaceId } = viewer;
    const { invoice, connection } = await this.database.inWorkspace(workspaceId, async (tx) => {
      const found = await load(tx, Invoice, invoiceId, { thing: "invoice", field: "invoiceId" });
      if (found.xeroId === null) {
        throw badInput({ field: "invoiceId", reason: `is invoice ${found.number}, which is not in Xero` });
      }
      return { invoice: found, connection: await requireLink(tx, found) };
    });
    try {
      const xeroId = invoice.xeroId ?? "";
      const applied = await this.reader.read(connection, [xeroId], { source: "XERO_SYNC", background: false });
      if (!applied.has(xeroId)) throw notFound("invoice in Xero");
    } catch (error) {
      throw error instanceof XeroFailure ? unavailable(error) : error;
    }
    return this.database.inWorkspace(workspaceId, (tx) =>
      tx.manager.findOneByOrFail(Invoice, { workspaceId, id: invoice.id }),
    );
  }

  /** Changes one payment under its invoice's lock, with what follows from it; null: there is nothing to change. */
  private async change(
    viewer: Viewer,
    paymentId: string,
    decide: (payment: Payment, tx: WorkspaceTransaction, invoice: Invoice) => Promise<PaymentChange | null>,
  ): Promise<Payment> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const { workspaceId } = tx;
      const { invoiceId, id } = await load(tx, Payment, paymentId, { thing: "payment", field: "id" });
      const invoice = await find(tx, Invoice, invoiceId, { lock: true });
      const payment = await find(tx, Payment, id, { lock: true });
      if (!invoice || !payment) throw notFound("payment");
      const change = await decide(payment, tx, invoice);
      if (!change) return payment;
      await tx.manager.update(Payment, { workspaceId, id }, change.columns);
      await this.finish(tx, invoice, id, change.kind);
      return tx.manager.findOneByOrFail(Payment, { workspaceId, id });
    });
  }

  private async finish(
    tx: WorkspaceTransaction,
    invoice: Invoice,
    paymentId: string,
    kind: PaymentEventKind,
  ): Promise<void> {
    await rollUp(tx, invoice.id);
    record(tx, { topic: "PAYMENT", invoiceId: invoice.id, paymentId, paymentEventKind: kind });
    if (invoice.connectionId === null) return;
    await noteActivity(tx, invoice.connectionId);
    await wakePayments(tx, invoice.connectionId, [invoice.id]);
  }
}

/** What makes a payment one that is to go to Xero, where the workspace wants that. */
async function wayToXero(tx: WorkspaceTransaction): Promise<Columns> {
  const { pushPayments } = await loadIntegration(tx);
  return pushPayments
    ? { pushAction: "CREATE", syncStatus: "QUEUED", syncError: null, pushNotBefore: null, pushFailures: 0 }
    : {};
}

const noWay: Columns = { pushAction: null, syncStatus: "NOT_SYNCED", syncError: null, pushNotBefore: null };

/** A payment that is taken back: what is under way to Xero is seen to when it has arrived, what is there is to be deleted. */
function takenBack({ xeroPaymentId, pushBatchId }: Payment): Columns {
  const fresh = { syncError: null, pushNotBefore: null, pushFailures: 0 };
  const back = { paid: false, reversedHere: true };
  if (xeroPaymentId !== null) return { ...back, ...fresh, pushAction: "DELETE", syncStatus: "QUEUED" };
  if (pushBatchId !== null) return back;
  return { ...back, ...fresh, pushAction: null, syncStatus: "NOT_SYNCED" };
}

/** What becomes of the way to Xero of a payment that has gone through after all. */
async function pushedAgain(tx: WorkspaceTransaction, payment: Payment): Promise<Columns> {
  const { xeroPaymentId, pushBatchId, pushAction, syncStatus, pushNotBefore } = payment;
  if (xeroPaymentId === null) return pushBatchId === null && payment.include ? wayToXero(tx) : {};
  if (pushAction !== "DELETE") {
    throw badInput({ field: "id", reason: "is a payment that was deleted in Xero, for good; record a new one" });
  }
  // From the moment that its deletion is taken up it may be done.
  if (syncStatus === "QUEUED" && pushNotBefore !== null) {
    throw badInput({ field: "id", reason: "is a payment that is just being deleted in Xero; record a new one" });
  }
  return { pushAction: null, syncStatus: "SYNCED", syncError: null };
}

function refuseXeros({ source }: Payment, field: string, why: string): void {
  if (source !== "PLATFORM") throw badInput({ field, reason: `is a payment that came from Xero: ${why}` });
}

/** What was recorded under this financeExternalId, if it is the same. */
function sameOrThrow(before: Payment, invoice: Invoice, { amount, type, financeExternalId }: RecordedPayment): Payment {
  if (before.invoiceId === invoice.id && before.amount === amount && before.type === type) return before;
  throw badInput({
    field: "input.financeExternalId",
    reason: `${financeExternalId ?? ""} is recorded already, as a ${before.type} payment of ${before.amount}${before.invoiceId === invoice.id ? "" : " on another invoice"}`,
  });
}
