/** People are told: of what, to whom, how often, and what is never in it. A real mail server on loopback takes the mails. */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { type GraphqlClient } from "../demo/graphqlClient.js";
import { Mailbox, type ReceivedMail } from "../demo/Mailbox.js";
import { withoutPeople } from "../src/services/alerts/failedSyncs.js";
import { alertsOf, idle, killGrant, type Link, newLink, until, update } from "./support/links.js";
import { runSql, saveInvoice, saveParticipant, syncInvoice, untilSync } from "./support/records.js";
import { type Service, startService } from "./support/service.js";

let service: Service;
let refuse: (to: string) => Promise<void> = () => Promise.resolve();
const mailbox = new Mailbox({ beforeMail: (to) => refuse(to) });

beforeAll(async () => {
  await mailbox.start();
  service = await startService({
    environment: {
      SMTP_URL: mailbox.url,
      MAIL_FROM: "Ledgerline <alerts@ledgerline.example>",
      APP_URL: "https://app.example.com",
      CONNECTION_WARN_AFTER: "45d",
      // How often the sweep looks follows from the shortest period.
      PAYMENT_CATCH_UP_EVERY: "2s",
      SYNC_LEASE: "6s",
    },
  });
});

afterAll(async () => {
  await service.close();
  await mailbox.stop();
});

const mailsTo = (address: string): ReceivedMail[] => mailbox.mails.filter(({ to }) => to === address);

/** The mails to the address, once there are so many. */
async function untilMails(address: string, count: number): Promise<ReceivedMail[]> {
  await until(() => Promise.resolve(mailsTo(address).length >= count));
  return mailsTo(address);
}

async function withMails(name: string, ...addresses: string[]): Promise<Link> {
  const link = await newLink(service, name);
  await update(link.client, { alertEmails: addresses });
  return link;
}

/** So many invoices of the agency-managed, which are refused here before any call. */
async function failing(client: GraphqlClient, count: number): Promise<{ ids: string[]; participantId: string }> {
  const { id: participantId } = await saveParticipant(client, { planManagement: "AGENCY_MANAGED" });
  const ids: string[] = [];
  for (let index = 0; index < count; index += 1) ids.push((await saveInvoice(client, { participantId })).id);
  return { ids, participantId };
}

const syncAll = (client: GraphqlClient, ids: string[]) =>
  client.ask<{ syncInvoices: { id: string } }>("mutation ($ids: [ID!]!) { syncInvoices(ids: $ids) { id } }", { ids });

