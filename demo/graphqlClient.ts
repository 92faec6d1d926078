/** A client app in small: GraphQL over HTTP, and subscriptions over WebSocket. Used by the demo and by the tests. */
import { type Client, createClient } from "graphql-ws";
import { SignJWT } from "jose";
import { WebSocket } from "ws";

/** The answer of a GraphQL operation, as it came. */
export interface Answer<T> {
  status: number;
  headers: Headers;
  data?: T | null;
  errors?: { message: string; path?: (string | number)[]; extensions: { code: string } & Record<string, unknown> }[];
}

/** A bearer token for a role in a workspace, as the platform's login would issue it. */
export async function signToken(
  secret: string,
  claims: { workspace: string; role: string; subject?: string; expires?: string | number },
): Promise<string> {
  return new SignJWT({ workspace_id: claims.workspace, role: claims.role })
    .setProtectedHeader({ alg: "HS256" })
    .setSubject(claims.subject ?? `demo-${claims.role}`)
    .setIssuedAt()
    .setExpirationTime(claims.expires ?? "12h")
    .sign(new TextEncoder().encode(secret));
}

export class GraphqlClient {
  private readonly sockets: Client[] = [];

  constructor(
    readonly url: string,
    readonly token: string,
  ) {}

  /** Sends the operation; answers whatever came. */
  async send<T = Record<string, never>>(query: string, variables: object = {}): Promise<Answer<T>> {
    const response = await fetch(`${this.url}/graphql`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${this.token}` },
      body: JSON.stringify({ query, variables }),
    });
    const body = (await response.json()) as Pick<Answer<T>, "data" | "errors">;
    return { status: response.status, headers: response.headers, ...body };
  }

  /** Sends the operation; throws where it answers an error, with the errors themselves as its cause. */
  async ask<T>(query: string, variables: object = {}): Promise<T> {
    const { data, errors } = await this.send<T>(query, variables);
    if (errors || !data)
      throw new Error(errors?.map(({ message }) => message).join("; ") ?? "no data", { cause: errors });
    return data;
  }

  /** Every event of the subscription, as it happens; ends with `close`. Throws the errors that the server answers. */
  watch<T>(query: string, variables: Record<string, unknown> = {}): AsyncIterableIterator<T> {
    const socket = createClient({
      url: `${this.url.replace(/^http/, "ws")}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization: `Bearer ${this.token}` },
      retryAttempts: 0,
    });
    this.sockets.push(socket);
    const results = socket.iterate<T>({ query, variables });
    return (async function* () {
      for await (const { data, errors } of results) {
        if (errors) throw new Error(errors.map(({ message }) => message).join("; "));
        if (data) yield data;
      }
    })();
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) await socket.dispose();
  }
}
