/** Starting a worker thread from a file of ours, whether it runs as it was built or as it was written. */
import { Worker, type WorkerOptions } from "node:worker_threads";

/**
 * Starts the thread whose file stands beside the caller's, named without its ending. From dist/ that file is plain JavaScript; from TypeScript
 * (tsx, Jest) the thread must be taught to read it first.
 */
export function startThread(name: string, callerUrl: string, options: Omit<WorkerOptions, "execArgv">): Worker {
  if (callerUrl.endsWith(".js")) return new Worker(new URL(`./${name}.js`, callerUrl), options);
  const tsx = import.meta.resolve("tsx/esm/api");
  const file = new URL(`./${name}.ts`, callerUrl).href;
  // Not execArgv `--import tsx`: on Node 20 its hooks do not reach the thread's own entry file.
  const load = `import { register } from ${JSON.stringify(tsx)}; register(); await import(${JSON.stringify(file)});`;
  return new Worker(new URL(`data:text/javascript,${encodeURIComponent(load)}`), { ...options, execArgv: [] });
}
