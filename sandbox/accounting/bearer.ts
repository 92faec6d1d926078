import { header, type Call } from "../http.js";

/** The bearer token of a call, if it carries one. */
export function bearer(call: Call): string | undefined {
  return /^Bearer (\S+)$/i.exec(header(call, "authorization") ?? "")?.[1];
}
