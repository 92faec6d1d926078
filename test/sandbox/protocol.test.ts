/**
 * Owns the checks of what holds for every call: formats, idempotency, limits, faults, barriers (docs/xero-facts.md
 * sections 3 to 5, 12). Wording that no source records is matched loosely.
 */
import { afterEach, beforeAll, afterAll, describe, expect, it } from "@jest/globals";
import { at, call, listAt, messagesOf, startHarness, token, type Answer, type Harness } from "./harness.js";

const minute = 60_000;
let x: Harness;
let count = 0;

beforeAll(async () => {
  x = await startHarness();
});

afterEach(async () => {
  await x.control("faults/clear", {});
});

afterAll(async () => {
  await x.close();
});

const fresh = () => `Person ${++count}`;
const put = (key?: string, name = fresh(), query = "") =>
  x.api("PUT", `Contacts${query}`, { Contacts: [{ Name: name }] }, key === undefined ? {} : { key });
const exists = async (name: string) =>
  listAt((await x.api("GET", `Contacts?searchTerm=${encodeURIComponent(name)}`)).body, "Contacts").some(
    (one) => at(one, "Name") === name,
  );
const idOf = (answer: Answer) => at(answer.body, "Contacts.0.ContactID");
const failure = async (promise: Promise<unknown>) =>
  promise.then(
    () => "answered",
    () => "cut",
  );

describe("formats", () => {
  it.each([undefined, "*/*", "application/xml"])("refuses to answer %s, before doing anything", async (accept) => {
    const name = fresh();
    const answer = await x.api("PUT", "Contacts", { Name: name }, { headers: { Accept: accept ?? "text/xml" } });
    expect([answer.status, answer.headers.get("content-type"), await exists(name)]).toEqual([
      406,
      "text/xml; charset=utf-8",
      false,
    ]);
  });

  it("takes a body for XML unless it is called JSON", async () => {
    const answer = await x.api("PUT", "Contacts", { Name: fresh() }, { headers: { "Content-Type": "text/plain" } });
    expect([answer.status, at(answer.body, "Type")]).toEqual([400, "PostDataInvalidException"]);
  });

  it("takes ten megabytes and no more", async () => {
    const filler = (size: number) => JSON.stringify({ Contacts: [{ Name: fresh(), Filler: "x".repeat(size) }] });
    expect((await x.api("PUT", "Contacts", filler(10 * 1024 * 1024 - 200))).status).toBe(200);
    expect((await x.api("PUT", "Contacts", filler(10 * 1024 * 1024))).status).toBe(413);
  });

  it("tells limits and a correlation on every answer, refusals included", async () => {
    for (const path of ["Organisation", "Contacts/none", "Contacts?where=x"]) {
      const { headers } = await x.api("GET", path);
      for (const name of [
        "X-DayLimit-Remaining",
        "X-MinLimit-Remaining",
        "X-AppMinLimit-Remaining",
        "Xero-Correlation-Id",
      ]) {
        expect(headers.get(name)).toBeTruthy();
      }
    }
  });
});

