/** Reference kernels of generation: attention over a cache, and sampling. */
import type { HeadAttributes, OpAttributes } from '../../src/graph/index.ts';
import { type Array64, addScaled, index, logSumExp, map, row, softmax, zeros } from './array.ts';
import { inWindow, weights } from './transformer.ts';

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
  attributes: HeadAttributes,
): Array64 {
  const { headDim: d, window } = attributes;
  const queryHeads = q.shape[1]! / d;
  const group = queryHeads / (k.shape[1]! / d);
  const y = zeros(...q.shape);
  lengths.data.forEach((length, b) => {
    for (let h = 0; h < queryHeads; h++) {
      const g = Math.floor(h / group);
      const part = (x: Array64, head: number) => row(x, b).subarray(head * d, (head + 1) * d);
      const along = (cache: Array64) => Array.from({ length }, (_, position) => cached(cache, b, g, position));
      const seenKeys = inWindow([...along(keys), part(k, g)], window);
      const seenValues = inWindow([...along(values), part(v, g)], window);
      const p = weights(part(q, h), seenKeys, attributes);
      seenValues.forEach((value, i) => {
        addScaled(part(y, h), value, p[i]!);
      });
    }
  });
  return y;
}

/**
 * What `sample` draws from, in the order in which the running sum meets the uniform. With temperature:
 * softmax(logits / temperature); then the topK largest (lower id first among equals), made to sum to 1; then the
 * shortest run of the most probable whose sum reaches topP, made to sum to 1. Without a filter the order is that of the
 * ids, with one it begins at the most probable.
 */
export function samplingCandidates(
  logits: Float64Array,
  { temperature, topK, topP }: OpAttributes['sample'],
): { readonly id: number; readonly p: number }[] {
  const ids = Array.from(logits.keys());
  const ranked = ids.toSorted((a, b) => logits[b]! - logits[a]! || a - b);
  if (temperature === 0) return [{ id: ranked[0]!, p: 1 }];
  const isFiltered = topP < 1 || (topK > 0 && topK < logits.length);
  const kept = topK > 0 ? ranked.slice(0, topK) : ranked;
  const order = isFiltered ? kept : ids;
  const p = softmax(Float64Array.from(order, (id) => logits[id]! / temperature));
  let before = 0;
  const nucleus = order.flatMap((id, i) => {
    const inside = topP >= 1 || before < topP;
    before += p[i]!;
    return inside ? [{ id, p: p[i]! }] : [];
  });
  const total = nucleus.reduce((sum, candidate) => sum + candidate.p, 0);
  return nucleus.map((candidate) => ({ id: candidate.id, p: candidate.p / total }));
}

/** The probability of every id under `samplingCandidates`. */
export function samplingDistribution(logits: Float64Array, attributes: OpAttributes['sample']): Float64Array {
  const distribution = new Float64Array(logits.length);
  for (const { id, p } of samplingCandidates(logits, attributes)) distribution[id] = p;
  return distribution;
}

/** The first candidate at which the running sum exceeds the uniform. */
export function sampleOne(logits: Float64Array, u: number, attributes: OpAttributes['sample']): number {
  const candidates = samplingCandidates(logits, attributes);
  let sum = 0;
  const chosen = candidates.find(({ p }) => (sum += p) > u) ?? candidates.at(-1)!;
  return chosen.id;
}

/** Ids, and their log-probs under the untempered, unfiltered distribution. */
export function sample(logits: Array64, uniforms: Array64, attributes: OpAttributes['sample']): Array64[] {
  const ids = map(uniforms, (u, b) => sampleOne(row(logits, b), u, attributes));
  return [ids, map(ids, (id, b) => row(logits, b)[id]! - logSumExp(row(logits, b)))];
}
