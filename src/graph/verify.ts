/**
 * The verifier: what every graph must satisfy, whoever made it. And the binding of symbols when a program runs.
 */
import { failure } from '../util/index.ts';
import { type Graph, isNode, type Node } from './nodes.ts';
import { effectOps, isEffect } from './ops.ts';
import { inferTypes } from './shapeRules.ts';
import type { Shape, TensorType } from './types.ts';

/**
 * Checks topological order, types, that effects change states, that a state or input name has one type, and that every
 * symbol can be bound from an input or a state. Throws a failure that names the node.
 */
export function verifyGraph(graph: Graph): void {
  const seen = new Set<Node>();
  const types = new Map<string, string>();
  const bound = new Set<string>();
  for (const node of graph.nodes) {
    const name = `node %${node.id} ${node.op}`;
    for (const input of node.inputs) {
      if (!seen.has(input.node)) throw failure({ what: `${name} uses %${input.node.id} before it exists` });
      if (input.node.values[input.index] !== input) {
        throw failure({ what: `${name} uses a value that is no result of %${input.node.id}` });
      }
    }
    const expected = inferTypes(node.op, node.inputs, node.attributes);
    if (showTypes(expected) !== showTypes(node.values)) {
      throw failure({ what: `${name} has results ${showTypes(node.values)}, its rule says ${showTypes(expected)}` });
    }
    if (isEffect(node.op)) {
      node.inputs.slice(0, effectOps[node.op]).forEach((value, i) => {
        if (value.node.op !== 'state') throw failure({ what: `${name}: input ${i} must be a state` });
      });
    }
    if (isNode(node, 'input') || isNode(node, 'state')) {
      const key = `${node.op} "${node.attributes.name}"`;
      const type = showTypes([node.attributes.type]);
      if ((types.get(key) ?? type) !== type) throw failure({ what: `${key} is both ${types.get(key)} and ${type}` });
      types.set(key, type);
      for (const dim of node.attributes.type.shape) if (typeof dim === 'string') bound.add(dim);
    }
    for (const { shape } of node.values) {
      for (const dim of shape) {
        if (typeof dim === 'string' && !bound.has(dim)) {
          throw failure({ what: `${name}: no input or state has the dimension "${dim}"` });
        }
      }
    }
    seen.add(node);
  }
  for (const [name, value] of graph.outputs) {
    if (!seen.has(value.node)) throw failure({ what: `output "${name}" is not in the graph` });
  }
}

function showTypes(types: readonly TensorType[]): string {
  return types.map(({ dtype, shape }) => `${dtype}[${shape}]`).join(' ');
}

/**
 * Binds the symbols of `shape` to `actual` in `bindings`; throws a failure naming `what` when rank, size or an earlier
 * binding disagree.
 */
export function bindShape(what: string, shape: Shape, actual: readonly number[], bindings: Map<string, number>): void {
  const disagree = () =>
    failure({
      what: `${what} has shape [${actual}], expected [${shape.map((dim) =>
        typeof dim === 'string' && bindings.has(dim) ? `${dim}=${bindings.get(dim)}` : dim,
      )}]`,
    });
  if (actual.length !== shape.length) throw disagree();
  shape.forEach((dim, axis) => {
    const size = actual[axis]!;
    const expected = typeof dim === 'number' ? dim : (bindings.get(dim) ?? size);
    if (size !== expected) throw disagree();
    if (typeof dim === 'string') bindings.set(dim, size);
  });
}
