import { Entity, PrimaryColumn } from "typeorm";
import { InstantColumn } from "./columns.js";

/** One row for the app's one webhook: when Xero last proved that it reaches us. */
@Entity("webhook_state")
export class WebhookState {
  @PrimaryColumn({ type: "text", default: "xero" })
  id!: string;

  /** When a pass of the intent-to-receive check (both a good and a bad signature seen) was last completed. */
  @InstantColumn({ nullable: true })
  lastValidatedAt!: Date | null;
}
