/**
 * What is asked of the accounting API and how its answers are matched and read, over real HTTP against a server that
 * answers as the test says. How exchanges fail is in `exchange.test.ts`.
 */
import { describe, expect, it } from "@jest/globals";
import { answer, rejection, saved, withXero } from "./localServer.js";

const body = '{"Invoices":[{"Reference":"/Date(x)/ é","Url":"http://localhost/invoices/1","Total":0.10}]}';

describe("postInvoices", () => {
  it("posts, and refuses an invoice without id before sending", async () => {
    await withXero(
      (response) => answer(response, 200, { Invoices: [saved] }),
      async (xero, seen) => {
        expect(await rejection(xero.postInvoices(body, "key-1"))).toMatchObject({
          kind: "REJECTED",
          mayHaveWritten: false,
        });
        expect(seen).toHaveLength(0);
        const update = xero.serializeInvoices([{ invoiceId: saved.InvoiceID, status: "VOIDED" }]);
        expect(await xero.postInvoices(update, "key-2")).toMatchObject([{ ok: true }]);
        expect(seen).toMatchObject([{ method: "POST", body: update }]);
      },
    );
  });
});

describe("fetchInvoices", () => {
  const page = (invoices: unknown[], pageCount?: number): unknown => ({
    Invoices: invoices,
    ...(pageCount === undefined ? {} : { pagination: { page: 1, pageSize: 100, pageCount, itemCount: 1 } }),
  });

  it("asks nothing for nothing", async () => {
    await withXero(
      () => undefined,
      async (xero, seen) => {
        expect(await xero.fetchInvoices({ ids: [] })).toEqual([]);
        expect(await xero.fetchInvoices({ references: [] })).toEqual([]);
        expect(seen).toHaveLength(0);
      },
    );
  });

  it("keeps addresses short, pages, and drops what was not asked for", async () => {
    const references = Array.from({ length: 120 }, (_, index) => `Réf "${index}" & <more> 😀`);
    await withXero(
      (response, { query }) => {
        const first = query.get("page") === "1";
        const invoices = [{ ...saved, Reference: first ? references[7] : 'RÉF "7" & <more> 😀' }];
        answer(response, 200, page(invoices, 2));
      },
      async (xero, seen) => {
        const modifiedSince = new Date("2026-11-22T01:02:03.000Z");
        const found = await xero.fetchInvoices({ references, modifiedSince });
        expect(found.map((invoice) => invoice.reference)).toEqual([references[7]]);
        const asked = seen
          .filter(({ query }) => query.get("page") === "1")
          .map(({ query }) => query.get("where") ?? "");
        expect(seen).toHaveLength(asked.length * 2);
        expect(asked.join(" OR ")).toBe(
          references.map((text) => `Reference=="${text.replaceAll('"', '""')}"`).join(" OR "),
        );
        for (const where of asked) expect(encodeURIComponent(where).length).toBeLessThanOrEqual(3500);
        expect(seen[0]?.query.get("unitdp")).toBe("4");
        expect(seen[0]?.headers["if-modified-since"]).toContain("2026-11-22T01:02:03");
        expect(seen[0]?.body).toBe("");
      },
    );
  });

  it("looks up fifty usual references in one read, and forty ids", async () => {
    const references = Array.from({ length: 50 }, (_, index) => `INV-${100_000 + index}`);
    const ids = Array.from({ length: 41 }, (_, index) => `243216c5-369e-4056-ac67-0000000000${10 + index}`);
    await withXero(
      (response) => answer(response, 200, page([])),
      async (xero, seen) => {
        await xero.fetchInvoices({ references });
        expect(seen).toHaveLength(1);
        await xero.fetchInvoices({ ids });
        expect(seen.slice(1).map(({ query }) => query.get("IDs")?.split(",").length)).toEqual([40, 1]);
      },
    );
  });

  it("reads payments and credits, and never takes a missing amount for nothing due", async () => {
    const invoice = {
      ...saved,
      AmountDue: undefined,
      AmountPaid: 4.1,
      AmountCredited: 10,
      Payments: [{ PaymentID: "p-1", Date: "/Date(1789344000000+0000)/", Amount: 4.1, Reference: "" }],
      CreditNotes: [{ CreditNoteID: "n-1", AppliedAmount: 10, Date: "/Date(1789344000000+0000)/", Total: 50 }],
      Overpayments: null,
    };
    await withXero(
      (response) => answer(response, 200, page([invoice], 1)),
      async (xero) => {
        expect(await xero.fetchInvoices({ ids: [saved.InvoiceID.toUpperCase()] })).toMatchObject([
          {
            amountDue: "10.05",
            payments: [{ paymentId: "p-1", date: "2026-09-14", amount: "4.1", reference: undefined }],
            creditNotes: [{ id: "n-1", amount: "10", date: "2026-09-14" }],
            overpayments: [],
          },
        ]);
      },
    );
  });
});

