/**
 * The platform's tax rates and what each is in Xero. A rate may be mapped only to one that comes to the same: equal effective rate and
 * equal components, so that the tax we compute and the tax Xero computes cannot differ.
 */
import { Big } from "big.js";
import { Field, ID, InputType } from "type-graphql";
import { In } from "typeorm";
import { v7 as uuidv7 } from "uuid";
import { type Database, violates, type WorkspaceTransaction } from "../database.js";
import { type Connection } from "../entities/Connection.js";
import { TaxRate } from "../entities/TaxRate.js";
import { TaxRateMapping } from "../entities/TaxRateMapping.js";
import { XeroTaxRate } from "../entities/XeroTaxRate.js";
import { AppError, badInput, notFound } from "../errors.js";
import { decimalText } from "../money.js";
import { DecimalScalar } from "../scalars.js";
import { type Viewer } from "../viewer.js";
import { findActiveConnection } from "./accounts.js";
import { noteActivity } from "./connectionStatus.js";
import { load } from "./loading.js";
import { Problems } from "./problems.js";
import { effectiveRateOf, effectsOf } from "./totals.js";
import { brokenMapping, queueMended } from "./sync/queueRun.js";

@InputType()
export class TaxComponentInput {
  @Field(() => String)
  name!: string;

  @Field(() => DecimalScalar)
  rate!: string;

  @Field(() => Boolean, { nullable: true, defaultValue: false })
  compound?: boolean | null;
}

@InputType()
export class SaveTaxRateInput {
  @Field(() => ID, { nullable: true })
  id?: string | null;

  @Field(() => String)
  name!: string;

  @Field(() => [TaxComponentInput])
  components!: TaxComponentInput[];
}

/** A tax rate's place in the active organisation. */
export interface TaxRateMatch {
  mapped: XeroTaxRate | null;
  matching: XeroTaxRate[];
}

/** Whether two rates come to the same on every amount: effective rates equal, and the same parts, compound ones by their effect. */
function ratesMatch(ours: TaxRate, theirs: XeroTaxRate): boolean {
  if (!new Big(ours.effectiveRate).eq(theirs.effectiveRate)) return false;
  const parts = (rate: TaxRate | XeroTaxRate) =>
    effectsOf(rate.components)
      .filter((effect) => !effect.eq(0))
      .map((effect) => effect.round(4, Big.roundHalfUp).toFixed())
      .sort()
      .join("+");
  return parts(ours) === parts(theirs);
}

/**
 * What an Australian organisation's sales of supports normally are, first: GST Free Income for what has no tax, GST on Income for what has
 * (https://help.xero.com/au/Settings-TaxRates).
 */
const proposed = ["EXEMPTOUTPUT", "OUTPUT"];

function byProposal(one: XeroTaxRate, other: XeroTaxRate): number {
  const rank = ({ taxType }: XeroTaxRate) => (proposed.includes(taxType) ? 0 : 1);
  return rank(one) - rank(other) || byName(one, other);
}

/** Whether sales lines may use the organisation's rate now. */
export function isUsable(rate: XeroTaxRate): boolean {
  return rate.status === "ACTIVE" && rate.appliesToRevenue;
}

export class TaxRates {
  constructor(private readonly database: Database) {}

  async list(viewer: Viewer): Promise<TaxRate[]> {
    return this.database.inWorkspace(viewer.workspaceId, (tx) =>
      tx.manager.find(TaxRate, { where: { workspaceId: tx.workspaceId }, order: { name: "ASC" } }),
    );
  }

