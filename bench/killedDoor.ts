/**
 * The ordeal of the webhook door: payments are made in Xero and announced while the api process is killed again and again. A delivery that got no
 * 200 is sent again, as Xero would; one that got it is not, and must have taken effect all the same. `npm run bench:webhooks` is its long
 * form, test/killedDoor.test.ts its short one.
 */
import { setTimeout as delay } from "node:timers/promises";
import { seededRandom } from "../sandbox/random.js";
import { type Announced, Line, signedDelivery } from "./deliveries.js";
import { type Member, type Rig, until } from "./rig.js";
import { seed as seedRecords } from "./seed.js";

export interface KillOptions {
  seed: number;
  invoices: number;
  deliveries: number;
  kills: number;
}

export interface KilledDoor {
  /** Why it does not hold; empty: it does. */
  reasons: string[];
  figures: [string, string | number][];
}

/** What the rig must be started with: Xero's limits are not what is tried here. */
export const outOfTheWay = { minuteLimit: 1_000_000, dayLimit: 10_000_000, appMinuteLimit: 10_000_000 };

/** Of each payment; the invoices are over 100.00. */
const amount = "0.10";

/** Xero posts several at once. */
const lines = 6;

/** A few deliveries' time, so that a kill may fall anywhere between two answers. */
const momentMs = 20;

const patienceMs = 120_000;

/** When the first of the changes happened; each of the others a millisecond after the one before. */
const firstAt = Date.UTC(2026, 10, 21);

type Announcement = Pick<Announced, "resourceId" | "at">;

class Siege {
  readonly answered: Announcement[] = [];
  readonly told = { kills: 0, cutOff: 0, refused: 0 };
  private readonly random: () => number;
  private begun = 0;
  private over = false;

  constructor(
    private readonly rig: Rig,
    private readonly options: KillOptions,
    private readonly tenantId: string,
    private readonly xeroIds: string[],
    private readonly tell: (line: string) => void,
  ) {
    this.random = seededRandom(options.seed);
  }

  /** Announces all payments and does all kills; afterwards the api process is up and every delivery was answered 200. */
  async rage(): Promise<void> {
    try {
      await Promise.all([this.kill(), this.holdUp(), ...Array.from({ length: lines }, () => this.post())]);
    } finally {
      this.over = true;
    }
  }

  /** As far as the kills are, so are the deliveries. */
  private get due(): number {
    const { deliveries, kills } = this.options;
    return (deliveries * (this.told.kills + 1)) / (kills + 1);
  }

  private async kill(): Promise<void> {
    while (this.told.kills < this.options.kills) {
      // Somewhere within the share of the deliveries that falls to this process.
      const last = this.answered.length + this.random() * (this.due - lines - this.answered.length);
      await this.once(() => this.answered.length >= last);
      await delay(this.random() * momentMs);
      await this.rig.api.kill();
      await this.rig.replaceApi().listening;
      this.told.kills += 1;
      this.show();
    }
  }

  /** Lets commits wait, so that kills find deliveries in the process as well, and not only with a database that commits them all the same. */
  private async holdUp(): Promise<void> {
    const client = await this.rig.sql.connect();
    try {
      while (!this.over && this.answered.length < this.options.deliveries) {
        await client.query("BEGIN; LOCK TABLE webhook_event IN SHARE ROW EXCLUSIVE MODE");
        await delay(this.random() * momentMs);
        await client.query("COMMIT");
        await delay(this.random() * momentMs);
      }
    } finally {
      client.release();
    }
  }

  /** Makes one payment after the other, and announces each. */
  private async post(): Promise<void> {
    const { sandbox } = this.rig;
    while (!this.over && this.begun < this.options.deliveries) {
      const number = this.begun++;
      await this.once(() => number < this.due);
      const resourceId = this.xeroIds[number % this.xeroIds.length] ?? "";
      await sandbox.control("pay", { invoiceId: resourceId, amount });
      const announcement = { resourceId, at: new Date(firstAt + number) };
      await this.deliver(signedDelivery(sandbox.address.webhookKey, { tenantId: this.tenantId, ...announcement }));
      this.answered.push(announcement);
      this.show();
    }
  }

  /** Posts the delivery until it is answered 200. */
  private async deliver(delivery: Buffer): Promise<void> {
    for (let status = 0; !this.over && status !== 200;) {
      await this.once(() => this.rig.api.ready);
      const line = new Line(this.rig.api.url);
      // It may be killed just now: no answer, or nobody there.
      status = await line.post(delivery).catch(() => 0);
      line.close();
      if (status === 0) this.told.cutOff += 1;
      else if (status !== 200) this.told.refused += 1;
    }
  }

  private async once(isSo: () => boolean): Promise<void> {
    await until(() => this.over || isSo(), { withinMs: patienceMs, everyMs: 2 });
  }

  private show(): void {
    this.tell(
      `${this.told.kills} kills; ${this.answered.length} of ${this.options.deliveries} deliveries answered 200`,
    );
  }
}

