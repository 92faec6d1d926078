/** What no webhook told of: the poll finds all of it, however much has changed in one moment, and whatever comes in between its pages. */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { differences, type OurInvoice, ourBooks, xeroBooks } from "./support/books.js";
import { type BulkInvoice, invoicesInXero } from "./support/bulk.js";
import { callsOf, type Link, newLink, until } from "./support/links.js";
import { runSql } from "./support/records.js";
import { type Service, startService } from "./support/service.js";
import { atOnce } from "./support/storms.js";

const lists = { method: "GET", path: "/Invoices$" };

let service: Service;
let link: Link;
/** 250, in the order in which Xero lists them: on three pages. */
let invoices: BulkInvoice[];

beforeAll(async () => {
  // A second stands for a quarter of an hour.
  service = await startService({ environment: { PAYMENT_CATCH_UP_EVERY: "1s" } });
  await service.control("webhooks", { categories: [] });
  link = await newLink(service, "poll");
  invoices = (await invoicesInXero(link, 250, { each: 250 })).sort((a, b) => (a.xeroId < b.xeroId ? -1 : 1));
}, 60_000);

afterAll(() => service.close());

/** Pays a part of each. */
async function pay(which: BulkInvoice[], amount: string): Promise<void> {
  const { tenantId } = link;
  await atOnce(8, which, ({ xeroId }) => service.control("pay", { tenantId, invoiceId: xeroId, amount }));
}

/** Once so much is known to be paid: seen in the database only. */
function untilPaidInAll(total: string): Promise<void> {
  return until(async () => {
    const paid = "SELECT sum(total_payment_amount)::text AS paid FROM invoice WHERE workspace_id = $1";
    return (await runSql<{ paid: string }>(service, paid, [link.workspace]))[0]?.paid === total;
  });
}

/** The books, which must be the same on both sides. */
async function sameBooks(): Promise<OurInvoice[]> {
  const [ours, theirs] = await Promise.all([ourBooks(link.client), xeroBooks(link)]);
  expect(ours).toHaveLength(250);
  expect(differences(ours, theirs)).toEqual([]);
  return ours;
}

/** Which pages were asked for, and how that ended, the oldest first. */
async function pagesRead(): Promise<string[]> {
  const calls = await callsOf(service, lists);
  return calls.map(({ query, status }) => `${new URLSearchParams(query).get("page") ?? ""} ${status}`);
}

describe("while no webhook comes", () => {
  it("200 payments are found, and where they came from is told", async () => {
    for (let wave = 0; wave < 10; wave += 1) {
      await service.control("calls/clear", {});
      await pay(invoices.slice(wave * 20, wave * 20 + 20), "10.00");
      // So that polls come before, between and after them.
      await until(async () => (await pagesRead()).length > 0);
    }
    await untilPaidInAll("2000.00");
    const payments = (await sameBooks()).flatMap((invoice) => invoice.payments);
    expect(payments).toHaveLength(200);
    expect(new Set(payments.map(({ source }) => source))).toEqual(new Set(["XERO_POLL"]));
  }, 90_000);

  it("250 invoices that changed in the same moment are found, on three pages", async () => {
    // All are one contact's, so they change together when it is merged with another.
    const { tenantId } = link;
    const before = [...(await xeroBooks(link)).invoices.values()];
    await service.control("calls/clear", {});
    const { ContactID } = await service.control<{ ContactID: string }>("contacts/add", {
      tenantId,
      contact: { Name: "Heir" },
    });
    await service.control("contacts/merge", {
      tenantId,
      fromContactId: before[0]?.Contact.ContactID,
      intoContactId: ContactID,
    });
    const after = [...(await xeroBooks(link)).invoices.values()];
    expect(new Set(after.map(({ UpdatedDateUTCString }) => UpdatedDateUTCString)).size).toBe(1);
    await until(async () => {
      const told =
        "SELECT count(*)::integer AS told FROM invoice WHERE workspace_id = $1 AND xero_warnings::text LIKE '%to Heir%'";
      return (await runSql<{ told: number }>(service, told, [link.workspace]))[0]?.told === 250;
    });
    expect(await pagesRead()).toContain("3 200");
    await sameBooks();
  }, 90_000);

  it("payments that are deleted are found too", async () => {
    const { payments } = await xeroBooks(link);
    const gone = payments.filter((_payment, index) => index % 2 === 0);
    await atOnce(8, gone, ({ PaymentID }) => service.control("unpay", { paymentId: PaymentID }));
    await untilPaidInAll("1000.00");
    const unpaid = (await sameBooks()).flatMap((invoice) => invoice.payments).filter(({ paid }) => !paid);
    const ids = unpaid.map(({ xeroPaymentId }) => xeroPaymentId);
    expect(ids.sort()).toEqual(gone.map(({ PaymentID }) => PaymentID).sort());
  }, 90_000);

  it("a poll that is refused between its pages goes on where it was, and what changed meanwhile is found by the next", async () => {
    await holdFirstPage();
    await pay(invoices, "2.00");
    await service.control("calls/clear", {});
    await service.control("faults", { match: lists, fault: "429-minute", times: 1, retryAfterSeconds: 2 });
    await service.control("release", { name: "page" });
    await until(async () => (await pagesRead()).includes("2 429"));
    // They stand on the page that is through.
    await pay(invoices.slice(0, 20), "0.50");
    await untilPaidInAll("1510.00");
    expect((await pagesRead()).slice(0, 4)).toEqual(["2 429", "2 200", "3 200", "1 200"]);
    await sameBooks();
    const { delivered } = await service.control<{ delivered: number }>("webhooks/drain", {});
    expect(delivered).toBe(0);
  }, 90_000);
});

/** Makes the first page of a poll wait before Xero looks at it. */
function holdFirstPage(): Promise<void> {
  return until(async () => {
    await service.control("hold", { name: "page", match: lists, times: 1 });
    await service.control("hold/await", { name: "page" });
    const [page] = (await pagesRead()).filter((read) => read.endsWith("in progress"));
    if (page === "1 in progress") return true;
    await service.control("release", { name: "page" });
    return false;
  });
}
