/** What a client is told that waits for Xero, and Xero fails. */
import { AppError } from "../errors.js";
import { type XeroFailure } from "../xero/XeroFailure.js";

/** The master switch is off. */
export function switchedOff(): AppError {
  return new AppError("XERO_DISABLED", "The Xero integration is switched off. Switch it on in its settings.");
}

/** The error for a call that a person waits for. */
export function unavailable(failure: XeroFailure): AppError {
  if (failure.kind === "RATE_LIMITED") {
    const retryAfterSeconds = Math.ceil((failure.retryAfterMs ?? 60_000) / 1000);
    return new AppError("XERO_RATE_LIMITED", "Xero asks to wait before it is called again.", { retryAfterSeconds });
  }
  if (failure.kind === "SWITCHED_OFF") return switchedOff();
  const lost = ["DISCONNECTED", "MISSING_SCOPE", "INVALID_GRANT"].includes(failure.kind);
  return lost
    ? new AppError(
        "XERO_NOT_CONNECTED",
        "Xero no longer accepts this connection: an administrator has to connect again.",
      )
    : new AppError("XERO_UNAVAILABLE", "Xero did not answer as it should. Try again in a while.");
}
