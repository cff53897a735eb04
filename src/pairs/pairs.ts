/**
 * From human answers and samples to the pairs of the game.
 */
import type { Group } from './pack.ts';

/** An answer as token ids, never decoded and encoded again. */
export interface Answer {
  readonly ids: Int32Array;
  readonly text: string;
}

/** The opponent's answer; `length`: cut at the limit, without an end token. */
export interface Sample extends Answer {
  readonly finish: 'end' | 'length';
  readonly logProbs: Float32Array;
}

/** (real, generated) for one prompt; the opponent of `iteration` wrote the generated one. */
export interface Pair {
  readonly id: string;
  readonly sample: number;
  readonly iteration: number;
  readonly promptIds: Int32Array;
  readonly real: Int32Array;
  readonly generated: Int32Array;
}

/** A pair with both answers' log-probs per token under the current opponent. */
export interface ScoredPair extends Pair {
  readonly realReference: Float32Array;
  readonly generatedReference: Float32Array;
}

/**
 * The human answer that stands against a sample. Against a sample that was cut at the limit it is cut at the same
 * length, or the pair would teach that an end token marks a human (spin-method.md 5b, "Truncated samples").
 */
export function censor(real: Int32Array, { ids, finish }: Pick<Sample, 'ids' | 'finish'>): Int32Array {
  return finish === 'length' && real.length > ids.length ? real.slice(0, ids.length) : real;
}

/** A pair as it is packed: the real answer first; last the initial model's, for losses that ask for it. */
export function pairGroup(pair: Pair | ScoredPair, initial?: Int32Array): Group {
  const scored = 'realReference' in pair;
  return {
    promptIds: pair.promptIds,
    responses: [
      { ids: pair.real, ...(scored ? { reference: pair.realReference } : {}) },
      { ids: pair.generated, ...(scored ? { reference: pair.generatedReference } : {}) },
      ...(initial ? [{ ids: initial }] : []),
    ],
  };
}