describe("contacts", () => {
  const contact = (ContactNumber: string, more: object = {}): object => ({
    ContactID: `id-of-${ContactNumber}`,
    ContactNumber,
    Name: `Name ${ContactNumber}`,
    ContactStatus: "ACTIVE",
    Phones: [
      { PhoneType: "DDI", PhoneNumber: "1" },
      { PhoneType: "DEFAULT", PhoneNumber: "9999 0000", PhoneAreaCode: "02", PhoneCountryCode: "" },
    ],
    UpdatedDateUTC: "/Date(1789378199160+0000)/",
    ...more,
  });

  it("matches created ones back by number, in whatever order Xero answers", async () => {
    const failed = {
      ...contact("a", { ContactID: "00000000-0000-0000-0000-000000000000" }),
      HasValidationErrors: true,
      ValidationErrors: [{ Message: "The contact name Name a is already assigned to another contact." }],
    };
    await withXero(
      (response) => answer(response, 200, { Contacts: [contact("b"), failed] }),
      async (xero, seen) => {
        const contacts = ["a", "b"].map((contactNumber) => ({ contactNumber, name: `Name ${contactNumber}` }));
        expect(await xero.createContacts(contacts, "key-1")).toMatchObject([
          { ok: false, contactNumber: "a", messages: [expect.stringContaining("already assigned")] },
          { ok: true, answer: { contactId: "id-of-b", contactNumber: "b", phone: "02 9999 0000" } },
        ]);
        expect(seen).toMatchObject([{ method: "PUT", path: "/api.xro/2.0/Contacts" }]);
        expect(seen[0]?.query.get("summarizeErrors")).toBe("false");
        expect(seen[0]?.headers["idempotency-key"]).toBe("key-1");
        const more = [...contacts, { contactNumber: "c", name: "Name c" }];
        expect(await rejection(xero.createContacts(more, "key-2"))).toMatchObject({ kind: "UNCERTAIN" });
      },
    );
  });

  it("refuses locally what could change a stranger", async () => {
    await withXero(
      () => undefined,
      async (xero, seen) => {
        const refusals = [
          xero.updateContacts([{ contactNumber: "a", name: "A" }], "k"),
          xero.updateContacts([{ contactId: "", name: "A" }], "k"),
          xero.createContacts([{ contactId: "x", contactNumber: "a", name: "A" }], "k"),
          xero.createContacts([{ name: "A" }], "k"),
          xero.createContacts(
            [1, 2].map(() => ({ contactNumber: "a", name: "A" })),
            "k",
          ),
        ];
        for (const refusal of refusals) expect(await rejection(refusal)).toMatchObject({ kind: "REJECTED" });
        expect(seen).toHaveLength(0);
      },
    );
  });

  it("updates by id", async () => {
    await withXero(
      (response) => answer(response, 200, { Contacts: [contact("a", { StatusAttributeString: "OK" })] }),
      async (xero, seen) => {
        const outcomes = await xero.updateContacts([{ contactId: "ID-OF-a", name: "Name a" }], "k");
        expect(outcomes).toMatchObject([{ ok: true, answer: { contactId: "id-of-a" } }]);
        expect(seen).toMatchObject([{ method: "POST", path: "/api.xro/2.0/Contacts" }]);
      },
    );
  });

  it("gives them page by page, and stops where Xero says or at an empty page", async () => {
    for (const pagination of [{ pageCount: 2 }, undefined]) {
      await withXero(
        (response, { query }) => {
          const page = Number(query.get("page"));
          answer(response, 200, { Contacts: page > 2 ? [] : [contact(`n${page}`)], pagination });
        },
        async (xero, seen) => {
          const pages: string[][] = [];
          for await (const contacts of xero.fetchContacts({ includeArchived: true, name: 'O"Hara' })) {
            pages.push(contacts.map(({ contactId }) => contactId));
          }
          expect(pages).toEqual([["id-of-n1"], ["id-of-n2"]]);
          expect(seen).toHaveLength(pagination ? 2 : 3);
          expect(Object.fromEntries(seen[0]?.query ?? [])).toEqual({
            where: 'Name=="O""Hara"',
            order: "ContactID ASC",
            page: "1",
            pageSize: "1000",
            includeArchived: "true",
          });
        },
      );
    }
  });
});

