/**
 * Owns GET /connections and DELETE /connections/{id}. Leaves tokens to Identity.
 *
 * Source: docs/xero-facts.md section 2: a bare array; dates without a zone and with seven digits of fraction; the id is
 * the connection's, and using the organisation's in its place is 403.
 */
import { json, type Call, type Reply } from "../http.js";
import { forbidden, tokenExpired, unauthenticated } from "../refusals.js";
import type { World } from "../World.js";
import { bearer } from "../accounting/bearer.js";
import type { Connection } from "./Identity.js";

/** Answers for the user of the access token only. */
export function connections(world: World, call: Call): Reply {
  const access = world.identity.findAccess(bearer(call) ?? "");
  if (!access) return unauthenticated();
  if (access.expiresAt <= world.clock.now()) return tokenExpired(access.expiresAt);
  const mine = [...world.identity.connections.values()].filter((one) => one.userId === access.consent.userId);
  const id = call.path.slice("/connections/".length).toLowerCase();

  if (call.method === "GET" && call.path === "/connections") {
    const event = call.query.get("authEventId")?.toLowerCase();
    return json(
      200,
      mine.filter((one) => event === undefined || one.authEventId === event).map((one) => rendered(world, one)),
    );
  }
  if (call.method === "DELETE" && id !== "") {
    if (mine.some((one) => one.id === id)) {
      world.identity.connections.delete(id);
      return { status: 204 };
    }
    const mistaken = mine.some((one) => one.tenantId === id || one.authEventId === id);
    return mistaken ? forbidden() : { status: 404 };
  }
  return { status: 405 };
}

function rendered(world: World, connection: Connection): Record<string, unknown> {
  return {
    id: connection.id,
    authEventId: connection.authEventId,
    tenantId: connection.tenantId,
    tenantType: "ORGANISATION",
    tenantName: world.organisations.get(connection.tenantId)?.profile.name ?? "",
    createdDateUtc: zoneless(connection.createdAt),
    updatedDateUtc: zoneless(connection.updatedAt),
  };
}

function zoneless(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, -1)}5400`;
}
