// Student's t: closed forms for one and two degrees of freedom, and the table that everybody has.
import { expect, test } from 'vitest';
import { meanOverSeeds, normalP, studentP, studentQuantile } from '../../src/evaluation/student.ts';

test('one degree of freedom is Cauchy: p = 1 − 2/π·atan t', () => {
  for (const t of [0, 0.3, 1, -2, 40])
    expect(studentP(t, 1)).toBeCloseTo(1 - (2 / Math.PI) * Math.atan(Math.abs(t)), 9);
});

test('two degrees: p = 1 − t/√(2 + t²)', () => {
  for (const t of [0.5, 1, 3, 10]) expect(studentP(t, 2)).toBeCloseTo(1 - t / Math.sqrt(2 + t * t), 9);
});

test.each([
  [0, 1],
  [1, 0.31731051],
  [-1.959964, 0.05],
  [3, 0.0026998],
  [60, 0],
])('normal: |z| ≥ |%d| has the chance %d', (z, expected) => {
  expect(normalP(z)).toBeCloseTo(expected, 7);
});

test.each([
  [1, 12.706],
  [2, 4.303],
  [4, 2.776],
  [9, 2.262],
])('97.5 %% point with %i degrees of freedom', (df, expected) => {
  expect(studentQuantile(df)).toBeCloseTo(expected, 3);
});

test('1, 2 and 3 have mean 2 and standard error 1/√3: the interval is 2 ± 4.303/√3', () => {
  const { difference, low, high, p } = meanOverSeeds([1, 2, 3]);
  expect(difference).toBe(2);
  expect(low).toBeCloseTo(2 - 4.3027 / Math.sqrt(3), 3);
  expect(high).toBeCloseTo(2 + 4.3027 / Math.sqrt(3), 3);
  // t = 2√3, t² = 12: p = 1 − √(12/14)
  expect(p).toBeCloseTo(1 - Math.sqrt(12 / 14), 9);
});

test('seeds that agree to the bit leave nothing to doubt, or everything', () => {
  expect(meanOverSeeds([2, 2]).p).toBe(0);
  expect(meanOverSeeds([0, 0]).p).toBe(1);
});

test('one seed has no interval, and no degrees of freedom none either', () => {
  expect(() => meanOverSeeds([1])).toThrow(RangeError);
  expect(() => studentP(1, 0)).toThrow(RangeError);
});
