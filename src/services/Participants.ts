/** Participants: who is supported, and who is billed for it. */
import { Field, ID, InputType } from "type-graphql";
import { v7 as uuidv7 } from "uuid";
import { type Database, violates, type WorkspaceTransaction } from "../database.js";
import { PlanManagement } from "../entities/enums.js";
import { Participant } from "../entities/Participant.js";
import { badInput } from "../errors.js";
import { type Viewer } from "../viewer.js";
import { load } from "./loading.js";
import { type ListOrder, type Page, type PageRequest, readPage } from "./paging.js";
import { Problems } from "./problems.js";
import { billedTo, queueMended, rejectedContent } from "./sync/queueRun.js";

@InputType()
export class SaveParticipantInput {
  @Field(() => ID, { nullable: true })
  id?: string | null;

  @Field(() => String, { nullable: true })
  contactNumber?: string | null;

  @Field(() => String)
  name!: string;

  @Field(() => String, { nullable: true })
  firstName?: string | null;

  @Field(() => String, { nullable: true })
  lastName?: string | null;

  @Field(() => String, { nullable: true })
  email?: string | null;

  @Field(() => String, { nullable: true })
  phone?: string | null;

  @Field(() => String, { nullable: true })
  ndisNumber?: string | null;

  @Field(() => PlanManagement, { nullable: true, description: "Required on create." })
  planManagement?: PlanManagement | null;

  @Field(() => ID, { nullable: true })
  planManagerId?: string | null;
}

const byName: ListOrder<Participant> = {
  name: "participants",
  direction: "ASC",
  keys: [
    { property: "name", column: "name", type: "text" },
    { property: "id", column: "id", type: "uuid" },
  ],
};

/** Escapes what LIKE would take for a wildcard. */
export function likePattern(search: string): string {
  return `%${search.trim().replace(/[\\%_]/g, "\\$&")}%`;
}

export class Participants {
  constructor(private readonly database: Database) {}

  /**
   * Creates the participant, or updates it when an id is given: a field left out keeps its value, null clears it.
   * Throws BAD_USER_INPUT, and NOT_FOUND for an unknown id or plan manager.
   */
  async save(viewer: Viewer, input: SaveParticipantInput): Promise<Participant> {
    try {
      return await this.database.inWorkspace(viewer.workspaceId, (tx) => this.saveIn(tx, input));
    } catch (error) {
      if (!violates(error, "uq_participant_contact_number")) throw error;
      throw badInput({ field: "input.contactNumber", reason: "is another participant's already" });
    }
  }

  /** One page of participants by name; `search` looks in name, e-mail, contact number and NDIS number. */
  async list(viewer: Viewer, page: PageRequest, search?: string | null): Promise<Page<Participant>> {
    const query = (tx: WorkspaceTransaction) => {
      const all = tx.manager.createQueryBuilder(Participant, "p").where("p.workspace_id = :ws", { ws: tx.workspaceId });
      if (search?.trim()) {
        all.andWhere("(p.name ILIKE :s OR p.email ILIKE :s OR p.contact_number ILIKE :s OR p.ndis_number ILIKE :s)", {
          s: likePattern(search),
        });
      }
      return all;
    };
    return readPage(this.database, viewer, { order: byName, request: page, query });
  }

  private async saveIn(tx: WorkspaceTransaction, input: SaveParticipantInput): Promise<Participant> {
    const existing =
      input.id != null
        ? await load(tx, Participant, input.id, { thing: "participant", field: "input.id", lock: true })
        : null;
    const problems = new Problems();
    const name = problems.required("input.name", input.name, 255);
    if (/[<>]/.test(name)) problems.add("input.name", "must not contain < or >, which Xero refuses");
    const optional = (key: "firstName" | "lastName" | "email" | "phone" | "ndisNumber", max: number) =>
      input[key] === undefined ? (existing?.[key] ?? null) : problems.text(`input.${key}`, input[key], max);
    const email = optional("email", 255);
    if (email !== null && !/^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(email))
      problems.add("input.email", "must be an e-mail address");
    const ndisNumber = optional("ndisNumber", 9);
    if (ndisNumber !== null && !/^\d{9}$/.test(ndisNumber)) problems.add("input.ndisNumber", "must have nine digits");
    const planManagement = input.planManagement ?? existing?.planManagement;
    if (!planManagement || input.planManagement === null) problems.add("input.planManagement", "is required");
    const planManagerId = input.planManagerId === undefined ? (existing?.planManagerId ?? null) : input.planManagerId;
    if (planManagerId !== null && planManagerId === existing?.id)
      problems.add("input.planManagerId", "must be somebody else");
    const id = existing?.id ?? uuidv7();
    const given = problems.text("input.contactNumber", input.contactNumber, 50);
    const names = {
      firstName: optional("firstName", 255),
      lastName: optional("lastName", 255),
      phone: optional("phone", 50),
    };
    problems.throwIfAny();
    if (planManagerId !== null)
      await load(tx, Participant, planManagerId, { thing: "plan manager", field: "input.planManagerId" });
    const participant = tx.manager.create(Participant, {
      workspaceId: tx.workspaceId,
      id,
      contactNumber: given ?? existing?.contactNumber ?? `P-${id.slice(-12).toUpperCase()}`,
      name,
      ...names,
      email,
      ndisNumber,
      planManagement: planManagement ?? "NOT_NDIS",
      planManagerId,
      updatedAt: new Date(),
    });
    await tx.manager.upsert(Participant, participant, ["workspaceId", "id"]);
    if (existing) await queueMended(tx, rejectedContent, (query) => billedTo(query, [id]));
    return participant;
  }
}
