/**
 * Owns the checks of webhook deliveries: bytes and signature, what announces what, retries, intent to receive
 * (docs/xero-facts.md section 10). Wording that no source records is matched loosely.
 */
import { createHmac } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "@jest/globals";
import { at, listAt, startHarness, type Harness } from "./harness.js";

interface Got {
  readonly body: string;
  readonly isSigned: boolean;
}

let x: Harness;
let receiver: Server;
let got: Got[] = [];
/** How the receiver answers; by default as Xero wants it. */
let answer: { status: number; body?: string; cookie?: boolean; hangs?: boolean } | undefined;

beforeAll(async () => {
  receiver = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks).toString();
      const signature = createHmac("sha256", x.sandbox.webhookKey).update(body).digest("base64");
      const isSigned = request.headers["x-xero-signature"] === signature;
      got.push({ body, isSigned });
      if (answer?.hangs) return;
      response.writeHead(answer?.status ?? (isSigned ? 200 : 401), answer?.cookie ? { "Set-Cookie": "a=b" } : {});
      response.end(answer?.body);
    });
  });
  await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/webhooks/xero`;
  x = await startHarness({ webhookUrl: url });
});

beforeEach(async () => {
  answer = undefined;
  await x.control("webhooks/flush", {});
  got = [];
});

afterAll(async () => {
  receiver.closeAllConnections();
  receiver.close();
  await x.close();
});

let count = 0;
const addContact = async (): Promise<string> => {
  const added = await x.api("PUT", "Contacts", { Name: `Person ${++count}` });
  return String(at(added.body, "Contacts.0.ContactID"));
};
const addInvoice = async (): Promise<string> => {
  const LineItems = [{ Description: "x", UnitAmount: 20, AccountCode: "201" }];
  const added = await x.api("PUT", "Invoices", {
    Type: "ACCREC",
    Contact: { ContactID: await addContact() },
    DueDate: "2027-01-01",
    Status: "AUTHORISED",
    LineItems,
  });
  return String(at(added.body, "Invoices.0.InvoiceID"));
};
const drain = () => x.control("webhooks/drain", {});
const events = () => got.flatMap((one) => listAt(JSON.parse(one.body), "events"));
const kinds = () => events().map((event) => `${String(at(event, "eventCategory"))} ${String(at(event, "eventType"))}`);

describe("a delivery", () => {
  it("is signed over bytes that nobody would print, and says what happened", async () => {
    const id = await addContact();
    await drain();
    const { body, isSigned } = got[0] ?? { body: "", isSigned: false };
    expect(isSigned).toBe(true);
    expect(JSON.stringify(JSON.parse(body))).not.toBe(body);
    expect(JSON.parse(body)).toEqual({
      events: [
        {
          resourceUrl: `https://api.xero.com/api.xro/2.0/Contacts/${id}`,
          resourceId: id,
          tenantId: x.tenantId,
          tenantType: "ORGANISATION",
          eventCategory: "CONTACT",
          eventType: "CREATE",
          eventDateUtc: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}$/),
        },
      ],
      firstEventSequence: expect.any(Number),
      lastEventSequence: expect.any(Number),
      entropy: expect.stringMatching(/^[A-Z]{20}$/),
    });
  });

  it("follows the app's own writes and what people do", async () => {
    const id = await addInvoice();
    await drain();
    expect(kinds()).toEqual(["CONTACT CREATE", "INVOICE CREATE"]);
    got = [];
    await x.control("invoices/edit", { invoiceId: id, changes: { Reference: "R" } });
    await x.control("invoices/void", { invoiceId: id });
    await x.control("contacts/archive", { contactId: await addContact() });
    await drain();
    expect(kinds()).toEqual(["INVOICE UPDATE", "INVOICE UPDATE", "CONTACT CREATE", "CONTACT UPDATE"]);
  });

  it.each([
    [["INVOICE"], ["INVOICE UPDATE"]],
    [["PAYMENT"], ["PAYMENT CREATE"]],
    [
      ["INVOICE", "PAYMENT"],
      ["INVOICE UPDATE", "PAYMENT CREATE"],
    ],
    [[], []],
  ])("of a payment comes as %j when switched so", async (paymentEvents, expected) => {
    await x.control("switches", { paymentEvents });
    const invoiceId = await addInvoice();
    await drain();
    got = [];
    await x.control("pay", { invoiceId });
    await drain();
    expect(kinds()).toEqual(expected);
    await x.control("switches", { paymentEvents: ["INVOICE"] });
  });

  it("of a credit carries its type and status", async () => {
    const invoiceId = await addInvoice();
    await drain();
    got = [];
    await x.control("credit", { invoiceId, kind: "OVERPAYMENT" });
    await drain();
    expect(kinds().sort()).toEqual(["INVOICE UPDATE", "OVERPAYMENT CREATE"]);
    expect(events().find((event) => at(event, "eventCategory") === "OVERPAYMENT")).toMatchObject({
      data: { Type: "RECEIVE-OVERPAYMENT", Status: "PAID" },
    });
  });

  it("of a contact group's change is a switch", async () => {
    const contactId = await addContact();
    await drain();
    got = [];
    await x.control("groups/add", { name: "Quiet", contactIds: [contactId] });
    await x.control("switches", { groupEvents: true });
    await x.control("groups/add", { name: "Loud", contactIds: [contactId] });
    await drain();
    expect(kinds()).toEqual(["CONTACT UPDATE"]);
  });

  it("does not come for a call that was refused, a category not asked for, or an organisation not connected", async () => {
    await x.api("PUT", "Contacts", { Contacts: [{ Name: "Never" }, { Name: "City Agency" }] });
    await x.control("webhooks", { categories: ["INVOICE"] });
    await addContact();
    await x.control("webhooks", { categories: ["CONTACT", "INVOICE", "OVERPAYMENT"] });
    const tenantId = at(await x.control("organisations/add", {}), "tenantId");
    await x.control("contacts/add", { tenantId, contact: { Name: "Elsewhere" } });
    await drain();
    expect(kinds()).toEqual([]);
  });

  it("may mix organisations, and comes again, and out of order, when switched so", async () => {
    const tenantId = String(at(await x.control("organisations/add", { name: "Mixed" }), "tenantId"));
    await x.control("consent/next", { organisations: [tenantId] });
    await x.consent();
    await x.control("switches", { webhookPaused: true, webhookDuplicates: 1, webhookShuffle: true });
    await addContact();
    await x.control("contacts/add", { tenantId, contact: { Name: "Other" } });
    for (let number = 0; number < 20; number += 1)
      await x.control("contacts/edit", { tenantId, name: "Other", changes: {} });
    await drain();
    expect(got).toEqual([]);
    await x.control("switches", { webhookPaused: false });
    await drain();
    expect(got).toHaveLength(2);
    expect(got[1]).toEqual(got[0]);
    expect(new Set(events().map((event) => at(event, "tenantId")))).toEqual(new Set([x.tenantId, tenantId]));
    const dates = listAt(JSON.parse(got[0]?.body ?? ""), "events").map((event) => String(at(event, "eventDateUtc")));
    expect(dates).not.toEqual([...dates].sort());
    await x.control("switches", { webhookDuplicates: 0, webhookShuffle: false });
  });
});

