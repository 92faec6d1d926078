/**
 * Links to Xero as tests of their life need them: each workspace with an organisation and a Xero user of its own, so that what happens to one
 * tells nothing of another. Waiting is done by subscription, and by asking the stand-in only for what no client is told.
 */
import { setTimeout as delay } from "node:timers/promises";
import { expect } from "@jest/globals";
import { configure } from "../../demo/setUp.js";
import { type GraphqlClient } from "../../demo/graphqlClient.js";
import { inXero, type InvoiceState, runSql, saveInvoice, syncInvoice, untilSync } from "./records.js";
import { type Service } from "./service.js";

/** A workspace's link to the one organisation that its Xero user has connected. */
export interface Link {
  service: Service;
  workspace: string;
  client: GraphqlClient;
  /** Ours. */
  id: string;
  tenantId: string;
  userId: string;
}

export interface LinkState {
  id: string;
  tenantId: string;
  active: boolean;
  connectionStatus: string;
  statusReason: string | null;
  missingScopes: string[];
  expiresAt: string | null;
  disconnectedAt: string | null;
}

export interface AlertState {
  id: string;
  kind: string;
  state: string;
  message: string;
  resolution: string;
  occurrences: number;
  firstSeenAt: string;
  resolvedAt: string | null;
}

export interface XeroCall {
  kind: string;
  method: string;
  path: string;
  query: string;
  tenantId?: string;
  grantType?: string;
  status: number | string;
}

/** Where Xero sends the browser once the person has said yes to these organisations: our callback. */
export async function agree({
  service,
  client,
  tenantId,
  userId,
}: Pick<Link, "service" | "client" | "tenantId" | "userId">): Promise<string> {
  await service.control("consent/next", { organisations: [tenantId], userId });
  const { connectXero } = await client.ask<{ connectXero: { authorizationUrl: string } }>(
    "mutation { connectXero { authorizationUrl } }",
  );
  const response = await fetch(connectXero.authorizationUrl, { redirect: "manual" });
  return response.headers.get("location") ?? "";
}

/** How the callback ends: `connected`, or why not. */
export async function callBack(address: string): Promise<string | null> {
  const response = await fetch(address, { redirect: "manual" });
  const { searchParams } = new URL(response.headers.get("location") ?? "");
  return searchParams.get("reason") ?? searchParams.get("xero");
}

/** Consents to the link's organisation, for the first time or again. */
export async function consentTo(link: Pick<Link, "service" | "client" | "tenantId" | "userId">): Promise<void> {
  const end = await callBack(await agree(link));
  if (end !== "connected") throw new Error(`the consent ended with ${String(end)}`);
}

/** A new Xero user and a new organisation, which the workspace is not connected to yet. */
export async function unconnected(service: Service, workspace: string): Promise<Omit<Link, "id">> {
  const { tenantId } = await service.control<{ tenantId: string }>("organisations/add", { name: `Of ${workspace}` });
  const { userId } = await service.control<{ userId: string }>("users/add", { email: `${workspace}@example.com` });
  return { service, workspace, tenantId, userId, client: await service.client("admin", workspace) };
}

/** A workspace that is connected, and set up unless told otherwise. */
export async function newLink(service: Service, workspace: string, { setUp = true } = {}): Promise<Link> {
  const link = await unconnected(service, workspace);
  await consentTo(link);
  if (setUp) await configure(link.client);
  const [found] = await organisations(link.client);
  return { ...link, id: found?.id ?? "" };
}

export async function organisations(client: GraphqlClient): Promise<LinkState[]> {
  const answer = await client.ask<{ xeroOrganisations: LinkState[] }>(
    "{ xeroOrganisations { id tenantId active connectionStatus statusReason missingScopes expiresAt disconnectedAt } }",
  );
  return answer.xeroOrganisations;
}

export async function stateOf({ client, id }: Pick<Link, "client" | "id">): Promise<LinkState> {
  const found = (await organisations(client)).find((each) => each.id === id);
  if (!found) throw new Error("the link is not listed");
  return found;
}

/** The link once its status is one of these, told by the subscription from the log's beginning. */
export async function untilStatus(link: Pick<Link, "client" | "id">, ...statuses: string[]): Promise<LinkState> {
  const events = link.client.watch<{ connectionStatus: { status: string; organisation: { id: string } } }>(
    'subscription { connectionStatus(after: "0") { status organisation { id } } }',
  );
  for await (const { connectionStatus: event } of events) {
    if (event.organisation.id !== link.id || !statuses.includes(event.status)) continue;
    const state = await stateOf(link);
    if (statuses.includes(state.connectionStatus)) return state;
  }
  throw new Error("the subscription ended");
}

