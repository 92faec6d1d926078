/**
 * Follows the event log for this process's subscribers: one read per event and process, however many there are.
 *
 * Each workspace that somebody watches has a feed with its place in the log. A wake-up (NOTIFY, or a signal within the process) or the slow
 * poll that covers a lost one makes the feed read on and hand the rows to its subscribers. A subscriber first joins the feed and then
 * catches up from its own cursor, so no row falls between the two, and rows it has had are passed over. One that can't keep up is not
 * buffered for without end: its buffer is dropped and it catches up from the log again.
 */
import { Client } from "pg";
import { type Database } from "../database.js";
import { EventCounter, LogEvent } from "../entities/LogEvent.js";
import { badInput } from "../errors.js";
import { type Logger, messageOf } from "../logger.js";
import { eventsChannel } from "./eventLog.js";

const pageSize = 500;
const bufferSize = 1_000;

/** Covers lost wake-ups; what happens in another process is seen within this time at the latest. */
const pollEveryMs = 1_000;
const reconnectAfterMs = 1_000;

interface Subscriber {
  buffer: LogEvent[];
  /** It reads the log itself, because rows were dropped or had gone by. */
  behind: boolean;
  /** How often rows went by while it did. */
  missed: number;
  stopped: boolean;
  wake: () => void;
}

interface Feed {
  cursor: bigint;
  subscribers: Set<Subscriber>;
  reading: Promise<void> | null;
  again: boolean;
}

export class EventFeed {
  private readonly feeds = new Map<string, Feed>();
  private listener: Client | undefined;
  private pollTimer: NodeJS.Timeout | undefined;
  private reconnectTimer: NodeJS.Timeout | undefined;
  private closed = false;

  constructor(
    private readonly database: Database,
    private readonly options: {
      url: string;
      logger: Logger;
      /** Is told how old the newest event is, by the database's clock against ours, when it is handed to subscribers. Must not throw. */
      onHanded: (lagMs: number) => void;
    },
  ) {}

  /** Starts to listen for wake-ups. */
  async start(): Promise<void> {
    this.database.signals.on("events", this.wakeWorkspace);
    this.pollTimer = setInterval(() => void this.poll(), pollEveryMs);
    if (!this.database.embedded) await this.listen();
  }

  async close(): Promise<void> {
    this.closed = true;
    this.database.signals.off("events", this.wakeWorkspace);
    clearInterval(this.pollTimer);
    clearTimeout(this.reconnectTimer);
    for (const { subscribers } of this.feeds.values()) {
      for (const subscriber of subscribers) {
        subscriber.stopped = true;
        subscriber.wake();
      }
    }
    for (const { reading } of this.feeds.values()) await reading;
    await this.listener?.end();
  }

  /**
   * Every event after the cursor that matches, in order and once each, then what is new until the caller returns; from now on where no
   * cursor is given. Throws BAD_USER_INPUT for a cursor that this workspace never gave out.
   */
  async follow(
    workspaceId: string,
    after: string | null,
    matches: (event: LogEvent) => boolean,
  ): Promise<AsyncIterableIterator<LogEvent>> {
    const head = await this.head(workspaceId);
    if (after !== null && (!/^\d{1,18}$/.test(after) || BigInt(after) > head)) {
      throw badInput({
        field: "after",
        reason: "is no cursor of this workspace; use the cursor of the last event received",
      });
    }
    const start = after === null ? head : BigInt(after);
    const feed = this.feeds.get(workspaceId) ?? { cursor: head, subscribers: new Set(), reading: null, again: false };
    const subscriber: Subscriber = {
      buffer: [],
      behind: start < feed.cursor,
      missed: 0,
      stopped: this.closed,
      wake: () => undefined,
    };
    feed.subscribers.add(subscriber);
    this.feeds.set(workspaceId, feed);
    const events = this.iterate(workspaceId, start, subscriber, matches);
    const iterator: AsyncIterableIterator<LogEvent> = {
      [Symbol.asyncIterator]: () => iterator,
      next: () => events.next(),
      // A generator that waits can't be returned from outside: it is told to stop, and woken.
      return: () => {
        subscriber.stopped = true;
        subscriber.wake();
        this.leave(workspaceId, subscriber);
        return events.return();
      },
    };
    return iterator;
  }

