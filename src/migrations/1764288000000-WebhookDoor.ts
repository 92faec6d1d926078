import { type MigrationInterface, type QueryRunner } from "typeorm";

/** When an event last came, and what the list of events is read by. */
export class WebhookDoor1764288000000 implements MigrationInterface {
  name = "WebhookDoor1764288000000";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE webhook_event ADD touched_at timestamptz NOT NULL DEFAULT now();
      UPDATE webhook_event SET touched_at = received_at;
      CREATE INDEX ix_webhook_event_list ON webhook_event (workspace_id, received_at, id);
      CREATE INDEX ix_webhook_event_failed ON webhook_event (workspace_id, received_at, id) WHERE status = 'FAILED';
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP INDEX ix_webhook_event_list, ix_webhook_event_failed;
      ALTER TABLE webhook_event DROP touched_at;
    `);
  }
}
