/**
 * Payments recorded on the platform on their way to Xero: each is there once whatever is lost on the way, comes back as itself and not as another,
 * and is deleted there when it is taken back here.
 */
import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { alertsOf, callsOf, newLink, update } from "./support/links.js";
import {
  change,
  paymentsInXero,
  paymentsOf,
  type PaymentState,
  recordPayment,
  scopesToPush,
  untilPayment,
} from "./support/payments.js";
import {
  type InvoiceState,
  readInvoice,
  saveInvoice,
  syncedInvoice,
  syncInvoice,
  untilPaid,
  untilSync,
} from "./support/records.js";
import { type Service, startService } from "./support/service.js";

let service: Service;
let client: GraphqlClient;

beforeAll(async () => {
  service = await startService({
    environment: { XERO_SCOPES: scopesToPush, XERO_REQUEST_TIMEOUT: "1s", SYNC_LEASE: "1500ms", XERO_KEY_LIFE: "3s" },
  });
  client = await service.readyClient();
  await update(client, { pushPayments: true, timeZone: "Australia/Sydney" });
});

afterEach(async () => {
  await service.control("faults/clear", {});
  await service.control("switches", { paymentEvents: ["INVOICE"], webhookPaused: false });
});

afterAll(() => service.close());

const put = { method: "PUT", path: "/Payments$" };
const remove = { method: "POST", path: "/Payments/" };

const untilIs = (invoice: { id: string }, payment: PaymentState, ...statuses: string[]) =>
  untilPayment(client, invoice.id, payment.id, ({ syncStatus }) => statuses.includes(syncStatus));

/** The one payment in Xero that carries this one's id. */
async function inXero(
  payment: PaymentState,
): Promise<{ PaymentID: string; Status: string; Amount: number; Date: string }> {
  const found = await paymentsInXero(service, payment.id);
  expect(found).toHaveLength(1);
  return found[0] as (typeof found)[0];
}

/** Once what Xero announced of the invoice has been read, by a payment of a cent that is announced after all else. */
async function afterEcho(invoice: InvoiceState): Promise<InvoiceState> {
  const { paymentId } = await service.control<{ paymentId: string }>("pay", {
    invoiceId: invoice.xeroId,
    amount: "0.01",
  });
  await untilPaid(client, invoice.id, ({ payments }) =>
    payments.some(({ financeExternalId }) => financeExternalId === paymentId),
  );
  return readInvoice(client, invoice.id);
}

