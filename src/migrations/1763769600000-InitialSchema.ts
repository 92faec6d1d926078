/**
 * The first schema: every table, the indexes that carry a rule (one live attempt per invoice, one record per Xero id), row-level
 * security on everything that belongs to a workspace, and the one function through which the unprivileged role may queue a job.
 *
 * Row-level security is enabled and not forced: the owner of the tables is the system path. Without `app.workspace_id`, which is unset in
 * a new session and empty once a transaction that set it is over, the policies compare with null, so nothing is seen.
 */
import { type MigrationInterface, type QueryRunner } from "typeorm";

const tables = `
CREATE TABLE integration (
  workspace_id text NOT NULL,
  enabled boolean NOT NULL DEFAULT true,
  active_connection_id uuid,
  default_tax_rate_id uuid,
  line_amount_types text NOT NULL DEFAULT 'EXCLUSIVE',
  time_zone text,
  initial_invoice_status text NOT NULL DEFAULT 'AUTHORISED',
  numbering text NOT NULL DEFAULT 'XERO_NUMBERS',
  paid_tolerance numeric(14,2) NOT NULL DEFAULT '0',
  next_invoice_number integer NOT NULL DEFAULT '1',
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT pk_integration PRIMARY KEY (workspace_id)
);
CREATE TABLE connection (
  workspace_id text NOT NULL,
  id uuid NOT NULL,
  tenant_id uuid NOT NULL,
  xero_connection_id uuid NOT NULL,
  xero_user_id text NOT NULL,
  tenant_type text NOT NULL,
  name text NOT NULL,
  connection_status text NOT NULL,
  status_reason text,
  missing_scopes text[] NOT NULL DEFAULT '{}',
  base_currency text,
  is_demo_company boolean,
  short_code text,
  time_zone text,
  connected_at timestamptz(3) NOT NULL,
  last_used_at timestamptz(3),
  disconnected_at timestamptz(3),
  daily_calls_remaining integer,
  sales_account_id uuid,
  payment_account_id uuid,
  pull_not_before timestamptz(3),
  data_read_at timestamptz(3),
  CONSTRAINT uq_connection_tenant UNIQUE (workspace_id, tenant_id),
  CONSTRAINT pk_connection PRIMARY KEY (workspace_id, id)
);
CREATE TABLE account (
  workspace_id text NOT NULL,
  connection_id uuid NOT NULL,
  account_id uuid NOT NULL,
  code text,
  name text NOT NULL,
  type text NOT NULL,
  tax_type text,
  class text NOT NULL,
  status text NOT NULL,
  payments_enabled boolean NOT NULL,
  system_account text,
  CONSTRAINT pk_account PRIMARY KEY (workspace_id, connection_id, account_id)
);
CREATE TABLE consent (
  state_hash text NOT NULL,
  workspace_id text NOT NULL,
  subject text NOT NULL,
  expires_at timestamptz(3) NOT NULL,
  xero_user_id text,
  auth_event_id text,
  lease_until timestamptz(3),
  used_at timestamptz(3),
  CONSTRAINT pk_consent PRIMARY KEY (state_hash)
);
CREATE TABLE participant (
  workspace_id text NOT NULL,
  id uuid NOT NULL,
  contact_number text NOT NULL,
  name text NOT NULL,
  first_name text,
  last_name text,
  email text,
  phone text,
  ndis_number text,
  plan_management text NOT NULL,
  plan_manager_id uuid,
  updated_at timestamptz(3) NOT NULL,
  CONSTRAINT uq_participant_contact_number UNIQUE (workspace_id, contact_number),
  CONSTRAINT pk_participant PRIMARY KEY (workspace_id, id)
);
CREATE TABLE contact_link (
  workspace_id text NOT NULL,
  connection_id uuid NOT NULL,
  participant_id uuid NOT NULL,
  contact_id uuid NOT NULL,
  contact_status text NOT NULL,
  sent_hash text,
  CONSTRAINT uq_contact_link_contact UNIQUE (workspace_id, connection_id, contact_id),
  CONSTRAINT pk_contact_link PRIMARY KEY (workspace_id, connection_id, participant_id)
);
CREATE TABLE event_log (
  workspace_id text NOT NULL,
  cursor bigint NOT NULL,
  at timestamptz(3) NOT NULL,
  topic text NOT NULL,
  run_id uuid,
  invoice_id uuid,
  payment_id uuid,
  sync_status text,
  run_status text,
  payment_event_kind text,
  CONSTRAINT pk_event_log PRIMARY KEY (workspace_id, cursor)
);
CREATE TABLE event_counter (
  workspace_id text NOT NULL,
  last_cursor bigint NOT NULL,
  CONSTRAINT pk_event_counter PRIMARY KEY (workspace_id)
);
CREATE TABLE xero_grant (
  xero_user_id text NOT NULL,
  access_token text NOT NULL,
  refresh_token text NOT NULL,
  scopes text[] NOT NULL,
  access_expires_at timestamptz(3) NOT NULL,
  state text NOT NULL,
  version integer NOT NULL DEFAULT '1',
  lease_id uuid,
  lease_until timestamptz(3),
  CONSTRAINT pk_xero_grant PRIMARY KEY (xero_user_id)
);
CREATE TABLE invoice (
  workspace_id text NOT NULL,
  id uuid NOT NULL,
  number text NOT NULL,
  participant_id uuid NOT NULL,
  status text NOT NULL DEFAULT 'DRAFT',
  date date NOT NULL,
  due_date date NOT NULL,
  currency text NOT NULL,
  line_amount_types text NOT NULL,
  subtotal numeric(14,2) NOT NULL,
  total_tax numeric(14,2) NOT NULL,
  total numeric(14,2) NOT NULL,
  total_payment_amount numeric(14,2) NOT NULL DEFAULT '0',
  total_credit_amount numeric(14,2) NOT NULL DEFAULT '0',
  last_payment_date timestamptz(3),
  amount_due numeric(14,2) NOT NULL,
  sync_status text NOT NULL DEFAULT 'NOT_SYNCED',
  sync_error jsonb,
  sync_warnings text[] NOT NULL DEFAULT '{}',
  synced_at timestamptz(3),
  next_attempt_at timestamptz(3),
  connection_id uuid,
  xero_invoice_number text,
  xero_id uuid,
  xero_status text,
  xero_updated_at timestamptz(3),
  pulled_at timestamptz,
  created_at timestamptz(3) NOT NULL,
  updated_at timestamptz(3) NOT NULL,
  CONSTRAINT pk_invoice PRIMARY KEY (workspace_id, id)
);
CREATE TABLE tax_rate (
  workspace_id text NOT NULL,
  id uuid NOT NULL,
  name text NOT NULL,
  effective_rate numeric(18,4) NOT NULL,
  components jsonb NOT NULL,
  CONSTRAINT pk_tax_rate PRIMARY KEY (workspace_id, id)
);
CREATE TABLE support_item (
  workspace_id text NOT NULL,
  id uuid NOT NULL,
  item_number text NOT NULL,
  name text NOT NULL,
  unit text NOT NULL,
  price_limit numeric(14,2),
  xero_line_description text,
  sales_account_id uuid,
  tax_rate_id uuid,
  CONSTRAINT uq_support_item_item_number UNIQUE (workspace_id, item_number),
  CONSTRAINT pk_support_item PRIMARY KEY (workspace_id, id)
);
CREATE TABLE line_item (
  workspace_id text NOT NULL,
  id uuid NOT NULL,
  invoice_id uuid NOT NULL,
  position integer NOT NULL,
  description text NOT NULL,
  support_item_id uuid,
  service_date date,
  quantity numeric(18,4) NOT NULL,
  unit_amount numeric(18,4) NOT NULL,
  tax_rate_id uuid,
  tax_percent numeric(18,4) NOT NULL,
  sales_account_id uuid,
  tax_amount numeric(14,2) NOT NULL,
  line_amount numeric(14,2) NOT NULL,
  CONSTRAINT pk_line_item PRIMARY KEY (workspace_id, id)
);
CREATE TABLE payment (
  workspace_id text NOT NULL,
  id uuid NOT NULL,
  invoice_id uuid NOT NULL,
  connection_id uuid,
  type text NOT NULL,
  source text NOT NULL,
  paid boolean NOT NULL,
  include boolean NOT NULL DEFAULT true,
  payment_date timestamptz(3) NOT NULL,
  paid_on date NOT NULL,
  amount numeric(14,2) NOT NULL,
  reference text,
  finance_external_id text,
  xero_payment_id uuid,
  sync_status text NOT NULL DEFAULT 'NOT_SYNCED',
  sync_error jsonb,
  created_at timestamptz(3) NOT NULL,
  CONSTRAINT pk_payment PRIMARY KEY (workspace_id, id)
);
CREATE TABLE sync_batch (
  workspace_id text NOT NULL,
  id uuid NOT NULL,
  connection_id uuid NOT NULL,
  state text NOT NULL,
  body text NOT NULL,
  idempotency_key text NOT NULL,
  key_used_at timestamptz(3) NOT NULL,
  lease_until timestamptz(3) NOT NULL,
  lease_id uuid NOT NULL,
  doubts integer NOT NULL DEFAULT '0',
  server_errors integer NOT NULL DEFAULT '0',
  key_reused boolean NOT NULL DEFAULT false,
  not_before timestamptz(3),
  CONSTRAINT pk_sync_batch PRIMARY KEY (workspace_id, id)
);
CREATE TABLE sync_run (
  workspace_id text NOT NULL,
  id uuid NOT NULL,
  connection_id uuid NOT NULL,
  kind text NOT NULL,
  trigger text NOT NULL,
  status text NOT NULL,
  requested_by text,
  queued_at timestamptz(3) NOT NULL,
  started_at timestamptz(3),
  finished_at timestamptz(3),
  xero_calls integer NOT NULL DEFAULT '0',
  CONSTRAINT pk_sync_run PRIMARY KEY (workspace_id, id)
);
CREATE TABLE sync_attempt (
  workspace_id text NOT NULL,
  id uuid NOT NULL,
  run_id uuid NOT NULL,
  invoice_id uuid NOT NULL,
  connection_id uuid NOT NULL,
  batch_id uuid,
  queued_at timestamptz(3) NOT NULL,
  started_at timestamptz(3),
  finished_at timestamptz(3),
  outcome text NOT NULL,
  error jsonb,
  contact_action text,
  not_before timestamptz(3),
  transient_failures integer NOT NULL DEFAULT '0',
  CONSTRAINT pk_sync_attempt PRIMARY KEY (workspace_id, id)
);
CREATE TABLE tax_rate_mapping (
  workspace_id text NOT NULL,
  connection_id uuid NOT NULL,
  tax_rate_id uuid NOT NULL,
  tax_type text NOT NULL,
  CONSTRAINT pk_tax_rate_mapping PRIMARY KEY (workspace_id, connection_id, tax_rate_id)
);
CREATE TABLE tenant_limit (
  tenant_id uuid NOT NULL,
  blocked_until timestamptz(3),
  updated_at timestamptz(3) NOT NULL,
  CONSTRAINT pk_tenant_limit PRIMARY KEY (tenant_id)
);
CREATE TABLE webhook_event (
  workspace_id text NOT NULL,
  id uuid NOT NULL,
  connection_id uuid,
  tenant_id text NOT NULL,
  category text NOT NULL,
  event_type text NOT NULL,
  resource_id text NOT NULL,
  event_date timestamptz(3) NOT NULL,
  received_at timestamptz(3) NOT NULL,
  status text NOT NULL,
  detail text,
  CONSTRAINT pk_webhook_event PRIMARY KEY (workspace_id, id)
);
CREATE TABLE webhook_state (
  id text NOT NULL DEFAULT 'xero',
  last_validated_at timestamptz(3),
  CONSTRAINT pk_webhook_state PRIMARY KEY (id)
);
CREATE TABLE xero_tax_rate (
  workspace_id text NOT NULL,
  connection_id uuid NOT NULL,
  tax_type text NOT NULL,
  name text NOT NULL,
  effective_rate numeric(18,4) NOT NULL,
  components jsonb NOT NULL,
  status text NOT NULL,
  applies_to_revenue boolean NOT NULL,
  CONSTRAINT pk_xero_tax_rate PRIMARY KEY (workspace_id, connection_id, tax_type)
);
`;

