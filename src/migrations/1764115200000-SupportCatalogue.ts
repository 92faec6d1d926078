import { type MigrationInterface, type QueryRunner } from "typeorm";

/** Price limits by period, as the NDIS Support Catalogue gives them. */
export class SupportCatalogue1764115200000 implements MigrationInterface {
  name = "SupportCatalogue1764115200000";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE support_item_price (
        workspace_id text NOT NULL,
        support_item_id uuid NOT NULL,
        valid_from date NOT NULL,
        valid_to date,
        price_limit numeric(14,2),
        CONSTRAINT pk_support_item_price PRIMARY KEY (workspace_id, support_item_id, valid_from),
        CONSTRAINT fk_support_item_price_support_item FOREIGN KEY (workspace_id, support_item_id) REFERENCES support_item(workspace_id,id)
      );
      ALTER TABLE support_item_price ENABLE ROW LEVEL SECURITY;
      CREATE POLICY own_workspace ON support_item_price USING (workspace_id = nullif(current_setting('app.workspace_id', true), ''));
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query("DROP TABLE support_item_price");
  }
}
