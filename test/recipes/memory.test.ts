// Which micro-batch a step has after reductions, and what the next smaller one is.

import { describe, expect, it } from 'vitest';
import type { Group } from '../../src/pairs/index.ts';
import { microBatchTokens, reducedTokens } from '../../src/recipes/run/memory.ts';

/** Groups of so many packed tokens. */
const groups = (...lengths: number[]): Group[] =>
  lengths.map((length) => ({ promptIds: new Int32Array(length), responses: [{ ids: new Int32Array(1) }] }));

describe('microBatchTokens', () => {
  const reductions = [
    { iteration: 0, step: 3, tokens: 50 },
    { iteration: 0, step: 3, tokens: 25 },
    { iteration: 1, step: 2, tokens: 12 },
  ];

  it.each([
    [0, 2, 100],
    [0, 3, 25],
    [0, 9, 25],
    [1, 1, 25],
    [1, 2, 12],
    [2, 1, 12],
  ])('of iteration %i, step %i is %i', (iteration, step, tokens) => {
    expect(microBatchTokens(100, reductions, { iteration, step })).toBe(tokens);
  });

  it('in plain SFT has only steps', () => {
    const reduction = { iteration: null, step: 4, tokens: 8 };
    expect([3, 4].map((step) => microBatchTokens(9, [reduction], { iteration: null, step }))).toEqual([9, 8]);
  });
});

describe('reducedTokens', () => {
  it('halves the largest micro-batch that there was', () => {
    expect(reducedTokens(groups(10, 10, 10, 10), 2048)).toBe(20);
    expect(reducedTokens(groups(10, 10, 10, 10), 35)).toBe(15);
  });

  it('stops at the longest item', () => {
    expect(reducedTokens(groups(5, 5, 30), 100)).toBe(30);
    expect(reducedTokens(groups(5, 5, 30), 30)).toBeUndefined();
    expect(reducedTokens(groups(30), 100)).toBeUndefined();
  });
});
