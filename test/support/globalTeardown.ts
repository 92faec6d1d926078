/** Lets the keeper go (it cleans up when the channel closes) and waits until it has. */
export default async function globalTeardown(): Promise<void> {
  const keeper = globalThis.templateKeeper;
  if (keeper?.exitCode !== null) return;
  const exited = new Promise((resolve) => keeper.once("exit", resolve));
  keeper.disconnect();
  await exited;
}
