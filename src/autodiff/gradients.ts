/**
 * Reverse-mode differentiation, graph to graph: appends to a builder the nodes that compute dL/dw.
 *
 * Only what is needed is built: nodes that lie between the loss and one of `wrt`. A value used in several places
 * receives several contributions; for inner values they are added, for `wrt` they are returned apart, because adding
 * them one by one into a gradient state is cheaper than adding dense matrices first (a tied embedding: the head's
 * gradient is dense, the look-up's touches a few rows).
 *
 * At the border of a block (`Graph.checkpoints`) the gradients of its weights come before the pass goes on, whatever
 * order an engine prefers: what was kept for them is not needed any longer then.
 */
import type { GraphBuilder, Node, Value } from '../graph/index.ts';
import { failure } from '../util/index.ts';
import { ruleOf } from './rules.ts';

/**
 * @param loss f32, any shape with one element
 * @param wrt states or inputs
 * @returns for each of `wrt` the contributions whose sum is dL/dw (empty when L does not depend on it)
 */
export function gradients(b: GraphBuilder, loss: Value, wrt: readonly Value[]): Value[][] {
  const forward = b.build().nodes;
  const wanted = new Set(wrt);
  const needed = new Set<Node>();
  for (const node of forward) {
    if (node.inputs.some((v) => wanted.has(v) || needed.has(v.node))) needed.add(node);
  }
  const isNeeded = (v: Value) => wanted.has(v) || needed.has(v.node);

  const borders = new Set(b.checkpoints());
  /** Contributions to `wrt` since the last border. */
  let recent: Value[] = [];
  const contributions = new Map<Value, Value[]>();
  const give = (to: Value, gradient: Value) => {
    if (wanted.has(to)) recent.push(gradient);
    const list = contributions.get(to);
    if (list) list.push(gradient);
    else contributions.set(to, [gradient]);
  };
  if (loss.shape.some((dim) => dim !== 1))
    throw failure({ what: `the loss has shape [${loss.shape}], not one element` });
  give(loss, b.constant([1], loss.shape.length === 0 ? [] : loss.shape));

  for (const node of forward.toReversed()) {
    if (!needed.has(node)) continue;
    const dy = node.values.map((v) => {
      const parts = contributions.get(v);
      if (!wanted.has(v)) contributions.delete(v);
      const sum = parts?.reduce((sum, part) => b.add(sum, part));
      if (!sum || !borders.has(v) || recent.length === 0) return sum;
      const after = recent;
      recent = [];
      return b.barrier(sum, after);
    });
    if (dy.every((d) => d === undefined)) continue;
    const rule = ruleOf(node);
    if (!rule) throw failure({ what: `${node.op} has no gradient, but the loss depends on a parameter through it` });
    rule(b, node, dy, node.inputs.map(isNeeded)).forEach((gradient, i) => {
      const input = node.inputs[i]!;
      if (gradient && isNeeded(input)) give(input, gradient);
    });
  }
  return wrt.map((v) => contributions.get(v) ?? []);
}