describe("a receiver", () => {
  it.each([
    ["answers 500", { status: 500 }],
    ["answers with a body", { status: 200, body: "ok" }],
    ["sets a cookie", { status: 200, cookie: true }],
    ["does not answer in time", { status: 200, hangs: true }],
  ])("that %s gets it again at once, then on flush, and later events wait in order", async (_name, how) => {
    answer = how;
    if ("hangs" in how) await x.control("switches", { webhookTimeoutMs: 20 });
    const first = await addContact();
    expect(await drain()).toMatchObject({ state: "RETRYING", waiting: 1 });
    expect(got).toHaveLength(2);
    const second = await addContact();
    expect(await drain()).toMatchObject({ state: "RETRYING", waiting: 2 });
    answer = undefined;
    got = [];
    await x.control("switches", { webhookTimeoutMs: 5000 });
    expect(await x.control("webhooks/flush", {})).toMatchObject({ state: "HEALTHY", waiting: 0 });
    expect(events().map((event) => at(event, "resourceId"))).toEqual([first, second]);
  });

  it("that fails for a day is disabled until it passes the intent to receive, then hears everything", async () => {
    answer = { status: 503 };
    const contactId = await addContact();
    await drain();
    await x.control("clock/advance", { ms: 24 * 60 * 60_000 + 1 });
    expect(await x.control("webhooks/flush", {})).toMatchObject({ state: "DISABLED" });
    answer = undefined;
    expect(await x.control("webhooks/flush", {})).toMatchObject({ state: "DISABLED", waiting: 1 });
    got = [];
    expect(await x.control("webhooks/intent-to-receive", {})).toMatchObject({ passed: true });
    expect(got.map((one) => one.isSigned).sort()).toEqual([false, false, true, true]);
    expect(got.map((one) => listAt(JSON.parse(one.body), "events"))).toEqual([[], [], [], []]);
    expect(await drain()).toMatchObject({ state: "HEALTHY", waiting: 0 });
    expect(events().map((event) => at(event, "resourceId"))).toEqual([contactId]);
  });

  it.each([{ status: 200 }, { status: 401 }])("that answers all alike with %j does not pass", async (how) => {
    answer = how;
    expect(await x.control("webhooks/intent-to-receive", {})).toMatchObject({ passed: false });
  });

  it("can be sent anything, and old deliveries again", async () => {
    const event = { tenantId: "unknown", resourceId: "r", eventCategory: "NEW", eventType: "UPDATE" };
    expect(await x.control("webhooks/send", { events: [event] })).toMatchObject({ status: 200 });
    expect(await x.control("webhooks/send", { events: [event], signature: "wrong" })).toMatchObject({ status: 401 });
    expect(await x.control("webhooks/send", { body: "{}", signature: "none" })).toMatchObject({ status: 401 });
    await x.control("clock/advance", { ms: 0 });
    const { access_token: token } = await x.consent();
    await x.api("PUT", "Contacts", { Name: "Replayed" }, { token });
    await drain();
    const last = got.at(-1);
    await x.control("webhooks/replay", { last: 1 });
    expect(got.at(-1)).toEqual(last);
    expect(listAt(await x.control("deliveries"), "deliveries").length).toBeGreaterThan(0);
  });
});
