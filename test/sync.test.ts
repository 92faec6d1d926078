/** Sending: what is refused before it starts, what Xero refuses, whom it bills, and that what Xero then holds is what stands here. */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { configure, consent } from "../demo/setUp.js";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import {
  type InvoiceState,
  inXero,
  readInvoice,
  runSql,
  saveInvoice,
  saveParticipant,
  syncedInvoice,
  syncInvoice,
  untilSync,
} from "./support/records.js";
import { until } from "./support/links.js";
import { type Service, startService } from "./support/service.js";

let service: Service;
let client: GraphqlClient;

beforeAll(async () => {
  service = await startService();
  client = await service.readyClient();
  await service.control("switches", { minuteLimit: 10_000 });
});

afterAll(() => service.close());

async function update(settings: object, by = client): Promise<void> {
  await by.ask("mutation ($input: UpdateIntegrationInput!) { updateIntegration(input: $input) { enabled } }", {
    input: settings,
  });
}

interface XeroContact {
  ContactID: string;
  ContactNumber?: string;
  Name: string;
  EmailAddress: string;
  Phones: { PhoneType: string; PhoneNumber: string }[];
}

async function contactsNumbered(contactNumber: string): Promise<XeroContact[]> {
  const contacts = await service.control<XeroContact[]>("contacts");
  return contacts.filter(({ ContactNumber }) => ContactNumber === contactNumber);
}

describe("syncInvoice is refused", () => {
  const press = "mutation ($id: ID!) { syncInvoice(id: $id) { id } }";

  async function refusal(by: GraphqlClient, id: string): Promise<object | undefined> {
    return (await by.send(press, { id })).errors?.[0]?.extensions;
  }

  it("in the contract's order", async () => {
    const fresh = await service.client("admin", "fresh");
    const { id } = await saveInvoice(fresh, {}, { approve: false });
    await update({ enabled: false }, fresh);
    expect(await refusal(fresh, id)).toMatchObject({ code: "XERO_DISABLED" });
    await update({ enabled: true }, fresh);
    expect(await refusal(fresh, id)).toMatchObject({ code: "XERO_NOT_CONNECTED" });
    await service.control("consent/next", { organisations: ["Demo Company (AU)"] });
    await consent(fresh);
    expect(await refusal(fresh, id)).toEqual({
      code: "SETUP_INCOMPLETE",
      missingSetup: ["SALES_ACCOUNT", "PAYMENT_ACCOUNT", "TAX_RATES"],
    });
    await configure(fresh);
    expect(await refusal(fresh, id)).toMatchObject({ code: "BAD_USER_INPUT", fields: [{ field: "id" }] });
    expect(await refusal(fresh, (await saveInvoice(client)).id)).toMatchObject({ code: "NOT_FOUND" });
    await update({ enabled: false }, fresh);
    expect(await refusal(fresh, id)).toMatchObject({ code: "XERO_DISABLED" });
  });

  it("without a webhook key, before set-up is looked at", async () => {
    const deaf = await startService({ environment: { XERO_WEBHOOK_KEYS: "" } });
    try {
      const admin = await deaf.client();
      const { id } = await saveInvoice(admin, {}, { approve: false });
      expect(await refusal(admin, id)).toMatchObject({ code: "XERO_NOT_CONNECTED" });
      await consent(admin);
      expect(await refusal(admin, id)).toMatchObject({ code: "XERO_WEBHOOK_NOT_CONFIGURED" });
    } finally {
      await deaf.close();
    }
  });
});

