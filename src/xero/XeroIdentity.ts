/**
 * Owns OAuth 2.0 with Xero (consent address, code, refresh, revocation) and the list of connections that a consent gave.
 * Checking `state`, keeping tokens and refreshing them one at a time are the callers'.
 *
 * Shaped by https://developer.xero.com/documentation/guides/oauth2/auth-flow: a refresh token is replaced by every
 * refresh, the old one may be retried for 30 minutes if the answer was lost; revocation ends all of the user's
 * connections; `DELETE /connections/{id}` ends one. xero-node is not used here: its addresses are hard-coded.
 */
import { decodeJwt } from "jose";
import * as oidc from "openid-client";
import { z } from "zod";
import { type CallRecord } from "./exchange.js";
import { instant } from "./wireValues.js";
import { classify, XeroFailure } from "./XeroFailure.js";

export interface XeroIdentityOptions {
  /** Base addresses: `/identity/connect/authorize` is under the first, `/connect/…` and `/connections` under the others. */
  loginUrl: string;
  identityUrl: string;
  apiUrl: string;
  clientId: string;
  clientSecret: string;
  redirectUri: string;
  scopes: string[];
  /** For one exchange, to the last byte of the answer. */
  timeoutMs: number;
  /** Is told of every answer, and with status 0 of every call that got none. Must not throw. */
  onAnswer?: (answer: Pick<CallRecord, "operation" | "status" | "durationMs">) => void;
}

export interface TokenSet {
  accessToken: string;
  refreshToken: string;
  expiresInMs: number;
  scopes: string[];
  /** Who gave the consent. Empty after a refresh whose access token does not say. */
  xeroUserId: string;
  /** The consent, to filter connections by. Empty after a refresh whose access token does not say. */
  authEventId: string;
}

export interface TenantLink {
  connectionId: string;
  tenantId: string;
  /** ORGANISATION, PRACTICE, … */
  tenantType: string;
  tenantName: string;
  authEventId: string;
  createdAt: Date;
  /** Later than createdAt: it was connected again. */
  updatedAt: Date;
}

export class XeroIdentity {
  private readonly connectionsUrl: string;
  private readonly metadata: oidc.ServerMetadata;

  constructor(private readonly options: XeroIdentityOptions) {
    const identityUrl = withoutSlash(options.identityUrl);
    this.connectionsUrl = `${withoutSlash(options.apiUrl)}/connections`;
    this.metadata = {
      issuer: identityUrl,
      authorization_endpoint: `${withoutSlash(options.loginUrl)}/identity/connect/authorize`,
      token_endpoint: `${identityUrl}/connect/token`,
      revocation_endpoint: `${identityUrl}/connect/revocation`,
    };
  }

  /** Where to send the browser for a consent. `state` comes back with the code and must be checked by the caller. */
  authorizationUrl(state: string): string {
    const { redirectUri, scopes } = this.options;
    const parameters = { redirect_uri: redirectUri, scope: scopes.join(" "), state };
    return oidc.buildAuthorizationUrl(this.client("authorizationUrl"), parameters).href;
  }

  /**
   * The tokens for a consent's code, which works once and for five minutes; the caller has checked `state`. Throws
   * XeroFailure: INVALID_GRANT for a used or expired code, MISCONFIGURED also when offline_access is not among the scopes.
   */
  async exchangeCode(code: string): Promise<TokenSet> {
    const operation = "exchangeCode";
    const parameters = { code, redirect_uri: this.options.redirectUri };
    const answer = await this.guarded(operation, (client) =>
      // Not authorizationCodeGrant: it rebuilds the redirect URI from the browser's address; Xero compares it byte by byte.
      oidc.genericGrantRequest(client, "authorization_code", parameters),
    );
    const tokens = readTokens(answer);
    if (tokens.refreshToken === "") {
      throw new XeroFailure({
        kind: "MISCONFIGURED",
        operation,
        problem: "no refresh token: is offline_access asked for?",
      });
    }
    // Without the first it is nobody's, and without the second its organisations can't be told from the user's others.
    if (tokens.xeroUserId === "" || tokens.authEventId === "") {
      const problem = "no xero_userid or authentication_event_id in the access token";
      throw new XeroFailure({ kind: "UNCERTAIN", operation, problem });
    }
    return tokens;
  }

  /**
   * New tokens for a refresh token; both must be saved before the old one is forgotten. If the answer was lost, the same
   * token may be tried again for 30 minutes. Throws XeroFailure: INVALID_GRANT means that a new consent is needed.
   */
  async refresh(refreshToken: string): Promise<TokenSet> {
    const answer = await this.guarded("refresh", (client) => oidc.refreshTokenGrant(client, refreshToken));
    const tokens = readTokens(answer);
    // RFC 6749 section 6: where none is issued, the old one stays good.
    return tokens.refreshToken === "" ? { ...tokens, refreshToken } : tokens;
  }

  /** Ends the grant and with it all connections of this Xero user to the app. Revoking a dead token succeeds. */
  async revoke(refreshToken: string): Promise<void> {
    try {
      await this.guarded("revoke", (client) => oidc.tokenRevocation(client, refreshToken));
    } catch (error) {
      if (!(error instanceof XeroFailure && error.kind === "INVALID_GRANT")) throw error;
    }
  }

  /** What is connected: by this consent, or without `authEventId` by any consent of the user. Practices are in it too. */
  async connections(accessToken: string, authEventId?: string): Promise<TenantLink[]> {
    const operation = "connections";
    const filter = authEventId ? `?${new URLSearchParams({ authEventId }).toString()}` : "";
    const headers = { authorization: `Bearer ${accessToken}`, accept: "application/json" };
    const text = await this.send(operation, `${this.connectionsUrl}${filter}`, { method: "GET", headers });
    const links = z.array(tenantLink).safeParse(parseJson(text));
    if (!links.success) throw unexpected(operation);
    return links.data;
  }

