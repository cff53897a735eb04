/** Reference kernels of generation: attention over a cache, and sampling. */
import type { HeadAttributes, OpAttributes } from '../../src/graph/index.ts';
import { type Array64, addScaled, dot, index, logSumExp, row, softmax, zeros } from './array.ts';

/** The d values of cache [slots,G,C,d] at one slot, head and position. */
export function cached(cache: Array64, slot: number, head: number, position: number): Float64Array {
  const [slots, heads, capacity, d] = cache.shape as [number, number, number, number];
  index('slot', slot, slots);
  index('position', position, capacity);
  const at = ((slot * heads + head) * capacity + position) * d;
  return cache.data.subarray(at, at + d);
}

export function decodeAttention(
  [q, k, v]: readonly [Array64, Array64, Array64],
  [keys, values]: readonly [Array64, Array64],
  lengths: Array64,
  { headDim: d, scale }: HeadAttributes,
): Array64 {
  const queryHeads = q.shape[1]! / d;
  const group = queryHeads / (k.shape[1]! / d);
  const y = zeros(...q.shape);
  lengths.data.forEach((length, b) => {
    for (let h = 0; h < queryHeads; h++) {
      const g = Math.floor(h / group);
      const part = (x: Array64, head: number) => row(x, b).subarray(head * d, (head + 1) * d);
      const along = (cache: Array64) => Array.from({ length }, (_, position) => cached(cache, b, g, position));
      const seenKeys = [...along(keys), part(k, g)];
      const seenValues = [...along(values), part(v, g)];
      const p = softmax(Float64Array.from(seenKeys, (key) => scale * dot(part(q, h), key)));
      seenValues.forEach((value, i) => {
        addScaled(part(y, h), value, p[i]!);
      });
    }
  });
  return y;
}

/**
 * The distribution that `sample` draws from, one probability per id. With temperature: softmax(logits / temperature);
 * then the topK largest (lower id first among equals), made to sum to 1; then the shortest run of the most probable
 * whose sum reaches topP, made to sum to 1.
 */
export function samplingDistribution(logits: Float64Array, attributes: OpAttributes['sample']): Float64Array {
  const { temperature, topK, topP } = attributes;
  const ranked = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
  if (temperature === 0) return logits.map((_, id) => (id === ranked[0] ? 1 : 0));
  const kept = topK > 0 ? ranked.slice(0, topK) : ranked;
  const p = softmax(Float64Array.from(kept, (id) => logits[id]! / temperature));
  const probabilities = new Float64Array(logits.length);
  let before = 0;
  kept.forEach((id, i) => {
    if (before < topP || topP >= 1) probabilities[id] = p[i]!;
    before += p[i]!;
  });
  const total = probabilities.reduce((a, b) => a + b, 0);
  return probabilities.map((value) => value / total);
}

/** The first id, in the order of ids, at which the running sum of the distribution exceeds the uniform. */
export function sample(logits: Array64, uniforms: Array64, attributes: OpAttributes['sample']): Array64[] {
  const rows = logits.shape[0]!;
  const [ids, logProbs] = [zeros(rows), zeros(rows)];
  uniforms.data.forEach((u, b) => {
    let below = 0;
    let chosen = -1;
    samplingDistribution(row(logits, b), attributes).forEach((p, id) => {
      if (p > 0 && below <= u) chosen = id;
      below += p;
    });
    ids.data[b] = chosen;
    logProbs.data[b] = row(logits, b)[chosen]! - logSumExp(row(logits, b));
  });
  return [ids, logProbs];
}
