import { type MigrationInterface, type QueryRunner } from "typeorm";

/**
 * The audit log. What people change is written down by the tables' own triggers, so that no code path can forget to, as the owner of the tables, so
 * that the unprivileged role can neither write, change nor delete a line. Only the columns named here are shown, old and new; of the hidden ones,
 * which hold what is personal, it is said that they changed. Nothing happens where nobody acts, but for the status of a link.
 */
const audited: Record<string, { type: string; shown: string; hidden?: string; always?: string }> = {
  connection: {
    type: "XeroOrganisation",
    shown: "connection_status,sales_account_id,payment_account_id,name",
    always: "connection_status",
  },
  contact_link: { type: "Participant", shown: "contact_id" },
  integration: {
    type: "Integration",
    shown:
      "enabled,active_connection_id,default_tax_rate_id,line_amount_types,time_zone,initial_invoice_status,numbering,paid_tolerance,sync_start_date,sync_on_approval,push_payments,send_agency_managed,contact_import_enabled,contact_import_group_ids,contact_import_suppliers,schedule_enabled,schedule_cron,schedule_time_zone,keep_connection_alive",
    hidden: "alert_emails",
  },
  invoice: {
    type: "Invoice",
    shown: "number,participant_id,status,date,due_date,currency,total,revision,void_requested",
  },
  participant: {
    type: "Participant",
    shown: "contact_number,plan_management,plan_manager_id",
    hidden: "name,first_name,last_name,email,phone,ndis_number",
  },
  payment: {
    type: "Payment",
    shown: "invoice_id,type,paid,include,amount,paid_on,push_action",
    hidden: "reference,finance_external_id",
  },
  support_item: {
    type: "SupportItem",
    shown: "item_number,name,unit,price_limit,xero_line_description,sales_account_id,tax_rate_id",
  },
  tax_rate: { type: "TaxRate", shown: "name,effective_rate,components" },
  tax_rate_mapping: { type: "TaxRate", shown: "tax_type" },
};

/** The column that says which row it is, where that is not `id`. */
const idOf: Record<string, string> = {
  contact_link: "participant_id",
  integration: "workspace_id",
  tax_rate_mapping: "tax_rate_id",
};

const rowFunction = `
CREATE FUNCTION ledgerline_audit_row() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  before jsonb := CASE WHEN TG_OP = 'INSERT' THEN '{}' ELSE to_jsonb(OLD) END;
  after jsonb := CASE WHEN TG_OP = 'DELETE' THEN '{}' ELSE to_jsonb(NEW) END;
  whole jsonb := CASE WHEN TG_OP = 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END;
  changes jsonb := '{}';
  col text;
  field text;
BEGIN
  FOREACH col IN ARRAY string_to_array(TG_ARGV[2] || ',' || TG_ARGV[3], ',') LOOP
    CONTINUE WHEN col = '' OR (before->col) IS NOT DISTINCT FROM (after->col) OR (TG_OP = 'INSERT' AND after->col = 'null');
    field := replace(initcap(replace(col, '_', ' ')), ' ', '');
    field := lower(left(field, 1)) || substr(field, 2);
    changes := changes || jsonb_build_object(field, CASE WHEN col = ANY (string_to_array(TG_ARGV[3], ',')) THEN '"changed"'::jsonb
      WHEN TG_OP = 'INSERT' THEN jsonb_build_object('new', after->col)
      ELSE jsonb_build_object('old', before->col, 'new', after->col) END);
  END LOOP;
  IF TG_TABLE_NAME = 'invoice' AND TG_OP = 'UPDATE' AND (before->>'sync_status' = 'IGNORED') <> (after->>'sync_status' = 'IGNORED') THEN
    changes := changes || jsonb_build_object('ignored', jsonb_build_object('old', before->>'sync_status' = 'IGNORED', 'new', after->>'sync_status' = 'IGNORED'));
  END IF;
  IF changes = '{}' THEN RETURN NULL; END IF;
  INSERT INTO public.audit_entry (workspace_id, id, at, actor, action, subject_type, subject_id, changes, correlation_id)
  VALUES (whole->>'workspace_id', gen_random_uuid(), clock_timestamp(),
    coalesce(nullif(current_setting('app.actor', true), ''), 'ledgerline'), coalesce(nullif(current_setting('app.action', true), ''), 'keepLink'),
    TG_ARGV[0], whole->>TG_ARGV[1], changes::text, nullif(current_setting('app.correlation_id', true), ''));
  PERFORM set_config('app.audited', '1', true);
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION ledgerline_audit_row() FROM PUBLIC;
`;

