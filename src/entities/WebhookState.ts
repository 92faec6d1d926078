import { Entity, PrimaryColumn } from "typeorm";
import { InstantColumn } from "./columns.js";

/** One row for the app's one webhook: when Xero last proved that it reaches us. */
@Entity("webhook_state")
export class WebhookState {
  @PrimaryColumn({ type: "text", default: "xero" })
  id!: string;

  /** When a correctly signed empty delivery, as Xero's check of the intent to receive sends it, was last answered with 200. */
  @InstantColumn({ nullable: true })
  lastValidatedAt!: Date | null;
}
