/**
 * What a sync would do, before anybody confirms it: the sync's own code (`prepareInvoice`, `matchContact`) with the sending left out. Nothing is
 * written and Xero is not called, so contacts are matched on the copy that is there.
 */
import { Field, ObjectType } from "type-graphql";
import { type Database, type WorkspaceTransaction } from "../../database.js";
import { Connection } from "../../entities/Connection.js";
import { ContactAction, SyncPreviewAction } from "../../entities/enums.js";
import { Invoice } from "../../entities/Invoice.js";
import { SyncError } from "../../entities/SyncError.js";
import { DecimalScalar } from "../../scalars.js";
import { type Viewer } from "../../viewer.js";
import { type Integrations, type Readiness } from "../Integrations.js";
import { groupBy } from "../loading.js";
import { hashOf } from "./contactFields.js";
import { findCandidates } from "./ContactMirrors.js";
import { type Candidates, matchContact } from "./matchContact.js";
import { type Materials, prepareInvoice, readMaterials } from "./prepare.js";
import { lostConnection, switchedOff, syncError } from "./syncErrors.js";
import { loadNamed, unsyncable } from "./SyncRuns.js";

@ObjectType()
export class SyncPreview {
  @Field(() => Invoice)
  invoice!: Invoice;

  @Field(() => SyncPreviewAction)
  action!: SyncPreviewAction;

  @Field(() => ContactAction, {
    nullable: true,
    description: "By the copy of the organisation's contacts; null where nothing would be sent.",
  })
  contactAction!: ContactAction | null;

  @Field(() => DecimalScalar, { nullable: true, description: "Totals as Xero will compute them." })
  expectedSubtotal!: string | null;

  @Field(() => DecimalScalar, { nullable: true })
  expectedTax!: string | null;

  @Field(() => DecimalScalar, { nullable: true })
  expectedTotal!: string | null;

  @Field(() => [String], { description: "What a person should know, though it does not keep it back." })
  warnings!: string[];

  @Field(() => [SyncError], { description: "What keeps it back: nothing is sent while there is any." })
  problems!: SyncError[];
}

export class Previews {
  constructor(
    private readonly database: Database,
    private readonly integrations: Integrations,
  ) {}

  /** A preview for each of up to 1,000 invoices, in the order given. Throws BAD_USER_INPUT, naming each id that is unknown or named twice. */
  async preview(viewer: Viewer, ids: string[]): Promise<SyncPreview[]> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const invoices = await loadNamed(tx, ids, { field: "invoiceIds" });
      const readiness = await this.integrations.readiness(tx);
      const previews = new Map<string, SyncPreview>();
      const byConnection = groupBy(
        invoices.values(),
        ({ xeroId, connectionId }) => (xeroId === null ? readiness.connection?.id : connectionId) ?? "",
      );
      for (const [connectionId, group] of byConnection) {
        const connection =
          connectionId === ""
            ? null
            : await tx.manager.findOneBy(Connection, { workspaceId: tx.workspaceId, id: connectionId });
        for (const preview of await previewGroup(tx, readiness, connection, group))
          previews.set(preview.invoice.id, preview);
      }
      return ids.flatMap((id) => previews.get(id.toLowerCase()) ?? []);
    });
  }
}

async function previewGroup(
  tx: WorkspaceTransaction,
  readiness: Readiness,
  connection: Connection | null,
  invoices: Invoice[],
): Promise<SyncPreview[]> {
  const obstacles = obstaclesOf(readiness, connection);
  if (!connection) return invoices.map((invoice) => previewOf(invoice, [...refusalsOf(invoice), ...obstacles], null));
  const { integration } = readiness;
  const materials = await readMaterials(
    tx,
    { integration, connection, appUrl: "" },
    invoices.map(({ id }) => id),
  );
  const candidates = await findCandidates(
    tx,
    connection.id,
    [...materials.participants.values()],
    [...materials.links.values()].map(({ contactId }) => contactId),
  );
  return invoices.map((invoice) => {
    const problems = [...refusalsOf(invoice), ...obstacles];
    if (isUnchanged(invoice)) return previewOf(invoice, problems, null);
    const prepared = prepareInvoice(materials, invoice);
    if ("code" in prepared) return previewOf(invoice, [...problems, prepared], null);
    const contact = contactOf(materials, candidates, prepared.billed.id);
    return typeof contact === "string"
      ? previewOf(invoice, problems, contact, prepared.warnings)
      : previewOf(invoice, [...problems, contact], null, prepared.warnings);
  });
}

function previewOf(
  invoice: Invoice,
  problems: SyncError[],
  contactAction: ContactAction | null,
  warnings: string[] = [],
): SyncPreview {
  return {
    invoice,
    action: problems.length > 0 ? "BLOCKED" : actionOf(invoice),
    contactAction,
    expectedSubtotal: invoice.subtotal,
    expectedTax: invoice.totalTax,
    expectedTotal: invoice.total,
    warnings,
    problems,
  };
}

function actionOf(invoice: Invoice): SyncPreviewAction {
  // It may be there already: that is found out before anything is sent.
  if (invoice.syncStatus === "UNCERTAIN") return "ADOPT";
  if (isUnchanged(invoice)) return "SKIP";
  return invoice.xeroId === null ? "CREATE" : "UPDATE";
}

function isUnchanged({ xeroId, revision, sentRevision }: Invoice): boolean {
  return xeroId !== null && revision === sentRevision;
}

/** What is done for the contact, or why it can't be said which one it is. */
function contactOf(materials: Materials, candidates: Candidates, participantId: string): ContactAction | SyncError {
  const participant = materials.participants.get(participantId);
  if (!participant) throw new Error(`participant ${participantId} was not read`);
  const link = materials.links.get(participantId);
  if (link?.contactStatus === "ACTIVE") return link.sentHash === hashOf(participant) ? "UNCHANGED" : "UPDATED";
  const match = matchContact(participant, candidates, link?.contactId);
  if (match === null) return "CREATED";
  return "code" in match ? match : "LINKED";
}

function refusalsOf(invoice: Invoice): SyncError[] {
  const reason = unsyncable(invoice);
  return reason === null ? [] : [syncError("INVALID_INVOICE", `It can't be synced: ${reason}.`, "See its status.")];
}

/** What keeps everything back, in the order in which a sync refuses. */
function obstaclesOf({ integration, missing }: Readiness, connection: Connection | null): SyncError[] {
  const obstacles: SyncError[] = [];
  if (!integration.enabled) obstacles.push(switchedOff);
  if (!connection) {
    obstacles.push(
      syncError(
        "XERO_NOT_CONNECTED",
        "No Xero organisation is connected and chosen.",
        "An administrator has to connect to Xero and choose an organisation.",
      ),
    );
  } else if (connection.connectionStatus !== "CONNECTED") obstacles.push(lostConnection(connection));
  const open = missing.filter((step) => !["ENABLE", "CONNECT", "SELECT_ORGANISATION"].includes(step));
  if (open.length > 0) {
    obstacles.push(
      syncError(
        "INVALID_MAPPING",
        `Setting up is not finished: ${open.join(", ")}.`,
        "An administrator has to finish the settings of the integration.",
      ),
    );
  }
  return obstacles;
}
