/**
 * The one hole: a process that is paused between its last look at the clock and its write until Xero has forgotten the key. Where Xero numbers,
 * the invoice is there twice, which is found and told; with our own numbers Xero refuses the second, and the first is taken for what it is.
 */
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { alertsOf, untilAlerts, update } from "./support/links.js";
import {
  inXero,
  type InvoiceState,
  readInvoice,
  runSql,
  saveInvoice,
  syncInvoice,
  untilSync,
} from "./support/records.js";
import { type Service, startService } from "./support/service.js";

let service: Service;
let client: GraphqlClient;

beforeAll(async () => {
  service = await startService({
    environment: { XERO_REQUEST_TIMEOUT: "1s", SYNC_LEASE: "1500ms", XERO_KEY_LIFE: "2s" },
  });
  client = await service.readyClient();
});

afterAll(() => service.close());

const put = { method: "PUT", path: "/Invoices$" };

/**
 * An invoice that was sent twice under two keys: the first call waits in front of Xero, as that of a paused process does, for longer than keys live;
 * meanwhile Xero is asked, has nothing, and is sent the invoice anew.
 */
async function sentLate(name: string, input: object = {}): Promise<InvoiceState> {
  const invoice = await saveInvoice(client, input);
  await service.control("hold", { name, match: put, phase: "before", times: 2 });
  await syncInvoice(client, invoice.id);
  await service.control("hold/await", { name, count: 1 });
  await untilSync(client, invoice.id, "UNCERTAIN");
  return invoice;
}

it("an invoice that was written late is found to be there twice, and told until a person has voided the copy", async () => {
  const invoice = await sentLate("late");
  const synced = await untilSync(client, invoice.id, "SYNCED", "FAILED");
  expect(synced.syncStatus).toBe("SYNCED");
  expect(await inXero(service, invoice.number)).toHaveLength(1);
  await service.control("clock/advance", { ms: 600_000 });
  await service.control("release", { name: "late" });
  const [alert] = await untilAlerts(client, (alerts) => alerts.some(({ kind }) => kind === "DUPLICATE_IN_XERO"));
  expect(alert).toMatchObject({ kind: "DUPLICATE_IN_XERO", state: "OPEN" });
  expect(alert?.message).toContain(invoice.number);
  const found = await inXero(service, invoice.number);
  expect(found.length).toBeGreaterThanOrEqual(2);
  for (const { InvoiceID: invoiceId } of found) {
    if (invoiceId !== synced.xeroId) await service.control("invoices/void", { invoiceId });
  }
  await runSql(service, "UPDATE invoice SET recheck_at = now() WHERE id = $1", [invoice.id]);
  await syncInvoice(client, (await saveInvoice(client)).id);
  await untilAlerts(client, (alerts) => alerts.every(({ state }) => state === "RESOLVED"));
  expect((await readInvoice(client, invoice.id)).xeroId).toBe(synced.xeroId);
});

it("with our own numbers the second is refused, the invoice is there once and linked", async () => {
  await update(client, { numbering: "OUR_NUMBERS" });
  const invoice = await sentLate("ours", { number: "OURS-1" });
  const synced = await untilSync(client, invoice.id, "SYNCED", "FAILED");
  await service.control("clock/advance", { ms: 600_000 });
  await service.control("release", { name: "ours" });
  await service.control("webhooks/drain", {});
  const found = await inXero(service, "OURS-1");
  expect(found.map(({ InvoiceID }) => InvoiceID)).toEqual([synced.xeroId]);
  expect(await alertsOf(client, "OPEN")).toEqual([]);
});

it("with our own numbers an invoice that is there already, written under a forgotten key, is adopted and not called taken", async () => {
  const invoice = await saveInvoice(client, { number: "OURS-2" });
  // Answered so, it is looked up at once; what comes too soon finds nothing, and so it is sent anew, under another key.
  await service.control("faults", { match: put, fault: "500-after-write", times: 1 });
  await service.control("switches", { hiddenFromFilters: true });
  await service.control("hold", {
    name: "look",
    match: { method: "GET", path: "/Invoices$" },
    phase: "before",
    times: 9,
  });
  await syncInvoice(client, invoice.id);
  await service.control("hold/await", { name: "look", count: 1 });
  await service.control("hold", { name: "anew", match: put, phase: "before", times: 1 });
  await service.control("release", { name: "look" });
  await service.control("hold/await", { name: "anew", count: 1 });
  await service.control("switches", { hiddenFromFilters: false });
  await service.control("release", { name: "anew" });
  const synced = await untilSync(client, invoice.id, "SYNCED", "FAILED");
  expect(synced.syncAttempts.map(({ outcome }) => outcome)).toEqual(["ADOPTED"]);
  expect((await inXero(service, "OURS-2")).map(({ InvoiceID }) => InvoiceID)).toEqual([synced.xeroId]);
});
