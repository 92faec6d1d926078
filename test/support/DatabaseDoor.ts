/** Stands between a service and its database, so that for that service alone it is gone, or hangs: on both kinds of database. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

export class DatabaseDoor {
  private state: "open" | "hung" | "shut" = "open";
  /** The service's connections, each with ours to the database, if it has one. */
  private readonly connections = new Map<Socket, Socket | null>();
  private readonly server: Server;
  private target: { path: string } | { host: string; port: number } = { path: "" };

  constructor() {
    this.server = createServer((client) => this.let(client));
  }

  /** The address by which the database is reached through this door. */
  async open(url: string): Promise<string> {
    const address = new URL(url);
    const host = address.searchParams.get("host") ?? address.hostname;
    const port = Number(address.port || 5432);
    this.target = host.startsWith("/") ? { path: `${host}/.s.PGSQL.${port}` } : { host, port };
    await new Promise<void>((listening) => this.server.listen(0, "127.0.0.1", listening));
    address.searchParams.delete("host");
    address.hostname = "127.0.0.1";
    address.port = String((this.server.address() as AddressInfo).port);
    return address.href;
  }

  /** Nothing is answered any more, and nobody is told: as where a network swallows packets. */
  hang(): void {
    this.state = "hung";
    for (const [client, own] of this.connections) {
      own?.destroy();
      client.pause();
      this.connections.set(client, null);
    }
  }

  /** Whoever is connected is cut off, and nobody else is let in. */
  shut(): void {
    this.state = "shut";
    for (const client of this.connections.keys()) client.destroy();
  }

  /** Whoever comes from now on is let through; what hangs goes on hanging. */
  mend(): void {
    this.state = "open";
  }

  close(): void {
    this.shut();
    this.server.close();
  }

  private let(client: Socket): void {
    if (this.state === "shut") {
      client.destroy();
      return;
    }
    this.connections.set(client, null);
    client.on("error", () => undefined);
    client.on("close", () => {
      this.connections.get(client)?.destroy();
      this.connections.delete(client);
    });
    if (this.state === "hung") return;
    const own = connect(this.target);
    this.connections.set(client, own);
    own.on("error", () => undefined);
    // What hangs is cut off from the database only.
    own.on("close", () => this.connections.get(client) === own && client.destroy());
    client.pipe(own);
    own.pipe(client);
  }
}
