/**
 * What computing costs in floating-point operations, to the first order: every parameter is multiplied and added once for
 * each token that goes through the model, 2 FLOPs; backward does that twice more, for the gradient of the inputs and for
 * that of the weights (Kaplan et al. 2020). Where the base is frozen the gradient of its weights is not computed.
 *
 *   read (answers written with a cache, log-probs):  2·N per token
 *   learned, all weights:                            6·N per token
 *   learned, an adapter on a frozen base:            4·N per token
 *
 * Left out: attention's own products, which grow with the length of a text, and the adapter's, which are few. The table
 * of embeddings counts as if it were multiplied, which it is where it is the head as well.
 */
import type { LanguageModel } from '../models/index.ts';

const READ = 2;
const LEARNED = 6;
const LEARNED_ON_FROZEN_BASE = 4;

/** Tokens that go through a model: read, and learned from (each counts under one of the two). */
interface TokenCounts {
  readonly read: number;
  readonly learned: number;
}

/** N, an adapter's parameters included. */
export function parameterCount({ parameters }: Pick<LanguageModel, 'parameters'>): number {
  return parameters.reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0);
}

/** FLOPs per parameter and token that is learned. */
export function flopsPerLearned({ parameters }: Pick<LanguageModel, 'parameters'>): number {
  return parameters.some(({ frozen }) => frozen !== undefined) ? LEARNED_ON_FROZEN_BASE : LEARNED;
}

/** FLOPs for these tokens. */
export function flopsOf(model: Pick<LanguageModel, 'parameters'>, { read, learned }: TokenCounts): number {
  return parameterCount(model) * (READ * read + flopsPerLearned(model) * learned);
}
