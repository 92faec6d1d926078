/** Bearer tokens checked by a key set (AUTH_JWKS_URL), as a login server publishes it. */
import { createServer, type Server } from "node:http";
import { type AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { exportJWK, generateKeyPair, type GenerateKeyPairResult, SignJWT } from "jose";
import { GraphqlClient } from "../demo/graphqlClient.js";
import { secret, type Service, startService } from "./support/service.js";

let login: Server;
let keys: GenerateKeyPairResult;
let service: Service;

beforeAll(async () => {
  keys = await generateKeyPair("ES256");
  const jwk = { ...(await exportJWK(keys.publicKey)), kid: "one", alg: "ES256" };
  login = createServer((_request, response) => {
    response.setHeader("content-type", "application/json").end(JSON.stringify({ keys: [jwk] }));
  });
  await new Promise<void>((resolve) => {
    login.listen(0, "127.0.0.1", resolve);
  });
  const { port } = login.address() as AddressInfo;
  service = await startService({
    environment: {
      AUTH_JWT_SECRET: "",
      AUTH_JWKS_URL: `http://127.0.0.1:${port}/jwks.json`,
      AUTH_ISSUER: "https://login.example.com/",
      AUTH_AUDIENCE: "ledgerline",
      AUTH_WORKSPACE_CLAIM: "https://example.com/account",
      AUTH_ROLE_CLAIM: "permission",
    },
  });
});

afterAll(async () => {
  await service.close();
  login.close();
});

const claims = { "https://example.com/account": "one", permission: "bookkeeper" };

function token(issuer: string, audience: string, given: object = claims): SignJWT {
  return new SignJWT({ ...given }).setSubject("kim").setIssuer(issuer).setAudience(audience).setExpirationTime("1h");
}

async function ask(bearer: string): Promise<{ status: number; viewer?: unknown; code?: string | undefined }> {
  const { status, data, errors } = await new GraphqlClient(service.url, bearer).send<{ viewer: unknown }>(
    "{ viewer { subject workspaceId role } }",
  );
  return { status, ...(data && { viewer: data.viewer }), ...(errors && { code: errors[0]?.extensions.code }) };
}

const es256 = { alg: "ES256", kid: "one" };
const good = token.bind(null, "https://login.example.com/", "ledgerline");

describe("a key set", () => {
  it("lets in who bears a token of its key, issuer and audience, by the configured claims", async () => {
    const bearer = await good().setProtectedHeader(es256).sign(keys.privateKey);
    expect(await ask(bearer)).toEqual({
      status: 200,
      viewer: { subject: "kim", workspaceId: "one", role: "BOOKKEEPER" },
    });
  });

  it("turns away other issuers, audiences, keys, and a shared secret in place of the key", async () => {
    const other = (await generateKeyPair("ES256")).privateKey;
    const { publicKey } = keys;
    const spki = new TextEncoder().encode(JSON.stringify(await exportJWK(publicKey)));
    const refused = await Promise.all(
      [
        token("https://evil.example.com/", "ledgerline").setProtectedHeader(es256).sign(keys.privateKey),
        token("https://login.example.com/", "other").setProtectedHeader(es256).sign(keys.privateKey),
        good().setProtectedHeader(es256).sign(other),
        good().setProtectedHeader({ alg: "HS256", kid: "one" }).sign(new TextEncoder().encode(secret)),
        good().setProtectedHeader({ alg: "HS256", kid: "one" }).sign(spki),
      ].map(async (bearer) => ask(await bearer)),
    );
    expect(refused).toEqual(refused.map(() => ({ status: 401, code: "UNAUTHENTICATED" })));
  });

  it("forbids a role it does not know", async () => {
    const bearer = await good({ ...claims, permission: "owner" })
      .setProtectedHeader(es256)
      .sign(keys.privateKey);
    expect((await ask(bearer)).code).toBe("FORBIDDEN");
  });
});
