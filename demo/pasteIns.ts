/** What the demo prints once it is done: where GraphQL is, a token for each role, and three operations to paste into a shell. */

export interface DemoState {
  url: string;
  sandboxUrl: string;
  tokens: { viewer: string; bookkeeper: string; admin: string };
  invoiceId: string;
}

/** The three operations, each with the role whose token it is sent with; the README shows the same. */
export const operations = [
  {
    title: "Look at the invoices, their payments and what Xero calls them",
    role: "viewer",
    query:
      "{ invoices(first: 10) { totalCount nodes { number status total amountDue xeroInvoiceNumber syncStatus payments { amount paidOn } } } }",
  },
  {
    title: 'Press "Sync with Xero" on one that is there already: nothing is sent twice',
    role: "bookkeeper",
    query: 'mutation { syncInvoice(id: "INVOICE_ID") { status total unchanged created } }',
  },
  {
    title: "See the integration as its administrator does",
    role: "admin",
    query:
      "{ integration { missingSetup activeOrganisation { name connectionStatus dailyCallsRemaining } webhook { deliveryUrl lastEventAt } } }",
  },
] as const;

/** An operation as a shell command. */
function curl(url: string, token: string, query: string): string {
  const body = JSON.stringify({ query }).replaceAll("'", "'\\''");
  return `curl -s ${url}/graphql -H 'content-type: application/json' -H 'authorization: Bearer ${token}' -d '${body}'`;
}

/** The closing text. */
export function pasteIns({ url, sandboxUrl, tokens, invoiceId }: DemoState): string {
  const lines = [
    "",
    `GraphQL:   ${url}/graphql   (subscriptions: ${url.replace("http", "ws")}/graphql)`,
    `Xero:      ${sandboxUrl}/sandbox   (the stand-in's control address; sandbox/README.md)`,
    "",
    "Bearer tokens, good for 12 hours:",
    ...Object.entries(tokens).map(([role, token]) => `  ${role.padEnd(10)} ${token}`),
    "",
    "Paste into another terminal:",
  ];
  for (const { title, role, query } of operations) {
    lines.push("", `  # ${title} (${role})`, `  ${curl(url, tokens[role], query.replace("INVOICE_ID", invoiceId))}`);
  }
  return [...lines, "", "Ctrl-C ends the demo and leaves nothing behind."].join("\n");
}
