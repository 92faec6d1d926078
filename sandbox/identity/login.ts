/**
 * Owns the consent page: GET /identity/connect/authorize. Nobody sees a page: the person agrees (or, when control
 * said so, refuses) at once and the browser is sent straight back. Leaves codes and connections to Identity.
 *
 * Source: docs/xero-facts.md section 1. What is wrong with the app itself (client, redirect address, scope) is shown to
 * the person and never sent to an address that was not registered. One organisation per consent is Xero's rule since
 * bulk connections became a paid feature: here the first that the person has not connected yet, unless control named
 * others.
 */
import { randomUUID } from "node:crypto";
import type { Call, Reply } from "../http.js";
import type { World } from "../World.js";
import { knownScope } from "../accounting/scopes.js";
import type { NextConsent, User } from "./Identity.js";

/** Answers the browser: back to the app with a code or a refusal, or a page that tells what is wrong with the request. */
export function authorize(world: World, call: Call): Reply {
  const query = call.query;
  const redirectUri = query.get("redirect_uri") ?? "";
  if (query.get("client_id") !== world.app.clientId) return page("unauthorized_client", "Unknown client_id");
  if (!isRegistered(world, redirectUri)) return page("invalid_request", "Invalid redirect_uri");
  if (query.get("response_type") !== "code") return page("unsupported_response_type", "response_type must be code");
  const scopes = [...new Set((query.get("scope") ?? "").split(" ").filter(Boolean))];
  const unknown = scopes.filter((scope) => !knownScope(scope, world.switches.broadScopes));
  if (scopes.length === 0 || unknown.length > 0) return page("invalid_scope", `Invalid scope ${unknown.join(" ")}`);
  const challenge = query.get("code_challenge");
  if (challenge !== null && query.get("code_challenge_method") !== "S256") {
    return page("invalid_request", "Only S256 code challenges are supported");
  }

  const wish = world.identity.nextConsents.shift() ?? {};
  const back = new URL(redirectUri);
  const state = query.get("state");
  if (wish.refuse) {
    back.searchParams.set("error", "access_denied");
  } else {
    const user = world.identity.users.get(wish.userId ?? "") ?? world.identity.firstUser();
    const authEventId = randomUUID();
    world.identity.connect(user.id, chosenTenants(world, user, wish), authEventId);
    scopes.forEach((scope) => user.grantedScopes.add(scope));
    const nonce = query.get("nonce");
    const code = world.identity.issueCode({
      userId: user.id,
      scopes: allScopes(user, scopes),
      authEventId,
      authenticatedAt: world.clock.now(),
      redirectUri,
      ...(challenge === null ? {} : { challenge }),
      ...(nonce === null ? {} : { nonce }),
    });
    back.searchParams.set("code", code);
    back.searchParams.set("scope", scopes.join(" "));
  }
  if (state !== null) back.searchParams.set("state", state);
  return { status: 302, headers: { Location: back.href } };
}

function chosenTenants(world: World, user: User, wish: NextConsent): readonly string[] {
  if (wish.tenantIds) return wish.tenantIds;
  const all = [...world.organisations.keys()];
  const fresh = all.find((tenantId) => !world.identity.findConnection(user.id, tenantId));
  const chosen = fresh ?? all[0];
  return chosen === undefined ? [] : [chosen];
}

/** Scopes add up over a user's consents; the ones about the token itself hold for this consent only. */
function allScopes(user: User, asked: readonly string[]): string[] {
  const earlier = [...user.grantedScopes].filter((scope) => scope.startsWith("accounting."));
  return [...new Set([...asked, ...earlier])];
}

function isRegistered(world: World, redirectUri: string): boolean {
  if (world.app.redirectUris) return world.app.redirectUris.includes(redirectUri);
  return /^http:\/\/(localhost|127\.0\.0\.1)(:\d+)?(\/|$)/.test(redirectUri);
}

function page(error: string, detail: string): Reply {
  return {
    status: 400,
    headers: { "Content-Type": "text/html; charset=utf-8" },
    body: `<!DOCTYPE html><html><body><h1>Sorry, something went wrong</h1><p>Error: ${error}</p><p>${escaped(detail)}</p></body></html>`,
  };
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
