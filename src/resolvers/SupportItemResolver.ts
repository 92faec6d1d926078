/** Support items with their account and tax rate. */
import { Arg, Args, Authorized, Ctx, FieldResolver, Mutation, Query, Resolver, Root } from "type-graphql";
import { Account } from "../entities/Account.js";
import { SupportItem } from "../entities/SupportItem.js";
import { SupportItemPrice } from "../entities/SupportItemPrice.js";
import { TaxRate } from "../entities/TaxRate.js";
import { DecimalScalar } from "../scalars.js";
import { priceLimitOn } from "../services/catalogue/priceLimits.js";
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

  @FieldResolver(() => DecimalScalar, {
    nullable: true,
    description:
      "What was set by hand, else the NDIS price limit of the uploaded catalogue's region that holds today; null: none. A line above the limit of its service date is sent with a warning.",
  })
  async priceLimit(@Root() item: SupportItem, @Ctx() { loaders }: Context): Promise<string | null> {
    if (item.priceLimit !== null) return item.priceLimit;
    const { today, prices } = await loaders.pricing.load(item.id);
    return priceLimitOn(item, prices, today);
  }

  @FieldResolver(() => [SupportItemPrice], { description: "The uploaded catalogue's price limits, the latest first." })
  async priceLimits(@Root() { id }: SupportItem, @Ctx() { loaders }: Context): Promise<SupportItemPrice[]> {
    return (await loaders.pricing.load(id)).prices;
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