describe("idempotency", () => {
  it("answers a repeat like the first call, and does it once", async () => {
    const name = fresh();
    const [first, second] = [await put("k-1", name), await put("k-1", name)];
    expect(second.body).toEqual(first.body);
    const calls = listAt(await x.control("calls?path=/Contacts&method=PUT"), "calls");
    expect(calls.slice(-2).map((one) => at(one, "replayed"))).toEqual([false, true]);
  });

  it.each([
    ["another body", async () => put("k-2", "Else")],
    ["another address", async () => put("k-2", "K2", "?summarizeErrors=false")],
    ["another method", async () => x.api("POST", "Contacts", { Contacts: [{ Name: "K2" }] }, { key: "k-2" })],
    [
      "another organisation",
      async () => {
        const tenantId = String(at(await x.control("organisations/add", {}), "tenantId"));
        await x.control("consent/next", { organisations: [tenantId] });
        await x.consent();
        return x.api("PUT", "Contacts", { Contacts: [{ Name: "K2" }] }, { key: "k-2", tenantId });
      },
    ],
  ])("refuses the key with %s", async (_name, other) => {
    await put("k-2", "K2");
    const answer = await other();
    expect([answer.status, at(answer.body, "Message")]).toEqual([
      400,
      "Idempotency Key: k-2 is used with a different request.",
    ]);
  });

  it("forgets a key six minutes after its first use", async () => {
    const name = fresh();
    const first = await put("k-3", name);
    await x.control("clock/advance", { ms: 6 * minute - 2000 });
    expect(idOf(await put("k-3", name))).toBe(idOf(first));
    await x.control("clock/advance", { ms: 3000 });
    expect((await put("k-3", name)).status).toBe(400);
  });

  it("ignores the key on GET and refuses one that is too long", async () => {
    const both = [
      await x.api("GET", "Contacts", undefined, { key: "k-4" }),
      await x.api("GET", "Accounts", undefined, { key: "k-4" }),
    ];
    expect(both.map((one) => one.status)).toEqual([200, 200]);
    const long = await put("k".repeat(129));
    expect([long.status, at(long.body, "Message")]).toEqual([400, expect.stringContaining("129")]);
    expect((await put("k".repeat(128))).status).toBe(200);
  });

  it.each([
    ["500-before-write", 500, "idempotencyCaches500"],
    ["503-maintenance", 503, "idempotencyCaches503"],
  ])("remembers an error (%s), unless switched off", async (fault, status, name) => {
    const match = { method: "PUT" };
    await x.control("faults", { match, fault });
    const key = `${fault}-1`;
    const person = fresh();
    expect([(await put(key, person)).status, (await put(key, person)).status]).toEqual([status, status]);
    await x.control("switches", { [name]: false });
    await x.control("faults", { match, fault });
    expect([(await put(`${key}-2`, person)).status, (await put(`${key}-2`, person)).status]).toEqual([status, 200]);
    await x.control("switches", { [name]: true });
  });

  it("remembers a refusal, unless switched off", async () => {
    const bad = { Contacts: [{ Name: "City Agency" }] };
    const send = (key: string) => x.api("PUT", "Contacts", bad, { key });
    expect((await send("k-5")).status).toBe(400);
    await x.control("contacts/edit", { name: "City Agency", changes: { Name: "City Agency 2" } });
    expect((await send("k-5")).status).toBe(400);
    await x.control("switches", { idempotencyCaches400: false });
    await x.control("contacts/edit", { name: "City Agency 2", changes: { Name: "City Agency" } });
    expect((await send("k-6")).status).toBe(400);
    await x.control("contacts/edit", { name: "City Agency", changes: { Name: "City Agency 3" } });
    expect((await send("k-6")).status).toBe(200);
    await x.control("switches", { idempotencyCaches400: true });
  });

  it("makes a repeat wait for the first, and answers both alike", async () => {
    const name = fresh();
    await x.control("hold", { name: "first", match: { key: "^k-7$" }, phase: "inside" });
    const first = put("k-7", name);
    await x.control("hold/await", { name: "first" });
    const second = put("k-7", name);
    await x.control("hold", { name: "probe", match: { path: "Organisation" } });
    const probe = x.api("GET", "Organisation");
    await x.control("hold/await", { name: "probe" });
    await x.control("release", { name: "probe" });
    await probe;
    expect(await exists(name)).toBe(false);
    await x.control("release", { name: "first" });
    expect(idOf(await second)).toBe(idOf(await first));
  });
});

