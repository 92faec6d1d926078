/** Support items with their account and tax rate. */
import { Arg, Args, Authorized, Ctx, FieldResolver, Mutation, Query, Resolver, Root } from "type-graphql";
import { Account } from "../entities/Account.js";
import { SupportItem } from "../entities/SupportItem.js";
import { TaxRate } from "../entities/TaxRate.js";
import { checkFirst, type Page } from "../services/paging.js";
import { SaveSupportItemInput } from "../services/SupportItems.js";
import { type Context } from "./context.js";
import { PageArguments, SupportItemConnection } from "./relay.js";

@Resolver(() => SupportItem)
export class SupportItemResolver {
  @Query(() => SupportItemConnection)
  supportItems(
    @Args(() => PageArguments) page: PageArguments,
    @Arg("search", () => String, { nullable: true }) search: string | null | undefined,
    @Ctx() { services, viewer }: Context,
  ): Promise<Page<SupportItem>> {
    checkFirst(page.first);
    return services.supportItems.list(viewer, page, search);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => SupportItem, { description: "Creates, or updates the one with this item number." })
  saveSupportItem(
    @Arg("input", () => SaveSupportItemInput) input: SaveSupportItemInput,
    @Ctx() { services, viewer }: Context,
  ): Promise<SupportItem> {
    return services.supportItems.save(viewer, input);
  }

  @FieldResolver(() => Account, { nullable: true })
  async salesAccount(@Root() { salesAccountId }: SupportItem, @Ctx() { loaders }: Context): Promise<Account | null> {
    return salesAccountId === null ? null : loaders.account.load(salesAccountId);
  }

  @FieldResolver(() => TaxRate, { nullable: true })
  async taxRate(@Root() { taxRateId }: SupportItem, @Ctx() { loaders }: Context): Promise<TaxRate | null> {
    return taxRateId === null ? null : loaders.taxRate.load(taxRateId);
  }
}
