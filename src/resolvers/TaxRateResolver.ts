/** The platform's tax rates and what they are in Xero. */
import { Arg, Authorized, Ctx, FieldResolver, ID, Mutation, Query, Resolver, Root } from "type-graphql";
import { TaxRate } from "../entities/TaxRate.js";
import { XeroTaxRate } from "../entities/XeroTaxRate.js";
import { SaveTaxRateInput } from "../services/TaxRates.js";
import { type Context } from "./context.js";

@Resolver(() => TaxRate)
export class TaxRateResolver {
  @Query(() => [TaxRate], { description: "The platform's own tax rates with what each is mapped to." })
  taxRates(@Ctx() { services, viewer }: Context): Promise<TaxRate[]> {
    return services.taxRates.list(viewer);
  }

  @Query(() => [XeroTaxRate], {
    nullable: true,
    description: "Tax rates of the active organisation that sales lines may use.",
  })
  xeroTaxRates(@Ctx() { services, viewer }: Context): Promise<XeroTaxRate[] | null> {
    return services.taxRates.xeroTaxRates(viewer);
  }

  @Authorized("ADMIN")
  @Mutation(() => TaxRate)
  saveTaxRate(
    @Arg("input", () => SaveTaxRateInput) input: SaveTaxRateInput,
    @Ctx() { services, viewer }: Context,
  ): Promise<TaxRate> {
    return services.taxRates.save(viewer, input);
  }

  @Authorized("ADMIN")
  @Mutation(() => TaxRate, {
    description:
      "Refused with TAX_RATE_MISMATCH unless effective rate and components are equal. A null taxType unmaps.",
  })
  mapTaxRate(
    @Arg("taxRateId", () => ID) taxRateId: string,
    @Arg("xeroTaxType", () => ID, { nullable: true }) xeroTaxType: string | null | undefined,
    @Ctx() { services, viewer }: Context,
  ): Promise<TaxRate> {
    return services.taxRates.map(viewer, taxRateId, xeroTaxType ?? null);
  }

  @FieldResolver(() => XeroTaxRate, {
    nullable: true,
    description: "What it is in the active organisation; null: not mapped yet.",
  })
  async xeroTaxRate(@Root() taxRate: TaxRate, @Ctx() { loaders }: Context): Promise<XeroTaxRate | null> {
    return (await loaders.taxRateMatch.load(taxRate)).mapped;
  }

  @FieldResolver(() => [XeroTaxRate], {
    description:
      "The rates of the active organisation that it may be mapped to: equal effective rate and components. The first is proposed: GST Free Income for what has no tax, GST on Income for what has.",
  })
  async matchingXeroTaxRates(@Root() taxRate: TaxRate, @Ctx() { loaders }: Context): Promise<XeroTaxRate[]> {
    return (await loaders.taxRateMatch.load(taxRate)).matching;
  }
}
