/** A mail server on loopback that keeps what it is given: where the demo's and the tests' alert e-mail arrives. Nothing leaves the machine. */
import { once } from "node:events";
import { type AddressInfo } from "node:net";
import PostalMime, { type Email } from "postal-mime";
import { SMTPServer } from "smtp-server";

export interface ReceivedMail {
  /** As the envelope says. */
  to: string;
  subject: string;
  messageId: string;
  text: string;
  html: string;
  /** As it came over the wire. */
  raw: string;
}

export interface MailboxOptions {
  /** Before a mail is taken; what it throws is the server's refusal, with its `responseCode`. */
  beforeMail?: (to: string) => Promise<void>;
}

export class Mailbox {
  readonly mails: ReceivedMail[] = [];
  private readonly unread: ReceivedMail[] = [];
  private readonly readers: ((mail: ReceivedMail) => void)[] = [];
  private server: SMTPServer | undefined;
  private port = 0;

  constructor(private readonly options: MailboxOptions = {}) {}

  /** For SMTP_URL. */
  get url(): string {
    return `smtp://127.0.0.1:${this.port}`;
  }

  /** Listens; after `stop`, at the same address as before. */
  async start(): Promise<this> {
    this.server = new SMTPServer({
      authOptional: true,
      closeTimeout: 200,
      disabledCommands: ["STARTTLS"],
      onData: (stream, session, done) => {
        const chunks: Buffer[] = [];
        stream.on("data", (chunk: Buffer) => chunks.push(chunk));
        stream.on("end", () => {
          const to = session.envelope.rcptTo.map(({ address }) => address).join(", ");
          this.take(Buffer.concat(chunks), to).then(
            () => done(),
            (error: unknown) => done(error as Error),
          );
        });
      },
    });
    // A sender that is killed breaks its connection.
    this.server.on("error", () => undefined);
    const listening = this.server.listen(this.port, "127.0.0.1");
    await once(listening, "listening");
    this.port = (listening.address() as AddressInfo).port;
    return this;
  }

  /** The next mail that nobody has read, as soon as there is one. */
  async next(): Promise<ReceivedMail> {
    return this.unread.shift() ?? (await new Promise((resolve) => this.readers.push(resolve)));
  }

  async stop(): Promise<void> {
    const { server } = this;
    if (server) await new Promise<void>((resolve) => server.close(resolve));
  }

  private async take(raw: Buffer, to: string): Promise<void> {
    await this.options.beforeMail?.(to);
    const mail: Email = await PostalMime.parse(raw);
    const { subject = "", messageId = "", text = "", html = "" } = mail;
    const received = { to, subject, messageId, text, html, raw: raw.toString("utf8") };
    this.mails.push(received);
    const reader = this.readers.shift();
    if (reader) reader(received);
    else this.unread.push(received);
  }
}
