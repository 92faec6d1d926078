/** Webhooks that do not come: what they would have told is found all the same, and somebody is told that they do not. */
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { untilAlerts } from "./support/links.js";
import { syncedInvoice, untilPaid } from "./support/records.js";
import { type Service, startService } from "./support/service.js";

let service: Service;
let client: GraphqlClient;

beforeAll(async () => {
  service = await startService({ environment: { PAYMENT_CATCH_UP_EVERY: "1s", WEBHOOK_SILENT_AFTER: "2s" } });
  client = await service.readyClient();
});

afterAll(() => service.close());

it("silence is an alert once a change is found that none told of, and it resolves with the next that comes", async () => {
  const invoice = await syncedInvoice(client);
  await service.control("webhooks/drain", {});
  await service.control("webhooks", { categories: [] });
  // One after the other, until the last webhook is long enough ago when a change is found.
  for (let cents = 1; cents <= 6; cents += 1) {
    await service.control("pay", { invoiceId: invoice.xeroId, amount: "0.01" });
    await untilPaid(client, invoice.id, ({ totalPaymentAmount }) => totalPaymentAmount === `0.0${cents}`);
  }
  const [alert] = await untilAlerts(client, (alerts) => alerts.some(({ kind }) => kind === "WEBHOOK_SILENT"));
  expect(alert).toMatchObject({ kind: "WEBHOOK_SILENT", state: "OPEN" });
  expect(alert?.message).toContain("Demo Company (AU)");
  expect(alert?.resolution).toContain("XERO_WEBHOOK_KEYS");
  await service.control("webhooks", { categories: ["CONTACT", "INVOICE"] });
  await service.control("pay", { invoiceId: invoice.xeroId, amount: "0.01" });
  await untilAlerts(client, (alerts) => alerts.every(({ state }) => state === "RESOLVED"));
});
