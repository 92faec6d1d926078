import { type MigrationInterface, type QueryRunner } from "typeorm";

/** The import of contacts: what is chosen, what of the copy is to be taken in, and what participant and contact last agreed on. */
export class ContactImport1764201600000 implements MigrationInterface {
  name = "ContactImport1764201600000";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE integration
        ADD contact_import_enabled boolean NOT NULL DEFAULT false,
        ADD contact_import_group_ids uuid[] NOT NULL DEFAULT '{}',
        ADD contact_import_suppliers boolean NOT NULL DEFAULT false;
      ALTER TABLE xero_contact
        ADD is_supplier boolean NOT NULL DEFAULT false,
        ADD is_customer boolean NOT NULL DEFAULT false,
        ADD phone_key text,
        ADD updated_at timestamptz,
        ADD import_due boolean NOT NULL DEFAULT true;
      CREATE INDEX ix_xero_contact_phone ON xero_contact (workspace_id, connection_id, phone_key);
      CREATE INDEX ix_xero_contact_import_due ON xero_contact (workspace_id, connection_id, contact_id) WHERE import_due;
      -- The next read is of all contacts, with what the copies that are there lack.
      UPDATE contact_mirror SET changed_until = NULL, read_at = NULL;
      ALTER TABLE contact_link
        ADD agreed jsonb,
        ADD number_sent text;
      UPDATE contact_link l SET number_sent = p.contact_number FROM participant p
      WHERE p.workspace_id = l.workspace_id AND p.id = l.participant_id;
      UPDATE contact_link l SET agreed = jsonb_build_object('name', c.name, 'firstName', c.first_name, 'lastName', c.last_name, 'email', c.email, 'phone', c.phone)
      FROM xero_contact c WHERE c.workspace_id = l.workspace_id AND c.connection_id = l.connection_id AND c.contact_id = l.contact_id;
      CREATE INDEX ix_xero_contact_merged ON xero_contact (workspace_id, connection_id, merged_to_contact_id) WHERE merged_to_contact_id IS NOT NULL;
      ALTER TABLE connection ADD contact_groups jsonb;
      ALTER TABLE sync_run
        ADD counts jsonb,
        ADD problems text[] NOT NULL DEFAULT '{}';
      CREATE INDEX ix_sync_run_import ON sync_run (workspace_id, connection_id) WHERE kind = 'CONTACT_IMPORT' AND finished_at IS NULL;
      CREATE INDEX ix_participant_phone ON participant (workspace_id, regexp_replace(phone, '\\D', '', 'g'));
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP INDEX ix_xero_contact_merged, ix_xero_contact_phone, ix_xero_contact_import_due, ix_sync_run_import, ix_participant_phone;
      ALTER TABLE integration DROP contact_import_enabled, DROP contact_import_group_ids, DROP contact_import_suppliers;
      ALTER TABLE xero_contact DROP is_supplier, DROP is_customer, DROP phone_key, DROP updated_at, DROP import_due;
      ALTER TABLE contact_link DROP agreed, DROP number_sent;
      ALTER TABLE connection DROP contact_groups;
      ALTER TABLE sync_run DROP counts, DROP problems;
    `);
  }
}
