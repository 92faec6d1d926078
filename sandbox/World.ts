/** Everything one sandbox knows, made afresh by a reset; two sandboxes in one process share nothing. */
import { IdempotencyStore } from "./accounting/IdempotencyStore.js";
import { Limits } from "./accounting/Limits.js";
import type { Organisation } from "./accounting/Organisation.js";
import { CallLog } from "./CallLog.js";
import { Clock } from "./Clock.js";
import { Faults } from "./Faults.js";
import { Holds } from "./Holds.js";
import { Identity } from "./identity/Identity.js";
import type { Signer } from "./identity/Signer.js";
import { defaultSwitches, type Switches } from "./switches.js";
import { Webhooks } from "./webhooks/Webhooks.js";

export interface App {
  readonly name: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** Without a list any http://localhost and http://127.0.0.1 address is accepted. */
  redirectUris: readonly string[] | undefined;
}

export class World {
  readonly clock = new Clock();
  readonly switches: Switches;
  readonly organisations = new Map<string, Organisation>();
  readonly identity = new Identity(this.clock);
  readonly faults = new Faults();
  readonly holds = new Holds();
  readonly calls = new CallLog();
  readonly limits: Limits;
  readonly idempotency: IdempotencyStore;
  readonly webhooks: Webhooks;

  constructor(
    readonly app: App,
    readonly signer: Signer,
    readonly url: string,
    webhookKey: string,
    switches: Partial<Switches>,
  ) {
    this.switches = { ...defaultSwitches(), ...switches };
    this.limits = new Limits(this.clock, this.switches);
    this.idempotency = new IdempotencyStore(this.clock, this.switches);
    this.webhooks = new Webhooks(this.clock, this.switches, webhookKey, (tenantId) =>
      this.identity.isConnected(tenantId),
    );
  }

  /** Lets everything go that waits, so that the process or a reset is not held up. */
  end(): void {
    this.faults.clear();
    this.holds.releaseAll();
    this.webhooks.close();
  }
}
