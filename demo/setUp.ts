/** What an administrator does on the first morning: connect to Xero, choose accounts, map tax rates. Used by the demo and by the tests. */
import { type GraphqlClient } from "./graphqlClient.js";

interface Choice {
  accounts: { accountId: string; code: string | null; name: string }[];
  payments: { accountId: string; code: string | null; name: string }[];
  taxRates: { id: string; name: string; matchingXeroTaxRates: { taxType: string; name: string }[] }[];
}

/** Follows the consent as a browser would: Xero's page, its redirect to our callback, and ours to the app. Answers where it ends. */
export async function consent(client: GraphqlClient): Promise<URL> {
  const { connectXero } = await client.ask<{ connectXero: { authorizationUrl: string } }>(
    "mutation { connectXero { authorizationUrl } }",
  );
  let address = connectXero.authorizationUrl;
  for (let hop = 0; hop < 2; hop += 1) {
    const response = await fetch(address, { redirect: "manual" });
    const location = response.headers.get("location");
    if (location === null) throw new Error(`${new URL(address).pathname} answered ${response.status} and no redirect`);
    address = new URL(location, address).href;
  }
  return new URL(address);
}

/** Chooses the NDIS income account, an account for payments, and the tax rates' counterparts. Answers what was chosen, in words. */
export async function configure(client: GraphqlClient): Promise<string[]> {
  const choice = await client.ask<Choice>(`{
    accounts: xeroAccounts(use: REVENUE_ACCOUNTS) { accountId code name }
    payments: xeroAccounts(use: PAYMENT_ACCOUNTS) { accountId code name }
    taxRates { id name matchingXeroTaxRates { taxType name } }
  }`);
  const sales = choice.accounts.find(({ code }) => code === "201") ?? choice.accounts[0];
  const payment = choice.payments[0];
  const free = choice.taxRates.find(({ name }) => name === "GST free");
  if (!sales || !payment || !free) throw new Error("the organisation lacks an account to choose");
  const said = [`lines go to ${sales.code ?? ""} ${sales.name}`, `payments to ${payment.code ?? ""} ${payment.name}`];
  for (const rate of choice.taxRates) {
    const wanted = rate.name === "GST free" ? "EXEMPTOUTPUT" : "OUTPUT";
    const match = rate.matchingXeroTaxRates.find(({ taxType }) => taxType === wanted);
    if (!match) throw new Error(`the organisation has no match for ${rate.name}`);
    await client.ask("mutation ($id: ID!, $type: ID) { mapTaxRate(taxRateId: $id, xeroTaxType: $type) { id } }", {
      id: rate.id,
      type: match.taxType,
    });
    said.push(`${rate.name} is ${match.name}`);
  }
  await client.ask("mutation ($input: UpdateIntegrationInput!) { updateIntegration(input: $input) { enabled } }", {
    input: { salesAccountId: sales.accountId, paymentAccountId: payment.accountId, defaultTaxRateId: free.id },
  });
  const { integration } = await client.ask<{ integration: { missingSetup: string[] } }>(
    "{ integration { missingSetup } }",
  );
  if (integration.missingSetup.length > 0) throw new Error(`set-up still lacks ${integration.missingSetup.join(", ")}`);
  return said;
}
