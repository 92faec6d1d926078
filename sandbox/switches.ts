/**
 * Owns every behaviour of Xero that its documentation leaves open, or that a test wants otherwise for a while, with
 * the default this sandbox assumes. Leaves the meaning of each to the module that reads it.
 *
 * Source: docs/xero-facts.md section 13 ("not settled: make them switches, do not assert in tests") and the limits of
 * section 3, which depend on the plan an app is on.
 */
import { z } from "zod";

export const switchesSchema = z.strictObject({
  /** Calls of one organisation that may be in progress at once. */
  concurrentLimit: z.int().positive(),
  minuteLimit: z.int().positive(),
  dayLimit: z.int().positive(),
  appMinuteLimit: z.int().positive(),
  /** Spelling in X-Rate-Limit-Problem; only "minute" and "day" were ever recorded. */
  concurrentProblem: z.string(),
  appMinuteProblem: z.string(),
  /** Whether an answer of that status is remembered under its Idempotency-Key. */
  idempotencyCaches400: z.boolean(),
  idempotencyCaches500: z.boolean(),
  idempotencyCaches503: z.boolean(),
  /** How long a key is remembered from its first use. */
  idempotencyLifetimeMs: z.int().nonnegative(),
  /** As if keys did nothing: not what Xero does, but what shows whether a client relies on them. */
  idempotencyIgnored: z.boolean(),
  /** As if a list of invoices by `where` had not caught up with what was written, for the same purpose. */
  hiddenFromFilters: z.boolean(),
  /** False: a rotated refresh token is refused at once. */
  refreshGrace: z.boolean(),
  /** Whether the answer to a code exchange names its scope. */
  scopeInCodeAnswer: z.boolean(),
  /** Apps made before 2 March 2026 may still ask for the broad scopes. */
  broadScopes: z.boolean(),
  modifiedSinceInclusive: z.boolean(),
  /** Whether a new invoice may take the number of a deleted or voided one. */
  reuseRemovedNumbers: z.boolean(),
  listDeletedPayments: z.boolean(),
  /** What DisplayTaxRate shows for a rate with a compound component: the plain sum, or the effective rate. */
  compoundDisplayRate: z.enum(["sum", "effective"]),
  /** "guess": CanApplyTo* as the names suggest, enforced on lines; "all": every rate applies to every class. */
  taxFlags: z.enum(["guess", "all"]),
  /** Xero wants no leading, trailing or repeated spaces in a contact's name: refuse them, or tidy silently. */
  contactNameSpaces: z.enum(["refuse", "normalise"]),
  /** Which categories announce a payment: none, one or both. */
  paymentEvents: z.array(z.enum(["INVOICE", "PAYMENT"])),
  /** Whether a change of a contact group announces its contacts. */
  groupEvents: z.boolean(),
  webhookPaused: z.boolean(),
  webhookBatchSize: z.int().positive(),
  /** How often each delivery is sent again, unchanged, after it was accepted. */
  webhookDuplicates: z.int().nonnegative(),
  webhookShuffle: z.boolean(),
  /** 0: an unhealthy receiver is tried again only by the control call "webhooks/flush". */
  webhookRetryEveryMs: z.int().nonnegative(),
  webhookTimeoutMs: z.int().positive(),
});

export type Switches = z.infer<typeof switchesSchema>;

/** A fresh set of switches: Xero as the facts describe it, on the Core plan. */
export function defaultSwitches(): Switches {
  return {
    concurrentLimit: 5,
    minuteLimit: 60,
    dayLimit: 5000,
    appMinuteLimit: 10_000,
    concurrentProblem: "concurrent",
    appMinuteProblem: "appminute",
    idempotencyCaches400: true,
    idempotencyCaches500: true,
    idempotencyCaches503: true,
    idempotencyLifetimeMs: 360_000,
    idempotencyIgnored: false,
    hiddenFromFilters: false,
    refreshGrace: true,
    scopeInCodeAnswer: true,
    broadScopes: false,
    modifiedSinceInclusive: true,
    reuseRemovedNumbers: false,
    listDeletedPayments: true,
    compoundDisplayRate: "sum",
    taxFlags: "guess",
    contactNameSpaces: "refuse",
    paymentEvents: ["INVOICE"],
    groupEvents: false,
    webhookPaused: false,
    webhookBatchSize: 100,
    webhookDuplicates: 0,
    webhookShuffle: false,
    webhookRetryEveryMs: 0,
    webhookTimeoutMs: 5000,
  };
}
