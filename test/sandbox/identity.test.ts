/**
 * Owns the checks of OAuth, connections and scopes: what is refused, what expires and what survives (docs/xero-facts.md
 * sections 1, 2). Wording that no source records is matched loosely.
 */
import { createHash, createPublicKey, verify, type JsonWebKey } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import {
  allScopes,
  at,
  authorize,
  basic,
  call,
  listAt,
  redirectUri,
  startHarness,
  token,
  type Harness,
  type Tokens,
} from "./harness.js";

const minute = 60_000;
const day = 24 * 60 * minute;
let x: Harness;

beforeAll(async () => {
  x = await startHarness();
});

afterAll(async () => {
  await x.close();
});

const refresh = (refreshToken: string) =>
  token(x.sandbox, { grant_type: "refresh_token", refresh_token: refreshToken });
const connections = async (bearer: string, query = "") =>
  call(x.sandbox, "GET", `/connections${query}`, undefined, { Authorization: `Bearer ${bearer}` });
const newCode = async (query: Record<string, string> = {}): Promise<string> => {
  const back = await authorize(x.sandbox, { scope: allScopes, ...query });
  return new URL(back.headers.get("location") ?? "").searchParams.get("code") ?? "";
};
const claims = (jwt: string): unknown => JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString());

describe("consent", () => {
  it("sends the browser back with code and state", async () => {
    const back = await authorize(x.sandbox, { scope: allScopes, state: "a b&c" });
    const location = new URL(back.headers.get("location") ?? "");
    expect(back.status).toBe(302);
    expect(location.origin + location.pathname).toBe(redirectUri);
    expect(location.searchParams.get("state")).toBe("a b&c");
    expect(location.searchParams.get("code")).toBeTruthy();
  });

  it("comes back with access_denied when the person refuses", async () => {
    await x.control("consent/next", { refuse: true });
    const back = await authorize(x.sandbox, { scope: allScopes });
    const location = new URL(back.headers.get("location") ?? "");
    expect(Object.fromEntries(location.searchParams)).toEqual({ error: "access_denied", state: "s-1" });
  });

  it.each([
    ["an unknown client", { client_id: "nobody" }],
    ["an unregistered address", { redirect_uri: "https://elsewhere.example/cb" }],
    ["another response type", { response_type: "token" }],
    ["an unknown scope", { scope: "accounting.everything" }],
    ["a broad scope, which new apps do not have", { scope: "accounting.transactions" }],
    ["no scope", { scope: "" }],
    ["a plain code challenge", { code_challenge: "abc", code_challenge_method: "plain" }],
  ])("shows a page, and sends nothing back, for %s", async (_name, query) => {
    const page = await authorize(x.sandbox, { scope: allScopes, ...query });
    expect([page.status, page.headers.get("location")]).toEqual([400, null]);
    expect(page.headers.get("content-type")).toContain("text/html");
  });

  it("takes registered addresses byte by byte once there is a list", async () => {
    await x.control("app/redirect-uris", { uris: [redirectUri] });
    expect((await authorize(x.sandbox, { scope: allScopes, redirect_uri: `${redirectUri}/` })).status).toBe(400);
    expect((await authorize(x.sandbox, { scope: allScopes })).status).toBe(302);
    await x.control("app/redirect-uris", { uris: null });
  });
});

