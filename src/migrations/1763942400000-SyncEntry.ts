import { type MigrationInterface, type QueryRunner } from "typeorm";

/** What decides which invoices are sent by themselves and when, and the count of calls within Xero's limits. */
export class SyncEntry1763942400000 implements MigrationInterface {
  name = "SyncEntry1763942400000";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE integration
        ADD sync_start_date date,
        ADD sync_on_approval boolean NOT NULL DEFAULT false,
        ADD schedule_enabled boolean NOT NULL DEFAULT false,
        ADD schedule_cron text NOT NULL DEFAULT '0 * * * *',
        ADD schedule_time_zone text,
        ADD schedule_next_run_at timestamptz(3);
      ALTER TABLE sync_attempt ADD priority smallint NOT NULL DEFAULT '0';
      DROP INDEX ix_sync_attempt_due;
      CREATE INDEX ix_sync_attempt_due ON sync_attempt (workspace_id, connection_id, priority, id) WHERE outcome = 'PENDING' AND batch_id IS NULL;
      CREATE INDEX ix_integration_schedule ON integration (schedule_next_run_at) WHERE schedule_enabled;
      ALTER TABLE tenant_limit
        ADD recent timestamptz[] NOT NULL DEFAULT '{}',
        ADD flights jsonb NOT NULL DEFAULT '{}',
        ADD minute_limit integer NOT NULL DEFAULT '60',
        ADD day_limit integer NOT NULL DEFAULT '0',
        ADD day_remaining integer,
        ADD day_seen_at timestamptz(3);
      CREATE INDEX ix_invoice_unsent ON invoice (workspace_id, id) WHERE xero_id IS NULL AND sync_status IN ('NOT_SYNCED', 'FAILED');
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP INDEX ix_invoice_unsent, ix_integration_schedule, ix_sync_attempt_due;
      ALTER TABLE tenant_limit DROP recent, DROP flights, DROP minute_limit, DROP day_limit, DROP day_remaining, DROP day_seen_at;
      ALTER TABLE sync_attempt DROP priority;
      CREATE INDEX ix_sync_attempt_due ON sync_attempt (workspace_id, connection_id, id) WHERE outcome = 'PENDING' AND batch_id IS NULL;
      ALTER TABLE integration DROP sync_start_date, DROP sync_on_approval, DROP schedule_enabled, DROP schedule_cron,
        DROP schedule_time_zone, DROP schedule_next_run_at;
    `);
  }
}