  /** Ends one connection, by its own id and not the organisation's. Repeats succeed: one that is gone is what was asked. */
  async deleteConnection(accessToken: string, connectionId: string): Promise<void> {
    const headers = { authorization: `Bearer ${accessToken}`, accept: "application/json" };
    const url = `${this.connectionsUrl}/${encodeURIComponent(connectionId)}`;
    try {
      await this.send("deleteConnection", url, { method: "DELETE", headers });
    } catch (error) {
      if (!(error instanceof XeroFailure && error.kind === "NOT_FOUND")) throw error;
    }
  }

  private async guarded<Result>(
    operation: string,
    request: (client: oidc.Configuration) => Promise<Result>,
  ): Promise<Result> {
    try {
      return await request(this.client(operation));
    } catch (error) {
      // openid-client wraps what its fetch threw; its own complaints are about a 200 that is no token answer.
      const cause: unknown = error instanceof Error ? error.cause : undefined;
      throw cause instanceof XeroFailure ? cause : unexpected(operation);
    }
  }

  private client(operation: string): oidc.Configuration {
    const { clientId, clientSecret } = this.options;
    const credentials = `${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`;
    const client = new oidc.Configuration(this.metadata, clientId, undefined, (_server, _client, _body, headers) => {
      // As Xero documents it. openid-client's own also escapes "-" and "_", which not every server undoes.
      headers.set("authorization", `Basic ${Buffer.from(credentials).toString("base64")}`);
    });
    const addresses = [this.metadata.authorization_endpoint, this.metadata.token_endpoint];
    if (addresses.some((address) => address?.startsWith("http:"))) library.allowInsecureRequests(client);
    client[oidc.customFetch] = async (url, { method, headers, body }) => {
      if (!(body instanceof URLSearchParams)) throw new TypeError("OAuth requests are forms");
      const text = await this.send(operation, url, { method, headers, body });
      return new Response(withoutIdToken(text), { headers: { "content-type": "application/json" } });
    };
    return client;
  }

  /** The body of a good answer, within the time limit and following no redirect; any other is thrown as XeroFailure. */
  private async send(operation: string, url: string, init: RequestInit): Promise<string> {
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), this.options.timeoutMs);
    const startedAt = performance.now();
    let status = 0;
    try {
      const response = await fetch(url, { ...init, redirect: "manual", signal: limit.signal });
      const text = await response.text();
      status = response.status;
      if (response.ok) return text;
      throw classify(response.status, Object.fromEntries(response.headers), text, operation);
    } catch (error) {
      if (error instanceof XeroFailure) throw error;
      const problem = limit.signal.aborted ? `no answer within ${this.options.timeoutMs} ms` : "no answer";
      throw new XeroFailure({ kind: "UNCERTAIN", operation, problem });
    } finally {
      clearTimeout(timer);
      this.options.onAnswer?.({ operation, status, durationMs: performance.now() - startedAt });
    }
  }
}

// openid-client marks it deprecated only to make it stand out; a stand-in on localhost has no TLS.
const library: { allowInsecureRequests(client: oidc.Configuration): void } = oidc;

const tenantLink = z
  .object({
    id: z.string().min(1),
    tenantId: z.string().min(1),
    tenantType: z.string(),
    tenantName: z.string().nullish(),
    authEventId: z.string().nullish(),
    createdDateUtc: z.unknown(),
    updatedDateUtc: z.unknown(),
  })
  .transform((wire) => {
    const createdAt = instant(wire.createdDateUtc) ?? new Date(0);
    return {
      connectionId: wire.id,
      tenantId: wire.tenantId,
      tenantType: wire.tenantType,
      tenantName: wire.tenantName ?? "",
      authEventId: wire.authEventId ?? "",
      createdAt,
      updatedAt: instant(wire.updatedDateUtc) ?? createdAt,
    };
  });

const claims = z.object({
  xero_userid: z.string().catch(""),
  authentication_event_id: z.string().catch(""),
  scope: z.union([z.array(z.string()), z.string().transform((scope) => scope.split(" "))]).catch([]),
});

function readTokens(answer: oidc.TokenEndpointResponse): TokenSet {
  const claim = claims.parse(decode(answer.access_token));
  return {
    accessToken: answer.access_token,
    refreshToken: answer.refresh_token ?? "",
    expiresInMs: (answer.expires_in ?? 1800) * 1000,
    scopes: (answer.scope?.split(" ") ?? claim.scope).filter((scope) => scope !== ""),
    xeroUserId: claim.xero_userid,
    authEventId: claim.authentication_event_id,
  };
}

/** The claims, unverified: the token came over TLS from the endpoint that we gave our secret to, and only Xero relies on it. */
function decode(accessToken: string): object {
  try {
    return decodeJwt(accessToken);
  } catch {
    return {};
  }
}

/**
 * The token answer less its id_token, which nobody here reads: who consented is in the access token. Left in, openid-client
 * would fail a good exchange, and lose its code, over that token's issuer (Xero's own, whatever the configured address)
 * or a clock that is off. OpenID Connect Core 3.1.3.7 lets TLS to the token endpoint stand for the signature.
 */
function withoutIdToken(text: string): string {
  const answer = z.record(z.string(), z.unknown()).safeParse(parseJson(text)).data;
  return answer === undefined ? text : JSON.stringify({ ...answer, id_token: undefined });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function unexpected(operation: string): XeroFailure {
  return new XeroFailure({ kind: "UNCERTAIN", operation, status: 200, problem: "not the expected answer" });
}

function withoutSlash(url: string): string {
  return url.replace(/\/+$/, "");
}
