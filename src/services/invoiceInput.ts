/** What a client may send to save an invoice, and its way to lines with their tax found and their amounts computed. */
import { Field, ID, InputType } from "type-graphql";
import { In } from "typeorm";
import { v7 as uuidv7 } from "uuid";
import { type WorkspaceTransaction } from "../database.js";
import { type LineAmountTypes } from "../entities/enums.js";
import { type Integration } from "../entities/Integration.js";
import { LineItem } from "../entities/LineItem.js";
import { SupportItem } from "../entities/SupportItem.js";
import { TaxRate } from "../entities/TaxRate.js";
import { AppError } from "../errors.js";
import { moneyText } from "../money.js";
import { DateScalar, DecimalScalar } from "../scalars.js";
import { loadRevenueAccount } from "./accounts.js";
import { checkId } from "./loading.js";
import { Problems } from "./problems.js";
import { type InvoiceTotals, totalsOf } from "./totals.js";

@InputType()
export class LineItemInput {
  @Field(() => String, { nullable: true })
  description?: string | null;

  @Field(() => ID, { nullable: true })
  supportItemId?: string | null;

  @Field(() => DateScalar, { nullable: true })
  serviceDate?: string | null;

  @Field(() => DecimalScalar)
  quantity!: string;

  @Field(() => DecimalScalar)
  unitAmount!: string;

  @Field(() => ID, { nullable: true })
  taxRateId?: string | null;

  @Field(() => ID, { nullable: true })
  salesAccountId?: string | null;
}

@InputType()
export class SaveInvoiceInput {
  @Field(() => ID, { nullable: true })
  id?: string | null;

  @Field(() => String, { nullable: true, description: "Left out on create: the next number of the workspace." })
  number?: string | null;

  @Field(() => ID)
  participantId!: string;

  @Field(() => DateScalar)
  date!: string;

  @Field(() => DateScalar)
  dueDate!: string;

  @Field(() => String, { nullable: true })
  currency?: string | null;

  @Field(() => [LineItemInput])
  lineItems!: LineItemInput[];
}

/** Xero's own limit for the amount of a line; ours for an invoice too. */
const most = 9_999_999_999.99;
const mostLines = 500;

/** Checks all that can be checked without the database. Throws BAD_USER_INPUT with every problem. */
export function checkInvoiceInput(input: SaveInvoiceInput): void {
  const problems = new Problems();
  if (input.number !== undefined && input.number !== null) problems.required("input.number", input.number, 50);
  if (input.number === null && input.id) problems.add("input.number", "can't be cleared");
  if (input.dueDate < input.date) problems.add("input.dueDate", "must not be before the invoice's date");
  if (input.currency != null && !/^[A-Z]{3}$/.test(input.currency))
    problems.add("input.currency", "must be an ISO 4217 code such as AUD");
  if (input.lineItems.length === 0) problems.add("input.lineItems", "must have at least one line");
  if (input.lineItems.length > mostLines) problems.add("input.lineItems", `must have at most ${mostLines} lines`);
  input.lineItems.forEach((line, index) => {
    const field = (name: string) => `input.lineItems[${index}].${name}`;
    const description = problems.paragraph(field("description"), line.description, 4000);
    if (description === null && line.supportItemId == null)
      problems.add(field("description"), "is required where there is no support item");
    problems.decimal(field("quantity"), line.quantity, 4, 99_999_999);
    problems.decimal(field("unitAmount"), line.unitAmount, 4, most);
  });
  problems.throwIfAny();
}

function checkTotals(totals: InvoiceTotals): void {
  const problems = new Problems();
  totals.lines.forEach(({ lineAmount }, index) => {
    if (lineAmount.abs().gt(most))
      problems.add(`input.lineItems[${index}].unitAmount`, `times quantity must be at most ${most}`);
  });
  if (totals.total.lt(0)) problems.add("input.lineItems", "must not come to less than zero");
  if (totals.total.gt(most)) problems.add("input.lineItems", `must not come to more than ${most}`);
  problems.throwIfAny();
}

async function loadAll<T extends SupportItem | TaxRate>(
  tx: WorkspaceTransaction,
  entity: new () => T,
  ids: (string | null | undefined)[],
  nameOf: (id: string) => string,
): Promise<Map<string, T>> {
  const wanted = [...new Set(ids.filter((id) => id != null))];
  for (const id of wanted) checkId(id, nameOf(id));
  const rows = await tx.manager.find<SupportItem | TaxRate>(entity, {
    where: { workspaceId: tx.workspaceId, id: In(wanted) },
  });
  const found = new Map(rows.map((row) => [row.id, row as T]));
  for (const id of wanted) {
    if (!found.has(id.toLowerCase()))
      throw new AppError("NOT_FOUND", `${nameOf(id)}: there is no such record in this workspace.`);
  }
  return found;
}

/**
 * The lines as they are kept, and what they come to. A line's tax rate is its own, its support item's or the workspace's default, found now
 * and kept: later changes of either change no invoice that exists. Throws BAD_USER_INPUT, NOT_FOUND or ACCOUNT_NOT_ALLOWED.
 */
export async function buildLines(
  tx: WorkspaceTransaction,
  integration: Integration,
  invoiceId: string,
  types: LineAmountTypes,
  inputs: LineItemInput[],
): Promise<{ lines: LineItem[]; totals: InvoiceTotals }> {
  const fieldOf = (name: "supportItemId" | "taxRateId" | "salesAccountId") => (id: string) =>
    `input.lineItems[${inputs.findIndex((line) => line[name]?.toLowerCase() === id.toLowerCase())}].${name}`;
  const items = await loadAll(
    tx,
    SupportItem,
    inputs.map((line) => line.supportItemId),
    fieldOf("supportItemId"),
  );
  const itemOf = (line: LineItemInput) => items.get(line.supportItemId?.toLowerCase() ?? "");
  const rateIdOf = (line: LineItemInput) =>
    line.taxRateId?.toLowerCase() ?? itemOf(line)?.taxRateId ?? integration.defaultTaxRateId;
  const rates = await loadAll(
    tx,
    TaxRate,
    inputs.map((line) => rateIdOf(line)),
    fieldOf("taxRateId"),
  );
  for (const accountId of new Set(inputs.flatMap((line) => line.salesAccountId ?? []))) {
    await loadRevenueAccount(tx, accountId, fieldOf("salesAccountId")(accountId));
  }

  const percents = inputs.map((line) => rates.get(rateIdOf(line) ?? "")?.effectiveRate ?? "0");
  const totals = totalsOf(
    inputs.map(({ quantity, unitAmount }, index) => ({ quantity, unitAmount, taxPercent: percents[index] ?? "0" })),
    types,
  );
  checkTotals(totals);
  const lines = inputs.map((line, index) => {
    const item = itemOf(line);
    return tx.manager.create(LineItem, {
      workspaceId: tx.workspaceId,
      id: uuidv7(),
      invoiceId,
      position: index + 1,
      description: line.description?.trim() || (item?.xeroLineDescription ?? item?.name ?? ""),
      supportItemId: item?.id ?? null,
      serviceDate: line.serviceDate ?? null,
      quantity: line.quantity,
      unitAmount: line.unitAmount,
      taxRateId: rateIdOf(line),
      taxPercent: percents[index] ?? "0",
      salesAccountId: line.salesAccountId ?? null,
      taxAmount: moneyText(totals.lines[index]?.taxAmount ?? "0"),
      lineAmount: moneyText(totals.lines[index]?.lineAmount ?? "0"),
    });
  });
  return { lines, totals };
}
