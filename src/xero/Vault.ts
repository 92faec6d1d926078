/**
 * Encryption of what must not be readable in a dump: AES-256-GCM, a fresh nonce each time. The text names the key it was made with, so keys
 * can be rotated, and the row it belongs to is authenticated with it: copied to another row it does not decrypt.
 */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";

const nonceBytes = 12;
const tagBytes = 16;

export class Vault {
  private readonly keys: Map<string, Buffer>;
  private readonly current: string;

  /** The first key encrypts, all decrypt. */
  constructor(keys: { id: string; key: Buffer }[]) {
    const [first] = keys;
    if (!first) throw new Error("There is no encryption key.");
    this.current = first.id;
    this.keys = new Map(keys.map(({ id, key }) => [id, key]));
  }

  /** `row` identifies the row and column, such as `xero_grant/<id>/refresh_token`. */
  encrypt(plain: string, row: string): string {
    const nonce = randomBytes(nonceBytes);
    const cipher = createCipheriv("aes-256-gcm", this.key(this.current), nonce).setAAD(
      Buffer.from(`${this.current}/${row}`),
    );
    const sealed = Buffer.concat([nonce, cipher.update(plain, "utf8"), cipher.final(), cipher.getAuthTag()]);
    return `${this.current}:${sealed.toString("base64")}`;
  }

  /** Throws when the key is unknown, or the text was not made for this row. */
  decrypt(sealed: string, row: string): string {
    const id = this.keyOf(sealed);
    const bytes = Buffer.from(sealed.slice(id.length + 1), "base64");
    const decipher = createDecipheriv("aes-256-gcm", this.key(id), bytes.subarray(0, nonceBytes)).setAAD(
      Buffer.from(`${id}/${row}`),
    );
    decipher.setAuthTag(bytes.subarray(-tagBytes));
    return Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()]).toString("utf8");
  }

  /** The id of the key that the text was made with. */
  keyOf(sealed: string): string {
    return sealed.slice(0, Math.max(0, sealed.indexOf(":")));
  }

  has(id: string): boolean {
    return this.keys.has(id);
  }

  /** Whether it was made with the key that encrypts now. */
  isCurrent(sealed: string): boolean {
    return this.keyOf(sealed) === this.current;
  }

  opens(sealed: string, row: string): boolean {
    try {
      this.decrypt(sealed, row);
      return true;
    } catch {
      return false;
    }
  }

  private key(id: string): Buffer {
    const key = this.keys.get(id);
    if (!key) throw new Error(`ENCRYPTION_KEYS has no key ${id}, with which stored tokens are encrypted.`);
    return key;
  }
}