/** So many changes of the workspace's links as the subscription told them, from the cursor on. */
export async function statusStory(
  client: GraphqlClient,
  { after = "0", count }: { after?: string; count: number },
): Promise<{ cursor: string; status: string }[]> {
  const events = client.watch<{ connectionStatus: { cursor: string; status: string } }>(
    "subscription ($after: ID) { connectionStatus(after: $after) { cursor status } }",
    { after },
  );
  const story: { cursor: string; status: string }[] = [];
  for await (const { connectionStatus: event } of events) {
    story.push(event);
    if (story.length === count) return story;
  }
  throw new Error("the subscription ended");
}

/** The workspace's alerts, the newest first. */
export async function alertsOf(client: GraphqlClient, state: "OPEN" | "RESOLVED" | null = null): Promise<AlertState[]> {
  const { alerts } = await client.ask<{ alerts: { nodes: AlertState[] } }>(
    `query ($state: AlertState) { alerts(first: 100, state: $state) {
       nodes { id kind state message resolution occurrences firstSeenAt resolvedAt } } }`,
    { state },
  );
  return alerts.nodes;
}

/** The workspace's alerts in short, the oldest first: `CONNECTION_LOST RESOLVED`. */
export async function alertStates(client: GraphqlClient): Promise<string[]> {
  return (await alertsOf(client)).map(({ kind, state }) => `${kind} ${state}`).reverse();
}

/** All of the workspace's alerts once they are as wanted, looked at after each of its alert events from the log's beginning. */
export async function untilAlerts(
  client: GraphqlClient,
  wanted: (alerts: AlertState[]) => boolean,
): Promise<AlertState[]> {
  const events = client.watch<unknown>('subscription { alerts(after: "0") { cursor } }');
  for await (const _event of events) {
    const alerts = await alertsOf(client);
    if (wanted(alerts)) return alerts;
  }
  throw new Error("the subscription ended");
}

/** Once it holds: for what only the stand-in or the database can tell, which push nothing. Throws after a minute. */
export async function until(holds: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 60_000;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`within a minute it never held that ${holds.toString()}`);
    await delay(20);
  }
}

/** The calls that reached Xero, of one kind ("api", "identity", "connections") where it is given. */
export async function callsOf(
  service: Service,
  { kind, ...query }: { kind?: string; path?: string; method?: string } = {},
): Promise<XeroCall[]> {
  const search = new URLSearchParams({ ...query, ...(kind !== undefined && { kind }) });
  return (await service.control<{ calls: XeroCall[] }>(`calls?${search.toString()}`)).calls;
}

/** The calls of the accounting API that the link made. */
export async function apiCalls({ service, tenantId }: Link, method?: string): Promise<XeroCall[]> {
  const calls = await callsOf(service, { kind: "api", ...(method !== undefined && { method }) });
  return calls.filter((call) => call.tenantId === tenantId);
}

/** The connection's id at Xero, while there is one. */
export async function atXero({ service, tenantId }: Pick<Link, "service" | "tenantId">): Promise<string | undefined> {
  const { connections } = await service.control<{ connections: { id: string; tenantId: string }[] }>("state");
  return connections.find((each) => each.tenantId === tenantId)?.id;
}

/** Once the link is ended at Xero too. */
export function untilEnded(link: Pick<Link, "service" | "tenantId">): Promise<void> {
  return until(async () => (await atXero(link)) === undefined);
}

/** The link's invoices in Xero with this reference: one, if all is well. */
export async function inXeroOf(link: Pick<Link, "service" | "tenantId">, reference: string): Promise<object[]> {
  return (await inXero(link.service, reference)).filter(({ tenantId }) => tenantId === link.tenantId);
}

/** As `disconnectXero` answers it. */
export async function disconnect({ client, id }: Pick<Link, "client" | "id">): Promise<LinkState> {
  const answer = await client.ask<{ disconnectXero: LinkState }>(
    `mutation ($id: ID!) { disconnectXero(organisationId: $id) {
       id tenantId active connectionStatus statusReason missingScopes expiresAt disconnectedAt } }`,
    { id },
  );
  return answer.disconnectXero;
}

