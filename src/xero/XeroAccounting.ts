/**
 * Owns the calls that Ledgerline makes to one organisation's accounting API under one access token: which endpoint, which
 * filters, which pages, and the matching of answers to what was asked. It is made anew per piece of work, since xero-node
 * keeps the token as mutable state. Tokens, limits, leases, keys and repeats are the callers'.
 *
 * Shaped by https://developer.xero.com/documentation/api/accounting/invoices: only paged answers hold lines, payments and
 * merged contacts; a POST without an id may overwrite a stranger; keys are remembered for six minutes, errors included.
 */
import { Contacts } from "xero-node/dist/gen/model/accounting/contacts.js";
import { Invoices } from "xero-node/dist/gen/model/accounting/invoices.js";
import { PaymentDelete } from "xero-node/dist/gen/model/accounting/paymentDelete.js";
import { Payments } from "xero-node/dist/gen/model/accounting/payments.js";
import { z } from "zod";
import type {
  ElementOutcome,
  InvoiceOutcome,
  XeroAccountAnswer,
  XeroContactAnswer,
  XeroContactGroupAnswer,
  XeroInvoiceAnswer,
  XeroOrganisationAnswer,
  PaymentOutcome,
  XeroPaymentAnswer,
  XeroTaxRateAnswer,
} from "./answers.js";
import { type Call, exchange, type ExchangeOptions } from "./exchange.js";
import { envelope } from "./fields.js";
import { invoiceOutcomeSchema, invoiceSchema, paymentOutcomeSchema, paymentSchema } from "./invoiceSchemas.js";
import { type ContactPayload, type InvoicePayload, serializeContacts, serializeInvoices } from "./payloads.js";
import {
  accountSchema,
  contactGroupMembersSchema,
  contactGroupSchema,
  type ContactIdentity,
  contactOutcomeSchema,
  contactSchema,
  organisationSchema,
  taxRateSchema,
} from "./schemas.js";
import { alternatives, chunks, incomplete, notSent } from "./queries.js";
import { quoted } from "./wireValues.js";
import { XeroFailure } from "./XeroFailure.js";

export type { CallRecord } from "./exchange.js";

/** Given together they all must hold. */
export interface ContactFilter {
  ids?: string[] | undefined;
  contactNumber?: string | undefined;
  email?: string | undefined;
  name?: string | undefined;
  includeArchived?: boolean | undefined;
  modifiedSince?: Date | undefined;
}

export type InvoiceFilter = ({ ids: string[] } | { references: string[] }) & { modifiedSince?: Date | undefined };

/** One page of what has changed, and when Xero answered, by its own clock. */
export interface ChangedPage<Answer> {
  page: number;
  elements: Answer[];
  answeredAt?: Date | undefined;
}

const contactPageSize = 1000;
const changedPageSize = 100;
const invoicePageSize = 200;
const paymentPageSize = 1000;
const idsPerCall = 40;

interface ContactWrite {
  operation: string;
  method: "PUT" | "POST";
  contacts: ContactPayload[];
  identify: (contact: ContactIdentity) => string | undefined;
  key: string;
}

export class XeroAccounting {
  constructor(private readonly options: ExchangeOptions) {}

  /** The organisation itself. One call. */
  fetchOrganisation(): Promise<XeroOrganisationAnswer> {
    return this.fetchOne("fetchOrganisation", "Organisations", organisationSchema, (api) =>
      api.getOrganisations(this.tenantId),
    );
  }

  /** All accounts, archived ones too. One call. */
  fetchAccounts(): Promise<XeroAccountAnswer[]> {
    return this.fetchAll("fetchAccounts", "Accounts", accountSchema, (api) => api.getAccounts(this.tenantId));
  }

  /** All tax rates, deleted and archived ones too. One call. */
  fetchTaxRates(): Promise<XeroTaxRateAnswer[]> {
    return this.fetchAll("fetchTaxRates", "TaxRates", taxRateSchema, (api) => api.getTaxRates(this.tenantId));
  }

