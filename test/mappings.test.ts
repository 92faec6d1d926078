/** Accounts and tax rates: what is offered and proposed, what becomes of invoices when Xero no longer has what was chosen, and who is billed. */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { alertsOf, inXeroOf, type Link, newLink, untilAlerts, untilDone, update } from "./support/links.js";
import { runSql, saveInvoice, saveParticipant, syncedInvoice, untilSync } from "./support/records.js";
import { type Service, startService } from "./support/service.js";

let service: Service;

beforeAll(async () => {
  service = await startService();
});

afterAll(() => service.close());

const refresh = "mutation { refreshXeroData { enabled } }";

/** A revenue account of the organisation's, made in Xero just now. */
async function newAccount({ tenantId, client }: Link, code: string): Promise<string> {
  const account = { code, name: `Supports ${code}`, type: "REVENUE", taxType: "EXEMPTOUTPUT" };
  await service.control("accounts/add", { tenantId, ...account });
  await client.ask(refresh);
  const { xeroAccounts } = await client.ask<{ xeroAccounts: { accountId: string; code: string }[] }>(
    "{ xeroAccounts(use: REVENUE_ACCOUNTS) { accountId code } }",
  );
  return xeroAccounts.find((each) => each.code === code)?.accountId ?? "";
}

async function saveItem(client: GraphqlClient, salesAccountId: string): Promise<string> {
  const { saveSupportItem } = await client.ask<{ saveSupportItem: { id: string } }>(
    "mutation ($input: SaveSupportItemInput!) { saveSupportItem(input: $input) { id } }",
    { input: { itemNumber: "01_011_0107_1_1", name: "Self-care", unit: "H", salesAccountId } },
  );
  return saveSupportItem.id;
}

const linesOf = (supportItemId: string) => [{ description: "Support", quantity: "1", unitAmount: "10", supportItemId }];

/** Runs all that is due, and waits until it is over. */
async function runNow(client: GraphqlClient, invoices: { id: string }[]) {
  await client.ask("mutation { runInvoiceSync { id } }");
  return Promise.all(invoices.map(({ id }) => untilSync(client, id, "SYNCED", "FAILED")));
}

describe("an account that Xero has archived since it was chosen", () => {
  it("fails only the invoices that use it, opens one alert that names them, and mending it queues them", async () => {
    const link = await newLink(service, "archived-account");
    const { client } = link;
    const item = await saveItem(client, await newAccount(link, "298"));
    const broken = [
      await saveInvoice(client, { lineItems: linesOf(item) }),
      await saveInvoice(client, { lineItems: linesOf(item) }),
    ];
    const good = await saveInvoice(client);
    await service.control("accounts/archive", { tenantId: link.tenantId, account: "298" });
    await client.ask(refresh);
    await service.control("calls/clear", {});
    const [first, second, third] = await runNow(client, [...broken, good]);
    expect([first?.syncError?.code, second?.syncError?.code, third?.syncError]).toEqual([
      "INVALID_MAPPING",
      "INVALID_MAPPING",
      null,
    ]);
    expect(first?.syncError?.message).toMatch(/^Line 1 .*Supports 298 is archived/);
    const [alert, ...more] = await alertsOf(client, "OPEN");
    expect(more).toEqual([]);
    expect(alert).toMatchObject({ kind: "MAPPING_BROKEN" });
    expect(alert?.message).toContain("Supports 298 is archived");
    for (const { number } of broken) expect(alert?.message).toContain(number);
    expect(alert?.message).not.toContain(good.number);
    // Once more, by hand: it is the same cause.
    await client.ask("mutation ($id: ID!) { syncInvoice(id: $id) { id } }", { id: broken[0]?.id });
    await untilAlerts(client, (alerts) => alerts.some(({ occurrences }) => occurrences > 1));
    expect(await alertsOf(client)).toHaveLength(1);
    await saveItem(client, await newAccount(link, "297"));
    for (const { id, number } of broken) {
      expect((await untilSync(client, id, "SYNCED")).syncError).toBeNull();
      expect(await inXeroOf(link, number)).toMatchObject([{ LineItems: [{ AccountCode: "297" }] }]);
    }
    await untilAlerts(client, (alerts) => alerts.every(({ state }) => state === "RESOLVED"));
  });

  it("queues what it kept back when it is there again in Xero", async () => {
    const link = await newLink(service, "restored-account");
    const { client } = link;
    const broken = await saveInvoice(client, {
      lineItems: linesOf(await saveItem(client, await newAccount(link, "298"))),
    });
    await service.control("accounts/archive", { tenantId: link.tenantId, account: "298" });
    await client.ask(refresh);
    await runNow(client, [broken]);
    await service.control("accounts/restore", { tenantId: link.tenantId, account: "298" });
    await client.ask(refresh);
    expect((await untilSync(client, broken.id, "SYNCED")).syncError).toBeNull();
    await untilAlerts(client, (alerts) => alerts.every(({ state }) => state === "RESOLVED"));
  });

  it("is told of in Xero's words where the copy of its data did not know, which is then read again", async () => {
    const link = await newLink(service, "unseen-archive");
    const { client } = link;
    const item = await saveItem(client, await newAccount(link, "298"));
    const broken = await saveInvoice(client, { lineItems: linesOf(item) });
    await service.control("accounts/archive", { tenantId: link.tenantId, account: "298" });
    const [failed] = await runNow(client, [broken]);
    expect(failed?.syncError?.code).toBe("INVALID_MAPPING");
    const [alert] = await alertsOf(client, "OPEN");
    expect(alert).toMatchObject({ kind: "MAPPING_BROKEN" });
    expect(alert?.message).toContain(failed?.syncError?.xeroMessages[0]);
    expect(alert?.message).toContain(broken.number);
  });
});