describe("a payment", () => {
  it("goes to the payment account with its own id as reference, on its day in the workspace's time zone, and comes back as itself", async () => {
    const invoice = await syncedInvoice(client);
    const recorded = await recordPayment(client, invoice.id, {
      type: "STRIPE",
      financeExternalId: "ch_push",
      reference: "Card",
      paymentDate: "2026-11-20T14:30:00Z",
    });
    expect(recorded).toMatchObject({ syncStatus: "QUEUED", paidOn: "2026-11-21" });
    const pushed = await untilIs(invoice, recorded, "SYNCED", "FAILED");
    const theirs = await inXero(recorded);
    expect(theirs).toMatchObject({ Amount: 40, Status: "AUTHORISED", PaymentID: pushed.xeroPaymentId });
    expect(new Date(Number(/\d+/.exec(theirs.Date)?.[0])).toISOString()).toBe("2026-11-21T00:00:00.000Z");
    const after = await afterEcho(invoice);
    expect(after).toMatchObject({ totalPaymentAmount: "40.01", amountDue: "59.99" });
    expect(after.payments).toHaveLength(2);
    expect(await untilIs(invoice, recorded, "SYNCED")).toMatchObject({
      type: "STRIPE",
      source: "PLATFORM",
      financeExternalId: "ch_push",
      reference: "Card",
      paid: true,
      syncError: null,
    });
    const reconciled = after.payments.find(({ type }) => type === "RECONCILIATION");
    expect((await paymentsInXero(service, reconciled?.id ?? "")).length).toBe(0);
  });

  it("waits until its invoice is approved in Xero", async () => {
    await update(client, { initialInvoiceStatus: "DRAFT" });
    const { id } = await saveInvoice(client);
    const recorded = await recordPayment(client, id);
    await syncInvoice(client, id);
    const invoice = await untilSync(client, id, "SYNCED");
    await service.control("webhooks/drain", {});
    expect(await paymentsInXero(service, recorded.id)).toEqual([]);
    expect(recorded.syncStatus).toBe("QUEUED");
    await service.control("invoices/edit", { invoiceId: invoice.xeroId, changes: { Status: "AUTHORISED" } });
    await untilIs(invoice, recorded, "SYNCED");
    expect(await inXero(recorded)).toMatchObject({ Amount: 40 });
    await update(client, { initialInvoiceStatus: "AUTHORISED" });
  });

  it("recorded before the invoice is in Xero goes as soon as it is, many in one call", async () => {
    const { id } = await saveInvoice(client);
    const recorded: PaymentState[] = [];
    for (let cents = 1; cents <= 9; cents += 1)
      recorded.push(await recordPayment(client, id, { amount: `0.0${cents}` }));
    await service.control("calls/clear", {});
    await syncInvoice(client, id);
    const invoice = await untilSync(client, id, "SYNCED");
    for (const payment of recorded) await untilIs(invoice, payment, "SYNCED");
    for (const payment of recorded) expect((await inXero(payment)).Amount.toFixed(2)).toBe(payment.amount);
    expect(await callsOf(service, put)).toHaveLength(1);
  });

  it("that was started goes when it has gone through, and one recorded while it was not wanted goes when a person says so", async () => {
    const invoice = await syncedInvoice(client);
    const started = await recordPayment(client, invoice.id, { paid: false });
    expect(started.syncStatus).toBe("NOT_SYNCED");
    await change(client, "setPaymentPaid", started.id, { paid: true });
    await untilIs(invoice, started, "SYNCED");
    await update(client, { pushPayments: false });
    const unwanted = await recordPayment(client, invoice.id, { amount: "10.00" });
    await update(client, { pushPayments: true });
    expect(unwanted.syncStatus).toBe("NOT_SYNCED");
    expect(await paymentsInXero(service, unwanted.id)).toEqual([]);
    expect(await change(client, "retryPayment", unwanted.id)).toMatchObject({ syncStatus: "QUEUED" });
    await untilIs(invoice, unwanted, "SYNCED");
    await inXero(unwanted);
    expect(await change(client, "retryPayment", unwanted.id)).toMatchObject({ syncStatus: "SYNCED" });
  });
});

describe("a payment that is left out of the total", () => {
  it("does not go, before it counts", async () => {
    const invoice = await syncedInvoice(client);
    const recorded = await recordPayment(client, invoice.id, { include: false });
    expect(recorded.syncStatus).toBe("NOT_SYNCED");
    await expect(change(client, "retryPayment", recorded.id)).rejects.toThrow(/left out/);
    expect((await afterEcho(invoice)).totalPaymentAmount).toBe("0.01");
    expect(await paymentsInXero(service, recorded.id)).toEqual([]);
    expect(await change(client, "setPaymentIncluded", recorded.id, { include: true })).toMatchObject({
      syncStatus: "QUEUED",
    });
    await untilIs(invoice, recorded, "SYNCED");
    await inXero(recorded);
  });

  it("or whose invoice is voided before it got there, never goes and does not wait for ever", async () => {
    const { id } = await saveInvoice(client);
    const recorded = await recordPayment(client, id);
    await change(client, "setPaymentPaid", recorded.id, { paid: false });
    const other = await recordPayment(client, id, { paid: false });
    await client.ask("mutation ($id: ID!) { voidInvoice(id: $id) { id } }", { id });
    for (const each of [recorded, other]) {
      await expect(change(client, "setPaymentPaid", each.id, { paid: true })).rejects.toThrow(/voided/);
    }
    expect((await paymentsOf(client, id)).map(({ syncStatus }) => syncStatus)).toEqual(["NOT_SYNCED", "NOT_SYNCED"]);
  });
});

