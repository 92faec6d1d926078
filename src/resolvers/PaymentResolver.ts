/** Payments, of one invoice or of all. */
import { Arg, Args, Ctx, FieldResolver, ID, Query, Resolver, Root } from "type-graphql";
import { Invoice } from "../entities/Invoice.js";
import { Payment } from "../entities/Payment.js";
import { checkFirst, type Page } from "../services/paging.js";
import { type Context } from "./context.js";
import { PageArguments, PaymentConnection } from "./relay.js";

@Resolver(() => Payment)
export class PaymentResolver {
  @Query(() => PaymentConnection)
  payments(
    @Args(() => PageArguments) page: PageArguments,
    @Arg("invoiceId", () => ID, { nullable: true }) invoiceId: string | null | undefined,
    @Ctx() { services, viewer }: Context,
  ): Promise<Page<Payment>> {
    checkFirst(page.first);
    return services.payments.list(viewer, page, invoiceId);
  }

  @FieldResolver(() => Invoice)
  invoice(@Root() { invoiceId }: Payment, @Ctx() { loaders }: Context): Promise<Invoice | null> {
    return loaders.invoice.load(invoiceId);
  }
}
