/**
 * The tensor graph: what a program computes, independent of who computes it.
 *
 * A graph is a list of nodes in topological order. A node is an op of the closed table in ops.ts; its results are
 * values. Meaning of state: pure nodes see all states as they were when the run began; then the effects run in the
 * order in which they were added.
 */
import type { OpAttributes, OpName } from './ops.ts';
import { inferTypes } from './shapeRules.ts';
import type { TensorType } from './types.ts';

/** One result of one node. */
export interface Value extends TensorType {
  readonly node: Node;
  readonly index: number;
}

/** One application of an op. `values` are its results (none for an effect). */
export interface Node<K extends OpName = OpName> {
  readonly id: number;
  readonly op: K;
  readonly inputs: readonly Value[];
  readonly attributes: OpAttributes[K];
  readonly values: readonly Value[];
}

export interface Graph {
  readonly nodes: readonly Node[];
  readonly outputs: ReadonlyMap<string, Value>;
  /** Values at the borders of blocks, in their order: what lies between two of them may be computed again (autodiff/recompute.ts). */
  readonly checkpoints?: readonly Value[];
}

/** A node whose op is known, so that its attributes have their type. */
export function isNode<K extends OpName>(node: Node, op: K): node is Node<K> {
  return node.op === op;
}

/** Adds a node to a list, with the results that its op's rule says. Throws when the inputs do not fit. */
export function appendNode<K extends OpName>(
  nodes: Node[],
  op: K,
  inputs: readonly Value[],
  attributes: OpAttributes[K],
): Node {
  const values: Value[] = [];
  const made = { id: nodes.length, op, inputs, attributes, values } as Node;
  inferTypes(op, inputs, attributes).forEach((type, index) => {
    values.push({ ...type, node: made, index });
  });
  nodes.push(made);
  return made;
}
