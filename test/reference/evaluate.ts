/** Evaluates a graph in float64: pure nodes on the states as they were, then the effects in order. */
import { bindShape, type Graph, isEffect, isNode, type Node, type Value } from '../../src/graph/index.ts';
import { failure } from '../../src/util/index.ts';
import type { Array64 } from './array.ts';
import { kernelOf, type Surroundings } from './kernels.ts';

export interface Evaluation {
  readonly outputs: Record<string, Array64>;
  /** All states after the effects; the given ones are not touched. */
  readonly states: Map<string, Array64>;
}

/** How many of an effect's leading inputs are states that it sees as earlier effects left them. */
const stateOperands = { accumulate: 1, zero: 1, cacheWrite: 1, cacheMove: 1, adamw: 4, rmsprop: 3 } as const;

/** Names of the states that the graph's effects change: the gradient of an optimizer is only read. */
export function changedStates(graph: Graph): Set<string> {
  return new Set(
    graph.nodes.flatMap((node) => {
      if (!isEffect(node.op)) return [];
      return node.inputs
        .slice(0, stateOperands[node.op])
        .filter((_, i) => i !== 1)
        .map(stateName);
    }),
  );
}

function stateName({ node }: Value): string {
  if (!isNode(node, 'state')) throw new Error(`%${node.id} is not a state`);
  return node.attributes.name;
}

/** Checks names and shapes and binds the graph's symbols: states first, so that a failure names the input. */
export function bindGraph(
  graph: Graph,
  inputs: Readonly<Record<string, { readonly shape: readonly number[] }>>,
  states: ReadonlyMap<string, { readonly shape: readonly number[] }>,
): Map<string, number> {
  const bindings = new Map<string, number>();
  for (const node of graph.nodes) {
    if (!isNode(node, 'state')) continue;
    const { name, type } = node.attributes;
    const state = states.get(name);
    if (!state) throw failure({ what: `state "${name}" does not exist`, fix: 'create it before the run' });
    bindShape(`state "${name}"`, type.shape, state.shape, bindings);
  }
  const known = new Set<string>();
  for (const node of graph.nodes) {
    if (!isNode(node, 'input')) continue;
    const { name, type } = node.attributes;
    const input = Object.hasOwn(inputs, name) ? inputs[name] : undefined;
    if (!input) throw failure({ what: `input "${name}" is missing` });
    bindShape(`input "${name}"`, type.shape, input.shape, bindings);
    known.add(name);
  }
  for (const name of Object.keys(inputs)) {
    if (!known.has(name)) throw failure({ what: `input "${name}" is unknown to the program` });
  }
  return bindings;
}

/** The graph's outputs and the states after its effects. Throws when inputs or states do not fit. */
export function evaluate(
  graph: Graph,
  inputs: Readonly<Record<string, Array64>>,
  states: ReadonlyMap<string, Array64> = new Map(),
): Evaluation {
  const bindings = bindGraph(graph, inputs, states);
  const run: Surroundings = {
    input: (name) => inputs[name]!,
    state: (name) => states.get(name)!,
    bind: (shape) => shape.map((dim) => (typeof dim === 'number' ? dim : bindings.get(dim)!)),
  };
  const results = new Map<Node, Array64[]>();
  const resultOf = ({ node, index }: Value) => results.get(node)![index]!;
  for (const node of graph.nodes) {
    if (!isEffect(node.op)) results.set(node, kernelOf(node.op)(node.inputs.map(resultOf), node.attributes, run));
  }
  const after = new Map(states);
  for (const node of graph.nodes) {
    if (!isEffect(node.op)) continue;
    const names = node.inputs.slice(0, stateOperands[node.op]).map(stateName);
    const values = node.inputs.map((value, i) => (i < names.length ? after.get(names[i]!)! : resultOf(value)));
    kernelOf(node.op)(values, node.attributes, run).forEach((value, i) => {
      after.set(names[i]!, value);
    });
  }
  return {
    outputs: Object.fromEntries([...graph.outputs].map(([name, value]) => [name, resultOf(value)])),
    states: after,
  };
}
