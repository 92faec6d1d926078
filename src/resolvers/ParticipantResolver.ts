/** Participants with their plan manager, their contact and their invoices. */
import { Arg, Args, Authorized, Ctx, FieldResolver, ID, Mutation, Query, Resolver, Root } from "type-graphql";
import { XeroContactStatus } from "../entities/enums.js";
import { type Invoice } from "../entities/Invoice.js";
import { Participant } from "../entities/Participant.js";
import { notFound } from "../errors.js";
import { checkId } from "../services/loading.js";
import { checkFirst, type Page } from "../services/paging.js";
import { SaveParticipantInput } from "../services/Participants.js";
import { type Context } from "./context.js";
import { InvoiceConnection, PageArguments, ParticipantConnection } from "./relay.js";

@Resolver(() => Participant)
export class ParticipantResolver {
  @Query(() => Participant, { nullable: true })
  async participant(@Arg("id", () => ID) id: string, @Ctx() { loaders }: Context): Promise<Participant> {
    const found = await loaders.participant.load(checkId(id, "id"));
    if (!found) throw notFound("participant");
    return found;
  }

  @Query(() => ParticipantConnection)
  participants(
    @Args(() => PageArguments) page: PageArguments,
    @Arg("search", () => String, { nullable: true }) search: string | null | undefined,
    @Ctx() { services, viewer }: Context,
  ): Promise<Page<Participant>> {
    checkFirst(page.first);
    return services.participants.list(viewer, page, search);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => Participant, { description: "Creates, or updates when id is given." })
  saveParticipant(
    @Arg("input", () => SaveParticipantInput) input: SaveParticipantInput,
    @Ctx() { services, viewer }: Context,
  ): Promise<Participant> {
    return services.participants.save(viewer, input);
  }

  @FieldResolver(() => Participant, { nullable: true, description: "Who is billed when plan managed." })
  async planManager(@Root() { planManagerId }: Participant, @Ctx() { loaders }: Context): Promise<Participant | null> {
    return planManagerId === null ? null : loaders.participant.load(planManagerId);
  }

  @FieldResolver(() => ID, {
    nullable: true,
    description: "The contact in the active organisation; null: not linked yet.",
  })
  async xeroContactId(@Root() { id }: Participant, @Ctx() { loaders }: Context): Promise<string | null> {
    return (await loaders.contactLink.load(id))?.contactId ?? null;
  }

  @FieldResolver(() => XeroContactStatus, { nullable: true })
  async xeroContactStatus(@Root() { id }: Participant, @Ctx() { loaders }: Context): Promise<XeroContactStatus | null> {
    return (await loaders.contactLink.load(id))?.contactStatus ?? null;
  }

  @FieldResolver(() => InvoiceConnection)
  async invoices(
    @Root() { id }: Participant,
    @Args(() => PageArguments) { first, after }: PageArguments,
    @Ctx() { loaders }: Context,
  ): Promise<Page<Invoice>> {
    checkFirst(first);
    return loaders.invoicesOf({ first, after: after ?? null }).load(id);
  }
}
