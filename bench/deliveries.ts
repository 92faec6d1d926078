/** Signed deliveries, made beforehand, and connections that post them: so cheap that on a small machine they take little from what is measured. */
import { createHmac, randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** What a delivery says of one change. */
export interface Announced {
  tenantId: string;
  resourceId: string;
  at: Date;
}

/** The whole HTTP request of a delivery of one event, as Xero would post it. */
export function signedDelivery(key: string, { tenantId, resourceId, at }: Announced): Buffer {
  const body = JSON.stringify({
    events: [
      {
        resourceUrl: `https://api.xero.com/api.xro/2.0/Invoices/${resourceId}`,
        resourceId,
        // Xero leaves out the Z.
        eventDateUtc: at.toISOString().slice(0, -1),
        eventType: "UPDATE",
        eventCategory: "INVOICE",
        tenantId,
        tenantType: "ORGANISATION",
      },
    ],
    firstEventSequence: 1,
    lastEventSequence: 1,
    entropy: randomUUID(),
  });
  const head = [
    "POST /webhooks/xero HTTP/1.1",
    "host: localhost",
    "content-type: application/json; charset=utf-8",
    `x-xero-signature: ${createHmac("sha256", key).update(body).digest("base64")}`,
    `content-length: ${Buffer.byteLength(body)}`,
  ];
  return Buffer.from(`${head.join("\r\n")}\r\n\r\n${body}`);
}

/** One kept-alive connection to a receiver, for one delivery at a time. */
export class Line {
  private socket: Socket | undefined;

  constructor(private readonly url: string) {}

  /** Posts the delivery. Answers the status; throws where the connection breaks first, and where Xero would not take the answer. */
  async post(delivery: Buffer): Promise<number> {
    const socket = (this.socket ??= await this.open());
    return new Promise((resolve, reject) => {
      let text = "";
      const finish = (end: () => void): void => {
        socket.off("data", onData).off("close", onClose);
        end();
      };
      const onClose = (): void => {
        this.socket = undefined;
        finish(() => reject(new Error("the connection broke")));
      };
      const onData = (part: Buffer): void => {
        text += part.toString("latin1");
        if (!text.includes("\r\n\r\n")) return;
        const isEmpty = text.endsWith("\r\n\r\n") && /\r\ncontent-length: 0\r\n/i.test(text);
        finish(() =>
          isEmpty ? resolve(Number(text.slice(9, 12))) : reject(new Error(`an answer that is not empty: ${text}`)),
        );
      };
      socket.on("data", onData).on("close", onClose);
      socket.write(delivery);
    });
  }

  close(): void {
    this.socket?.destroy();
  }

  private async open(): Promise<Socket> {
    const { hostname, port } = new URL(this.url);
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    await once(socket, "connect"); // Throws where nobody listens.
    socket.on("error", () => undefined); // "close" follows.
    return socket;
  }
}
