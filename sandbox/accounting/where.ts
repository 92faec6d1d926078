/**
 * Owns the `where` language: a text becomes a test of records, or a QueryParseException. Leaves which fields a list
 * knows to the list.
 *
 * Source: docs/xero-facts.md section 5: PascalCase names, ==, strings in double quotes, AND/OR or &&/||,
 * DateTime(2026,01,31), Guid("..."), .Contains/.StartsWith/.EndsWith. A quote inside a string is doubled; a backslash
 * before it is refused, as is ToLower. Text is compared without regard to case and accents.
 */
import { queryParse, Refusal } from "../refusals.js";

type FieldKind = "text" | "id" | "day" | "number" | "flag";
export type Value = string | number | boolean | undefined;

interface Field<T> {
  readonly kind: FieldKind;
  readonly of: (record: T) => Value;
}

export type FieldTable<T> = Readonly<Record<string, Field<T>>>;
type Test<T> = (record: T) => boolean;

interface Token {
  readonly kind: "name" | "text" | "number" | "operator";
  readonly value: string;
}

const token = /\s*(?:([A-Za-z][\w.]*)|"((?:[^"\\]|"")*)"|(-?\d+(?:\.\d+)?)|(&&|\|\||==|!=|>=|<=|[<>(),!]))/y;
const comparisons = new Set(["==", "!=", ">", ">=", "<", "<="]);

/** Compiles the expression; throws the refusal where it cannot be parsed or names what the list does not have. */
export function compileWhere<T>(expression: string, fields: FieldTable<T>): Test<T> {
  return new Parser(tokens(expression), fields).all();
}

/** Folds case and accents away, as Xero's database compares text. */
export function folded(text: string): string {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}

function tokens(expression: string): Token[] {
  const found: Token[] = [];
  token.lastIndex = 0;
  while (token.lastIndex < expression.trimEnd().length) {
    const at = token.lastIndex;
    const match = token.exec(expression);
    if (!match) throw refused(`Syntax error at position ${at}`);
    const [, name, text, number, operator] = match;
    if (name !== undefined) found.push({ kind: "name", value: name });
    else if (text !== undefined) found.push({ kind: "text", value: text.replaceAll('""', '"') });
    else if (number !== undefined) found.push({ kind: "number", value: number });
    else found.push({ kind: "operator", value: operator ?? "" });
  }
  return found;
}

class Parser<T> {
  #at = 0;

  constructor(
    private readonly tokens: readonly Token[],
    private readonly fields: FieldTable<T>,
  ) {}

