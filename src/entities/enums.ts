/** The contract's enums: what is stored, what GraphQL shows and what the code compares, in one list each. */
import { registerEnumType } from "type-graphql";

function names<T extends string>(...values: T[]): { [value in T]: value } {
  return Object.fromEntries(values.map((value) => [value, value])) as { [value in T]: value };
}

export type Role = keyof typeof Role;
export const Role = names("VIEWER", "BOOKKEEPER", "ADMIN");
registerEnumType(Role, {
  name: "Role",
  description:
    "What a caller may do: VIEWER reads; BOOKKEEPER also syncs and keeps invoices, participants and payments; ADMIN also connects and configures.",
});

export type SetupStep = keyof typeof SetupStep;
export const SetupStep = names(
  "ENABLE",
  "CONNECT",
  "SELECT_ORGANISATION",
  "SALES_ACCOUNT",
  "PAYMENT_ACCOUNT",
  "TAX_RATES",
  "WEBHOOK",
);
registerEnumType(SetupStep, { name: "SetupStep" });

export type LineAmountTypes = keyof typeof LineAmountTypes;
export const LineAmountTypes = names("EXCLUSIVE", "INCLUSIVE", "NO_TAX");
registerEnumType(LineAmountTypes, { name: "LineAmountTypes" });

export type XeroInvoiceStatus = keyof typeof XeroInvoiceStatus;
export const XeroInvoiceStatus = names("DRAFT", "SUBMITTED", "AUTHORISED");
registerEnumType(XeroInvoiceStatus, { name: "XeroInvoiceStatus" });

export type InvoiceNumbering = keyof typeof InvoiceNumbering;
export const InvoiceNumbering = names("XERO_NUMBERS", "OUR_NUMBERS");
registerEnumType(InvoiceNumbering, {
  name: "InvoiceNumbering",
  description:
    "XERO_NUMBERS: Xero numbers the invoice, ours goes to its reference. OUR_NUMBERS: ours is its number too.",
});

export type ConnectionStatus = keyof typeof ConnectionStatus;
export const ConnectionStatus = names("CONNECTED", "RECONNECT_REQUIRED", "DISCONNECTED", "DISCONNECTED_INACTIVE");
registerEnumType(ConnectionStatus, {
  name: "ConnectionStatus",
  valuesConfig: {
    RECONNECT_REQUIRED: {
      description: "Xero refuses the tokens or the consent lacks a scope: an administrator must connect again.",
    },
    DISCONNECTED_INACTIVE: { description: "Lapsed after 60 days without use." },
  },
});

export type XeroAccountUse = keyof typeof XeroAccountUse;
export const XeroAccountUse = names("REVENUE_ACCOUNTS", "PAYMENT_ACCOUNTS");
registerEnumType(XeroAccountUse, { name: "XeroAccountUse" });

export type PlanManagement = keyof typeof PlanManagement;
export const PlanManagement = names("SELF_MANAGED", "PLAN_MANAGED", "AGENCY_MANAGED", "NOT_NDIS");
registerEnumType(PlanManagement, {
  name: "PlanManagement",
  description:
    "Who is billed: the participant, the plan manager, the NDIA; NOT_NDIS for everyone who is no participant of the scheme.",
});

export type XeroContactStatus = keyof typeof XeroContactStatus;
export const XeroContactStatus = names("ACTIVE", "ARCHIVED", "MERGED");
registerEnumType(XeroContactStatus, { name: "XeroContactStatus" });

export type InvoiceStatus = keyof typeof InvoiceStatus;
export const InvoiceStatus = names("DRAFT", "APPROVED", "PARTIALLY_PAID", "PAID", "VOIDED");
registerEnumType(InvoiceStatus, { name: "InvoiceStatus" });

export type SyncStatus = keyof typeof SyncStatus;
export const SyncStatus = names("NOT_SYNCED", "QUEUED", "SYNCING", "SYNCED", "FAILED", "UNCERTAIN", "IGNORED");
registerEnumType(SyncStatus, {
  name: "SyncStatus",
  valuesConfig: {
    UNCERTAIN: {
      description: "Xero may or may not have taken it; it is being looked up before anything is sent again.",
    },
    IGNORED: { description: "A person said that it must not be sent, or that it is in Xero already." },
  },
});

