// The bootstrap's machinery: a stream of random indices that depends on the seed alone, and percentile intervals.
// Four indices come from one Philox block: an interval from 10,000 resamples of 1,000 prompts takes ten million indices.
import { philox4x32, rowKey } from '../util/index.ts';

export interface BootstrapOptions {
  /** An integer from 0 below 2^53. */
  seed: number;
  /** Default 10,000. */
  resamples?: number;
}

/** Gives the next random index below `count` (count < 2^32; the bias is below count / 2^32). */
export type IndexStream = (count: number) => number;

const RESAMPLES = 10_000;
const LOW = 0.025;
const HIGH = 0.975;

function indexStream(seed: number): IndexStream {
  const key: [number, number] = [seed >>> 0, Math.floor(seed / 2 ** 32)];
  const [name0, name1] = rowKey('bootstrap');
  let block = 0;
  let words: readonly number[] = [];
  let used = 4;
  return (count) => {
    if (used === 4) {
      words = philox4x32([block >>> 0, Math.floor(block / 2 ** 32), name0, name1], key);
      block++;
      used = 0;
    }
    return Math.floor((words[used++]! / 2 ** 32) * count);
  };
}

/** Draws as many values with replacement as there are, and returns their mean. */
export function resampledMean(values: Float64Array, next: IndexStream): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[next(values.length)]!;
  return sum / values.length;
}

/** The middle 95 % of `draw` repeated: a percentile bootstrap interval. @throws RangeError for a bad seed */
export function bootstrapInterval(
  draw: (next: IndexStream) => number,
  { seed, resamples = RESAMPLES }: BootstrapOptions,
): { low: number; high: number } {
  if (!Number.isSafeInteger(seed) || seed < 0) throw new RangeError(`seed must be an integer from 0, got ${seed}`);
  const next = indexStream(seed);
  const sorted = Float64Array.from({ length: resamples }, () => draw(next)).sort();
  return { low: quantile(sorted, LOW), high: quantile(sorted, HIGH) };
}

/** Quantile of sorted values, linear between neighbours. */
function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const left = sorted[below]!;
  return left + (place - below) * ((sorted[below + 1] ?? left) - left);
}
