/**
 * The tensor graph: what a program computes, independent of who computes it.
 *
 * A graph is a list of nodes in topological order. A node is an op of the closed table in ops.ts; its results are
 * values. Meaning of state: pure nodes see all states as they were when the run began; then the effects run in the
 * order in which they were added.
 */
import type { OpAttributes, OpName } from './ops.ts';
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
}

/** A node whose op is known, so that its attributes have their type. */
export function isNode<K extends OpName>(node: Node, op: K): node is Node<K> {
  return node.op === op;
}
