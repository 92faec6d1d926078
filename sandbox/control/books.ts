/**
 * Owns what control does in an organisation's books: what a person would do in Xero's own pages. Leaves the rules to
 * the modules of the records, which apply to people too, except where Xero's pages allow more than its API (restoring
 * a contact, merging, moving a due date of a part-paid invoice).
 */
import Big from "big.js";
import { z } from "zod";
import { Changes } from "../accounting/Changes.js";
import { archiveContact, createContact, updateContact } from "../accounting/contacts.js";
import { addMember, createGroup } from "../accounting/contactGroups.js";
import { wholeContact } from "../accounting/contactWire.js";
import { applyCredit, removeCredit } from "../accounting/credits.js";
import { createInvoice, updateInvoice } from "../accounting/invoices.js";
import { wireInvoice } from "../accounting/invoiceWire.js";
import type { Organisation } from "../accounting/Organisation.js";
import { createPayment, deletePayment } from "../accounting/payments.js";
import type { Invoice } from "../accounting/records.js";
import { amountDue } from "../accounting/settlement.js";
import { Fields } from "../Fields.js";
import { parseDay } from "../wire.js";
import type { World } from "../World.js";
import { controlCall, ControlRefusal, type ControlCall } from "./ControlCall.js";
import { contactKey, findAccount, findContact, findInvoice, findOrganisation, invoiceKey } from "./find.js";

const amount = z.union([z.number(), z.string()]);
const tenantId = z.string().optional();
const sent = z.record(z.string(), z.unknown());
const byPerson = { unitDecimals: 4, byApp: false } as const;

export const bookCalls: Readonly<Record<string, ControlCall>> = {
  pay: controlCall(
    z.strictObject({
      ...invoiceKey,
      amount: amount.optional(),
      date: z.string().optional(),
      account: z.string().optional(),
      paymentReference: z.string().optional(),
      isReconciled: z.boolean().optional(),
      batchId: z.uuid().optional(),
    }),
    (world, body) => {
      const { org, invoice } = findInvoice(world, body);
      const payment = changing(world, org, (changes) =>
        createPayment(
          org,
          new Fields({
            Invoice: { InvoiceID: invoice.id },
            Account: { AccountID: findAccount(org, body.account).id },
            Amount: body.amount ?? amountDue(invoice).toFixed(2),
            Date: body.date,
            Reference: body.paymentReference,
            IsReconciled: body.isReconciled,
          }),
          changes,
          { batchId: body.batchId },
        ),
      );
      return { paymentId: payment.id, ...standing(org, invoice) };
    },
  ),
  unpay: controlCall(z.strictObject({ tenantId, paymentId: z.string() }), (world, { paymentId }) => {
    for (const org of world.organisations.values()) {
      const payment = org.payments.get(paymentId.toLowerCase());
      if (!payment) continue;
      const batch = [...org.payments.values()].filter(
        (one) => one.batchId !== undefined && one.batchId === payment.batchId,
      );
      changing(world, org, (changes) => {
        for (const one of batch.length > 0 ? batch : [payment]) {
          deletePayment(org, one.id, new Fields({ Status: "DELETED" }), changes, {});
        }
      });
      const invoice = org.invoices.get(payment.invoiceId);
      return { paymentId, ...(invoice ? standing(org, invoice) : {}) };
    }
    throw new ControlRefusal(`no payment ${paymentId}`);
  }),
  reconcile: controlCall(
    z.strictObject({ paymentId: z.string(), isReconciled: z.boolean().default(true) }),
    (world, { paymentId, isReconciled }) => {
      for (const org of world.organisations.values()) {
        const payment = org.payments.get(paymentId.toLowerCase());
        if (!payment) continue;
        payment.isReconciled = isReconciled;
        return { paymentId, isReconciled };
      }
      throw new ControlRefusal(`no payment ${paymentId}`);
    },
  ),
  credit: controlCall(
    z.strictObject({
      ...invoiceKey,
      amount: amount.optional(),
      kind: z.enum(["CREDITNOTE", "OVERPAYMENT", "PREPAYMENT"]).default("CREDITNOTE"),
    }),
    (world, body) => {
      const { org, invoice } = findInvoice(world, body);
      const size = body.amount === undefined ? amountDue(invoice) : new Big(body.amount);
      const credit = changing(world, org, (changes) => applyCredit(org, invoice, body.kind, size, changes));
      return { creditId: credit.id, ...standing(org, invoice) };
    },
  ),
  uncredit: controlCall(z.strictObject({ creditId: z.string() }), (world, { creditId }) => {
    for (const org of world.organisations.values()) {
      const credit = org.credits.get(creditId);
      if (!credit) continue;
      changing(world, org, (changes) => removeCredit(org, credit, changes));
      return { creditId };
    }
    throw new ControlRefusal(`no credit ${creditId}`);
  }),
  "invoices/add": controlCall(z.strictObject({ tenantId, invoice: sent }), (world, body) => {
    const org = findOrganisation(world, body.tenantId);
    const invoice = changing(world, org, (changes) => createInvoice(org, new Fields(body.invoice), byPerson, changes));
    return { tenantId: org.id, ...wireInvoice(org, invoice, "single", 4) };
  }),
  "invoices/edit": controlCall(z.strictObject({ ...invoiceKey, changes: sent }), (world, body) => {
    const { org, invoice } = findInvoice(world, body);
    if (movesDueDateOnly(invoice, body.changes)) {
      invoice.dueDate = parseDay(String(Object.values(body.changes)[0])) ?? invoice.dueDate;
    } else {
      changing(world, org, (changes) => updateInvoice(org, invoice, new Fields(body.changes), byPerson, changes));
    }
    return { tenantId: org.id, ...wireInvoice(org, invoice, "single", 4) };
  }),
  "invoices/void": controlCall(z.strictObject(invoiceKey), (world, key) => ended(world, key, "VOIDED")),
  "invoices/delete": controlCall(z.strictObject(invoiceKey), (world, key) => ended(world, key, "DELETED")),
  "contacts/add": controlCall(
    z.strictObject({ tenantId, contact: sent, isSupplier: z.boolean().optional() }),
    (world, body) => {
      const org = findOrganisation(world, body.tenantId);
      const contact = changing(world, org, (changes) => createContact(org, new Fields(body.contact), changes));
      contact.isSupplier = body.isSupplier ?? false;
      return { tenantId: org.id, ...wholeContact(org, contact) };
    },
  ),
  "contacts/edit": controlCall(z.strictObject({ ...contactKey, changes: sent }), (world, body) => {
    const { org, contact } = findContact(world, body);
    changing(world, org, (changes) => updateContact(org, contact, new Fields(body.changes), changes));
    return { tenantId: org.id, ...wholeContact(org, contact) };
  }),
  "contacts/archive": controlCall(z.strictObject(contactKey), (world, key) => {
    const { org, contact } = findContact(world, key);
    changing(world, org, (changes) => archiveContact(org, contact, undefined, changes));
    return { tenantId: org.id, contactId: contact.id };
  }),
  "contacts/restore": controlCall(z.strictObject(contactKey), (world, key) => {
    const { org, contact } = findContact(world, key);
    if (org.activeContactByName(contact.name)) throw new ControlRefusal(`an active contact is called ${contact.name}`);
    changing(world, org, (changes) => {
      changes.edit(contact, { status: "ACTIVE", mergedToId: undefined });
      changes.put(org.activeContactIdByName, contact.name.toLowerCase(), contact.id);
      updateContact(org, contact, new Fields({}), changes);
    });
    return { tenantId: org.id, contactId: contact.id };
  }),
  "contacts/merge": controlCall(
    z.strictObject({ tenantId, fromContactId: z.string(), intoContactId: z.string() }),
    (world, body) => {
      const { org, contact } = findContact(world, { tenantId: body.tenantId, contactId: body.fromContactId });
      const { contact: into } = findContact(world, { tenantId: org.id, contactId: body.intoContactId });
      changing(world, org, (changes) => merge(org, contact.id, into.id, changes));
      return { tenantId: org.id, contactId: contact.id, mergedToContactId: into.id };
    },
  ),
  "groups/add": controlCall(
    z.strictObject({ tenantId, name: z.string(), contactIds: z.array(z.string()).default([]) }),
    (world, body) => {
      const org = findOrganisation(world, body.tenantId);
      const group = changing(world, org, (changes) => {
        const created = createGroup(org, new Fields({ Name: body.name }), changes);
        for (const ContactID of body.contactIds) addMember(org, created.id, new Fields({ ContactID }), changes);
        return created;
      });
      return { tenantId: org.id, contactGroupId: group.id };
    },
  ),
};

