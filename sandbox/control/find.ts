/**
 * Owns finding what a control call means: by id, by what a person sees, or the only one there is. Leaves what is done
 * with it to books.ts and setup.ts. Complains, and never guesses, where nothing is found.
 */
import type { Organisation } from "../accounting/Organisation.js";
import type { Account, Contact, Invoice } from "../accounting/records.js";
import type { World } from "../World.js";
import { z } from "zod";
import { ControlRefusal } from "./ControlCall.js";

export const invoiceKey = {
  tenantId: z.string().optional(),
  invoiceId: z.string().optional(),
  invoiceNumber: z.string().optional(),
  reference: z.string().optional(),
};

export const contactKey = {
  tenantId: z.string().optional(),
  contactId: z.string().optional(),
  contactNumber: z.string().optional(),
  name: z.string().optional(),
};

interface InvoiceKey {
  readonly tenantId?: string | undefined;
  readonly invoiceId?: string | undefined;
  readonly invoiceNumber?: string | undefined;
  readonly reference?: string | undefined;
}

interface ContactKey {
  readonly tenantId?: string | undefined;
  readonly contactId?: string | undefined;
  readonly contactNumber?: string | undefined;
  readonly name?: string | undefined;
}

/** The named organisation, by id or name; the first where none is named. */
export function findOrganisation(world: World, key?: string): Organisation {
  for (const org of world.organisations.values()) {
    if (key === undefined || org.id === key.toLowerCase() || org.profile.name === key) return org;
  }
  throw new ControlRefusal(`no organisation ${key ?? "at all"}`);
}

/** The invoice and its organisation, looked for in all organisations unless one is named. */
export function findInvoice(world: World, key: InvoiceKey): { org: Organisation; invoice: Invoice } {
  for (const org of candidates(world, key.tenantId)) {
    const invoice =
      org.invoices.get(key.invoiceId?.toLowerCase() ?? "") ??
      org.invoiceByNumber(key.invoiceNumber ?? "") ??
      (key.reference === undefined
        ? undefined
        : [...org.invoices.values()].find((one) => one.reference === key.reference));
    if (invoice) return { org, invoice };
  }
  throw new ControlRefusal(`no such invoice: ${JSON.stringify(key)}`);
}

/** The contact and its organisation; archived ones are found by id and number. */
export function findContact(world: World, key: ContactKey): { org: Organisation; contact: Contact } {
  for (const org of candidates(world, key.tenantId)) {
    const contact =
      org.contacts.get(key.contactId?.toLowerCase() ?? "") ??
      org.contactByNumber(key.contactNumber ?? "") ??
      org.activeContactByName(key.name ?? "");
    if (contact) return { org, contact };
  }
  throw new ControlRefusal(`no such contact: ${JSON.stringify(key)}`);
}

/** An account by code or id; the first bank account where none is named. */
export function findAccount(org: Organisation, key?: string): Account {
  const account =
    key === undefined
      ? [...org.accounts.values()].find((one) => one.type === "BANK" && one.status === "ACTIVE")
      : (org.account({ code: key }) ?? org.account({ id: key.toLowerCase() }));
  if (!account) throw new ControlRefusal(`no account ${key ?? "of a bank"}`);
  return account;
}

function candidates(world: World, tenantId: string | undefined): Organisation[] {
  return tenantId === undefined ? [...world.organisations.values()] : [findOrganisation(world, tenantId)];
}
