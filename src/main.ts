/** The process: configuration, start, signals, exit code. */
import { existsSync } from "node:fs";
import { startApp } from "./app.js";
import { ConfigError, readConfig } from "./config.js";
import { isLostDatabase } from "./database.js";
import { createLogger, messageOf } from "./logger.js";

const stopTimeoutMs = 30_000;
const sameSignalMs = 1_000;

async function main(): Promise<void> {
  if (existsSync(".env")) process.loadEnvFile(".env");
  const config = readConfig();
  const logger = createLogger(config.logLevel);
  // The job queue does not await what it writes of a job that ended; that must not end the process when the database restarts.
  process.on("unhandledRejection", (reason) => {
    if (!isLostDatabase(reason)) throw reason;
    logger.warn({ reason: messageOf(reason) }, "the database was lost for a moment");
  });
  const app = await startApp(config, logger);
  logger.info({ url: app.url, role: config.role }, "listening");
  let stoppingSince: number | null = null;
  const stop = (signal: string): void => {
    if (stoppingSince !== null) {
      // A terminal signals the whole group and npm passes it on, so a second one at once is the same one; a later one means: now.
      if (performance.now() - stoppingSince > sameSignalMs) process.exit(1);
      return;
    }
    stoppingSince = performance.now();
    logger.info({ signal }, "stopping");
    setTimeout(() => process.exit(1), stopTimeoutMs).unref();
    app.close().then(
      () => process.exit(0),
      (error: unknown) => {
        logger.error({ err: error }, "stopping failed");
        process.exit(1);
      },
    );
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
}

main().catch((error: unknown) => {
  process.stderr.write(
    `${error instanceof ConfigError ? error.message : `Ledgerline could not start: ${messageOf(error)}`}\n`,
  );
  process.exit(1);
});
