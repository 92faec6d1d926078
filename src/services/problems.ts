/** Collects everything that is wrong with an input, so that a caller mends it in one go. */
import { type FieldProblem, badInput } from "../errors.js";
import { decimalPlaces } from "../money.js";

export class Problems {
  private readonly found: FieldProblem[] = [];

  add(field: string, reason: string): void {
    this.found.push({ field, reason });
  }

  /** Throws BAD_USER_INPUT with all that was added; returns where nothing was. */
  throwIfAny(): void {
    if (this.found.length > 0) throw badInput(...this.found);
  }

  /** Text with spaces trimmed and runs of them folded (Xero refuses others in names); null where empty. */
  text(field: string, value: string | null | undefined, max: number): string | null {
    const text = value?.replace(/\s+/gu, " ").trim() ?? "";
    return this.bounded(field, text, max);
  }

  /** Text as it was given but for the ends, line breaks kept; null where empty. */
  paragraph(field: string, value: string | null | undefined, max: number): string | null {
    return this.bounded(field, value?.trim() ?? "", max);
  }

  /** Text that must be there. */
  required(field: string, value: string | null | undefined, max: number): string {
    const text = this.text(field, value, max);
    if (text === null) this.add(field, "must not be empty");
    return text ?? "";
  }

  /** A decimal of at most so many places and at most so large, whichever its sign. */
  decimal(field: string, value: string, places: number, most: number): void {
    if (decimalPlaces(value) > places) this.add(field, `must have at most ${places} decimal places`);
    if (Math.abs(Number(value)) > most) this.add(field, `must be at most ${most}`);
  }

  private bounded(field: string, text: string, max: number): string | null {
    if (text.length > max) this.add(field, `must have at most ${max} characters`);
    // PostgreSQL cannot keep NUL, and Xero refuses the others.
    if (Array.from(text).some((letter) => letter < " " && !"\t\n\r".includes(letter)))
      this.add(field, "must not contain control characters");
    return text === "" ? null : text;
  }
}
