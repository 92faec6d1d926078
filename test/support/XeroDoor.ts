/** Stands before the sandbox's API and refuses calls for reasons that no control call gives it: tokens and scopes that Xero alone knows of. */
import { createServer, type IncomingMessage, type Server } from "node:http";
import { type AddressInfo } from "node:net";

interface Refusal {
  status: number;
  detail: string;
  challenge?: string;
}

export class XeroDoor {
  target = "";
  /** What a call is refused with; undefined lets it through. */
  refuse: (call: { method: string; path: string }) => Refusal | undefined | Promise<Refusal | undefined> = () =>
    undefined;
  private readonly server: Server;

  constructor() {
    this.server = createServer((request, response) => {
      void (async () => {
        const body = Buffer.concat((await request.toArray()) as Buffer[]);
        const { status, headers, text } = await this.answer(request, body);
        response.writeHead(status, headers).end(text);
      })().catch(() => response.destroy());
    });
  }

  async open(): Promise<string> {
    await new Promise<void>((listening) => this.server.listen(0, "127.0.0.1", listening));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.server.close();
    this.server.closeAllConnections();
  }

  private async answer(
    { method = "", url = "", headers }: IncomingMessage,
    body: Buffer,
  ): Promise<{ status: number; headers: Record<string, string>; text: string }> {
    const refusal = await this.refuse({ method, path: url.split("?")[0] ?? "" });
    if (refusal) {
      const { status, detail, challenge } = refusal;
      const text = JSON.stringify({ Type: null, Title: "Unauthorized", Status: status, Detail: detail });
      return {
        status,
        headers: { "content-type": "application/json", ...(challenge && { "www-authenticate": challenge }) },
        text,
      };
    }
    const { host: _host, connection: _connection, "content-length": _length, ...passed } = headers;
    const answer = await fetch(this.target + url, {
      method,
      headers: passed as Record<string, string>,
      ...(body.length > 0 && { body: new Uint8Array(body) }),
    });
    const { "content-length": _size, "transfer-encoding": _coding, ...given } = Object.fromEntries(answer.headers);
    return { status: answer.status, headers: given, text: await answer.text() };
  }
}
