/**
 * Owns who may do what: Xero users, their connections to organisations, codes, access tokens and refresh tokens.
 * Leaves the HTTP shape to login.ts, token.ts and connections.ts, and the check of scopes per endpoint to
 * accounting/scopes.ts.
 *
 * Source: docs/xero-facts.md section 1. One token set covers all of a user's organisations; an expired refresh token does
 * not end a connection; revocation ends all of the user's connections; scopes add up until revocation.
 */
import { randomBytes, randomUUID } from "node:crypto";
import type { Clock } from "../Clock.js";

const minute = 60_000;
const codeLifetime = 5 * minute;
export const accessLifetime = 30 * minute;
const refreshLifetime = 60 * 24 * 60 * minute;
const graceLifetime = 30 * minute;

export interface User {
  readonly id: string;
  readonly email: string;
  readonly givenName: string;
  readonly familyName: string;
  readonly grantedScopes: Set<string>;
}

export interface Connection {
  readonly id: string;
  readonly userId: string;
  readonly tenantId: string;
  readonly createdAt: number;
  authEventId: string;
  updatedAt: number;
}

export interface Consent {
  readonly userId: string;
  readonly scopes: readonly string[];
  readonly authEventId: string;
  readonly authenticatedAt: number;
  readonly nonce?: string;
}

export interface Code extends Consent {
  readonly redirectUri: string;
  readonly challenge?: string;
  readonly expiresAt: number;
}

interface RefreshToken {
  readonly consent: Consent;
  readonly expiresAt: number;
  rotatedAt: number | undefined;
}

interface AccessToken {
  readonly consent: Consent;
  readonly expiresAt: number;
}

/** What the person does at the next consent page; what is left out stays as usual. */
export interface NextConsent {
  readonly refuse?: boolean | undefined;
  readonly tenantIds?: readonly string[] | undefined;
  readonly userId?: string | undefined;
}

export class Identity {
  readonly users = new Map<string, User>();
  readonly connections = new Map<string, Connection>();
  readonly nextConsents: NextConsent[] = [];
  readonly #codes = new Map<string, Code>();
  readonly #access = new Map<string, AccessToken>();
  readonly #refresh = new Map<string, RefreshToken>();

  constructor(private readonly clock: Clock) {
    this.addUser({});
  }

  addUser(user: Partial<Omit<User, "grantedScopes">>): User {
    const id = user.id ?? randomUUID();
    const count = String(this.users.size + 1);
    const added = {
      id,
      email: user.email ?? `person${count}@example.com`,
      givenName: user.givenName ?? "Robin",
      familyName: user.familyName ?? `Person${count}`,
      grantedScopes: new Set<string>(),
    };
    this.users.set(id, added);
    return added;
  }

  /** The person who consents unless control said otherwise. */
  firstUser(): User {
    for (const user of this.users.values()) return user;
    throw new Error("there is always a user");
  }

  /** Connects the user to the organisations; one already connected keeps its connection, marked as renewed. */
  connect(userId: string, tenantIds: readonly string[], authEventId: string): void {
    const now = this.clock.now();
    for (const tenantId of tenantIds) {
      const known = this.findConnection(userId, tenantId);
      if (known) {
        known.authEventId = authEventId;
        known.updatedAt = now;
      } else {
        const id = randomUUID();
        this.connections.set(id, { id, userId, tenantId, authEventId, createdAt: now, updatedAt: now });
      }
    }
  }

  findConnection(userId: string, tenantId: string): Connection | undefined {
    for (const connection of this.connections.values()) {
      if (connection.userId === userId && connection.tenantId === tenantId) return connection;
    }
    return undefined;
  }

  /** Whether any user has connected the organisation: only then are its events announced. */
  isConnected(tenantId: string): boolean {
    for (const connection of this.connections.values()) if (connection.tenantId === tenantId) return true;
    return false;
  }

  issueCode(code: Omit<Code, "expiresAt">): string {
    const text = opaque();
    this.#codes.set(text, { ...code, expiresAt: this.clock.now() + codeLifetime });
    return text;
  }

  /** The code's consent, once, within five minutes; a code that was presented is spent whatever came of it. */
  takeCode(text: string): Code | undefined {
    const code = this.#codes.get(text);
    this.#codes.delete(text);
    return code && code.expiresAt > this.clock.now() ? code : undefined;
  }

  keepAccess(text: string, consent: Consent): void {
    this.#access.set(text, { consent, expiresAt: this.clock.now() + accessLifetime });
  }

  findAccess(text: string): AccessToken | undefined {
    return this.#access.get(text);
  }

  issueRefresh(consent: Consent): string {
    const text = opaque();
    this.#refresh.set(text, { consent, expiresAt: this.clock.now() + refreshLifetime, rotatedAt: undefined });
    return text;
  }

  /** The consent behind a refresh token, which is rotated by this; within the grace an old one may be used again and again. */
  useRefresh(text: string, withGrace: boolean): Consent | undefined {
    const token = this.#refresh.get(text);
    const now = this.clock.now();
    if (!token || token.expiresAt <= now) return undefined;
    if (token.rotatedAt !== undefined && (!withGrace || now > token.rotatedAt + graceLifetime)) return undefined;
    token.rotatedAt ??= now;
    return token.consent;
  }

  /** Ends the grant that the token belongs to; a token nobody knows is no error. */
  revokeToken(text: string): void {
    const token = this.#refresh.get(text);
    if (token) this.revokeUser(token.consent.userId);
  }

  /** All of the user's connections and refresh tokens end, and what was granted is forgotten; access tokens live on for their half hour, or end too. */
  revokeUser(userId: string, accessToo = false): void {
    this.users.get(userId)?.grantedScopes.clear();
    for (const [id, connection] of this.connections) if (connection.userId === userId) this.connections.delete(id);
    for (const [text, token] of this.#refresh) if (token.consent.userId === userId) this.#refresh.delete(text);
    if (!accessToo) return;
    for (const [text, token] of this.#access) if (token.consent.userId === userId) this.#access.delete(text);
  }
}

function opaque(): string {
  return randomBytes(32).toString("base64url");
}