describe("faults", () => {
  const once = (fault: string, more: object = {}) =>
    x.control("faults", { match: { method: "PUT", path: "/Contacts$" }, fault, ...more });

  it.each([
    ["500-before-write", 500, false],
    ["500-after-write", 500, true],
    ["503-maintenance", 503, false],
    ["503-unavailable", 503, false],
    ["503-organisation-offline", 503, false],
    ["429-minute", 429, false],
    ["429-day", 429, false],
    ["429-concurrent", 429, false],
    ["429-app-minute", 429, false],
    ["garbage-200", 200, true],
    ["empty-200", 200, true],
    ["slow", 200, true],
  ])("%s answers %i; written: %s", async (fault, status, written) => {
    const name = fresh();
    await once(fault, fault === "slow" ? { ms: 1 } : {});
    const answer = await put(undefined, name);
    expect([answer.status, await exists(name)]).toEqual([status, written]);
    if (fault === "garbage-200") expect(answer.headers.get("content-type")).toContain("text/html");
    if (fault === "empty-200") expect(at(answer, "body")).toBe("");
    if (fault.startsWith("503")) expect(answer.headers.get("content-type")).toContain("text/plain");
    expect((await put()).status).toBe(200);
  });

  it("429 is empty, without a content type, and says how long to wait for windows only", async () => {
    const retries: Record<string, [string | null, string | null]> = {};
    for (const fault of ["429-minute", "429-day", "429-concurrent"]) {
      await once(fault, { retryAfterSeconds: 9 });
      const { headers, body } = await put();
      expect([body, headers.get("content-type")]).toEqual(["", null]);
      retries[fault] = [headers.get("x-rate-limit-problem"), headers.get("retry-after")];
    }
    expect(retries).toEqual({
      "429-minute": ["minute", "9"],
      "429-day": ["day", "9"],
      "429-concurrent": ["concurrent", null],
    });
  });

  it.each([
    ["lost-request", false],
    ["lost-answer", true],
  ])("%s cuts the connection; written: %s; a repeat under the key is answered truly", async (fault, written) => {
    const name = fresh();
    await once(fault);
    expect([await failure(put(`key-${fault}`, name)), await exists(name)]).toEqual(["cut", written]);
    expect(at((await put(`key-${fault}`, name)).body, "Contacts.0.Name")).toBe(name);
  });

  it("brings fields and values that nobody knows", async () => {
    await x.control("faults", { match: { path: "Accounts" }, fault: "unknown-field" });
    const field = await x.api("GET", "Accounts");
    expect([at(field.body, "SandboxUnknownField"), at(field.body, "Accounts.0.SandboxUnknownField")]).toEqual(
      Array(2).fill(expect.any(Object)),
    );
    await x.control("faults", { match: { path: "Accounts" }, fault: "unknown-enum" });
    expect(at((await x.api("GET", "Accounts")).body, "Accounts.0.Status")).toBe("SANDBOX_UNKNOWN");
  });

  it("hangs until it is let go", async () => {
    const name = fresh();
    await once("hang", { phase: "after" });
    const hanging = put(undefined, name);
    while (!(await exists(name)));
    await x.control("faults/clear", {});
    expect((await hanging).status).toBe(200);
  });

  it("hits as often as it says, or as its seed says", async () => {
    await once("500-before-write", { times: 2 });
    expect([(await put()).status, (await put()).status, (await put()).status]).toEqual([500, 500, 200]);
    const pattern = async () => {
      await x.control("faults/clear", {});
      await once("503-maintenance", { probability: 0.5, seed: 7 });
      const statuses: number[] = [];
      for (let number = 0; number < 12; number += 1) statuses.push((await put()).status);
      return statuses;
    };
    const first = await pattern();
    expect(new Set(first)).toEqual(new Set([200, 503]));
    expect(await pattern()).toEqual(first);
  });

  it("hits tokens and connections too", async () => {
    await x.control("faults", { match: { path: "/connect/token" }, fault: "lost-answer" });
    const form = { grant_type: "refresh_token", refresh_token: x.tokens.refresh_token };
    expect(await failure(token(x.sandbox, form))).toBe("cut");
    expect((await token(x.sandbox, form)).status).toBe(200);
    await x.control("faults", { match: { path: "/connections" }, fault: "503-unavailable" });
    expect((await call(x.sandbox, "GET", "/connections", undefined, {})).status).toBe(503);
  });

  it.each([
    ["faults", { fault: "nonsense" }],
    ["faults", { fault: "slow", match: { path: "(" } }],
    ["switches", { nonsense: true }],
    ["pay", { invoiceId: "nobody's" }],
    ["nonsense", {}],
  ])("control %s with %j is refused", async (path, body) => {
    await expect(x.control(path, body)).rejects.toThrow(/control/);
  });
});

