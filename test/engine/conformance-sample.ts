/** Conformance: what sampling chooses. The agreement for single uniforms is among the op cases. */
import { describe, expect, it } from 'vitest';
import type { OpAttributes } from '../../src/graph/index.ts';
import { type Array64, array, map, row } from '../reference/array.ts';
import { sampleOne, samplingDistribution } from '../reference/generation.ts';
import { randomArray, randomUniforms } from '../reference/random.ts';
import { distanceToBoundary } from '../reference/sampling.ts';
import { benchOf, expectClose, graphOf, type MakeEngine } from './bench.ts';

const unfiltered = { temperature: 1, topK: 0, topP: 1 };

/** The same logits in every row. */
const repeated = (logits: Array64, rows: number): Array64 =>
  array(Array.from({ length: rows }, () => Array.from(logits.data)).flat(), [rows, logits.data.length]);

export function sampleConformance(makeEngine: MakeEngine): void {
  describe('sample', () => {
    const bench = benchOf(makeEngine);

    async function draw(logits: Array64, uniforms: Array64, attributes: OpAttributes['sample']) {
      const graph = graphOf((b) => {
        const [ids, logProbs] = b.sample(
          b.input('logits', ['batch', logits.shape[1]!]),
          b.input('uniforms', ['batch']),
          attributes,
        );
        b.output('ids', ids);
        b.output('log-probs', logProbs);
      });
      const { ids, 'log-probs': logProbs } = await bench.runOnce(graph, { logits, uniforms });
      return { ids: Array.from(ids!.data), logProbs: logProbs! };
    }

    it('greedy takes the first of equals, whatever the uniforms', async () => {
      const logits = array([0, 3, 1, 3, 3, /**/ 2, 2, 2, 2, 2, /**/ -5, -9, -1, -7, -1, /**/ 0, 1, 2, 3, 4], [4, 5]);
      const { ids, logProbs } = await draw(logits, array([0.99, 0.7, 0.5, 0.001]), { ...unfiltered, temperature: 0 });
      expect(ids).toEqual([1, 0, 2, 4]);
      // Row 1: five equals.
      expect(logProbs.data[1]).toBeCloseTo(-Math.log(5), 6);
    });

    it.each<OpAttributes['sample']>([
      unfiltered,
      { ...unfiltered, temperature: 0.5 },
      { ...unfiltered, temperature: 2 },
      { ...unfiltered, topK: 3 },
      { ...unfiltered, topP: 0.8 },
      { temperature: 1.5, topK: 5, topP: 0.7 },
    ])('draws each id as often as its probability says: %o', async (attributes) => {
      const count = 1000;
      const logits = array([0.3, -1.2, 2.1, 0.9, -0.4, 1.6, 0.1].map(Math.fround));
      const uniforms = map(array(new Float64Array(count)), (_, i) => (i + 0.5) / count);
      const { ids, logProbs } = await draw(repeated(logits, count), uniforms, attributes);
      const counts = new Float64Array(logits.data.length);
      for (const id of ids) counts[id] = counts[id]! + 1;
      const expected = samplingDistribution(logits.data, attributes);
      expected.forEach((p, id) => {
        if (p === 0) expect(counts[id], `draws of the filtered id ${id}`).toBe(0);
        // A run of the grid of length p·count holds that many points, give or take one.
        expect(Math.abs(counts[id]! - p * count), `draws of ${id}`).toBeLessThanOrEqual(1.01);
      });
      // Log-probs are those of the untempered, unfiltered distribution.
      const plain = samplingDistribution(logits.data, unfiltered);
      expectClose('log-probs', logProbs, array(ids.map((id) => Math.log(plain[id]!))));
    });

    it('stays inside the filter for the smallest and the largest uniform', async () => {
      const logits = randomArray('extremes', [1, 257], 2);
      const ends = array([2 ** -24, 1 - 2 ** -24]);
      for (const attributes of [unfiltered, { temperature: 1.3, topK: 4, topP: 1 }, { ...unfiltered, topP: 0.6 }]) {
        const { ids } = await draw(repeated(logits, 2), ends, attributes);
        const distribution = samplingDistribution(logits.data, attributes);
        for (const id of ids) expect(distribution[id], `probability of ${id}`).toBeGreaterThan(0);
      }
    });

    it('takes large logits', async () => {
      const logits = map(randomArray('large', [6, 33], 2), (value) => Math.fround(value + 100));
      const { ids, logProbs } = await draw(logits, randomUniforms('large', 6), unfiltered);
      const expected = ids.map((id, b) => Math.log(samplingDistribution(row(logits, b), unfiltered)[id]!));
      expectClose('log-probs', logProbs, array(expected), 2e-5);
    });

    it.each<OpAttributes['sample']>([unfiltered, { temperature: 0.9, topK: 6, topP: 1 }])(
      'agrees on a thousand rows of their own, away from the boundaries: %o',
      async (attributes) => {
        const rows = 1000;
        const logits = randomArray('many', [rows, 29], 1.5);
        const uniforms = randomUniforms('many', rows);
        const { ids } = await draw(logits, uniforms, attributes);
        let checked = 0;
        ids.forEach((id, b) => {
          const u = uniforms.data[b]!;
          if (distanceToBoundary(row(logits, b), u, attributes) < 1e-5) return;
          expect(id, `row ${b}`).toBe(sampleOne(row(logits, b), u, attributes));
          checked++;
        });
        expect(checked).toBeGreaterThan(rows * 0.99);
      },
    );
  });
}