  /** The active organisation's rates that sales lines may use; null when there is no copy of them yet. */
  async xeroTaxRates(viewer: Viewer): Promise<XeroTaxRate[] | null> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const connection = await findActiveConnection(tx);
      return connection?.dataReadAt ? usableRates(tx, connection) : null;
    });
  }

  /**
   * Creates the rate, or replaces the one with this id; mappings that no longer come to the same are undone. Invoices that exist keep
   * the per cent they were saved with. Throws BAD_USER_INPUT or NOT_FOUND.
   */
  async save(viewer: Viewer, input: SaveTaxRateInput): Promise<TaxRate> {
    const problems = new Problems();
    const name = problems.required("input.name", input.name, 50);
    input.components.forEach(({ name: part, rate }, index) => {
      problems.required(`input.components[${index}].name`, part, 50);
      problems.decimal(`input.components[${index}].rate`, rate, 4, 100);
      if (rate.startsWith("-")) problems.add(`input.components[${index}].rate`, "must not be negative");
    });
    if (input.components.length === 0 || input.components.length > 10) {
      problems.add("input.components", "must be one to ten; a rate without tax has one of rate 0");
    }
    problems.throwIfAny();
    const components = input.components.map((component) => ({
      name: component.name.replace(/\s+/gu, " ").trim(),
      rate: decimalText(component.rate),
      compound: component.compound ?? false,
    }));
    const effectiveRate = decimalText(effectiveRateOf(components).round(4, Big.roundHalfUp));
    try {
      return await this.database.inWorkspace(viewer.workspaceId, async (tx) => {
        const id =
          input.id == null
            ? uuidv7()
            : (await load(tx, TaxRate, input.id, { thing: "tax rate", field: "input.id", lock: true })).id;
        const rate = tx.manager.create(TaxRate, { workspaceId: tx.workspaceId, id, name, effectiveRate, components });
        await tx.manager.upsert(TaxRate, rate, ["workspaceId", "id"]);
        await unmapMismatches(tx, rate);
        await noteActivity(tx);
        await queueMended(tx, brokenMapping);
        return rate;
      });
    } catch (error) {
      if (!violates(error, "uq_tax_rate_name")) throw error;
      throw badInput({ field: "input.name", reason: "is another tax rate's already" });
    }
  }

  /** Maps the rate to one of the active organisation's, or unmaps it. Throws TAX_RATE_MISMATCH unless they come to the same. */
  async map(viewer: Viewer, taxRateId: string, taxType: string | null): Promise<TaxRate> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const rate = await load(tx, TaxRate, taxRateId, { thing: "tax rate", field: "taxRateId", lock: true });
      const connection = await findActiveConnection(tx);
      if (!connection) throw new AppError("XERO_NOT_CONNECTED", "Connect to Xero and choose an organisation first.");
      await noteActivity(tx, connection.id);
      const key = { workspaceId: tx.workspaceId, connectionId: connection.id, taxRateId: rate.id };
      if (taxType === null) {
        await tx.manager.delete(TaxRateMapping, key);
        return rate;
      }
      const theirs = await tx.manager.findOneBy(XeroTaxRate, {
        workspaceId: tx.workspaceId,
        connectionId: connection.id,
        taxType,
      });
      if (!theirs) throw notFound("tax rate in the active organisation");
      if (!isUsable(theirs) || !ratesMatch(rate, theirs)) {
        throw new AppError(
          "TAX_RATE_MISMATCH",
          isUsable(theirs)
            ? `${rate.name} is ${describe(rate)}; ${theirs.name} in Xero is ${describe(theirs)}. Only equal rates may be mapped.`
            : `${theirs.name} can't be used on sales in Xero: it is ${theirs.status.toLowerCase()}${theirs.appliesToRevenue ? "" : " and does not apply to revenue"}.`,
        );
      }
      await tx.manager.upsert(TaxRateMapping, { ...key, taxType }, ["workspaceId", "connectionId", "taxRateId"]);
      await queueMended(tx, brokenMapping);
      return rate;
    });
  }

  /** What each of the rates is, and may be, in the active organisation; in the order of the ids. */
  async matches(viewer: Viewer, taxRates: readonly TaxRate[]): Promise<TaxRateMatch[]> {
    return this.database.inWorkspace(viewer.workspaceId, async (tx) => {
      const connection = await findActiveConnection(tx);
      if (!connection) return taxRates.map(() => ({ mapped: null, matching: [] }));
      const rates = await tx.manager.findBy(XeroTaxRate, { workspaceId: tx.workspaceId, connectionId: connection.id });
      const mappings = await tx.manager.findBy(TaxRateMapping, {
        workspaceId: tx.workspaceId,
        connectionId: connection.id,
        taxRateId: In(taxRates.map(({ id }) => id)),
      });
      return taxRates.map((ours) => {
        const taxType = mappings.find(({ taxRateId }) => taxRateId === ours.id)?.taxType;
        return {
          mapped: rates.find((theirs) => theirs.taxType === taxType) ?? null,
          matching: rates.filter((theirs) => isUsable(theirs) && ratesMatch(ours, theirs)).sort(byProposal),
        };
      });
    });
  }
}

const byName = (one: { name: string }, other: { name: string }): number => one.name.localeCompare(other.name);

function describe(rate: TaxRate | XeroTaxRate): string {
  const parts = rate.components.map(
    ({ name, rate: percent, compound }) => `${name} ${percent} %${compound ? " compound" : ""}`,
  );
  return `${rate.effectiveRate} % (${parts.join(", ")})`;
}

async function usableRates(tx: WorkspaceTransaction, connection: Connection): Promise<XeroTaxRate[]> {
  const rates = await tx.manager.findBy(XeroTaxRate, { workspaceId: tx.workspaceId, connectionId: connection.id });
  return rates.filter(isUsable).sort(byName);
}

async function unmapMismatches(tx: WorkspaceTransaction, rate: TaxRate): Promise<void> {
  const mappings = await tx.manager.findBy(TaxRateMapping, { workspaceId: tx.workspaceId, taxRateId: rate.id });
  for (const { connectionId, taxType } of mappings) {
    const theirs = await tx.manager.findOneBy(XeroTaxRate, { workspaceId: tx.workspaceId, connectionId, taxType });
    if (!theirs || !ratesMatch(rate, theirs)) {
      await tx.manager.delete(TaxRateMapping, { workspaceId: tx.workspaceId, connectionId, taxRateId: rate.id });
    }
  }
}
