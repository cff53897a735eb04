/** Distances of uniforms from the points at which rounding could change what is sampled. */
import type { OpAttributes } from '../../src/graph/index.ts';
import { type Array64, array, row, softmax } from './array.ts';
import { samplingCandidates } from './generation.ts';
import { randomUniforms } from './random.ts';

const MARGIN = 1e-5;

/** How far u is from the nearest boundary between two ids. */
export function distanceToBoundary(logits: Float64Array, u: number, attributes: OpAttributes['sample']): number {
  let below = 0;
  let nearest = 1;
  for (const { p } of samplingCandidates(logits, attributes).slice(0, -1)) {
    below += p;
    nearest = Math.min(nearest, Math.abs(u - below));
  }
  return nearest;
}

/** One uniform per row, none within 1e-5 of a boundary. Throws where the nucleus itself depends on rounding. */
export function safeUniforms(name: string, logits: Array64, attributes: OpAttributes['sample']): Array64 {
  const candidates = randomUniforms(name, 50 * logits.shape[0]!).data;
  return array(
    Array.from({ length: logits.shape[0]! }, (_, b) => {
      checkNucleus(row(logits, b), attributes);
      return candidates
        .subarray(50 * b, 50 * b + 50)
        .find((u) => distanceToBoundary(row(logits, b), u, attributes) > MARGIN)!;
    }),
  );
}

function checkNucleus(logits: Float64Array, { temperature, topK, topP }: OpAttributes['sample']): void {
  if (temperature === 0 || topP >= 1) return;
  const ranked = Float64Array.from(logits.toSorted().toReversed(), (logit) => logit / temperature);
  let sum = 0;
  for (const p of softmax(topK > 0 ? ranked.slice(0, topK) : ranked)) {
    sum += p;
    if (Math.abs(sum - topP) < MARGIN) throw new Error('the nucleus ends within rounding of topP: take other logits');
  }
}