/** What no trigger has noted: an operation whose effect is elsewhere. With \`anyway\` also one that has changed nothing. */
const operationFunction = `
CREATE FUNCTION ledgerline_audit_operation(anyway boolean) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF current_setting('app.audited', true) = '1' THEN RETURN true; END IF;
  IF NOT anyway AND pg_current_xact_id_if_assigned() IS NULL THEN RETURN false; END IF;
  INSERT INTO public.audit_entry (workspace_id, id, at, actor, action, subject_type, subject_id, correlation_id)
  VALUES (current_setting('app.workspace_id'), gen_random_uuid(), clock_timestamp(), current_setting('app.actor'), current_setting('app.action'),
    current_setting('app.subject_type'), nullif(current_setting('app.subject_id', true), ''), nullif(current_setting('app.correlation_id', true), ''));
  RETURN true;
END $$;
REVOKE ALL ON FUNCTION ledgerline_audit_operation(boolean) FROM PUBLIC;
`;

/** Somebody was refused: once a minute for a caller and an operation. */
const refusalFunction = `
CREATE FUNCTION ledgerline_audit_refusal(who text, what text, correlation text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO public.audit_entry (workspace_id, id, at, actor, action, subject_type, subject_id, correlation_id)
  SELECT current_setting('app.workspace_id'), gen_random_uuid(), clock_timestamp(), who, 'refused', what, NULL, correlation
  WHERE NOT EXISTS (SELECT FROM public.audit_entry WHERE workspace_id = current_setting('app.workspace_id') AND actor = who AND action = 'refused'
    AND subject_type = what AND at > clock_timestamp() - interval '1 minute');
END $$;
REVOKE ALL ON FUNCTION ledgerline_audit_refusal(text, text, text) FROM PUBLIC;
`;

const acts = "current_setting('app.action', true) <> '' AND current_setting('app.bulk', true) IS DISTINCT FROM '1'";

export class Audit1764547200000 implements MigrationInterface {
  name = "Audit1764547200000";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE audit_entry (
        workspace_id text NOT NULL,
        id uuid NOT NULL,
        at timestamptz(3) NOT NULL,
        actor text NOT NULL,
        action text NOT NULL,
        subject_type text NOT NULL,
        subject_id text,
        changes text,
        correlation_id text,
        CONSTRAINT pk_audit_entry PRIMARY KEY (workspace_id, id)
      );
      CREATE INDEX ix_audit_entry_at ON audit_entry (workspace_id, at, id);
      ALTER TABLE audit_entry ENABLE ROW LEVEL SECURITY;
      CREATE POLICY own_workspace ON audit_entry USING (workspace_id = nullif(current_setting('app.workspace_id', true), ''));
    `);
    await runner.query(rowFunction);
    await runner.query(operationFunction);
    await runner.query(refusalFunction);
    for (const [table, { type, shown, hidden = "", always }] of Object.entries(audited)) {
      const call = `EXECUTE FUNCTION ledgerline_audit_row('${type}', '${idOf[table] ?? "id"}', '${shown}', '${hidden}')`;
      await runner.query(
        `CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON ${table} FOR EACH ROW WHEN (${acts}) ${call}`,
      );
      if (always === undefined) continue;
      await runner.query(
        `CREATE TRIGGER audit_always AFTER UPDATE OF ${always} ON ${table} FOR EACH ROW WHEN ((${acts}) IS NOT TRUE) ${call}`,
      );
    }
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query("DROP FUNCTION ledgerline_audit_row() CASCADE");
    await runner.query("DROP FUNCTION ledgerline_audit_operation(boolean), ledgerline_audit_refusal(text, text, text)");
    await runner.query("DROP TABLE audit_entry");
  }
}