export type SyncErrorCode = keyof typeof SyncErrorCode;
export const SyncErrorCode = names(
  "XERO_DISABLED",
  "XERO_NOT_CONNECTED",
  "RECONNECT_REQUIRED",
  "INVALID_MAPPING",
  "INVALID_INVOICE",
  "CONTACT_AMBIGUOUS",
  "CONTACT_ARCHIVED",
  "CONTACT_REJECTED",
  "INVOICE_AMBIGUOUS",
  "NUMBER_TAKEN",
  "PERIOD_LOCKED",
  "LOCKED_BY_PAYMENT",
  "VALIDATION_FAILED",
  "RATE_LIMITED",
  "XERO_UNAVAILABLE",
  "OUTCOME_UNKNOWN",
  "INTERNAL",
);
registerEnumType(SyncErrorCode, {
  name: "SyncErrorCode",
  valuesConfig: { INVOICE_AMBIGUOUS: { description: "Xero holds several invoices that could be this one." } },
});

export type SyncOutcome = keyof typeof SyncOutcome;
export const SyncOutcome = names(
  "PENDING",
  "CREATED",
  "UPDATED",
  "ADOPTED",
  "UNCHANGED",
  "SKIPPED",
  "FAILED",
  "UNCERTAIN",
  "CANCELLED",
);
registerEnumType(SyncOutcome, {
  name: "SyncOutcome",
  description: "ADOPTED: it was in Xero already, sent by an attempt whose answer was lost.",
});

export type ContactAction = keyof typeof ContactAction;
export const ContactAction = names("CREATED", "UPDATED", "LINKED", "UNCHANGED");
registerEnumType(ContactAction, { name: "ContactAction" });

export type InvoiceOrder = keyof typeof InvoiceOrder;
export const InvoiceOrder = names("NEWEST_FIRST", "OLDEST_FIRST", "RECENTLY_UPDATED");
registerEnumType(InvoiceOrder, { name: "InvoiceOrder" });

export type PaymentType = keyof typeof PaymentType;
export const PaymentType = names("RECONCILIATION", "STRIPE", "MANUAL", "CREDIT_NOTE", "OVERPAYMENT", "PREPAYMENT");
registerEnumType(PaymentType, { name: "PaymentType" });

export type PaymentSource = keyof typeof PaymentSource;
export const PaymentSource = names("XERO_WEBHOOK", "XERO_POLL", "XERO_SYNC", "PLATFORM");
registerEnumType(PaymentSource, { name: "PaymentSource" });

export type SyncRunKind = keyof typeof SyncRunKind;
export const SyncRunKind = names("INVOICES", "CONTACT_IMPORT", "PAYMENTS");
registerEnumType(SyncRunKind, { name: "SyncRunKind" });

export type SyncTrigger = keyof typeof SyncTrigger;
export const SyncTrigger = names("MANUAL", "RUN_NOW", "SCHEDULED", "ON_APPROVAL", "RETRY", "MENDED", "RECONNECTED");
registerEnumType(SyncTrigger, {
  name: "SyncTrigger",
  description:
    "MENDED: what kept it back was put right. RECONNECTED: it became due while the link was down or the switch off.",
});

export type SyncRunStatus = keyof typeof SyncRunStatus;
export const SyncRunStatus = names(
  "QUEUED",
  "RUNNING",
  "SUCCEEDED",
  "PARTIALLY_SUCCEEDED",
  "FAILED",
  "NOTHING_TO_DO",
  "CANCELLED",
);
registerEnumType(SyncRunStatus, { name: "SyncRunStatus" });

export type PaymentEventKind = keyof typeof PaymentEventKind;
export const PaymentEventKind = names("RECEIVED", "CHANGED", "REVERSED");
registerEnumType(PaymentEventKind, { name: "PaymentEventKind" });

export type SyncPreviewAction = keyof typeof SyncPreviewAction;
export const SyncPreviewAction = names("CREATE", "UPDATE", "ADOPT", "SKIP", "BLOCKED");
registerEnumType(SyncPreviewAction, { name: "SyncPreviewAction" });

export type AlertKind = keyof typeof AlertKind;
export const AlertKind = names(
  "SYNC_FAILED",
  "DUPLICATE_IN_XERO",
  "CONNECTION_LOST",
  "CONNECTION_EXPIRING",
  "DISCONNECTED_INACTIVE",
  "MAPPING_BROKEN",
  "WEBHOOK_SILENT",
  "SYNC_OVERDUE",
);
registerEnumType(AlertKind, { name: "AlertKind" });

export type AlertState = keyof typeof AlertState;
export const AlertState = names("OPEN", "RESOLVED");
registerEnumType(AlertState, { name: "AlertState" });

export type WebhookEventStatus = keyof typeof WebhookEventStatus;
export const WebhookEventStatus = names("RECEIVED", "APPLIED", "IGNORED", "FAILED");
registerEnumType(WebhookEventStatus, {
  name: "WebhookEventStatus",
  description:
    "RECEIVED: waits to be applied. IGNORED: nothing here depends on it. FAILED: Xero refused the read; it can be replayed.",
});
