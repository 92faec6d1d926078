/**
 * Mails between the outbox and the mail server: workers are killed in just that moment, twenty times, and in the end every mail has been taken once.
 */
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { Mailbox } from "../demo/Mailbox.js";
import { Rig, until } from "../bench/rig.js";
import { type FreshDatabase, freshDatabase } from "./support/database.js";

const onPostgres = process.env.DATABASE_URL !== undefined;
if (!onPostgres) process.stdout.write("mailKills: skipped, the embedded database takes one process only.\n");

const kills = 20;
const addresses = Array.from({ length: 10 }, (_, index) => `person${index}@example.com`);
const alerts = 6;

/** On a machine that does much else at the same time. */
const patienceMs = 240_000;

(onPostgres ? describe : describe.skip)("mails while workers are killed", () => {
  let database: FreshDatabase;
  let rig: Rig;
  let killed = 0;
  let beforeMail: () => Promise<void> = () => Promise.resolve();
  const mailbox = new Mailbox({ beforeMail: () => beforeMail() });

  beforeAll(async () => {
    database = await freshDatabase();
    await mailbox.start();
    rig = await Rig.start({
      database,
      workers: 1,
      environment: {
        SMTP_URL: mailbox.url,
        MAIL_FROM: "alerts@ledgerline.example",
        XERO_REQUEST_TIMEOUT: "700ms",
        SYNC_LEASE: "800ms",
        PAYMENT_CATCH_UP_EVERY: "2s",
      },
    });
  }, patienceMs);

  afterAll(async () => {
    await rig.close();
    await mailbox.stop();
    await database.drop();
  });

  it(
    "are all taken, and none twice",
    async () => {
      const member = await rig.addMember("killed");
      const { workspaceId, client } = member;
      await client.ask("mutation ($input: UpdateIntegrationInput!) { updateIntegration(input: $input) { enabled } }", {
        input: { alertEmails: addresses },
      });
      // The mail is in the server's hands and not taken yet, and whoever brings it is gone.
      beforeMail = async () => {
        if (killed >= kills) return;
        killed += 1;
        await rig.workers[0]?.kill();
        rig.replaceWorker(0);
        throw Object.assign(new Error("the sender is gone"), { responseCode: 451 });
      };
      const { saveParticipant } = await client.ask<{ saveParticipant: { id: string } }>(
        'mutation { saveParticipant(input: { name: "Somebody", planManagement: AGENCY_MANAGED }) { id } }',
      );
      for (let index = 0; index < alerts; index += 1) {
        const { saveInvoice } = await client.ask<{ saveInvoice: { id: string } }>(
          "mutation ($input: SaveInvoiceInput!) { saveInvoice(input: $input) { id } }",
          {
            input: {
              participantId: saveParticipant.id,
              date: "2026-11-16",
              dueDate: "2026-11-30",
              lineItems: [{ description: "x", quantity: 1, unitAmount: 1 }],
            },
          },
        );
        await client.ask("mutation ($id: ID!) { approveInvoice(id: $id) { id } syncInvoice(id: $id) { id } }", {
          id: saveInvoice.id,
        });
      }
      const count = async (state: string): Promise<number> =>
        (await rig.sql.query("SELECT 1 FROM mail WHERE workspace_id = $1 AND state = $2", [workspaceId, state])).rows
          .length;
      const wanted = alerts * addresses.length;
      const isOver = async () => (await count("SENT")) === wanted && (await count("PENDING")) === 0;
      expect(await until(isOver, { withinMs: patienceMs })).toBe(true);
      expect(killed).toBe(kills);
      expect(mailbox.mails).toHaveLength(wanted);
      expect(new Set(mailbox.mails.map(({ messageId }) => messageId)).size).toBe(wanted);
      for (const address of addresses) {
        expect(mailbox.mails.filter(({ to }) => to === address)).toHaveLength(alerts);
      }
      expect(rig.health().deaths).toBe(0);
    },
    patienceMs,
  );
});
