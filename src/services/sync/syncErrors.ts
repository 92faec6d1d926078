/**
 * Why an attempt failed, in words for a person: a stable code, Xero's own words, and what to do. Xero gives no codes, only English text
 * (https://developer.xero.com/documentation/api/accounting/responsecodes), so its messages are matched here and nowhere else; what is not
 * recognised is VALIDATION_FAILED with the words as they are, so a new wording loses the better advice and nothing more.
 */
import { type Connection } from "../../entities/Connection.js";
import { type SyncErrorCode } from "../../entities/enums.js";
import { type Invoice } from "../../entities/Invoice.js";
import { type SyncError } from "../../entities/SyncError.js";
import { scopeOf } from "../../xero/scopes.js";
import { type XeroFailure, type XeroFailureKind } from "../../xero/XeroFailure.js";

/** An error found here, before or without Xero. */
export function syncError(
  code: SyncErrorCode,
  message: string,
  resolution: string,
  xeroMessages: string[] = [],
): SyncError {
  return { code, message, resolution, xeroMessages, retryable: false };
}

interface Rule {
  pattern: RegExp;
  code: SyncErrorCode;
  message: string;
  resolution: string;
}

const rules: Rule[] = [
  {
    pattern: /invoice # must be unique/i,
    code: "NUMBER_TAKEN",
    message: "Another invoice in Xero has this number already.",
    resolution: "Give the invoice another number, or let Xero number invoices (setting numbering), and sync it again.",
  },
  {
    pattern: /lock date/i,
    code: "PERIOD_LOCKED",
    message: "The invoice's date is in a period that is locked in Xero.",
    resolution: "Date the invoice after the lock date, or have the lock date moved in Xero, and sync it again.",
  },
  {
    pattern: /payment or credit note allocated/i,
    code: "LOCKED_BY_PAYMENT",
    message: "The invoice has payments or credits in Xero and can't be changed there any more.",
    resolution: "Make the change in Xero, or remove the payment there first.",
  },
  {
    pattern: /archived contact|contact .*has been archived|un-archived/i,
    code: "CONTACT_ARCHIVED",
    message: "The contact is archived in Xero.",
    resolution: "Restore the contact in Xero (only a person can), then sync the invoice again.",
  },
  {
    pattern:
      /contact name .*already assigned|contact number|contact .*must contain|email address must be valid|contact must be specified/i,
    code: "CONTACT_REJECTED",
    message: "Xero does not accept the contact.",
    resolution: "Correct the participant's name, e-mail or contact number, then sync the invoice again.",
  },
  {
    pattern: /account code|taxtype code|tax rate/i,
    code: "INVALID_MAPPING",
    message: "Xero does not accept the account or tax rate of a line.",
    resolution:
      "Choose another account or tax rate for the line, its support item or the workspace, then sync the invoice again.",
  },
];

/** The error for what Xero said of one invoice or contact. */
export function rejected(
  xeroMessages: string[],
  fallback: "VALIDATION_FAILED" | "CONTACT_REJECTED" = "VALIDATION_FAILED",
): SyncError {
  const rule = rules.find(({ pattern }) => xeroMessages.some((message) => pattern.test(message)));
  if (rule) {
    const error = syncError(rule.code, rule.message, rule.resolution, xeroMessages);
    return rule.code === "INVALID_MAPPING"
      ? { ...error, brokenMapping: `Xero says: ${xeroMessages.join(" ")}` }
      : error;
  }
  const what = fallback === "CONTACT_REJECTED" ? "contact" : "invoice";
  return syncError(
    fallback,
    `Xero did not accept the ${what}.`,
    "Correct what Xero names, then sync the invoice again.",
    xeroMessages,
  );
}

const reconnect = "An administrator has to connect to Xero again; the invoice is then queued by itself.";

const failures: Partial<Record<XeroFailureKind, [SyncErrorCode, string, string]>> = {
  DISCONNECTED: ["XERO_NOT_CONNECTED", "The organisation is no longer connected.", reconnect],
  INVALID_GRANT: ["RECONNECT_REQUIRED", "The link to the organisation must be renewed.", reconnect],
  MISSING_SCOPE: ["RECONNECT_REQUIRED", "The consent lacks a scope.", reconnect],
  TOKEN_REFUSED: ["RECONNECT_REQUIRED", "Xero does not accept the link's tokens.", reconnect],
  FORBIDDEN: [
    "RECONNECT_REQUIRED",
    "The Xero user who connected lacks the right to do this in Xero.",
    "Give that user the right in Xero, or have another user connect, then sync the invoice again.",
  ],
  OFFLINE: [
    "XERO_UNAVAILABLE",
    "The organisation, or all of Xero, is offline for maintenance.",
    "Nothing: it is tried again until it is back.",
  ],
  RATE_LIMITED: [
    "RATE_LIMITED",
    "Xero's limit of calls is reached.",
    "Nothing: it is tried again when Xero allows it.",
  ],
  MISCONFIGURED: [
    "INTERNAL",
    "This service's own credentials for Xero, or its keys, are not right.",
    "Whoever operates the service has to correct XERO_CLIENT_ID, XERO_CLIENT_SECRET or ENCRYPTION_KEYS.",
  ],
  SWITCHED_OFF: ["XERO_DISABLED", "The Xero integration is switched off.", "Switch it on in its settings."],
};