const indexes = `
CREATE INDEX ix_invoice_participant ON invoice (workspace_id, participant_id, date, id);
CREATE INDEX ix_invoice_updated_at ON invoice (workspace_id, updated_at, id);
CREATE INDEX ix_invoice_date ON invoice (workspace_id, date, id);
CREATE UNIQUE INDEX uq_invoice_xero_id ON invoice (workspace_id, connection_id, xero_id);
CREATE INDEX ix_line_item_invoice ON line_item (workspace_id, invoice_id, position);
CREATE INDEX ix_payment_date ON payment (workspace_id, payment_date, id);
CREATE INDEX ix_payment_invoice ON payment (workspace_id, invoice_id, payment_date, id);
CREATE UNIQUE INDEX uq_payment_xero_payment_id ON payment (workspace_id, connection_id, xero_payment_id);
CREATE INDEX ix_sync_run_queued_at ON sync_run (workspace_id, queued_at, id);
CREATE INDEX ix_sync_attempt_batch ON sync_attempt (workspace_id, batch_id);
CREATE INDEX ix_sync_attempt_invoice ON sync_attempt (workspace_id, invoice_id, id);
CREATE INDEX ix_sync_attempt_run ON sync_attempt (workspace_id, run_id, id);
CREATE INDEX ix_webhook_event_resource ON webhook_event (workspace_id, resource_id);
CREATE UNIQUE INDEX uq_webhook_event ON webhook_event (workspace_id, tenant_id, category, resource_id, event_type, event_date);
CREATE UNIQUE INDEX uq_invoice_number ON invoice (workspace_id, lower(number));
CREATE UNIQUE INDEX uq_tax_rate_name ON tax_rate (workspace_id, lower(name));
CREATE UNIQUE INDEX uq_sync_attempt_live ON sync_attempt (workspace_id, invoice_id) WHERE outcome IN ('PENDING', 'UNCERTAIN');
CREATE INDEX ix_sync_attempt_due ON sync_attempt (workspace_id, connection_id, id) WHERE outcome = 'PENDING' AND batch_id IS NULL;
CREATE INDEX ix_sync_batch_open ON sync_batch (workspace_id, connection_id, lease_until) WHERE state <> 'DONE';
CREATE INDEX ix_webhook_event_open ON webhook_event (workspace_id, connection_id, id) WHERE status = 'RECEIVED';
`;