describe("settings", () => {
  it("reads the organisation with and without lock dates", async () => {
    const organisation = {
      Name: "Demo Company (AU)",
      ShortCode: "!Qj35V",
      BaseCurrency: "AUD",
      CountryCode: "AU",
      Timezone: "AUSEASTERNSTANDARDTIME",
      IsDemoCompany: true,
      Class: "DEMO",
      PeriodLockDate: "/Date(1789344000000+0000)/",
    };
    await withXero(
      (response) => answer(response, 200, { Organisations: [organisation] }),
      async (xero) => {
        expect(await xero.fetchOrganisation()).toEqual({
          organisationId: undefined,
          name: "Demo Company (AU)",
          shortCode: "!Qj35V",
          baseCurrency: "AUD",
          countryCode: "AU",
          timeZone: "AUSEASTERNSTANDARDTIME",
          isDemoCompany: true,
          organisationClass: "DEMO",
          periodLockDate: "2026-09-14",
          endOfYearLockDate: undefined,
        });
      },
    );
  });

  it("reads accounts without code and tax rates with components", async () => {
    await withXero(
      (response, { path }) =>
        path.endsWith("/Accounts")
          ? answer(response, 200, {
              Accounts: [
                { AccountID: "a-1", Name: "Bank", Type: "BANK", Class: "ASSET", Status: "NEW", SystemAccount: "" },
              ],
            })
          : answer(response, 200, {
              TaxRates: [
                {
                  TaxType: "TAX001",
                  Name: "Odd",
                  EffectiveRate: 12.5,
                  Status: "ACTIVE",
                  CanApplyToRevenue: true,
                  TaxComponents: [{ Name: "One", Rate: 12.5, IsCompound: false }],
                },
              ],
            }),
      async (xero) => {
        expect(await xero.fetchAccounts()).toEqual([
          {
            accountId: "a-1",
            code: undefined,
            name: "Bank",
            type: "BANK",
            class: "ASSET",
            status: "NEW",
            taxType: undefined,
            enablePaymentsToAccount: false,
            systemAccount: undefined,
          },
        ]);
        expect(await xero.fetchTaxRates()).toMatchObject([
          { taxType: "TAX001", effectiveRate: "12.5", components: [{ name: "One", rate: "12.5", compound: false }] },
        ]);
      },
    );
  });

  it("reads a payment, and NOT_FOUND from the HTML page", async () => {
    const payment = {
      PaymentID: "p-1",
      Invoice: { InvoiceID: "i-1" },
      Amount: 24.15,
      Date: "/Date(1789344000000+0000)/",
      Status: "DELETED",
      PaymentType: "ACCRECPAYMENT",
      IsReconciled: true,
      UpdatedDateUTC: "/Date(1789378199160+0000)/",
    };
    await withXero(
      (response, { path }) =>
        path.endsWith("/p-1")
          ? answer(response, 200, { Payments: [payment] })
          : answer(response, 404, "<html>no</html>"),
      async (xero) => {
        expect(await xero.fetchPayment("p-1")).toEqual({
          paymentId: "p-1",
          invoiceId: "i-1",
          amount: "24.15",
          date: "2026-09-14",
          status: "DELETED",
          paymentType: "ACCRECPAYMENT",
          reference: undefined,
          isReconciled: true,
          updatedAt: new Date(1789378199160),
        });
        expect(await rejection(xero.fetchPayment("p-2"))).toMatchObject({ kind: "NOT_FOUND" });
      },
    );
  });
});
