/** Xero's contacts, and which participants they are. */
import { Arg, Authorized, Ctx, FieldResolver, ID, Int, Mutation, Query, Resolver, Root } from "type-graphql";
import { XeroContactGroup } from "../entities/Connection.js";
import { XeroContactStatus } from "../entities/enums.js";
import { Participant } from "../entities/Participant.js";
import { SyncRun } from "../entities/SyncRun.js";
import { SyncError } from "../entities/SyncError.js";
import { XeroContact } from "../entities/XeroContact.js";
import { checkFirst } from "../services/paging.js";
import { type Context } from "./context.js";

@Resolver(() => XeroContact)
export class XeroContactResolver {
  @Query(() => [XeroContact], {
    nullable: true,
    description:
      "Contacts of the active organisation by name, e-mail or contact number, for linking by hand; active ones first. Null while no organisation is chosen.",
  })
  xeroContacts(
    @Arg("search", () => String, { description: "A part of any of the three; empty: all." }) search: string,
    @Arg("first", () => Int, { nullable: true, defaultValue: 20, description: "1 to 100." }) first: number,
    @Ctx() { services, viewer }: Context,
  ): Promise<XeroContact[] | null> {
    checkFirst(first);
    return services.xeroContacts.search(viewer, search, first);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => Participant, {
    description:
      "Links a participant to a Xero contact by hand; a null contact unlinks, and the next sync matches anew. Invoices that failed for their contact are queued.",
  })
  linkContact(
    @Arg("participantId", () => ID) participantId: string,
    @Arg("xeroContactId", () => ID, { nullable: true }) xeroContactId: string | null | undefined,
    @Ctx() { services, viewer }: Context,
  ): Promise<Participant> {
    return services.xeroContacts.link(viewer, participantId, xeroContactId ?? null);
  }

  @Query(() => [XeroContactGroup], {
    nullable: true,
    description:
      "The active organisation's contact groups as last read, which refreshXeroData does. Null while no organisation is chosen, or none were read yet and Xero can't be asked.",
  })
  xeroContactGroups(@Ctx() { services, viewer }: Context): Promise<XeroContactGroup[] | null> {
    return services.organisationData.contactGroups(viewer);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => SyncRun, {
    description:
      "Takes in the chosen contacts of the active organisation as participants; while an import is going, that one. Repeats change nothing.",
  })
  importContacts(@Ctx() { services, viewer }: Context): Promise<SyncRun> {
    return services.contactImports.request(viewer);
  }

  @FieldResolver(() => XeroContactStatus)
  status(@Root() { status, mergedToContactId }: XeroContact): XeroContactStatus {
    if (status === "ACTIVE") return "ACTIVE";
    return mergedToContactId === null ? "ARCHIVED" : "MERGED";
  }

  @FieldResolver(() => Participant, { nullable: true, description: "The participant it is linked to." })
  participant(@Root() { contactId }: XeroContact, @Ctx() { loaders }: Context): Promise<Participant | null> {
    return loaders.contactOwner.load(contactId);
  }
}

@Resolver(() => SyncError)
export class SyncErrorResolver {
  @FieldResolver(() => [XeroContact], { description: "For CONTACT_AMBIGUOUS: the contacts it may be." })
  async contactCandidates(
    @Root() { contactCandidateIds = [] }: SyncError,
    @Ctx() { loaders }: Context,
  ): Promise<XeroContact[]> {
    const contacts = await Promise.all(contactCandidateIds.map((id) => loaders.xeroContact.load(id)));
    return contacts.filter((contact) => contact !== null);
  }
}