const foreignKeys = `
ALTER TABLE connection ADD CONSTRAINT fk_connection_workspace FOREIGN KEY (workspace_id) REFERENCES integration(workspace_id);
ALTER TABLE account ADD CONSTRAINT fk_account_connection FOREIGN KEY (workspace_id, connection_id) REFERENCES connection(workspace_id,id);
ALTER TABLE participant ADD CONSTRAINT fk_participant_plan_manager FOREIGN KEY (workspace_id, plan_manager_id) REFERENCES participant(workspace_id,id);
ALTER TABLE participant ADD CONSTRAINT fk_participant_workspace FOREIGN KEY (workspace_id) REFERENCES integration(workspace_id);
ALTER TABLE contact_link ADD CONSTRAINT fk_contact_link_participant FOREIGN KEY (workspace_id, participant_id) REFERENCES participant(workspace_id,id);
ALTER TABLE contact_link ADD CONSTRAINT fk_contact_link_connection FOREIGN KEY (workspace_id, connection_id) REFERENCES connection(workspace_id,id);
ALTER TABLE invoice ADD CONSTRAINT fk_invoice_connection FOREIGN KEY (workspace_id, connection_id) REFERENCES connection(workspace_id,id);
ALTER TABLE invoice ADD CONSTRAINT fk_invoice_participant FOREIGN KEY (workspace_id, participant_id) REFERENCES participant(workspace_id,id);
ALTER TABLE invoice ADD CONSTRAINT fk_invoice_workspace FOREIGN KEY (workspace_id) REFERENCES integration(workspace_id);
ALTER TABLE tax_rate ADD CONSTRAINT fk_tax_rate_workspace FOREIGN KEY (workspace_id) REFERENCES integration(workspace_id);
ALTER TABLE support_item ADD CONSTRAINT fk_support_item_tax_rate FOREIGN KEY (workspace_id, tax_rate_id) REFERENCES tax_rate(workspace_id,id);
ALTER TABLE support_item ADD CONSTRAINT fk_support_item_workspace FOREIGN KEY (workspace_id) REFERENCES integration(workspace_id);
ALTER TABLE line_item ADD CONSTRAINT fk_line_item_tax_rate FOREIGN KEY (workspace_id, tax_rate_id) REFERENCES tax_rate(workspace_id,id);
ALTER TABLE line_item ADD CONSTRAINT fk_line_item_support_item FOREIGN KEY (workspace_id, support_item_id) REFERENCES support_item(workspace_id,id);
ALTER TABLE line_item ADD CONSTRAINT fk_line_item_invoice FOREIGN KEY (workspace_id, invoice_id) REFERENCES invoice(workspace_id,id) ON DELETE CASCADE;
ALTER TABLE payment ADD CONSTRAINT fk_payment_connection FOREIGN KEY (workspace_id, connection_id) REFERENCES connection(workspace_id,id);
ALTER TABLE payment ADD CONSTRAINT fk_payment_invoice FOREIGN KEY (workspace_id, invoice_id) REFERENCES invoice(workspace_id,id);
ALTER TABLE sync_batch ADD CONSTRAINT fk_sync_batch_connection FOREIGN KEY (workspace_id, connection_id) REFERENCES connection(workspace_id,id);
ALTER TABLE sync_run ADD CONSTRAINT fk_sync_run_connection FOREIGN KEY (workspace_id, connection_id) REFERENCES connection(workspace_id,id);
ALTER TABLE sync_attempt ADD CONSTRAINT fk_sync_attempt_batch FOREIGN KEY (workspace_id, batch_id) REFERENCES sync_batch(workspace_id,id);
ALTER TABLE sync_attempt ADD CONSTRAINT fk_sync_attempt_connection FOREIGN KEY (workspace_id, connection_id) REFERENCES connection(workspace_id,id);
ALTER TABLE sync_attempt ADD CONSTRAINT fk_sync_attempt_invoice FOREIGN KEY (workspace_id, invoice_id) REFERENCES invoice(workspace_id,id);
ALTER TABLE sync_attempt ADD CONSTRAINT fk_sync_attempt_run FOREIGN KEY (workspace_id, run_id) REFERENCES sync_run(workspace_id,id);
ALTER TABLE tax_rate_mapping ADD CONSTRAINT fk_tax_rate_mapping_tax_rate FOREIGN KEY (workspace_id, tax_rate_id) REFERENCES tax_rate(workspace_id,id);
ALTER TABLE tax_rate_mapping ADD CONSTRAINT fk_tax_rate_mapping_connection FOREIGN KEY (workspace_id, connection_id) REFERENCES connection(workspace_id,id);
ALTER TABLE xero_tax_rate ADD CONSTRAINT fk_xero_tax_rate_connection FOREIGN KEY (workspace_id, connection_id) REFERENCES connection(workspace_id,id);
`;

