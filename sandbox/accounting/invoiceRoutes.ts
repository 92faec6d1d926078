/**
 * Owns the routes of /Invoices, /Payments and of the credits: which rule answers which method and path, and what
 * their lists filter by. Leaves the rules to invoices.ts and payments.ts. Source: docs/xero-facts.md sections 5, 7 and 8:
 * POST takes exactly one payment, PUT many; a list by IDs without a page shows no lines.
 */
import { Fields } from "../Fields.js";
import type { Call, Reply } from "../http.js";
import { badRequest, notFound, Refusal } from "../refusals.js";
import { dayToMs, isId, wireBareInstant, wireInstantString } from "../wire.js";
import type { World } from "../World.js";
import { bodyOf, elementsOf, writeBatch } from "./batch.js";
import type { Changes } from "./Changes.js";
import { wireCredit } from "./credits.js";
import { createInvoice, saveInvoice } from "./invoices.js";
import { wireInvoice } from "./invoiceWire.js";
import { asksFor, commaList, envelope, selected } from "./lists.js";
import type { Organisation } from "./Organisation.js";
import { createPayment, deletePayment, wirePayment } from "./payments.js";
import type { Credit, CreditKind, Invoice, Payment } from "./records.js";
import { amountDue } from "./settlement.js";
import { folded, type FieldTable } from "./where.js";

/** The list's fields; those of the contact need the organisation to look it up. */
function invoiceFields(org: Organisation): FieldTable<Invoice> {
  const id = { kind: "id", of: (invoice: Invoice) => invoice.id } as const;
  return {
    InvoiceID: id,
    InvoiceId: id,
    InvoiceNumber: { kind: "text", of: (invoice) => invoice.number },
    Reference: { kind: "text", of: (invoice) => invoice.reference },
    Status: { kind: "text", of: (invoice) => invoice.status },
    Type: { kind: "text", of: (invoice) => invoice.type },
    "Contact.ContactID": { kind: "id", of: (invoice) => invoice.contactId },
    "Contact.Name": { kind: "text", of: (invoice) => org.contacts.get(invoice.contactId)?.name },
    "Contact.ContactNumber": { kind: "text", of: (invoice) => org.contacts.get(invoice.contactId)?.number },
    AmountPaid: { kind: "number", of: (invoice) => invoice.amountPaid.toNumber() },
    AmountDue: { kind: "number", of: (invoice) => amountDue(invoice).toNumber() },
    Total: { kind: "number", of: (invoice) => invoice.total.toNumber() },
    Date: { kind: "day", of: (invoice) => dayToMs(invoice.date) },
    DueDate: { kind: "day", of: (invoice) => (invoice.dueDate === undefined ? undefined : dayToMs(invoice.dueDate)) },
    UpdatedDateUTC: { kind: "day", of: (invoice) => invoice.updatedAt },
  };
}

const paymentFields: FieldTable<Payment> = {
  PaymentID: { kind: "id", of: (payment) => payment.id },
  "Invoice.InvoiceID": { kind: "id", of: (payment) => payment.invoiceId },
  "Account.AccountID": { kind: "id", of: (payment) => payment.accountId },
  Status: { kind: "text", of: (payment) => payment.status },
  PaymentType: { kind: "text", of: (payment) => payment.type },
  Reference: { kind: "text", of: (payment) => payment.reference },
  Amount: { kind: "number", of: (payment) => payment.amount.toNumber() },
  IsReconciled: { kind: "flag", of: (payment) => payment.isReconciled },
  Date: { kind: "day", of: (payment) => dayToMs(payment.date) },
  UpdatedDateUTC: { kind: "day", of: (payment) => payment.updatedAt },
};

const creditFields: FieldTable<Credit> = {
  Status: { kind: "text", of: (credit) => credit.status },
  UpdatedDateUTC: { kind: "day", of: (credit) => credit.updatedAt },
};

/** Answers /Invoices, one invoice by id or number, and its parts. */
export function invoicesRoute(world: World, org: Organisation, call: Call, rest: readonly string[]): Reply {
  const [key, part] = rest;
  const unitDecimals = call.query.get("unitdp") === "4" ? 4 : 2;
  if (key !== undefined && (call.method === "GET" || part !== undefined)) {
    const invoice = (isId(key) ? org.invoices.get(key.toLowerCase()) : undefined) ?? org.invoiceByNumber(key);
    if (!invoice || rest.length > 2) return notFound();
    if (part === undefined) return envelope(world, "Invoices", [wireInvoice(org, invoice, "single", unitDecimals)]);
    return partRoute(world, org, call, invoice, part.toLowerCase());
  }
  if (call.method === "GET") return listInvoices(world, org, call, unitDecimals);
  if (key !== undefined && (call.method === "PUT" || !isId(key)))
    return call.method === "PUT" ? { status: 405 } : notFound();
  const elements = elementsOf(call, "Invoices").map((sent) =>
    key === undefined ? sent : new Fields({ ...sent.sent, InvoiceID: key }),
  );
  const save = call.method === "PUT" ? createInvoice : saveInvoice;
  const batch = {
    plural: "Invoices",
    idName: "InvoiceID",
    errorFlag: "HasErrors" as const,
    apply: (element: Fields, changes: Changes) => save(org, element, { unitDecimals, byApp: true }, changes),
    render: (invoice: Invoice) => wireInvoice(org, invoice, "written", unitDecimals),
  };
  return writeBatch(world, call, elements, batch, (events) => world.webhooks.announce(org.id, events));
}

