// Gradient checkpointing: what is kept, what is computed again and what is not; gradients are the same to the bit.

import { describe, expect, it } from 'vitest';
import { gradients, recomputed } from '../../src/autodiff/index.ts';
import { type Graph, graphBuilder, type Value, verifyGraph } from '../../src/graph/index.ts';
import { evaluate } from '../reference/evaluate.ts';
import { pairInputs, pairLoss, tinyLlama, tinyWeights } from '../reference/tiny-llama.ts';

/** The training graph of a tiny Llama, each gradient an output. */
function llamaGraph(checkpointed: boolean): Graph {
  const b = graphBuilder();
  const { loss, wrt } = pairLoss(b, tinyLlama(true));
  b.output('loss', loss);
  gradients(b, loss, Object.values(wrt)).forEach((parts, i) => {
    b.output(
      Object.keys(wrt)[i]!,
      parts.reduce((sum, part) => b.add(sum, part)),
    );
  });
  return checkpointed ? recomputed(b.build()) : b.build();
}
const isSource = ({ node }: Value) => ['input', 'state', 'constant'].includes(node.op);

describe('recomputed', () => {
  it('gives the same loss and the same gradients', () => {
    const model = tinyLlama(true);
    const outputsOf = (graph: Graph) => {
      verifyGraph(graph);
      const states = new Map(Object.entries(tinyWeights(model)));
      return evaluate(graph, pairInputs(model), states).outputs;
    };
    expect(outputsOf(llamaGraph(true))).toEqual(outputsOf(llamaGraph(false)));
  });

  it('keeps only the values at the borders: nothing else is read after the last of them', () => {
    const { nodes, checkpoints } = llamaGraph(true);
    const last = checkpoints!.at(-1)!.node.id;
    const read = nodes.slice(last + 1).flatMap(({ inputs }) => inputs.filter((v) => v.node.id <= last && !isSource(v)));
    expect(read.filter((value) => !checkpoints!.includes(value))).toEqual([]);
    // Embedding, two layers; what lies before the head is the second layer's result.
    expect(checkpoints).toHaveLength(3);
  });

  it('computes again what the backward pass reads, each block once and behind a barrier, and no more', () => {
    const count = (graph: Graph) => {
      const counts: Record<string, number> = {};
      for (const { op } of graph.nodes) counts[op] = (counts[op] ?? 0) + 1;
      return counts;
    };
    const [plain, again] = [count(llamaGraph(false)), count(llamaGraph(true))];
    const more = Object.fromEntries(
      Object.entries(again)
        .map(([op, n]) => [op, n - (plain[op] ?? 0)] as const)
        .filter(([, n]) => n !== 0),
    );
    // Per layer: two norms, q-k-v, o and gate-up but not down, one residual sum but not the last.
    expect(more).toEqual({ barrier: 2, rmsNorm: 4, linear: 6, rope: 2, attention: 2, add: 2, glu: 2 });
  });

  it('makes the gradients of a block before it goes on to the one before', () => {
    const { nodes } = llamaGraph(false);
    const barriers = nodes.filter(({ op }) => op === 'barrier');
    // Norm and (tied) head; seven matrices and two norms of either layer.
    expect(barriers.map(({ inputs }) => inputs.length - 1)).toEqual([2, 9, 9]);
  });

  it('leaves a graph without blocks as it is', () => {
    const b = graphBuilder();
    b.output('y', b.checkpoint(b.exp(b.input('x', ['n']))));
    const graph = b.build();
    expect(recomputed(graph)).toBe(graph);
  });

  it('computes a block again from its own border where one block reads into another', () => {
    const build = (checkpointed: boolean) => {
      const b = graphBuilder();
      const w = b.state('w', [2]);
      const first = b.checkpoint(b.mul(b.input('x', ['n', 2]), w));
      const inside = b.exp(first);
      const second = b.checkpoint(b.mul(inside, w));
      // Reads over the border.
      const third = b.checkpoint(b.mul(b.sigmoid(second), inside));
      const loss = b.sumSquares(third);
      b.output('loss', loss);
      for (const [i, part] of gradients(b, loss, [w])[0]!.entries()) b.output(`part ${i}`, part);
      return checkpointed ? recomputed(b.build()) : b.build();
    };
    const run = (graph: Graph) =>
      evaluate(
        graph,
        { x: { shape: [2, 2], data: Float64Array.of(0.5, -1, 2, 0.25) } },
        new Map([['w', { shape: [2], data: Float64Array.of(0.7, -0.3) }]]),
      ).outputs;
    verifyGraph(build(true));
    expect(run(build(true))).toEqual(run(build(false)));
    const barriers = (graph: Graph) => graph.nodes.filter(({ op }) => op === 'barrier').length;
    expect(barriers(build(true)) - barriers(build(false))).toBe(2);
  });
});
