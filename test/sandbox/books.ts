/** A sandbox with a contact to bill, and short ways to write and read invoices. */
import { at, startHarness, type Answer, type Harness } from "./harness.js";

export const locked = "Invoice not of valid status for modification";
export const allocated = "This document cannot be edited as it has a payment or credit note allocated to it.";
export const line = { Description: "Support", Quantity: 2, UnitAmount: 10, AccountCode: "201" };

export interface Books extends Harness {
  readonly contactId: string;
  /** An approved invoice of 20.00, with other fields where given. */
  invoice(fields?: object): object;
  put(fields?: object, query?: string): Promise<Answer>;
  change(id: string, fields: object): Promise<Answer>;
  /** Puts and answers the id; throws where it was refused. */
  added(fields?: object): Promise<string>;
  get(id: string, query?: string): Promise<Answer>;
  pay(fields: object): Promise<Answer>;
}

/** Starts a sandbox with one contact to bill. */
export async function startBooks(): Promise<Books> {
  const x = await startHarness();
  const contactId = String(at((await x.api("PUT", "Contacts", { Name: "Payer" })).body, "Contacts.0.ContactID"));
  const invoice = (fields: object = {}): object => ({
    Type: "ACCREC",
    Contact: { ContactID: contactId },
    Date: "2026-11-01",
    DueDate: "2026-11-15",
    Status: "AUTHORISED",
    LineItems: [line],
    ...fields,
  });
  const put = (fields: object = {}, query = ""): Promise<Answer> =>
    x.api("PUT", `Invoices${query}`, { Invoices: [invoice(fields)] });
  return {
    ...x,
    contactId,
    invoice,
    put,
    change: (id, fields) => x.api("POST", `Invoices/${id}`, { Invoices: [fields] }),
    added: async (fields = {}) => {
      const answer = await put(fields);
      if (answer.status !== 200) throw new Error(JSON.stringify(answer.body));
      return String(one(answer, "InvoiceID"));
    },
    get: (id, query = "") => x.api("GET", `Invoices/${id}${query}`),
    pay: (fields) => x.api("PUT", "Payments", { Payments: [fields] }),
  };
}

/** The first invoice of an answer, or what is at a path of it. */
export function one(answer: Answer, path = ""): unknown {
  return at(answer.body, `Invoices.0${path && "."}${path}`);
}
