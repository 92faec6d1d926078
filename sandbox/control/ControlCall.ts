/** One call of the control address: what it takes and what it does. */
import type { z } from "zod";
import type { World } from "../World.js";

export interface ControlCall {
  readonly schema: z.ZodType;
  /** Gets a body that the schema has accepted. */
  readonly run: (world: World, body: unknown) => unknown;
}

/** A complaint for whoever called control: nothing was done. */
export class ControlRefusal extends Error {}

/** Ties a schema to the function that takes what it accepts. */
export function controlCall<S extends z.ZodType>(
  schema: S,
  run: (world: World, body: z.output<S>) => unknown,
): ControlCall {
  return { schema, run: (world, body) => run(world, schema.parse(body)) };
}
