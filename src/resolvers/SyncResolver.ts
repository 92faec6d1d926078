/** Syncs: asking for one, and what became of it. */
import { Arg, Args, Authorized, Ctx, FieldResolver, ID, Int, Mutation, Query, Resolver, Root } from "type-graphql";
import { SyncOutcome } from "../entities/enums.js";
import { Invoice } from "../entities/Invoice.js";
import { SyncAttempt } from "../entities/SyncAttempt.js";
import { SyncRun } from "../entities/SyncRun.js";
import { checkFirst, type Page } from "../services/paging.js";
import { SyncPreview } from "../services/sync/Previews.js";
import { type Context } from "./context.js";
import { PageArguments, SyncAttemptConnection, SyncRunConnection } from "./relay.js";

@Resolver(() => SyncRun)
export class SyncRunResolver {
  @Query(() => SyncRun, { nullable: true })
  syncRun(@Arg("id", () => ID) id: string, @Ctx() { services, viewer }: Context): Promise<SyncRun> {
    return services.syncRuns.load(viewer, id);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => SyncRun, {
    description:
      '"Sync with Xero": queues one invoice and answers at once; a second press while it runs answers the same run.',
  })
  syncInvoice(@Arg("id", () => ID) id: string, @Ctx() { services, viewer }: Context): Promise<SyncRun> {
    return services.syncRuns.requestInvoice(viewer, id);
  }

  @Query(() => SyncRunConnection, { description: "The newest first." })
  syncRuns(
    @Arg("first", () => Int, { nullable: true, defaultValue: 20, description: "1 to 100." }) first: number,
    @Arg("after", () => String, { nullable: true, description: "endCursor of the page before." })
    after: string | null | undefined,
    @Ctx() { services, viewer }: Context,
  ): Promise<Page<SyncRun>> {
    checkFirst(first);
    return services.syncRuns.list(viewer, { first, after: after ?? null });
  }

  @Query(() => [SyncPreview], {
    description:
      "What a sync of these invoices would do, found by the same code path, with nothing written anywhere; up to 1,000.",
  })
  previewSync(
    @Arg("invoiceIds", () => [ID]) invoiceIds: string[],
    @Ctx() { services, viewer }: Context,
  ): Promise<SyncPreview[]> {
    return services.previews.preview(viewer, invoiceIds);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => SyncRun, {
    description:
      "Queues up to 1,000 invoices as one run; those that another run is at are SKIPPED in it, and where one run is at all of them, that one is answered.",
  })
  syncInvoices(@Arg("ids", () => [ID]) ids: string[], @Ctx() { services, viewer }: Context): Promise<SyncRun> {
    return services.syncRuns.requestInvoices(viewer, ids);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => SyncRun, {
    description:
      '"Run Now": every approved invoice that has no Xero id, never synced or failed before; while such a run is going, that one.',
  })
  runInvoiceSync(@Ctx() { services, viewer }: Context): Promise<SyncRun> {
    return services.syncRuns.runNow(viewer);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => SyncRun, { description: "Queues again whatever of the run is FAILED still." })
  retrySyncRun(@Arg("id", () => ID) id: string, @Ctx() { services, viewer }: Context): Promise<SyncRun> {
    return services.syncRuns.retry(viewer, id);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => SyncRun, { description: "Takes back whatever was not begun; what is in flight finishes." })
  cancelSyncRun(@Arg("id", () => ID) id: string, @Ctx() { services, viewer }: Context): Promise<SyncRun> {
    return services.syncRuns.cancel(viewer, id);
  }

  @FieldResolver(() => Int, {
    description:
      "Invoices (or contacts, or payments) selected, and how each ended so far: the rest adds up to the total.",
  })
  async total(@Root() { id }: SyncRun, @Ctx() { loaders }: Context): Promise<number> {
    return [...(await loaders.outcomesOf.load(id)).values()].reduce((sum, count) => sum + count, 0);
  }

  @FieldResolver(() => Int)
  pending(@Root() run: SyncRun, @Ctx() context: Context): Promise<number> {
    return count(run, "PENDING", context);
  }

  @FieldResolver(() => Int)
  created(@Root() run: SyncRun, @Ctx() context: Context): Promise<number> {
    return count(run, "CREATED", context);
  }

  @FieldResolver(() => Int)
  updated(@Root() run: SyncRun, @Ctx() context: Context): Promise<number> {
    return count(run, "UPDATED", context);
  }

  @FieldResolver(() => Int)
  adopted(@Root() run: SyncRun, @Ctx() context: Context): Promise<number> {
    return count(run, "ADOPTED", context);
  }

  @FieldResolver(() => Int)
  unchanged(@Root() run: SyncRun, @Ctx() context: Context): Promise<number> {
    return count(run, "UNCHANGED", context);
  }

  @FieldResolver(() => Int)
  skipped(@Root() run: SyncRun, @Ctx() context: Context): Promise<number> {
    return count(run, "SKIPPED", context);
  }

  @FieldResolver(() => Int)
  failed(@Root() run: SyncRun, @Ctx() context: Context): Promise<number> {
    return count(run, "FAILED", context);
  }

  @FieldResolver(() => Int)
  uncertain(@Root() run: SyncRun, @Ctx() context: Context): Promise<number> {
    return count(run, "UNCERTAIN", context);
  }

  @FieldResolver(() => Int)
  cancelled(@Root() run: SyncRun, @Ctx() context: Context): Promise<number> {
    return count(run, "CANCELLED", context);
  }

  @FieldResolver(() => SyncAttemptConnection)
  async attempts(
    @Root() { id }: SyncRun,
    @Args(() => PageArguments) page: PageArguments,
    @Arg("outcome", () => [SyncOutcome], { nullable: true }) outcome: SyncOutcome[] | null | undefined,
    @Ctx() { services, viewer }: Context,
  ): Promise<Page<SyncAttempt>> {
    checkFirst(page.first);
    return services.syncRuns.attempts(viewer, id, page, outcome);
  }
}

async function count({ id }: SyncRun, outcome: SyncOutcome, { loaders }: Context): Promise<number> {
  return (await loaders.outcomesOf.load(id)).get(outcome) ?? 0;
}

@Resolver(() => SyncAttempt)
export class SyncAttemptResolver {
  @FieldResolver(() => Invoice)
  invoice(@Root() { invoiceId }: SyncAttempt, @Ctx() { loaders }: Context): Promise<Invoice | null> {
    return loaders.invoice.load(invoiceId);
  }
}