/** Does the work, announces it, and takes it back where a rule refuses it. */
function changing<T>(world: World, org: Organisation, work: (changes: Changes) => T): T {
  const changes = new Changes();
  try {
    const result = work(changes);
    world.webhooks.announce(org.id, changes.announcements);
    return result;
  } catch (error) {
    changes.rollback();
    throw error;
  }
}

function ended(world: World, key: Parameters<typeof findInvoice>[1], Status: string): unknown {
  const { org, invoice } = findInvoice(world, key);
  changing(world, org, (changes) => updateInvoice(org, invoice, new Fields({ Status }), byPerson, changes));
  return standing(org, invoice);
}

/** Allowed on a part-paid invoice, and it does not move UpdatedDateUTC. */
function movesDueDateOnly(invoice: Invoice, changes: Record<string, unknown>): boolean {
  const keys = Object.keys(changes).map((key) => key.toLowerCase());
  return invoice.amountPaid.gt(0) && keys.length === 1 && keys[0] === "duedate";
}

function merge(org: Organisation, fromId: string, intoId: string, changes: Changes): void {
  const [from, into] = [org.contacts.get(fromId), org.contacts.get(intoId)];
  if (!from || !into || from.id === into.id) throw new ControlRefusal("two contacts are needed");
  for (const id of org.invoiceIdsByContact.get(fromId) ?? []) {
    const invoice = org.invoices.get(id);
    if (!invoice) continue;
    changes.edit(invoice, { contactId: intoId, updatedAt: org.clock.now() });
    changes.announce({ category: "INVOICE", type: "UPDATE", resourceId: id });
  }
  const moved = [...(org.invoiceIdsByContact.get(intoId) ?? []), ...(org.invoiceIdsByContact.get(fromId) ?? [])];
  org.invoiceIdsByContact.set(intoId, new Set(moved));
  org.invoiceIdsByContact.delete(fromId);
  archiveContact(org, from, intoId, changes);
  changes.announce({ category: "CONTACT", type: "UPDATE", resourceId: intoId });
}

function standing(org: Organisation, invoice: Invoice): Record<string, unknown> {
  return {
    tenantId: org.id,
    invoiceId: invoice.id,
    invoiceNumber: invoice.number,
    status: invoice.status,
    total: invoice.total.toFixed(2),
    amountDue: amountDue(invoice).toFixed(2),
    amountPaid: invoice.amountPaid.toFixed(2),
    amountCredited: invoice.amountCredited.toFixed(2),
  };
}
