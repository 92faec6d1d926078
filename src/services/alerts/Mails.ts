/**
 * Sends the outbox, mail by mail. Each is claimed under a lease first, and noted as sent after the server has taken it; a process that dies
 * in between leaves it to whoever finds the lease run out. The one moment that no sender can close is between the server's word and our note of it: the
 * mail then goes out again as it was, with the same Message-ID, by which mail servers and readers know a copy.
 */
import { randomUUID } from "node:crypto";
import { createTransport, type Transporter } from "nodemailer";
import { type Database, type WorkspaceTransaction } from "../../database.js";
import { Alert } from "../../entities/Alert.js";
import { Mail } from "../../entities/Mail.js";
import { enqueue } from "../../jobs/queue.js";
import { type Logger, messageOf } from "../../logger.js";
import { record } from "../../subscriptions/eventLog.js";
import { mailText } from "./mailText.js";

export interface MailOptions {
  /** Null: no mail is sent. */
  smtpUrl: string | null;
  from: string;
  appUrl: () => string;
  leaseMs: number;
  logger: Logger;
}

const atOnce = 20;

/** A mail server that is down is tried for days; one that refuses the address not so long. */
const mostTries = 100;
const mostRefusals = 5;
const longestWaitMs = 3_600_000;

export class Mails {
  private readonly transport: Transporter | null;

  constructor(
    private readonly database: Database,
    private readonly options: MailOptions,
  ) {
    const timeouts = { connectionTimeout: 10_000, greetingTimeout: 10_000, socketTimeout: 20_000 };
    this.transport =
      options.smtpUrl === null
        ? null
        : createTransport({ url: options.smtpUrl, pool: true, maxConnections: 2, ...timeouts });
  }

  /** Sends all mails of the workspace that are due; safe to run any number of times at once. */
  async send(workspaceId: string): Promise<void> {
    const { transport } = this;
    if (!transport) {
      await this.database.inWorkspace(workspaceId, (tx) =>
        tx.manager.update(Mail, { workspaceId, state: "PENDING" }, { state: "UNSENT" }),
      );
      return;
    }
    for (;;) {
      const leaseId = randomUUID();
      const claimed = await this.database.inWorkspace(workspaceId, (tx) => claim(tx, leaseId, this.options.leaseMs));
      if (claimed.length === 0) return;
      for (const mail of claimed) await this.sendOne(transport, mail);
    }
  }

  /** Lets go of the mail server. */
  close(): void {
    this.transport?.close();
  }

  private async sendOne(transport: Transporter, mail: Mail): Promise<void> {
    const { workspaceId } = mail;
    const alert = await this.database.inWorkspace(workspaceId, async (tx) =>
      (await stillOurs(tx, mail, this.options.leaseMs))
        ? tx.manager.findOneBy(Alert, { workspaceId, id: mail.alertId })
        : null,
    );
    if (!alert) return;
    const { from, appUrl } = this.options;
    try {
      await transport.sendMail({
        ...mailText(alert, mail.occasion, appUrl()),
        from,
        to: { name: "", address: mail.address },
        date: mail.createdAt,
        messageId: `<${mail.id}@${from.slice(from.lastIndexOf("@") + 1).replace(/[^\w.-]/g, "")}>`,
        headers: { "Auto-Submitted": "auto-generated" },
        disableFileAccess: true,
        disableUrlAccess: true,
      });
    } catch (error) {
      await this.note(mail, (tx) => this.putOff(tx, mail, error));
      return;
    }
    await this.note(mail, async (tx) => {
      await tx.manager.update(
        Mail,
        { workspaceId, id: mail.id },
        { state: "SENT", sentAt: new Date(), leaseUntil: null, problem: null },
      );
      const rows: unknown = await tx.manager.query(
        "UPDATE alert SET emailed_at = now() WHERE workspace_id = $1 AND id = $2 AND emailed_at IS NULL RETURNING 1",
        [workspaceId, mail.alertId],
      );
      if ((rows as [unknown[]])[0].length > 0) record(tx, { topic: "ALERT", alertId: mail.alertId });
    });
  }

