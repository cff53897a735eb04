// The order of trials and the choice among them, by hand.

import { describe, expect, it } from 'vitest';
import { rankTrials } from '../../src/evaluation/ranking.ts';

/** Ten rows; `gain` of them go from 0 to 1, `loss` of them from 1 to 0. */
const base = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1];
const gained = (gain: number, loss = 0) => base.map((x, i) => (i < gain ? 1 : i >= 10 - loss ? 0 : x));
const trial = (learningRate: number, beta: number, scores: number[], objection: string | null = null) => ({
  learningRate,
  beta,
  scores,
  objection,
});
const nameOf = (one: { learningRate: number; beta: number } | null) => one && [one.learningRate, one.beta];

describe('trials', () => {
  it('are ranked by their difference, those with an objection last', () => {
    const { ranked } = rankTrials(
      base,
      [trial(1, 1, gained(1)), trial(2, 1, gained(5), 'it loops'), trial(3, 1, gained(3)), trial(4, 1, gained(0, 2))],
      0,
    );
    expect(ranked.map(({ learningRate }) => learningRate)).toEqual([3, 1, 4, 2]);
    expect(ranked.map(({ difference }) => difference)).toEqual([0.3, 0.1, -0.2, 0.5]);
    // Differences 1, 1, 1, 0 …: variance 10/9 · 0.3 · 0.7, over 10.
    expect(ranked[0]!.standardError).toBeCloseTo(Math.sqrt((0.3 * 0.7) / 9), 10);
    expect(ranked[0]!.low).toBeLessThan(0.3);
    expect(ranked[0]!.high).toBeGreaterThan(0.3);
  });

  it('within one standard error of the best: the lowest rate is chosen, then the highest β', () => {
    // The best is 0.5 ± 0.167; 0.4 is within, 0.3 is not.
    const tried = [
      trial(8, 1, gained(5)),
      trial(4, 0.1, gained(4)),
      trial(4, 5, gained(4)),
      trial(2, 1, gained(3)),
      trial(1, 1, gained(4), 'it drifts'),
    ];
    const { choice, verdict } = rankTrials(base, tried, 0);
    expect(nameOf(choice)).toEqual([4, 5]);
    expect(verdict).toBe('better');
  });

  it('are no better than the model where the interval of the choice holds 0, and none is chosen where all do harm', () => {
    const doubtful = rankTrials(base, [trial(1, 1, gained(1, 1))], 0);
    expect([nameOf(doubtful.choice), doubtful.verdict]).toEqual([[1, 1], 'unclear']);
    expect(rankTrials(base, [trial(1, 1, gained(0, 5))], 0).verdict).toBe('worse');
    const harmful = rankTrials(base, [trial(1, 1, gained(5), 'it loops')], 0);
    expect([harmful.choice, harmful.verdict]).toEqual([null, 'unclear']);
    expect(harmful.ranked).toHaveLength(1);
    expect(rankTrials(base, [], 0)).toEqual({ ranked: [], choice: null, verdict: 'unclear' });
  });

  it('give the same intervals for the same seed', () => {
    const once = rankTrials(base, [trial(1, 1, gained(2, 1))], 7).ranked[0]!;
    const again = rankTrials(base, [trial(1, 1, gained(2, 1))], 7).ranked[0]!;
    expect([once.low, once.high]).toEqual([again.low, again.high]);
  });
});
