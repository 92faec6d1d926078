/**
 * The composition root: everything is constructed and connected here, by hand, and nowhere else. What comes later in `start` uses what came
 * before; closing goes the other way.
 */
import { type Config } from "./config.js";
import { openDatabase } from "./database.js";
import { startEmbedded } from "./embedded.js";
import { createHttpServer, serveConsent, serveGraphql, serveHealth, serveMetrics } from "./httpServer.js";
import { Worker } from "./jobs/Worker.js";
import { type Logger } from "./logger.js";
import { createMetrics } from "./metrics.js";
import { Readiness } from "./Readiness.js";
import { type Context, type Services } from "./resolvers/context.js";
import { createLoaders } from "./resolvers/loaders.js";
import { buildAppSchema } from "./schema.js";
import { Alerts } from "./services/alerts/Alerts.js";
import { Mails } from "./services/alerts/Mails.js";
import { OverdueWatch } from "./services/alerts/OverdueWatch.js";
import { AuditLog } from "./services/AuditLog.js";
import { ConnectionCare } from "./services/ConnectionCare.js";
import { Connections } from "./services/Connections.js";
import { ContactImports } from "./services/contacts/ContactImports.js";
import { Disconnections } from "./services/Disconnections.js";
import { Integrations } from "./services/Integrations.js";
import { Invoices } from "./services/Invoices.js";
import { LinkWatch } from "./services/LinkWatch.js";
import { OrganisationData } from "./services/OrganisationData.js";
import { Participants } from "./services/Participants.js";
import { InvoiceReader } from "./services/payments/InvoiceReader.js";
import { PaymentPoll } from "./services/payments/PaymentPoll.js";
import { PaymentPusher } from "./services/payments/PaymentPusher.js";
import { Payments } from "./services/payments/Payments.js";
import { Puller } from "./services/Puller.js";
import { SupportCatalogue } from "./services/catalogue/SupportCatalogue.js";
import { SupportItems } from "./services/SupportItems.js";
import { Sweep } from "./services/Sweep.js";
import { Previews } from "./services/sync/Previews.js";
import { Pusher } from "./services/sync/Pusher.js";
import { Schedule } from "./services/sync/Schedule.js";
import { SyncRuns } from "./services/sync/SyncRuns.js";
import { TaxRates } from "./services/TaxRates.js";
import { WebhookEvents } from "./services/WebhookEvents.js";
import { WebhookInbox } from "./services/WebhookInbox.js";
import { XeroContacts } from "./services/XeroContacts.js";
import { EventFeed } from "./subscriptions/EventFeed.js";
import { serveSockets, type Sockets } from "./subscriptions/socketServer.js";
import { createViewerReader, type Viewer } from "./viewer.js";
import { takeUploads } from "./uploads/supportCatalogue.js";
import { Watcher } from "./Watcher.js";
import { receiveWebhooks } from "./webhooks/receiver.js";
import { CallLimits } from "./xero/CallLimits.js";
import { Grants } from "./xero/Grants.js";
import { Vault } from "./xero/Vault.js";
import { XeroGateway } from "./xero/XeroGateway.js";
import { XeroIdentity } from "./xero/XeroIdentity.js";

/** A running service. */
export interface App {
  /** Where it listens: `http://…`. */
  url: string;
  /** Finishes what is in hand, then lets go of everything; safe to call twice. */
  close: () => Promise<void>;
}

const callbackPath = "/oauth/xero/callback";
const graphqlPath = "/graphql";
const webhookPath = "/webhooks/xero";