describe("whom an invoice bills", () => {
  it("is the contact with the participant's number", async () => {
    const contactNumber = "CN-1";
    await service.control("contacts/add", { contact: { Name: "Numbered One", ContactNumber: contactNumber } });
    const participant = await saveParticipant(client, { name: "Numbered One", contactNumber });
    const { syncAttempts } = await syncedInvoice(client, { participantId: participant.id });
    expect(syncAttempts).toEqual([{ outcome: "CREATED", contactAction: "LINKED" }]);
    expect(await contactsNumbered(contactNumber)).toHaveLength(1);
  });

  it("is the contact with the participant's name and e-mail, which is given the number", async () => {
    await service.control("contacts/add", { contact: { Name: "Known By Both", EmailAddress: "both@example.com" } });
    const participant = await saveParticipant(client, { name: "Known By Both", email: "Both@example.com" });
    const { syncAttempts } = await syncedInvoice(client, { participantId: participant.id });
    expect(syncAttempts[0]?.contactAction).toBe("LINKED");
    expect(await contactsNumbered(participant.contactNumber)).toMatchObject([{ Name: "Known By Both" }]);
  });

  it("is brought up to date when the participant has changed", async () => {
    const participant = await saveParticipant(client, { name: "Moves House" });
    await syncedInvoice(client, { participantId: participant.id });
    const changes = { id: participant.id, name: "Moves House", phone: "02 5550 9999" };
    await saveParticipant(client, { ...changes, planManagement: "SELF_MANAGED" });
    const { syncAttempts } = await syncedInvoice(client, { participantId: participant.id });
    expect(syncAttempts[0]?.contactAction).toBe("UPDATED");
    const [contact] = await contactsNumbered(participant.contactNumber);
    expect(contact?.Phones.find(({ PhoneType }) => PhoneType === "DEFAULT")?.PhoneNumber).toBe("02 5550 9999");
  });

  it("gets the invoice even where Xero refuses the change, with a warning", async () => {
    const participant = await saveParticipant(client, { name: "Wants Another Name" });
    await syncedInvoice(client, { participantId: participant.id });
    // After the copy of the contacts was read, which an update does not do again.
    await service.control("contacts/add", { contact: { Name: "Name Of Another" } });
    await saveParticipant(client, { id: participant.id, name: "Name Of Another" });
    const { syncStatus, syncWarnings } = await syncedInvoice(client, { participantId: participant.id });
    expect(syncStatus).toBe("SYNCED");
    expect(syncWarnings).toEqual([expect.stringContaining("is already assigned to another contact")]);
    expect(await contactsNumbered(participant.contactNumber)).toMatchObject([{ Name: "Wants Another Name" }]);
  });

  it("is made once for two invoices at once", async () => {
    const participant = await saveParticipant(client);
    const invoices = [1, 2].map(() => saveInvoice(client, { participantId: participant.id }));
    await service.control("hold", { name: "look", match: { method: "GET", path: "/Contacts$" }, phase: "after" });
    let looking = 0;
    for (const { id } of await Promise.all(invoices)) {
      await syncInvoice(client, id);
      await service.control("hold/await", { name: "look", count: (looking += 1) });
    }
    await service.control("release", { name: "look" });
    for (const invoice of invoices) {
      expect((await untilSync(client, (await invoice).id, "SYNCED", "FAILED")).syncStatus).toBe("SYNCED");
    }
    expect(await contactsNumbered(participant.contactNumber)).toHaveLength(1);
  });

  it("is the plan manager of who is plan-managed, and the first line says for whom", async () => {
    const manager = await saveParticipant(client, { name: "Plans Pty Ltd", planManagement: "NOT_NDIS" });
    const participant = await saveParticipant(client, {
      name: "Lee Plan",
      ndisNumber: "430000001",
      planManagement: "PLAN_MANAGED",
      planManagerId: manager.id,
    });
    const { number, syncStatus } = await syncedInvoice(client, { participantId: participant.id });
    expect(syncStatus).toBe("SYNCED");
    const [found] = await inXero(service, number);
    expect(found).toMatchObject({ Contact: { Name: "Plans Pty Ltd" }, Total: 100 });
    expect(found?.["LineItems"]).toMatchObject([
      { Description: "Participant: Lee Plan, NDIS number 430000001" },
      { Description: "Support" },
    ]);
  });

  it.each([
    ["agency-managed", { planManagement: "AGENCY_MANAGED" }],
    ["plan-managed by nobody", { planManagement: "PLAN_MANAGED" }],
  ])("is nobody for who is %s", async (_name, input) => {
    const participant = await saveParticipant(client, input);
    const { number, syncError } = await syncedInvoice(client, { participantId: participant.id });
    expect(syncError?.code).toBe("INVALID_INVOICE");
    expect(await inXero(service, number)).toEqual([]);
  });

  it("is looked for anew where Xero knows the linked contact no more", async () => {
    const participant = await saveParticipant(client, { name: "Linked To Nobody" });
    await syncedInvoice(client, { participantId: participant.id });
    // As after a restored or reset organisation: the number is there, under another id.
    await runSql(
      service,
      "UPDATE contact_link SET contact_id = gen_random_uuid() WHERE participant_id = $1 AND workspace_id = 'one'",
      [participant.id],
    );
    await saveParticipant(client, { id: participant.id, name: "Linked To Nobody", phone: "02 5550 0000" });
    const { syncStatus, syncError } = await syncedInvoice(client, { participantId: participant.id });
    expect({ syncStatus, syncError }).toEqual({ syncStatus: "SYNCED", syncError: null });
    expect(await contactsNumbered(participant.contactNumber)).toHaveLength(1);
  });

  it("is not for ever on its way when another participant holds the contact", async () => {
    const first = await saveParticipant(client, { name: "First Holder", contactNumber: "CN-HELD" });
    await syncedInvoice(client, { participantId: first.id });
    await saveParticipant(client, { id: first.id, name: "First Holder", contactNumber: "CN-OTHER" });
    const second = await saveParticipant(client, { name: "Second Holder", contactNumber: "CN-HELD" });
    const invoice = await saveInvoice(client, { participantId: second.id });
    const innocent = await saveInvoice(client);
    await queueTogether([innocent, invoice]);
    expect((await untilSync(client, innocent.id, "SYNCED", "FAILED")).syncStatus).toBe("SYNCED");
    const ended = await untilSync(client, invoice.id, "SYNCED", "FAILED");
    expect(["CONTACT_AMBIGUOUS", "CONTACT_REJECTED"]).toContain(ended.syncError?.code);
  }, 15_000);
});