it("a tax rate that Xero has deleted fails only the invoices that use it, and one alert says so", async () => {
  const link = await newLink(service, "deleted-rate");
  const { client, tenantId } = link;
  await service.control("tax-rates/add", {
    tenantId,
    taxType: "TAX044",
    name: "Levy",
    components: [{ name: "Levy", rate: 4 }],
  });
  await client.ask(refresh);
  const { saveTaxRate } = await client.ask<{ saveTaxRate: { id: string } }>(
    'mutation { saveTaxRate(input: { name: "Levy", components: [{ name: "Levy", rate: "4" }] }) { id } }',
  );
  await client.ask('mutation ($id: ID!) { mapTaxRate(taxRateId: $id, xeroTaxType: "TAX044") { id } }', saveTaxRate);
  const lineItems = [{ description: "Support", quantity: "1", unitAmount: "10", taxRateId: saveTaxRate.id }];
  const broken = await saveInvoice(client, { lineItems });
  const good = await saveInvoice(client);
  await service.control("tax-rates/delete", { tenantId, taxType: "TAX044" });
  await client.ask(refresh);
  const { taxRates } = await client.ask<{ taxRates: { name: string; matchingXeroTaxRates: object[] }[] }>(
    "{ taxRates { name matchingXeroTaxRates { taxType } } }",
  );
  expect(taxRates.find(({ name }) => name === "Levy")?.matchingXeroTaxRates).toEqual([]);
  const [failed, synced] = await runNow(client, [broken, good]);
  expect([failed?.syncError?.code, synced?.syncError]).toEqual(["INVALID_MAPPING", null]);
  const alerts = await alertsOf(client, "OPEN");
  expect(alerts).toMatchObject([{ kind: "MAPPING_BROKEN" }]);
  expect(alerts[0]?.message).toMatch(new RegExp(`tax rate Levy .*${broken.number}`));
});