  /**
   * The contacts that match, one array per page of up to 1,000 and per call; names and e-mail addresses as Xero compares
   * them (ignoring case and accents). In the order of their ids, so that changes meanwhile skip none; may repeat one.
   */
  async *fetchContacts(filter: ContactFilter): AsyncGenerator<XeroContactAnswer[]> {
    const where = [
      filter.contactNumber !== undefined && `ContactNumber==${quoted(filter.contactNumber)}`,
      filter.email !== undefined && `EmailAddress==${quoted(filter.email)}`,
      filter.name !== undefined && `Name==${quoted(filter.name)}`,
    ].filter((condition) => condition !== false);
    const pages = (ids: string[] | undefined): AsyncGenerator<XeroContactAnswer[]> =>
      this.pages(
        "fetchContacts",
        "Contacts",
        contactSchema,
        (page) => (api) =>
          api.getContacts(
            this.tenantId,
            filter.modifiedSince,
            where.length > 0 ? where.join(" AND ") : undefined,
            "ContactID ASC",
            ids,
            page,
            filter.includeArchived,
            undefined,
            undefined,
            contactPageSize,
          ),
      );
    if (filter.ids === undefined) {
      yield* pages(undefined);
      return;
    }
    for (const ids of chunks(filter.ids, idsPerCall)) yield* pages(ids);
  }

  /** The contact groups that are active. One call. */
  fetchContactGroups(): Promise<XeroContactGroupAnswer[]> {
    return this.fetchAll("fetchContactGroups", "ContactGroups", contactGroupSchema, (api) =>
      api.getContactGroups(this.tenantId),
    );
  }

  /** The ids of a group's contacts; of a group that is gone, none. One call. */
  async fetchContactGroupMembers(id: string): Promise<string[]> {
    try {
      const { contactIds } = await this.fetchOne(
        "fetchContactGroup",
        "ContactGroups",
        contactGroupMembersSchema,
        (api) => api.getContactGroup(this.tenantId, id),
      );
      return contactIds;
    } catch (error) {
      if (error instanceof XeroFailure && error.kind === "NOT_FOUND") return [];
      throw error;
    }
  }

  /**
   * Creates contacts (PUT): never changes one that exists. Every contact needs a contactNumber, by which the answer is
   * matched; the outcomes are in the order of the contacts. The same contacts under the same key are written once for
   * six minutes. Throws XeroFailure; UNCERTAIN also when the answer leaves a contact out.
   */
  async createContacts(contacts: ContactPayload[], key: string): Promise<ElementOutcome<XeroContactAnswer>[]> {
    const operation = "createContacts";
    if (contacts.some((contact) => contact.contactId !== undefined)) throw notSent(operation, "contactId in a create");
    const identify = (contact: ContactIdentity): string | undefined => contact.contactNumber;
    return this.writeContacts({ operation, method: "PUT", contacts, identify, key });
  }

  /**
   * Updates contacts (POST) by their contactId, without which Xero would overwrite whichever contact has the name. The
   * outcomes are in the order of the contacts. Throws XeroFailure; NOT_FOUND for the whole call if one id is unknown.
   */
  async updateContacts(contacts: ContactPayload[], key: string): Promise<ElementOutcome<XeroContactAnswer>[]> {
    const identify = (contact: ContactIdentity): string | undefined => contact.contactId?.toLowerCase();
    return this.writeContacts({ operation: "updateContacts", method: "POST", contacts, identify, key });
  }

  /** The exact body for putInvoices and postInvoices; the same invoices always give the same text. */
  serializeInvoices(invoices: InvoicePayload[]): string {
    return serializeInvoices(invoices);
  }

  /**
   * Creates invoices (PUT) from exactly this body. The same body under the same key is answered alike for six minutes; a
   * later one is a new request. One outcome per invoice that Xero's answer names, in no promised order: what it does not
   * name is uncertain. Throws XeroFailure; see its `mayHaveWritten`.
   */
  putInvoices(body: string, key: string): Promise<InvoiceOutcome[]> {
    const request: Call["request"] = (api) => api.createInvoices(this.tenantId, new Invoices(), false, 4, key);
    return this.writeInvoices({ operation: "putInvoices", method: "PUT", body, request });
  }

