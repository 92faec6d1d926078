/**
 * What of a participant and its contact is the same thing, and whose word counts when they differ: whoever has changed it since the two last
 * agreed. So an import followed by an export, in any order and however often, comes to rest. Pure.
 */

import { type ContactDetails as Details } from "../../entities/ContactLink.js";

const names = ["name", "firstName", "lastName", "email", "phone"] as const;

/** A telephone number's digits as they are dialled in Australia. */
function dialled(phone: string | null | undefined): string {
  return (phone ?? "").replace(/\D/g, "").replace(/^(?:0011|00)?61(?=\d{9}$)/, "0");
}

/** By what telephone numbers are compared; null: it has too few digits to tell anybody by. */
export function phoneKey(phone: string | null | undefined): string | null {
  const digits = dialled(phone);
  return digits.length < 6 ? null : digits;
}

/** Whether two spellings are one detail: case does not matter to an e-mail address, nor punctuation to a telephone number. */
function isSame(name: (typeof names)[number], one: string | null, other: string | null): boolean {
  const [a, b] = [(one ?? "").trim(), (other ?? "").trim()];
  if (name === "email") return a.toLowerCase() === b.toLowerCase();
  if (name === "phone") return dialled(a) === dialled(b);
  return a === b;
}

/** Whether nothing of one would have to change to be the other. */
export function areSame(one: Details, other: Details): boolean {
  return names.every((name) => isSame(name, one[name], other[name]));
}

/**
 * The participant once Xero's word is taken in: of each detail Xero's where Xero has changed it since they agreed (`base`; null: they never
 * have, and what is empty in Xero says nothing), ours otherwise.
 */
export function takeIn(ours: Details, base: Details | null, theirs: Details): Details {
  const taken = { ...ours };
  for (const name of names) {
    const changed = base ? !isSame(name, theirs[name], base[name]) : (theirs[name] ?? "").trim() !== "";
    if (changed && !isSame(name, theirs[name], ours[name])) Object.assign(taken, { [name]: theirs[name] });
  }
  return taken;
}

/** The details alone. */
export function detailsOf({ name, firstName, lastName, email, phone }: Details): Details {
  return { name, firstName, lastName, email, phone };
}