  /** One step of a mail that this process holds; nothing where it no longer does. */
  private async note(
    { workspaceId, id, leaseId }: Mail,
    work: (tx: WorkspaceTransaction) => Promise<void>,
  ): Promise<void> {
    await this.database.inWorkspace(workspaceId, async (tx) => {
      const where = { workspaceId, id, leaseId: leaseId ?? "", state: "PENDING" as const };
      if (await tx.manager.findOne(Mail, { where, lock: { mode: "pessimistic_write" } })) await work(tx);
    });
  }

  private async putOff(tx: WorkspaceTransaction, { workspaceId, id, tries }: Mail, error: unknown): Promise<void> {
    const { responseCode } = error as { responseCode?: unknown };
    const refused = typeof responseCode === "number" && responseCode >= 500;
    const problem = (refused ? `the mail server refused it: ${responseCode}` : messageOf(error)).slice(0, 200);
    const isOver = tries + 1 >= (refused ? mostRefusals : mostTries);
    this.options.logger[isOver ? "error" : "warn"]({ mailId: id, tries: tries + 1, problem }, "a mail was not taken");
    if (isOver) {
      await tx.manager.update(
        Mail,
        { workspaceId, id },
        { state: "FAILED", tries: tries + 1, problem, leaseUntil: null },
      );
      return;
    }
    const waitMs = Math.min(longestWaitMs, 1_000 * 2 ** Math.min(tries, 20)) * (0.5 + Math.random() / 2);
    const rows: unknown = await tx.manager.query(
      `UPDATE mail SET tries = tries + 1, problem = $3, lease_until = NULL, not_before = now() + $4 * interval '1 ms'
       WHERE workspace_id = $1 AND id = $2 RETURNING not_before AS at`,
      [workspaceId, id, problem, waitMs],
    );
    const [[row]] = rows as [[{ at: Date }]];
    enqueue(tx, "mail", { workspaceId }, { runAt: row.at });
  }
}

/** Whether nobody has taken the mail over meanwhile, and nobody will while it is sent. */
async function stillOurs(tx: WorkspaceTransaction, { id, leaseId }: Mail, leaseMs: number): Promise<boolean> {
  const rows: unknown = await tx.manager.query(
    `UPDATE mail SET lease_until = now() + $4 * interval '1 ms'
     WHERE workspace_id = $1 AND id = $2 AND lease_id = $3 AND state = 'PENDING' AND lease_until > now() RETURNING 1`,
    [tx.workspaceId, id, leaseId, leaseMs],
  );
  return (rows as [unknown[]])[0].length > 0;
}

/** Takes some of what is due, the oldest first, so that nobody hears of an end before the beginning. */
async function claim(tx: WorkspaceTransaction, leaseId: string, leaseMs: number): Promise<Mail[]> {
  const { workspaceId } = tx;
  await tx.manager.query(
    `UPDATE mail m SET lease_id = $2, lease_until = now() + $3 * interval '1 ms'
     FROM (SELECT id FROM mail p WHERE workspace_id = $1 AND state = 'PENDING' AND (not_before IS NULL OR not_before <= now())
             AND (lease_until IS NULL OR lease_until <= now())
             AND (occasion = 'OPENED' OR NOT EXISTS (SELECT FROM mail o WHERE o.workspace_id = $1 AND o.alert_id = p.alert_id
                    AND o.address = p.address AND o.occasion = 'OPENED' AND o.state = 'PENDING'))
           ORDER BY created_at, id LIMIT $4 FOR UPDATE SKIP LOCKED) due
     WHERE m.workspace_id = $1 AND m.id = due.id`,
    [workspaceId, leaseId, leaseMs, atOnce],
  );
  return tx.manager.find(Mail, {
    where: { workspaceId, leaseId, state: "PENDING" },
    order: { createdAt: "ASC", id: "ASC" },
  });
}
