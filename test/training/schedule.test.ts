// Learning rates of transformers' linear and cosine schedules, worked out by hand.

import { describe, expect, it } from 'vitest';
import { learningRateAt, type Schedule } from '../../src/training/index.ts';

const rates = (schedule: Partial<Schedule>, steps: number) =>
  Array.from({ length: steps }, (_, step) =>
    learningRateAt({ kind: 'linear', learningRate: 1, warmupRatio: 0, ...schedule }, step, steps),
  );
const expectRates = (got: number[], expected: number[]) => {
  expect(got).toHaveLength(expected.length);
  expected.forEach((rate, i) => {
    expect(got[i], `step ${i}`).toBeCloseTo(rate, 12);
  });
};

describe('learningRateAt', () => {
  it('falls along a line from the peak', () => {
    expectRates(rates({}, 4), [1, 0.75, 0.5, 0.25]);
  });

  it('rises from exactly 0 over ceil(ratio · steps) steps, then falls to 0 after the last', () => {
    // 10 % of 11 steps is 1.1: two steps of warm-up, nine of descent.
    expectRates(rates({ warmupRatio: 0.1 }, 11), [0, 1 / 2, 1, 8 / 9, 7 / 9, 6 / 9, 5 / 9, 4 / 9, 3 / 9, 2 / 9, 1 / 9]);
    expect(learningRateAt({ kind: 'linear', learningRate: 5e-7, warmupRatio: 0.1 }, 0, 10)).toBe(0);
    expect(learningRateAt({ kind: 'linear', learningRate: 5e-7, warmupRatio: 0.1 }, 1, 10)).toBe(5e-7);
  });

  it('falls along half a cosine', () => {
    expectRates(rates({ kind: 'cosine' }, 4), [1, 0.5 + Math.SQRT1_2 / 2, 0.5, 0.5 - Math.SQRT1_2 / 2]);
    // One step of warm-up, then the third of four steps of descent is at half.
    expectRates(rates({ kind: 'cosine', warmupRatio: 0.2 }, 5).slice(0, 4), [0, 1, 0.5 + Math.SQRT1_2 / 2, 0.5]);
  });

  it('stays at the peak when constant', () => {
    expectRates(rates({ kind: 'constant', learningRate: 3, warmupRatio: 0.5 }, 4), [0, 1.5, 3, 3]);
  });

  it('gives a run that is all warm-up a rising line', () => {
    expectRates(rates({ warmupRatio: 1 }, 4), [0, 0.25, 0.5, 0.75]);
  });
});
