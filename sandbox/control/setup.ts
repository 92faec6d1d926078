/**
 * Owns what control does outside the books: time, switches, consents, connections, organisations and their settings,
 * faults, barriers, webhooks. Leaves what a person does with invoices and contacts to books.ts.
 */
import { z } from "zod";
import { classOf } from "../accounting/records.js";
import { faultSchema, matchSchema, type Fault } from "../Faults.js";
import { addAccount, addTaxRate } from "../seed/australia.js";
import { addOrganisation } from "../seed/demo.js";
import { switchesSchema } from "../switches.js";
import { payloadOf, signatureOf } from "../webhooks/payload.js";
import type { World } from "../World.js";
import { controlCall, ControlRefusal, type ControlCall } from "./ControlCall.js";
import { findAccount, findOrganisation } from "./find.js";

const tenantId = z.string().optional();
const day = z.iso.date().nullable().optional();
const nothing = z.strictObject({});
const organisationFields = {
  name: z.string().optional(),
  legalName: z.string().optional(),
  shortCode: z.string().optional(),
  baseCurrency: z.string().optional(),
  countryCode: z.string().optional(),
  timezone: z.string().optional(),
  isDemoCompany: z.boolean().optional(),
  class: z.string().optional(),
};

export const setupCalls: Readonly<Record<string, ControlCall>> = {
  "clock/advance": controlCall(z.strictObject({ ms: z.number() }), (world, { ms }) => {
    world.clock.advance(ms);
    return { now: new Date(world.clock.now()).toISOString(), offsetMs: world.clock.offsetMs };
  }),
  switches: controlCall(switchesSchema.partial(), (world, wish) => {
    Object.assign(world.switches, wish);
    world.webhooks.wake();
    return world.switches;
  }),
  "calls/clear": controlCall(nothing, (world) => {
    world.calls.forget();
    return {};
  }),
  "app/redirect-uris": controlCall(z.strictObject({ uris: z.array(z.string()).nullable() }), (world, { uris }) => {
    world.app.redirectUris = uris ?? undefined;
    return { uris };
  }),
  "consent/next": controlCall(
    z.strictObject({
      refuse: z.boolean().optional(),
      organisations: z.array(z.string()).optional(),
      userId: z.string().optional(),
    }),
    (world, wish) => {
      const tenantIds = wish.organisations?.map((key) => findOrganisation(world, key).id);
      world.identity.nextConsents.push({ refuse: wish.refuse, tenantIds, userId: wish.userId });
      return { waiting: world.identity.nextConsents.length };
    },
  ),
  "users/add": controlCall(
    z.strictObject({
      id: z.uuid().optional(),
      email: z.string().optional(),
      givenName: z.string().optional(),
      familyName: z.string().optional(),
    }),
    (world, wish) => {
      const { id, email, givenName, familyName } = world.identity.addUser(wish);
      return { userId: id, email, givenName, familyName };
    },
  ),
  disconnect: controlCall(z.strictObject({ tenantId, connectionId: z.string().optional() }), (world, key) => {
    const org = key.connectionId === undefined ? findOrganisation(world, key.tenantId).id : undefined;
    const ended = [...world.identity.connections.values()].filter(
      (one) => one.tenantId === org || one.id === key.connectionId,
    );
    for (const connection of ended) world.identity.connections.delete(connection.id);
    return { disconnected: ended.map((one) => one.id) };
  }),
  revoke: controlCall(
    z.strictObject({ userId: z.string().optional(), accessToo: z.boolean().default(false) }),
    (world, { userId, accessToo }) => {
      const users = userId === undefined ? [...world.identity.users.keys()] : [userId];
      users.forEach((id) => world.identity.revokeUser(id, accessToo));
      return { revoked: users };
    },
  ),
  "organisations/add": controlCall(
    z.strictObject({ id: z.uuid().optional(), ...organisationFields }),
    (world, wish) => {
      const org = addOrganisation(world, wish);
      return { tenantId: org.id, ...org.profile };
    },
  ),
  "organisations/edit": controlCall(
    z.strictObject({ tenantId, ...organisationFields }),
    (world, { tenantId: key, ...wish }) => {
      const org = findOrganisation(world, key);
      Object.assign(org.profile, wish);
      return { tenantId: org.id, ...org.profile };
    },
  ),
  lock: controlCall(z.strictObject({ tenantId, periodLockDate: day, endOfYearLockDate: day }), (world, body) => {
    const { profile } = findOrganisation(world, body.tenantId);
    if (body.periodLockDate !== undefined) profile.periodLockDate = body.periodLockDate ?? undefined;
    if (body.endOfYearLockDate !== undefined) profile.endOfYearLockDate = body.endOfYearLockDate ?? undefined;
    return {
      tenantId: profile.id,
      periodLockDate: profile.periodLockDate,
      endOfYearLockDate: profile.endOfYearLockDate,
    };
  }),
  role: controlCall(z.strictObject({ tenantId, endpoint: z.string(), allowed: z.boolean() }), (world, body) => {
    const org = findOrganisation(world, body.tenantId);
    if (body.allowed) org.forbiddenEndpoints.delete(body.endpoint.toLowerCase());
    else org.forbiddenEndpoints.add(body.endpoint.toLowerCase());
    return { tenantId: org.id, forbidden: [...org.forbiddenEndpoints] };
  }),
  approvals: controlCall(z.strictObject({ tenantId, left: z.int().nonnegative().nullable() }), (world, body) => {
    const org = findOrganisation(world, body.tenantId);
    org.approvalsLeft = body.left ?? undefined;
    return { tenantId: org.id, left: body.left };
  }),
  "accounts/add": controlCall(
    z.strictObject({
      tenantId,
      code: z.string().max(10).optional(),
      name: z.string(),
      type: z.string(),
      taxType: z.string().default("BASEXCLUDED"),
      enablePayments: z.boolean().default(false),
      systemAccount: z.string().optional(),
    }),
    (world, { tenantId: key, ...wish }) => {
      const org = findOrganisation(world, key);
      const account = addAccount(org, wish);
      return { accountId: account.id, code: account.code, class: classOf(account.type) };
    },
  ),
  "accounts/archive": controlCall(z.strictObject({ tenantId, account: z.string() }), (world, body) => {
    const org = findOrganisation(world, body.tenantId);
    const account = findAccount(org, body.account);
    Object.assign(account, { status: "ARCHIVED", updatedAt: world.clock.now() });
    return { accountId: account.id };
  }),
  "accounts/restore": controlCall(z.strictObject({ tenantId, account: z.string() }), (world, body) => {
    const account = findAccount(findOrganisation(world, body.tenantId), body.account);
    Object.assign(account, { status: "ACTIVE", updatedAt: world.clock.now() });
    return { accountId: account.id };
  }),
  "tax-rates/add": controlCall(
    z.strictObject({
      tenantId,
      taxType: z.string(),
      name: z.string(),
      status: z.string().default("ACTIVE"),
      components: z.array(
        z.strictObject({ name: z.string(), rate: z.number(), isCompound: z.boolean().default(false) }),
      ),
      appliesTo: z.array(z.enum(["ASSET", "EQUITY", "EXPENSE", "LIABILITY", "REVENUE"])).default(["REVENUE"]),
    }),
    (world, { tenantId: key, ...wish }) => {
      const rate = addTaxRate(findOrganisation(world, key), { reportTaxType: "OUTPUT", ...wish });
      return { taxType: rate.taxType };
    },
  ),
  "tax-rates/delete": controlCall(z.strictObject({ tenantId, taxType: z.string() }), (world, body) => {
    const rate = findOrganisation(world, body.tenantId).taxRates.get(body.taxType);
    if (!rate) throw new ControlRefusal(`no tax rate ${body.taxType}`);
    rate.status = "DELETED";
    return { taxType: rate.taxType };
  }),
  faults: controlCall(faultSchema, (world, wish) => shownFault(world.faults.add(wish))),
  "faults/clear": controlCall(z.strictObject({ id: z.string().optional() }), (world, { id }) => {
    world.faults.clear(id);
    return {};
  }),
  hold: controlCall(
    z.strictObject({
      name: z.string(),
      match: matchSchema.default({}),
      phase: z.enum(["before", "inside", "after"]).default("before"),
      times: z.int().positive().optional(),
    }),
    (world, { name, match, phase, times }) => {
      world.holds.set(name, match, phase, times);
      return { name };
    },
  ),
  "hold/await": controlCall(
    z.strictObject({
      name: z.string(),
      count: z.int().positive().default(1),
      timeoutMs: z.int().positive().default(10_000),
    }),
    async (world, { name, count, timeoutMs }) => {
      const reached = await world.holds.reached(name, count, timeoutMs);
      if (!reached) throw new ControlRefusal(`only ${world.holds.waitingAt(name)} of ${count} calls came to ${name}`);
      return { name, waiting: world.holds.waitingAt(name) };
    },
  ),
  release: controlCall(z.strictObject({ name: z.string(), count: z.int().positive().optional() }), (world, body) => ({
    released: world.holds.release(body.name, body.count),
  })),
  webhooks: controlCall(
    z.strictObject({
      url: z.url().nullable().optional(),
      key: z.string().optional(),
      categories: z.array(z.string()).optional(),
    }),
    (world, wish) => {
      if (wish.url !== undefined) world.webhooks.url = wish.url ?? undefined;
      if (wish.key !== undefined) world.webhooks.key = wish.key;
      if (wish.categories) world.webhooks.categories = new Set(wish.categories);
      return shownWebhooks(world);
    },
  ),
  "webhooks/drain": controlCall(nothing, async (world) => {
    await world.webhooks.drain();
    return shownWebhooks(world);
  }),
  "webhooks/flush": controlCall(nothing, async (world) => {
    await world.webhooks.flush();
    return shownWebhooks(world);
  }),
  "webhooks/intent-to-receive": controlCall(nothing, (world) => world.webhooks.intentToReceive()),
  "webhooks/send": controlCall(
    z.strictObject({
      events: z.array(z.record(z.string(), z.unknown())).default([]),
      body: z.string().optional(),
      signature: z.enum(["right", "wrong", "none"]).default("right"),
      sequence: z.int().default(1),
    }),
    (world, { events, body, signature, sequence }) => {
      const bytes = body ?? payloadOf(events, sequence, sequence + Math.max(0, events.length - 1));
      const right = signatureOf(bytes, world.webhooks.key);
      const wrong = signatureOf(bytes, `${world.webhooks.key}?`);
      return world.webhooks.post(bytes, { right, wrong, none: "" }[signature]);
    },
  ),
  "webhooks/replay": controlCall(z.strictObject({ last: z.int().positive().optional() }), async (world, { last }) => {
    const answers = [];
    for (const { body } of world.webhooks.deliveries.slice(-(last ?? 0))) answers.push(await world.webhooks.post(body));
    return { answers };
  }),
};

/** The subscription as a person would look at it. */
export function shownWebhooks(world: World): Record<string, unknown> {
  const { url, key, state, waiting, deliveries, categories } = world.webhooks;
  return {
    url,
    key,
    state,
    waiting,
    delivered: deliveries.filter((one) => one.accepted).length,
    categories: [...categories],
  };
}

/** A fault without its inner workings. */
export function shownFault(fault: Fault): Record<string, unknown> {
  return { id: fault.id, ...fault.wish, hits: fault.hits, left: Number.isFinite(fault.left) ? fault.left : null };
}
