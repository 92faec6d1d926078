/**
 * Payments on their way back: whatever order, number and company their events and answers come in, what is paid here is what Xero says is
 * paid.
 */
import { EventEmitter } from "node:events";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { pino } from "pino";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import {
  inXero,
  type InvoiceState,
  readInvoice,
  runSql,
  saveInvoice,
  syncedInvoice,
  syncInvoice,
  untilPaid,
  untilSync,
} from "./support/records.js";
import { type Service, startService } from "./support/service.js";

let service: Service;
let client: GraphqlClient;
const logged = new EventEmitter();

/** Resolves when the service has logged a failure of this kind between it and Xero. */
function nextFailure(kind: string): Promise<void> {
  return new Promise((resolve) => {
    const look = (text: string): void => {
      if ((JSON.parse(text) as { kind?: string }).kind !== kind) return;
      logged.off("line", look);
      resolve();
    };
    logged.on("line", look);
  });
}

beforeAll(async () => {
  service = await startService({ logger: pino({ level: "warn" }, { write: (text) => logged.emit("line", text) }) });
  client = await service.readyClient();
});

beforeEach(async () => {
  await service.control("faults/clear", {});
  await service.control("webhooks", { categories: ["CONTACT", "INVOICE", "PAYMENT"] });
  await service.control("switches", {
    minuteLimit: 10_000,
    paymentEvents: ["INVOICE"],
    webhookPaused: false,
    webhookDuplicates: 0,
    webhookShuffle: false,
  });
});

afterAll(() => service.close());

interface Paid {
  paymentId: string;
  amountPaid: number;
}

const pay = (invoice: InvoiceState, amount?: string, more: object = {}) =>
  service.control<Paid>("pay", { invoiceId: invoice.xeroId, ...(amount !== undefined && { amount }), ...more });

async function update(settings: object): Promise<void> {
  await client.ask("mutation ($input: UpdateIntegrationInput!) { updateIntegration(input: $input) { enabled } }", {
    input: settings,
  });
}

const reads = { method: "GET", path: "/Invoices$" };

