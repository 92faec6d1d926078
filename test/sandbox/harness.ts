/**
 * Owns one test file's sandbox: started in process, its demo organisation connected, and short ways to call its API
 * and its control address. Leaves every expectation to the tests. All goes over HTTP: what the tests see is what a
 * client sees.
 */
import { startSandbox, type Sandbox, type SandboxOptions } from "../../sandbox/Sandbox.js";

export const allScopes =
  "openid profile email offline_access accounting.invoices accounting.payments accounting.contacts accounting.settings.read";
export const redirectUri = "http://localhost:4000/oauth/xero/callback";

/** What came back: the status, the headers, and the body as JSON where it is JSON, else as text. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** Looked into with `at`. */
  readonly body: unknown;
}

export interface CallOptions {
  readonly headers?: Readonly<Record<string, string | undefined>>;
  readonly tenantId?: string;
  readonly token?: string;
  readonly key?: string;
}

export interface Tokens {
  readonly access_token: string;
  readonly refresh_token: string;
  readonly id_token: string;
  readonly expires_in: number;
  readonly scope?: string;
}

export interface Harness {
  readonly sandbox: Sandbox;
  readonly url: string;
  readonly tenantId: string;
  readonly token: string;
  readonly tokens: Tokens;
  api(method: string, path: string, body?: unknown, options?: CallOptions): Promise<Answer>;
  control(path: string, body?: unknown): Promise<unknown>;
  consent(scopes?: string): Promise<Tokens>;
  close(): Promise<void>;
}

/** Starts a sandbox and connects its demo organisation; limits are wide unless the options narrow them. */
export async function startHarness(options: SandboxOptions = {}): Promise<Harness> {
  const wide = { minuteLimit: 100_000, dayLimit: 1_000_000, appMinuteLimit: 1_000_000 };
  const sandbox = await startSandbox({ ...options, switches: { ...wide, ...options.switches } });
  const consent = async (scopes = allScopes): Promise<Tokens> => {
    const back = await authorize(sandbox, { scope: scopes });
    const code = new URL(back.headers.get("location") ?? "").searchParams.get("code") ?? "";
    const answer = await token(sandbox, { grant_type: "authorization_code", code, redirect_uri: redirectUri });
    return answer.body as Tokens;
  };
  const tokens = await consent();
  const listed = await call(sandbox, "GET", "/connections", undefined, {
    Authorization: `Bearer ${tokens.access_token}`,
  });
  const tenantId = String(at(listed.body, "0.tenantId"));
  return {
    sandbox,
    url: sandbox.url,
    tenantId,
    token: tokens.access_token,
    tokens,
    api: (method, path, body, { headers = {}, tenantId: tenant = tenantId, token: bearer, key } = {}) =>
      call(sandbox, method, `/api.xro/2.0/${path}`, body, {
        Accept: "application/json",
        "Content-Type": "application/json",
        Authorization: `Bearer ${bearer ?? tokens.access_token}`,
        "xero-tenant-id": tenant,
        "Idempotency-Key": key,
        ...headers,
      }),
    control: async (path, body) => {
      const answer = await call(sandbox, body === undefined ? "GET" : "POST", `/sandbox/${path}`, body, {});
      if (answer.status !== 200) throw new Error(`control ${path}: ${JSON.stringify(answer.body)}`);
      return answer.body;
    },
    consent,
    close: () => sandbox.close(),
  };
}

/** Sends the person to the consent page. */
export async function authorize(sandbox: Sandbox, query: Readonly<Record<string, string>>): Promise<Answer> {
  const all = { response_type: "code", client_id: sandbox.clientId, redirect_uri: redirectUri, state: "s-1", ...query };
  return await call(
    sandbox,
    "GET",
    `/identity/connect/authorize?${new URLSearchParams(all).toString()}`,
    undefined,
    {},
  );
}

/** Calls the token endpoint as the app, unless other headers say otherwise. */
export async function token(
  sandbox: Sandbox,
  form: Readonly<Record<string, string>>,
  path = "/connect/token",
  authorization: string | undefined = basic(sandbox.clientId, sandbox.clientSecret),
): Promise<Answer> {
  return await call(sandbox, "POST", path, new URLSearchParams(form).toString(), {
    "Content-Type": "application/x-www-form-urlencoded",
    Authorization: authorization,
  });
}

/** The Authorization header of an app. */
export function basic(id: string, secret: string): string {
  return `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`;
}

/** One HTTP call; a text body goes out as it is, anything else as JSON. */
export async function call(
  sandbox: Pick<Sandbox, "url">,
  method: string,
  path: string,
  body: unknown,
  headers: Readonly<Record<string, string | undefined>>,
): Promise<Answer> {
  const sent = Object.entries(headers).filter((pair): pair is [string, string] => pair[1] !== undefined);
  const answer = await fetch(sandbox.url + path, {
    method,
    headers: sent,
    redirect: "manual",
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await answer.text();
  const isJson = text !== "" && (answer.headers.get("content-type")?.includes("json") ?? false);
  return { status: answer.status, headers: answer.headers, body: isJson ? (JSON.parse(text) as unknown) : text };
}

/** The value at a dotted path: at(body, "Invoices.0.Status"). */
export function at(value: unknown, path: string): unknown {
  return path
    .split(".")
    .filter(Boolean)
    .reduce<unknown>(
      (inner, key) => (inner === null || typeof inner !== "object" ? undefined : Reflect.get(inner, key)),
      value,
    );
}

/** The list at a dotted path. */
export function listAt(value: unknown, path: string): unknown[] {
  const found = at(value, path);
  if (!Array.isArray(found)) throw new Error(`no list at ${path} of ${JSON.stringify(value)}`);
  return found;
}

/** The messages of a refusal, of the call or of one element under summarizeErrors=false. */
export function messagesOf(answer: Answer, plural = "Elements", index = 0): unknown[] {
  return listAt(answer.body, `${plural}.${String(index)}.ValidationErrors`).map((error) => at(error, "Message"));
}
