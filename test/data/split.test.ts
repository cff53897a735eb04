// Splits and limits: seeded, disjoint, independent of row order.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Example, splitExamples, take } from '../../src/data/index.ts';

const example = (prompt: string, index: number): Example => ({
  id: `${prompt}-${index}`,
  file: 'f',
  line: index + 1,
  prompt: [{ role: 'user', content: prompt }],
  response: `answer ${index}`,
});
const distinct = (count: number): Example[] => Array.from({ length: count }, (_, i) => example(`p${i}`, i));
const ids = (list: readonly Example[]): string[] => list.map(({ id }) => id);

describe('splitExamples', () => {
  it('cuts the numbers asked for, disjoint and complete, in file order', () => {
    const all = distinct(100);
    const { train, dev, test } = splitExamples(all, { seed: 1, dev: 10, test: 20 });
    expect([train.length, dev.length, test.length]).toEqual([70, 10, 20]);
    expect(new Set(ids([...train, ...dev, ...test])).size).toBe(100);
    for (const part of [train, dev, test])
      expect(part.map(({ line }) => line)).toEqual(part.map(({ line }) => line).sort((a, b) => a - b));
  });

  it('depends on the seed and not on the order of rows', () => {
    const all = distinct(60);
    const options = { seed: 3, dev: 8, test: 8 };
    const forward = splitExamples(all, options);
    const backward = splitExamples([...all].reverse(), options);
    expect(ids(backward.test).sort()).toEqual(ids(forward.test).sort());
    expect(ids(backward.dev).sort()).toEqual(ids(forward.dev).sort());
    expect(ids(splitExamples(all, { ...options, seed: 4 }).test)).not.toEqual(ids(forward.test));
  });

  it('never puts one prompt into two splits, and never more rows than asked', () => {
    const prompts = fc.array(fc.constantFrom(...'abcdefghijkl'), { minLength: 12, maxLength: 60 });
    fc.assert(
      fc.property(prompts, fc.nat(4), fc.nat(4), fc.nat(1000), (list, dev, test, seed) => {
        fc.pre(new Set(list).size > 10);
        const splits = splitExamples(list.map(example), { seed, dev, test });
        const places = new Map<string, string>();
        for (const [name, part] of Object.entries(splits) as [string, Example[]][]) {
          for (const { prompt } of part) {
            const text = prompt[0]?.content ?? '';
            expect(places.get(text) ?? name).toBe(name);
            places.set(text, name);
          }
        }
        expect(splits.dev.length).toBeLessThanOrEqual(dev);
        expect(splits.test.length).toBeLessThanOrEqual(test);
        expect(splits.train.length + splits.dev.length + splits.test.length).toBe(list.length);
      }),
      { seed: 2 },
    );
  });

  it('refuses splits that leave nothing to train on, and numbers that are none', () => {
    expect(() => splitExamples(distinct(10), { seed: 1, dev: 5, test: 5 })).toThrowError(
      /no rows are left to train on: 10 rows/,
    );
    expect(() => splitExamples([], { seed: 1, dev: 0, test: 0 })).toThrowError(/no rows are left/);
    expect(() => splitExamples(distinct(10), { seed: 1, dev: 0.2, test: 1 })).toThrowError(
      /dev must be a whole number/,
    );
  });
});

describe('take', () => {
  const all = distinct(50);
  it('limit takes the first rows, sample a seeded random set, both in file order', () => {
    expect(take(all, { seed: 1 })).toEqual(all);
    expect(take(all, { limit: 5, seed: 1 })).toEqual(all.slice(0, 5));
    expect(take(all, { limit: 500, seed: 1 })).toEqual(all);
    const sample = take(all, { sample: 5, seed: 1 });
    expect(sample).toHaveLength(5);
    expect(sample.map(({ line }) => line)).toEqual(sample.map(({ line }) => line).sort((a, b) => a - b));
    expect(take(all, { sample: 5, seed: 1 })).toEqual(sample);
    expect(take(all, { sample: 5, seed: 2 })).not.toEqual(sample);
    expect(take(all, { sample: 500, seed: 2 })).toEqual(all);
  });

  it('refuses both at once, zero and fractions', () => {
    expect(() => take(all, { limit: 1, sample: 1, seed: 1 })).toThrowError(/exclude each other/);
    expect(() => take(all, { limit: 0, seed: 1 })).toThrowError(/limit of 0/);
    expect(() => take(all, { sample: 1.5, seed: 1 })).toThrowError(/sample must be a whole number/);
    expect(() => take(all, { limit: -1, seed: 1 })).toThrowError(/limit must be a whole number/);
  });
});
