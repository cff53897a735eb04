/**
 * Which of several settings to use, from one short trial of each on the same dev rows. Pure: scores in, an order and a
 * choice out. The best of many trials looks better than it is, so the choice is a careful one.
 */
import { type PairedDifference, pairedDifference } from './statistics.ts';

/** A trial of settings: scores of the dev rows, better when higher. */
export interface Trial {
  readonly learningRate: number;
  readonly beta: number;
  readonly scores: readonly number[];
  /** Why it does not count; null when nothing speaks against it. */
  readonly objection: string | null;
}

/** A trial against the model that it began with. */
export type Ranked<T extends Trial> = T & Pick<PairedDifference, 'difference' | 'standardError' | 'low' | 'high'>;

export interface Ranking<T extends Trial> {
  /** Trials without an objection first, each group by its difference, highest first. */
  readonly ranked: readonly Ranked<T>[];
  /** null when every trial has an objection. */
  readonly choice: Ranked<T> | null;
  /** The choice against the model that it began with, by more than the noise of the dev rows. */
  readonly verdict: 'better' | 'worse' | 'unclear';
}

/**
 * The choice is the most careful trial (lowest rate, then highest β) among those whose difference is within one standard
 * error of the best one's: the one-standard-error rule of Breiman et al. (1984).
 * @param base scores of the same rows before
 */
export function rankTrials<T extends Trial>(base: readonly number[], trials: readonly T[], seed: number): Ranking<T> {
  const ranked = trials
    .map((trial): Ranked<T> => {
      const { difference, standardError, low, high } = pairedDifference(base, trial.scores, { seed });
      return { ...trial, difference, standardError, low, high };
    })
    .sort((a, b) => Number(a.objection !== null) - Number(b.objection !== null) || b.difference - a.difference);
  const fine = ranked.filter(({ objection }) => objection === null);
  const [best] = fine;
  const choice =
    fine
      .filter(({ difference }) => difference >= best!.difference - (best!.standardError ?? 0))
      .toSorted((a, b) => a.learningRate - b.learningRate || b.beta - a.beta)[0] ?? null;
  const verdict = choice && choice.low > 0 ? 'better' : choice && choice.high < 0 ? 'worse' : 'unclear';
  return { ranked, choice, verdict };
}
