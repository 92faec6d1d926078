/**
 * Connecting a workspace to Xero: the consent, what it granted, and which organisation is used. Tokens are the gateway's (`xero/Grants`).
 *
 * The callback comes from a browser, so nothing in it is trusted but a state that we gave out: random, ten minutes long, good once, and
 * carrying the workspace. A state is claimed by a lease, and given back only when Xero did not answer, so that the same callback may be
 * tried again and never used twice.
 */
import { createHash, randomBytes } from "node:crypto";
import { Field, ObjectType } from "type-graphql";
import { v7 as uuidv7 } from "uuid";
import { actingAs } from "../acting.js";
import { type Database, type Transaction, type WorkspaceTransaction } from "../database.js";
import { Connection } from "../entities/Connection.js";
import { Consent } from "../entities/Consent.js";
import { Integration } from "../entities/Integration.js";
import { AppError, badInput } from "../errors.js";
import { type Logger, messageOf } from "../logger.js";
import { DateTimeScalar } from "../scalars.js";
import { type Viewer } from "../viewer.js";
import { type Grants } from "../xero/Grants.js";
import { XeroFailure } from "../xero/XeroFailure.js";
import { type TenantLink, type XeroIdentity } from "../xero/XeroIdentity.js";
import { missingScopes } from "../xero/scopes.js";
import { enqueue } from "../jobs/queue.js";
import { noteActivity, setStatus, standing } from "./connectionStatus.js";
import { requestRelease } from "./Disconnections.js";
import { lacksScopes, type LinkWatch } from "./LinkWatch.js";
import { load } from "./loading.js";
import { type OrganisationData } from "./OrganisationData.js";
import { hastenPayments, requeuePayments } from "./payments/pushQueue.js";
import { queueWhatBecameDue } from "./sync/queueRun.js";

@ObjectType()
export class ConnectXeroPayload {
  @Field(() => String)
  authorizationUrl!: string;

  @Field(() => DateTimeScalar)
  expiresAt!: Date;
}

/** How a consent ended, told to the browser as `?xero=failed&reason=CODE`. */
export type ConsentFailure =
  | "INVALID_STATE"
  | "ACCESS_DENIED"
  | "CODE_REFUSED"
  | "NO_ORGANISATION"
  | "MISSING_SCOPES"
  | "XERO_UNAVAILABLE"
  | "MISCONFIGURED"
  | "INTERNAL";

/** Whose grant a consent became, and which of that user's consents it was. */
type Granted = { xeroUserId: string; authEventId: string };

/** A consent may also name an accountant's practices, which have no invoices. */
const organisationType = "ORGANISATION";

const stateLifeMs = 600_000;
const claimMs = 120_000;

export class Connections {
  constructor(
    private readonly database: Database,
    private readonly identity: XeroIdentity,
    private readonly grants: Grants,
    private readonly others: { organisationData: OrganisationData; linkWatch: LinkWatch },
    private readonly logger: Logger,
  ) {}

  /** Starts a consent: the address to send the administrator's browser to, good for ten minutes and one answer. */
  async start(viewer: Viewer): Promise<ConnectXeroPayload> {
    const state = randomBytes(32).toString("base64url");
    const expiresAt = new Date(Date.now() + stateLifeMs);
    await this.database.asSystem(async (tx) => {
      await tx.manager.query("DELETE FROM consent WHERE expires_at < now() - interval '1 day'");
      await tx.manager.insert(Consent, {
        stateHash: hashOf(state),
        workspaceId: viewer.workspaceId,
        subject: viewer.subject,
        expiresAt,
      });
    });
    return { authorizationUrl: this.identity.authorizationUrl(state), expiresAt };
  }

  /** Ends a consent with what Xero's redirect carries; answers null when connected, else why not. Never throws. */
  async finish(query: { state?: string; code?: string; error?: string }): Promise<ConsentFailure | null> {
    const stateHash = hashOf(query.state ?? "");
    try {
      const consent = await this.claim(stateHash);
      if (!consent) return "INVALID_STATE";
      const who = { actor: consent.subject, action: "connect", subjectType: "XeroOrganisation", subjectId: null };
      const failure = await actingAs(who, () => this.finishClaimed(consent, query));
      if (failure === "XERO_UNAVAILABLE") await this.giveBack(stateHash);
      else if (failure !== null) await this.database.asSystem((tx) => markUsed(tx, stateHash));
      return failure;
    } catch (error) {
      this.logger.error({ err: error }, "the consent could not be finished");
      return "INTERNAL";
    }
  }