/** Puts the rig through it, which must have been started with a worker. `tell` is given a line on the state now and then. */
export async function killDoor(rig: Rig, options: KillOptions, tell: (line: string) => void): Promise<KilledDoor> {
  const member = await rig.addMember("door");
  tell("bringing the invoices to Xero");
  const xeroIds = await syncedInvoices(rig, member, options.invoices);
  const started = performance.now();
  const siege = new Siege(rig, options, member.tenantId, xeroIds, tell);
  await siege.rage();
  const calmAt = performance.now();
  await until(async () => (await statuses(rig)).get("RECEIVED") === undefined, { withinMs: patienceMs });
  const drainMs = performance.now() - calmAt;

  const { answered, told } = siege;
  const left = await statuses(rig);
  const lost = await missing(rig, answered);
  const unequal = await unequalInvoices(rig, member);
  const { complaints, deaths } = rig.health();
  const reasons = complaints.filter(({ fatal }) => fatal).map(({ msg }) => `a process said: ${msg}`);
  if (deaths > 0) reasons.push(`${deaths} processes of the service ended by themselves`);
  if (told.cutOff === 0) reasons.push("no delivery was cut off by a kill: it says nothing");
  if (lost > 0) reasons.push(`${lost} deliveries were answered 200 and are not there`);
  for (const [status, count] of left) if (status !== "APPLIED") reasons.push(`${count} events are ${status}`);
  if (unequal.length > 0) reasons.push(`${unequal.length} invoices are paid otherwise: ${unequal[0] ?? ""}`);
  return {
    reasons,
    figures: [
      ["deliveries, each of a payment", options.deliveries],
      ["kill -9 of the api process", told.kills],
      ["answered 200", answered.length],
      ["cut off, and sent again", told.cutOff],
      ["refused, and sent again", told.refused],
      ["events applied", left.get("APPLIED") ?? 0],
      ["answered 200 and lost", lost],
      ["invoices paid otherwise than in Xero", unequal.length],
      ["posted within", `${((calmAt - started) / 1000).toFixed(0)} s`],
      ["the last applied after", `${(drainMs / 1000).toFixed(1)} s`],
    ],
  };
}

/** Xero's ids of new invoices that are there. */
async function syncedInvoices(rig: Rig, { client, tenantId, workspaceId }: Member, count: number): Promise<string[]> {
  await seedRecords(rig.sql, { workspaceId, invoices: count, prefix: "paid" });
  await client.ask("mutation { runInvoiceSync { id } }");
  const isDone = async (): Promise<boolean> => {
    const { invoices } = await client.ask<{ invoices: { totalCount: number } }>(
      "{ invoices(first: 1, filter: { syncStatus: [SYNCED] }) { totalCount } }",
    );
    return invoices.totalCount === count;
  };
  if (!(await until(isDone, { withinMs: patienceMs }))) throw new Error("the invoices did not come to Xero");
  const there = await rig.look<{ InvoiceID: string }[]>(`invoices?tenant=${tenantId}`);
  return there.map(({ InvoiceID }) => InvoiceID);
}

/** How many events have each status. */
async function statuses(rig: Rig): Promise<Map<string, number>> {
  const { rows } = await rig.sql.query<{ status: string; count: number }>(
    "SELECT status, count(*)::integer AS count FROM webhook_event GROUP BY status",
  );
  return new Map(rows.map(({ status, count }) => [status, count]));
}

/** How many of the announcements are not kept. */
async function missing(rig: Rig, announced: Announcement[]): Promise<number> {
  const { rows } = await rig.sql.query<{ count: number }>(
    `SELECT count(*)::integer AS count FROM jsonb_to_recordset($1::jsonb) AS a ("resourceId" text, at timestamptz)
     WHERE NOT EXISTS (SELECT FROM webhook_event w WHERE w.resource_id = a."resourceId" AND w.event_date = a.at)`,
    [JSON.stringify(announced)],
  );
  return rows[0]?.count ?? NaN;
}

/** The invoices of which more, or less, is paid here than in Xero, in words. */
async function unequalInvoices(rig: Rig, { tenantId, workspaceId }: Member): Promise<string[]> {
  const inXero = await rig.look<{ InvoiceID: string; AmountPaid: number }[]>(`invoices?tenant=${tenantId}`);
  const client = await rig.client(workspaceId);
  const here = new Map<string, string>();
  let after: string | null = null;
  do {
    const { invoices }: InvoicePage = await client.ask(
      `query ($after: String) { invoices(first: 100, after: $after) {
         nodes { xeroId totalPaymentAmount } pageInfo { hasNextPage endCursor } } }`,
      { after },
    );
    for (const { xeroId, totalPaymentAmount } of invoices.nodes) here.set(xeroId, totalPaymentAmount);
    after = invoices.pageInfo.hasNextPage ? invoices.pageInfo.endCursor : null;
  } while (after !== null);
  return inXero.flatMap(({ InvoiceID, AmountPaid }) => {
    const [theirs, ours] = [AmountPaid.toFixed(2), here.get(InvoiceID) ?? "nothing"];
    return theirs === ours ? [] : [`${ours} instead of ${theirs}`];
  });
}

interface InvoicePage {
  invoices: {
    nodes: { xeroId: string; totalPaymentAmount: string }[];
    pageInfo: { hasNextPage: boolean; endCursor: string | null };
  };
}
