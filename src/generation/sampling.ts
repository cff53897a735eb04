/**
 * How the next token is chosen: the settings of the `sample` op, and the address of the random number that it uses.
 *
 * A token's number depends on (seed, iteration, row id, sample, index of the new token) and on nothing else, so an answer
 * is the same in every batch, order and shard, and in a run that was resumed.
 */
import { type RowKey, uniform, usageError } from '../util/index.ts';

export interface Sampling {
  /** Divides the logits; 0 takes the most probable token (greedy). */
  readonly temperature: number;
  /** Only the topK most probable tokens can be chosen; 0: all. */
  readonly topK: number;
  /** Only the smallest set of most probable tokens that holds this share of the probability can be chosen; 1: all. */
  readonly topP: number;
}

/** The opponent of the game is p_θ itself, so its answers are plain samples, whatever generation_config.json says. */
export const gameSampling: Sampling = { temperature: 1, topK: 0, topP: 1 };
/** The most probable token each time. */
export const greedySampling: Sampling = { temperature: 0, topK: 0, topP: 1 };

/** Philox stream of generation; other purposes have other streams. */
export const GENERATION_STREAM = 1;

/** Throws one usage error that lists every setting out of range. */
export function checkSampling({ temperature, topK, topP }: Sampling): void {
  const problems: string[] = [];
  if (!(temperature >= 0 && Number.isFinite(temperature))) {
    problems.push(`temperature is ${temperature}, expected 0 (greedy) or a positive number`);
  }
  if (!(Number.isInteger(topK) && topK >= 0)) problems.push(`topK is ${topK}, expected 0 (off) or a whole number`);
  if (!(topP > 0 && topP <= 1)) problems.push(`topP is ${topP}, expected a number above 0 and up to 1 (off)`);
  if (problems.length === 0) return;
  throw usageError({
    what: `cannot sample:\n  ${problems.join('\n  ')}`,
    fix: 'for plain samples of the model use temperature 1, topK 0, topP 1',
  });
}

/** Random numbers of one call: the uniform in (0, 1) that chooses new token number `index` (from 0) of a row's sample. */
export function tokenUniforms(seed: number, iteration: number) {
  return (row: RowKey, sample: number, index: number): number =>
    uniform(seed, GENERATION_STREAM, iteration, row, sample, index);
}
