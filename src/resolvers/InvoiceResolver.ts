/** Invoices with their lines, payments and their way to Xero. */
import { Arg, Args, Authorized, Ctx, FieldResolver, ID, Int, Mutation, Query, Resolver, Root } from "type-graphql";
import { Account } from "../entities/Account.js";
import { Connection } from "../entities/Connection.js";
import { InvoiceOrder } from "../entities/enums.js";
import { Invoice } from "../entities/Invoice.js";
import { LineItem } from "../entities/LineItem.js";
import { Participant } from "../entities/Participant.js";
import { Payment } from "../entities/Payment.js";
import { SupportItem } from "../entities/SupportItem.js";
import { SyncAttempt } from "../entities/SyncAttempt.js";
import { TaxRate } from "../entities/TaxRate.js";
import { InvoiceFilter } from "../services/Invoices.js";
import { SaveInvoiceInput } from "../services/invoiceInput.js";
import { checkFirst, type Page } from "../services/paging.js";
import { SyncCheck } from "../services/sync/checklist.js";
import { type Context } from "./context.js";
import { InvoiceConnection, PageArguments } from "./relay.js";

@Resolver(() => Invoice)
export class InvoiceResolver {
  @Query(() => Invoice, { nullable: true })
  invoice(@Arg("id", () => ID) id: string, @Ctx() { services, viewer }: Context): Promise<Invoice> {
    return services.invoices.load(viewer, id);
  }

  @Query(() => InvoiceConnection)
  invoices(
    @Args(() => PageArguments) page: PageArguments,
    @Arg("filter", () => InvoiceFilter, { nullable: true }) filter: InvoiceFilter | null | undefined,
    @Arg("orderBy", () => InvoiceOrder, { nullable: true, defaultValue: "NEWEST_FIRST" }) orderBy: InvoiceOrder | null,
    @Ctx() { services, viewer }: Context,
  ): Promise<Page<Invoice>> {
    checkFirst(page.first);
    return services.invoices.list(viewer, page, { filter: filter ?? null, orderBy: orderBy ?? "NEWEST_FIRST" });
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => Invoice, { description: "Creates a DRAFT, or replaces the content of the invoice when id is given." })
  saveInvoice(
    @Arg("input", () => SaveInvoiceInput) input: SaveInvoiceInput,
    @Ctx() { services, viewer }: Context,
  ): Promise<Invoice> {
    return services.invoices.save(viewer, input);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => Invoice)
  approveInvoice(@Arg("id", () => ID) id: string, @Ctx() { services, viewer }: Context): Promise<Invoice> {
    return services.invoices.approve(viewer, id);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => Invoice, {
    description:
      "Voids it here and, if it was synced, in Xero: a draft is deleted there, an approved one voided. In Xero it takes a moment: it is QUEUED, and VOIDED once Xero has done it.",
  })
  voidInvoice(@Arg("id", () => ID) id: string, @Ctx() { services, viewer }: Context): Promise<Invoice> {
    return services.invoices.void(viewer, id);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => Invoice, { description: "Takes a failed invoice out of the sync, or puts it back." })
  setInvoiceIgnored(
    @Arg("id", () => ID) id: string,
    @Arg("ignored", () => Boolean) ignored: boolean,
    @Ctx() { services, viewer }: Context,
  ): Promise<Invoice> {
    return services.invoices.setIgnored(viewer, id, ignored);
  }

  @FieldResolver(() => Participant)
  participant(@Root() { participantId }: Invoice, @Ctx() { loaders }: Context): Promise<Participant | null> {
    return loaders.participant.load(participantId);
  }

  @FieldResolver(() => [LineItem])
  lineItems(@Root() { id }: Invoice, @Ctx() { loaders }: Context): Promise<LineItem[]> {
    return loaders.linesOf.load(id);
  }

  @FieldResolver(() => [Payment])
  payments(@Root() { id }: Invoice, @Ctx() { loaders }: Context): Promise<Payment[]> {
    return loaders.paymentsOf.load(id);
  }

  @FieldResolver(() => [String], {
    description:
      "What a person should know of it: how it was sent, where Xero's invoice was changed since, payments that look like the same money.",
  })
  syncWarnings(@Root() { syncWarnings, xeroWarnings, paymentWarnings }: Invoice): string[] {
    return [...syncWarnings, ...xeroWarnings, ...paymentWarnings];
  }

  @FieldResolver(() => Connection, {
    nullable: true,
    description: "The organisation it was first sent to, and belongs to from then on.",
  })
  async xeroOrganisation(@Root() { connectionId }: Invoice, @Ctx() { loaders }: Context): Promise<Connection | null> {
    return connectionId === null ? null : loaders.connection.load(connectionId);
  }

  @FieldResolver(() => String, { nullable: true, description: "Opens the invoice in Xero." })
  async xeroUrl(@Root() { connectionId, xeroId }: Invoice, @Ctx() { loaders }: Context): Promise<string | null> {
    if (connectionId === null || xeroId === null) return null;
    const shortCode = (await loaders.connection.load(connectionId))?.shortCode;
    const page = `/AccountsReceivable/View.aspx?InvoiceID=${xeroId}`;
    return shortCode
      ? `https://go.xero.com/organisationlogin/default.aspx?shortcode=${encodeURIComponent(shortCode)}&redirecturl=${page}`
      : `https://go.xero.com${page}`;
  }

  @FieldResolver(() => [SyncAttempt], { description: "Every attempt to sync it, the newest first." })
  async syncAttempts(
    @Root() { id }: Invoice,
    @Arg("first", () => Int, { nullable: true, defaultValue: 20, description: "1 to 100." }) first: number,
    @Ctx() { loaders }: Context,
  ): Promise<SyncAttempt[]> {
    checkFirst(first);
    return loaders.attemptsOf(first).load(id);
  }

  @FieldResolver(() => [SyncCheck], {
    description:
      "Each condition for being synced, in order, with whether it holds: why this invoice is, or is not, in Xero.",
  })
  syncChecklist(@Root() { id }: Invoice, @Ctx() { loaders }: Context): Promise<SyncCheck[]> {
    return loaders.checklist.load(id);
  }
}

@Resolver(() => LineItem)
export class LineItemResolver {
  @FieldResolver(() => SupportItem, { nullable: true })
  async supportItem(@Root() { supportItemId }: LineItem, @Ctx() { loaders }: Context): Promise<SupportItem | null> {
    return supportItemId === null ? null : loaders.supportItem.load(supportItemId);
  }

  @FieldResolver(() => TaxRate, { nullable: true })
  async taxRate(@Root() { taxRateId }: LineItem, @Ctx() { loaders }: Context): Promise<TaxRate | null> {
    return taxRateId === null ? null : loaders.taxRate.load(taxRateId);
  }

  @FieldResolver(() => Account, { nullable: true })
  async salesAccount(@Root() { salesAccountId }: LineItem, @Ctx() { loaders }: Context): Promise<Account | null> {
    return salesAccountId === null ? null : loaders.account.load(salesAccountId);
  }
}
