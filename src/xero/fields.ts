/**
 * Owns what all of Xero's JSON is made of, as zod schemas: kinds of field, the envelope around a list, the verdict on an
 * element of a batch. Lenient on purpose: an optional field of the wrong
 * kind is as good as absent, so that a change at Xero in a corner we do not need stops nothing; only what makes an
 * element useless (no id, an amount that is none) is refused.
 */
import { z } from "zod";
import { calendarDate, decimalText, instant } from "./wireValues.js";
import { boundMessages, validationMessages } from "./XeroFailure.js";

const nil = "00000000-0000-0000-0000-000000000000";

// A required id: Xero sends the nil GUID for an element it did not save.
export const id = z.string().refine((value) => value !== "" && value !== nil);
export const text = z.string().catch("");
export const optionalText = z
  .string()
  .optional()
  .catch(undefined)
  .transform((value) => (value === "" ? undefined : value));
export const optionalId = optionalText.transform((value) => (value === nil ? undefined : value));
export const flag = z.boolean().catch(false);
export const decimal = z.union([z.number(), z.string()]).transform((value, context) => {
  const exact = decimalText(value);
  if (exact !== undefined) return exact;
  context.addIssue({ code: "custom", message: "not a decimal" });
  return z.NEVER;
});
export const optionalDecimal = decimal.optional().catch(undefined);
export const decimalOrZero = decimal.catch("0");
export const optionalDate = z
  .unknown()
  .optional()
  .transform((value) => calendarDate(value));
// An answer without its time counts as the oldest: any later one replaces it.
export const time = z
  .unknown()
  .optional()
  .transform((value) => instant(value) ?? new Date(0));

/** An array of what fits; a missing or odd array is empty, and so is what an odd element of it gives. */
export function listOf<Schema extends z.ZodType>(schema: Schema): z.ZodType<z.output<Schema>[]> {
  return z
    .array(z.unknown())
    .catch([])
    .transform((items) => items.flatMap((item) => schema.safeParse(item).data ?? []));
}

/** Xero's envelope around a list: the elements under their plural name, when it was answered, and on paged lists how many pages there are. */
export function envelope<Schema extends z.ZodType>(
  name: string,
  schema: Schema,
): z.ZodType<{ elements: z.output<Schema>[]; pageCount?: number | undefined; answeredAt?: Date | undefined }> {
  const list = z.array(schema);
  const pagination = z.object({ pageCount: z.number() }).optional().catch(undefined);
  return z.looseObject({ pagination }).transform((answer, context) => {
    const elements = list.safeParse(answer[name]);
    if (elements.success) {
      const answeredAt = instant(answer["DateTimeUTC"]);
      return { elements: elements.data, pageCount: answer.pagination?.pageCount, answeredAt };
    }
    context.addIssue({ code: "custom", message: `no ${name}` });
    return z.NEVER;
  });
}

const verdict = z.object({
  StatusAttributeString: optionalText,
  HasErrors: flag,
  HasValidationErrors: flag,
  ValidationErrors: listOf(z.object({ Message: z.string() })),
});

/** Xero's reasons where it did not save this element of a batch, undefined where it did. An empty list is a refusal too. */
export function refusal(element: unknown): string[] | undefined {
  const wire = verdict.safeParse(element).data;
  if (wire === undefined) return undefined;
  const refused =
    wire.StatusAttributeString === undefined
      ? wire.HasErrors || wire.HasValidationErrors || wire.ValidationErrors.length > 0
      : wire.StatusAttributeString.toUpperCase() === "ERROR";
  return refused ? boundMessages(validationMessages(element)) : undefined;
}
