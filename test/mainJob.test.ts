/** The main job through the front door: an invoice reaches Xero, its payments come back, a subscription sees both. */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import {
  readInvoice,
  saveInvoice,
  saveParticipant,
  syncedInvoice,
  syncInvoice,
  untilPaid,
  untilSync,
} from "./support/records.js";
import { type Service, startService } from "./support/service.js";

let service: Service;
let client: GraphqlClient;

beforeAll(async () => {
  service = await startService();
  client = await service.readyClient();
});

afterAll(() => service.close());

describe("an invoice on its way to Xero", () => {
  it("is created there with its contact, lines, dates and our number as its reference", async () => {
    const participant = await saveParticipant(client, {
      name: "Ada Okafor",
      email: "ada@example.com",
      phone: "02 5550 1234",
    });
    const invoice = await syncedInvoice(client, {
      participantId: participant.id,
      number: "A-1",
      lineItems: [
        { description: "Self-care", quantity: "3.5", unitAmount: "70.23" },
        { description: "Travel", quantity: "14.6", unitAmount: "0.3333" },
      ],
    });
    expect(invoice).toMatchObject({
      syncStatus: "SYNCED",
      syncError: null,
      syncWarnings: [],
      xeroStatus: "AUTHORISED",
      total: "250.68",
    });
    expect(invoice.syncAttempts).toEqual([{ outcome: "CREATED", contactAction: "CREATED" }]);
    const invoices = await service.control<Record<string, unknown>[]>("invoices");
    expect(invoices.find(({ InvoiceID }) => InvoiceID === invoice.xeroId)).toMatchObject({
      InvoiceNumber: invoice.xeroInvoiceNumber,
      Reference: "A-1",
      Url: `${service.url}/invoices/${invoice.id}`,
      Total: 250.68,
      Contact: { Name: "Ada Okafor" },
      LineItems: [
        { Description: "Self-care", Quantity: 3.5, UnitAmount: 70.23, AccountCode: "201", TaxType: "EXEMPTOUTPUT" },
        { Description: "Travel", Quantity: 14.6, UnitAmount: 0.3333 },
      ],
    });
  });

  it("is there once, however often it is asked for", async () => {
    const { id } = await saveInvoice(client);
    const runs = await Promise.all([1, 2, 3, 4].map(() => syncInvoice(client, id)));
    const invoice = await untilSync(client, id, "SYNCED");
    const again = await syncInvoice(client, id);
    expect(new Set(runs.map((run) => run.id)).size).toBe(1);
    expect(again).toMatchObject({ status: "SUCCEEDED" });
    expect((await readInvoice(client, id)).syncAttempts.map(({ outcome }) => outcome)).toEqual([
      "UNCHANGED",
      "CREATED",
    ]);
    const invoices = await service.control<{ Reference: string }[]>("invoices");
    expect(invoices.filter(({ Reference }) => Reference === invoice.number)).toHaveLength(1);
  });
});

describe("a payment in Xero", () => {
  it("comes back in parts, rolls up, and is reversed when it is deleted there", async () => {
    const { id, xeroId } = await syncedInvoice(client);
    const { paymentId } = await service.control<{ paymentId: string }>("pay", {
      invoiceId: xeroId,
      amount: "40.00",
      date: "2026-11-18",
    });
    const part = await untilPaid(client, id, ({ status }) => status === "PARTIALLY_PAID");
    expect(part).toMatchObject({
      totalPaymentAmount: "40.00",
      amountDue: "60.00",
      lastPaymentDate: "2026-11-18T00:00:00.000Z",
    });
    expect(part.payments).toMatchObject([
      {
        amount: "40.00",
        paid: true,
        paidOn: "2026-11-18",
        type: "RECONCILIATION",
        source: "XERO_WEBHOOK",
        financeExternalId: paymentId,
      },
    ]);
    await service.control("pay", { invoiceId: xeroId });
    await untilPaid(client, id, ({ status, amountDue }) => status === "PAID" && amountDue === "0.00");
    await service.control("unpay", { paymentId });
    const reversed = await untilPaid(client, id, ({ totalPaymentAmount }) => totalPaymentAmount === "60.00");
    expect(reversed).toMatchObject({ status: "PARTIALLY_PAID", amountDue: "40.00" });
    expect(reversed.payments.map(({ paid }) => paid).sort()).toEqual([false, true]);
  });
});
