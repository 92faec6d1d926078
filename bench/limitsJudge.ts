/**
 * Whether a client has kept within Xero's limits, by the stand-in's log of its calls: 5 in progress and 60 a minute for an organisation, and
 * none between a refusal and its Retry-After. The stand-in refuses what is too many by itself, so any 429 that was not wished for is a breach.
 */

/** As `GET /sandbox/calls` shows it. */
export interface LoggedCall {
  at: number;
  tenantId?: string;
  status: number | string;
  fault?: string;
}

export interface CallLogged {
  calls: LoggedCall[];
  maxInFlightByTenant: Record<string, number>;
}

const inProgress = 5;

/** The service counts a minute as 61 s, and 60 s of that hold a call or two fewer than Xero allows. */
const nearSixty = 55;

const retryAfterMs = 4_000;

/** What was on its way already when the refusal came. */
const onItsWayMs = 500;

export function mostInProgress({ maxInFlightByTenant }: CallLogged): number {
  return Math.max(0, ...Object.values(maxInFlightByTenant));
}

/** Where more calls were made than Xero allows; empty: nowhere. */
export function breaches(log: CallLogged): string[] {
  const most = mostInProgress(log);
  const refused = log.calls.filter(({ status, fault }) => status === 429 && fault !== "429-minute").length;
  return [
    ...(most > inProgress ? [`${most} calls of one organisation were in progress at once`] : []),
    ...(refused > 0 ? [`Xero refused ${refused} calls as too many`] : []),
  ];
}

/** Judges calls among which refusals with a Retry-After of four seconds were thrown in (`429-minute`). */
export function judgeCalls(log: CallLogged): { reasons: string[]; figures: (string | number)[][] } {
  const byTenant = new Map<string, LoggedCall[]>();
  for (const call of log.calls) {
    if (call.tenantId !== undefined) byTenant.set(call.tenantId, [...(byTenant.get(call.tenantId) ?? []), call]);
  }
  const injected = log.calls.filter(({ fault }) => fault === "429-minute");
  const afterRefusal = [...byTenant.values()].flatMap(withinRetryAfter);
  const tooEarly = afterRefusal.filter((ms) => ms > onItsWayMs);
  const fullest = [...byTenant.values()].map(mostInAMinute);
  const atTheLimit = fullest.filter((count) => count >= nearSixty).length;

  const reasons = breaches(log);
  if (tooEarly.length > 0) reasons.push(`${tooEarly.length} calls came before Retry-After was over`);
  if (injected.length === 0) reasons.push("no refusal was thrown in, so nothing is known of Retry-After");
  if (atTheLimit === 0)
    reasons.push("no organisation came near sixty calls a minute, so nothing is known of that limit");
  return {
    reasons,
    figures: [
      ["calls", log.calls.length],
      ["most in progress for one organisation", mostInProgress(log)],
      ["most in any 60 s for one organisation", Math.max(0, ...fullest)],
      ["organisations that came near sixty", atTheLimit],
      ["refusals thrown in", injected.length],
      ["calls before their Retry-After", tooEarly.length],
      ["the latest of all that did not wait, ms after the refusal", Math.max(0, ...afterRefusal)],
    ],
  };
}

/** How long after a refusal each call came that did not wait for its end. */
function withinRetryAfter(calls: LoggedCall[]): number[] {
  const refusedAt = calls.filter(({ fault }) => fault === "429-minute").map(({ at }) => at);
  return calls.flatMap(({ at }) => refusedAt.map((from) => at - from).filter((ms) => ms > 0 && ms < retryAfterMs));
}

function mostInAMinute(calls: LoggedCall[]): number {
  const times = calls.map(({ at }) => at).sort((a, b) => a - b);
  let most = 0;
  let first = 0;
  for (const [index, at] of times.entries()) {
    while (at - (times[first] ?? at) >= 60_000) first += 1;
    most = Math.max(most, index - first + 1);
  }
  return most;
}