  /** Every organisation the workspace is or was connected to, the newest first. */
  async list(viewer: Viewer): Promise<Connection[]> {
    return this.database.inWorkspace(viewer.workspaceId, (tx) =>
      tx.manager.find(Connection, {
        where: { workspaceId: tx.workspaceId },
        order: { connectedAt: "DESC", id: "DESC" },
      }),
    );
  }

  /** Makes the organisation the one that syncs use. Throws NOT_FOUND, or XERO_NOT_CONNECTED for one that is not connected. */
  async select(viewer: Viewer, id: string): Promise<Connection> {
    const connection = await this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const chosen = await load(tx, Connection, id, { thing: "Xero organisation", field: "id" });
      if (chosen.tenantType !== organisationType) {
        throw badInput({
          field: "id",
          reason: `${chosen.name} is no organisation but a practice, which has no invoices`,
        });
      }
      if (chosen.connectionStatus !== "CONNECTED") {
        throw new AppError("XERO_NOT_CONNECTED", `${chosen.name} is not connected. Connect to Xero again.`);
      }
      await tx.manager.update(Integration, { workspaceId: tx.workspaceId }, { activeConnectionId: chosen.id });
      await noteActivity(tx, chosen.id);
      if (chosen.dataReadAt === null) enqueue(tx, "refresh", { workspaceId: tx.workspaceId, connectionId: chosen.id });
      enqueue(tx, "import", { workspaceId: tx.workspaceId, connectionId: chosen.id });
      return chosen;
    });
    return connection;
  }

  private async claim(stateHash: string): Promise<Consent | null> {
    return this.database.asSystem(async (tx) => {
      const claimed = await tx.manager
        .createQueryBuilder()
        .update(Consent)
        .set({ leaseUntil: () => `now() + interval '${claimMs} ms'` })
        .where("state_hash = :stateHash AND used_at IS NULL AND expires_at > now()", { stateHash })
        .andWhere("(lease_until IS NULL OR lease_until < now())")
        .execute();
      return claimed.affected === 1 ? tx.manager.findOneBy(Consent, { stateHash }) : null;
    });
  }

  private async giveBack(stateHash: string): Promise<void> {
    await this.database.asSystem((tx) => tx.manager.update(Consent, { stateHash }, { leaseUntil: null }));
  }

  private async finishClaimed(
    consent: Consent,
    query: { code?: string; error?: string },
  ): Promise<ConsentFailure | null> {
    if (query.error !== undefined) return query.error === "access_denied" ? "ACCESS_DENIED" : "CODE_REFUSED";
    if (query.code === undefined) return "CODE_REFUSED";
    let granted: Granted;
    let links: TenantLink[];
    try {
      granted = await this.exchange(consent, query.code);
      links = await this.organisationsOf(granted);
    } catch (error) {
      if (!(error instanceof XeroFailure)) throw error;
      // Of a consent that was exchanged before: its grant may have died since.
      if (consent.xeroUserId !== null) await this.others.linkWatch.noteGrant(consent.xeroUserId, error);
      this.logger.warn({ kind: error.kind, operation: error.operation }, "Xero did not let a consent be finished");
      if (error.kind === "INVALID_GRANT" || error.kind === "REJECTED") return "CODE_REFUSED";
      return error.kind === "MISCONFIGURED" ? "MISCONFIGURED" : "XERO_UNAVAILABLE";
    }
    if (links.length === 0) return "NO_ORGANISATION";
    const missing = missingScopes(await this.grants.scopes(granted.xeroUserId));
    const connections = await this.keep(consent, granted.xeroUserId, links, missing);
    await this.database.asSystem((tx) => markUsed(tx, consent.stateHash));
    if (missing.length > 0) return "MISSING_SCOPES";
    // A person waits for the accounts to choose from; should Xero fail now, the job queued with the connection reads them.
    await Promise.all(
      connections.map((connection) =>
        this.others.organisationData.refresh(connection).catch((error: unknown) => {
          this.logger.warn(
            { connectionId: connection.id, reason: messageOf(error) },
            "the organisation's data will be read by a job",
          );
        }),
      ),
    );
    return null;
  }

  /** What this consent connected, and nothing else that the same person may have connected for somebody else. */
  private async organisationsOf({ xeroUserId, authEventId }: Granted): Promise<TenantLink[]> {
    const links = await this.grants.use(xeroUserId, (token) => this.identity.connections(token, authEventId));
    return links.filter((link) => link.authEventId === authEventId);
  }

  /** The grant for the code. It is kept at once, with the consent, for the code works only once. */
  private async exchange(consent: Consent, code: string): Promise<Granted> {
    const { stateHash, xeroUserId, authEventId } = consent;
    if (xeroUserId !== null && authEventId !== null) return { xeroUserId, authEventId };
    const tokens = await this.identity.exchangeCode(code);
    const granted = { xeroUserId: tokens.xeroUserId, authEventId: tokens.authEventId };
    await this.database.asSystem(async (tx) => {
      await this.grants.store(tx, tokens);
      await tx.manager.update(Consent, { stateHash }, granted);
    });
    return granted;
  }

  /** Keeps the consent's connections, all or none; a repeat changes nothing. */
  private async keep(
    { workspaceId }: Consent,
    xeroUserId: string,
    links: TenantLink[],
    missing: string[],
  ): Promise<Connection[]> {
    return this.database.inWorkspace(workspaceId, async (tx) => {
      // Two consents of a workspace at once come one after the other.
      const { enabled } = await tx.manager.findOneOrFail(Integration, {
        where: { workspaceId },
        lock: { mode: "for_no_key_update" },
      });
      const connections: Connection[] = [];
      for (const link of links) connections.push(await keepLink(tx, xeroUserId, link, missing));
      // A consent that is not enough for a sync takes the place of nothing.
      if (missing.length > 0) return connections;
      const [only, ...others] = connections.filter(({ tenantType }) => tenantType === organisationType);
      if (only && others.length === 0) {
        await tx.manager.update(Integration, { workspaceId }, { activeConnectionId: only.id });
        enqueue(tx, "import", { workspaceId, connectionId: only.id });
      }
      for (const { id } of connections) {
        enqueue(tx, "refresh", { workspaceId, connectionId: id });
        if (enabled) await queueWhatBecameDue(tx, id);
        await hastenPayments(tx, id);
      }
      await requeuePayments(tx, ["RECONNECT_REQUIRED"]);
      return connections;
    });
  }
}

