/**
 * Why an invoice is, or is not, in Xero: each condition for being synced, in the order in which they are asked, with whether it holds. It asks
 * with the code that a sync asks with, so the two can't disagree.
 */
import { Field, ObjectType } from "type-graphql";
import { NIL } from "uuid";
import { type WorkspaceTransaction } from "../../database.js";
import { Connection } from "../../entities/Connection.js";
import { type SetupStep } from "../../entities/enums.js";
import { type Invoice } from "../../entities/Invoice.js";
import { type Integrations } from "../Integrations.js";
import { prepareInvoice, readMaterials } from "./prepare.js";

@ObjectType()
export class SyncCheck {
  @Field(() => String, { description: "The condition, in words." })
  name!: string;

  @Field(() => Boolean)
  passed!: boolean;

  @Field(() => String, { nullable: true, description: "What is known of it, or what to do." })
  detail!: string | null;
}

/** Has no accounts and rates: where no organisation is chosen, what needs one does not hold. */
const nowhere = Object.assign(new Connection(), { id: NIL });

const aboutTheLink: SetupStep[] = ["ENABLE", "CONNECT", "SELECT_ORGANISATION", "WEBHOOK"];

/** The checklists of these invoices, by id, from a fixed number of statements. */
export async function readChecklists(
  tx: WorkspaceTransaction,
  integrations: Integrations,
  ids: readonly string[],
): Promise<Map<string, SyncCheck[]>> {
  const { integration, connection, missing } = await integrations.readiness(tx);
  const materials = await readMaterials(tx, { integration, connection: connection ?? nowhere, appUrl: "" }, [...ids]);
  const open = missing.filter((step) => !aboutTheLink.includes(step));
  const { syncStartDate } = integration;
  const ofWorkspace = [
    check("The integration is switched on", integration.enabled),
    check(
      "A Xero organisation is connected and chosen",
      connection?.connectionStatus === "CONNECTED",
      connection?.statusReason ?? connection?.name ?? null,
    ),
    check("Xero's webhooks are configured", !missing.includes("WEBHOOK")),
    check("Setting up is finished", open.length === 0, open.length === 0 ? null : `Open: ${open.join(", ")}`),
  ];
  const ofInvoice = (invoice: Invoice): SyncCheck[] => {
    const elsewhere = invoice.connectionId !== null && connection !== null && invoice.connectionId !== connection.id;
    const prepared = connection === null ? null : prepareInvoice(materials, invoice);
    const problem = prepared !== null && "code" in prepared ? prepared : null;
    return [
      check(
        "It is approved",
        invoice.status !== "DRAFT" && invoice.status !== "VOIDED",
        `Its status is ${invoice.status}.`,
      ),
      check("It is not taken out of the sync", invoice.syncStatus !== "IGNORED"),
      check(
        "It is dated on or after the sync start date",
        syncStartDate === null || invoice.date >= syncStartDate,
        syncStartDate === null ? null : `It is dated ${invoice.date}; the start date is ${syncStartDate}.`,
      ),
      check(
        "It belongs to the organisation that is chosen",
        !elsewhere,
        elsewhere ? "It was sent to another organisation first, and stays with it unless it is synced by hand." : null,
      ),
      check(
        "Whom it bills, its accounts and its tax rates are right",
        invoice.xeroId !== null || (prepared !== null && problem === null),
        problem && `${problem.message} ${problem.resolution}`,
      ),
      check(
        "Xero has accepted it",
        invoice.xeroId !== null,
        invoice.xeroInvoiceNumber ??
          (invoice.syncError && `${invoice.syncError.message} ${invoice.syncError.resolution}`),
      ),
    ];
  };
  return new Map(
    [...materials.invoices.values()].map((invoice) => [invoice.id, [...ofWorkspace, ...ofInvoice(invoice)]]),
  );
}

function check(name: string, passed: boolean, detail: string | null = null): SyncCheck {
  return { name, passed, detail };
}