export async function update(client: GraphqlClient, input: object): Promise<void> {
  await client.ask("mutation ($input: UpdateIntegrationInput!) { updateIntegration(input: $input) { enabled } }", {
    input,
  });
}

/** Makes the next call of the link that fits wait there. */
export async function hold(
  { service, tenantId, workspace }: Pick<Link, "service" | "tenantId" | "workspace">,
  match: { method: string; path: string },
  phase = "before",
): Promise<{ reached: () => Promise<unknown>; release: () => Promise<unknown> }> {
  const name = `${workspace} ${match.method} ${match.path}`;
  const ofTenant = match.path.startsWith("/connections") ? match : { ...match, tenant: tenantId };
  await service.control("hold", { name, match: ofTenant, phase, times: 1 });
  return {
    reached: () => service.control("hold/await", { name }),
    release: () => service.control("release", { name }),
  };
}

/** The invoice's attempts, the oldest first: how each ended, and in which run. */
export async function attemptsOf(client: GraphqlClient, id: string): Promise<{ outcome: string; runId: string }[]> {
  const { invoice } = await client.ask<{
    invoice: { syncAttempts: { outcome: string; runId: string; queuedAt: string }[] };
  }>("query ($id: ID!) { invoice(id: $id) { syncAttempts { outcome runId queuedAt } } }", { id });
  return invoice.syncAttempts
    .sort((a, b) => a.queuedAt.localeCompare(b.queuedAt))
    .map(({ outcome, runId }) => ({ outcome, runId }));
}

/** Once no job of the workspace is left that is due, nor anything that is owed to Xero: seen in the database only. */
export function untilDone({ service, workspace }: Pick<Link, "service" | "workspace">): Promise<void> {
  return until(async () => {
    const [row] = await runSql<{ left: string }>(
      service,
      `SELECT (SELECT count(*) FROM release WHERE workspace_id = $1)
              + (SELECT count(*) FROM graphile_worker.jobs WHERE starts_with(key, $1 || ':') AND run_at <= now()) AS left`,
      [workspace],
    );
    return row?.left === "0";
  });
}

/** So many invoices that fail because the link is lost while the first of them is under way. */
export async function failLost(link: Link, count: number, lose: () => Promise<unknown>): Promise<InvoiceState[]> {
  const { reached, release } = await hold(link, { method: "GET", path: "/Contacts" });
  const invoices: InvoiceState[] = [];
  for (let index = 0; index < count; index += 1) {
    const invoice = await saveInvoice(link.client);
    invoices.push(invoice);
    await syncInvoice(link.client, invoice.id);
    if (index === 0) await reached();
  }
  await lose();
  await release();
  return Promise.all(invoices.map(({ id }) => untilSync(link.client, id, "FAILED")));
}

/** The one run in which all of them went, beside the one in which each failed. */
export async function runOf(link: Link, invoices: { id: string; number: string }[]): Promise<object> {
  const ids = new Set<string>();
  for (const { id, number } of invoices) {
    await untilSync(link.client, id, "SYNCED");
    const [first, second, ...more] = await attemptsOf(link.client, id);
    expect([first?.outcome, second?.outcome, more]).toEqual(["FAILED", "CREATED", []]);
    expect(await inXeroOf(link, number)).toHaveLength(1);
    ids.add(second?.runId ?? "");
  }
  expect(ids.size).toBe(1);
  const query = "query ($id: ID!) { syncRun(id: $id) { trigger status total created requestedBy } }";
  return (await link.client.ask<{ syncRun: object }>(query, { id: [...ids][0] })).syncRun;
}

/** The link's access token is past its time, here and nowhere else: the next call refreshes it. */
export async function expireToken({ service, userId }: Link): Promise<void> {
  await runSql(service, "UPDATE xero_grant SET access_expires_at = now() WHERE xero_user_id = $1", [userId]);
}

/** Xero forgets the grant: whatever the link calls next, and whoever does, learns it from the refresh of the token. */
export async function killGrant(link: Link): Promise<void> {
  // The access token ends in the same moment: a call in between would find the connection gone, and not the grant.
  await link.service.control("revoke", { userId: link.userId, accessToo: true });
  await expireToken(link);
}

/** So many days pass in which nothing happens to the link. */
export async function idle({ service, workspace, id }: Link, days: number): Promise<void> {
  await runSql(
    service,
    "UPDATE connection SET last_activity_at = now() - $3 * interval '1 day' WHERE workspace_id = $1 AND id = $2",
    [workspace, id, days],
  );
}