/** Queues invoices in one transaction, so that one batch takes them all. */
async function queueTogether(invoices: InvoiceState[], by = client): Promise<void> {
  await by.ask("mutation ($ids: [ID!]!) { syncInvoices(ids: $ids) { id } }", { ids: invoices.map(({ id }) => id) });
}

/** Xero's limits are over, and whoever waits for it is woken. */
async function unblock(at = service): Promise<void> {
  await runSql(at, "UPDATE tenant_limit SET blocked_until = now()");
  await runSql(at, "UPDATE sync_attempt SET not_before = NULL WHERE outcome = 'PENDING'");
  await runSql(
    at,
    `SELECT graphile_worker.add_job('push', json_build_object('workspaceId', workspace_id, 'connectionId', connection_id))
     FROM sync_attempt WHERE outcome = 'PENDING' LIMIT 1`,
  );
}

describe("many invoices", () => {
  it("of which one is refused all reach Xero but that one, by one call", async () => {
    await service.control("lock", { periodLockDate: "2026-06-30" });
    const good = await Promise.all([1, 2, 3, 4].map(() => saveInvoice(client)));
    const bad = await saveInvoice(client, { date: "2026-06-15" });
    const [first, ...rest] = good;
    await service.control("calls/clear", {});
    await queueTogether([...(first ? [first] : []), bad, ...rest]);
    expect((await untilSync(client, bad.id, "SYNCED", "FAILED")).syncError?.code).toBe("PERIOD_LOCKED");
    for (const { id, number } of good) {
      expect((await untilSync(client, id, "SYNCED", "FAILED")).syncStatus).toBe("SYNCED");
      expect(await inXero(service, number)).toHaveLength(1);
    }
    expect((await service.control<{ calls: object[] }>("calls?path=/Invoices&method=PUT")).calls).toHaveLength(1);
    await service.control("lock", { periodLockDate: null });
  });
});

