/** Why a payment of ours is not in Xero as it is here, in words for a person; Xero's own words are matched here and nowhere else. */
import { type SyncErrorCode } from "../../entities/enums.js";
import { type SyncError } from "../../entities/SyncError.js";
import { type XeroFailure } from "../../xero/XeroFailure.js";
import { failed, syncError } from "../sync/syncErrors.js";

const again = "then send the payment again (retryPayment)";

interface Rule {
  pattern: RegExp;
  code: SyncErrorCode;
  message: string;
  resolution: string;
}

const rules: Rule[] = [
  {
    pattern: /exceeds the amount outstanding/i,
    code: "VALIDATION_FAILED",
    message: "The payment is more than what is due of the invoice in Xero.",
    resolution: `See in Xero what else was paid or credited; take this payment back here, or that one there, ${again}.`,
  },
  {
    pattern: /lock date/i,
    code: "PERIOD_LOCKED",
    message: "The payment's day is in a period that is locked in Xero.",
    resolution: `Have the lock date moved in Xero, ${again}.`,
  },
  {
    pattern: /reconciled/i,
    code: "VALIDATION_FAILED",
    message: "The payment is reconciled in Xero with a line of the bank statement.",
    resolution: `Unreconcile it in Xero, ${again}.`,
  },
  {
    pattern: /part of a batch/i,
    code: "VALIDATION_FAILED",
    message: "The payment is part of a batch in Xero and can't be deleted alone.",
    resolution: "Delete the batch in Xero; the payment follows by itself.",
  },
  {
    pattern: /\baccount\b/i,
    code: "INVALID_MAPPING",
    message: "Xero does not take payments on the chosen account.",
    resolution: "Choose another payment account in the settings; the payment is then queued by itself.",
  },
];

/** The error for what Xero said of one payment. */
export function refusedPayment(xeroMessages: string[]): SyncError {
  const rule = rules.find(({ pattern }) => xeroMessages.some((message) => pattern.test(message)));
  if (rule) return syncError(rule.code, rule.message, rule.resolution, xeroMessages);
  return syncError(
    "VALIDATION_FAILED",
    "Xero did not accept the payment.",
    `Put right what Xero names, ${again}.`,
    xeroMessages,
  );
}

/** The error for a call to Xero that failed as a whole. */
export function failedPayment(failure: XeroFailure): SyncError {
  if (failure.kind === "REJECTED" || failure.kind === "NOT_FOUND") return refusedPayment(failure.xeroMessages);
  const error = failed(failure);
  if (failure.kind !== "MISSING_SCOPE" && failure.kind !== "FORBIDDEN") return error;
  const remedy =
    failure.kind === "FORBIDDEN"
      ? `Give that user the right in Xero, or have another user connect, ${again}.`
      : "Ask for the scope accounting.payments (XERO_SCOPES) and have an administrator connect again; the payment is then queued by itself.";
  return { ...error, resolution: remedy };
}

/** Sent more than once, and never found. */
export const paymentNeverArrives = syncError(
  "XERO_UNAVAILABLE",
  "Xero was sent the payment several times, and does not have it.",
  `See in Xero whether it is there; if not, ${again.replace("then ", "")}.`,
);

/** What clients see while it is not known whether Xero took the payment. */
export function paymentInDoubt(failure: Pick<XeroFailure, "xeroMessages">): SyncError {
  return {
    ...syncError(
      "OUTCOME_UNKNOWN",
      "Xero was sent the payment and gave no clear answer.",
      "Nothing: whether Xero has it is found out before anything is sent again.",
      failure.xeroMessages,
    ),
    retryable: true,
  };
}