describe("the token endpoint", () => {
  it("exchanges a code once", async () => {
    const code = await newCode();
    const form = { grant_type: "authorization_code", code, redirect_uri: redirectUri };
    const first = await token(x.sandbox, form);
    expect(first.body).toMatchObject({
      expires_in: 1800,
      token_type: "Bearer",
      scope: expect.stringContaining("accounting."),
    });
    const second = await token(x.sandbox, form);
    expect([second.status, second.body]).toEqual([400, { error: "invalid_grant" }]);
  });

  it("leaves the scope out of the answer when switched so", async () => {
    await x.control("switches", { scopeInCodeAnswer: false });
    expect((await x.consent()).scope).toBeUndefined();
    await x.control("switches", { scopeInCodeAnswer: true });
  });

  it("refuses a code after five minutes, or with another redirect address, or a wrong verifier", async () => {
    const late = await newCode();
    await x.control("clock/advance", { ms: 5 * minute });
    const elsewhere = await newCode();
    const challenge = createHash("sha256").update("v".repeat(43)).digest("base64url");
    const challenged = await newCode({ code_challenge: challenge, code_challenge_method: "S256" });
    const answers = [
      await token(x.sandbox, { grant_type: "authorization_code", code: late, redirect_uri: redirectUri }),
      await token(x.sandbox, { grant_type: "authorization_code", code: elsewhere, redirect_uri: "http://localhost/x" }),
      await token(x.sandbox, {
        grant_type: "authorization_code",
        code: challenged,
        redirect_uri: redirectUri,
        code_verifier: "no",
      }),
    ];
    expect(answers.map((one) => one.body)).toEqual(Array(3).fill({ error: "invalid_grant" }));
  });

  it("knows its client by Basic or by form, and nobody else", async () => {
    const { clientId, clientSecret } = x.sandbox;
    const form = { grant_type: "refresh_token", refresh_token: (await x.consent()).refresh_token };
    const post = await token(x.sandbox, { ...form, client_id: clientId, client_secret: clientSecret }, undefined, "");
    expect(post.status).toBe(200);
    const wrong = await token(x.sandbox, form, undefined, basic(clientId, "wrong"));
    expect([wrong.status, wrong.body]).toEqual([400, { error: "invalid_client" }]);
    const other = await token(x.sandbox, { grant_type: "password" });
    expect(other.body).toEqual({ error: "unsupported_grant_type" });
  });

  it("gives no refresh token without offline_access and no id_token without openid", async () => {
    expect(Object.keys(await x.consent("accounting.contacts")).sort()).toEqual([
      "access_token",
      "expires_in",
      "scope",
      "token_type",
    ]);
  });

  it("signs with a published key, with the claims Xero has", async () => {
    const tokens = await x.consent();
    const keys = await call(x.sandbox, "GET", "/.well-known/openid-configuration/jwks", undefined, {});
    const key = createPublicKey({ key: listAt(keys.body, "keys")[0] as JsonWebKey, format: "jwk" });
    for (const jwt of [tokens.access_token, tokens.id_token]) {
      const [head = "", body = "", signature = ""] = jwt.split(".");
      expect(verify("RSA-SHA256", Buffer.from(`${head}.${body}`), key, Buffer.from(signature, "base64url"))).toBe(true);
    }
    expect(claims(tokens.access_token)).toMatchObject({
      iss: x.url,
      client_id: x.sandbox.clientId,
      xero_userid: expect.any(String),
      authentication_event_id: expect.any(String),
      scope: expect.arrayContaining(["offline_access", "accounting.invoices"]),
    });
    expect(claims(tokens.id_token)).toMatchObject({ aud: x.sandbox.clientId, email: expect.stringContaining("@") });
  });
});

describe("refreshing", () => {
  it("rotates, and takes the old token again for thirty minutes", async () => {
    const first = await x.consent();
    const second = (await refresh(first.refresh_token)).body as Tokens;
    expect(second.refresh_token).not.toBe(first.refresh_token);
    await x.control("clock/advance", { ms: 29 * minute });
    expect((await refresh(first.refresh_token)).status).toBe(200);
    await x.control("clock/advance", { ms: 2 * minute });
    const late = await refresh(first.refresh_token);
    expect([late.status, late.body]).toEqual([400, { error: "invalid_grant" }]);
    expect((await refresh(second.refresh_token)).status).toBe(200);
  });

  it("has no grace when switched off", async () => {
    await x.control("switches", { refreshGrace: false });
    const first = await x.consent();
    await refresh(first.refresh_token);
    expect((await refresh(first.refresh_token)).status).toBe(400);
    await x.control("switches", { refreshGrace: true });
  });

  it("lasts sixty days, and an expired one leaves the connection alone", async () => {
    const first = await x.consent();
    await x.control("clock/advance", { ms: 60 * day });
    expect((await refresh(first.refresh_token)).body).toEqual({ error: "invalid_grant" });
    const again = await x.consent();
    expect(listAt((await connections(again.access_token)).body, "").length).toBeGreaterThan(0);
  });

  it("cannot widen the scope", async () => {
    const narrow = await x.consent();
    const form = { grant_type: "refresh_token", refresh_token: narrow.refresh_token, scope: "accounting.attachments" };
    expect((await token(x.sandbox, form)).body).toEqual({ error: "invalid_scope" });
  });
});

