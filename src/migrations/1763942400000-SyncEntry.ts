import { type MigrationInterface, type QueryRunner } from "typeorm";

/** What decides which invoices are sent by themselves and when, what a batch is made of, the mirror of contacts, and the count of calls. */
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
      ALTER TABLE sync_attempt
        ADD priority smallint NOT NULL DEFAULT '0',
        ADD action text NOT NULL DEFAULT 'CREATE',
        ADD contact_id uuid,
        ADD revision integer,
        ADD resent boolean NOT NULL DEFAULT false;
      DROP INDEX ix_sync_attempt_due;
      CREATE INDEX ix_sync_attempt_due ON sync_attempt (workspace_id, connection_id, priority, id) WHERE outcome = 'PENDING' AND batch_id IS NULL;
      CREATE INDEX ix_webhook_event_received ON webhook_event (workspace_id, connection_id, received_at);
      CREATE INDEX ix_sync_attempt_resent ON sync_attempt (workspace_id, connection_id, finished_at) WHERE resent;
      CREATE INDEX ix_sync_attempt_live_run ON sync_attempt (workspace_id, run_id) WHERE outcome IN ('PENDING', 'UNCERTAIN');
      ALTER TABLE sync_batch
        ADD method text NOT NULL DEFAULT 'PUT',
        ADD sent_at timestamptz(3) NOT NULL DEFAULT now();
      ALTER TABLE invoice
        ADD revision integer NOT NULL DEFAULT '0',
        ADD sent_revision integer NOT NULL DEFAULT '0',
        ADD void_requested boolean NOT NULL DEFAULT false,
        ADD recheck_at timestamptz(3);
      ALTER TABLE contact_link ADD warnings text[] NOT NULL DEFAULT '{}';
      ALTER TABLE connection
        ADD period_lock_date date,
        ADD end_of_year_lock_date date;
      CREATE TABLE contact_mirror (
        workspace_id text NOT NULL,
        connection_id uuid NOT NULL,
        changed_until timestamptz,
        read_at timestamptz,
        lease_id uuid,
        lease_until timestamptz(3),
        CONSTRAINT pk_contact_mirror PRIMARY KEY (workspace_id, connection_id),
        CONSTRAINT fk_contact_mirror_connection FOREIGN KEY (workspace_id, connection_id) REFERENCES connection(workspace_id,id)
      );
      CREATE TABLE xero_contact (
        workspace_id text NOT NULL,
        connection_id uuid NOT NULL,
        contact_id uuid NOT NULL,
        contact_number text,
        name text NOT NULL,
        first_name text,
        last_name text,
        email text,
        phone text,
        status text NOT NULL,
        merged_to_contact_id uuid,
        name_key text NOT NULL,
        CONSTRAINT pk_xero_contact PRIMARY KEY (workspace_id, connection_id, contact_id),
        CONSTRAINT fk_xero_contact_connection FOREIGN KEY (workspace_id, connection_id) REFERENCES connection(workspace_id,id)
      );
      CREATE INDEX ix_xero_contact_number ON xero_contact (workspace_id, connection_id, contact_number);
      CREATE INDEX ix_xero_contact_name ON xero_contact (workspace_id, connection_id, name_key);
      CREATE INDEX ix_invoice_recheck ON invoice (workspace_id, connection_id, recheck_at) WHERE recheck_at IS NOT NULL;
      CREATE INDEX ix_integration_schedule ON integration (schedule_next_run_at) WHERE schedule_enabled;
      ALTER TABLE tenant_limit
        ADD recent timestamptz[] NOT NULL DEFAULT '{}',
        ADD flights jsonb NOT NULL DEFAULT '{}',
        ADD minute_limit integer NOT NULL DEFAULT '60',
        ADD day_limit integer NOT NULL DEFAULT '0',
        ADD day_remaining integer,
        ADD day_seen_at timestamptz(3);
      CREATE INDEX ix_invoice_unsent ON invoice (workspace_id, id) WHERE sync_status IN ('NOT_SYNCED', 'FAILED');
    `);
    for (const table of ["contact_mirror", "xero_contact"]) {
      await runner.query(`ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY`);
      await runner.query(
        `CREATE POLICY own_workspace ON ${table} USING (workspace_id = nullif(current_setting('app.workspace_id', true), ''))`,
      );
    }
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE contact_mirror, xero_contact;
      DROP INDEX ix_invoice_unsent, ix_invoice_recheck, ix_integration_schedule, ix_sync_attempt_due, ix_sync_attempt_live_run, ix_sync_attempt_resent, ix_webhook_event_received;
      ALTER TABLE contact_link DROP warnings;
      ALTER TABLE connection DROP period_lock_date, DROP end_of_year_lock_date;
      ALTER TABLE invoice DROP revision, DROP sent_revision, DROP void_requested, DROP recheck_at;
      ALTER TABLE sync_batch DROP method, DROP sent_at;
      ALTER TABLE tenant_limit DROP recent, DROP flights, DROP minute_limit, DROP day_limit, DROP day_remaining, DROP day_seen_at;
      ALTER TABLE sync_attempt DROP priority, DROP action, DROP contact_id, DROP revision, DROP resent;
      CREATE INDEX ix_sync_attempt_due ON sync_attempt (workspace_id, connection_id, id) WHERE outcome = 'PENDING' AND batch_id IS NULL;
      ALTER TABLE integration DROP sync_start_date, DROP sync_on_approval, DROP schedule_enabled, DROP schedule_cron,
        DROP schedule_time_zone, DROP schedule_next_run_at;
    `);
  }
}
