/** Column kinds that every table shares, so that money is always exact and instants always have a zone. */
import { Field, ID, ObjectType } from "type-graphql";
import { Column, type ColumnOptions, PrimaryColumn } from "typeorm";
import { decimalText, moneyText } from "../money.js";

const nullSafe = (convert: (value: string) => string) => ({
  to: (value: string | null) => value,
  from: (value: string | null) => (value === null ? null : convert(value)),
});

/** Money in the invoice's currency: text with two places. */
export function MoneyColumn(options: ColumnOptions = {}): PropertyDecorator {
  return Column({ type: "numeric", precision: 14, scale: 2, transformer: nullSafe(moneyText), ...options });
}

/** A number of at most four places (quantities, unit amounts, rates), read back with at least `places` of them. */
export function DecimalColumn(places: number, options: ColumnOptions = {}): PropertyDecorator {
  const transformer = nullSafe((value) => decimalText(value, places));
  return Column({ type: "numeric", precision: 18, scale: 4, transformer, ...options });
}

/** An instant, to the millisecond, which is all that JavaScript and a page cursor can carry. */
export function InstantColumn(options: ColumnOptions = {}): PropertyDecorator {
  return Column({ type: "timestamptz", precision: 3, ...options });
}

/** A row of one workspace. Its workspace is part of its key, and so of every foreign key that points to it. */
@ObjectType()
export abstract class WorkspaceRecord {
  @PrimaryColumn({ type: "text" })
  workspaceId!: string;

  @Field(() => ID)
  @PrimaryColumn({ type: "uuid" })
  id!: string;
}
