/**
 * What must be true once a storm is over, asked of Xero's side and, as a client would, of GraphQL: every invoice once in Xero and linked to
 * that one, every participant one contact, every run's counts its total, nothing failed or in doubt.
 */
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { type Member, type Rig, urlOf } from "./rig.js";

export interface Verdict {
  /** Why it does not hold; empty: it does. */
  reasons: string[];
  invoices: number;
  /** Numbers of invoices that are in Xero more than once. */
  doubled: string[];
  /** Of those, which no open alert tells of. */
  untold: string[];
  runs: number;
  adopted: number;
  xeroCalls: number;
}

interface Page<T> {
  nodes: T[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
}

interface InvoiceRow {
  id: string;
  number: string;
  syncStatus: string;
  xeroId: string | null;
  syncError: { code: string } | null;
}

interface RunRow {
  id: string;
  status: string;
  total: number;
  xeroCalls: number;
  [count: string]: number | string;
}

const counts = ["created", "updated", "adopted", "unchanged", "skipped", "failed", "cancelled", "pending", "uncertain"];

/** Looks at everything that the member's workspace and organisation hold. */
export async function verify(rig: Rig, { client, tenantId }: Member): Promise<Verdict> {
  const inXero = await rig.look<{ Url?: string; InvoiceID: string }[]>(`invoices?tenant=${tenantId}`);
  const contacts = await rig.look<{ ContactNumber?: string; ContactID: string }[]>(`contacts?tenant=${tenantId}`);
  const invoices = await all<InvoiceRow>(client, "invoices", "id number syncStatus xeroId syncError { code }");
  const participants = await all<{ contactNumber: string; xeroContactId: string | null }>(
    client,
    "participants",
    "contactNumber xeroContactId",
  );
  const runs = await all<RunRow>(client, "syncRuns", `id status total xeroCalls ${counts.join(" ")}`);
  const alerts = await all<{ kind: string; state: string; message: string }>(client, "alerts", "kind state message");

  const reasons: string[] = [];
  const expect = (wrong: string[], what: string): void => {
    if (wrong.length > 0) reasons.push(`${what}: ${wrong.length} (${[...new Set(wrong)].slice(0, 5).join("; ")})`);
  };
  const byUrl = grouped(inXero, ({ Url = "" }) => Url);
  const copies = ({ id }: InvoiceRow) => byUrl.get(urlOf(id)) ?? [];
  const doubled = invoices.filter((invoice) => copies(invoice).length > 1).map(({ number }) => number);
  const told = alerts.filter(({ kind, state }) => kind === "DUPLICATE_IN_XERO" && state === "OPEN");
  expect(
    invoices
      .filter((invoice) => copies(invoice).length === 0)
      .map(({ number, syncStatus }) => `${number} ${syncStatus}`),
    "invoices that are not in Xero",
  );
  expect(
    invoices
      .filter(({ syncStatus }) => syncStatus !== "SYNCED")
      .map(({ syncStatus, syncError }) => `${syncStatus} ${syncError?.code ?? ""}`),
    "invoices that are not SYNCED",
  );
  expect(
    invoices
      .filter(
        (invoice) => copies(invoice).length > 0 && copies(invoice).every((each) => each.InvoiceID !== invoice.xeroId),
      )
      .map(({ number, xeroId }) => `${number} says ${String(xeroId)}`),
    "invoices that are not linked to what is in Xero",
  );
  const ours = new Set(invoices.map(({ id }) => urlOf(id)));
  expect(
    [...byUrl.keys()].filter((url) => !ours.has(url)),
    "invoices in Xero that are nobody's",
  );
  const byNumber = grouped(contacts, ({ ContactNumber = "" }) => ContactNumber);
  expect(
    participants
      .filter(({ contactNumber, xeroContactId }) => {
        const found = byNumber.get(contactNumber) ?? [];
        return found.length !== 1 || found[0]?.ContactID !== xeroContactId;
      })
      .map(({ contactNumber }) => `${contactNumber} has ${byNumber.get(contactNumber)?.length ?? 0}`),
    "participants without exactly one contact, linked",
  );
  expect(
    runs.filter((run) => sum(run) !== run.total).map((run) => `${run.id} ${sum(run)} of ${run.total}`),
    "runs whose counts do not add up",
  );
  expect(
    runs.filter((run) => !["SUCCEEDED", "NOTHING_TO_DO"].includes(run.status)).map(({ status }) => status),
    "runs that did not succeed",
  );
  return {
    reasons,
    invoices: invoices.length,
    doubled,
    untold: doubled.filter((number) => !told.some(({ message }) => message.includes(number))),
    runs: runs.length,
    adopted: runs.reduce((total, run) => total + Number(run["adopted"]), 0),
    xeroCalls: runs.reduce((total, run) => total + run.xeroCalls, 0),
  };
}

function sum(run: RunRow): number {
  return counts.reduce((total, count) => total + Number(run[count]), 0);
}

function grouped<T>(items: T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}

/** Every page of the list. */
async function all<T>(client: GraphqlClient, list: string, fields: string): Promise<T[]> {
  const rows: T[] = [];
  let after: string | null = null;
  do {
    const answer: Record<string, Page<T>> = await client.ask(
      `query ($after: String) { ${list}(first: 100, after: $after) { nodes { ${fields} } pageInfo { hasNextPage endCursor } } }`,
      { after },
    );
    const page: Page<T> | undefined = answer[list];
    rows.push(...(page?.nodes ?? []));
    after = page?.pageInfo.hasNextPage ? page.pageInfo.endCursor : null;
  } while (after !== null);
  return rows;
}
