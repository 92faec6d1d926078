import { type MigrationInterface, type QueryRunner } from "typeorm";

/** Payments both ways: credits as records, what Xero is still to be told, what reading back showed, and the poll for what no webhook told. */
export class Payments1764374400000 implements MigrationInterface {
  name = "Payments1764374400000";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE connection ADD pull_lease_id uuid, ADD pull_lease_until timestamptz;
      ALTER TABLE integration ADD push_payments boolean NOT NULL DEFAULT false;
      ALTER TABLE invoice
        ADD credited_in_xero numeric(14,2) NOT NULL DEFAULT 0,
        ADD xero_warnings text[] NOT NULL DEFAULT '{}',
        ADD payment_warnings text[] NOT NULL DEFAULT '{}',
        ADD sent_content jsonb,
        ADD pull_due_at timestamptz(3);
      UPDATE invoice SET credited_in_xero = total_credit_amount WHERE total_credit_amount <> 0;
      CREATE INDEX ix_invoice_pull_due ON invoice (workspace_id, connection_id, pull_due_at) WHERE pull_due_at IS NOT NULL;
      ALTER TABLE payment
        ADD push_action text,
        ADD push_batch_id uuid,
        ADD push_not_before timestamptz,
        ADD push_failures integer NOT NULL DEFAULT 0,
        ADD reversed_here boolean NOT NULL DEFAULT false,
        ADD xero_as_of timestamptz,
        ADD CONSTRAINT fk_payment_push_batch FOREIGN KEY (workspace_id, push_batch_id) REFERENCES sync_batch(workspace_id,id);
      CREATE UNIQUE INDEX uq_payment_finance_external_id ON payment (workspace_id, finance_external_id) WHERE source = 'PLATFORM';
      CREATE UNIQUE INDEX uq_payment_credit ON payment (workspace_id, connection_id, invoice_id, type, finance_external_id)
        WHERE type IN ('CREDIT_NOTE', 'OVERPAYMENT', 'PREPAYMENT');
      CREATE INDEX ix_payment_push ON payment (workspace_id, id) WHERE push_action IS NOT NULL;
      CREATE INDEX ix_payment_push_batch ON payment (workspace_id, push_batch_id) WHERE push_batch_id IS NOT NULL;
      ALTER TABLE sync_batch ADD kind text NOT NULL DEFAULT 'INVOICES';
      CREATE TABLE payment_poll (
        workspace_id text NOT NULL,
        connection_id uuid NOT NULL,
        due_at timestamptz NOT NULL,
        changed_until timestamptz,
        since timestamptz,
        page integer NOT NULL DEFAULT 1,
        answered_at timestamptz,
        seen_until timestamptz,
        poll_id uuid,
        CONSTRAINT pk_payment_poll PRIMARY KEY (workspace_id, connection_id),
        CONSTRAINT fk_payment_poll_connection FOREIGN KEY (workspace_id, connection_id) REFERENCES connection(workspace_id,id)
      );
      ALTER TABLE payment_poll ENABLE ROW LEVEL SECURITY;
      CREATE POLICY own_workspace ON payment_poll USING (workspace_id = nullif(current_setting('app.workspace_id', true), ''));
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE payment_poll;
      DROP INDEX uq_payment_finance_external_id, uq_payment_credit, ix_payment_push;
      -- Whatever was under way would be taken for invoices.
      UPDATE sync_batch SET state = 'DONE', body = '' WHERE kind = 'PAYMENTS';
      ALTER TABLE sync_batch DROP kind;
      ALTER TABLE connection DROP pull_lease_id, DROP pull_lease_until;
      ALTER TABLE payment DROP CONSTRAINT fk_payment_push_batch, DROP push_batch_id, DROP push_action, DROP push_not_before, DROP push_failures, DROP reversed_here, DROP xero_as_of;
      ALTER TABLE invoice DROP credited_in_xero, DROP xero_warnings, DROP payment_warnings, DROP sent_content, DROP pull_due_at;
      ALTER TABLE integration DROP push_payments;
    `);
  }
}