describe("a run that leaves invoices behind", () => {
  it("makes one mail per address, however many they are, and one more when they are mended", async () => {
    const link = await withMails("two hundred", "one@example.com", "two@example.com");
    const { client, workspace } = link;
    const { ids, participantId } = await failing(client, 1);
    await runSql(
      service,
      `WITH made AS (INSERT INTO invoice (workspace_id, id, number, participant_id, status, date, due_date, currency, line_amount_types, subtotal, total_tax, total,
                            amount_due, created_at, updated_at)
         SELECT workspace_id, gen_random_uuid(), 'BULK-' || lpad(n::text, 3, '0'), participant_id, status, date, due_date, currency, line_amount_types, subtotal, total_tax,
                total, amount_due, now(), now() FROM invoice, generate_series(1, 199) n WHERE workspace_id = $1 RETURNING id)
       INSERT INTO line_item (workspace_id, id, invoice_id, position, description, quantity, unit_amount, tax_rate_id, tax_percent, tax_amount, line_amount)
       SELECT l.workspace_id, gen_random_uuid(), made.id, 1, l.description, l.quantity, l.unit_amount, l.tax_rate_id, l.tax_percent, l.tax_amount, l.line_amount
       FROM made, line_item l WHERE l.workspace_id = $1`,
      [workspace],
    );
    await client.ask("mutation { runInvoiceSync { id } }");
    const [mail, ...others] = await untilMails("one@example.com", 1);
    expect(others).toEqual([]);
    expect(await untilMails("two@example.com", 1)).toHaveLength(1);
    expect(mail?.subject).toBe("Ledgerline: Invoices could not be synced with Xero");
    expect(mail?.text).toContain("200 invoices could not be synced with Xero");
    for (const number of ["BULK-001", "BULK-100", "BULK-199"]) {
      expect(mail?.text).toContain(number);
      expect(mail?.html).toContain(number);
    }
    expect(mail?.text).toContain(`https://app.example.com/invoices/${ids[0] ?? ""}`);
    expect(mail?.text).toMatch(/agency|plan management/i);
    const [alert] = await alertsOf(client, "OPEN");
    expect(alert).toMatchObject({ kind: "SYNC_FAILED", occurrences: 1 });
    // The same ones again: counted, and nobody is told once more.
    await syncAll(client, ids);
    await until(async () => (await alertsOf(client, "OPEN"))[0]?.occurrences === 2);
    expect(await alertsOf(client)).toHaveLength(1);
    await client.ask("mutation ($input: SaveParticipantInput!) { saveParticipant(input: $input) { id } }", {
      input: { id: participantId, name: "Mended", planManagement: "SELF_MANAGED" },
    });
    const [, resolved] = await untilMails("one@example.com", 2);
    expect(resolved?.subject).toBe("Ledgerline: resolved: Invoices could not be synced with Xero");
    expect(resolved?.text).toContain("200 invoices could not be synced");
    await untilMails("two@example.com", 2);
    expect(await alertsOf(client, "OPEN")).toEqual([]);
    expect(mailbox.mails.filter(({ to }) => /^(one|two)@/.test(to))).toHaveLength(4);
    const { alerts } = await client.ask<{ alerts: { nodes: { emailedAt: string | null }[] } }>(
      "{ alerts { nodes { emailedAt } } }",
    );
    expect(alerts.nodes[0]?.emailedAt).not.toBeNull();
  });

  it("says nothing of a person but the participant's number, whatever Xero's words hold", async () => {
    const link = await withMails("private", "private@example.com");
    const participant = await saveParticipant(link.client, {
      name: "Canary Participant",
      firstName: "Canary",
      lastName: "Participant",
      email: "canary@participant.example",
      phone: "0400 123 456",
      ndisNumber: "430123456",
    });
    const lines = [{ description: "Wound care for Canary", quantity: "1", unitAmount: "10.00" }];
    const { id } = await saveInvoice(link.client, { participantId: participant.id, lineItems: lines });
    // Somebody else in Xero has the name, and is archived with the number, so that Xero's refusal quotes it.
    await service.control("contacts/add", {
      tenantId: link.tenantId,
      contact: { Name: "Canary Participant", ContactNumber: participant.contactNumber },
    });
    await service.control("contacts/archive", { tenantId: link.tenantId, contactNumber: participant.contactNumber });
    await syncInvoice(link.client, id);
    await untilSync(link.client, id, "FAILED");
    const [mail] = await untilMails("private@example.com", 1);
    for (const secret of ["Canary", "canary@", "0400", "430123456", "Wound"]) expect(mail?.raw).not.toContain(secret);
    expect(mail?.text).not.toContain("Canary");
  });

  it("is no news where the link is lost, which another alert tells, and no mail goes where nobody wants any", async () => {
    const link = await withMails("lost", "lost@example.com");
    const { id } = await saveInvoice(link.client);
    await killGrant(link);
    await syncInvoice(link.client, id);
    const [mail] = await untilMails("lost@example.com", 1);
    expect(mail?.subject).toBe("Ledgerline: The link to Xero is lost");
    await untilSync(link.client, id, "FAILED");
    expect((await alertsOf(link.client)).map(({ kind }) => kind)).toEqual(["CONNECTION_LOST"]);
    expect(mailsTo("lost@example.com")).toHaveLength(1);
  });

  it("resolves too when what it names is voided or taken out of the sync", async () => {
    const link = await withMails("voided", "voided@example.com");
    const { ids } = await failing(link.client, 2);
    await syncAll(link.client, ids);
    await untilMails("voided@example.com", 1);
    await link.client.ask("mutation ($id: ID!) { voidInvoice(id: $id) { id } }", { id: ids[0] });
    await link.client.ask("mutation ($id: ID!) { setInvoiceIgnored(id: $id, ignored: true) { id } }", { id: ids[1] });
    const other = await saveInvoice(link.client);
    await syncInvoice(link.client, other.id);
    await untilSync(link.client, other.id, "SYNCED");
    expect((await untilMails("voided@example.com", 2))[1]?.subject).toContain("resolved");
  });
});

describe("sixty days without activity", () => {
  it("make one warning and one farewell", async () => {
    const link = await withMails("idle", "idle@example.com");
    await idle(link, 46);
    const [warning] = await untilMails("idle@example.com", 1);
    expect(warning?.subject).toBe("Ledgerline: The link to Xero is about to be ended");
    await idle(link, 61);
    const [, farewell] = await untilMails("idle@example.com", 2);
    expect(farewell?.subject).toBe("Ledgerline: The link to Xero was ended");
    await until(async () => (await runSql(service, "SELECT 1 FROM mail WHERE state = 'PENDING'")).length === 0);
    expect(mailsTo("idle@example.com")).toHaveLength(2);
  });
});