describe("barriers", () => {
  it("let one call overtake another", async () => {
    const name = fresh();
    await x.control("hold", { name: "slow", match: { key: "^slow$" }, phase: "before", times: 1 });
    const slow = put("slow", name);
    await x.control("hold/await", { name: "slow" });
    expect((await put("quick", name)).status).toBe(200);
    await x.control("release", { name: "slow" });
    expect(messagesOf(await slow)[0]).toContain("already assigned");
  });

  it("keep an answer back that is already written", async () => {
    const name = fresh();
    await x.control("hold", { name: "late", match: { method: "PUT" }, phase: "after" });
    const late = [put(undefined, name), put()];
    await x.control("hold/await", { name: "late", count: 2 });
    expect(await exists(name)).toBe(true);
    expect(await x.control("release", { name: "late", count: 1 })).toEqual({ released: 1 });
    expect(await x.control("release", { name: "late" })).toEqual({ released: 1 });
    expect((await Promise.all(late)).map((one) => one.status)).toEqual([200, 200]);
  });

  it("say so when the calls do not come", async () => {
    await x.control("hold", { name: "none" });
    await expect(x.control("hold/await", { name: "none", timeoutMs: 1 })).rejects.toThrow(/only 0 of 1/);
    await x.control("release", { name: "none" });
  });
});

describe("limits", () => {
  it("refuse a sixth call in progress, and one answer makes room", async () => {
    await x.control("hold", { name: "busy", match: { path: "Organisation" } });
    const busy = Array.from({ length: 5 }, () => x.api("GET", "Organisation"));
    await x.control("hold/await", { name: "busy", count: 5 });
    const sixth = await x.api("GET", "Accounts");
    expect([sixth.status, sixth.body, sixth.headers.get("retry-after")]).toEqual([429, "", null]);
    expect(sixth.headers.get("x-rate-limit-problem")).toContain("concurrent");
    await x.control("release", { name: "busy", count: 1 });
    await Promise.race(busy);
    expect((await x.api("GET", "Accounts")).status).toBe(200);
    await x.control("release", { name: "busy" });
    await Promise.all(busy);
    const calls = await x.control("calls");
    expect(at(calls, `maxInFlightByTenant.${x.tenantId}`)).toBe(6);
  });

  it.each([
    ["minuteLimit", "minute", 60],
    ["dayLimit", "day", 24 * 60 * 60],
  ])("count down by %s until its window ends, replays included", async (name, problem, longest) => {
    const y = await startHarness({ switches: { [name]: 3 } });
    const once = () => y.api("PUT", "Contacts", { Contacts: [{ Name: "One" }] }, { key: "k" });
    const header = name === "minuteLimit" ? "x-minlimit-remaining" : "x-daylimit-remaining";
    const left = [await once(), await once(), await once()].map((one) => one.headers.get(header));
    const refused = await once();
    expect([left, refused.status, refused.body]).toEqual([["2", "1", "0"], 429, ""]);
    expect([refused.headers.get("x-rate-limit-problem"), refused.headers.get("content-type")]).toEqual([problem, null]);
    const seconds = Number(refused.headers.get("retry-after"));
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThanOrEqual(longest);
    await y.control("clock/advance", { ms: seconds * 1000 });
    const { access_token: token } = await y.consent();
    expect((await y.api("GET", "Organisation", undefined, { token })).status).toBe(200);
    await y.close();
  });

  it("are each organisation's own, except the app's", async () => {
    const y = await startHarness({ switches: { minuteLimit: 1, appMinuteLimit: 2 } });
    const others: string[] = [];
    for (const name of ["B", "C"]) {
      const tenantId = String(at(await y.control("organisations/add", { name }), "tenantId"));
      others.push(tenantId);
      await y.consent();
    }
    const status = async (tenantId: string) => {
      const answer = await y.api("GET", "Organisation", undefined, { tenantId });
      return answer.status === 200 ? 200 : answer.headers.get("x-rate-limit-problem");
    };
    const [second = "", third = ""] = others;
    expect([await status(y.tenantId), await status(y.tenantId), await status(second), await status(third)]).toEqual([
      200,
      "minute",
      200,
      "appminute",
    ]);
    await y.close();
  });
});

describe("a reset", () => {
  it("makes everything anew, while two sandboxes share nothing", async () => {
    const y = await startHarness();
    await y.api("PUT", "Contacts", { Name: "Only here" });
    expect(await exists("Only here")).toBe(false);
    await y.control("reset", {});
    expect((await y.api("GET", "Contacts")).status).toBe(401);
    expect(listAt(await y.control("state"), "organisations").map((one) => at(one, "contacts"))).toEqual([5]);
    await y.close();
  });
});