describe("a payment is in Xero once", () => {
  it.each([
    "lost-answer",
    "500-after-write",
    "garbage-200",
    "empty-200",
    "lost-request",
    "503-unavailable",
    "429-minute",
  ])("after %s", async (fault) => {
    const invoice = await syncedInvoice(client);
    await service.control("switches", { webhookPaused: true });
    await service.control("faults", {
      match: put,
      fault,
      times: 1,
      ...(fault === "429-minute" && { retryAfterSeconds: 1 }),
    });
    const recorded = await recordPayment(client, invoice.id);
    const pushed = await untilIs(invoice, recorded, "SYNCED", "FAILED");
    expect(pushed).toMatchObject({
      syncStatus: "SYNCED",
      syncError: null,
      xeroPaymentId: (await inXero(recorded)).PaymentID,
    });
    await service.control("switches", { webhookPaused: false });
    expect((await afterEcho(invoice)).totalPaymentAmount).toBe("40.01");
  });

  it("after a gateway lost patience while Xero was still at it", async () => {
    const invoice = await syncedInvoice(client);
    await service.control("switches", { webhookPaused: true });
    await service.control("faults", { match: put, fault: "504-while-working", ms: 900, times: 1 });
    const recorded = await recordPayment(client, invoice.id);
    await untilIs(invoice, recorded, "SYNCED");
    await inXero(recorded);
    await service.control("switches", { webhookPaused: false });
    expect((await afterEcho(invoice)).totalPaymentAmount).toBe("40.01");
  });

  it("when its event comes before its answer", async () => {
    const invoice = await syncedInvoice(client);
    const name = randomUUID();
    await service.control("hold", { name, match: put, phase: "after", times: 1 });
    const recorded = await recordPayment(client, invoice.id);
    await service.control("hold/await", { name });
    const linked = await untilIs(invoice, recorded, "SYNCED");
    expect(linked.xeroPaymentId).toBe((await inXero(recorded)).PaymentID);
    await service.control("release", { name });
    const after = await afterEcho(invoice);
    expect(after.payments).toHaveLength(2);
    expect(after.totalPaymentAmount).toBe("40.01");
  });

  it("when a read that began before it was made is answered after it", async () => {
    const invoice = await syncedInvoice(client);
    const name = randomUUID();
    await service.control("hold", { name, match: { method: "GET", path: "/Invoices$" }, phase: "after", times: 1 });
    await service.control("pay", { invoiceId: invoice.xeroId, amount: "1.00" });
    await service.control("hold/await", { name });
    const recorded = await recordPayment(client, invoice.id);
    await untilIs(invoice, recorded, "SYNCED");
    await service.control("release", { name });
    await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "41.00");
    expect(await untilIs(invoice, recorded, "SYNCED")).toMatchObject({ paid: true });
    expect((await afterEcho(invoice)).totalPaymentAmount).toBe("41.01");
  });

  it("and is taken back where a person deleted it before its answer was looked for", async () => {
    const invoice = await syncedInvoice(client);
    await service.control("switches", { webhookPaused: true });
    await service.control("faults", { match: put, fault: "500-after-write", times: 1 });
    const name = randomUUID();
    await service.control("hold", { name, match: { method: "GET", path: "/Payments$" }, phase: "before", times: 1 });
    const recorded = await recordPayment(client, invoice.id);
    await service.control("hold/await", { name });
    await service.control("unpay", { paymentId: (await inXero(recorded)).PaymentID });
    await service.control("release", { name });
    const found = await untilPayment(client, invoice.id, recorded.id, ({ paid }) => !paid);
    expect(found).toMatchObject({ syncStatus: "SYNCED", paid: false });
    expect(await readInvoice(client, invoice.id)).toMatchObject({ totalPaymentAmount: "0.00", status: "APPROVED" });
    expect(await inXero(recorded)).toMatchObject({ Status: "DELETED" });
  });

  it("or is told to be there twice: a call that waited before Xero until its key was forgotten", async () => {
    const invoice = await syncedInvoice(client);
    await service.control("switches", { webhookPaused: true });
    const name = randomUUID();
    await service.control("hold", { name, match: put, phase: "before", times: 2 });
    const recorded = await recordPayment(client, invoice.id);
    await service.control("hold/await", { name, count: 1 });
    await untilIs(invoice, recorded, "SYNCED");
    await service.control("clock/advance", { ms: 600_000 });
    await service.control("release", { name });
    await service.control("switches", { webhookPaused: false });
    const doubled = await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => Number(totalPaymentAmount) > 40);
    expect(doubled.payments.length).toBeGreaterThan(1);
    const [alert] = await alertsOf(client, "OPEN");
    expect(alert?.message).toContain(invoice.number);
    for (const { PaymentID, Status } of await paymentsInXero(service, recorded.id)) {
      const ours = (await paymentsOf(client, invoice.id)).find(({ id }) => id === recorded.id);
      if (PaymentID !== ours?.xeroPaymentId && Status === "AUTHORISED")
        await service.control("unpay", { paymentId: PaymentID });
    }
    const single = await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "40.00");
    expect(single.payments.filter(({ paid }) => paid)).toHaveLength(1);
    expect(await alertsOf(client, "OPEN")).toEqual([]);
  });
});