describe("a payment", () => {
  it("counts once, however often it is announced and in whatever order", async () => {
    await service.control("switches", { webhookDuplicates: 2, webhookShuffle: true, webhookPaused: true });
    const invoice = await syncedInvoice(client);
    await pay(invoice, "10.00");
    await pay(invoice, "20.00");
    await service.control("switches", { webhookPaused: false });
    const paid = await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "30.00");
    expect(paid).toMatchObject({ amountDue: "70.00", status: "PARTIALLY_PAID" });
    await service.control("webhooks/replay", { last: 6 });
    await pay(invoice, "5.00");
    const later = await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "35.00");
    expect(later.payments.map(({ amount }) => amount).sort()).toEqual(["10.00", "20.00", "5.00"]);
  });

  it("is not undone by an older answer that comes later", async () => {
    const invoice = await syncedInvoice(client);
    await service.control("webhooks/drain", {});
    await service.control("hold", { name: "old", match: reads, phase: "after", times: 1 });
    await pay(invoice, "10.00");
    await service.control("hold/await", { name: "old", count: 1 });
    const { paymentId } = await pay(invoice, "20.00");
    await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "30.00");
    await service.control("release", { name: "old" });
    // Whatever the old answer did would be seen by the time that a next event is through.
    await service.control("unpay", { paymentId });
    const after = await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "10.00");
    const kinds = await kindsOf(invoice.id, 3);
    expect(kinds).toEqual(["RECEIVED", "RECEIVED", "REVERSED"]);
    expect(after.payments.map(({ paid }) => paid).sort()).toEqual([false, true]);
  });

  it("of two is taken back alone", async () => {
    const invoice = await syncedInvoice(client);
    const { paymentId } = await pay(invoice, "60.00", { date: "2026-11-17" });
    await pay(invoice, "40.00", { date: "2026-11-18" });
    await untilPaid(client, invoice.id, ({ status }) => status === "PAID");
    await service.control("unpay", { paymentId });
    const after = await untilPaid(client, invoice.id, ({ status }) => status === "PARTIALLY_PAID");
    expect(after).toMatchObject({
      totalPaymentAmount: "40.00",
      amountDue: "60.00",
      lastPaymentDate: "2026-11-18T00:00:00.000Z",
    });
    expect(after.payments.find(({ financeExternalId }) => financeExternalId === paymentId)?.paid).toBe(false);
  });

  it("is added to credits, which count for what is due and not for what was paid", async () => {
    const invoice = await syncedInvoice(client);
    await service.control("credit", { invoiceId: invoice.xeroId, amount: 20, kind: "CREDITNOTE" });
    await service.control("credit", { invoiceId: invoice.xeroId, amount: 30, kind: "OVERPAYMENT" });
    await pay(invoice, "10.00");
    const paid = await untilPaid(
      client,
      invoice.id,
      ({ totalPaymentAmount, totalCreditAmount }) => totalPaymentAmount === "10.00" && totalCreditAmount === "50.00",
    );
    expect(paid).toMatchObject({ amountDue: "40.00", status: "PARTIALLY_PAID" });
    await pay(invoice);
    expect(await untilPaid(client, invoice.id, ({ status }) => status === "PAID")).toMatchObject({
      totalPaymentAmount: "50.00",
      amountDue: "0.00",
    });
  });

  it("that leaves no more than the tolerance open pays the invoice", async () => {
    await update({ paidTolerance: "0.05" });
    const [within, beyond] = [await syncedInvoice(client), await syncedInvoice(client)];
    await pay(within, "99.95");
    await pay(beyond, "99.94");
    expect(await untilPaid(client, within.id, ({ totalPaymentAmount }) => totalPaymentAmount !== "0.00")).toMatchObject(
      {
        status: "PAID",
        amountDue: "0.05",
      },
    );
    expect(await untilPaid(client, beyond.id, ({ totalPaymentAmount }) => totalPaymentAmount !== "0.00")).toMatchObject(
      {
        status: "PARTIALLY_PAID",
        amountDue: "0.06",
      },
    );
    await update({ paidTolerance: "0" });
    // A change of the setting changes no invoice that exists.
    expect((await readInvoice(client, within.id)).status).toBe("PAID");
  });

  it("that came while the switch was off is applied when it is on again", async () => {
    const invoice = await syncedInvoice(client);
    await update({ enabled: false });
    await pay(invoice, "33.00");
    await service.control("webhooks/drain", {});
    expect((await readInvoice(client, invoice.id)).totalPaymentAmount).toBe("0.00");
    await update({ enabled: true });
    const paid = await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "33.00");
    expect(paid.payments).toMatchObject([{ amount: "33.00", source: "XERO_WEBHOOK" }]);
  });

  it("is seen whichever category announces it", async () => {
    const invoice = await syncedInvoice(client);
    await service.control("switches", { paymentEvents: ["PAYMENT"] });
    await pay(invoice, "12.34");
    await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "12.34");
    await service.control("switches", { paymentEvents: ["PAYMENT", "INVOICE"] });
    await pay(invoice, "0.66");
    const paid = await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "13.00");
    expect(paid.payments).toHaveLength(2);
  });

  it("of an invoice that is voided since is as Xero has it", async () => {
    const invoice = await syncedInvoice(client);
    const { paymentId } = await pay(invoice, "50.00");
    await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "50.00");
    await service.control("unpay", { paymentId });
    await service.control("invoices/void", { invoiceId: invoice.xeroId });
    await service.control("webhooks/drain", {});
    const after = await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "0.00");
    expect(after.payments.map(({ paid }) => paid)).toEqual([false]);
  });
});

/** The kinds of the invoice's first payment events. */
async function kindsOf(invoiceId: string, count: number): Promise<string[]> {
  const kinds: string[] = [];
  const events = client.watch<{ payments: { kind: string } }>(
    'subscription ($id: ID!) { payments(invoiceId: $id, after: "0") { kind } }',
    { id: invoiceId },
  );
  for await (const { payments } of events) if (kinds.push(payments.kind) === count) break;
  return kinds;
}

