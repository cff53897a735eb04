// Expected values are worked out by hand in the comments, or come from an exact sum over integers.
import { describe, expect, it } from 'vitest';
import {
  detectableDifference,
  estimate,
  holm,
  mcNemar,
  mean,
  pairedDifference,
  seedDifference,
  standardError,
} from '../../src/evaluation/index.ts';
import { philox4x32 } from '../../src/util/index.ts';

/** The two-sided exact p-value over big integers: 2 Σ C(n, k) / 2^n. */
function exactMcNemar(gained: number, lost: number): number {
  const n = gained + lost;
  let term = 1n;
  let sum = 1n;
  for (let k = 1; k <= Math.min(gained, lost); k++) {
    term = (term * BigInt(n - k + 1)) / BigInt(k);
    sum += term;
  }
  const scale = 10n ** 30n;
  return Math.min(1, Number((2n * sum * scale) / 2n ** BigInt(n)) / 1e30);
}

describe('mean and standard error', () => {
  it('divides the squares by n − 1', () => {
    // Squares 2.25 + 0.25 + 0.25 + 2.25 = 5; 5 / 3 / 4 = 0.41667; root 0.645497.
    expect(mean([1, 2, 3, 4])).toBe(2.5);
    expect(standardError([1, 2, 3, 4])).toBeCloseTo(Math.sqrt(5 / 12), 14);
    expect(estimate(new Float32Array([1, 2, 3, 4]))).toEqual({ mean: 2.5, standardError: Math.sqrt(5 / 12), n: 4 });
  });

  it('has no standard error for one value and no mean for none', () => {
    expect(estimate([0.25])).toEqual({ mean: 0.25, standardError: null, n: 1 });
    expect(() => mean([])).toThrow(RangeError);
  });

  it('does not lose the variance of values with a large common part', () => {
    expect(standardError([1e9 + 1, 1e9 + 2, 1e9 + 3, 1e9 + 4])).toBeCloseTo(Math.sqrt(5 / 12), 6);
  });
});

describe('pairedDifference', () => {
  it('takes the standard error of the differences, not of two samples', () => {
    // Differences 1, 1, 1, 0.2: mean 0.8, squares 3 · 0.04 + 0.36 = 0.48, / 3 / 4 = 0.04, root 0.2.
    const result = pairedDifference([0, 10, 20, 30], [1, 11, 21, 30.2], { seed: 1 });
    expect(result.n).toBe(4);
    expect(result.difference).toBeCloseTo(0.8, 12);
    expect(result.standardError).toBeCloseTo(0.2, 12);
    expect(result.discordance).toBeNull();
  });

  it('counts discordant prompts of 0/1 scores', () => {
    const before = [1, 1, 0, 0, 0, 0, 0, 0, 1];
    const after = [1, 0, 1, 1, 1, 1, 1, 0, 1];
    // Five gained, one lost: 2 (C(6,0) + C(6,1)) / 2^6 = 14 / 64.
    expect(pairedDifference(before, after, { seed: 1 }).discordance).toEqual({
      gained: 5,
      lost: 1,
      p: expect.closeTo(14 / 64, 14),
    });
  });

  it('gives the quantiles of the exact bootstrap distribution where that is known', () => {
    // Ten differences, one of them 1: ten times the resampled mean is binomial(10, 0.1), with P(X = 0) = 0.349 > 0.025,
    // P(X ≤ 2) = 0.930 and P(X ≤ 3) = 0.987: the interval is 0 to 0.3.
    const { low, high } = pairedDifference(Array(10).fill(0), [...Array(9).fill(0), 1], { seed: 3 });
    expect(low).toBe(0);
    expect(high).toBeCloseTo(0.3, 12);
  });

  it('is zero for a model compared with itself', () => {
    const scores = [0, 1, 1, 0, 1];
    expect(pairedDifference(scores, scores, { seed: 5 })).toEqual({
      n: 5,
      difference: 0,
      standardError: 0,
      low: 0,
      high: 0,
      discordance: { gained: 0, lost: 0, p: 1 },
    });
  });

  it('depends on the seed and on nothing else', () => {
    const before = Array.from({ length: 97 }, (_, i) => Math.sin(i));
    const after = Array.from({ length: 97 }, (_, i) => Math.cos(3 * i));
    const first = pairedDifference(before, after, { seed: 7 });
    expect(pairedDifference(before, after, { seed: 7 })).toEqual(first);
    expect(pairedDifference(before, after, { seed: 8 }).low).not.toBe(first.low);
    // Percentiles of many values lie close to the normal interval, ± 1.96 standard errors.
    expect(first.low).toBeCloseTo(first.difference - 1.96 * first.standardError!, 1);
    expect(first.high).toBeCloseTo(first.difference + 1.96 * first.standardError!, 1);
    expect(first.low).toBeLessThan(first.difference);
    expect(first.high).toBeGreaterThan(first.difference);
  });

  it('covers the truth about 95 times in 100', () => {
    // 300 experiments of 60 prompts with P(+1) = 0.3, P(−1) = 0.1: the true difference is 0.2.
    let covered = 0;
    for (let trial = 0; trial < 300; trial++) {
      const after = Array.from({ length: 60 }, (_, i) => {
        const draw = philox4x32([i, trial, 0, 0], [11, 0])[0] / 2 ** 32;
        return draw < 0.3 ? 1 : draw < 0.4 ? -1 : 0;
      });
      const { low, high } = pairedDifference(Array(60).fill(0), after, { seed: trial, resamples: 500 });
      if (low <= 0.2 && 0.2 <= high) covered++;
    }
    expect(covered / 300).toBeGreaterThan(0.9);
    expect(covered / 300).toBeLessThan(0.985);
  });

  it('refuses arrays that are not paired', () => {
    expect(() => pairedDifference([1, 2], [1], { seed: 1 })).toThrow(/2 and 1/);
    expect(() => pairedDifference([], [], { seed: 1 })).toThrow(RangeError);
    expect(() => pairedDifference([1], [1], { seed: -1 })).toThrow(/seed/);
  });
});

