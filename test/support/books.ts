/** What stands in Xero's books and in ours, side by side, to the cent. */
import { Big } from "big.js";
import { type GraphqlClient } from "../../demo/graphqlClient.js";
import { type Link } from "./links.js";

export interface XeroInvoice {
  InvoiceID: string;
  Reference: string;
  Status: string;
  Contact: { ContactID: string };
  DueDateString: string;
  UpdatedDateUTCString: string;
  AmountPaid: number;
  AmountCredited: number;
  AmountDue: number;
}

export interface XeroPayment {
  PaymentID: string;
  Amount: number;
  Reference: string;
  Status: string;
  Invoice: { InvoiceID: string };
}

interface XeroCredit {
  ID: string;
  Type: string;
  Allocations: { Amount: number; Invoice: { InvoiceID: string } }[];
}

export interface XeroBooks {
  invoices: Map<string, XeroInvoice>;
  payments: XeroPayment[];
  credits: XeroCredit[];
}

export interface OurPayment {
  id: string;
  amount: string;
  paid: boolean;
  include: boolean;
  type: string;
  source: string;
  financeExternalId: string | null;
  xeroPaymentId: string | null;
  syncStatus: string;
  syncError: { code: string; message: string } | null;
}

export interface OurInvoice {
  id: string;
  number: string;
  status: string;
  dueDate: string;
  total: string;
  totalPaymentAmount: string;
  totalCreditAmount: string;
  amountDue: string;
  syncWarnings: string[];
  xeroId: string;
  xeroStatus: string;
  payments: OurPayment[];
}

const creditTypes: Readonly<Record<string, string>> = {
  ACCRECCREDIT: "CREDIT_NOTE",
  "RECEIVE-OVERPAYMENT": "OVERPAYMENT",
  "RECEIVE-PREPAYMENT": "PREPAYMENT",
};

export async function xeroBooks({ service, tenantId }: Pick<Link, "service" | "tenantId">): Promise<XeroBooks> {
  const [invoices, payments, credits] = await Promise.all([
    service.control<XeroInvoice[]>(`invoices?tenant=${tenantId}`),
    service.control<XeroPayment[]>(`payments?tenant=${tenantId}`),
    service.control<XeroCredit[]>(`credits?tenant=${tenantId}`),
  ]);
  return { invoices: new Map(invoices.map((invoice) => [invoice.InvoiceID, invoice])), payments, credits };
}

interface Page {
  invoices: { pageInfo: { hasNextPage: boolean; endCursor: string }; nodes: OurInvoice[] };
}

/** All of the workspace's invoices that are in Xero, with their payments, as a client reads them. */
export async function ourBooks(client: GraphqlClient): Promise<OurInvoice[]> {
  const query = `query ($after: String) { invoices(first: 100, after: $after, filter: { syncStatus: [SYNCED] }) {
    pageInfo { hasNextPage endCursor }
    nodes { id number status dueDate total totalPaymentAmount totalCreditAmount amountDue syncWarnings xeroId xeroStatus
      payments { id amount paid include type source financeExternalId xeroPaymentId syncStatus syncError { code message } } } } }`;
  const all: OurInvoice[] = [];
  for (let after: string | null = null; ;) {
    const { invoices }: Page = await client.ask<Page>(query, { after });
    all.push(...invoices.nodes);
    if (!invoices.pageInfo.hasNextPage) return all;
    after = invoices.pageInfo.endCursor;
  }
}

function grouped<T>(items: T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group) group.push(item);
    else groups.set(keyOf(item), [item]);
  }
  return groups;
}

const sum = (amounts: (string | number)[]): Big => amounts.reduce((total, amount) => total.plus(amount), new Big(0));
const isCredit = ({ type }: OurPayment): boolean => Object.values(creditTypes).includes(type);

/**
 * In words, every way in which our invoices and payments are not what follows from Xero's: its payments and credits, each kept once, without those
 * that are left out here, and with those that were made here and are not there.
 */
export function differences(ours: OurInvoice[], theirs: XeroBooks): string[] {
  const all = ours.flatMap(({ payments }) => payments);
  const records = grouped(all, ({ xeroPaymentId }) => xeroPaymentId ?? "");
  const paymentsOf = grouped(theirs.payments, ({ Invoice }) => Invoice.InvoiceID);
  return ours.flatMap((invoice) => {
    const there = theirs.invoices.get(invoice.xeroId);
    if (!there) return [`${invoice.number}: is not in Xero`];
    const payments = paymentsOf.get(invoice.xeroId) ?? [];
    const found = [
      ...paymentProblems(invoice, payments, records),
      ...creditProblems(invoice, theirs.credits),
      ...totalProblems(invoice, there, payments),
    ];
    return found.map((problem) => `${invoice.number}: ${problem}`);
  });
}

