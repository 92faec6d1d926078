/** What every resolver is given: who asks, the services, and loaders that gather what one operation needs into few statements. */
import { type Alerts } from "../services/alerts/Alerts.js";
import { type AuditLog } from "../services/AuditLog.js";
import { type Connections } from "../services/Connections.js";
import { type ContactImports } from "../services/contacts/ContactImports.js";
import { type Disconnections } from "../services/Disconnections.js";
import { type Integrations } from "../services/Integrations.js";
import { type Invoices } from "../services/Invoices.js";
import { type OrganisationData } from "../services/OrganisationData.js";
import { type Participants } from "../services/Participants.js";
import { type Payments } from "../services/payments/Payments.js";
import { type Previews } from "../services/sync/Previews.js";
import { type SupportItems } from "../services/SupportItems.js";
import { type SyncRuns } from "../services/sync/SyncRuns.js";
import { type TaxRates } from "../services/TaxRates.js";
import { type WebhookEvents } from "../services/WebhookEvents.js";
import { type WebhookInbox } from "../services/WebhookInbox.js";
import { type XeroContacts } from "../services/XeroContacts.js";
import { type EventFeed } from "../subscriptions/EventFeed.js";
import { type Viewer } from "../viewer.js";
import { type Loaders } from "./loaders.js";

export interface Services {
  alerts: Alerts;
  auditLog: AuditLog;
  connections: Connections;
  /** So long after its last activity a link is ended. */
  connectionEndsAfterMs: number;
  contactImports: ContactImports;
  disconnections: Disconnections;
  eventFeed: EventFeed;
  integrations: Integrations;
  invoices: Invoices;
  organisationData: OrganisationData;
  participants: Participants;
  payments: Payments;
  previews: Previews;
  supportItems: SupportItems;
  syncRuns: SyncRuns;
  taxRates: TaxRates;
  webhookEvents: WebhookEvents;
  webhookInbox: WebhookInbox;
  xeroContacts: XeroContacts;
  /** Where Xero reaches us. */
  webhookUrl: () => string;
  webhookConfigured: boolean;
}

export interface Context {
  viewer: Viewer;
  services: Services;
  loaders: Loaders;
}
