/**
 * Owns the way of a call through the accounting API: token, format, organisation, scope, limits, interference,
 * idempotency, route. Leaves each check to its module.
 *
 * Source: docs/xero-facts.md sections 2 to 5. Limits come before idempotency; headers about limits go on every answer that
 * knows its organisation, Xero-Correlation-Id on all. XML is Xero's default format: whoever does not ask for JSON is
 * refused here rather than given XML.
 */
import type { LoggedCall } from "../CallLog.js";
import { hangUp, header, type Call, type Outcome, type Reply } from "../http.js";
import { interfered } from "../interference.js";
import {
  forbidden,
  insufficientScope,
  notFound,
  postDataInvalid,
  Refusal,
  tokenExpired,
  unauthenticated,
} from "../refusals.js";
import type { World } from "../World.js";
import { bearer } from "./bearer.js";
import { contactGroupsRoute, contactsRoute } from "./contactRoutes.js";
import { creditsRoute, invoicesRoute, paymentsRoute } from "./invoiceRoutes.js";
import type { Organisation } from "./Organisation.js";
import { scopesAllow } from "./scopes.js";
import { accountsRoute, organisationRoute, taxRatesRoute } from "./settings.js";

export const basePath = "/api.xro/2.0/";

type Route = (world: World, org: Organisation, call: Call, rest: readonly string[]) => Reply;

/** Xero lets these be written too, or some of them; nothing the service calls does. */
const readOnly = new Set(["organisation", "accounts", "taxrates", "creditnotes", "overpayments", "prepayments"]);

const routes: Readonly<Record<string, Route>> = {
  organisation: (world, org, _call, rest) => organisationRoute(world, org, rest),
  accounts: accountsRoute,
  taxrates: taxRatesRoute,
  contacts: contactsRoute,
  contactgroups: contactGroupsRoute,
  invoices: invoicesRoute,
  payments: paymentsRoute,
  creditnotes: creditsRoute("CREDITNOTE", "CreditNotes"),
  overpayments: creditsRoute("OVERPAYMENT", "Overpayments"),
  prepayments: creditsRoute("PREPAYMENT", "Prepayments"),
};

/** Endpoints Xero has and this sandbox does not: said so, instead of pretending they do not exist. */
const unserved = new Set(
  ["items", "attachments", "banktransactions", "quotes", "purchaseorders", "currencies", "users", "reports"].concat([
    "brandingthemes",
    "trackingcategories",
    "manualjournals",
    "journals",
    "batchpayments",
    "repeatinginvoices",
  ]),
);

/** Answers one call of the accounting API. */
export async function accountingApi(world: World, call: Call, entry: LoggedCall): Promise<Outcome> {
  const [endpoint = "", ...rest] = call.path.slice(basePath.length).split("/").filter(Boolean);
  const name = endpoint.toLowerCase();
  const org = admitted(world, call, name);
  if (!("profile" in org)) return org;
  const refused = world.limits.enter(org.id);
  if (refused) return withLimits(world, org, refused);
  try {
    const outcome = await interfered(world, call, entry, async (around) => {
      const work = (): Promise<Reply> => around(() => answered(world, org, call, name, rest));
      const { reply, replayed } = await world.idempotency.run(call, work);
      entry.replayed = replayed;
      return reply;
    });
    return outcome === hangUp ? outcome : withLimits(world, org, outcome);
  } finally {
    world.limits.leave(org.id);
  }
}

/** The organisation that the token may use, or the refusal. */
function admitted(world: World, call: Call, endpoint: string): Organisation | Reply {
  const access = world.identity.findAccess(bearer(call) ?? "");
  if (!access) return unauthenticated();
  if (access.expiresAt <= world.clock.now()) return tokenExpired(access.expiresAt);
  const org = world.organisations.get(header(call, "xero-tenant-id")?.toLowerCase() ?? "");
  if (!org || !world.identity.findConnection(access.consent.userId, org.id)) return forbidden();
  if (!Object.hasOwn(routes, endpoint)) return unserved.has(endpoint) ? { status: 501 } : notFound();
  if (call.method !== "GET" && readOnly.has(endpoint)) return { status: 501 };
  if (!scopesAllow(access.consent.scopes, endpoint, call.method !== "GET")) return insufficientScope();
  if (org.forbiddenEndpoints.has(endpoint)) return forbidden("AuthorizationUnsuccessful");
  if (call.tooLarge) return { status: 413 };
  if (!header(call, "accept")?.includes("application/json")) {
    const body = "<Error>XML is the default format and not served here: send Accept: application/json</Error>";
    return { status: 406, headers: { "Content-Type": "text/xml; charset=utf-8" }, body };
  }
  return org;
}

function answered(world: World, org: Organisation, call: Call, endpoint: string, rest: readonly string[]): Reply {
  const route = routes[endpoint];
  if (!route) return notFound();
  if (!["GET", "PUT", "POST", "DELETE"].includes(call.method)) return { status: 405 };
  const sends = call.method === "PUT" || call.method === "POST";
  if (sends && !header(call, "content-type")?.includes("json")) {
    return postDataInvalid("Data at the root level is invalid. Line 1, position 1.");
  }
  try {
    return route(world, org, call, rest);
  } catch (error) {
    if (error instanceof Refusal) return error.reply;
    throw error;
  }
}

function withLimits(world: World, org: Organisation, reply: Reply): Reply {
  return { ...reply, headers: { ...world.limits.headers(org.id), ...reply.headers } };
}
