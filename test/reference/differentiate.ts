/** Graphs of a loss and of its gradients, for checks against finite differences and against engines. */
import { gradients } from '../../src/autodiff/index.ts';
import { type Graph, type GraphBuilder, graphBuilder, isNode, type Value } from '../../src/graph/index.ts';
import type { Array64 } from './array.ts';
import { type Evaluation, evaluate } from './evaluate.ts';
import { declareSources, type OpCase } from './op-case.ts';

/** A loss and what it is to be differentiated by. */
export interface Differentiable {
  readonly loss: Value;
  readonly wrt: Readonly<Record<string, Value>>;
}

/** Outputs "loss" and "d <name>" for every name of `wrt`; contributions to one are added, none leave the output out. */
export function gradientGraph(build: (b: GraphBuilder) => Differentiable): Graph {
  const b = graphBuilder();
  const { loss, wrt } = build(b);
  b.output('loss', loss);
  gradients(b, loss, Object.values(wrt)).forEach((parts, i) => {
    if (parts.length > 0) {
      b.output(
        `d ${Object.keys(wrt)[i]}`,
        parts.reduce((sum, part) => b.add(sum, part)),
      );
    }
  });
  return b.build();
}

/** A scalar of the case's results in which every element has a gradient of its own: Σ y²/2 + y. Over its float sources. */
export function lossOfCase(b: GraphBuilder, one: OpCase): Differentiable {
  const sources = declareSources(b, one);
  const terms = one.build(b, sources).map((y) => b.sumTo(b.add(b.affine(b.mul(y, y), 0.5), y), []));
  return {
    loss: terms.reduce((sum, term) => b.add(sum, term)),
    wrt: Object.fromEntries(Object.entries(sources).filter(([, { dtype }]) => dtype === 'f32')),
  };
}

/** Values by name, divided into what the graph declares as inputs and as states. */
export function divide(graph: Graph, values: Readonly<Record<string, Array64>>) {
  const inputs: Record<string, Array64> = {};
  const states = new Map<string, Array64>();
  for (const node of graph.nodes) {
    if (isNode(node, 'input')) inputs[node.attributes.name] = values[node.attributes.name]!;
    if (isNode(node, 'state')) states.set(node.attributes.name, values[node.attributes.name]!);
  }
  return { inputs, states };
}

/** Evaluates with inputs and states both taken from `values`. */
export function evaluateOn(graph: Graph, values: Readonly<Record<string, Array64>>): Evaluation {
  const { inputs, states } = divide(graph, values);
  return evaluate(graph, inputs, states);
}

export const valuesOf = ({ sources }: OpCase): Record<string, Array64> =>
  Object.fromEntries(Object.entries(sources).map(([name, { value }]) => [name, value]));
