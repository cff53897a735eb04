// What answers look like apart from being right: copies of the human answer, empty ones, cut ones, loops, sameness.
// Lengths and repetition count token ids, not words, so they mean the same in a language without spaces.
// A gain in a score that comes with fewer distinct answers or more repetition is sharpening, so the table shows both.

/** One answer: texts without their end token; `ids` the sampled ids, end token included where it was reached. */
export interface AnswerSample {
  human: string;
  answer: string;
  ids: ArrayLike<number>;
  /** True if the token limit came before an end token. */
  truncated: boolean;
}

/** Shares are between 0 and 1. */
export interface AnswerStatistics {
  n: number;
  /** Share equal to the human answer, outer blanks aside: such pairs have no gradient, and many of them mean memory. */
  identicalToHuman: number;
  /** Share with nothing but white space. */
  empty: number;
  truncated: number;
  /** Mean number of token ids. */
  meanLength: number;
  /** Number of different answers over number of answers. */
  distinct: number;
  /** Mean over the answers of `repetition`. */
  repetition: number;
}

const WINDOW = 4;

/**
 * Share of an answer's n-grams of token ids that occurred in it before: 1 − distinct / all; with n = 4 the seq-rep-4 of
 * Welleck et al., 2020, arXiv 1908.04319. 0 for an answer of fewer than n ids; near 1 for a loop.
 */
export function repetition(ids: ArrayLike<number>, n = WINDOW): number {
  const all = ids.length - n + 1;
  if (all <= 0) return 0;
  const seen = new Set<string>();
  for (let start = 0; start < all; start++) {
    seen.add(Array.prototype.slice.call(ids, start, start + n).join(' '));
  }
  return 1 - seen.size / all;
}

/** Counts over a set of answers; all zeros for none. */
export function answerStatistics(samples: readonly AnswerSample[]): AnswerStatistics {
  const n = samples.length;
  const average = (value: (sample: AnswerSample) => number): number =>
    n === 0 ? 0 : samples.reduce((sum, sample) => sum + value(sample), 0) / n;
  return {
    n,
    identicalToHuman: average((sample) => (sample.answer.trim() === sample.human.trim() ? 1 : 0)),
    empty: average((sample) => (sample.answer.trim() === '' ? 1 : 0)),
    truncated: average((sample) => (sample.truncated ? 1 : 0)),
    meanLength: average((sample) => sample.ids.length),
    distinct: n === 0 ? 0 : new Set(samples.map((sample) => sample.answer.trim())).size / n,
    repetition: average((sample) => repetition(sample.ids)),
  };
}