describe("what Xero then holds", () => {
  const lineItems = [
    { description: "Odd cents", quantity: "3.3333", unitAmount: "0.3333" },
    { description: "Half a cent", quantity: "1", unitAmount: "2.165" },
    { description: "Round", quantity: "7", unitAmount: "541.25" },
  ];

  async function gstRate(): Promise<string> {
    const { taxRates } = await client.ask<{ taxRates: { id: string; name: string }[] }>("{ taxRates { id name } }");
    return taxRates.find(({ name }) => name === "GST 10 %")?.id ?? "";
  }

  it.each([
    ["EXCLUSIVE", "Exclusive"],
    ["INCLUSIVE", "Inclusive"],
    ["NO_TAX", "NoTax"],
  ])("comes to what stands here, %s, whatever the setting is by then", async (lineAmountTypes, wireTypes) => {
    const taxRateId = await gstRate();
    await update({ lineAmountTypes });
    const saved = await saveInvoice(client, { lineItems: lineItems.map((line) => ({ ...line, taxRateId })) });
    await update({ lineAmountTypes: lineAmountTypes === "INCLUSIVE" ? "NO_TAX" : "INCLUSIVE" });
    await syncInvoice(client, saved.id);
    const { syncStatus, syncWarnings, subtotal, totalTax, total } = await untilSync(
      client,
      saved.id,
      "SYNCED",
      "FAILED",
    );
    expect({ syncStatus, syncWarnings, subtotal, totalTax, total }).toEqual({
      syncStatus: "SYNCED",
      syncWarnings: [],
      subtotal: saved.subtotal,
      totalTax: saved.totalTax,
      total: saved.total,
    });
    expect(await inXero(service, saved.number)).toMatchObject([
      {
        LineAmountTypes: wireTypes,
        SubTotal: Number(subtotal),
        TotalTax: Number(totalTax),
        Total: Number(total),
        LineItems: [{ UnitAmount: 0.3333, Quantity: 3.3333 }, { UnitAmount: 2.165 }, {}],
      },
    ]);
    await update({ lineAmountTypes: "EXCLUSIVE" });
    const { calls } = await service.control<{ calls: { query: string }[] }>("calls?path=/Invoices&method=PUT");
    expect(calls.every(({ query }) => query.includes("unitdp=4"))).toBe(true);
  });
});

