/** Who acts now and by which operation, for the audit log: known to whatever runs inside, down to the database's own triggers. */
import { AsyncLocalStorage } from "node:async_hooks";

export interface Acting {
  /** The token's subject. */
  actor: string;
  /** The mutation's name, or what else is done. */
  action: string;
  /** What the operation is about, as far as it says so beforehand. */
  subjectType: string;
  subjectId: string | null;
  /** One line for all of it, however many records it changes. */
  bulk?: boolean;
  /** Whether the audit log has it already. */
  noted: boolean;
}

const acting = new AsyncLocalStorage<Acting>();

/** Runs the work as done by somebody. */
export function actingAs<T>(who: Omit<Acting, "noted">, work: (who: Acting) => T): T {
  const now = { ...who, noted: false };
  return acting.run(now, () => work(now));
}

/** Who acts; undefined where nobody but the service does. */
export function whoActs(): Acting | undefined {
  return acting.getStore();
}