/** In the order of their creation, which is not the order in which they may be dropped: `down` drops them with CASCADE. */
const systemTables = ["consent", "xero_grant", "tenant_limit", "webhook_state"];
const workspaceTables = [
  "integration",
  "connection",
  "account",
  "participant",
  "contact_link",
  "event_log",
  "event_counter",
  "invoice",
  "tax_rate",
  "support_item",
  "line_item",
  "payment",
  "sync_batch",
  "sync_run",
  "sync_attempt",
  "tax_rate_mapping",
  "webhook_event",
  "xero_tax_rate",
];

/**
 * The unprivileged role has no rights on the queue's own tables. It may only queue a job of the workspace it is in, by this function,
 * which runs as the owner; its search path is fixed, so that nobody can put a function of his own in the way.
 */
const enqueueFunction = `
CREATE FUNCTION ledgerline_enqueue(task text, payload json, job_key text, run_at timestamptz, priority integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF payload->>'workspaceId' IS DISTINCT FROM current_setting('app.workspace_id', true) THEN
    RAISE EXCEPTION 'a job may be queued for the transaction''s own workspace only';
  END IF;
  PERFORM graphile_worker.add_job(task, payload, job_key => (payload->>'workspaceId') || ':' || job_key, run_at => run_at, priority => priority);
END $$;
REVOKE ALL ON FUNCTION ledgerline_enqueue(text, json, text, timestamptz, integer) FROM PUBLIC;
`;

export class InitialSchema1763769600000 implements MigrationInterface {
  name = "InitialSchema1763769600000";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(tables);
    await runner.query(indexes);
    await runner.query(foreignKeys);
    for (const table of workspaceTables) {
      await runner.query(`ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY`);
      await runner.query(
        `CREATE POLICY own_workspace ON ${table} USING (workspace_id = nullif(current_setting('app.workspace_id', true), ''))`,
      );
    }
    await runner.query(enqueueFunction);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query("DROP FUNCTION ledgerline_enqueue(text, json, text, timestamptz, integer)");
    await runner.query(`DROP TABLE ${[...workspaceTables, ...systemTables].join(", ")} CASCADE`);
  }
}