function paymentProblems(invoice: OurInvoice, there: XeroPayment[], records: Map<string, OurPayment[]>): string[] {
  const problems: string[] = [];
  for (const { PaymentID, Status, Amount } of there) {
    const here = records.get(PaymentID) ?? [];
    const [record] = here;
    const stands = Status === "AUTHORISED";
    // What was made and deleted between two reads was never seen.
    if (here.length > 1 || (stands && here.length === 0)) problems.push(`${here.length} records of ${PaymentID}`);
    if (!record) continue;
    if (!invoice.payments.includes(record)) problems.push(`${PaymentID} is kept with another invoice`);
    if (!new Big(record.amount).eq(Amount)) problems.push(`${PaymentID} is ${Amount} there and ${record.amount} here`);
    const isRefused = record.syncStatus === "FAILED" && record.syncError !== null;
    if (record.paid !== stands && !isRefused)
      problems.push(`${PaymentID} is ${Status} there and ${record.paid ? "paid" : "not paid"} here`);
  }
  const known = new Set(there.map(({ PaymentID }) => PaymentID));
  for (const { xeroPaymentId, type } of invoice.payments) {
    if (xeroPaymentId === null ? type === "RECONCILIATION" : !known.has(xeroPaymentId))
      problems.push(`a ${type} of ${String(xeroPaymentId)}, which is not there`);
  }
  return problems;
}

function creditProblems(invoice: OurInvoice, credits: XeroCredit[]): string[] {
  const applied = credits.flatMap(({ ID, Type, Allocations }) => {
    const shares = Allocations.filter(({ Invoice }) => Invoice.InvoiceID === invoice.xeroId);
    return shares.length > 0
      ? [`${creditTypes[Type] ?? Type} ${ID} ${sum(shares.map(({ Amount }) => Amount)).toFixed(2)}`]
      : [];
  });
  const name = ({ type, financeExternalId, amount }: OurPayment): string =>
    `${type} ${String(financeExternalId)} ${amount}`;
  const kept = invoice.payments.filter(isCredit);
  const here = kept.filter(({ paid }) => paid).map(name);
  const ids = kept.map(({ type, financeExternalId }) => `${type} ${String(financeExternalId)}`);
  return [
    ...(here.sort().join() === applied.sort().join()
      ? []
      : [`credits ${applied.join()} there and ${here.join()} here`]),
    ...(new Set(ids).size < ids.length ? [`a credit is kept twice: ${ids.join()}`] : []),
  ];
}

function totalProblems(invoice: OurInvoice, there: XeroInvoice, payments: XeroPayment[]): string[] {
  const { payments: kept, total } = invoice;
  const standing = new Set(payments.filter(({ Status }) => Status === "AUTHORISED").map(({ PaymentID }) => PaymentID));
  const counted = ({ paid, include }: OurPayment): boolean => paid && include;
  const isThere = ({ xeroPaymentId }: OurPayment): boolean => standing.has(xeroPaymentId ?? "");
  const amounts = (which: (payment: OurPayment) => boolean): Big => sum(kept.filter(which).map(({ amount }) => amount));
  const leftOut = amounts((payment) => isThere(payment) && !counted(payment));
  const oursAlone = amounts((payment) => !isCredit(payment) && !isThere(payment) && counted(payment));
  const paid = new Big(there.AmountPaid).minus(leftOut).plus(oursAlone);
  const credited = new Big(there.AmountCredited).minus(
    amounts((payment) => isCredit(payment) && payment.paid && !payment.include),
  );
  const due = new Big(total).minus(paid).minus(credited);
  const open = due.lte(0) ? "PAID" : "PARTIALLY_PAID";
  const status = there.Status === "VOIDED" ? "VOIDED" : paid.plus(credited).eq(0) ? "APPROVED" : open;
  const wanted: [string, string, string][] = [
    ["paid", paid.toFixed(2), invoice.totalPaymentAmount],
    ["credited", credited.toFixed(2), invoice.totalCreditAmount],
    ["due", due.toFixed(2), invoice.amountDue],
    ["status", status, invoice.status],
    ["Xero's status", there.Status, invoice.xeroStatus],
  ];
  const problems = wanted.flatMap(([what, must, is]) => (must === is ? [] : [`${what} is ${is} and must be ${must}`]));
  const moved = there.DueDateString.slice(0, 10) !== invoice.dueDate;
  const told = invoice.syncWarnings.some((warning) => warning.includes("due date was changed"));
  if (there.Status !== "VOIDED" && moved !== told) problems.push(`the due date is ${there.DueDateString} there`);
  return problems;
}
