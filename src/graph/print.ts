/** Graphs as text, one node a line: `%3 = linear(%1, %2 "model.norm.weight") : f32[tokens,576]`. */
import { type Graph, isNode, type Value } from './nodes.ts';

/** The whole graph, outputs last. */
export function printGraph(graph: Graph): string {
  const lines = graph.nodes.map((node) => {
    const { name, type: _, values, ...rest } = node.attributes as Record<string, unknown>;
    const inputs = node.inputs.map(reference);
    if (name !== undefined) inputs.push(JSON.stringify(name));
    if (isNode(node, 'constant')) inputs.push(abbreviate(values as readonly number[]));
    const details = Object.entries(rest).flatMap(([key, value]) =>
      value === undefined ? [] : Array.isArray(value) ? `${key}: ${abbreviate(value)}` : `${key}: ${value}`,
    );
    const results = node.values.map(({ dtype, shape }) => `${dtype}[${shape}]`).join(', ');
    const attributes = details.length > 0 ? ` {${details.join(', ')}}` : '';
    return `%${node.id} = ${node.op}(${inputs.join(', ')})${attributes}${results ? ` : ${results}` : ''}`;
  });
  for (const [name, value] of graph.outputs) lines.push(`return ${JSON.stringify(name)} ${reference(value)}`);
  return lines.join('\n');
}

function reference({ node, index }: Value): string {
  return node.values.length > 1 ? `%${node.id}.${index}` : `%${node.id}`;
}

function abbreviate(values: readonly unknown[]): string {
  return values.length > 4 ? `[${values.slice(0, 3).join(',')},… ${values.length}]` : `[${values.join(',')}]`;
}