describe("a payment that Xero refuses", () => {
  it("for more than is due says so, keeps no other back, and goes again when a person says so or something is taken back there", async () => {
    const [invoice, other] = [await syncedInvoice(client), await syncedInvoice(client)];
    await service.control("webhooks", { categories: [] });
    const { paymentId } = await service.control<{ paymentId: string }>("pay", {
      invoiceId: invoice.xeroId,
      amount: "70.00",
    });
    const [recorded, fine] = await Promise.all([recordPayment(client, invoice.id), recordPayment(client, other.id)]);
    const failed = await untilIs(invoice, recorded, "FAILED");
    expect(failed).toMatchObject({
      paid: true,
      syncError: { code: "VALIDATION_FAILED", xeroMessages: [expect.stringContaining("outstanding")] },
    });
    await untilIs(other, fine, "SYNCED");
    await service.control("webhooks", { categories: ["CONTACT", "INVOICE", "PAYMENT"] });
    expect(await change(client, "retryPayment", recorded.id)).toMatchObject({ syncStatus: "QUEUED", syncError: null });
    await untilIs(invoice, recorded, "FAILED");
    await service.control("pay", { invoiceId: invoice.xeroId, amount: "0.01" });
    await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "110.01");
    await service.control("unpay", { paymentId });
    await untilIs(invoice, recorded, "SYNCED");
    expect((await inXero(recorded)).Status).toBe("AUTHORISED");
    expect(await readInvoice(client, invoice.id)).toMatchObject({
      totalPaymentAmount: "40.01",
      status: "PARTIALLY_PAID",
    });
  });

  it("for a closed period is told so before any call, and goes by itself when the date is moved", async () => {
    const link = await newLink(service, "locked");
    await update(link.client, { pushPayments: true });
    const invoice = await syncedInvoice(link.client);
    await service.control("lock", { tenantId: link.tenantId, periodLockDate: "2026-11-30" });
    const refresh = () => link.client.ask("mutation { refreshXeroData { enabled } }");
    await refresh();
    await service.control("calls/clear", {});
    const recorded = await recordPayment(link.client, invoice.id);
    const is = (...statuses: string[]) =>
      untilPayment(link.client, invoice.id, recorded.id, ({ syncStatus }) => statuses.includes(syncStatus));
    expect(await is("FAILED", "SYNCED")).toMatchObject({ syncError: { code: "PERIOD_LOCKED" } });
    expect(await callsOf(service, put)).toEqual([]);
    await service.control("lock", { tenantId: link.tenantId, periodLockDate: null });
    await refresh();
    await is("SYNCED");
  });

  it("for its account goes by itself when another is chosen", async () => {
    const link = await newLink(service, "account");
    await update(link.client, { pushPayments: true });
    const invoice = await syncedInvoice(link.client);
    const { integration } = await link.client.ask<{ integration: { paymentAccount: { accountId: string } } }>(
      "{ integration { paymentAccount { accountId } } }",
    );
    const account = integration.paymentAccount.accountId;
    await service.control("accounts/archive", { tenantId: link.tenantId, account });
    const recorded = await recordPayment(link.client, invoice.id);
    const is = (...statuses: string[]) =>
      untilPayment(link.client, invoice.id, recorded.id, ({ syncStatus }) => statuses.includes(syncStatus));
    expect(await is("FAILED", "SYNCED")).toMatchObject({ syncError: { code: "INVALID_MAPPING" } });
    await service.control("accounts/restore", { tenantId: link.tenantId, account });
    await update(link.client, { paymentAccountId: account });
    await is("SYNCED");
  });
});

