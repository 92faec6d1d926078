/** The end of a consent: what a browser may bring to the callback, what Xero is told of it, and what is kept. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "@jest/globals";
import { configure, consent } from "../demo/setUp.js";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { runSql, syncedInvoice } from "./support/records.js";
import { type Service, startService } from "./support/service.js";

const appUrl = "https://app.example.com";

let service: Service;
let client: GraphqlClient;

beforeAll(async () => {
  service = await startService({ environment: { APP_URL: appUrl } });
  client = await service.client();
});

beforeEach(async () => {
  await service.control("faults/clear", {});
  await service.control("calls/clear", {});
});

afterAll(() => service.close());

/** Where Xero sends the browser once the person has said yes: our callback with a code and the state. */
async function agree(by = client): Promise<URL> {
  const { connectXero } = await by.ask<{ connectXero: { authorizationUrl: string } }>(
    "mutation { connectXero { authorizationUrl } }",
  );
  const response = await fetch(connectXero.authorizationUrl, { redirect: "manual" });
  return new URL(response.headers.get("location") ?? "");
}

/** Follows the callback; answers what the app is told, after having seen that it is told nothing else. */
async function callBack(address: URL): Promise<Record<string, string>> {
  const response = await fetch(address, { redirect: "manual" });
  const location = response.headers.get("location") ?? "";
  const { origin, pathname, searchParams, hash } = new URL(location);
  expect([response.status, origin, pathname, hash]).toEqual([302, appUrl, "/", ""]);
  const told = Object.fromEntries(searchParams);
  expect(Object.keys(told).every((name) => ["xero", "reason"].includes(name))).toBe(true);
  for (const secret of ["code", "state"]) {
    const value = address.searchParams.get(secret);
    if (value) expect(location).not.toContain(value);
  }
  return told;
}

function changed(address: URL, parameters: Record<string, string | null>): URL {
  const other = new URL(address);
  for (const [name, value] of Object.entries(parameters)) {
    if (value === null) other.searchParams.delete(name);
    else other.searchParams.set(name, value);
  }
  return other;
}

async function tokenCalls(): Promise<number> {
  return (await service.control<{ calls: object[] }>("calls?path=/connect/token")).calls.length;
}

interface Organisation {
  id: string;
  name: string;
  tenantId: string;
  active: boolean;
  connectionStatus: string;
}

async function organisations(by = client): Promise<Organisation[]> {
  const answer = await by.ask<{ xeroOrganisations: Organisation[] }>(
    "{ xeroOrganisations { id name tenantId active connectionStatus } }",
  );
  return answer.xeroOrganisations;
}

describe("a callback is refused, and Xero is told nothing,", () => {
  const failed = (reason: string) => ({ xero: "failed", reason });

  it.each([
    ["without a state", { state: null }],
    ["with an empty state", { state: "" }],
    ["with a state that nobody gave out", { state: "A".repeat(43) }],
  ])("%s", async (_name, parameters) => {
    expect(await callBack(changed(await agree(), parameters))).toEqual(failed("INVALID_STATE"));
    expect(await tokenCalls()).toBe(0);
  });

  it("with a state whose ten minutes are over", async () => {
    const address = await agree();
    await runSql(service, "UPDATE consent SET expires_at = now() - interval '1 second' WHERE used_at IS NULL");
    expect(await callBack(address)).toEqual(failed("INVALID_STATE"));
    expect(await tokenCalls()).toBe(0);
  });

  it("when the person said no, and for good", async () => {
    await service.control("consent/next", { refuse: true });
    const address = await agree();
    expect(address.searchParams.get("error")).toBe("access_denied");
    expect(await callBack(address)).toEqual(failed("ACCESS_DENIED"));
    expect(await callBack(changed(address, { error: null, code: "anything" }))).toEqual(failed("INVALID_STATE"));
    expect(await tokenCalls()).toBe(0);
  });

  it("without a code", async () => {
    expect(await callBack(changed(await agree(), { code: null }))).toEqual(failed("CODE_REFUSED"));
    expect(await tokenCalls()).toBe(0);
  });

  it("with another error of Xero's", async () => {
    const address = changed(await agree(), { code: null, error: "server_error", error_description: "<b>code</b>" });
    expect(await callBack(address)).toMatchObject({ xero: "failed" });
    expect(await tokenCalls()).toBe(0);
  });

  it("and leaves nothing connected", async () => {
    expect(await organisations()).toEqual([]);
  });
});

