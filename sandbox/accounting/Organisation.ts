/**
 * Owns one organisation's books: its records and the indexes that keep look-ups by id, number and name independent of
 * how many there are. Leaves all rules to contacts.ts, invoices.ts and their neighbours.
 */
import type { Clock } from "../Clock.js";
import type { Switches } from "../switches.js";
import { msToDay } from "../wire.js";
import type { Changes } from "./Changes.js";
import type { Account, Contact, ContactGroup, Credit, Invoice, Payment, Profile, TaxRate } from "./records.js";

const zones: Readonly<Record<string, string>> = {
  AUSEASTERNSTANDARDTIME: "Australia/Sydney",
  EAUSTRALIASTANDARDTIME: "Australia/Brisbane",
  CENAUSTRALIASTANDARDTIME: "Australia/Adelaide",
  AUSCENTRALSTANDARDTIME: "Australia/Darwin",
  WAUSTRALIASTANDARDTIME: "Australia/Perth",
  TASMANIASTANDARDTIME: "Australia/Hobart",
  NEWZEALANDSTANDARDTIME: "Pacific/Auckland",
  GMTSTANDARDTIME: "Europe/London",
  UTC: "UTC",
};

export class Organisation {
  readonly contacts = new Map<string, Contact>();
  /** Active contacts only, by lower-case name: names are unique among those. */
  readonly activeContactIdByName = new Map<string, string>();
  /** Archived ones too: a number stays taken. */
  readonly contactIdByNumber = new Map<string, string>();
  readonly groups = new Map<string, ContactGroup>();
  readonly invoices = new Map<string, Invoice>();
  /** Sales invoices only: numbers of bills are not unique. */
  readonly invoiceIdByNumber = new Map<string, string>();
  readonly invoiceIdsByContact = new Map<string, Set<string>>();
  readonly payments = new Map<string, Payment>();
  readonly paymentIdsByInvoice = new Map<string, readonly string[]>();
  readonly credits = new Map<string, Credit>();
  readonly creditIdsByInvoice = new Map<string, readonly string[]>();
  readonly accounts = new Map<string, Account>();
  readonly accountIdByCode = new Map<string, string>();
  readonly taxRates = new Map<string, TaxRate>();
  readonly history = new Map<string, readonly { at: number; details: string }[]>();
  /** Sequence of generated invoice numbers. */
  readonly counters = new Map<string, number>();
  /** Endpoints (lower case) that the connected person's role may not use. */
  readonly forbiddenEndpoints = new Set<string>();
  /** How many invoices may still be approved, on plans that count them. */
  approvalsLeft: number | undefined;

  constructor(
    readonly profile: Profile,
    readonly clock: Clock,
    readonly switches: Switches,
  ) {}

  get id(): string {
    return this.profile.id;
  }

  /** The calendar date where the organisation is. */
  today(): string {
    const timeZone = zones[this.profile.timezone] ?? "UTC";
    const parts = new Intl.DateTimeFormat("en-CA", { timeZone, year: "numeric", month: "2-digit", day: "2-digit" });
    return timeZone === "UTC" ? msToDay(this.clock.now()) : parts.format(this.clock.now());
  }

  account(idOrCode: { id?: string | undefined; code?: string | undefined }): Account | undefined {
    const id = idOrCode.id ?? this.accountIdByCode.get(idOrCode.code?.toLowerCase() ?? "");
    return id === undefined ? undefined : this.accounts.get(id);
  }

  contactByNumber(number: string): Contact | undefined {
    return this.contacts.get(this.contactIdByNumber.get(number.toLowerCase()) ?? "");
  }

  activeContactByName(name: string): Contact | undefined {
    return this.contacts.get(this.activeContactIdByName.get(name.toLowerCase()) ?? "");
  }

  invoiceByNumber(number: string): Invoice | undefined {
    return this.invoices.get(this.invoiceIdByNumber.get(number.toLowerCase()) ?? "");
  }

  paymentsOf(invoiceId: string): Payment[] {
    return (this.paymentIdsByInvoice.get(invoiceId) ?? [])
      .map((id) => this.payments.get(id))
      .filter((payment) => payment?.status === "AUTHORISED") as Payment[];
  }

  creditsOf(invoiceId: string): Credit[] {
    return (this.creditIdsByInvoice.get(invoiceId) ?? [])
      .map((id) => this.credits.get(id))
      .filter((credit): credit is Credit => credit?.allocations.some((one) => one.invoiceId === invoiceId) ?? false);
  }

  /** The next free generated number, INV-0001 and on. */
  nextInvoiceNumber(changes: Changes): string {
    let count = this.counters.get("INV") ?? 0;
    let number: string;
    do {
      count += 1;
      number = `INV-${String(count).padStart(4, "0")}`;
    } while (this.invoiceIdByNumber.has(number.toLowerCase()));
    changes.put(this.counters, "INV", count);
    return number;
  }
}