describe("a payment that is taken back", () => {
  it("is deleted in Xero, once, and counts no more from the first moment", async () => {
    const invoice = await syncedInvoice(client);
    const recorded = await recordPayment(client, invoice.id);
    await untilIs(invoice, recorded, "SYNCED");
    const reversed = await change(client, "reversePayment", recorded.id);
    expect(reversed).toMatchObject({ paid: false, syncStatus: "QUEUED" });
    expect(await readInvoice(client, invoice.id)).toMatchObject({ totalPaymentAmount: "0.00", status: "APPROVED" });
    await untilIs(invoice, reversed, "SYNCED");
    expect((await inXero(recorded)).Status).toBe("DELETED");
    expect((await afterEcho(invoice)).totalPaymentAmount).toBe("0.01");
    await expect(change(client, "setPaymentPaid", recorded.id, { paid: true })).rejects.toThrow(/deleted in Xero/);
  });

  it.each(["lost-answer", "500-after-write", "lost-request"])("is deleted also after %s", async (fault) => {
    const invoice = await syncedInvoice(client);
    const recorded = await recordPayment(client, invoice.id);
    await untilIs(invoice, recorded, "SYNCED");
    await service.control("faults", { match: remove, fault, times: 1 });
    await change(client, "reversePayment", recorded.id);
    await untilPayment(client, invoice.id, recorded.id, ({ syncStatus, paid }) => syncStatus === "SYNCED" && !paid);
    expect((await inXero(recorded)).Status).toBe("DELETED");
  });

  it("while it is on its way is deleted when it has arrived", async () => {
    const invoice = await syncedInvoice(client);
    const name = randomUUID();
    await service.control("switches", { webhookPaused: true });
    await service.control("hold", { name, match: put, phase: "before", times: 1 });
    const recorded = await recordPayment(client, invoice.id);
    await service.control("hold/await", { name });
    await change(client, "reversePayment", recorded.id);
    await service.control("release", { name });
    await untilPayment(client, invoice.id, recorded.id, ({ syncStatus, paid }) => syncStatus === "SYNCED" && !paid);
    expect((await inXero(recorded)).Status).toBe("DELETED");
  });

  it("before it went never goes", async () => {
    const { id } = await saveInvoice(client);
    const recorded = await recordPayment(client, id);
    expect(await change(client, "reversePayment", recorded.id)).toMatchObject({
      syncStatus: "NOT_SYNCED",
      paid: false,
    });
    await syncInvoice(client, id);
    const invoice = await untilSync(client, id, "SYNCED");
    await afterEcho(invoice);
    expect(await paymentsInXero(service, recorded.id)).toEqual([]);
  });

  it("and is reconciled in Xero says what to do, and is deleted when that is done", async () => {
    const invoice = await syncedInvoice(client);
    const recorded = await recordPayment(client, invoice.id);
    await untilIs(invoice, recorded, "SYNCED");
    await service.control("reconcile", { paymentId: (await inXero(recorded)).PaymentID, isReconciled: true });
    await change(client, "reversePayment", recorded.id);
    const failed = await untilIs(invoice, recorded, "FAILED");
    expect(failed).toMatchObject({
      paid: false,
      syncError: { code: "VALIDATION_FAILED", message: expect.stringContaining("reconciled") },
    });
    await service.control("reconcile", { paymentId: (await inXero(recorded)).PaymentID, isReconciled: false });
    await change(client, "retryPayment", recorded.id);
    await untilPayment(client, invoice.id, recorded.id, ({ syncStatus }) => syncStatus === "SYNCED");
    expect((await inXero(recorded)).Status).toBe("DELETED");
  });

  it("in Xero is taken back here, and never sent again", async () => {
    const invoice = await syncedInvoice(client);
    const recorded = await recordPayment(client, invoice.id);
    const { xeroPaymentId } = await untilIs(invoice, recorded, "SYNCED");
    await service.control("unpay", { paymentId: xeroPaymentId });
    await untilPayment(client, invoice.id, recorded.id, ({ paid }) => !paid);
    expect(await readInvoice(client, invoice.id)).toMatchObject({ totalPaymentAmount: "0.00" });
    await afterEcho(invoice);
    expect(await paymentsInXero(service, recorded.id)).toHaveLength(1);
  });
});

describe("while the link or the switch is off", () => {
  it("a payment waits, and goes when it is on", async () => {
    const invoice = await syncedInvoice(client);
    await update(client, { enabled: false });
    const recorded = await recordPayment(client, invoice.id);
    expect(recorded.syncStatus).toBe("QUEUED");
    await expect(change(client, "retryPayment", recorded.id)).resolves.toMatchObject({ syncStatus: "QUEUED" });
    expect(await paymentsInXero(service, recorded.id)).toEqual([]);
    await update(client, { enabled: true });
    await untilIs(invoice, recorded, "SYNCED");
    await inXero(recorded);
  });
});

describe("a consent without the scope", () => {
  it("does not let payments be sent, and says what to do", async () => {
    const narrow = await startService();
    try {
      const plain = await narrow.readyClient();
      await expect(update(plain, { pushPayments: true })).rejects.toThrow(/accounting\.payments.*XERO_SCOPES/);
      const invoice = await syncedInvoice(plain);
      expect(await recordPayment(plain, invoice.id)).toMatchObject({ syncStatus: "NOT_SYNCED" });
      await expect(update(await narrow.client("admin", "unconnected"), { pushPayments: true })).rejects.toThrow(
        /Connect to Xero/,
      );
    } finally {
      await narrow.close();
    }
  });
});
