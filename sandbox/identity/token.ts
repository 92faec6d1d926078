/**
 * Owns POST /connect/token and /connect/revocation, the discovery document and its keys. Leaves what tokens stand for
 * to Identity.
 *
 * Source: docs/xero-facts.md section 1: code once within five minutes; every refresh rotates; `400
 * {"error":"invalid_grant"}` without a description. The id_token is dated by the machine's clock, because the client
 * that verifies it knows no other; everything else by the sandbox's.
 */
import { createHash, randomUUID } from "node:crypto";
import { header, json, type Call, type Reply } from "../http.js";
import type { World } from "../World.js";
import { accessLifetime, type Consent, type User } from "./Identity.js";

/** Exchanges a code or a refresh token for a token set. */
export async function token(world: World, call: Call): Promise<Reply> {
  const form = new URLSearchParams(call.body.toString("utf8"));
  if (!isClient(world, call, form)) return oauthError("invalid_client");
  const noStore = { "Cache-Control": "no-store" };
  switch (form.get("grant_type")) {
    case "authorization_code": {
      const code = world.identity.takeCode(form.get("code") ?? "");
      if (!code || code.redirectUri !== form.get("redirect_uri")) return oauthError("invalid_grant");
      if (code.challenge !== undefined && code.challenge !== s256(form.get("code_verifier") ?? "")) {
        return oauthError("invalid_grant");
      }
      return json(200, await tokenSet(world, code, world.switches.scopeInCodeAnswer), noStore);
    }
    case "refresh_token": {
      const consent = world.identity.useRefresh(form.get("refresh_token") ?? "", world.switches.refreshGrace);
      if (!consent) return oauthError("invalid_grant");
      const asked = form.get("scope")?.split(" ").filter(Boolean) ?? [];
      if (asked.some((scope) => !consent.scopes.includes(scope))) return oauthError("invalid_scope");
      return json(200, await tokenSet(world, consent, true), noStore);
    }
    default:
      return oauthError("unsupported_grant_type");
  }
}

/** Ends the user's grant: 200 and empty, for unknown tokens too. */
export function revocation(world: World, call: Call): Reply {
  const form = new URLSearchParams(call.body.toString("utf8"));
  if (!isClient(world, call, form)) return oauthError("invalid_client");
  world.identity.revokeToken(form.get("token") ?? "");
  return { status: 200 };
}

/** What openid clients read before anything else. */
export function discovery(world: World): Reply {
  const url = world.url;
  return json(200, {
    issuer: url,
    authorization_endpoint: `${url}/identity/connect/authorize`,
    token_endpoint: `${url}/connect/token`,
    revocation_endpoint: `${url}/connect/revocation`,
    jwks_uri: `${url}/.well-known/openid-configuration/jwks`,
    response_types_supported: ["code"],
    grant_types_supported: ["authorization_code", "refresh_token"],
    subject_types_supported: ["public"],
    id_token_signing_alg_values_supported: ["RS256"],
    code_challenge_methods_supported: ["S256"],
    token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post"],
    scopes_supported: ["openid", "profile", "email", "offline_access"],
  });
}

async function tokenSet(world: World, consent: Consent, withScope: boolean): Promise<Record<string, unknown>> {
  const user = world.identity.users.get(consent.userId) ?? world.identity.firstUser();
  const nowSeconds = Math.floor(world.clock.now() / 1000);
  const accessToken = await world.signer.sign({
    nbf: nowSeconds,
    exp: nowSeconds + accessLifetime / 1000,
    iss: world.url,
    aud: `${world.url}/resources`,
    client_id: world.app.clientId,
    ...person(user, consent),
    jti: randomUUID().replaceAll("-", ""),
    authentication_event_id: consent.authEventId,
    scope: consent.scopes,
    amr: ["pwd"],
  });
  world.identity.keepAccess(accessToken, consent);
  return {
    ...(consent.scopes.includes("openid") ? { id_token: await idToken(world, user, consent, accessToken) } : {}),
    access_token: accessToken,
    expires_in: accessLifetime / 1000,
    token_type: "Bearer",
    ...(consent.scopes.includes("offline_access") ? { refresh_token: world.identity.issueRefresh(consent) } : {}),
    ...(withScope ? { scope: consent.scopes.join(" ") } : {}),
  };
}

function idToken(world: World, user: User, consent: Consent, accessToken: string): Promise<string> {
  const realSeconds = Math.floor(Date.now() / 1000);
  const hash = createHash("sha256").update(accessToken).digest();
  return world.signer.sign({
    nbf: realSeconds,
    exp: realSeconds + 300,
    iss: world.url,
    aud: world.app.clientId,
    iat: realSeconds,
    at_hash: hash.subarray(0, 16).toString("base64url"),
    sid: consent.authEventId.replaceAll("-", ""),
    ...person(user, consent),
    ...(consent.nonce === undefined ? {} : { nonce: consent.nonce }),
    preferred_username: user.email,
    email: user.email,
    given_name: user.givenName,
    family_name: user.familyName,
  });
}

function person(user: User, consent: Consent): Record<string, unknown> {
  return {
    sub: createHash("md5").update(user.id).digest("hex"),
    auth_time: Math.floor(consent.authenticatedAt / 1000),
    xero_userid: user.id,
    global_session_id: consent.authEventId.replaceAll("-", ""),
  };
}

function isClient(world: World, call: Call, form: URLSearchParams): boolean {
  const basic = /^Basic (.+)$/i.exec(header(call, "authorization") ?? "")?.[1];
  if (basic === undefined) {
    return form.get("client_id") === world.app.clientId && form.get("client_secret") === world.app.clientSecret;
  }
  const [id = "", secret = ""] = Buffer.from(basic, "base64").toString("utf8").split(":").map(formDecoded);
  return id === world.app.clientId && secret === world.app.clientSecret;
}

/** RFC 6749 has clients form-encode both halves before Base64; plain ones survive this unchanged. */
function formDecoded(text: string): string {
  return new URLSearchParams(`v=${text}`).get("v") ?? "";
}

function oauthError(error: string): Reply {
  return json(400, { error });
}

function s256(verifier: string): string {
  return createHash("sha256").update(verifier).digest("base64url");
}
