/** OAuth and /connections over real HTTP, against a server that answers as the test says. */
import { describe, expect, it } from "@jest/globals";
import { XeroIdentity } from "../../src/xero/XeroIdentity.js";
import { answer, type Handler, rejection, type SeenRequest, withServer } from "./localServer.js";

const clientSecret = "s-_cret";

async function withIdentity(
  handler: Handler,
  work: (identity: XeroIdentity, seen: SeenRequest[], url: string) => Promise<void>,
  timeoutMs = 5000,
): Promise<void> {
  await withServer(handler, async (url, seen) => {
    const identity = new XeroIdentity({
      loginUrl: `${url}/`,
      identityUrl: `${url}/`,
      apiUrl: url,
      clientId: "client-1",
      clientSecret,
      redirectUri: "http://localhost:4000/oauth/xero/callback?x=1",
      scopes: ["openid", "offline_access", "accounting.invoices"],
      timeoutMs,
    });
    await work(identity, seen, url);
  });
}

function unsignedJwt(claims: object): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "RS256", typ: "JWT" })}.${part(claims)}.c2ln`;
}

const accessToken = unsignedJwt({
  xero_userid: "u-1",
  authentication_event_id: "e-1",
  scope: ["openid", "accounting.invoices"],
});
const tokens = {
  access_token: accessToken,
  refresh_token: "new-refresh",
  expires_in: 1800,
  token_type: "Bearer",
  // Expired, of a strange issuer and audience: nobody reads it.
  id_token: unsignedJwt({ iss: "https://identity.xero.com", aud: "other", exp: 1, iat: 1, sub: "x" }),
};
const form = (request: SeenRequest | undefined): object => Object.fromEntries(new URLSearchParams(request?.body));

describe("authorizationUrl", () => {
  it("asks for a code with scopes, state and the exact redirect URI", async () => {
    await withIdentity(
      () => undefined,
      (identity, _seen, base) => {
        const url = new URL(identity.authorizationUrl("state-1"));
        expect(`${url.origin}${url.pathname}`).toBe(`${base}/identity/connect/authorize`);
        expect(Object.fromEntries(url.searchParams)).toEqual({
          response_type: "code",
          client_id: "client-1",
          redirect_uri: "http://localhost:4000/oauth/xero/callback?x=1",
          scope: "openid offline_access accounting.invoices",
          state: "state-1",
        });
        return Promise.resolve();
      },
    );
  });
});

describe("exchangeCode and refresh", () => {
  it("exchanges a code under Basic authentication and reads the claims", async () => {
    await withIdentity(
      (response) => answer(response, 200, tokens),
      async (identity, seen) => {
        expect(await identity.exchangeCode("code-1")).toEqual({
          accessToken,
          refreshToken: "new-refresh",
          expiresInMs: 1_800_000,
          scopes: ["openid", "accounting.invoices"],
          xeroUserId: "u-1",
          authEventId: "e-1",
        });
        expect(seen).toMatchObject([{ method: "POST", path: "/connect/token" }]);
        expect(seen[0]?.headers.authorization).toBe(
          `Basic ${Buffer.from(`client-1:${clientSecret}`).toString("base64")}`,
        );
        expect(form(seen[0])).toEqual({
          grant_type: "authorization_code",
          code: "code-1",
          redirect_uri: "http://localhost:4000/oauth/xero/callback?x=1",
        });
      },
    );
  });

  it("refreshes; the answer's own scope counts, and a token that is not replaced stays", async () => {
    await withIdentity(
      (response) => answer(response, 200, { access_token: "opaque", token_type: "Bearer", scope: "openid  email" }),
      async (identity, seen) => {
        expect(await identity.refresh("old-refresh")).toEqual({
          accessToken: "opaque",
          refreshToken: "old-refresh",
          expiresInMs: 1_800_000,
          scopes: ["openid", "email"],
          xeroUserId: "",
          authEventId: "",
        });
        expect(form(seen[0])).toEqual({ grant_type: "refresh_token", refresh_token: "old-refresh" });
      },
    );
  });

  it("refuses a consent without refresh token", async () => {
    await withIdentity(
      (response) => answer(response, 200, { ...tokens, refresh_token: undefined }),
      async (identity) => expect(await rejection(identity.exchangeCode("c"))).toMatchObject({ kind: "MISCONFIGURED" }),
    );
  });

  it.each<[number, unknown, string]>([
    [400, { error: "invalid_grant" }, "INVALID_GRANT"],
    [400, { error: "invalid_client" }, "MISCONFIGURED"],
    [400, { error: "unauthorized_client" }, "MISCONFIGURED"],
    [400, { error: "invalid_scope", error_description: "no" }, "MISCONFIGURED"],
    [401, { error: "invalid_client" }, "MISCONFIGURED"],
    [429, "", "RATE_LIMITED"],
    [500, "", "SERVER_ERROR"],
    [503, "<html>maintenance</html>", "OFFLINE"],
    [302, "", "UNCERTAIN"],
    [200, "", "UNCERTAIN"],
    [200, "<html>", "UNCERTAIN"],
    [200, { token_type: "Bearer" }, "UNCERTAIN"],
    [200, [], "UNCERTAIN"],
  ])("reads %i %j as %s", async (status, body, kind) => {
    await withIdentity(
      (response) => answer(response, status, body, status === 302 ? { location: "/elsewhere" } : {}),
      async (identity, seen) => {
        const failure = (await rejection(identity.refresh("old-refresh"))) as Error;
        expect(failure).toMatchObject({ name: "XeroFailure", kind, operation: "refresh" });
        expect(`${failure.message} ${String(failure.cause)}`).not.toMatch(/old-refresh|s-_cret/);
        expect(seen).toHaveLength(1);
      },
    );
  });

  it("gives up within the time limit, also on a stalled body, and on a lost socket", async () => {
    const handlers: Handler[] = [
      () => undefined,
      (response) => {
        response.writeHead(200, { "content-type": "application/json" });
        response.write("{");
      },
      (response) => void response.destroy(),
    ];
    for (const handler of handlers) {
      await withIdentity(
        handler,
        async (identity) => expect(await rejection(identity.refresh("r"))).toMatchObject({ kind: "UNCERTAIN" }),
        200,
      );
    }
  });
});

describe("revoke", () => {
  it("posts the token, and takes a dead one for revoked", async () => {
    for (const [status, body] of [
      [200, ""],
      [400, { error: "invalid_grant" }],
    ] as const) {
      await withIdentity(
        (response) => answer(response, status, body),
        async (identity, seen) => {
          await identity.revoke("refresh-1");
          expect(seen).toMatchObject([{ method: "POST", path: "/connect/revocation" }]);
          expect(form(seen[0])).toEqual({ token: "refresh-1" });
        },
      );
    }
  });

  it("tells of a wrong secret", async () => {
    await withIdentity(
      (response) => answer(response, 400, { error: "invalid_client" }),
      async (identity) => expect(await rejection(identity.revoke("r"))).toMatchObject({ kind: "MISCONFIGURED" }),
    );
  });
});

describe("connections", () => {
  const link = {
    id: "conn-1",
    authEventId: "e-1",
    tenantId: "t-1",
    tenantType: "ORGANISATION",
    tenantName: "Demo",
    createdDateUtc: "2019-12-07T18:46:19.5165400",
    updatedDateUtc: "2026-07-09T23:40:30.1833130",
  };

  it("lists those of one consent, with times in UTC", async () => {
    await withIdentity(
      (response) => answer(response, 200, [link, { ...link, id: "conn-2", tenantType: "PRACTICE", tenantName: null }]),
      async (identity, seen) => {
        const links = await identity.connections("access", "e/1");
        expect(links).toMatchObject([
          {
            connectionId: "conn-1",
            tenantId: "t-1",
            tenantName: "Demo",
            authEventId: "e-1",
            createdAt: new Date("2019-12-07T18:46:19.516Z"),
            updatedAt: new Date("2026-07-09T23:40:30.183Z"),
          },
          { connectionId: "conn-2", tenantType: "PRACTICE", tenantName: "" },
        ]);
        expect(seen).toMatchObject([{ path: "/connections", headers: { authorization: "Bearer access" } }]);
        expect(seen[0]?.query.get("authEventId")).toBe("e/1");
        await identity.connections("access");
        expect([...(seen[1]?.query ?? [])]).toEqual([]);
      },
    );
  });

  it.each<[number, unknown, string]>([
    [200, {}, "UNCERTAIN"],
    [200, "", "UNCERTAIN"],
    [401, { Detail: "TokenExpired: token expired" }, "TOKEN_REFUSED"],
    [403, { Detail: "AuthenticationUnsuccessful" }, "DISCONNECTED"],
  ])("reads %i %j as %s", async (status, body, kind) => {
    await withIdentity(
      (response) => answer(response, status, body),
      async (identity) => expect(await rejection(identity.connections("a"))).toMatchObject({ kind }),
    );
  });

  it("deletes one by its own id; one that is gone is deleted", async () => {
    for (const status of [204, 404]) {
      await withIdentity(
        (response) => {
          response.writeHead(status);
          response.end();
        },
        async (identity, seen) => {
          await identity.deleteConnection("access", "conn 1");
          expect(seen).toMatchObject([{ method: "DELETE", path: "/connections/conn%201" }]);
        },
      );
    }
    await withIdentity(
      (response) => answer(response, 403, { Detail: "AuthenticationUnsuccessful" }),
      async (identity) =>
        expect(await rejection(identity.deleteConnection("a", "t"))).toMatchObject({ kind: "DISCONNECTED" }),
    );
  });
});