/** Keeps one of a consent's organisations: a new connection, or the one there was, with its settings, mappings and links. */
async function keepLink(
  tx: WorkspaceTransaction,
  xeroUserId: string,
  link: TenantLink,
  missing: string[],
): Promise<Connection> {
  const { workspaceId } = tx;
  const { tenantId, connectionId: xeroConnectionId } = link;
  const known = await tx.manager.findOne(Connection, {
    where: { workspaceId, tenantId },
    lock: { mode: "pessimistic_write" },
  });
  if (known?.connectionStatus === "CONNECTED" && missing.length > 0) return known;
  // Another user's link to the same organisation takes the place of the first one's, which is given up.
  if (known && standing.includes(known.connectionStatus) && known.xeroConnectionId !== xeroConnectionId) {
    await requestRelease(tx, known);
  }
  const id = known?.id ?? uuidv7();
  const facts = {
    workspaceId,
    id,
    tenantId,
    xeroConnectionId,
    xeroUserId,
    tenantType: link.tenantType,
    name: link.tenantName,
    pullNotBefore: null,
    connectedAt: new Date(),
    lastActivityAt: new Date(),
  };
  // A new one comes into being as something that is not connected yet, so that becoming it is a change like any other.
  if (known) await tx.manager.update(Connection, { workspaceId, id }, facts);
  else await tx.manager.insert(Connection, { ...facts, connectionStatus: "DISCONNECTED" });
  const connection = await tx.manager.findOneByOrFail(Connection, { workspaceId, id });
  await setStatus(tx, connection, missing.length > 0 ? lacksScopes(missing) : { status: "CONNECTED", reason: null });
  return tx.manager.findOneByOrFail(Connection, { workspaceId, id });
}

async function markUsed(tx: Transaction, stateHash: string): Promise<void> {
  await tx.manager.update(Consent, { stateHash }, { usedAt: new Date() });
}

/** Only the hash is kept: whoever reads the table can't finish somebody's consent. */
function hashOf(state: string): string {
  return createHash("sha256").update(state).digest("hex");
}
