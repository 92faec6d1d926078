/** Reads invoices from Xero, many in one call, and applies what is answered; the one way for webhooks, the poll and a person alike. */
import { In } from "typeorm";
import { type Database } from "../../database.js";
import { type Connection } from "../../entities/Connection.js";
import { Invoice } from "../../entities/Invoice.js";
import { type PaymentSource } from "../../entities/enums.js";
import { type XeroInvoiceAnswer } from "../../xero/answers.js";
import { type XeroGateway } from "../../xero/XeroGateway.js";
import { type Applied, applyAnswer } from "./applyAnswer.js";

/**
 * A read that began so long after Xero's time stamp of what it showed shows the last state of that stamp: a further change would have a later one.
 * It is as long as our clock and Xero's may differ at most.
 */
const settledMs = 120_000;

export class InvoiceReader {
  constructor(
    private readonly database: Database,
    private readonly gateway: XeroGateway,
  ) {}

  /** Reads these invoices, by Xero's ids, and applies them: what each came to, those that Xero does not have left out. Throws XeroFailure. */
  async read(
    connection: Connection,
    xeroIds: string[],
    { source, background }: { source: PaymentSource; background: boolean },
  ): Promise<Map<string, Applied>> {
    if (xeroIds.length === 0) return new Map();
    const readAt = await this.now(connection);
    const answers = await this.gateway.call(connection, (accounting) => accounting.fetchInvoices({ ids: xeroIds }), {
      background,
    });
    return this.apply(connection, answers, { readAt, source });
  }

  /** Applies the answers to a read that began at `readAt`, each in a transaction of its own; which Xero's ids came to what. */
  async apply(
    connection: Connection,
    answers: XeroInvoiceAnswer[],
    read: { readAt: Date; source: PaymentSource },
  ): Promise<Map<string, Applied>> {
    const outcomes = new Map<string, Applied>();
    for (const answer of answers) {
      const applied = await this.database.inWorkspace(connection.workspaceId, (tx) =>
        applyAnswer(tx, connection.id, answer, read),
      );
      outcomes.set(answer.invoiceId, applied);
    }
    return outcomes;
  }

  /** Those of the invoices, by Xero's ids, that are ours, with when their last read began. */
  async ours({ workspaceId, id: connectionId }: Connection, xeroIds: string[]): Promise<Map<string, Date | null>> {
    if (xeroIds.length === 0) return new Map();
    const where = { workspaceId, connectionId, xeroId: In(xeroIds) };
    const found = await this.database.inWorkspace(workspaceId, (tx) =>
      tx.manager.find(Invoice, { where, select: { xeroId: true, pulledAt: true } }),
    );
    return new Map(found.map(({ xeroId, pulledAt }) => [xeroId ?? "", pulledAt]));
  }

  /** Those of the answers that are of invoices of ours and may tell something new. */
  async news(
    { workspaceId, id: connectionId }: Connection,
    answers: XeroInvoiceAnswer[],
  ): Promise<XeroInvoiceAnswer[]> {
    if (answers.length === 0) return [];
    const ids = answers.map(({ invoiceId }) => invoiceId);
    const ours = await this.database.inWorkspace(workspaceId, (tx) =>
      tx.manager.findBy(Invoice, { workspaceId, connectionId, xeroId: In(ids) }),
    );
    const known = new Map(ours.map((invoice) => [invoice.xeroId, invoice]));
    return answers.filter(({ invoiceId, updatedAt }) => {
      const invoice = known.get(invoiceId);
      if (!invoice) return false;
      const isSame = invoice.xeroUpdatedAt?.getTime() === updatedAt.getTime();
      return !isSame || invoice.pulledAt === null || invoice.pulledAt.getTime() - updatedAt.getTime() < settledMs;
    });
  }

  /** PostgreSQL's clock, which the beginnings of reads are told by. */
  async now({ workspaceId }: Connection): Promise<Date> {
    const [clock] = await this.database.inWorkspace(workspaceId, (tx) =>
      tx.manager.query<{ now: Date }[]>("SELECT clock_timestamp() AS now"),
    );
    if (!clock) throw new Error("the database does not tell the time");
    return clock.now;
  }
}
