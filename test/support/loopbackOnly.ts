/**
 * Shuts the network for tests, but for loopback, unix sockets and the PostgreSQL that they are to run on: a test that forgets the
 * sandbox must fail here, not write to somebody's Xero. Loaded before every test file; Node's own modules are shared by all files
 * of a worker, so it is put in place once.
 */
import dns from "node:dns";
import net from "node:net";

const inPlace = Symbol.for("ledgerline.loopbackOnly");
const databaseHost = process.env.DATABASE_URL ? new URL(process.env.DATABASE_URL).hostname : null;

function isAllowed(host: string): boolean {
  return (
    host === "localhost" ||
    host.endsWith(".localhost") ||
    host === "::1" ||
    host === "0.0.0.0" ||
    host === "::" ||
    /^(::ffff:)?127\./.test(host) ||
    host === databaseHost
  );
}

function refused(host: string): Error {
  const error = new Error(
    `Tests may not reach the network: ${host} was called. Point the code at the sandbox instead.`,
  );
  return Object.assign(error, { code: "ENETUNREACH" });
}

/** `connect` takes (options), (port, host), (path), or one array of these when called by Node itself. */
function hostOf(args: unknown[]): string {
  const [first, second] = (Array.isArray(args[0]) ? args[0] : args) as unknown[];
  if (typeof first === "object" && first !== null) {
    const { path, host } = first as { path?: string | null; host?: string | null };
    return path ? "localhost" : (host ?? "localhost");
  }
  return typeof second === "string" ? second : "localhost";
}

type Lookup = (host: string, ...rest: unknown[]) => unknown;

if (!Reflect.has(net.Socket.prototype, inPlace)) {
  Reflect.set(net.Socket.prototype, inPlace, true);

  const connect = Reflect.get(net.Socket.prototype, "connect") as (...args: unknown[]) => net.Socket;
  net.Socket.prototype.connect = function (this: net.Socket, ...args: unknown[]): net.Socket {
    const host = hostOf(args);
    return isAllowed(host) ? connect.apply(this, args) : this.destroy(refused(host));
  };

  const lookup = dns.lookup as unknown as Lookup;
  Reflect.set(dns, "lookup", (host: string, ...rest: unknown[]) => {
    if (isAllowed(host) || net.isIP(host)) return lookup(host, ...rest);
    const callback = rest.at(-1) as (error: Error) => void;
    process.nextTick(callback, refused(host));
    return undefined;
  });
  const lookupPromise = dns.promises.lookup as unknown as Lookup;
  Reflect.set(dns.promises, "lookup", (host: string, ...rest: unknown[]) =>
    isAllowed(host) || net.isIP(host) ? lookupPromise(host, ...rest) : Promise.reject(refused(host)),
  );
}
