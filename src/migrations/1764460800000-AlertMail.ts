import { type MigrationInterface, type QueryRunner } from "typeorm";

/** Alerts reach people: to whom, what a digest names, and the outbox of mails. */
export class AlertMail1764460800000 implements MigrationInterface {
  name = "AlertMail1764460800000";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE integration ADD alert_emails text[] NOT NULL DEFAULT '{}';
      ALTER TABLE alert ADD emailed_at timestamptz(3), ADD details jsonb;
      CREATE TABLE mail (
        workspace_id text NOT NULL,
        id uuid NOT NULL,
        alert_id uuid NOT NULL,
        occasion text NOT NULL,
        address text NOT NULL,
        state text NOT NULL DEFAULT 'PENDING',
        tries integer NOT NULL DEFAULT 0,
        created_at timestamptz(3) NOT NULL DEFAULT now(),
        not_before timestamptz,
        lease_id uuid,
        lease_until timestamptz,
        sent_at timestamptz(3),
        problem text,
        CONSTRAINT pk_mail PRIMARY KEY (workspace_id, id),
        CONSTRAINT fk_mail_alert FOREIGN KEY (workspace_id, alert_id) REFERENCES alert(workspace_id,id)
      );
      CREATE UNIQUE INDEX uq_mail_occasion ON mail (workspace_id, alert_id, occasion, address);
      CREATE INDEX ix_mail_pending ON mail (workspace_id, id) WHERE state = 'PENDING';
      ALTER TABLE mail ENABLE ROW LEVEL SECURITY;
      CREATE POLICY own_workspace ON mail USING (workspace_id = nullif(current_setting('app.workspace_id', true), ''));
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE mail;
      ALTER TABLE alert DROP emailed_at, DROP details;
      ALTER TABLE integration DROP alert_emails;
    `);
  }
}