  /** Updates invoices (POST), otherwise like putInvoices. Refuses without sending if one has no id: Xero would go by its number. */
  async postInvoices(body: string, key: string): Promise<InvoiceOutcome[]> {
    if (!identifiedInvoices.safeParse(JSON.parse(body)).success) throw notSent("postInvoices", "an invoice without id");
    const request: Call["request"] = (api) => api.updateOrCreateInvoices(this.tenantId, new Invoices(), false, 4, key);
    return this.writeInvoices({ operation: "postInvoices", method: "POST", body, request });
  }

  /**
   * The invoices with these ids, or with exactly these references (several may share one), with lines and payments;
   * unknown ones are left out. One call per 40 ids, or per few KB of references, and page.
   */
  async fetchInvoices(filter: InvoiceFilter): Promise<XeroInvoiceAnswer[]> {
    const queries: { ids?: string[]; where?: string }[] =
      "ids" in filter
        ? chunks([...new Set(filter.ids)], idsPerCall).map((ids) => ({ ids }))
        : alternatives([...new Set(filter.references)].map((text) => `Reference==${quoted(text)}`)).map((where) => ({
            where,
          }));
    // Whatever Xero makes of the filter (case, accents, quotes), only what was asked for is answered.
    const wanted = new Set("ids" in filter ? filter.ids.map((id) => id.toLowerCase()) : filter.references);
    const found = new Map<string, XeroInvoiceAnswer>();
    for (const { ids, where } of queries) {
      const pages = this.pages(
        "fetchInvoices",
        "Invoices",
        invoiceSchema,
        (page) => (api) =>
          api.getInvoices(
            this.tenantId,
            filter.modifiedSince,
            where,
            undefined,
            ids,
            undefined,
            undefined,
            undefined,
            page,
            undefined,
            undefined,
            4,
            undefined,
            invoicePageSize,
          ),
      );
      for await (const invoices of pages) {
        for (const invoice of invoices) {
          const name = "ids" in filter ? invoice.invoiceId.toLowerCase() : invoice.reference;
          if (name !== undefined && wanted.has(name)) found.set(invoice.invoiceId, invoice);
        }
      }
    }
    return [...found.values()];
  }

  /** The payment, deleted or not. One call. Throws XeroFailure NOT_FOUND. */
  fetchPayment(paymentId: string): Promise<XeroPaymentAnswer> {
    return this.fetchOne("fetchPayment", "Payments", paymentSchema, (api) => api.getPayment(this.tenantId, paymentId));
  }

  /** The payments changed since then, deleted ones too, one array per page of up to 1,000 and per call. */
  async *fetchPayments({ modifiedSince }: { modifiedSince?: Date | undefined }): AsyncGenerator<XeroPaymentAnswer[]> {
    const request = (page: number): Call["request"] => {
      return (api) => api.getPayments(this.tenantId, modifiedSince, undefined, "PaymentID ASC", page, paymentPageSize);
    };
    for await (const { elements } of this.wholePages("fetchPayments", "Payments", paymentSchema, request)) {
      yield elements;
    }
  }

  /**
   * The invoices changed since then, one page of up to 100 per call, from that page on. In the order of their ids: what changes meanwhile moves
   * others to later pages and none to an earlier one, so that reading on skips none; may repeat one.
   */
  fetchChangedInvoices(modifiedSince: Date, firstPage = 1): AsyncGenerator<ChangedPage<XeroInvoiceAnswer>> {
    const request = (page: number): Call["request"] => {
      const [none, order] = [undefined, "InvoiceID ASC"];
      return (api) =>
        api.getInvoices(
          this.tenantId,
          modifiedSince,
          none,
          order,
          none,
          none,
          none,
          none,
          page,
          none,
          none,
          4,
          none,
          changedPageSize,
        );
    };
    return this.wholePages("fetchChangedInvoices", "Invoices", invoiceSchema, request, firstPage);
  }

  /**
   * Pays invoices (PUT) by exactly this body (`serializePayments`); a payment can't be changed later. The same body under the same key is answered alike for six
   * minutes. One outcome per payment that Xero's answer names, in no promised order. Throws XeroFailure; see its `mayHaveWritten`.
   */
  async putPayments(body: string, key: string): Promise<PaymentOutcome[]> {
    const request: Call["request"] = (api) => api.createPayments(this.tenantId, new Payments(), false, key);
    const call: Call = { operation: "putPayments", method: "PUT", body, request };
    const answer = await exchange(this.options, call, envelope("Payments", paymentOutcomeSchema));
    if (answer.elements.length === 0) throw incomplete(call.operation);
    return answer.elements;
  }