/** The error for a call to Xero that failed as a whole. `retryable` where time alone may mend it. */
export function failed(failure: XeroFailure): SyncError {
  if (failure.kind === "REJECTED" || failure.kind === "NOT_FOUND") return rejected(failure.xeroMessages);
  if (failure.kind === "MISSING_SCOPE") {
    const scope = scopeOf(failure.operation);
    return syncError(
      "RECONNECT_REQUIRED",
      `The consent lacks ${scope === undefined ? "a scope that this needs" : `the scope ${scope}`}.`,
      reconnect,
      failure.xeroMessages,
    );
  }
  const [code, message, resolution] = failures[failure.kind] ?? [
    "XERO_UNAVAILABLE",
    "Xero did not answer as it should.",
    "Nothing: it is tried again in a while. If it goes on, see status.xero.com.",
  ];
  return { code, message, resolution, xeroMessages: failure.xeroMessages, retryable: isTransient(failure) };
}

const transient = new Set<XeroFailureKind>([
  "UNCERTAIN",
  "SERVER_ERROR",
  "OFFLINE",
  "RATE_LIMITED",
  "KEY_REUSED",
  // Refused twice, freshly issued the second time: that is Xero's own trouble, until it has gone on for minutes.
  "TOKEN_REFUSED",
  "SWITCHED_OFF",
]);

/** Whether the same call may succeed later without anybody changing anything. */
export function isTransient(failure: XeroFailure): boolean {
  return transient.has(failure.kind);
}

/** What clients see while it is not known whether Xero took the invoice, and why that can't be found out now where only a person can help. */
export function outcomeUnknown(failure: Pick<XeroFailure, "kind" | "xeroMessages">): SyncError {
  const message = "Xero was sent the invoice and gave no clear answer.";
  const [, obstacle, remedy] = transient.has(failure.kind) ? [] : (failures[failure.kind] ?? []);
  return {
    code: "OUTCOME_UNKNOWN",
    message: obstacle === undefined ? message : `${message} Whether Xero has it can't be found out: ${obstacle}`,
    resolution: remedy ?? "Nothing: whether Xero has it is found out before anything is sent again.",
    xeroMessages: failure.xeroMessages,
    retryable: true,
  };
}

/** The switch is off. */
export const switchedOff: SyncError = syncError(
  "XERO_DISABLED",
  "The Xero integration is switched off.",
  "Switch it on in its settings; the invoice is then queued by itself.",
);

/** The link is not up. */
export function lostConnection(connection: Connection): SyncError {
  return syncError(
    connection.connectionStatus === "RECONNECT_REQUIRED" ? "RECONNECT_REQUIRED" : "XERO_NOT_CONNECTED",
    `The link to ${connection.name} is down. ${connection.statusReason ?? ""}`.trim(),
    "An administrator has to connect to Xero again; the invoice is then queued by itself.",
  );
}

/** Several invoices in Xero carry our one address. */
export function ambiguous(invoice: Invoice): SyncError {
  return syncError(
    "INVOICE_AMBIGUOUS",
    `Xero holds several invoices that carry the link of invoice ${invoice.number}.`,
    "Void the copies in Xero, then sync the invoice again.",
  );
}

/** Sent more than once, and never found. */
export const neverArrives = syncError(
  "XERO_UNAVAILABLE",
  "Xero was sent the invoice several times, and does not have it.",
  "Sync the invoice again later. If it goes on, tell whoever operates the service.",
);

/** Refused more than once as archived, though Xero's list says that it is not. */
export const archivedContact = syncError(
  "CONTACT_ARCHIVED",
  "The contact is archived in Xero.",
  "Restore the contact in Xero (only a person can), or link the participant to another one, then sync the invoice again.",
);

/** Looked up more than once, and never known. */
export const unknownContact = syncError(
  "CONTACT_REJECTED",
  "Xero does not know the contact, however often it is looked up.",
  "Check the contact in Xero, then sync the invoice again.",
);
