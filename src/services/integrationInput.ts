/** The settings as a client changes them, and whether they can be so. */
import { Field, ID, InputType } from "type-graphql";
import { InvoiceNumbering, LineAmountTypes, XeroInvoiceStatus } from "../entities/enums.js";
import { type Integration } from "../entities/Integration.js";
import { DateScalar, DecimalScalar } from "../scalars.js";
import { isId } from "./loading.js";
import { Problems } from "./problems.js";
import { cronProblem } from "./sync/cron.js";

/** Each costs a call to Xero with each import. */
const mostGroups = 20;

const mostAddresses = 20;

@InputType()
class SyncScheduleInput {
  @Field(() => Boolean, { nullable: true })
  enabled?: boolean | null;

  @Field(() => String, { nullable: true, description: "Five-field cron expression." })
  cron?: string | null;

  @Field(() => String, { nullable: true, description: "IANA time zone; null: the integration's own." })
  timeZone?: string | null;
}

@InputType()
class ContactImportInput {
  @Field(() => Boolean, { nullable: true })
  enabled?: boolean | null;

  @Field(() => [ID], { nullable: true, description: "Xero contact groups to import; empty or null: all." })
  groupIds?: string[] | null;

  @Field(() => Boolean, { nullable: true })
  includeSuppliers?: boolean | null;
}

@InputType({ description: "In every input of an update: a field left out keeps its value, null clears it." })
export class UpdateIntegrationInput {
  @Field(() => Boolean, { nullable: true })
  enabled?: boolean | null;

  @Field(() => ID, { nullable: true })
  salesAccountId?: string | null;

  @Field(() => ID, { nullable: true })
  paymentAccountId?: string | null;

  @Field(() => ID, { nullable: true })
  defaultTaxRateId?: string | null;

  @Field(() => LineAmountTypes, { nullable: true })
  lineAmountTypes?: LineAmountTypes | null;

  @Field(() => XeroInvoiceStatus, { nullable: true })
  initialInvoiceStatus?: XeroInvoiceStatus | null;

  @Field(() => InvoiceNumbering, { nullable: true })
  numbering?: InvoiceNumbering | null;

  @Field(() => String, { nullable: true })
  timeZone?: string | null;

  @Field(() => Boolean, {
    nullable: true,
    description: "Only while the consent holds the scope accounting.payments. Payments recorded before stay here.",
  })
  pushPayments?: boolean | null;

  @Field(() => [String], {
    nullable: true,
    description: "Up to 20 addresses, each of which gets a mail of its own; empty or null: nobody.",
  })
  alertEmails?: string[] | null;

  @Field(() => DecimalScalar, { nullable: true })
  paidTolerance?: string | null;

  @Field(() => SyncScheduleInput, { nullable: true })
  schedule?: SyncScheduleInput | null;

  @Field(() => DateScalar, { nullable: true })
  syncStartDate?: string | null;

  @Field(() => Boolean, { nullable: true })
  syncOnApproval?: boolean | null;

  @Field(() => ContactImportInput, { nullable: true })
  contactImport?: ContactImportInput | null;

  @Field(() => Boolean, { nullable: true })
  sendAgencyManaged?: boolean | null;

  @Field(() => Boolean, { nullable: true })
  keepConnectionAlive?: boolean | null;
}

const neverCleared = [
  "enabled",
  "lineAmountTypes",
  "initialInvoiceStatus",
  "numbering",
  "paidTolerance",
  "schedule",
  "syncOnApproval",
  "contactImport",
  "pushPayments",
  "sendAgencyManaged",
  "keepConnectionAlive",
] as const;

/** The columns that the input changes. Throws BAD_USER_INPUT with all that is wrong with it. */
export function checkedChanges(input: UpdateIntegrationInput): Partial<Integration> {
  const problems = new Problems();
  for (const name of neverCleared) if (input[name] === null) problems.add(`input.${name}`, "can't be cleared");
  if (input.timeZone != null && !isTimeZone(input.timeZone)) {
    problems.add("input.timeZone", "must be an IANA time zone such as Australia/Sydney");
  }
  if (input.paidTolerance != null) {
    problems.decimal("input.paidTolerance", input.paidTolerance, 2, 100);
    if (input.paidTolerance.startsWith("-")) problems.add("input.paidTolerance", "must not be negative");
  }
  const { schedule } = input;
  if (schedule?.enabled === null) problems.add("input.schedule.enabled", "can't be cleared");
  if (schedule?.cron === null) problems.add("input.schedule.cron", "can't be cleared");
  const cronIs = schedule?.cron == null ? null : cronProblem(schedule.cron);
  if (cronIs !== null) problems.add("input.schedule.cron", cronIs);
  if (schedule?.timeZone != null && !isTimeZone(schedule.timeZone)) {
    problems.add("input.schedule.timeZone", "must be an IANA time zone such as Australia/Sydney");
  }
  const { contactImport } = input;
  if (contactImport?.enabled === null) problems.add("input.contactImport.enabled", "can't be cleared");
  if (contactImport?.includeSuppliers === null)
    problems.add("input.contactImport.includeSuppliers", "can't be cleared");
  const groupIds = contactImport?.groupIds === null ? [] : contactImport?.groupIds;
  if ((groupIds?.length ?? 0) > mostGroups)
    problems.add("input.contactImport.groupIds", `must be at most ${mostGroups}`);
  for (const [index, id] of (groupIds ?? []).entries()) {
    if (!isId(id)) problems.add(`input.contactImport.groupIds[${index}]`, "is no id");
  }
  const alertEmails = input.alertEmails === null ? [] : input.alertEmails;
  if ((alertEmails?.length ?? 0) > mostAddresses) problems.add("input.alertEmails", `must be at most ${mostAddresses}`);
  for (const [index, address] of (alertEmails ?? []).entries()) {
    if (!isAddress(address.trim())) problems.add(`input.alertEmails[${index}]`, "is no e-mail address");
  }
  problems.throwIfAny();
  const { salesAccountId: _sales, paymentAccountId: _payment, schedule: _, contactImport: __, ...settings } = input;
  const changes = {
    ...settings,
    alertEmails: alertEmails === undefined ? undefined : [...new Set(alertEmails.map((address) => address.trim()))],
    scheduleEnabled: schedule?.enabled,
    scheduleCron: schedule?.cron?.trim().replace(/\s+/g, " "),
    scheduleTimeZone: schedule?.timeZone,
    contactImportEnabled: contactImport?.enabled,
    contactImportGroupIds: groupIds === undefined ? undefined : [...new Set(groupIds.map((id) => id.toLowerCase()))],
    contactImportSuppliers: contactImport?.includeSuppliers,
  };
  return Object.fromEntries(Object.entries<unknown>(changes).filter(([, value]) => value !== undefined));
}

/** One plain address: nothing that a header could take for more than that. */
function isAddress(text: string): boolean {
  return (
    text.length <= 254 &&
    /^[^\s<>()[\],;:"\\@\p{Cc}]+@[^\s<>()[\],;:"\\@\p{Cc}]+\.[^\s<>()[\],;:"\\@\p{Cc}.]+$/u.test(text)
  );
}

function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions().timeZone !== "" && name.includes("/");
  } catch {
    return false;
  }
}