  /** Deletes a payment, which is the only change that Xero knows of one. Throws XeroFailure: REJECTED also where it is deleted already. */
  async deletePayment(paymentId: string): Promise<void> {
    const body = JSON.stringify({ Status: "DELETED" });
    const request: Call["request"] = (api) => api.deletePayment(this.tenantId, paymentId, new PaymentDelete());
    await exchange(
      this.options,
      { operation: "deletePayment", method: "POST", body, request },
      envelope("Payments", paymentSchema),
    );
  }

  private get tenantId(): string {
    return this.options.tenantId;
  }

  private async fetchAll<Schema extends z.ZodType>(
    operation: string,
    name: string,
    schema: Schema,
    request: Call["request"],
  ): Promise<z.output<Schema>[]> {
    const answer = await exchange(this.options, { operation, method: "GET", request }, envelope(name, schema));
    return answer.elements;
  }

  private async fetchOne<Schema extends z.ZodType>(
    operation: string,
    name: string,
    schema: Schema,
    request: Call["request"],
  ): Promise<z.output<Schema>> {
    const [element] = await this.fetchAll(operation, name, schema, request);
    if (element === undefined) throw incomplete(operation);
    return element;
  }

  private async *pages<Schema extends z.ZodType>(
    operation: string,
    name: string,
    schema: Schema,
    request: (page: number) => Call["request"],
  ): AsyncGenerator<z.output<Schema>[]> {
    for await (const { elements } of this.wholePages(operation, name, schema, request)) yield elements;
  }

  private async *wholePages<Schema extends z.ZodType>(
    operation: string,
    name: string,
    schema: Schema,
    request: (page: number) => Call["request"],
    firstPage = 1,
  ): AsyncGenerator<ChangedPage<z.output<Schema>>> {
    const answerSchema = envelope(name, schema);
    for (let page = firstPage; ; page++) {
      const call: Call = { operation, method: "GET", request: request(page) };
      const { elements, pageCount, answeredAt } = await exchange(this.options, call, answerSchema);
      if (elements.length > 0) yield { page, elements, answeredAt };
      // Xero clamps page sizes silently: without its count of pages only an empty page proves the end.
      if (elements.length === 0 || (pageCount !== undefined && page >= pageCount)) return;
    }
  }

  private async writeInvoices(call: Call): Promise<InvoiceOutcome[]> {
    const answer = await exchange(this.options, call, envelope("Invoices", invoiceOutcomeSchema));
    if (answer.elements.length === 0) throw incomplete(call.operation);
    return answer.elements;
  }

  private async writeContacts(write: ContactWrite): Promise<ElementOutcome<XeroContactAnswer>[]> {
    const { operation, method, contacts, identify, key } = write;
    if (contacts.length === 0) return [];
    const identities = new Set(contacts.map((contact) => identify(contact)));
    if (identities.has(undefined) || identities.has(""))
      throw notSent(operation, "a contact without what identifies it");
    if (identities.size < contacts.length) throw notSent(operation, "the same contact twice");
    const request: Call["request"] = (api) =>
      method === "PUT"
        ? api.createContacts(this.tenantId, new Contacts(), false, key)
        : api.updateOrCreateContacts(this.tenantId, new Contacts(), false, key);
    const call: Call = { operation, method, body: serializeContacts(contacts), request };
    const answer = await exchange(this.options, call, envelope("Contacts", contactOutcomeSchema));
    const outcomes = new Map(answer.elements.map(({ identity, outcome }) => [identify(identity), outcome]));
    return contacts.map((contact) => {
      const outcome = outcomes.get(identify(contact));
      if (outcome === undefined) throw incomplete(operation);
      return outcome;
    });
  }
}

const identifiedInvoices = z.object({ Invoices: z.array(z.object({ InvoiceID: z.string().min(1) })) });
