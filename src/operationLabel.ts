/**
 * Under which name an operation is counted. A client can call its operations whatever it likes, without end, so it is not asked: the names are
 * those of our own schema's root fields.
 */
import {
  type DocumentNode,
  type GraphQLSchema,
  Kind,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from "graphql";

export interface OperationLabel {
  type: "query" | "mutation" | "subscription" | "unknown";
  /** A root field's name, `several`, `introspection`, or `unknown` for what is not valid. */
  operation: string;
}

/** Of what never became an operation of this schema. */
export const unknownOperation: OperationLabel = { type: "unknown", operation: "unknown" };

/** The operation's label; only for one that was found valid. */
export function labelOf(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
): OperationLabel {
  const fields = schema.getRootType(operation.operation)?.getFields() ?? {};
  const names = new Set<string>();
  const fragments = new Set<string>();
  const collect = ({ selections }: SelectionSetNode): void => {
    for (const selection of selections) {
      if (selection.kind === Kind.FIELD) {
        const name = selection.name.value;
        if (Object.hasOwn(fields, name)) names.add(name);
      } else if (selection.kind === Kind.INLINE_FRAGMENT) collect(selection.selectionSet);
      else if (!fragments.has(selection.name.value)) {
        // Once each, since fragments can hold each other so often that a walk through all would not end.
        fragments.add(selection.name.value);
        for (const definition of document.definitions) {
          const isMeant =
            definition.kind === Kind.FRAGMENT_DEFINITION && definition.name.value === selection.name.value;
          if (isMeant) collect(definition.selectionSet);
        }
      }
    }
  };
  collect(operation.selectionSet);
  const [name = "introspection", ...others] = names;
  return { type: operation.operation, operation: others.length > 0 ? "several" : name };
}
