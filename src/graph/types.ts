/**
 * The tensor graph: what a program computes, independent of who computes it.
 *
 * A graph is a list of nodes in topological order. A node is an op of the closed table in ops.ts; its results are
 * values. Dimensions are integers or named symbols ("tokens"), bound when a program runs, so that one program serves
 * every batch. Meaning of state: pure nodes see all states as they were when the run began; then the effects run in
 * the order in which they were added.
 */
import type { OpAttributes, OpName } from './ops.ts';

/** bf16 and f16 are storage and compute types of engines that have them; the host always sees f32 and i32. */
export type DType = 'f32' | 'bf16' | 'f16' | 'i32' | 'bool';

/** An integer, or the name of a size that is known only when the program runs. */
export type Dim = number | string;
export type Shape = readonly Dim[];

export interface TensorType {
  readonly dtype: DType;
  readonly shape: Shape;
}

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
