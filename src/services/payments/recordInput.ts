/** A payment as a client records it, and whether it can be so. */
import { Big } from "big.js";
import { Field, ID, InputType, registerEnumType } from "type-graphql";
import { type Invoice } from "../../entities/Invoice.js";
import { DateTimeScalar, DecimalScalar } from "../../scalars.js";
import { Problems } from "../problems.js";

export type RecordedPaymentType = keyof typeof RecordedPaymentType;
export const RecordedPaymentType = { STRIPE: "STRIPE", MANUAL: "MANUAL" } as const;
registerEnumType(RecordedPaymentType, { name: "RecordedPaymentType" });

/** Clocks and time zones differ by so much at most; what is dated later has not happened yet. */
const aheadMs = 86_400_000;

@InputType()
export class RecordPaymentInput {
  @Field(() => ID)
  invoiceId!: string;

  @Field(() => RecordedPaymentType, { nullable: true, defaultValue: "MANUAL" })
  type?: RecordedPaymentType | null;

  @Field(() => DecimalScalar, { description: "More than nothing, at most what is due, at most two decimal places." })
  amount!: string;

  @Field(() => DateTimeScalar, { description: "When it was received; at most a day ahead." })
  paymentDate!: Date;

  @Field(() => String, { nullable: true, description: "At most 255 characters." })
  reference?: string | null;

  @Field(() => String, {
    nullable: true,
    description: "Its id in the system it came from, at most 255 characters; recorded once in the workspace.",
  })
  financeExternalId?: string | null;

  @Field(() => Boolean, {
    nullable: true,
    defaultValue: true,
    description: "False for a payment that has been started and not gone through yet; setPaymentPaid later.",
  })
  paid?: boolean | null;

  @Field(() => Boolean, { nullable: true, defaultValue: true })
  include?: boolean | null;
}

/** What is recorded, tidied. */
export interface RecordedPayment {
  type: RecordedPaymentType;
  amount: string;
  paymentDate: Date;
  reference: string | null;
  financeExternalId: string | null;
  paid: boolean;
  include: boolean;
}

/** The payment as it is to be kept. Throws BAD_USER_INPUT for what no invoice could take. */
export function checkPayment(input: RecordPaymentInput): RecordedPayment {
  const problems = new Problems();
  problems.decimal("input.amount", input.amount, 2, 999_999_999_999);
  if (new Big(input.amount).lte(0)) problems.add("input.amount", "must be more than nothing");
  if (input.paymentDate.getTime() > Date.now() + aheadMs) {
    problems.add("input.paymentDate", "must not be more than a day in the future");
  }
  const payment = {
    type: input.type ?? "MANUAL",
    amount: new Big(input.amount).toFixed(2),
    paymentDate: input.paymentDate,
    reference: problems.text("input.reference", input.reference, 255),
    financeExternalId: problems.text("input.financeExternalId", input.financeExternalId, 255),
    paid: input.paid ?? true,
    include: input.include ?? true,
  };
  problems.throwIfAny();
  return payment;
}

/** Throws BAD_USER_INPUT where this invoice can't take the payment now. */
export function checkAgainst(invoice: Invoice, { amount }: RecordedPayment): void {
  const problems = new Problems();
  if (invoice.status === "DRAFT")
    problems.add("input.invoiceId", `is invoice ${invoice.number}, a draft; approve it first`);
  if (invoice.status === "VOIDED" || invoice.voidRequested)
    problems.add("input.invoiceId", `is invoice ${invoice.number}, which is voided`);
  problems.throwIfAny();
  if (new Big(amount).gt(invoice.amountDue)) {
    const due = new Big(invoice.amountDue).lt(0) ? "0.00" : invoice.amountDue;
    problems.add("input.amount", `is more than the ${due} due of invoice ${invoice.number}`);
  }
  problems.throwIfAny();
}
