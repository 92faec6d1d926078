/**
 * Owns how a contact looks on the wire: whole, in a list, or as the few fields that other records show of it. Leaves
 * its rules to contacts.ts.
 *
 * Source: docs/xero-facts.md sections 5 and 6: four phone and two address slots always, empty ones too; a list without
 * pages shows a subset; balances follow from open invoices.
 */
import type { Json } from "../http.js";
import { wireInstant } from "../wire.js";
import { addressTypes, phoneTypes } from "./contacts.js";
import type { Organisation } from "./Organisation.js";
import type { Contact } from "./records.js";

const listDetails = ["FirstName", "LastName", "AccountNumber", "CompanyNumber", "TaxNumber", "DefaultCurrency"];

/** Everything, as a single GET, a paged list and a write answer with. */
export function wholeContact(org: Organisation, contact: Contact): Json {
  return {
    ...base(contact),
    ...contact.details,
    EmailAddress: contact.details["EmailAddress"] ?? "",
    BankAccountDetails: contact.details["BankAccountDetails"] ?? "",
    ContactGroups: groupsOf(org, contact),
    IsSupplier: contact.isSupplier,
    IsCustomer: contact.isCustomer,
    SalesTrackingCategories: [],
    PurchasesTrackingCategories: [],
    ...balances(org, contact),
    ContactPersons: contact.persons,
    ...(contact.mergedToId === undefined ? {} : { MergedToContactID: contact.mergedToId }),
    HasAttachments: false,
    HasValidationErrors: false,
  };
}

/** The subset of an un-paged list: no persons, groups, balances, nor where the contact was merged to. */
export function listedContact(contact: Contact): Json {
  return {
    ...base(contact),
    ...Object.fromEntries(listDetails.flatMap((key) => (key in contact.details ? [[key, contact.details[key]]] : []))),
    EmailAddress: contact.details["EmailAddress"] ?? "",
    BankAccountDetails: contact.details["BankAccountDetails"] ?? "",
    ContactGroups: [],
    IsSupplier: contact.isSupplier,
    IsCustomer: contact.isCustomer,
    ContactPersons: [],
    HasAttachments: false,
    HasValidationErrors: false,
  };
}

/** summaryOnly: lighter by what costs Xero a look-up. */
export function summarisedContact(contact: Contact): Json {
  const dear = ["IsSupplier", "IsCustomer", "HasAttachments"];
  return Object.fromEntries(Object.entries(listedContact(contact)).filter(([key]) => !dear.includes(key)));
}

/** What lists of invoices show of their contact. */
export function mentionedContact(contact: Contact): Json {
  return {
    ContactID: contact.id,
    ...(contact.number === undefined ? {} : { ContactNumber: contact.number }),
    Name: contact.name,
    Addresses: [],
    Phones: [],
    ContactGroups: [],
    ContactPersons: [],
    HasValidationErrors: false,
  };
}

function base(contact: Contact): Json {
  return {
    ContactID: contact.id,
    ...(contact.number === undefined ? {} : { ContactNumber: contact.number }),
    ContactStatus: contact.status,
    Name: contact.name,
    Addresses: addressTypes.map((AddressType) => ({
      AddressType,
      City: "",
      Region: "",
      PostalCode: "",
      Country: "",
      ...contact.addresses[AddressType],
    })),
    Phones: phoneTypes.map((PhoneType) => ({
      PhoneType,
      PhoneNumber: "",
      PhoneAreaCode: "",
      PhoneCountryCode: "",
      ...contact.phones[PhoneType],
    })),
    UpdatedDateUTC: wireInstant(contact.updatedAt),
  };
}

function groupsOf(org: Organisation, contact: Contact): Json[] {
  return [...org.groups.values()]
    .filter((group) => group.status === "ACTIVE" && group.contactIds.includes(contact.id))
    .map((group) => ({
      ContactGroupID: group.id,
      Name: group.name,
      Status: group.status,
      Contacts: [],
      HasValidationErrors: false,
    }));
}

function balances(org: Organisation, contact: Contact): Json {
  const owed = { ACCREC: { outstanding: 0, overdue: 0 }, ACCPAY: { outstanding: 0, overdue: 0 } };
  const today = org.today();
  let any = false;
  for (const id of org.invoiceIdsByContact.get(contact.id) ?? []) {
    const invoice = org.invoices.get(id);
    if (invoice?.status !== "AUTHORISED") continue;
    any = true;
    const due = invoice.total.minus(invoice.amountPaid).minus(invoice.amountCredited).toNumber();
    owed[invoice.type].outstanding += due;
    if (invoice.dueDate !== undefined && invoice.dueDate < today) owed[invoice.type].overdue += due;
  }
  if (!any) return {};
  const sums = (of: { outstanding: number; overdue: number }): Json => ({
    Outstanding: Number(of.outstanding.toFixed(2)),
    Overdue: Number(of.overdue.toFixed(2)),
  });
  return { Balances: { AccountsReceivable: sums(owed.ACCREC), AccountsPayable: sums(owed.ACCPAY) } };
}
