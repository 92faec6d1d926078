/**
 * Payments both ways at once while Xero refuses, is slow and answers nobody: in the end the books on both sides follow from each other, and what was
 * made here is in Xero once.
 */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { Big } from "big.js";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { Bookkeeping, planned } from "./support/bookkeeping.js";
import { differences, type OurInvoice, type OurPayment, ourBooks, type XeroBooks, xeroBooks } from "./support/books.js";
import { invoicesInXero } from "./support/bulk.js";
import { alertsOf, type Link, newLink, until, update } from "./support/links.js";
import { change, paymentsInXero, recordPayment, scopesToPush, untilPayment } from "./support/payments.js";
import { runSql, syncedInvoice } from "./support/records.js";
import { type Service, startService } from "./support/service.js";
import { atOnce, untilApplied } from "./support/storms.js";

/** Scaled down with everything else, so that what takes minutes is seen within seconds. */
const scaled = {
  XERO_SCOPES: scopesToPush,
  XERO_REQUEST_TIMEOUT: "1s",
  SYNC_LEASE: "1500ms",
  PAYMENT_CATCH_UP_EVERY: "20s",
};

/** Share of the calls that pay which Xero fails, by kind; of those that delete or read it is a part of that. */
const failing = {
  "lost-answer": 0.12,
  "lost-request": 0.06,
  "500-after-write": 0.1,
  "503-unavailable": 0.06,
  "504-while-working": 0.06,
  "429-minute": 0.05,
};

async function stir(service: Service, seed: number): Promise<void> {
  const fail = (fault: string, probability: number, more: object): Promise<unknown> =>
    service.control("faults", { fault, probability, seed, retryAfterSeconds: 1, ms: 700, ...more });
  // Longer than we wait, and shorter than we wait before we look what became of it.
  for (const phase of ["before", "after"]) await fail("slow", 0.03, { match: { path: "/Payments" }, ms: 1_200, phase });
  for (const [index, [fault, share]] of Object.entries(failing).entries()) {
    await fail(fault, share, { match: { method: "PUT", path: "/Payments" }, seed: seed + index });
    await fail(fault, share / 2, { match: { method: "POST", path: "/Payments" }, seed: seed + index });
    if (fault === "504-while-working") continue;
    await fail(fault, share / 4, { match: { method: "GET", path: "/(Payments|Invoices)" }, seed: seed + index });
  }
  await fail("slow", 0.1, { match: { path: "/Payments" }, ms: 100 });
}

/** Once at most so many payments are on their way. */
async function untilSent({ service, workspace }: Link, atMost = 0): Promise<void> {
  const left = (): Promise<object[]> =>
    runSql(
      service,
      "SELECT * FROM payment WHERE workspace_id = $1 AND sync_status IN ('QUEUED', 'SYNCING', 'UNCERTAIN')",
      [workspace],
    );
  await until(async () => (await left()).length <= atMost).catch(async (cause: unknown) => {
    throw new Error(`on their way still: ${JSON.stringify((await left()).slice(0, 5))}`, { cause });
  });
}

/** Once no payment is on its way any more, and all that was told is applied. */
async function untilSettled(link: Link): Promise<void> {
  await untilSent(link);
  await link.service.control("webhooks/drain", {});
  await untilApplied(link);
}

/** Once the poll, whose time is made to come, is through. */
async function untilPolled({ service, workspace }: Link): Promise<void> {
  await runSql(service, "UPDATE payment_poll SET due_at = now() WHERE workspace_id = $1", [workspace]);
  await until(async () => {
    const [row] = await runSql<{ over: boolean }>(
      service,
      `SELECT due_at > now() AND since IS NULL AND NOT EXISTS (SELECT FROM graphile_worker.jobs WHERE starts_with(key, $1 || ':poll:')) AS over
       FROM payment_poll WHERE workspace_id = $1`,
      [workspace],
    );
    return row?.over === true;
  });
}

/** In words, every payment that was made here and is not in Xero as it should be, and every one in Xero that nobody made. */
function strays(ours: OurInvoice[], { payments }: XeroBooks, { madeInXero }: Bookkeeping): string[] {
  const records = ours.flatMap((invoice) => invoice.payments);
  const own = new Map(records.filter(({ source }) => source === "PLATFORM").map((payment) => [payment.id, payment]));
  const problems: string[] = [];
  for (const { PaymentID, Reference } of payments) {
    if (madeInXero.has(PaymentID) === own.has(Reference))
      problems.push(`${PaymentID} (${Reference}) is nobody's in Xero`);
  }
  for (const { id, source, syncStatus } of records) {
    if (source !== "PLATFORM" && syncStatus !== "NOT_SYNCED")
      problems.push(`${id} came from Xero and is ${syncStatus}`);
  }
  for (const { id, paid, syncStatus, syncError, xeroPaymentId } of own.values()) {
    const there = payments.filter(({ Reference }) => Reference === id);
    const says = `${id} is ${paid ? "" : "not "}paid and ${syncStatus} (${syncError?.message ?? ""}), there it is ${JSON.stringify(there.map(({ PaymentID, Status }) => [PaymentID, Status]))}`;
    const [one] = there;
    if (there.length > 1) problems.push(`${says}: twice`);
    if (one?.PaymentID !== (xeroPaymentId ?? undefined)) problems.push(`${says}: not linked`);
    if (syncStatus === "SYNCED" && one?.Status !== (paid ? "AUTHORISED" : "DELETED")) problems.push(says);
    if (syncStatus === "NOT_SYNCED" && one) problems.push(says);
    if (syncStatus === "FAILED" && (syncError === null || one?.Status === "DELETED")) problems.push(says);
  }
  return problems;
}

