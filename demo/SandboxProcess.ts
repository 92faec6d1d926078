/** The stand-in Xero as a process of its own, and its control address. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** What the sandbox says of itself when it is up. */
export interface SandboxAddress {
  url: string;
  clientId: string;
  clientSecret: string;
  webhookKey: string;
}

export class SandboxProcess {
  private constructor(
    private readonly child: ChildProcess,
    readonly address: SandboxAddress,
  ) {}

  /** Starts it; it ends with this process, however this one ends. Throws where it does not come up. */
  static async start(): Promise<SandboxProcess> {
    const main = fileURLToPath(new URL("../sandbox/main.ts", import.meta.url));
    const child = spawn(process.execPath, ["--import", "tsx", main, "--with-parent"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const lines = createInterface({ input: child.stdout });
    const failed = once(child, "exit").then(() => Promise.reject(new Error("the stand-in Xero did not start")));
    const [line] = (await Promise.race([once(lines, "line"), failed])) as [string];
    failed.catch(() => undefined);
    return new SandboxProcess(child, JSON.parse(line) as SandboxAddress);
  }

  /** Does what a person would do in Xero: see sandbox/README.md. Throws with the refusal. */
  async control<T = unknown>(call: string, body: object = {}): Promise<T> {
    const response = await fetch(`${this.address.url}/sandbox/${call}`, {
      method: "POST",
      // Calls may be as far apart as the stand-in keeps an idle connection, which it would then close under the next.
      headers: { "content-type": "application/json", connection: "close" },
      body: JSON.stringify(body),
    });
    const answer = (await response.json()) as T;
    if (!response.ok) throw new Error(`sandbox ${call}: ${JSON.stringify(answer)}`);
    return answer;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill();
    await once(this.child, "exit");
  }
}