describe("a callback", () => {
  it("with a code that Xero refuses fails, and its state is spent", async () => {
    const address = await agree();
    expect(await callBack(changed(address, { code: "made-up" }))).toEqual({ xero: "failed", reason: "CODE_REFUSED" });
    expect(await callBack(address)).toEqual({ xero: "failed", reason: "INVALID_STATE" });
    expect(await organisations()).toEqual([]);
  });

  it("works when it is tried again after Xero was down", async () => {
    const address = await agree();
    await service.control("faults", { match: { path: "/connect/token$" }, fault: "503-unavailable" });
    expect(await callBack(address)).toEqual({ xero: "failed", reason: "XERO_UNAVAILABLE" });
    expect(await organisations()).toEqual([]);
    expect(await callBack(address)).toEqual({ xero: "connected" });
    expect(await organisations()).toMatchObject([{ active: true, connectionStatus: "CONNECTED" }]);
  });

  it("is good once, also when it comes twice at the same time", async () => {
    const [tenantId] = (await organisations()).map((each) => each.tenantId);
    await service.control("consent/next", { organisations: [tenantId] });
    const address = await agree();
    const told = await Promise.all([callBack(address), callBack(address), callBack(address)]);
    expect(told.filter(({ xero }) => xero === "connected")).toHaveLength(1);
    expect(await tokenCalls()).toBe(1);
    expect(await callBack(address)).toEqual({ xero: "failed", reason: "INVALID_STATE" });
  });

  it("works when it is tried again after Xero did not say what was connected", async () => {
    const other = await service.client("admin", "patient");
    await service.control("consent/next", { organisations: ["Demo Company (AU)"] });
    const address = await agree(other);
    await service.control("faults", { match: { path: "/connections$" }, fault: "503-unavailable" });
    expect(await callBack(address)).toEqual({ xero: "failed", reason: "XERO_UNAVAILABLE" });
    expect(await callBack(address)).toEqual({ xero: "connected" });
  });
});

describe("a consent", () => {
  it("to several organisations makes none active until one is chosen", async () => {
    const several = await service.client("admin", "several");
    await service.control("organisations/add", { name: "First of Two" });
    await service.control("organisations/add", { name: "Second of Two" });
    await service.control("consent/next", { organisations: ["First of Two", "Second of Two"] });
    await consent(several);
    const found = await organisations(several);
    expect(found.map(({ active }) => active)).toEqual([false, false]);
    const { integration } = await several.ask<{ integration: { missingSetup: string[] } }>(
      "{ integration { missingSetup } }",
    );
    expect(integration.missingSetup).toContain("SELECT_ORGANISATION");
    await several.ask("mutation ($id: ID!) { selectXeroOrganisation(id: $id) { id } }", { id: found[1]?.id });
    expect((await organisations(several)).map(({ active }) => active)).toEqual([false, true]);
  });

  it("that is given again keeps accounts and mappings, and goes on where it was", async () => {
    await configure(client);
    const query = `{ integration { missingSetup salesAccount { code } paymentAccount { code } }
      taxRates { name xeroTaxRate { taxType } } }`;
    const before = await client.ask(query);
    const [{ id, tenantId } = { id: "", tenantId: "" }] = await organisations();
    await service.control("disconnect", { tenantId });
    expect((await client.send("mutation { refreshXeroData { enabled } }")).errors?.[0]?.extensions.code).toBe(
      "XERO_NOT_CONNECTED",
    );
    await service.control("consent/next", { organisations: [tenantId] });
    await consent(client);
    expect(await organisations()).toMatchObject([{ id, active: true, connectionStatus: "CONNECTED" }]);
    expect(await client.ask(query)).toEqual(before);
    expect((await syncedInvoice(client)).syncStatus).toBe("SYNCED");
  });

  it("keeps tokens that nobody can read from the database", async () => {
    const dump = JSON.stringify(await runSql(service, "SELECT * FROM xero_grant"));
    const secrets = await tokensOf();
    expect(secrets.length).toBeGreaterThan(0);
    for (const token of secrets) {
      for (const encoding of ["utf8", "base64", "base64url", "hex"] as const) {
        expect(dump).not.toContain(Buffer.from(token).toString(encoding).slice(0, 24));
      }
    }
  });

  it("is not undone by an answer that an older token was given", async () => {
    const [{ tenantId } = { tenantId: "" }] = await organisations();
    await runSql(service, "UPDATE xero_grant SET access_expires_at = now()");
    await service.control("revoke", {});
    const match = { path: "/connect/token$", body: "grant_type=refresh_token" };
    await service.control("hold", { name: "old", match, phase: "after", times: 1 });
    const refused = client.send("mutation { refreshXeroData { enabled } }");
    await service.control("hold/await", { name: "old", count: 1 });
    await service.control("consent/next", { organisations: [tenantId] });
    const end = consent(client);
    expect((await end).searchParams.get("xero")).toBe("connected");
    await service.control("release", { name: "old" });
    await refused;
    expect(await organisations()).toMatchObject([{ connectionStatus: "CONNECTED" }]);
    expect((await syncedInvoice(client)).syncStatus).toBe("SYNCED");
  });
});

/** The tokens as they are, read by the service's own key. */
async function tokensOf(): Promise<string[]> {
  const { Vault } = await import("../src/xero/Vault.js");
  const vault = new Vault(service.config.encryptionKeys);
  const rows = await runSql<{ xero_user_id: string; access_token: string; refresh_token: string }>(
    service,
    "SELECT xero_user_id, access_token, refresh_token FROM xero_grant",
  );
  return rows.flatMap((row) =>
    (["access_token", "refresh_token"] as const).map((column) =>
      vault.decrypt(row[column], `xero_grant/${row.xero_user_id}/${column}`),
    ),
  );
}
