/** One process of the service, started as an operator would: told of everything by its environment, and treated as badly as wanted. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";

/** A line of the log that tells of more than a warning. */
export interface Complaint {
  fatal: boolean;
  msg: string;
  reason: string;
}

interface LogLine {
  level?: number;
  msg?: string;
  url?: string;
  err?: { message?: string };
}

const errorLevel = 50;
const fatalLevel = 60;

/** Of what a process says when it dies. */
const longestWords = 600;

export class ServiceProcess {
  /** Resolves once it listens; rejects where it ends before. */
  readonly listening: Promise<void>;
  readonly complaints: Complaint[] = [];
  url = "";
  /** Up, and neither stopped nor ended. */
  ready = false;
  private readonly child: ChildProcess;
  private readonly exit: Promise<unknown>;
  private expected = false;

  constructor(main: string, environment: Record<string, string>) {
    this.child = spawn(process.execPath, [main], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env["PATH"], ...environment },
    });
    this.exit = once(this.child, "exit").then(() => (this.ready = false));
    this.listening = Promise.race([
      this.read(),
      this.exit.then(() => Promise.reject(new Error("a process of the service ended before it listened"))),
    ]);
    this.listening.catch(() => undefined);
  }

  /** Whether it ended though nobody told it to. */
  get died(): boolean {
    return !this.alive && !this.expected;
  }

  /** The most memory that it had at any moment, in MB. */
  async peakMegabytes(): Promise<number> {
    const status = await readFile(`/proc/${String(this.child.pid)}/status`, "utf8");
    return Number(/VmHWM:\s*(\d+) kB/.exec(status)?.[1]) / 1024;
  }

  async kill(): Promise<void> {
    await this.end("SIGKILL");
  }

  /** As a deploy would. */
  async stop(): Promise<void> {
    await this.end("SIGTERM");
  }

  /** Keeps it from doing anything, as a machine that is out of breath would. */
  pause(): void {
    this.ready = false;
    this.child.kill("SIGSTOP");
  }

  resume(): void {
    this.child.kill("SIGCONT");
    this.ready = this.alive;
  }

  private get alive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  private async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    this.expected ||= this.alive;
    this.ready = false;
    this.child.kill(signal);
    await this.exit;
  }

  private async read(): Promise<void> {
    const { stdout, stderr } = this.child;
    if (!stdout || !stderr) throw new Error("the process has no output");
    const lines = createInterface({ input: stdout });
    const words: string[] = [];
    createInterface({ input: stderr })
      .on("line", (line) => words.push(line.trim()))
      .on("close", () => {
        if (words.length > 0)
          this.complaints.push({ fatal: false, msg: words.join(" ").slice(0, longestWords), reason: "" });
      });
    await new Promise<void>((resolve) => {
      lines.on("line", (text) => {
        const line = parsed(text);
        if ((line.level ?? 0) >= errorLevel) this.note(line);
        if (line.msg !== "listening" || line.url === undefined) return;
        this.url = line.url;
        this.ready = true;
        resolve();
      });
    });
  }

  private note({ level = errorLevel, msg = "", err }: LogLine): void {
    this.complaints.push({ fatal: level >= fatalLevel, msg, reason: err?.message ?? "" });
  }
}

function parsed(text: string): LogLine {
  try {
    return JSON.parse(text) as LogLine;
  } catch {
    return { level: errorLevel, msg: text };
  }
}
