/** Signs Xero's tokens (RS256) with a key made for this sandbox, and publishes its public half. */
import { createSign, generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import type { Json } from "../http.js";

const keyId = "sandbox-1";

export class Signer {
  readonly #pair: Promise<{ publicKey: KeyObject; privateKey: KeyObject }>;

  /** Begins making the key at once, off the main thread: a start must not wait for it. */
  constructor() {
    this.#pair = promisify(generateKeyPair)("rsa", { modulusLength: 2048 });
    this.#pair.catch(() => undefined);
  }

  async sign(claims: Json): Promise<string> {
    const { privateKey } = await this.#pair;
    const body = `${base64url({ alg: "RS256", kid: keyId, typ: "JWT" })}.${base64url(claims)}`;
    return `${body}.${createSign("RSA-SHA256").update(body).sign(privateKey, "base64url")}`;
  }

  async keySet(): Promise<Json> {
    const { publicKey } = await this.#pair;
    return { keys: [{ ...publicKey.export({ format: "jwk" }), kid: keyId, use: "sig", alg: "RS256" }] };
  }
}

function base64url(value: Json): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
