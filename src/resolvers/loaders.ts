/**
 * Loads what a list's rows refer to in one statement for all of them, so that a page costs the same however many rows it has. Each batch is
 * one short transaction of its own.
 */
import DataLoader from "dataloader";
import { type EntityTarget, type FindOptionsWhere, In } from "typeorm";
import { type Database, type WorkspaceTransaction } from "../database.js";
import { Account } from "../entities/Account.js";
import { Alert } from "../entities/Alert.js";
import { type WorkspaceRecord } from "../entities/columns.js";
import { Connection } from "../entities/Connection.js";
import { ContactLink } from "../entities/ContactLink.js";
import { type SyncOutcome } from "../entities/enums.js";
import { Invoice } from "../entities/Invoice.js";
import { LineItem } from "../entities/LineItem.js";
import { Participant } from "../entities/Participant.js";
import { Payment } from "../entities/Payment.js";
import { SupportItem } from "../entities/SupportItem.js";
import { SupportItemPrice } from "../entities/SupportItemPrice.js";
import { SyncAttempt } from "../entities/SyncAttempt.js";
import { SyncRun } from "../entities/SyncRun.js";
import { TaxRate } from "../entities/TaxRate.js";
import { XeroContact } from "../entities/XeroContact.js";
import { findActiveConnection } from "../services/accounts.js";
import { type Integrations, loadIntegration, today } from "../services/Integrations.js";
import { groupBy } from "../services/loading.js";
import { type Page, type PageRequest } from "../services/paging.js";
import { countOutcomes } from "../services/sync/attempts.js";
import { readChecklists, type SyncCheck } from "../services/sync/checklist.js";
import { type TaxRateMatch, type TaxRates } from "../services/TaxRates.js";
import { type Viewer } from "../viewer.js";
import { readInvoicesOf } from "../services/invoicesOf.js";

/** One operation's loaders. */
export interface Loaders {
  account: DataLoader<string, Account | null>;
  alert: DataLoader<string, Alert | null>;
  attemptsOf: (first: number) => DataLoader<string, SyncAttempt[]>;
  checklist: DataLoader<string, SyncCheck[]>;
  connection: DataLoader<string, Connection | null>;
  contactLink: DataLoader<string, ContactLink | null>;
  contactOwner: DataLoader<string, Participant | null>;
  invoice: DataLoader<string, Invoice | null>;
  invoicesOf: (page: PageRequest) => DataLoader<string, Page<Invoice>>;
  isActive: DataLoader<string, boolean>;
  isKeptAlive: DataLoader<string, boolean>;
  linesOf: DataLoader<string, LineItem[]>;
  outcomesOf: DataLoader<string, Map<SyncOutcome, number>>;
  participant: DataLoader<string, Participant | null>;
  payment: DataLoader<string, Payment | null>;
  paymentsOf: DataLoader<string, Payment[]>;
  pricing: DataLoader<string, { today: string; prices: SupportItemPrice[] }>;
  run: DataLoader<string, SyncRun | null>;
  supportItem: DataLoader<string, SupportItem | null>;
  taxRate: DataLoader<string, TaxRate | null>;
  taxRateMatch: DataLoader<TaxRate, TaxRateMatch, string>;
  xeroContact: DataLoader<string, XeroContact | null>;
}

