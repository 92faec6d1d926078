/**
 * What a mail says, as plain text and as HTML. No secret is in it and no more of a person than a number: digests are written so from the start.
 * Whatever an organisation or an account may be called is text here: escaped in HTML, and without line breaks in a header.
 */
import { type Alert } from "../../entities/Alert.js";
import { type MailOccasion } from "../../entities/Mail.js";

export interface MailText {
  subject: string;
  text: string;
  html: string;
}

const titles: Record<Alert["kind"], string> = {
  SYNC_FAILED: "Invoices could not be synced with Xero",
  DUPLICATE_IN_XERO: "Something is in Xero twice",
  CONNECTION_LOST: "The link to Xero is lost",
  CONNECTION_EXPIRING: "The link to Xero is about to be ended",
  DISCONNECTED_INACTIVE: "The link to Xero was ended",
  MAPPING_BROKEN: "An account or tax rate is no longer good in Xero",
  WEBHOOK_SILENT: "Xero's webhooks do not arrive",
  SYNC_OVERDUE: "Something should have been in Xero long ago",
};

/** The mail about the alert on this occasion; links lead to `appUrl`. */
export function mailText(alert: Alert, occasion: MailOccasion, appUrl: string): MailText {
  const title = titles[alert.kind];
  const subject = oneLine(occasion === "OPENED" ? `Ledgerline: ${title}` : `Ledgerline: resolved: ${title}`);
  return occasion === "OPENED" ? opened(alert, subject, appUrl) : resolved(alert, subject, appUrl);
}

function opened({ message, resolution, details }: Alert, subject: string, appUrl: string): MailText {
  const invoices = details?.invoices ?? [];
  const more = (details?.invoiceIds.length ?? 0) - invoices.length;
  const rest = more > 0 ? `And ${more} more.` : "";
  const link = (id: string): string => `${appUrl}/invoices/${id}`;
  const words = (xeroMessages: string[]): string => xeroMessages.map((text) => `Xero: ${text}`).join(" ");
  return {
    subject,
    text: [
      message,
      `What to do: ${resolution}`,
      ...invoices.map((each) =>
        [`${each.number}: ${each.problem}`, words(each.xeroMessages), each.resolution, link(each.invoiceId)]
          .filter((line) => line !== "")
          .join("\n  "),
      ),
      rest,
      appUrl,
    ]
      .filter((part) => part !== "")
      .join("\n\n"),
    html: page(
      subject,
      [
        paragraph(message),
        `<p><b>What to do:</b> ${escaped(resolution)}</p>`,
        invoices.length === 0
          ? ""
          : `<ul>${invoices
              .map(
                (each) =>
                  `<li><a href="${escaped(link(each.invoiceId))}">${escaped(each.number)}</a>: ${escaped(each.problem)} ${escaped(words(each.xeroMessages))}<br>${escaped(each.resolution)}</li>`,
              )
              .join("")}</ul>`,
        rest === "" ? "" : paragraph(rest),
        `<p><a href="${escaped(appUrl)}">${escaped(appUrl)}</a></p>`,
      ].join("\n"),
    ),
  };
}

function resolved({ message, firstSeenAt, resolvedAt }: Alert, subject: string, appUrl: string): MailText {
  const since = firstSeenAt.toISOString();
  const until = (resolvedAt ?? new Date()).toISOString();
  const said = `What was told on ${since} is put right since ${until}. Nothing more is to be done.`;
  return {
    subject,
    text: [said, `It was: ${message}`, appUrl].join("\n\n"),
    html: page(
      subject,
      [
        paragraph(said),
        paragraph(`It was: ${message}`),
        `<p><a href="${escaped(appUrl)}">${escaped(appUrl)}</a></p>`,
      ].join("\n"),
    ),
  };
}

function page(title: string, body: string): string {
  return `<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>${escaped(title)}</title></head><body>\n${body}\n</body></html>\n`;
}

function paragraph(text: string): string {
  return `<p>${escaped(text)}</p>`;
}

const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (letter) => entities[letter] ?? letter);
}

/** Fit for a header, whatever the text holds. */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, " ").trim();
}
