/**
 * Owns the reading of Xero's organisations, accounts, tax rates and contacts into our types. Invoices and payments are in
 * `invoiceSchemas.ts`. Read from the raw JSON, not from xero-node's models: those turn any text that begins "/Date(" into
 * a Date or throw on it (seen in 20.0.0), and drop fields that they do not know.
 */
import { z } from "zod";
import type {
  ElementOutcome,
  XeroAccountAnswer,
  XeroContactAnswer,
  XeroContactGroupAnswer,
  XeroOrganisationAnswer,
  XeroTaxRateAnswer,
} from "./answers.js";
import { decimal, flag, id, listOf, optionalDate, optionalId, optionalText, refusal, text, time } from "./fields.js";
import { boundMessages } from "./XeroFailure.js";

export const organisationSchema: z.ZodType<XeroOrganisationAnswer> = z
  .object({
    OrganisationID: optionalId,
    Name: z.string(),
    ShortCode: optionalText,
    BaseCurrency: optionalText,
    CountryCode: optionalText,
    Timezone: optionalText,
    IsDemoCompany: flag,
    Class: optionalText,
    PeriodLockDate: optionalDate,
    EndOfYearLockDate: optionalDate,
  })
  .transform((wire) => ({
    organisationId: wire.OrganisationID,
    name: wire.Name,
    shortCode: wire.ShortCode,
    baseCurrency: wire.BaseCurrency,
    countryCode: wire.CountryCode,
    timeZone: wire.Timezone,
    isDemoCompany: wire.IsDemoCompany,
    organisationClass: wire.Class,
    periodLockDate: wire.PeriodLockDate,
    endOfYearLockDate: wire.EndOfYearLockDate,
  }));

export const accountSchema: z.ZodType<XeroAccountAnswer> = z
  .object({
    AccountID: id,
    Code: optionalText,
    Name: text,
    Type: text,
    Class: text,
    Status: text,
    TaxType: optionalText,
    EnablePaymentsToAccount: flag,
    SystemAccount: optionalText,
  })
  .transform((wire) => ({
    accountId: wire.AccountID,
    code: wire.Code,
    name: wire.Name,
    type: wire.Type,
    class: wire.Class,
    status: wire.Status,
    taxType: wire.TaxType,
    enablePaymentsToAccount: wire.EnablePaymentsToAccount,
    systemAccount: wire.SystemAccount,
  }));

const taxComponent = z
  .object({ Name: text, Rate: decimal, IsCompound: flag })
  .transform((wire) => ({ name: wire.Name, rate: wire.Rate, compound: wire.IsCompound }));

export const taxRateSchema: z.ZodType<XeroTaxRateAnswer> = z
  .object({
    TaxType: z.string(),
    Name: text,
    EffectiveRate: decimal,
    Status: text,
    CanApplyToRevenue: flag,
    TaxComponents: listOf(taxComponent),
  })
  .transform((wire) => ({
    taxType: wire.TaxType,
    name: wire.Name,
    effectiveRate: wire.EffectiveRate,
    status: wire.Status,
    canApplyToRevenue: wire.CanApplyToRevenue,
    components: wire.TaxComponents,
  }));

const phone = z.object({
  PhoneType: text,
  PhoneCountryCode: text,
  PhoneAreaCode: text,
  PhoneNumber: text,
});

function defaultPhone(phones: z.output<typeof phone>[]): string | undefined {
  const slot = phones.find((item) => item.PhoneType === "DEFAULT");
  const parts = slot ? [slot.PhoneCountryCode, slot.PhoneAreaCode, slot.PhoneNumber] : [];
  return parts.filter((part) => part !== "").join(" ") || undefined;
}

export const contactSchema: z.ZodType<XeroContactAnswer> = z
  .object({
    ContactID: id,
    ContactNumber: optionalText,
    Name: text,
    FirstName: optionalText,
    LastName: optionalText,
    EmailAddress: optionalText,
    Phones: listOf(phone),
    ContactStatus: z.string().catch("ACTIVE"),
    MergedToContactID: optionalId,
    IsSupplier: flag,
    IsCustomer: flag,
    UpdatedDateUTC: time,
  })
  .transform((wire) => ({
    contactId: wire.ContactID,
    contactNumber: wire.ContactNumber,
    name: wire.Name,
    firstName: wire.FirstName,
    lastName: wire.LastName,
    email: wire.EmailAddress,
    phone: defaultPhone(wire.Phones),
    status: wire.ContactStatus,
    mergedToContactId: wire.MergedToContactID,
    isSupplier: wire.IsSupplier,
    isCustomer: wire.IsCustomer,
    updatedAt: wire.UpdatedDateUTC,
  }));

export const contactGroupSchema: z.ZodType<XeroContactGroupAnswer> = z
  .object({ ContactGroupID: id, Name: text })
  .transform((wire) => ({ id: wire.ContactGroupID, name: wire.Name }));

/** A group's members, which only the answer for the one group holds. */
export const contactGroupMembersSchema: z.ZodType<{ contactIds: string[] }> = z
  .object({ Contacts: listOf(z.object({ ContactID: id })) })
  .transform((wire) => ({ contactIds: wire.Contacts.map(({ ContactID }) => ContactID) }));

export interface ContactIdentity {
  contactId?: string | undefined;
  contactNumber?: string | undefined;
}

const contactIdentity = z
  .object({ ContactID: optionalId, ContactNumber: optionalText })
  .transform((wire) => ({ contactId: wire.ContactID, contactNumber: wire.ContactNumber }));

const warned = z.object({ Warnings: listOf(z.object({ Message: z.string() })) });

/** One contact of a batch's answer, saved or refused, and what to match it by; fails to parse where it is neither. */
export const contactOutcomeSchema = z.unknown().transform((element, context) => {
  const messages = refusal(element);
  const identity: ContactIdentity = contactIdentity.safeParse(element).data ?? {};
  if (messages !== undefined) return { identity, outcome: { ok: false as const, ...identity, messages } };
  const saved = contactSchema.safeParse(element);
  if (saved.success) {
    const warnings = boundMessages(warned.parse(element).Warnings.map((item) => item.Message));
    const outcome: ElementOutcome<XeroContactAnswer> = { ok: true, answer: saved.data, warnings };
    return { identity, outcome };
  }
  context.addIssue({ code: "custom", message: "neither saved nor refused" });
  return z.NEVER;
});
