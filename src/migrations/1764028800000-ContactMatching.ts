import { type MigrationInterface, type QueryRunner } from "typeorm";

/** What participants are matched to contacts by, and who is billed for the agency-managed. */
export class ContactMatching1764028800000 implements MigrationInterface {
  name = "ContactMatching1764028800000";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE xero_contact ADD email_key text;
      CREATE INDEX ix_xero_contact_email ON xero_contact (workspace_id, connection_id, email_key);
      -- The next sync reads all contacts anew, with what the copies that are there lack.
      UPDATE contact_mirror SET changed_until = NULL, read_at = NULL;
      ALTER TABLE contact_link ADD suffixed boolean NOT NULL DEFAULT false;
      ALTER TABLE integration
        ADD send_agency_managed boolean NOT NULL DEFAULT false,
        ADD ndia_id uuid;
      CREATE INDEX ix_participant_name ON participant (workspace_id, lower(name));
      CREATE INDEX ix_participant_email ON participant (workspace_id, lower(email));
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP INDEX ix_xero_contact_email, ix_participant_name, ix_participant_email;
      ALTER TABLE xero_contact DROP email_key;
      ALTER TABLE contact_link DROP suffixed;
      ALTER TABLE integration DROP send_agency_managed, DROP ndia_id;
    `);
  }
}