describe('mcNemar', () => {
  it.each([
    [1, 5],
    [0, 8],
    [3, 3],
    [12, 30],
    [600, 700],
  ])('equals the integer sum for %i gained and %i lost', (gained, lost) => {
    expect(mcNemar(gained, lost)).toBeCloseTo(exactMcNemar(gained, lost), 9);
    expect(mcNemar(lost, gained)).toBe(mcNemar(gained, lost));
  });

  it('is 1 without disagreement and finite where 2^-n underflows', () => {
    expect(mcNemar(0, 0)).toBe(1);
    expect(mcNemar(1000, 1000)).toBe(1);
    // 700 against 800: z = 99 / √1500 = 2.556 with continuity correction, two-sided p = 0.0106 (normal approximation).
    expect(mcNemar(700, 800)).toBeCloseTo(0.0106, 3);
  });
});

describe('holm', () => {
  it('steps down and never decreases', () => {
    // Sorted: 0.005 · 4 = 0.02, 0.01 · 3 = 0.03, 0.03 · 2 = 0.06, 0.04 · 1 = 0.04 raised to 0.06.
    const adjusted = holm([0.01, 0.04, 0.03, 0.005]);
    [0.03, 0.06, 0.06, 0.02].forEach((expected, i) => {
      expect(adjusted[i]).toBeCloseTo(expected, 14);
    });
  });

  it('caps at 1 and takes an empty list', () => {
    expect(holm([0.6, 0.7])).toEqual([1, 1]);
    expect(holm([])).toEqual([]);
  });
});

describe('seedDifference', () => {
  it('gives each seed the same weight, whatever its number of prompts', () => {
    const result = seedDifference([[1], [0, 0, 0]], { seed: 1, resamples: 100 });
    expect(result.difference).toBe(0.5);
    expect(result.seedMeans).toEqual([1, 0]);
  });

  it('resamples seeds: without spread inside a seed the interval is that of the seeds', () => {
    // Two seeds at 0 and 1: the resampled mean is 0, 0.5, 1 with 1/4, 1/2, 1/4. Standard error √(0.5 / 2).
    const result = seedDifference([Array(20).fill(0), Array(20).fill(1)], { seed: 1 });
    expect([result.low, result.high]).toEqual([0, 1]);
    expect(result.standardError).toBeCloseTo(0.5, 14);
  });

  it('resamples prompts inside a seed too', () => {
    // One seed only: its prompts are ten with a single 1, as in the paired test above.
    const result = seedDifference([[...Array(9).fill(0), 1]], { seed: 1 });
    expect(result.low).toBe(0);
    expect(result.high).toBeCloseTo(0.3, 12);
    expect(result.standardError).toBeNull();
  });
});

describe('detectableDifference', () => {
  it('gives the figures of the method notes: ±3.4 and ±1.2 points at 15 % discordance', () => {
    expect(detectableDifference(500, 0.15)).toBeCloseTo(0.0339, 4);
    expect(detectableDifference(4000, 0.15)).toBeCloseTo(0.012, 4);
  });
});
