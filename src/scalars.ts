/** The contract's three scalars. Input that does not fit is refused with a reason; `errors` at the edge names the field. */
import { GraphQLError, GraphQLScalarType, Kind, type ValueNode } from "graphql";

function refuse(reason: string): never {
  throw new GraphQLError(reason, { extensions: { code: "BAD_USER_INPUT", reason } });
}

/** Parses a literal; a refusal then says where in the document it stands. */
function literal<T>(parse: (value: unknown) => T): (node: ValueNode) => T {
  return (node) => {
    try {
      return parse(
        "value" in node && node.kind !== Kind.FLOAT
          ? node.kind === Kind.INT
            ? Number(node.value)
            : node.value
          : undefined,
      );
    } catch (error) {
      if (!(error instanceof GraphQLError)) throw error;
      throw new GraphQLError(error.message, { nodes: node, extensions: error.extensions });
    }
  };
}

const dateForm = "expected a calendar date such as 2026-11-21";

function parseDay(value: unknown): string {
  if (typeof value !== "string" || !/^\d{4}-\d{2}-\d{2}$/.test(value)) refuse(dateForm);
  const instant = new Date(`${value}T00:00:00Z`);
  if (Number.isNaN(instant.getTime()) || instant.toISOString().slice(0, 10) !== value)
    refuse(`${value} is no day of the calendar`);
  if (value < "1900-01-01") refuse("expected a day after 1900");
  return value;
}

/** A day without time, kept as its ISO text everywhere. */
export const DateScalar = new GraphQLScalarType<string, string>({
  name: "Date",
  description: "Calendar date, ISO 8601, no time: 2026-11-21.",
  serialize: (value) => String(value),
  parseValue: parseDay,
  parseLiteral: literal(parseDay),
});

const instantForm = "expected an instant with a time zone, such as 2026-11-21T03:04:05.678Z";
const instantPattern =
  /^(\d{4}-\d{2}-\d{2})[Tt](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;

function parseInstant(value: unknown): Date {
  const day = typeof value === "string" ? instantPattern.exec(value)?.[1] : undefined;
  if (day === undefined) refuse(instantForm);
  parseDay(day);
  return new Date(value as string);
}

/** An instant; a JavaScript Date inside. */
export const DateTimeScalar = new GraphQLScalarType<Date, string>({
  name: "DateTime",
  description: "Instant, ISO 8601 in UTC: 2026-11-21T03:04:05.678Z.",
  serialize: (value) => (value as Date).toISOString(),
  parseValue: parseInstant,
  parseLiteral: literal(parseInstant),
});

const decimalForm = 'expected a decimal number as text, such as "123.40"';

function parseDecimal(value: unknown): string {
  if (typeof value === "number" && Number.isSafeInteger(value)) return String(value);
  if (typeof value !== "string" || !/^-?\d{1,15}(\.\d{1,10})?$/.test(value)) refuse(decimalForm);
  return value;
}

/** An exact decimal, text everywhere: a JSON number with a fraction is refused, since it may have lost its last digits already. */
export const DecimalScalar = new GraphQLScalarType<string, string>({
  name: "Decimal",
  description: 'Exact decimal number as text: "123.40". Input may also be an integer.',
  serialize: (value) => String(value),
  parseValue: parseDecimal,
  parseLiteral: literal(parseDecimal),
});