/** Answers /Payments and one payment, which can only be read or deleted. */
export function paymentsRoute(world: World, org: Organisation, call: Call, rest: readonly string[]): Reply {
  const [id] = rest;
  if (rest.length > 1) return notFound();
  if (call.method === "GET") {
    if (id === undefined) return listPayments(world, org, call);
    const payment = org.payments.get(id.toLowerCase());
    return payment ? envelope(world, "Payments", [wirePayment(org, payment, "paid")]) : notFound();
  }
  if (id !== undefined && call.method === "PUT") return { status: 405 };
  const elements = elementsOf(call, "Payments");
  if (call.method === "POST" && elements.length > 1) throw new Refusal(badRequest("POST takes exactly one payment."));
  const batch = {
    plural: "Payments",
    idName: "PaymentID",
    errorFlag: "HasValidationErrors" as const,
    apply: (element: Fields, changes: Changes) =>
      id === undefined ? createPayment(org, element, changes) : deletePayment(org, id, element, changes),
    render: (payment: Payment) => wirePayment(org, payment, "nested"),
  };
  return writeBatch(world, call, elements, batch, (events) => world.webhooks.announce(org.id, events));
}

/** Credits are read only: control applies them. */
export function creditsRoute(kind: CreditKind, plural: string) {
  return (world: World, org: Organisation, call: Call, rest: readonly string[]): Reply => {
    const [id] = rest;
    if (id !== undefined) {
      const credit = org.credits.get(id.toLowerCase());
      return credit?.kind === kind && rest.length === 1
        ? envelope(world, plural, [wireCredit(org, credit, true)])
        : notFound();
    }
    const page = selected(
      call,
      [...org.credits.values()].filter((credit) => credit.kind === kind),
      {
        fields: creditFields,
        canPage: true,
        updatedAt: (credit) => credit.updatedAt,
        inclusive: org.switches.modifiedSinceInclusive,
        id: (credit) => credit.id,
      },
    );
    return envelope(
      world,
      plural,
      page.items.map((credit) => wireCredit(org, credit, false)),
      page.pagination,
    );
  };
}

function partRoute(world: World, org: Organisation, call: Call, invoice: Invoice, part: string): Reply {
  if (part === "onlineinvoice" && call.method === "GET") {
    const online = invoice.type === "ACCREC" && ["AUTHORISED", "PAID"].includes(invoice.status);
    const OnlineInvoiceUrl = `https://in.xero.com/${invoice.id.replaceAll("-", "")}`;
    return online ? envelope(world, "OnlineInvoices", [{ OnlineInvoiceUrl }]) : notFound();
  }
  if (part !== "history") return notFound();
  const known = org.history.get(invoice.id) ?? [];
  const shown = ({ at, details }: { at: number; details: string }): Record<string, unknown> => ({
    DateUTCString: wireInstantString(at).slice(0, -1),
    DateUTC: wireBareInstant(at),
    Details: details,
  });
  if (call.method === "GET") {
    return envelope(
      world,
      "HistoryRecords",
      known.map((one) => ({ Changes: "Note", User: "System Generated", ...shown(one) })),
    );
  }
  const sent = (bodyOf(call).parts("HistoryRecords") ?? []).map((one) => one.text("Details") ?? "");
  if (sent.length === 0 || sent.some((details) => details === "" || details.length > 2500)) {
    throw new Refusal(badRequest("Details must have 1 to 2500 characters."));
  }
  const added = sent.map((details) => ({ at: world.clock.now(), details }));
  org.history.set(invoice.id, [...known, ...added]);
  return envelope(
    world,
    "HistoryRecords",
    added.map((one) => ({ ...shown(one), ValidationErrors: [] })),
  );
}

function listInvoices(world: World, org: Organisation, call: Call, unitDecimals: 2 | 4): Reply {
  const [ids, numbers] = [commaList(call, "IDs"), commaList(call, "InvoiceNumbers")];
  const [contacts, statuses] = [commaList(call, "ContactIDs"), commaList(call, "Statuses")];
  const term = folded(call.query.get("searchTerm") ?? "");
  const mine = asksFor(call, "createdByMyApp");
  const hidden = org.switches.hiddenFromFilters && call.query.has("where");
  const candidates = ids ? [...ids].flatMap((id) => org.invoices.get(id) ?? []) : [...org.invoices.values()];
  const wanted = candidates.filter(
    (invoice) =>
      !hidden &&
      (!numbers || numbers.has(invoice.number?.toLowerCase() ?? "")) &&
      (!contacts || contacts.has(invoice.contactId)) &&
      (!statuses || statuses.has(invoice.status.toLowerCase())) &&
      (!mine || invoice.byApp) &&
      (term === "" || folded(`${invoice.number ?? ""} ${invoice.reference ?? ""}`).includes(term)),
  );
  const page = selected(call, wanted, {
    fields: invoiceFields(org),
    canPage: true,
    updatedAt: (invoice) => invoice.updatedAt,
    inclusive: org.switches.modifiedSinceInclusive,
    id: (invoice) => invoice.id,
  });
  const view = asksFor(call, "summaryOnly") ? "summary" : page.paged ? "paged" : "unpaged";
  const items = page.items.map((invoice) => wireInvoice(org, invoice, view, unitDecimals));
  return envelope(world, "Invoices", items, page.pagination);
}

function listPayments(world: World, org: Organisation, call: Call): Reply {
  const payments = [...org.payments.values()];
  const shown = org.switches.listDeletedPayments ? payments : payments.filter((one) => one.status !== "DELETED");
  const page = selected(call, shown, {
    fields: paymentFields,
    canPage: true,
    updatedAt: (payment) => payment.updatedAt,
    inclusive: org.switches.modifiedSinceInclusive,
    id: (payment) => payment.id,
  });
  return envelope(
    world,
    "Payments",
    page.items.map((payment) => wirePayment(org, payment, "mentioned")),
    page.pagination,
  );
}