describe("what should have been in Xero long since", () => {
  it("is told by its age, and that it is there at last", async () => {
    const watched = await startService({
      environment: {
        SMTP_URL: mailbox.url,
        MAIL_FROM: "alerts@ledgerline.example",
        SYNC_OVERDUE_AFTER: "4s",
        PAYMENT_CATCH_UP_EVERY: "2s",
      },
    });
    try {
      const client = await watched.readyClient();
      await update(client, { alertEmails: ["overdue@example.com"] });
      const old = await saveInvoice(client);
      await update(client, { syncOnApproval: true, schedule: { enabled: false } });
      const [mail] = await untilMails("overdue@example.com", 1);
      expect(mail?.subject).toBe("Ledgerline: Something should have been in Xero long ago");
      expect(mail?.text).toContain(old.number);
      await syncInvoice(client, old.id);
      const [, resolved, ...others] = await untilMails("overdue@example.com", 2);
      expect(resolved?.subject).toContain("resolved: Something should have been in Xero");
      expect(others).toEqual([]);
    } finally {
      await watched.close();
    }
  });
});

describe("a mail", () => {
  const open = (link: Link, words: string) =>
    runSql(service, "UPDATE connection SET name = $3 WHERE workspace_id = $1 AND id = $2", [
      link.workspace,
      link.id,
      words,
    ]);

  it("is safe against what a name may hold, in header, text and HTML", async () => {
    const link = await withMails("evil", "evil@example.com");
    await open(link, 'Evil <script>alert("x")</script>\r\nBcc: victim@example.com');
    await idle(link, 46);
    const [mail] = await untilMails("evil@example.com", 1);
    expect(mail?.html).toContain("&lt;script&gt;");
    expect(mail?.html).not.toContain("<script>");
    const [head = ""] = (mail?.raw ?? "").split("\r\n\r\n");
    expect(head).not.toMatch(/^bcc:/im);
    expect(mailsTo("victim@example.com")).toEqual([]);
    expect(head).toMatch(/^auto-submitted: auto-generated/im);
  });

  it("is tried again while the mail server is down, and then comes once", async () => {
    const link = await withMails("down", "down@example.com");
    await mailbox.stop();
    await idle(link, 46);
    await until(
      async () =>
        (await runSql(service, "SELECT 1 FROM mail WHERE workspace_id = $1 AND tries > 0", [link.workspace])).length >
        0,
    );
    await mailbox.start();
    await untilMails("down@example.com", 1);
    await until(async () => (await runSql(service, "SELECT 1 FROM mail WHERE state = 'PENDING'")).length === 0);
    expect(mailsTo("down@example.com")).toHaveLength(1);
  });

  it("that the server refuses for good is given up, and keeps no other back", async () => {
    const link = await withMails("refused", "nobody@example.com", "somebody@example.com");
    refuse = (to) =>
      to === "nobody@example.com"
        ? Promise.reject(Object.assign(new Error("no such user"), { responseCode: 550 }))
        : Promise.resolve();
    await idle(link, 46);
    await untilMails("somebody@example.com", 1);
    const state = async () =>
      (
        await runSql<{ state: string }>(
          service,
          "SELECT state FROM mail WHERE workspace_id = $1 AND address = 'nobody@example.com'",
          [link.workspace],
        )
      )[0]?.state;
    await until(async () => {
      await runSql(service, "UPDATE mail SET not_before = now() WHERE workspace_id = $1 AND not_before > now()", [
        link.workspace,
      ]);
      return (await state()) === "FAILED";
    });
    expect(mailsTo("nobody@example.com")).toEqual([]);
    refuse = () => Promise.resolve();
  });

  it.each([
    ["no address", "nobody"],
    ["two", "a@example.com, b@example.com"],
    ["a header", "a@example.com\r\nBcc: b@example.com"],
    ["a name before it", "A <a@example.com>"],
    ["half of one", "a@"],
  ])("is not asked for at %s", async (_name, address) => {
    const client = await service.client("admin", "two hundred");
    await expect(update(client, { alertEmails: ["ok@example.com", address] })).rejects.toThrow(/alertEmails\[1\]/);
  });
});

it("people are taken out of words whatever the case, the longest first, and no part of another word", () => {
  const words = ["Ann Lee", "Ann", "ann@example.com", null, ""];
  expect(withoutPeople('Contact "ANN  LEE" (ann@example.com) of Annandale, +61 400 123 456', words, "P-1")).toBe(
    'Contact "P-1" (P-1) of Annandale, P-1',
  );
});