describe("connections", () => {
  it("are listed with dates without zone, by consent, and belong to their user", async () => {
    const mine = await x.consent();
    const eventId = String(at(claims(mine.access_token), "authentication_event_id"));
    const listed = await connections(mine.access_token, `?authEventId=${eventId}`);
    expect(listed.body).toEqual([
      {
        id: expect.any(String),
        authEventId: eventId,
        tenantId: x.tenantId,
        tenantType: "ORGANISATION",
        tenantName: "Demo Company (AU)",
        createdDateUtc: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}$/),
        updatedDateUtc: expect.stringMatching(/\.\d{7}$/),
      },
    ]);
    expect((await connections(mine.access_token, `?authEventId=${x.tenantId}`)).body).toEqual([]);
    const other = await x.control("users/add", { email: "other@example.com" });
    await x.control("consent/next", { userId: at(other, "userId"), organisations: [] });
    expect((await connections((await x.consent()).access_token)).body).toEqual([]);
    expect((await connections("nonsense")).status).toBe(401);
  });

  it("end by their own id; the organisation's is refused, an unknown one is not found", async () => {
    const mine = await x.consent();
    const id = String(at((await connections(mine.access_token)).body, "0.id"));
    const remove = async (target: string) =>
      (
        await call(x.sandbox, "DELETE", `/connections/${target}`, undefined, {
          Authorization: `Bearer ${mine.access_token}`,
        })
      ).status;
    expect([
      await remove(x.tenantId),
      await remove(x.tenantId.replace(/.$/, "0").replace(/^./, "0")),
      await remove(id),
    ]).toEqual([403, 404, 204]);
    const answer = await x.api("GET", "Organisation", undefined, { token: mine.access_token });
    expect([answer.status, at(answer.body, "Detail")]).toEqual([403, "AuthenticationUnsuccessful"]);
    expect((await refresh(mine.refresh_token)).status).toBe(200);
  });

  it("end when a person disconnects in Xero, or all of them when the grant is revoked", async () => {
    const mine = await x.consent();
    await x.control("disconnect", { tenantId: x.tenantId });
    expect((await connections(mine.access_token)).body).toEqual([]);
    const again = await x.consent();
    const revoked = await token(x.sandbox, { token: again.refresh_token }, "/connect/revocation");
    expect([revoked.status, revoked.body]).toEqual([200, ""]);
    expect((await refresh(again.refresh_token)).body).toEqual({ error: "invalid_grant" });
    expect((await connections(again.access_token)).body).toEqual([]);
  });

  it("are one per consent: the first organisation not yet connected, or those that control names", async () => {
    const second = String(at(await x.control("organisations/add", { name: "Second" }), "tenantId"));
    const third = String(at(await x.control("organisations/add", { name: "Third" }), "tenantId"));
    const names = async (tokens: Tokens) =>
      listAt((await connections(tokens.access_token)).body, "").map((one) => at(one, "tenantId"));
    expect(await names(await x.consent())).toEqual([x.tenantId]);
    await x.control("consent/next", { organisations: ["Third"] });
    expect(await names(await x.consent())).toEqual([x.tenantId, third]);
    expect(await names(await x.consent())).toEqual([x.tenantId, third, second]);
  });
});

describe("a call of the API", () => {
  it("needs a live token: 401 says that it expired", async () => {
    const tokens = await x.consent();
    await x.control("clock/advance", { ms: 30 * minute });
    const answer = await x.api("GET", "Organisation", undefined, { token: tokens.access_token });
    expect(answer.body).toEqual({
      Type: null,
      Title: "Unauthorized",
      Status: 401,
      Detail: expect.stringMatching(/^TokenExpired: token expired at \d\d\/\d\d\/\d{4} \d\d:\d\d:\d\d$/),
      Instance: expect.any(String),
      Extensions: {},
    });
    expect((await x.api("GET", "Organisation", undefined, { token: "x" })).status).toBe(401);
  });

  it("needs a connected organisation", async () => {
    const { access_token: bearer } = await x.consent();
    for (const tenant of ["", "00000000-0000-0000-0000-000000000001"]) {
      const answer = await x.api("GET", "Organisation", undefined, {
        token: bearer,
        headers: { "xero-tenant-id": tenant },
      });
      expect([answer.status, at(answer.body, "Detail")]).toEqual([403, "AuthenticationUnsuccessful"]);
    }
  });

  it.each([
    ["accounting.contacts.read", "GET", "Contacts", 200],
    ["accounting.contacts.read", "PUT", "Contacts", 401],
    ["accounting.contacts.read", "GET", "Invoices", 401],
    ["accounting.invoices", "GET", "Invoices", 200],
    ["accounting.invoices", "GET", "Payments", 401],
    ["accounting.payments.read", "GET", "Overpayments", 200],
    ["accounting.payments.read", "PUT", "Payments", 401],
    ["accounting.settings.read", "GET", "TaxRates", 200],
    ["accounting.settings.read", "GET", "ContactGroups", 401],
  ])("with %s only, %s %s answers %i", async (scope, method, path, status) => {
    await x.control("revoke", {});
    await x.control("consent/next", { organisations: [x.tenantId] });
    const { access_token: bearer } = await x.consent(scope);
    const answer = await x.api(method, path, method === "GET" ? undefined : { Name: "never" }, { token: bearer });
    expect(answer.status).toBe(status);
    if (status === 401) expect(answer.headers.get("www-authenticate")).toBe('Bearer error="insufficent_scope"');
  });

  it("adds scopes up over consents until they are revoked", async () => {
    await x.control("revoke", {});
    const tenants = { organisations: [x.tenantId] };
    await x.control("consent/next", tenants);
    await x.consent("accounting.contacts");
    await x.control("consent/next", tenants);
    const both = await x.consent("accounting.invoices");
    expect((await x.api("GET", "Contacts", undefined, { token: both.access_token })).status).toBe(200);
  });

  it("is forbidden where the person's role does not reach", async () => {
    await x.control("consent/next", { organisations: [x.tenantId] });
    const { access_token: bearer } = await x.consent();
    await x.control("role", { tenantId: x.tenantId, endpoint: "Invoices", allowed: false });
    expect((await x.api("GET", "Invoices", undefined, { token: bearer })).status).toBe(403);
    await x.control("role", { tenantId: x.tenantId, endpoint: "Invoices", allowed: true });
    expect((await x.api("GET", "Invoices", undefined, { token: bearer })).status).toBe(200);
  });
});