/** Starts the service in the configured role; what was started is closed again if a later part fails. Throws with the part's own message. */
export async function startApp(config: Config, logger: Logger): Promise<App> {
  const closers: (() => Promise<unknown>)[] = [];
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      for (const closer of closers.reverse()) await closer();
    })());
  try {
    return { url: await start(config, logger, (closer) => closers.push(closer)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function start(
  config: Config,
  logger: Logger,
  onClose: (closer: () => Promise<unknown>) => void,
): Promise<string> {
  let databaseUrl = config.database.url;
  if (databaseUrl === null) {
    const embedded = await startEmbedded({ dataDir: config.database.dataDir });
    onClose(() => embedded.close());
    databaseUrl = embedded.url;
  }
  const database = await openDatabase({
    url: databaseUrl,
    embedded: config.database.embedded,
    appRole: config.database.appRole,
    logger,
  });
  onClose(() => database.close());
  await database.migrate();

  const { role } = config;
  let worker: Worker | undefined;
  let sockets: Sockets | undefined;
  const watcher = new Watcher({ url: databaseUrl, embedded: config.database.embedded });
  onClose(() => watcher.close());
  const readiness = new Readiness({
    watcher,
    migrations: database.migrations,
    isWorking: role === "api" ? null : () => worker?.isWorking() ?? false,
    logger,
  });
  const metrics = createMetrics({
    watcher,
    readiness,
    sockets: () => sockets?.count() ?? { sockets: 0, subscriptions: 0 },
    sweepAgeMs: () => worker?.sweepAgeMs() ?? null,
    logger,
  });
  database.signals.on("tally", metrics.done);

  if (config.production && config.publicUrl === null) {
    logger.warn("PUBLIC_URL is unset: Xero can't reach this service, and its invoices will link to localhost");
  }
  if (config.production && config.metricsToken === null) {
    logger.warn("METRICS_TOKEN is unset: whoever reaches this service can read its metrics");
  }
  // The port is known only once it is bound, where any free one may be taken.
  let listeningUrl = "";
  const publicUrl = (): string => config.publicUrl ?? listeningUrl;
  const appUrl = (): string => config.appUrl ?? publicUrl();
  const allowedOrigins = (): string[] => config.allowedOrigins ?? [new URL(appUrl()).origin];

  const { xero } = config;
  const identity = new XeroIdentity({
    ...xero,
    onAnswer: metrics.xeroAnswered,
    get redirectUri() {
      return publicUrl() + callbackPath;
    },
  });
  const grants = new Grants(database, identity, new Vault(config.encryptionKeys), xero.timeoutMs * 2);
  await grants.checkKeys();
  const linkWatch = new LinkWatch(database);
  const gateway = new XeroGateway(database, grants, new CallLimits(database, xero.timeoutMs), {
    apiUrl: xero.apiUrl,
    timeoutMs: xero.timeoutMs,
    logger,
    onFailure: (target, failure) => linkWatch.note(target, failure),
    onAnswer: metrics.xeroAnswered,
  });
  const integrations = new Integrations(database, grants, xero.webhookKeys.length > 0);
  const organisationData = new OrganisationData(database, gateway);
  const connections = new Connections(database, identity, grants, { organisationData, linkWatch }, logger);
  const disconnections = new Disconnections(database, identity, grants, linkWatch, logger);
  const contactImports = new ContactImports(database, gateway);
  const invoiceReader = new InvoiceReader(database, gateway);
  const taxRates = new TaxRates(database);
  const webhookInbox = new WebhookInbox(database);

  const http = await createHttpServer(logger, allowedOrigins);
  onClose(() => http.close());
  serveHealth(http, readiness);
  serveMetrics(http, metrics, config.metricsToken);

  if (role !== "worker") {
    const eventFeed = new EventFeed(database, { url: databaseUrl, logger, onHanded: metrics.eventsHanded });
    await eventFeed.start();
    onClose(() => eventFeed.close());
    const services: Services = {
      alerts: new Alerts(database),
      auditLog: new AuditLog(database),
      connections,
      contactImports,
      connectionEndsAfterMs: config.connection.inactiveAfterMs,
      disconnections,
      eventFeed,
      integrations,
      invoices: new Invoices(database, integrations),
      organisationData,
      participants: new Participants(database),
      payments: new Payments(database, invoiceReader),
      previews: new Previews(database, integrations),
      supportItems: new SupportItems(database),
      syncRuns: new SyncRuns(database, integrations),
      taxRates,
      webhookEvents: new WebhookEvents(database),
      webhookInbox,
      xeroContacts: new XeroContacts(database, gateway),
      webhookUrl: () => publicUrl() + webhookPath,
      webhookConfigured: xero.webhookKeys.length > 0,
    };
    const readViewer = createViewerReader(config.auth);
    const contextFor = async (viewer: Viewer, { remember }: { remember: boolean }): Promise<Context> => {
      await integrations.ensure(viewer.workspaceId);
      return { viewer, services, loaders: createLoaders(database, { integrations, taxRates }, viewer, { remember }) };
    };
    const schema = await buildAppSchema();
    await takeUploads(http, {
      readViewer: async (authorization) => {
        const viewer = await readViewer(authorization);
        await integrations.ensure(viewer.workspaceId);
        return viewer;
      },
      catalogue: new SupportCatalogue(database),
      auditLog: services.auditLog,
    });
    await receiveWebhooks(http, {
      keys: xero.webhookKeys,
      inbox: webhookInbox,
      logger,
      onAnswer: metrics.webhookAnswered,
    });
    await serveGraphql(http, schema, {
      path: graphqlPath,
      metrics,
      logger,
      contextFor: async (authorization) => contextFor(await readViewer(authorization), { remember: true }),
    });
    serveConsent(http, callbackPath, connections, appUrl);
    const served = serveSockets(http.server, {
      path: graphqlPath,
      schema,
      readViewer,
      contextFor: (viewer) => contextFor(viewer, { remember: false }),
      allowedOrigins,
      metrics,
      logger,
    });
    sockets = served;
    onClose(() => served.close());
  }

  const address = await http.listen({ host: config.host, port: config.port });
  listeningUrl = `http://localhost:${new URL(address).port || config.port}`;

  // Last, because what it sends names the address where this service is reached.
  if (role !== "api") {
    const pusher = new Pusher(database, gateway, organisationData, {
      appUrl,
      leaseMs: config.syncLeaseMs,
      timeoutMs: xero.timeoutMs,
      keyLifeMs: config.keyLifeMs,
      logger,
    });
    const mails = new Mails(database, { ...config.mail, appUrl, leaseMs: config.syncLeaseMs, logger });
    onClose(() => {
      mails.close();
      return Promise.resolve();
    });
    const started = new Worker(
      database,
      {
        pusher,
        puller: new Puller(database, gateway, invoiceReader),
        paymentPusher: new PaymentPusher(database, gateway, organisationData, {
          leaseMs: config.syncLeaseMs,
          timeoutMs: xero.timeoutMs,
          keyLifeMs: config.keyLifeMs,
        }),
        paymentPoll: new PaymentPoll(database, gateway, invoiceReader, {
          everyMs: config.paymentCatchUpEveryMs,
          silentAfterMs: config.webhookSilentAfterMs,
        }),
        organisationData,
        connectionCare: new ConnectionCare(
          database,
          grants,
          organisationData,
          linkWatch,
          disconnections,
          config.connection,
          logger,
        ),
        contactImports,
        disconnections,
        mails,
        overdueWatch: new OverdueWatch(database, config.syncOverdueAfterMs),
        schedule: new Schedule(database, integrations),
        sweep: new Sweep(database),
      },
      // Often enough for the shortest of the periods that it watches over.
      {
        url: databaseUrl,
        logger,
        sweepEveryMs: Math.min(
          15_000,
          ...[...Object.values(config.connection), config.paymentCatchUpEveryMs].map((ms) => ms / 4),
        ),
      },
    );
    started.start();
    onClose(() => started.stop());
    worker = started;
  }
  return listeningUrl;
}