/** Loaders for one operation of the viewer. With `remember: false` (subscriptions, which live long) nothing loaded is kept. */
export function createLoaders(
  database: Database,
  { integrations, taxRates }: { integrations: Integrations; taxRates: TaxRates },
  viewer: Viewer,
  { remember }: { remember: boolean },
): Loaders {
  const { workspaceId } = viewer;
  const options = { cache: remember, maxBatchSize: 1_000 };
  const batch = <V>(load: (tx: WorkspaceTransaction, keys: readonly string[]) => Promise<V[]>): DataLoader<string, V> =>
    new DataLoader<string, V>((keys) => database.inWorkspace(workspaceId, (tx) => load(tx, keys)), options);

  const byId = <T extends WorkspaceRecord>(entity: EntityTarget<T>): DataLoader<string, T | null> =>
    batch(async (tx, ids) => {
      const rows = await tx.manager.findBy(entity, { workspaceId, id: In([...ids]) } as FindOptionsWhere<T>);
      const found = new Map(rows.map((row) => [row.id, row]));
      return ids.map((id) => found.get(id) ?? null);
    });
  const ofInvoice = <T extends LineItem | Payment>(
    read: (tx: WorkspaceTransaction, ids: string[]) => Promise<T[]>,
  ): DataLoader<string, T[]> =>
    batch(async (tx, ids) => {
      const groups = groupBy(await read(tx, [...ids]), ({ invoiceId }) => invoiceId);
      return ids.map((id) => groups.get(id) ?? []);
    });
  /** A loader for each set of arguments that the operation uses. */
  const perArguments = <A, V>(make: (given: A) => DataLoader<string, V>): ((given: A) => DataLoader<string, V>) => {
    const made = new Map<string, DataLoader<string, V>>();
    return (given) => {
      const key = JSON.stringify(given);
      const loader = made.get(key) ?? make(given);
      made.set(key, loader);
      return loader;
    };
  };

  return {
    account: batch(async (tx, ids) => {
      const rows = await tx.manager.findBy(Account, { workspaceId, accountId: In([...ids]) });
      return ids.map((id) => rows.find(({ accountId }) => accountId === id) ?? null);
    }),
    alert: byId(Alert),
    attemptsOf: perArguments((first: number) =>
      batch(async (tx, ids) => {
        const rows = await tx.manager
          .createQueryBuilder(SyncAttempt, "a")
          .where({ workspaceId })
          .andWhere(
            `a.id IN (SELECT newest.id FROM unnest(:ids::uuid[]) AS i (id) CROSS JOIN LATERAL
               (SELECT s.id FROM sync_attempt s WHERE s.workspace_id = :workspaceId AND s.invoice_id = i.id ORDER BY s.id DESC LIMIT :first) newest)`,
            { ids: [...ids], first, workspaceId },
          )
          .orderBy("a.id", "DESC")
          .getMany();
        const groups = groupBy(rows, ({ invoiceId }) => invoiceId);
        return ids.map((id) => groups.get(id) ?? []);
      }),
    ),
    checklist: batch(async (tx, ids) => {
      const lists = await readChecklists(tx, integrations, ids);
      return ids.map((id) => lists.get(id) ?? []);
    }),
    connection: byId(Connection),
    contactLink: batch(async (tx, ids) => {
      const connection = await findActiveConnection(tx);
      const links = connection
        ? await tx.manager.findBy(ContactLink, {
            workspaceId,
            connectionId: connection.id,
            participantId: In([...ids]),
          })
        : [];
      return ids.map((id) => links.find(({ participantId }) => participantId === id) ?? null);
    }),
    /** By the contact that it is linked to, in the organisation that has it. */
    contactOwner: batch(async (tx, ids) => {
      const links = await tx.manager.findBy(ContactLink, { workspaceId, contactId: In([...ids]) });
      const owners = await tx.manager.findBy(Participant, {
        workspaceId,
        id: In(links.map(({ participantId }) => participantId)),
      });
      return ids.map((id) => {
        const link = links.find(({ contactId }) => contactId === id);
        return owners.find((owner) => owner.id === link?.participantId) ?? null;
      });
    }),
    invoice: byId(Invoice),
    invoicesOf: perArguments((page: PageRequest) => batch((tx, ids) => readInvoicesOf(database, tx, ids, page))),
    isActive: batch(async (tx, ids) => {
      const { activeConnectionId } = await loadIntegration(tx);
      return ids.map((id) => id === activeConnectionId);
    }),
    isKeptAlive: batch(async (tx, ids) => {
      const { keepConnectionAlive } = await loadIntegration(tx);
      return ids.map(() => keepConnectionAlive);
    }),
    linesOf: ofInvoice((tx, ids) =>
      tx.manager.find(LineItem, {
        where: { workspaceId, invoiceId: In(ids) },
        order: { invoiceId: "ASC", position: "ASC" },
      }),
    ),
    outcomesOf: batch(async (tx, ids) => {
      const counts = await countOutcomes(tx, ids);
      const imports = await tx.manager.findBy(SyncRun, { workspaceId, id: In([...ids]), kind: "CONTACT_IMPORT" });
      for (const run of imports)
        counts.set(run.id, new Map(Object.entries(run.counts ?? {}) as [SyncOutcome, number][]));
      return ids.map((id) => counts.get(id) ?? new Map<SyncOutcome, number>());
    }),
    participant: byId(Participant),
    payment: byId(Payment),
    paymentsOf: ofInvoice((tx, ids) =>
      tx.manager.find(Payment, {
        where: { workspaceId, invoiceId: In(ids) },
        order: { paymentDate: "ASC", id: "ASC" },
      }),
    ),
    pricing: batch(async (tx, ids) => {
      const rows = await tx.manager.find(SupportItemPrice, {
        where: { workspaceId, supportItemId: In([...ids]) },
        order: { validFrom: "DESC" },
      });
      const groups = groupBy(rows, ({ supportItemId }) => supportItemId);
      const day = await today(tx);
      return ids.map((id) => ({ today: day, prices: groups.get(id) ?? [] }));
    }),
    run: byId(SyncRun),
    supportItem: byId(SupportItem),
    taxRate: byId(TaxRate),
    taxRateMatch: new DataLoader<TaxRate, TaxRateMatch, string>((rates) => taxRates.matches(viewer, rates), {
      ...options,
      cacheKeyFn: ({ id }) => id,
    }),
    xeroContact: batch(async (tx, ids) => {
      const rows = await tx.manager.findBy(XeroContact, { workspaceId, contactId: In([...ids]) });
      return ids.map((id) => rows.find(({ contactId }) => contactId === id) ?? null);
    }),
  };
}
