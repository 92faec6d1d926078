/**
 * Owns the control address, /sandbox: reading the state, and finding the call that changes it. Leaves the calls to
 * books.ts and setup.ts; what each takes is documented in sandbox/README.md.
 *
 * No password: the sandbox listens on loopback only and holds nothing real.
 */
import { ZodError } from "zod";
import { wireCredit } from "../accounting/credits.js";
import { wholeContact } from "../accounting/contactWire.js";
import { wireInvoice } from "../accounting/invoiceWire.js";
import type { Organisation } from "../accounting/Organisation.js";
import { wirePayment } from "../accounting/payments.js";
import { json, type Call, type Json, type Reply } from "../http.js";
import { Invalid, Refusal } from "../refusals.js";
import type { World } from "../World.js";
import { bookCalls } from "./books.js";
import { ControlRefusal } from "./ControlCall.js";
import { setupCalls, shownFault, shownWebhooks } from "./setup.js";

const calls = { ...bookCalls, ...setupCalls };

const dumps: Readonly<Record<string, (world: World, call: Call) => unknown>> = {
  "": () => ({ get: Object.keys(dumps), post: ["reset", ...Object.keys(calls)] }),
  state: (world) => ({
    now: new Date(world.clock.now()).toISOString(),
    organisations: [...world.organisations.values()].map((org) => ({
      tenantId: org.id,
      ...org.profile,
      contacts: org.contacts.size,
      invoices: org.invoices.size,
      payments: org.payments.size,
      credits: org.credits.size,
    })),
    connections: [...world.identity.connections.values()],
    users: [...world.identity.users.values()].map((user) => ({ ...user, grantedScopes: [...user.grantedScopes] })),
    webhooks: shownWebhooks(world),
    switches: world.switches,
  }),
  invoices: (world, call) =>
    everywhere(world, call, (org) => [...org.invoices.values()].map((one) => wireInvoice(org, one, "single", 4))),
  contacts: (world, call) =>
    everywhere(world, call, (org) => [...org.contacts.values()].map((one) => wholeContact(org, one))),
  payments: (world, call) =>
    everywhere(world, call, (org) => [...org.payments.values()].map((one) => wirePayment(org, one, "nested"))),
  credits: (world, call) =>
    everywhere(world, call, (org) => [...org.credits.values()].map((one) => wireCredit(org, one, false))),
  accounts: (world, call) => everywhere(world, call, (org) => [...org.accounts.values()].map((one) => ({ ...one }))),
  "tax-rates": (world, call) => everywhere(world, call, (org) => [...org.taxRates.values()].map((one) => ({ ...one }))),
  calls: (world, call) => {
    const path = new RegExp(call.query.get("path") ?? "");
    const method = call.query.get("method")?.toUpperCase();
    const kind = call.query.get("kind");
    const shown = world.calls.calls.filter(
      (one) =>
        path.test(one.path) && (method === undefined || method === one.method) && (kind === null || kind === one.kind),
    );
    return {
      total: shown.length,
      counts: world.calls.countsByEndpoint(),
      maxInFlight: world.calls.maxInFlight,
      maxInFlightByTenant: world.calls.maxInFlightByTenant,
      tokenCalls: world.calls.calls.filter((one) => one.path === "/connect/token").length,
      calls: shown,
    };
  },
  deliveries: (world) => ({ ...shownWebhooks(world), deliveries: world.webhooks.deliveries }),
  faults: (world) => world.faults.list().map(shownFault),
  switches: (world) => world.switches,
};

/** Answers a call of the control address; `reset` makes the sandbox's world anew. */
export async function control(world: World, call: Call, reset: () => void): Promise<Reply> {
  const name = call.path.slice("/sandbox".length).replace(/^\/|\/$/g, "");
  try {
    if (call.method === "GET") {
      const dump = Object.hasOwn(dumps, name) ? dumps[name] : undefined;
      return dump ? json(200, dump(world, call)) : json(404, { error: `no such dump: ${name}` });
    }
    if (call.method === "POST" && name === "reset") {
      reset();
      return json(200, {});
    }
    const found = call.method === "POST" && Object.hasOwn(calls, name) ? calls[name as keyof typeof calls] : undefined;
    if (!found) return json(404, { error: `no such call: ${call.method} ${name}` });
    const body: unknown = call.body.length === 0 ? {} : JSON.parse(call.body.toString("utf8"));
    return json(200, await found.run(world, body));
  } catch (error) {
    return json(400, complaint(error));
  }
}

function everywhere(world: World, call: Call, of: (org: Organisation) => Json[]): Json[] {
  const tenant = call.query.get("tenant");
  const organisations = [...world.organisations.values()].filter((org) => tenant === null || org.id === tenant);
  return organisations.flatMap((org) => of(org).map((one) => ({ tenantId: org.id, ...one })));
}

function complaint(error: unknown): Json {
  if (error instanceof Invalid) return { error: error.messages.join(" "), messages: error.messages };
  if (error instanceof ZodError) return { error: "the body does not fit", issues: error.issues };
  if (error instanceof Refusal) return { error: `Xero would answer ${error.reply.status}`, body: error.reply.body };
  if (error instanceof ControlRefusal || error instanceof SyntaxError) return { error: error.message };
  throw error;
}
