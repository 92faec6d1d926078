/** Payments, of one invoice or of all, and what a person or the platform does with them. */
import { Arg, Args, Authorized, Ctx, FieldResolver, ID, Mutation, Query, Resolver, Root } from "type-graphql";
import { Invoice } from "../entities/Invoice.js";
import { Payment } from "../entities/Payment.js";
import { checkFirst, type Page } from "../services/paging.js";
import { RecordPaymentInput } from "../services/payments/recordInput.js";
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

  @Authorized("BOOKKEEPER")
  @Mutation(() => Payment, {
    description:
      "Records a payment made on the platform, such as Stripe; the same financeExternalId again answers the same payment.",
  })
  recordPayment(
    @Arg("input", () => RecordPaymentInput) input: RecordPaymentInput,
    @Ctx() { services, viewer }: Context,
  ): Promise<Payment> {
    return services.payments.record(viewer, input);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => Payment, {
    description: "Takes back a payment recorded on the platform, in Xero too if it was pushed.",
  })
  reversePayment(@Arg("id", () => ID) id: string, @Ctx() { services, viewer }: Context): Promise<Payment> {
    return services.payments.reverse(viewer, id);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => Payment, {
    description:
      "Sends a payment that Xero refused once more; or for the first time one that was recorded while pushPayments was off.",
  })
  retryPayment(@Arg("id", () => ID) id: string, @Ctx() { services, viewer }: Context): Promise<Payment> {
    return services.payments.retry(viewer, id);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => Payment, {
    description: "Whether the payment or credit counts towards the invoice's totals, from now on.",
  })
  setPaymentIncluded(
    @Arg("id", () => ID) id: string,
    @Arg("include", () => Boolean) include: boolean,
    @Ctx() { services, viewer }: Context,
  ): Promise<Payment> {
    return services.payments.setIncluded(viewer, id, include);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => Payment, {
    description:
      "Whether a payment recorded on the platform has gone through. One that came from Xero follows Xero, and is refused.",
  })
  setPaymentPaid(
    @Arg("id", () => ID) id: string,
    @Arg("paid", () => Boolean) paid: boolean,
    @Ctx() { services, viewer }: Context,
  ): Promise<Payment> {
    return services.payments.setPaid(viewer, id, paid);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => Invoice, { description: "Reads the invoice's payments from Xero now." })
  syncPayments(@Arg("invoiceId", () => ID) invoiceId: string, @Ctx() { services, viewer }: Context): Promise<Invoice> {
    return services.payments.sync(viewer, invoiceId);
  }

  @FieldResolver(() => Invoice)
  invoice(@Root() { invoiceId }: Payment, @Ctx() { loaders }: Context): Promise<Invoice | null> {
    return loaders.invoice.load(invoiceId);
  }
}
