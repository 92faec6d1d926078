import { type MigrationInterface, type QueryRunner } from "typeorm";

/** What the life of a link to Xero needs: its activity, its daily check, what is still to be ended at Xero; and alerts. */
const up = `
ALTER TABLE integration ADD keep_connection_alive boolean NOT NULL DEFAULT false;
ALTER TABLE connection
  ADD last_activity_at timestamptz(3) NOT NULL DEFAULT now(),
  ADD check_due_at timestamptz(3) NOT NULL DEFAULT now(),
  ADD refused_since timestamptz(3);
ALTER TABLE xero_grant ADD stored_at timestamptz(3) NOT NULL DEFAULT now();
ALTER TABLE event_log ADD connection_id uuid, ADD connection_status text, ADD alert_id uuid;

CREATE TABLE alert (
  workspace_id text NOT NULL,
  id uuid NOT NULL,
  kind text NOT NULL,
  subject text NOT NULL,
  state text NOT NULL,
  message text NOT NULL,
  resolution text NOT NULL,
  occurrences integer NOT NULL DEFAULT '1',
  first_seen_at timestamptz(3) NOT NULL,
  last_seen_at timestamptz(3) NOT NULL,
  resolved_at timestamptz(3),
  CONSTRAINT pk_alert PRIMARY KEY (workspace_id, id),
  CONSTRAINT fk_alert_workspace FOREIGN KEY (workspace_id) REFERENCES integration(workspace_id)
);
CREATE UNIQUE INDEX uq_alert_open ON alert (workspace_id, kind, subject) WHERE state = 'OPEN';
CREATE INDEX ix_alert_first_seen_at ON alert (workspace_id, first_seen_at, id);

CREATE TABLE release (
  workspace_id text NOT NULL,
  id uuid NOT NULL,
  connection_id uuid NOT NULL,
  xero_connection_id uuid NOT NULL,
  xero_user_id text NOT NULL,
  due_at timestamptz(3) NOT NULL DEFAULT now(),
  failures integer NOT NULL DEFAULT '0',
  CONSTRAINT pk_release PRIMARY KEY (workspace_id, id),
  CONSTRAINT fk_release_connection FOREIGN KEY (workspace_id, connection_id) REFERENCES connection(workspace_id,id)
);

CREATE INDEX ix_connection_check_due_at ON connection (check_due_at) WHERE connection_status = 'CONNECTED';
CREATE INDEX ix_connection_last_activity_at ON connection (last_activity_at) WHERE connection_status IN ('CONNECTED', 'RECONNECT_REQUIRED');
CREATE INDEX ix_connection_xero_user ON connection (xero_user_id);
`;

export class ConnectionLife1763856000000 implements MigrationInterface {
  name = "ConnectionLife1763856000000";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(up);
    for (const table of ["alert", "release"]) {
      await runner.query(`ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY`);
      await runner.query(
        `CREATE POLICY own_workspace ON ${table} USING (workspace_id = nullif(current_setting('app.workspace_id', true), ''))`,
      );
    }
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query("DROP TABLE alert, release");
    await runner.query(
      "DROP INDEX ix_connection_check_due_at, ix_connection_last_activity_at, ix_connection_xero_user",
    );
    await runner.query("ALTER TABLE xero_grant DROP stored_at");
    await runner.query("ALTER TABLE event_log DROP connection_id, DROP connection_status, DROP alert_id");
    await runner.query("ALTER TABLE connection DROP last_activity_at, DROP check_due_at, DROP refused_since");
    await runner.query("ALTER TABLE integration DROP keep_connection_alive");
  }
}
