/**
 * Gradient checkpointing (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"), graph to graph: of what a
 * block computes, only the value at its border lives until the backward pass. What the backward pass reads from inside
 * the block is computed again from there, just before it is first read; what it does not read is not.
 *
 * The same ops on the same values give the same bits, so gradients are those of the graph as it was. It costs at most
 * one more forward pass.
 */
import { appendNode, type Graph, type Node, type Value } from '../graph/index.ts';

const SOURCES: ReadonlySet<string> = new Set(['input', 'state', 'constant']);

/**
 * The graph with its blocks computed again after the last of `Graph.checkpoints`; the same graph where it has no block.
 * @param graph with its gradients and effects
 */
export function recomputed(graph: Graph): Graph {
  const { checkpoints = [] } = graph;
  const [first, last] = [checkpoints[0], checkpoints.at(-1)];
  if (!first || !last || first === last) return graph;
  const borders = new Set(checkpoints);
  const isInside = (value: Value) =>
    value.node.id > first.node.id &&
    value.node.id <= last.node.id &&
    !borders.has(value) &&
    !SOURCES.has(value.node.op);

  const nodes: Node[] = graph.nodes.slice(0, last.node.id + 1);
  let newest = last;
  const append = ({ op, attributes }: Pick<Node, 'op' | 'attributes'>, inputs: readonly Value[]): Node => {
    const made = appendNode(nodes, op, inputs, attributes);
    newest = made.values[0] ?? newest;
    return made;
  };
  /** What stands in the place of nodes, and of values at borders, from here on. */
  const nodeAgain = new Map<Node, Node>();
  const borderAgain = new Map<Value, Value>();
  const behindBarrier = (border: Value): Value => {
    let known = borderAgain.get(border);
    if (!known)
      borderAgain.set(border, (known = append({ op: 'barrier', attributes: {} }, [border, newest]).values[0]!));
    return known;
  };
  const again = (value: Value): Value => {
    const { node, index } = value;
    let made = nodeAgain.get(node);
    if (!made) {
      const inputs = node.inputs.map((v) => (borders.has(v) ? behindBarrier(v) : isInside(v) ? again(v) : v));
      nodeAgain.set(node, (made = append(node, inputs)));
    }
    return made.values[index]!;
  };
  const now = (value: Value): Value =>
    isInside(value) ? again(value) : (nodeAgain.get(value.node)?.values[value.index] ?? value);

  for (const node of graph.nodes.slice(last.node.id + 1)) nodeAgain.set(node, append(node, node.inputs.map(now)));
  const outputs = new Map(
    [...graph.outputs].map(([name, value]) => [name, isInside(value) ? value : now(value)] as const),
  );
  return { nodes, outputs, checkpoints };
}
