// Statistics of a comparison of two checkpoints on the same prompts: standard errors, paired differences, exact tests,
// bootstrap over prompts and over seeds. All figures are in the unit of the scores; intervals cover 95 %.
// A statistic that one value cannot give (a standard error) is null, never 0 or NaN: JSON keeps null.
import { type BootstrapOptions, bootstrapInterval, type IndexStream, resampledMean } from './resampling.ts';

/** A mean with its uncertainty. `standardError` is null for fewer than two values. */
export interface Estimate {
  mean: number;
  standardError: number | null;
  n: number;
}

/** Half-width of a 95 % interval in standard errors. */
const Z95 = 1.959963984540054;

/** Arithmetic mean. @throws RangeError for no values */
export function mean(values: ArrayLike<number>): number {
  if (values.length === 0) throw new RangeError('mean of no values');
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum / values.length;
}

/** Standard error of the mean, sd with n − 1 over √n; null for fewer than two values. */
export function standardError(values: ArrayLike<number>): number | null {
  const n = values.length;
  if (n < 2) return null;
  const centre = mean(values);
  let squares = 0;
  for (let i = 0; i < n; i++) squares += (values[i]! - centre) ** 2;
  return Math.sqrt(squares / (n - 1) / n);
}

/** Mean, standard error and count of the same values. @throws RangeError for no values */
export function estimate(values: ArrayLike<number>): Estimate {
  return { mean: mean(values), standardError: standardError(values), n: values.length };
}

/** Counts of prompts on which two models with 0/1 scores disagree. */
export interface Discordance {
  /** 0 before, 1 after. */
  gained: number;
  /** 1 before, 0 after. */
  lost: number;
  /** Two-sided exact McNemar p-value: were gains and losses equally likely? */
  p: number;
}

export interface PairedDifference {
  n: number;
  /** Mean of after − before. */
  difference: number;
  /** Of the paired differences; null for one prompt. */
  standardError: number | null;
  /** 95 % percentile bootstrap interval over prompts. */
  low: number;
  high: number;
  /** Null unless all scores are 0 or 1. */
  discordance: Discordance | null;
}

/**
 * Compares two models on the same prompts: element i of both arrays belongs to prompt i.
 * @throws RangeError if the lengths differ or are 0
 */
export function pairedDifference(
  before: ArrayLike<number>,
  after: ArrayLike<number>,
  bootstrap: BootstrapOptions,
): PairedDifference {
  if (before.length !== after.length) {
    throw new RangeError(`paired scores differ in length: ${before.length} and ${after.length}`);
  }
  const differences = Float64Array.from(after, (score, i) => score - before[i]!);
  return {
    n: differences.length,
    difference: mean(differences),
    standardError: standardError(differences),
    ...bootstrapInterval((next) => resampledMean(differences, next), bootstrap),
    discordance: discordanceOf(before, after),
  };
}

function discordanceOf(before: ArrayLike<number>, after: ArrayLike<number>): Discordance | null {
  let gained = 0;
  let lost = 0;
  for (let i = 0; i < before.length; i++) {
    const [x, y] = [before[i]!, after[i]!];
    if ((x !== 0 && x !== 1) || (y !== 0 && y !== 1)) return null;
    if (y > x) gained++;
    if (x > y) lost++;
  }
  return { gained, lost, p: mcNemar(gained, lost) };
}

/**
 * Exact two-sided McNemar test: with n = gained + lost fair coin flips, the chance of a split at least this uneven,
 * min(1, 2 Σ_{k ≤ min} C(n, k) / 2^n). 1 when the models never disagree.
 */
export function mcNemar(gained: number, lost: number): number {
  const n = gained + lost;
  // In logarithms: 2^-n underflows from n = 1075 on.
  let logTerm = -n * Math.LN2;
  let tail = Math.exp(logTerm);
  for (let k = 1; k <= Math.min(gained, lost); k++) {
    logTerm += Math.log((n - k + 1) / k);
    tail += Math.exp(logTerm);
  }
  return Math.min(1, 2 * tail);
}

/** Holm's step-down adjustment of p-values for as many tests, in the order given: reject where the result is ≤ α. */
export function holm(pValues: readonly number[]): number[] {
  const order = pValues.map((_, i) => i).sort((i, j) => pValues[i]! - pValues[j]!);
  const adjusted = new Array<number>(pValues.length);
  let largest = 0;
  order.forEach((index, rank) => {
    largest = Math.max(largest, Math.min(1, (pValues.length - rank) * pValues[index]!));
    adjusted[index] = largest;
  });
  return adjusted;
}

export interface SeedDifference {
  seeds: number;
  /** Mean over seeds of each seed's mean difference. */
  difference: number;
  /** Of the seeds' means: it holds the noise of both seeds and prompts. Null for one seed. */
  standardError: number | null;
  /** 95 % percentile bootstrap interval over seeds and prompts. */
  low: number;
  high: number;
  /** Mean difference of each seed, in the order given. */
  seedMeans: number[];
}

/**
 * Difference of two methods over several whole runs: `differences[s][i]` is after − before on prompt i of seed s. Each
 * resample draws seeds with replacement, then prompts with replacement within each drawn seed. Seeds may have different
 * prompts and counts; each seed has the same weight.
 *
 * With few seeds a percentile interval is too narrow: for S seeds it sees the variance between seeds times (S − 1)/S.
 * For five seeds, difference ± 2.78 standard errors (Student's t with four degrees of freedom) is the careful reading.
 * @throws RangeError for no seeds or a seed without prompts
 */
export function seedDifference(differences: readonly ArrayLike<number>[], bootstrap: BootstrapOptions): SeedDifference {
  const seedMeans = differences.map((prompts) => mean(prompts));
  const values = differences.map((prompts) => Float64Array.from(prompts));
  const draw = (next: IndexStream): number => {
    let sum = 0;
    for (let s = 0; s < values.length; s++) sum += resampledMean(values[next(values.length)]!, next);
    return sum / values.length;
  };
  return {
    seeds: seedMeans.length,
    difference: mean(seedMeans),
    standardError: standardError(seedMeans),
    ...bootstrapInterval(draw, bootstrap),
    seedMeans,
  };
}

/**
 * The smallest difference of two 0/1 scores that n paired prompts tell from 0 at the 95 % level: 1.96 √(d / n), where
 * the discordance d is the share of prompts on which the models disagree. A true difference of this size is found half
 * of the time; for four times out of five take 1.43 times as much. 500 prompts at d = 0.15: 0.034.
 */
export function detectableDifference(prompts: number, discordance: number): number {
  return Z95 * Math.sqrt(discordance / prompts);
}