  all(): Test<T> {
    const test = this.#either();
    if (this.#at < this.tokens.length) throw refused("Syntax error");
    return test;
  }

  #either(): Test<T> {
    let left = this.#both();
    while (this.#takeWord("||", "OR")) {
      const [first, second] = [left, this.#both()];
      left = (record) => first(record) || second(record);
    }
    return left;
  }

  #both(): Test<T> {
    let left = this.#single();
    while (this.#takeWord("&&", "AND")) {
      const [first, second] = [left, this.#single()];
      left = (record) => first(record) && second(record);
    }
    return left;
  }

  #single(): Test<T> {
    if (this.#take("!")) {
      const test = this.#single();
      return (record) => !test(record);
    }
    if (this.#take("(")) {
      const test = this.#either();
      this.#expect(")");
      return test;
    }
    const name = this.tokens[this.#at++];
    if (name?.kind !== "name") throw refused("Expression expected");
    const method = /^(.*)\.(Contains|StartsWith|EndsWith)$/.exec(name.value);
    if (method) return this.#method(method[1] ?? "", method[2] ?? "");
    const field = this.#field(name.value);
    const operator = this.tokens[this.#at];
    if (operator?.kind === "operator" && comparisons.has(operator.value)) {
      this.#at += 1;
      return compared(field, name.value, operator.value, this.#literal(field.kind));
    }
    if (field.kind !== "flag") throw refused("Expression of type 'Boolean' expected");
    return (record) => field.of(record) === true;
  }

  #method(path: string, method: string): Test<T> {
    const field = this.#field(path);
    if (field.kind !== "text") throw refused(`No applicable method '${method}' exists in the type of '${path}'`);
    this.#expect("(");
    const literal = this.tokens[this.#at++];
    if (literal?.kind !== "text") throw refused("A string in double quotes expected");
    this.#expect(")");
    const wanted = folded(literal.value);
    return (record) => {
      const value = folded(String(field.of(record) ?? ""));
      if (method === "Contains") return value.includes(wanted);
      return method === "StartsWith" ? value.startsWith(wanted) : value.endsWith(wanted);
    };
  }

  #field(path: string): Field<T> {
    const field = Object.hasOwn(this.fields, path) ? this.fields[path] : undefined;
    if (!field) throw refused(`No property or field '${path}' exists`);
    return field;
  }

  /** A literal that fits the field: null always does. */
  #literal(kind: FieldKind): Value {
    const literal = this.tokens[this.#at++];
    if (literal?.kind === "name" && literal.value === "null") return undefined;
    if (literal?.kind === "text" && kind === "text") return folded(literal.value);
    if (literal?.kind === "number" && kind === "number") return Number(literal.value);
    if (literal?.kind === "name" && kind === "flag" && /^(true|false)$/i.test(literal.value)) {
      return literal.value.toLowerCase() === "true";
    }
    if (literal?.kind === "name" && literal.value.toLowerCase() === "guid" && kind === "id") {
      const text = this.#arguments();
      if (text.length !== 1 || text[0]?.kind !== "text") throw refused('Guid("...") expected');
      return text[0].value.toLowerCase();
    }
    if (literal?.kind === "name" && literal.value === "DateTime" && kind === "day") {
      const numbers = this.#arguments();
      if (numbers.length < 3 || numbers.some((one) => one.kind !== "number")) throw refused("DateTime(y,m,d) expected");
      const [year = 0, month = 0, date = 0, ...clock] = numbers.map((one) => Number(one.value));
      return Date.UTC(year, month - 1, date, clock[0] ?? 0, clock[1] ?? 0, clock[2] ?? 0);
    }
    throw refused("Operator incompatible with operand types");
  }

  #arguments(): Token[] {
    const found: Token[] = [];
    this.#expect("(");
    do {
      const next = this.tokens[this.#at++];
      if (!next) throw refused("')' expected");
      found.push(next);
    } while (this.#take(","));
    this.#expect(")");
    return found;
  }

  #take(operator: string): boolean {
    const next = this.tokens[this.#at];
    if (next?.kind !== "operator" || next.value !== operator) return false;
    this.#at += 1;
    return true;
  }

  #takeWord(operator: string, word: string): boolean {
    if (this.#take(operator)) return true;
    const next = this.tokens[this.#at];
    if (next?.kind !== "name" || next.value.toUpperCase() !== word) return false;
    this.#at += 1;
    return true;
  }

  #expect(operator: string): void {
    if (!this.#take(operator)) throw refused(`'${operator}' expected`);
  }
}

function compared<T>(field: Field<T>, path: string, operator: string, wanted: Value): Test<T> {
  if (wanted === undefined && operator !== "==" && operator !== "!=")
    throw refused(`'${path}' cannot be ordered with null`);
  const read = (record: T): Value => {
    const value = field.of(record);
    return field.kind === "text" && typeof value === "string" ? folded(value) : value;
  };
  switch (operator) {
    case "==":
      return (record) => read(record) === wanted;
    case "!=":
      return (record) => read(record) !== wanted;
    default:
      return (record) => ordered(read(record), wanted, operator);
  }
}

function ordered(left: Value, right: Value, operator: string): boolean {
  if (left === undefined || right === undefined) return false;
  if (operator === ">") return left > right;
  if (operator === ">=") return left >= right;
  return operator === "<" ? left < right : left <= right;
}

function refused(message: string): Refusal {
  return new Refusal(queryParse(message));
}
