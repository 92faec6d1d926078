/** Payments as a client app records and watches them. */
import { type GraphqlClient } from "../../demo/graphqlClient.js";
import { type Service } from "./service.js";

export interface PaymentState {
  id: string;
  type: string;
  source: string;
  paid: boolean;
  include: boolean;
  paymentDate: string;
  paidOn: string;
  amount: string;
  reference: string | null;
  financeExternalId: string | null;
  xeroPaymentId: string | null;
  syncStatus: string;
  syncError: { code: string; message: string; resolution: string; xeroMessages: string[] } | null;
}

/** What a consent must be asked for so that payments may be sent. */
export const scopesToPush =
  "openid profile email offline_access accounting.invoices accounting.payments accounting.contacts accounting.settings.read";

const fields = `id type source paid include paymentDate paidOn amount reference financeExternalId xeroPaymentId syncStatus
  syncError { code message resolution xeroMessages }`;

/** Records a payment of 40.00 unless told otherwise. */
export async function recordPayment(
  client: GraphqlClient,
  invoiceId: string,
  input: object = {},
): Promise<PaymentState> {
  const answer = await client.ask<{ recordPayment: PaymentState }>(
    `mutation ($input: RecordPaymentInput!) { recordPayment(input: $input) { ${fields} } }`,
    { input: { invoiceId, amount: "40.00", paymentDate: "2026-11-20T03:00:00Z", ...input } },
  );
  return answer.recordPayment;
}

type Change = "reversePayment" | "retryPayment" | "setPaymentIncluded" | "setPaymentPaid";

/** Does one of these with a payment. */
export async function change(
  client: GraphqlClient,
  what: Change,
  id: string,
  { include, paid }: { include?: boolean; paid?: boolean } = {},
): Promise<PaymentState> {
  const [type, argument, value] =
    include !== undefined
      ? [", $v: Boolean!", ", include: $v", include]
      : paid !== undefined
        ? [", $v: Boolean!", ", paid: $v", paid]
        : ["", "", undefined];
  const answer = await client.ask<Record<Change, PaymentState>>(
    `mutation ($id: ID!${type}) { ${what}(id: $id${argument}) { ${fields} } }`,
    { id, ...(value !== undefined && { v: value }) },
  );
  return answer[what];
}

/** The invoice's payments. */
export async function paymentsOf(client: GraphqlClient, invoiceId: string): Promise<PaymentState[]> {
  const { invoice } = await client.ask<{ invoice: { payments: PaymentState[] } }>(
    `query ($id: ID!) { invoice(id: $id) { payments { ${fields} } } }`,
    { id: invoiceId },
  );
  return invoice.payments;
}

/** The payment once it looks as wanted, looked at after each of its invoice's payment events from the log's beginning. */
export async function untilPayment(
  client: GraphqlClient,
  invoiceId: string,
  id: string,
  wanted: (payment: PaymentState) => boolean,
): Promise<PaymentState> {
  const events = client.watch<unknown>('subscription ($id: ID!) { payments(invoiceId: $id, after: "0") { cursor } }', {
    id: invoiceId,
  });
  for await (const _event of events) {
    const payment = (await paymentsOf(client, invoiceId)).find((each) => each.id === id);
    if (payment && wanted(payment)) return payment;
  }
  throw new Error("the subscription ended");
}

export interface XeroPayment {
  PaymentID: string;
  Reference: string;
  Status: string;
  Amount: number;
  Date: string;
  Account: { AccountID: string; Code?: string };
}

/** The stand-in's payments that carry this reference. */
export async function paymentsInXero(service: Service, reference: string): Promise<XeroPayment[]> {
  return (await service.control<XeroPayment[]>("payments")).filter(({ Reference }) => Reference === reference);
}
