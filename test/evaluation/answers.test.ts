// Counts over answers and margins, each expected value counted by hand.
import { describe, expect, it } from 'vitest';
import {
  answerStatistics,
  discrimination,
  foreignness,
  lengthBias,
  lengthWarning,
  repetition,
} from '../../src/evaluation/index.ts';

describe('discrimination', () => {
  it('counts ties half', () => {
    const { n, accuracy, margin } = discrimination(new Float32Array([1, -1, 0, 2]));
    expect(n).toBe(4);
    expect(accuracy.mean).toBe(0.625);
    expect(margin.mean).toBe(0.5);
    // Of 1, 0, 0.5, 1: squares 0.140625 + 0.390625 + 0.015625 + 0.140625 = 0.6875, / 3 / 4.
    expect(accuracy.standardError).toBeCloseTo(Math.sqrt(0.6875 / 12), 12);
  });

  it('shows one half for a player that has not moved', () => {
    expect(discrimination([0, -0, 0]).accuracy.mean).toBe(0.5);
  });
});

describe('foreignness', () => {
  it('warns in plain words when human answers cost much more than own samples', () => {
    const result = foreignness([1.5, 1.7, 1.6, 1.4], [0.5, 0.6, 0.4, 0.5]);
    expect(result.foreign).toBe(true);
    expect(result.difference).toBeCloseTo(1.05, 12);
    // Variances over n: 0.05 / 3 / 4 and 0.02 / 3 / 4.
    expect(result.standardError).toBeCloseTo(Math.sqrt(0.07 / 12), 12);
    expect(result.sentence).toContain('1.55 nats per token, its own samples 0.50');
    expect(result.sentence).toContain('run `selfplay sft` first');
  });

  it('is calm about a model fitted to the data, or that has seen it often', () => {
    for (const human of [
      [0.9, 1.0, 1.1],
      [1.2, 1.3, 1.4],
      [0.2, 0.3, 0.1],
    ]) {
      const result = foreignness(human, [0.8, 1.0, 1.2]);
      expect(result.foreign).toBe(false);
      expect(result.sentence).not.toContain('sft');
    }
  });

  it('does not warn by chance: the difference must exceed twice its standard error', () => {
    // Of 0, 0, 6: mean 2, squares 24, / 2 / 3 = 4, so the error is 2.
    const result = foreignness([0, 0, 6], [1, 1, 1]);
    expect(result.difference).toBe(1);
    expect(result.standardError).toBe(2);
    expect(result.foreign).toBe(false);
  });

  it('says so when there is too little to judge', () => {
    const result = foreignness([5], [1]);
    expect(result.foreign).toBe(false);
    expect(result.sentence).toContain('too few');
  });
});

describe('repetition', () => {
  it('is the share of 4-grams seen before', () => {
    // 1234 2341 3412 4123 1234: one of five.
    expect(repetition(new Int32Array([1, 2, 3, 4, 1, 2, 3, 4]))).toBeCloseTo(0.2, 12);
    expect(repetition([1, 2, 3, 4, 5])).toBe(0);
    expect(repetition([1, 1, 1])).toBe(0);
    expect(repetition(new Int32Array(103))).toBeCloseTo(0.99, 12);
  });

  it('does not join neighbouring ids', () => {
    expect(repetition([1, 23, 1, 1, 12, 3, 1, 1])).toBe(0);
  });
});

describe('repetition in a window of 8', () => {
  const loop = (period: number, length: number) => Array.from({ length }, (_, i) => i % period);

  it('is above one half for a loop that has come round twice and 8 ids more, not before', () => {
    for (const period of [1, 5, 20]) {
      // 2·period + 1 windows, of which `period` are different.
      const caught = 2 * period + 8;
      expect(repetition(loop(period, caught), 8), `period ${period}`).toBeGreaterThan(0.5);
      expect(repetition(loop(period, caught - 1), 8), `period ${period}`).toBeLessThanOrEqual(0.5);
    }
  });

  it('is 0 where phrases of seven ids recur in other words', () => {
    const phrase = [1, 2, 3, 4, 5, 6, 7];
    const said = Array.from({ length: 9 }, (_, i) => [...phrase, 100 + i]).flat();
    expect(repetition(said, 8)).toBe(0);
    expect(repetition(said)).toBeGreaterThan(0.4);
  });
});

describe('lengthBias', () => {
  it('compares the answers of each pair, ties half', () => {
    const lengths = [
      { human: 9, generated: 3 },
      { human: 5, generated: 5 },
      { human: 4, generated: 2 },
      { human: 2, generated: 10 },
    ];
    expect(lengthBias(lengths)).toEqual({
      n: 4,
      human: { mean: 5, median: 4.5 },
      generated: { mean: 5, median: 4 },
      humanLonger: 0.5,
      equal: 0.25,
      rule: 'longer',
      accuracy: 0.625,
    });
    const turned = lengthBias(lengths.map(({ human, generated }) => ({ human: generated, generated: human })));
    expect(turned).toMatchObject({ humanLonger: 0.25, equal: 0.25, rule: 'shorter', accuracy: 0.625 });
    expect(lengthBias(lengths.slice(0, 3)).human).toEqual({ mean: 6, median: 5 });
  });

  it('takes no pairs at all', () => {
    expect(lengthBias([])).toMatchObject({ n: 0, human: { mean: 0, median: 0 }, accuracy: 0 });
    expect(lengthWarning(lengthBias([]))).toBeNull();
  });

  /** `right` pairs with the longer answer the human's, `wrong` with the shorter. */
  const warningFor = (right: number, wrong: number) =>
    lengthWarning(
      lengthBias([
        ...Array.from({ length: right }, () => ({ human: 8, generated: 4 })),
        ...Array.from({ length: wrong }, () => ({ human: 3, generated: 6 })),
      ]),
    );

  it('is a warning in words from three pairs of four', () => {
    expect(warningFor(75, 25)).toContain('length alone tells the human answer from the generated one in 75.0 % of 100');
    expect(warningFor(75, 25)).toContain('the longer one is the human');
    expect(warningFor(75, 25)).toContain('6.8 tokens, median 8; generated ones 4.5, median 4');
    expect(warningFor(10, 90)).toContain('the shorter one is the human');
    expect(warningFor(74, 26)).toBeNull();
    expect(warningFor(26, 74)).toBeNull();
  });

  it('does not warn by chance: one half and twice its standard error must be exceeded', () => {
    // Of 16 pairs a coin's error is 1/8: 12 right is exactly twice that away from 8.
    expect(warningFor(12, 4)).toBeNull();
    expect(warningFor(13, 3)).not.toBeNull();
    expect(warningFor(4, 0)).toBeNull();
    expect(warningFor(5, 0)).not.toBeNull();
  });
});

describe('answerStatistics', () => {
  it('counts copies, empty, cut and equal answers', () => {
    expect(
      answerStatistics([
        { human: 'four', answer: ' four ', ids: [7, 2], truncated: false },
        { human: 'five', answer: 'four', ids: [7, 2], truncated: false },
        { human: 'six', answer: ' ', ids: [2], truncated: false },
        { human: 'seven', answer: 'la la la', ids: [9, 9, 9, 9, 9, 9, 9], truncated: true },
      ]),
    ).toEqual({
      n: 4,
      identicalToHuman: 0.25,
      empty: 0.25,
      truncated: 0.25,
      meanLength: 3,
      distinct: 0.75,
      // Four 4-grams of which three repeat, in one of four answers.
      repetition: 0.75 / 4,
    });
  });

  it('takes no answers at all', () => {
    expect(answerStatistics([]).meanLength).toBe(0);
  });
});