  private async *iterate(
    workspaceId: string,
    start: bigint,
    subscriber: Subscriber,
    matches: (event: LogEvent) => boolean,
  ): AsyncGenerator<LogEvent, void, void> {
    let last = start;
    while (!subscriber.stopped) {
      if (subscriber.behind) {
        const { missed } = subscriber;
        const rows = await this.readAfter(workspaceId, last);
        subscriber.behind = subscriber.missed > missed || rows.length === pageSize;
        for (const row of rows) {
          last = BigInt(row.cursor);
          if (matches(row)) yield row;
        }
        continue;
      }
      const row = subscriber.buffer.shift();
      if (row === undefined) {
        await new Promise<void>((resolve) => (subscriber.wake = resolve));
      } else if (BigInt(row.cursor) === last + 1n) {
        last += 1n;
        if (matches(row)) yield row;
      } else if (BigInt(row.cursor) > last) {
        // Cursors have no gaps, so rows are missing in between.
        subscriber.behind = true;
      }
    }
  }

  private leave(workspaceId: string, subscriber: Subscriber): void {
    const feed = this.feeds.get(workspaceId);
    feed?.subscribers.delete(subscriber);
    if (feed?.subscribers.size === 0) this.feeds.delete(workspaceId);
  }

  private readonly wakeWorkspace = (workspaceId: string): void => {
    const feed = this.feeds.get(workspaceId);
    if (!feed || this.closed) return;
    if (feed.reading) {
      feed.again = true;
      return;
    }
    feed.reading = this.readOn(workspaceId, feed)
      .catch((error: unknown) =>
        this.options.logger.warn({ reason: messageOf(error) }, "the event log could not be read; the poll will"),
      )
      .finally(() => {
        feed.reading = null;
        if (!feed.again) return;
        feed.again = false;
        this.wakeWorkspace(workspaceId);
      });
  };

  private async readOn(workspaceId: string, feed: Feed): Promise<void> {
    for (;;) {
      const rows = await this.readAfter(workspaceId, feed.cursor);
      for (const subscriber of feed.subscribers) hand(subscriber, rows);
      const last = rows.at(-1);
      if (last) {
        feed.cursor = BigInt(last.cursor);
        this.options.onHanded(Date.now() - last.at.getTime());
      }
      if (rows.length < pageSize) return;
    }
  }

  private async readAfter(workspaceId: string, cursor: bigint): Promise<LogEvent[]> {
    return this.database.inWorkspace(workspaceId, (tx) =>
      tx.manager
        .createQueryBuilder(LogEvent, "e")
        .where("e.workspace_id = :workspaceId AND e.cursor > :cursor", { workspaceId, cursor: cursor.toString() })
        .orderBy("e.cursor")
        .limit(pageSize)
        .getMany(),
    );
  }

  private async head(workspaceId: string): Promise<bigint> {
    const counter = await this.database.inWorkspace(workspaceId, (tx) =>
      tx.manager.findOneBy(EventCounter, { workspaceId }),
    );
    return BigInt(counter?.lastCursor ?? 0);
  }

  /** One statement for all watched workspaces finds those whose log went on unnoticed. */
  private async poll(): Promise<void> {
    if (this.feeds.size === 0) return;
    try {
      const heads: { workspaceId: string; lastCursor: string }[] = await this.database.asSystem((tx) =>
        tx.manager.query(
          'SELECT workspace_id AS "workspaceId", last_cursor AS "lastCursor" FROM event_counter WHERE workspace_id = ANY($1)',
          [[...this.feeds.keys()]],
        ),
      );
      for (const { workspaceId, lastCursor } of heads) {
        const feed = this.feeds.get(workspaceId);
        if (feed && BigInt(lastCursor) > feed.cursor) this.wakeWorkspace(workspaceId);
      }
    } catch (error) {
      this.options.logger.warn({ reason: messageOf(error) }, "the event log could not be polled");
    }
  }

  private async listen(): Promise<void> {
    const client = new Client({ connectionString: this.options.url, application_name: "ledgerline-events" });
    const retry = (reason: unknown): void => {
      if (this.closed || this.listener !== client) return;
      this.listener = undefined;
      this.options.logger.warn(
        { reason: messageOf(reason) },
        "listening for events was interrupted; the poll covers it",
      );
      this.reconnectTimer = setTimeout(() => void this.listen().catch(() => undefined), reconnectAfterMs);
    };
    client.on("error", retry);
    client.on("end", () => retry("connection ended"));
    client.on("notification", ({ payload }) => this.wakeWorkspace(payload ?? ""));
    this.listener = client;
    try {
      await client.connect();
      await client.query(`LISTEN ${eventsChannel}`);
    } catch (error) {
      retry(error);
    }
  }
}

function hand(subscriber: Subscriber, rows: LogEvent[]): void {
  if (subscriber.behind) {
    subscriber.missed += 1;
  } else if (subscriber.buffer.length + rows.length > bufferSize) {
    subscriber.buffer = [];
    subscriber.behind = true;
  } else {
    subscriber.buffer.push(...rows);
  }
  subscriber.wake();
}