describe("what Xero refuses", () => {
  /** The failed invoice; each failure says what Xero said and what to do. */
  async function failure(input: object = {}): Promise<InvoiceState["syncError"]> {
    const { syncStatus, syncError, number } = await syncedInvoice(client, input);
    expect(syncStatus).toBe("FAILED");
    expect(syncError?.message).toMatch(/\w{3,}/);
    expect(syncError?.resolution).toMatch(/\w{3,}/);
    expect(syncError?.retryable).toBe(false);
    expect(await inXero(service, number)).toEqual([]);
    return syncError;
  }

  it("is a number that is taken", async () => {
    await service.control("invoices/add", {
      invoice: {
        Type: "ACCREC",
        InvoiceNumber: "TAKEN-1",
        Contact: { Name: "Number Taker" },
        LineItems: [{ Description: "x" }],
      },
    });
    await update({ numbering: "OUR_NUMBERS" });
    const error = await failure({ number: "TAKEN-1" });
    expect(error).toMatchObject({ code: "NUMBER_TAKEN", xeroMessages: ["Invoice # must be unique."] });
    const { xeroInvoiceNumber } = await syncedInvoice(client, { number: "FREE-1" });
    expect(xeroInvoiceNumber).toBe("FREE-1");
    await update({ numbering: "XERO_NUMBERS" });
  });

  it("is a date in a locked period", async () => {
    await service.control("lock", { periodLockDate: "2026-11-16" });
    expect(await failure({ date: "2026-11-16" })).toMatchObject({
      code: "PERIOD_LOCKED",
      xeroMessages: [expect.stringMatching(/period lock date/)],
    });
    await service.control("lock", { periodLockDate: null });
  });

  it("is an archived contact", async () => {
    const participant = await saveParticipant(client);
    await syncedInvoice(client, { participantId: participant.id });
    await service.control("contacts/archive", { contactNumber: participant.contactNumber });
    expect(await failure({ participantId: participant.id })).toMatchObject({
      code: "CONTACT_ARCHIVED",
      xeroMessages: [expect.stringMatching(/archived/)],
    });
  });

  it("is a contact that Xero does not take", async () => {
    const participant = await saveParticipant(client, { email: "odd<one@example.com" });
    expect(await failure({ participantId: participant.id })).toMatchObject({
      code: "CONTACT_REJECTED",
      xeroMessages: [expect.stringMatching(/Email address must be valid/)],
    });
  });

  it("is an account that was archived since", async () => {
    await service.control("accounts/add", {
      code: "299",
      name: "Short-lived",
      type: "REVENUE",
      taxType: "EXEMPTOUTPUT",
    });
    await client.ask("mutation { refreshXeroData { enabled } }");
    const { xeroAccounts } = await client.ask<{ xeroAccounts: { accountId: string; code: string }[] }>(
      "{ xeroAccounts(use: REVENUE_ACCOUNTS) { accountId code } }",
    );
    const salesAccountId = xeroAccounts.find(({ code }) => code === "299")?.accountId;
    await service.control("accounts/archive", { account: "299" });
    const lineItems = [{ description: "Support", quantity: "1", unitAmount: "10", salesAccountId }];
    expect(await failure({ lineItems })).toMatchObject({
      code: "INVALID_MAPPING",
      xeroMessages: [expect.stringMatching(/299/)],
    });
  });

  it("is a tax rate that was deleted since", async () => {
    const components = [{ name: "Levy", rate: 4 }];
    await service.control("tax-rates/add", { taxType: "TAX044", name: "Levy", components });
    await client.ask("mutation { refreshXeroData { enabled } }");
    const { saveTaxRate } = await client.ask<{ saveTaxRate: { id: string } }>(
      'mutation { saveTaxRate(input: { name: "Levy", components: [{ name: "Levy", rate: "4" }] }) { id } }',
    );
    await client.ask('mutation ($id: ID!) { mapTaxRate(taxRateId: $id, xeroTaxType: "TAX044") { id } }', saveTaxRate);
    await service.control("tax-rates/delete", { taxType: "TAX044" });
    const lineItems = [{ description: "Support", quantity: "1", unitAmount: "10", taxRateId: saveTaxRate.id }];
    const error = await failure({ lineItems });
    expect(error?.code).toBe("INVALID_MAPPING");
    expect(error?.xeroMessages).toHaveLength(1);
  });

  it("is a right that the user who connected lacks", async () => {
    await service.control("role", { endpoint: "Invoices", allowed: false });
    const error = await failure();
    expect(error).toMatchObject({ code: "RECONNECT_REQUIRED" });
    expect(error?.resolution).toMatch(/right/);
    await service.control("role", { endpoint: "Invoices", allowed: true });
    expect((await syncedInvoice(client)).syncStatus).toBe("SYNCED");
  });

  async function organisation(): Promise<object | undefined> {
    const { xeroOrganisations } = await client.ask<{ xeroOrganisations: object[] }>(
      "{ xeroOrganisations { connectionStatus missingScopes statusReason } }",
    );
    return xeroOrganisations[0];
  }

  it("is everything once the organisation is disconnected", async () => {
    const { tenantId } =
      (await service.control<{ organisations: { tenantId: string }[] }>("state")).organisations[0] ?? {};
    const invoice = await saveInvoice(client);
    await service.control("disconnect", { tenantId });
    await syncInvoice(client, invoice.id);
    const { syncError } = await untilSync(client, invoice.id, "FAILED", "SYNCED");
    expect(syncError).toMatchObject({ code: "XERO_NOT_CONNECTED", retryable: false });
    expect(await organisation()).toMatchObject({
      connectionStatus: "DISCONNECTED",
      statusReason: expect.stringMatching(/disconnected/),
    });
    await service.control("consent/next", { organisations: [tenantId ?? ""] });
    await consent(client);
    await syncInvoice(client, invoice.id);
    expect((await untilSync(client, invoice.id, "SYNCED")).syncError).toBeNull();
  });

  it("is everything once the grant is revoked", async () => {
    const { tenantId } =
      (await service.control<{ organisations: { tenantId: string }[] }>("state")).organisations[0] ?? {};
    const invoice = await saveInvoice(client);
    await service.control("revoke", { accessToo: true });
    await runSql(service, "UPDATE xero_grant SET access_expires_at = now()");
    await syncInvoice(client, invoice.id);
    const { syncError } = await untilSync(client, invoice.id, "FAILED", "SYNCED");
    expect(syncError).toMatchObject({ code: "RECONNECT_REQUIRED", retryable: false });
    expect(await organisation()).toMatchObject({ connectionStatus: "RECONNECT_REQUIRED" });
    const { errors } = await client.send("mutation ($id: ID!) { syncInvoice(id: $id) { id } }", { id: invoice.id });
    expect(errors?.[0]?.extensions.code).toBe("XERO_NOT_CONNECTED");
    await service.control("consent/next", { organisations: [tenantId ?? ""] });
    await consent(client);
    await syncInvoice(client, invoice.id);
    expect((await untilSync(client, invoice.id, "SYNCED")).syncError).toBeNull();
  });
});

