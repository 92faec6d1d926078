/** Invoices that are in Xero already: changed here, voided here, and what Xero says to it; and closed books. */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import {
  inXero,
  type InvoiceState,
  readInvoice,
  runSql,
  saveInvoice,
  saveParticipant,
  syncedInvoice,
  syncInvoice,
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

const save = "mutation ($input: SaveInvoiceInput!) { saveInvoice(input: $input) { id syncStatus } }";
const void_ = "mutation ($id: ID!) { voidInvoice(id: $id) { id status syncStatus } }";

/** The invoice as it was saved by `saveInvoice`, with another price, or other changes. */
async function inputFor({ id, number }: InvoiceState, changes: object = {}): Promise<object> {
  const { invoice } = await client.ask<{ invoice: { participant: { id: string } } }>(
    "query ($id: ID!) { invoice(id: $id) { participant { id } } }",
    { id },
  );
  return {
    id,
    number,
    participantId: invoice.participant.id,
    date: "2026-11-16",
    dueDate: "2026-11-30",
    lineItems: [{ description: "Support", quantity: "2", unitAmount: "80.00" }],
    ...changes,
  };
}

async function edit(invoice: InvoiceState, changes: object = {}): Promise<void> {
  await client.ask(save, { input: await inputFor(invoice, changes) });
}

/** The invoice once an attempt has come to this. */
async function untilOutcome(id: string, outcome: string): Promise<InvoiceState> {
  const events = client.watch<unknown>(
    'subscription ($id: ID!) { syncStatus(invoiceId: $id, after: "0") { cursor } }',
    {
      id,
    },
  );
  for await (const _event of events) {
    const invoice = await readInvoice(client, id);
    // Fields of one answer are read one after the other.
    if (invoice.syncAttempts[0]?.outcome === outcome && invoice.syncStatus === "SYNCED") return invoice;
  }
  throw new Error("the subscription ended");
}

async function codeOf(document: string, variables: object): Promise<unknown> {
  return (await client.send(document, variables)).errors?.[0]?.extensions["code"];
}

describe("a change of an invoice that is in Xero", () => {
  it("is brought to Xero by itself, by one call that names the invoice's id, and keeps the status it has there", async () => {
    const invoice = await syncedInvoice(client);
    await service.control("calls/clear", {});
    await edit(invoice, { dueDate: "2026-12-24" });
    const updated = await untilOutcome(invoice.id, "UPDATED");
    expect(updated).toMatchObject({ syncStatus: "SYNCED", syncWarnings: [], xeroId: invoice.xeroId, total: "160.00" });
    const [found, ...others] = await inXero(service, invoice.number);
    expect(others).toEqual([]);
    expect(found).toMatchObject({ Total: 160, Status: "AUTHORISED", InvoiceID: invoice.xeroId });
    expect(JSON.stringify(found)).toContain("2026-12-24");
    const { calls } = await service.control<{ calls: { method: string }[] }>("calls?path=/Invoices$");
    expect(calls.filter(({ method }) => method !== "GET").map(({ method }) => method)).toEqual(["POST"]);
  });

  it("that changes nothing sends nothing", async () => {
    const invoice = await syncedInvoice(client);
    const same = await inputFor(invoice, {
      lineItems: [{ description: "Support", quantity: "1.0", unitAmount: "100" }],
    });
    await client.ask(save, { input: same });
    expect((await syncInvoice(client, invoice.id)).status).toBe("SUCCEEDED");
    expect((await readInvoice(client, invoice.id)).syncAttempts.map(({ outcome }) => outcome)).toEqual([
      "UNCHANGED",
      "CREATED",
    ]);
  });

  it("is refused by Xero where it has a payment that has not come back yet, and says so", async () => {
    await service.control("switches", { webhookPaused: true });
    const invoice = await syncedInvoice(client);
    await service.control("pay", { reference: invoice.number, amount: "10.00" });
    await edit(invoice);
    const failed = await untilSync(client, invoice.id, "FAILED");
    expect(failed.syncError).toMatchObject({ code: "LOCKED_BY_PAYMENT", retryable: false });
    expect(failed.syncError?.xeroMessages).toContain("Invoice not of valid status for modification");
    expect((await inXero(service, invoice.number))[0]).toMatchObject({ Total: 100 });
    await service.control("switches", { webhookPaused: false });
  });

  it.each(["lost-answer", "500-after-write", "lost-request", "503-unavailable"])(
    "arrives once though the answer is %s",
    async (fault) => {
      const invoice = await syncedInvoice(client);
      await service.control("faults", { match: { method: "POST", path: "/Invoices$" }, fault, times: 1 });
      await edit(invoice);
      await untilOutcome(invoice.id, "UPDATED");
      const found = await inXero(service, invoice.number);
      expect(found.map(({ Total }) => Total)).toEqual([160]);
    },
  );

  it("made while the switch is off goes when it is on", async () => {
    const other = await service.readyClient("switched");
    const invoice = await syncedInvoice(other);
    const set = (enabled: boolean) =>
      other.ask("mutation ($input: UpdateIntegrationInput!) { updateIntegration(input: $input) { enabled } }", {
        input: { enabled },
      });
    await set(false);
    const { invoice: read } = await other.ask<{ invoice: { participant: { id: string } } }>(
      "query ($id: ID!) { invoice(id: $id) { participant { id } } }",
      { id: invoice.id },
    );
    const lineItems = [{ description: "Support", quantity: "3", unitAmount: "10.00" }];
    await other.ask(save, {
      input: {
        id: invoice.id,
        participantId: read.participant.id,
        date: "2026-11-16",
        dueDate: "2026-11-30",
        lineItems,
      },
    });
    expect((await readInvoice(other, invoice.id)).syncError?.code).toBe("XERO_DISABLED");
    await set(true);
    await untilSync(other, invoice.id, "SYNCED");
    const totals = async (): Promise<unknown[]> =>
      (await service.control<{ Url?: string; Total: number }[]>("invoices"))
        .filter(({ Url }) => Url?.endsWith(invoice.id))
        .map(({ Total }) => Total);
    expect(await totals()).toEqual([30]);
  });

  it("is refused here while the invoice is on its way, and the participant of an approved one is kept", async () => {
    const invoice = await syncedInvoice(client);
    await service.control("hold", {
      name: "way",
      match: { method: "POST", path: "/Invoices$" },
      phase: "before",
      times: 1,
    });
    await edit(invoice);
    await service.control("hold/await", { name: "way" });
    const again = await inputFor(invoice, { dueDate: "2027-01-31" });
    expect(await codeOf(save, { input: again })).toBe("INVOICE_LOCKED");
    expect(await codeOf(void_, { id: invoice.id })).toBe("INVOICE_LOCKED");
    await service.control("release", { name: "way" });
    await untilOutcome(invoice.id, "UPDATED");
    const { id: participantId } = await saveParticipant(client);
    expect(await codeOf(save, { input: await inputFor(invoice, { participantId }) })).toBe("INVOICE_LOCKED");
  });
});

describe("voiding an invoice", () => {
  const statusIn = async ({ number }: InvoiceState): Promise<unknown> => (await inXero(service, number))[0]?.["Status"];

  it("that is not in Xero is done at once, and it is never sent", async () => {
    const invoice = await saveInvoice(client);
    const { voidInvoice } = await client.ask<{ voidInvoice: object }>(void_, { id: invoice.id });
    expect(voidInvoice).toMatchObject({ status: "VOIDED", syncStatus: "NOT_SYNCED" });
    expect(await codeOf("mutation ($id: ID!) { syncInvoice(id: $id) { id } }", { id: invoice.id })).toBe(
      "BAD_USER_INPUT",
    );
  });

  it("that is approved in Xero voids it there, then here; a repeat changes nothing", async () => {
    const invoice = await syncedInvoice(client);
    const { voidInvoice } = await client.ask<{ voidInvoice: object }>(void_, { id: invoice.id });
    expect(voidInvoice).toMatchObject({ syncStatus: "QUEUED" });
    const voided = await untilOutcome(invoice.id, "UPDATED");
    expect(voided).toMatchObject({ status: "VOIDED", xeroStatus: "VOIDED", syncStatus: "SYNCED" });
    expect(await statusIn(invoice)).toBe("VOIDED");
    await client.ask(void_, { id: invoice.id });
    expect((await readInvoice(client, invoice.id)).syncAttempts).toHaveLength(2);
  });

  it("that is a draft in Xero deletes it there", async () => {
    const set = (initialInvoiceStatus: string) =>
      client.ask("mutation ($input: UpdateIntegrationInput!) { updateIntegration(input: $input) { enabled } }", {
        input: { initialInvoiceStatus },
      });
    await set("DRAFT");
    const invoice = await syncedInvoice(client);
    await set("AUTHORISED");
    expect(invoice.xeroStatus).toBe("DRAFT");
    await client.ask(void_, { id: invoice.id });
    expect(await untilOutcome(invoice.id, "UPDATED")).toMatchObject({ status: "VOIDED", xeroStatus: "DELETED" });
    expect(await statusIn(invoice)).toBe("DELETED");
  });

  it("that is paid is refused here; one that Xero knows to be paid is refused there, and stays as it was", async () => {
    await service.control("switches", { webhookPaused: true });
    const invoice = await syncedInvoice(client);
    await service.control("pay", { reference: invoice.number });
    await client.ask(void_, { id: invoice.id });
    const failed = await untilSync(client, invoice.id, "FAILED");
    expect(failed).toMatchObject({ status: "APPROVED", syncError: { retryable: false } });
    await service.control("switches", { webhookPaused: false });
    await runSql(service, "UPDATE invoice SET status = 'PAID' WHERE id = $1", [invoice.id]);
    expect(await codeOf(void_, { id: invoice.id })).toBe("INVOICE_LOCKED");
    expect(await statusIn(invoice)).toBe("PAID");
  });

  it("needs the link where Xero has to be asked", async () => {
    const other = await service.readyClient("unlinked");
    const invoice = await syncedInvoice(other);
    const { xeroOrganisations } = await other.ask<{ xeroOrganisations: { id: string }[] }>(
      "{ xeroOrganisations { id } }",
    );
    await other.ask("mutation ($id: ID!) { disconnectXero(organisationId: $id) { id } }", {
      id: xeroOrganisations[0]?.id,
    });
    const refused = await other.send(void_, { id: invoice.id });
    expect(refused.errors?.[0]?.extensions).toMatchObject({ code: "XERO_NOT_CONNECTED" });
    expect((await readInvoice(other, invoice.id)).status).toBe("APPROVED");
  });

  it("is a bookkeeper's", async () => {
    const { id } = await saveInvoice(client);
    const viewer = await service.client("viewer");
    expect((await viewer.send(void_, { id })).errors?.[0]?.extensions).toMatchObject({ code: "FORBIDDEN" });
  });
});

describe("closed books", () => {
  it("keep an invoice back before any call, and the moved lock date queues it by itself", async () => {
    await service.control("lock", { periodLockDate: "2026-06-30" });
    await client.ask("mutation { refreshXeroData { enabled } }");
    await service.control("calls/clear", {});
    const invoice = await saveInvoice(client, { date: "2026-06-30", dueDate: "2026-07-14" });
    await syncInvoice(client, invoice.id);
    const failed = await untilSync(client, invoice.id, "FAILED");
    expect(failed.syncError).toMatchObject({ code: "PERIOD_LOCKED", xeroMessages: [] });
    expect((await service.control<{ calls: object[] }>("calls?path=/api.xro/")).calls).toEqual([]);
    await service.control("lock", { periodLockDate: "2026-05-31" });
    await client.ask("mutation { refreshXeroData { enabled } }");
    await untilSync(client, invoice.id, "SYNCED");
  });
});