/** Now that nothing changes any more, a cent more than is due is too much, of each. */
async function refusesTooMuch(client: GraphqlClient, ours: OurInvoice[]): Promise<void> {
  for (const { id, amountDue } of ours.filter(({ status }) => status === "PARTIALLY_PAID")) {
    const input = {
      invoiceId: id,
      amount: new Big(amountDue).plus("0.01").toFixed(2),
      paymentDate: "2026-11-20T00:00:00Z",
    };
    const { errors } = await client.send(
      "mutation ($input: RecordPaymentInput!) { recordPayment(input: $input) { id } }",
      { input },
    );
    expect(errors?.[0]?.extensions).toMatchObject({ code: "BAD_USER_INPUT", fields: [{ field: "input.amount" }] });
  }
}

interface Case {
  when: string;
  seed: number;
  invoices: number;
  steps: number;
  environment: Record<string, string>;
  switches: object;
}

describe.each([
  { when: "Xero knows keys", seed: 71, invoices: 200, steps: 2_000, environment: {}, switches: {} },
  {
    when: "Xero forgets keys within seconds",
    seed: 1_072,
    invoices: 100,
    steps: 1_000,
    environment: { XERO_KEY_LIFE: "2s" },
    switches: { idempotencyLifetimeMs: 2_500 },
  },
] as Case[])(
  "payments in a storm, while $when (seed $seed)",
  ({ seed, invoices: count, steps, environment, switches }) => {
    let service: Service;
    let link: Link;
    let client: GraphqlClient;

    beforeAll(async () => {
      service = await startService({ environment: { ...scaled, ...environment } });
      link = await newLink(service, "storm");
      ({ client } = link);
    });

    afterAll(() => service.close());

    it("are the same on both sides, and each of ours is in Xero once", async () => {
      const invoices = await invoicesInXero(link, count, { total: "1000.00" });
      await service.control("switches", {
        ...switches,
        webhookDuplicates: 1,
        webhookShuffle: true,
        webhookBatchSize: 20,
      });
      const plan = planned(seed, { steps, invoices: count });
      const books = new Bookkeeping(link, invoices);
      const [before, during] = [plan.slice(0, steps / 20), plan.slice(steps / 20)];
      await atOnce(8, before, (step) => books.do(step));
      await update(client, { pushPayments: true });
      await stir(service, seed);
      while (during.length > 0) {
        await atOnce(3, during.splice(0, 80), (step) => books.do(step));
        // No faster than it is sent, so that more of it goes by itself.
        await untilSent(link, 15);
      }
      const faults = await service.control<{ hits: number; match: { method?: string } }[]>("faults");
      await service.control("faults/clear", {});
      const hits = faults.map((fault) => (["PUT", "POST"].includes(fault.match.method ?? "") ? fault.hits : 0));
      // Else it has shown nothing.
      expect(hits.reduce((sum, more) => sum + more)).toBeGreaterThan(steps / 500);
      // Some minutes later what met with maintenance is tried again by itself; here they are over at once.
      await runSql(
        service,
        "UPDATE payment SET push_not_before = now() - interval '6 s' WHERE push_not_before > now() + interval '1 min'",
      );
      await untilSettled(link);
      await untilPolled(link);
      await untilSettled(link);
      const [ours, theirs] = await Promise.all([ourBooks(client), xeroBooks(link)]);
      expect(ours).toHaveLength(count);
      expect(differences(ours, theirs)).toEqual([]);
      expect(strays(ours, theirs, books)).toEqual([]);
      expect((await alertsOf(client, "OPEN")).map(({ kind }) => kind)).toEqual([]);
      const all = ours.flatMap((invoice) => invoice.payments);
      const keptHere = ({ source, paid, include, syncStatus }: OurPayment): boolean =>
        source === "PLATFORM" && paid && include && syncStatus === "NOT_SYNCED";
      expect(all.filter(keptHere).length).toBeGreaterThan(0);
      await refusesTooMuch(client, ours);
    }, 180_000);
  },
);

it("a payment that is left out while it is on its way, and does not arrive, stays here until it counts again", async () => {
  const service = await startService({ environment: scaled });
  try {
    const client = await service.readyClient();
    await update(client, { pushPayments: true });
    const invoice = await syncedInvoice(client);
    const match = { method: "PUT", path: "/Payments$" };
    await service.control("hold", { name: "put", match, times: 1 });
    await service.control("faults", { match, fault: "503-unavailable", times: 1 });
    const { id } = await recordPayment(client, invoice.id);
    await service.control("hold/await", { name: "put" });
    await change(client, "setPaymentIncluded", id, { include: false });
    await service.control("release", { name: "put" });
    await untilPayment(client, invoice.id, id, ({ syncStatus }) => syncStatus === "NOT_SYNCED");
    expect(await paymentsInXero(service, id)).toEqual([]);
    await change(client, "setPaymentIncluded", id, { include: true });
    await untilPayment(client, invoice.id, id, ({ syncStatus }) => syncStatus === "SYNCED");
    expect(await paymentsInXero(service, id)).toMatchObject([{ Status: "AUTHORISED" }]);
  } finally {
    await service.close();
  }
}, 30_000);
