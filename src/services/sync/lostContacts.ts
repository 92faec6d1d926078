/** What becomes of attempts whose contact, as Xero says when it is sent an invoice, is not there or is archived. */
import { In } from "typeorm";
import { type WorkspaceTransaction } from "../../database.js";
import { type Connection } from "../../entities/Connection.js";
import { ContactLink } from "../../entities/ContactLink.js";
import { type SyncAttempt } from "../../entities/SyncAttempt.js";
import { type SyncError } from "../../entities/SyncError.js";
import { XeroContact } from "../../entities/XeroContact.js";
import { type Member } from "./outcomes.js";
import { putBack } from "./putBack.js";
import { archivedContact, unknownContact } from "./syncErrors.js";

/** Unlinks contacts that Xero does not know; they are looked for anew before the attempts go out again. */
export async function forgetUnknown(
  tx: WorkspaceTransaction,
  connection: Connection,
  attempts: SyncAttempt[],
  contactIds: string[],
): Promise<void> {
  const key = { workspaceId: tx.workspaceId, connectionId: connection.id, contactId: In(contactIds) };
  await tx.manager.delete(ContactLink, key);
  await tx.manager.delete(XeroContact, key);
  const gone = new Set(contactIds);
  const [unsettled, others] = [true, false].map((want) =>
    attempts.filter(({ contactId }) => gone.has(contactId ?? "") === want),
  );
  const why = { lastError: unknownContact, counts: true };
  await putBack(tx, connection, unsettled ?? [], { ...why, also: { contactId: null } });
  await putBack(tx, connection, others ?? [], { ...why, counts: false, waitMs: 0 });
}

/** A contact that a person has archived may have been merged into another: it is looked for before the attempts go out again, or fail. */
export async function lookForArchived(
  tx: WorkspaceTransaction,
  connection: Connection,
  members: Member[],
  refused: Map<string, SyncError>,
): Promise<void> {
  if (members.length === 0) return;
  const words = new Map(
    members.map(({ attempt, written }) => [written.contactId ?? "", refused.get(attempt.id)?.xeroMessages ?? []]),
  );
  for (const [contactId, warnings] of words) {
    const key = { workspaceId: tx.workspaceId, connectionId: connection.id, contactId };
    await tx.manager.update(ContactLink, key, { contactStatus: "ARCHIVED", warnings });
  }
  await putBack(
    tx,
    connection,
    members.map(({ attempt }) => attempt),
    { lastError: archivedContact, counts: true, waitMs: 0, also: { contactId: null } },
  );
}