it("any number of payments and reversals leave what Xero says was paid", async () => {
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.record({ do: fc.constant("pay" as const), cents: fc.integer({ min: 1, max: 2_000 }) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("unpay" as const), which: fc.nat() }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async (steps) => {
      const invoice = await syncedInvoice(client, {
        lineItems: [{ description: "Support", quantity: "1", unitAmount: "1000.00" }],
      });
      const standing: string[] = [];
      for (const each of steps) {
        if (each.do === "pay") standing.push((await pay(invoice, (each.cents / 100).toFixed(2))).paymentId);
        else if (standing.length > 0) {
          const [paymentId] = standing.splice(each.which % standing.length, 1);
          await service.control("unpay", { paymentId });
        }
      }
      // Something to wait for, whatever came before.
      await pay(invoice, "0.01");
      const [theirs] = await inXero(service, invoice.number);
      const { AmountPaid, AmountDue } = theirs as { AmountPaid: number; AmountDue: number };
      const ours = await untilPaid(
        client,
        invoice.id,
        ({ totalPaymentAmount }) => totalPaymentAmount === AmountPaid.toFixed(2),
      );
      expect(ours.amountDue).toBe(AmountDue.toFixed(2));
      expect(ours.payments.filter(({ paid }) => paid)).toHaveLength(standing.length + 1);
    }),
    { numRuns: 5 },
  );
});

describe("an event is not lost", () => {
  const writes = { method: "PUT", path: "/Invoices$" };

  it("that comes before the invoice's id is written back, and is looked at while it is", async () => {
    const known = await syncedInvoice(client);
    const invoice = await saveInvoice(client);
    await service.control("webhooks/drain", {});
    await service.control("switches", { webhookPaused: true });
    await service.control("hold", { name: "written", match: writes, phase: "after", times: 1 });
    await syncInvoice(client, invoice.id);
    await service.control("hold/await", { name: "written", count: 1 });
    const [{ InvoiceID } = { InvoiceID: "" }] = await inXero(service, invoice.number);
    await service.control("pay", { invoiceId: InvoiceID, amount: "25.00" });
    await pay(known, "1.00");
    await service.control("hold", { name: "reading", match: reads, phase: "after", times: 1 });
    await service.control("switches", { webhookPaused: false });
    await service.control("hold/await", { name: "reading", count: 1 });
    // What was announced is being read for the known invoice; the other is nobody's so far, and becomes ours now.
    await service.control("release", { name: "written" });
    await untilSync(client, invoice.id, "SYNCED");
    await service.control("release", { name: "reading" });
    await untilPaid(client, known.id, ({ totalPaymentAmount }) => totalPaymentAmount === "1.00");
    await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "25.00");
  }, 15_000);

  it("of a second payment within the same millisecond as the first", async () => {
    const invoice = await syncedInvoice(client);
    const { tenantId } = (await inXero(service, invoice.number))[0] as { tenantId: string };
    await service.control("webhooks", { categories: [] });
    const event = {
      tenantId,
      resourceId: invoice.xeroId,
      eventCategory: "INVOICE",
      eventType: "UPDATE",
      eventDateUtc: "2026-11-20T01:02:03.004",
    };
    await pay(invoice, "10.00");
    await service.control("webhooks/send", { events: [event], signature: "right" });
    await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "10.00");
    await pay(invoice, "20.00");
    await service.control("webhooks/send", { events: [event], signature: "right" });
    await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "30.00");
  }, 15_000);

  it("while the user who connected may not read invoices", async () => {
    await service.control("webhooks", { categories: ["CONTACT", "INVOICE"] });
    const invoice = await syncedInvoice(client);
    // From here on: the invoice's own echo may be refused before the payment's event comes, which then waits with it.
    const refused = nextFailure("FORBIDDEN");
    await service.control("role", { endpoint: "Invoices", allowed: false });
    await pay(invoice, "10.00");
    await refused;
    await service.control("role", { endpoint: "Invoices", allowed: true });
    // Some minutes later the service looks again by itself; here they are over at once.
    // The refusal is logged before the wait is written down, so there may be none to end yet.
    const endWait = "UPDATE connection SET pull_not_before = NULL WHERE pull_not_before > now() RETURNING id";
    while ((await runSql(service, endWait)).length === 0);
    await runSql(
      service,
      `SELECT graphile_worker.add_job('pull', json_build_object('workspaceId', workspace_id, 'connectionId', id)) FROM connection`,
    );
    await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === "10.00");
  }, 15_000);
});