describe("tax rates", () => {
  it("are proposed as supports are normally taxed: GST Free Income, and GST on Income", async () => {
    const { client } = await newLink(service, "proposals");
    const { taxRates } = await client.ask<{
      taxRates: { name: string; matchingXeroTaxRates: { taxType: string }[] }[];
    }>("{ taxRates { name matchingXeroTaxRates { taxType } } }");
    const first = (name: string) => taxRates.find((rate) => rate.name === name)?.matchingXeroTaxRates[0]?.taxType;
    expect([first("GST free"), first("GST 10 %")]).toEqual(["EXEMPTOUTPUT", "OUTPUT"]);
  });

  it.each([
    [
      "a compound part by its effect",
      [
        { name: "a", rate: "10" },
        { name: "b", rate: "11" },
      ],
      true,
    ],
    [
      "a compound part as it is",
      [
        { name: "a", rate: "10" },
        { name: "b", rate: "10", compound: true },
      ],
      true,
    ],
    ["not the same sum of other parts", [{ name: "a", rate: "21" }], false],
    [
      "not another rate",
      [
        { name: "a", rate: "10" },
        { name: "b", rate: "10" },
      ],
      false,
    ],
  ])("match %s", async (title, components, matches) => {
    const link = await newLink(service, `compound: ${title}`, { setUp: false });
    const theirs = [
      { name: "a", rate: 10 },
      { name: "b", rate: 10, isCompound: true },
    ];
    await service.control("tax-rates/add", {
      tenantId: link.tenantId,
      taxType: "TAX045",
      name: "Two",
      components: theirs,
    });
    await link.client.ask(refresh);
    const { saveTaxRate } = await link.client.ask<{ saveTaxRate: { id: string; matchingXeroTaxRates: object[] } }>(
      "mutation ($input: SaveTaxRateInput!) { saveTaxRate(input: $input) { id matchingXeroTaxRates { taxType } } }",
      { input: { name: "Ours", components } },
    );
    expect(saveTaxRate.matchingXeroTaxRates).toEqual(matches ? [{ taxType: "TAX045" }] : []);
    const answer = await link.client.send(
      'mutation ($id: ID!) { mapTaxRate(taxRateId: $id, xeroTaxType: "TAX045") { id } }',
      { id: saveTaxRate.id },
    );
    expect(answer.errors?.[0]?.extensions.code).toBe(matches ? undefined : "TAX_RATE_MISMATCH");
    if (!matches) expect(answer.errors?.[0]?.message).toMatch(/Ours is .* %.*Two in Xero is 21/);
  });
});

it("an organisation without an account for payments is answered with how to enable them in Xero", async () => {
  const link = await newLink(service, "no-payments", { setUp: false });
  await untilDone(link);
  await runSql(service, "UPDATE account SET payments_enabled = false WHERE workspace_id = $1", [link.workspace]);
  const { errors, data } = await link.client.send<{ xeroAccounts: null }>(
    "{ xeroAccounts(use: PAYMENT_ACCOUNTS) { name } }",
  );
  expect(data).toEqual({ xeroAccounts: null });
  expect(errors?.[0]).toMatchObject({
    message: expect.stringMatching(/Enable payments to this account/),
    extensions: { code: "ACCOUNT_NOT_ALLOWED" },
  });
});

describe("the agency-managed", () => {
  it("are billed to the NDIA once that is wanted, and the first line says for whom", async () => {
    const link = await newLink(service, "agency");
    const { client } = link;
    const person = { name: "Agnes Agency", ndisNumber: "430000009", planManagement: "AGENCY_MANAGED" };
    const participant = await saveParticipant(client, person);
    const invoice = await syncedInvoice(client, { participantId: participant.id });
    expect(invoice.syncError?.code).toBe("INVALID_INVOICE");
    await update(client, { sendAgencyManaged: true });
    // What was kept back goes by itself.
    expect((await untilSync(client, invoice.id, "SYNCED")).syncError).toBeNull();
    expect(await inXeroOf(link, invoice.number)).toMatchObject([
      {
        Contact: { Name: "National Disability Insurance Agency" },
        LineItems: [{ Description: "Participant: Agnes Agency, NDIS number 430000009" }, { Description: "Support" }],
      },
    ]);
    await update(client, { sendAgencyManaged: false });
    await update(client, { sendAgencyManaged: true });
    const { participants } = await client.ask<{ participants: { nodes: object[] } }>(
      '{ participants(search: "NDIA") { nodes { name contactNumber planManagement } } }',
    );
    expect(participants.nodes).toEqual([
      { name: "National Disability Insurance Agency", contactNumber: "NDIA", planManagement: "NOT_NDIS" },
    ]);
    await update(client, { sendAgencyManaged: false });
    const kept = await syncedInvoice(client, { participantId: participant.id });
    expect(kept.syncError).toMatchObject({
      code: "INVALID_INVOICE",
      resolution: expect.stringContaining("sendAgencyManaged"),
    });
  });

  it("are billed to the participant with the number NDIA where there is one already", async () => {
    const link = await newLink(service, "own-ndia");
    const { client } = link;
    await saveParticipant(client, { name: "NDIA (own)", contactNumber: "NDIA", planManagement: "NOT_NDIS" });
    await update(client, { sendAgencyManaged: true });
    const participant = await saveParticipant(client, { planManagement: "AGENCY_MANAGED" });
    const { number } = await syncedInvoice(client, { participantId: participant.id });
    expect(await inXeroOf(link, number)).toMatchObject([{ Contact: { Name: "NDIA (own)" } }]);
  });
});
