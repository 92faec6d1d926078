import { Field, ObjectType } from "type-graphql";
import { SyncErrorCode } from "./enums.js";

/** Why an attempt failed; kept as JSON with the attempt and its invoice. */
@ObjectType()
export class SyncError {
  @Field(() => SyncErrorCode, { description: "Stable, for programs." })
  code!: SyncErrorCode;

  @Field(() => String, { description: "In words, for people." })
  message!: string;

  @Field(() => [String], { description: "What Xero said, as it said it." })
  xeroMessages!: string[];

  @Field(() => String, { description: "What to do about it." })
  resolution!: string;

  @Field(() => Boolean, { description: "Whether it is tried again by itself." })
  retryable!: boolean;

  /** For CONTACT_AMBIGUOUS: Xero's ids of the contacts it may be. */
  contactCandidateIds?: string[];

  /** For INVALID_MAPPING: the account or tax rate that was good once, and what it is in Xero now. */
  brokenMapping?: string;
}
