/** The bytes that go to Xero: a stored batch must be the same text in every release. */
import { describe, expect, it } from "@jest/globals";
import { type InvoicePayload, serializeContacts, serializeInvoices } from "../../src/xero/payloads.js";

const invoice: InvoicePayload = {
  contactId: "c-1",
  date: "2026-11-22",
  dueDate: "2026-12-06",
  reference: 'A "quoted" – reference',
  url: "http://localhost:4000/invoices/1",
  status: "AUTHORISED",
  lineAmountTypes: "Exclusive",
  lines: [
    { description: "Support", quantity: "1.5000", unitAmount: "0.3333", accountCode: "200", taxType: "EXEMPTOUTPUT" },
  ],
};

describe("serializeInvoices", () => {
  it("writes Xero's JSON, byte for byte", () => {
    expect(serializeInvoices([invoice])).toBe(
      '{"Invoices":[{"Type":"ACCREC","Contact":{"ContactID":"c-1"},"Date":"2026-11-22","DueDate":"2026-12-06",' +
        '"Reference":"A \\"quoted\\" – reference","Url":"http://localhost:4000/invoices/1","Status":"AUTHORISED",' +
        '"LineAmountTypes":"Exclusive","LineItems":[{"Description":"Support","Quantity":1.5,"UnitAmount":0.3333,' +
        '"AccountCode":"200","TaxType":"EXEMPTOUTPUT"}]}]}',
    );
  });

  it("does not depend on the order in which an invoice was put together", () => {
    const reversed = Object.fromEntries(Object.entries(invoice).reverse()) as InvoicePayload;
    expect(serializeInvoices([reversed])).toBe(serializeInvoices([invoice]));
  });

  it("sends a change of status alone", () => {
    expect(serializeInvoices([{ invoiceId: "i-1", status: "VOIDED" }])).toBe(
      '{"Invoices":[{"Type":"ACCREC","InvoiceID":"i-1","Status":"VOIDED"}]}',
    );
  });

  it.each([
    ["24.10", "24.1"],
    ["0.0000001", "0.0000001"],
    ["9999999999.9999", "9999999999.9999"],
    ["123456789012345678.91", "123456789012345678.91"],
    ["-12.00", "-12"],
    ["0.00", "0"],
  ])("writes the amount %s as the number %s", (amount, number) => {
    const body = serializeInvoices([{ lines: [{ description: "x", unitAmount: amount }] }]);
    expect(body).toContain(`"UnitAmount":${number}}`);
  });

  it.each(["1e-7", "", "1,5", "NaN", '1,"Total":0', " 1"])("refuses the amount %j", (amount) => {
    expect(() => serializeInvoices([{ lines: [{ description: "x", unitAmount: amount }] }])).toThrow(TypeError);
  });
});

describe("serializeContacts", () => {
  it("sends what is defined, empty texts too, and the phone in its DEFAULT slot", () => {
    const body = serializeContacts([{ contactNumber: "n", name: "Jane", email: "", phone: "0400 000 000" }]);
    expect(JSON.parse(body)).toEqual({
      Contacts: [
        {
          ContactNumber: "n",
          Name: "Jane",
          EmailAddress: "",
          Phones: [{ PhoneType: "DEFAULT", PhoneCountryCode: "", PhoneAreaCode: "", PhoneNumber: "0400 000 000" }],
        },
      ],
    });
  });
});
