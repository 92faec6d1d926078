/**
 * Owns what every write of several elements has in common: the body's shape, summarizeErrors both ways, and that
 * nothing of a refused call stays. Leaves the rules of an element to its module.
 *
 * Source: docs/xero-facts.md section 5: summarizeErrors is true where omitted (the YAML's default is wrong): one bad
 * element then refuses the call. With false each element answers for itself under 200, echoed as sent where it
 * failed. An unknown id is a 404 for the whole call either way.
 */
import { type Call, type Json, type Reply } from "../http.js";
import { Fields, isObject } from "../Fields.js";
import { Invalid, postDataInvalid, Refusal, validationFailed } from "../refusals.js";
import type { World } from "../World.js";
import { Changes, type Announcement } from "./Changes.js";
import { envelope } from "./lists.js";

interface Batch<T> {
  readonly plural: string;
  /** The id's name, zero in the echo of a refused new element. */
  readonly idName: string;
  readonly errorFlag: "HasErrors" | "HasValidationErrors";
  readonly apply: (element: Fields, changes: Changes) => T;
  readonly render: (record: T) => Json;
}

/** The parsed body; throws the refusal where it is no JSON object. */
export function bodyOf(call: Call): Fields {
  let body: unknown;
  try {
    body = JSON.parse(call.body.toString("utf8"));
  } catch {
    throw new Refusal(
      postDataInvalid("JSON for post data was invalid,Unexpected character encountered while parsing value."),
    );
  }
  if (!isObject(body)) throw new Refusal(postDataInvalid("JSON for post data was invalid,an object was expected."));
  return new Fields(body);
}

/** The elements of a write, wrapped in their plural or a single bare one. */
export function elementsOf(call: Call, plural: string): Fields[] {
  const body = bodyOf(call);
  return body.parts(plural) ?? (body.size === 0 ? [] : [body]);
}

/** Writes all elements as one call, and answers. */
export function writeBatch<T>(
  world: World,
  call: Call,
  elements: readonly Fields[],
  batch: Batch<T>,
  announce: (announcements: readonly Announcement[]) => void,
): Reply {
  if (elements.length === 0) throw new Refusal(postDataInvalid(`No ${batch.plural} were posted.`));
  const summarises = call.query.get("summarizeErrors")?.toLowerCase() !== "false";
  const perElement = call.query.has("summarizeErrors") && !summarises;
  const done: Changes[] = [];
  const refused: Json[] = [];
  // Rendered in place, before later elements of the same call change the same record
  const answers: Json[] = [];
  try {
    for (const element of elements) {
      const changes = new Changes();
      try {
        done.push(changes);
        const answer = batch.render(batch.apply(element, changes));
        answers.push(
          perElement ? { ...answer, StatusAttributeString: "OK", ValidationErrors: [], Warnings: [] } : answer,
        );
      } catch (error) {
        changes.rollback();
        if (!(error instanceof Invalid)) throw error;
        const echo = echoed(element, batch, error.messages);
        refused.push(echo);
        answers.push({ ...echo, StatusAttributeString: "ERROR", Warnings: [] });
      }
    }
  } catch (error) {
    rollBack(done);
    throw error;
  }
  if (refused.length > 0 && summarises) {
    rollBack(done);
    return validationFailed(refused);
  }
  announce(done.flatMap((changes) => changes.announcements));
  return envelope(world, batch.plural, answers);
}

function echoed<T>(element: Fields, batch: Batch<T>, messages: readonly string[]): Json {
  return {
    [batch.idName]: "00000000-0000-0000-0000-000000000000",
    ...element.echo(),
    [batch.errorFlag]: true,
    ValidationErrors: messages.map((Message) => ({ Message })),
  };
}

function rollBack(done: readonly Changes[]): void {
  for (const changes of [...done].reverse()) changes.rollback();
}