it("names the scope that the consent lacks", async () => {
  const scopes =
    "openid profile email offline_access accounting.invoices accounting.payments.read accounting.settings.read";
  const narrow = await startService({ environment: { XERO_SCOPES: scopes } });
  try {
    const admin = await narrow.client();
    await consent(admin);
    // As if the scope had been taken away after the consent, which knows at once what it lacks.
    const [link] = await runSql<{ id: string }>(
      narrow,
      "UPDATE connection SET connection_status = 'CONNECTED', missing_scopes = '{}' RETURNING id",
    );
    await admin.ask("mutation ($id: ID!) { selectXeroOrganisation(id: $id) { id } }", link);
    // Not by refreshXeroData, which reads contact groups too and so would meet the missing scope before any invoice.
    await until(
      async () =>
        (await admin.ask<{ xeroTaxRates: object[] | null }>("{ xeroTaxRates { name } }")).xeroTaxRates !== null,
    );
    await configure(admin);
    const { syncError } = await syncedInvoice(admin);
    expect(syncError).toMatchObject({ code: "RECONNECT_REQUIRED", retryable: false });
    const { xeroOrganisations } = await admin.ask<{ xeroOrganisations: object[] }>(
      "{ xeroOrganisations { connectionStatus missingScopes } }",
    );
    expect(xeroOrganisations).toEqual([
      { connectionStatus: "RECONNECT_REQUIRED", missingScopes: ["accounting.contacts"] },
    ]);
  } finally {
    await narrow.close();
  }
});

it("does not let one organisation that is slow hold up another", async () => {
  const two = await startService({ environment: { XERO_REQUEST_TIMEOUT: "15s", SYNC_LEASE: "16s" } });
  try {
    await two.control("organisations/add", { name: "Second Pty Ltd" });
    const slow = await two.readyClient("slow");
    const quick = await two.readyClient("quick");
    const { xeroOrganisations } = await slow.ask<{ xeroOrganisations: { tenantId: string }[] }>(
      "{ xeroOrganisations { tenantId } }",
    );
    const match = { method: "PUT", path: "/Invoices$", tenant: xeroOrganisations[0]?.tenantId };
    await two.control("hold", { name: "slow", match, phase: "before" });
    const invoices = await Promise.all([1, 2, 3, 4, 5].map(() => saveInvoice(slow)));
    for (const { id } of invoices) {
      await syncInvoice(slow, id);
      await untilSync(slow, id, "SYNCING", "QUEUED");
    }
    expect((await syncedInvoice(quick)).syncStatus).toBe("SYNCED");
    const statuses = await Promise.all(invoices.map(async ({ id }) => (await readInvoice(slow, id)).syncStatus));
    expect(statuses).not.toContain("UNCERTAIN");
    await two.control("release", { name: "slow" });
  } finally {
    await two.close();
  }
});

it("finishes invoices of new participants, however few calls a minute Xero allows", async () => {
  const narrow = await startService();
  try {
    const by = await narrow.readyClient();
    const invoices: InvoiceState[] = [];
    for (let n = 1; n <= 10; n += 1) {
      const participant = await saveParticipant(by, { name: `Newcomer ${n}`, email: `new${n}@example.com` });
      invoices.push(await saveInvoice(by, { participantId: participant.id }));
    }
    // Contacts are read, contacts are made, invoices are sent: one call a minute.
    await narrow.control("switches", { minuteLimit: 1 });
    await queueTogether(invoices, by);
    for (let minutes = 1; minutes <= 3; minutes += 1) {
      await narrow.control("clock/advance", { ms: 61_000 });
      await unblock(narrow);
      await until(async () => {
        const rows = await runSql<{ going: boolean }>(
          narrow,
          `SELECT NOT EXISTS (SELECT FROM tenant_limit WHERE blocked_until > now())
             AND EXISTS (SELECT FROM sync_attempt WHERE outcome <> 'CREATED') AS going`,
        );
        return rows[0]?.going === false;
      });
    }
    for (const { id: each } of invoices) {
      expect((await untilSync(by, each, "SYNCED", "FAILED")).syncStatus).toBe("SYNCED");
    }
  } finally {
    await narrow.close();
  }
});
