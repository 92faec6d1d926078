/**
 * The unprivileged role that requests and jobs run as, and what it may do: read and write the rows that row-level security shows it,
 * of exactly the tables named here. System tables (grants, consents, limits) are not named, so it cannot see that they hold anything.
 * Granted anew at every start, so that another `DATABASE_APP_ROLE` takes effect and a new table is not forgotten twice.
 */
import { type QueryRunner } from "typeorm";

const workspaceTables: Record<string, string> = {
  account: "SELECT, INSERT, UPDATE, DELETE",
  alert: "SELECT, INSERT, UPDATE",
  // Written by triggers and functions of the owner's, and by nobody else.
  audit_entry: "SELECT",
  connection: "SELECT, INSERT, UPDATE",
  contact_link: "SELECT, INSERT, UPDATE, DELETE",
  contact_mirror: "SELECT, INSERT, UPDATE",
  event_counter: "SELECT, INSERT, UPDATE",
  event_log: "SELECT, INSERT",
  integration: "SELECT, INSERT, UPDATE",
  invoice: "SELECT, INSERT, UPDATE",
  line_item: "SELECT, INSERT, UPDATE, DELETE",
  mail: "SELECT, INSERT, UPDATE",
  participant: "SELECT, INSERT, UPDATE",
  payment: "SELECT, INSERT, UPDATE",
  payment_poll: "SELECT, INSERT, UPDATE",
  release: "SELECT, INSERT",
  support_item: "SELECT, INSERT, UPDATE",
  support_item_price: "SELECT, INSERT, UPDATE",
  sync_attempt: "SELECT, INSERT, UPDATE",
  sync_batch: "SELECT, INSERT, UPDATE",
  sync_run: "SELECT, INSERT, UPDATE",
  tax_rate: "SELECT, INSERT, UPDATE",
  tax_rate_mapping: "SELECT, INSERT, UPDATE, DELETE",
  webhook_event: "SELECT, INSERT, UPDATE",
  xero_contact: "SELECT, INSERT, UPDATE, DELETE",
  xero_tax_rate: "SELECT, INSERT, UPDATE, DELETE",
};

/** Roles belong to the cluster, so several databases may create the same one at once: a clash means that it is there. */
const createRole = (role: string): string => `
  DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '${role}') THEN
      CREATE ROLE ${role} NOLOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;
  EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
  END $$`;

/** From PostgreSQL 16 on, whoever creates a role is its member at once, but may not take it (SET) before it is granted. */
const joinRole = (role: string): string => `
  DO $$ BEGIN
    IF NOT pg_has_role(current_user, '${role}',
                       CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END) THEN
      GRANT ${role} TO CURRENT_USER;
    END IF;
  END $$`;

/**
 * Makes sure that the role is there, that the login may take it, and that it has its rights; repeats change nothing.
 * Throws with the statements to run by hand where the login may not do so itself.
 */
export async function prepareAppRole(runner: QueryRunner, role: string): Promise<void> {
  try {
    await runner.query(createRole(role));
    await runner.query(joinRole(role));
  } catch (error) {
    throw new Error(
      `The database login may not create the role ${role}. As a superuser, run once: ` +
        `CREATE ROLE ${role} NOLOGIN; GRANT ${role} TO <the login of DATABASE_URL>;`,
      { cause: error },
    );
  }
  const [found] = (await runner.query("SELECT rolsuper OR rolbypassrls AS unsafe FROM pg_roles WHERE rolname = $1", [
    role,
  ])) as {
    unsafe: boolean;
  }[];
  if (found?.unsafe) {
    throw new Error(
      `DATABASE_APP_ROLE ${role} bypasses row-level security: workspaces would not be kept apart. Choose another role.`,
    );
  }
  const grants = Object.entries(workspaceTables).map(([table, rights]) => `GRANT ${rights} ON ${table} TO ${role};`);
  grants.push(`GRANT EXECUTE ON FUNCTION ledgerline_enqueue(text, json, text, timestamptz, integer) TO ${role};`);
  grants.push(`GRANT EXECUTE ON FUNCTION ledgerline_audit_operation(boolean) TO ${role};`);
  grants.push(`GRANT EXECUTE ON FUNCTION ledgerline_audit_refusal(text, text, text) TO ${role};`);
  grants.push(`GRANT USAGE ON SCHEMA public TO ${role};`);
  await runner.query(grants.join("\n"));
}
