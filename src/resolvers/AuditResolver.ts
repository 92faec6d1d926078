/** Who did what and when, and that every mutation is in that log. */
import { Args, Authorized, Ctx, type MiddlewareFn, Query, Resolver } from "type-graphql";
import { getNamedType } from "graphql";
import { actingAs } from "../acting.js";
import { AuditEntry } from "../entities/AuditEntry.js";
import { checkFirst, type Page } from "../services/paging.js";
import { type Context } from "./context.js";
import { AuditEntryConnection, PageArguments } from "./relay.js";

@Resolver(() => AuditEntry)
export class AuditResolver {
  @Authorized("ADMIN")
  @Query(() => AuditEntryConnection, { description: "Who did what and when, the newest first; for ADMIN." })
  auditLog(
    @Args(() => PageArguments) page: PageArguments,
    @Ctx() { services, viewer }: Context,
  ): Promise<Page<AuditEntry>> {
    checkFirst(page.first);
    return services.auditLog.list(viewer, page);
  }
}

/** Runs every mutation as done by its caller, and notes those that have changed nothing too. */
export const auditMutations: MiddlewareFn<Context> = async ({ info, args, context: { viewer, services } }, next) => {
  if (info.parentType !== info.schema.getMutationType()) return next() as Promise<unknown>;
  const who = {
    actor: viewer.subject,
    action: info.fieldName,
    subjectType: getNamedType(info.returnType).name,
    subjectId: subjectOf(args),
  };
  return actingAs(who, async (acting) => {
    const result: unknown = await next();
    await services.auditLog.note(viewer, acting);
    return result;
  });
};

/** The id that the arguments name, if it is one. */
function subjectOf(args: Record<string, unknown>): string | null {
  const input = (args["input"] ?? {}) as Record<string, unknown>;
  const ids = ["id", "invoiceId", "participantId", "taxRateId", "organisationId"].map(
    (name) => args[name] ?? input[name],
  );
  const id = ids.find((each) => typeof each === "string");
  return typeof id === "string" ? id.slice(0, 100) : null;
}
