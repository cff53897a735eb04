// The scorer of annotated steps, by hand.
import { expect, test } from 'vitest';
import score, { isRight } from '../../examples/evidence/steps.ts';

test.each([
  ['48/2', '24', true],
  ['48/2', '25', false],
  ['2+3*4', '14', true],
  ['(2+3)*4', '20', true],
  ['10-2-3', '5', true],
  ['100/8/5', '2.5', true],
  ['-3+5', '2', true],
  ['.5*4', '2', true],
  ['$1,200*2', '2,400', true],
  // What the decimals round away is not wrong; what they do not is.
  ['10/3', '3.33', true],
  ['10/3', '3.34', false],
  ['10/3', '3', false],
  ['7', '7', true],
  ['1/0', '0', false],
  ['2+', '2', false],
  ['(2', '2', false],
  ['2 apples', '2', false],
  ['2+2', 'four', false],
  ['2+2', '', false],
])('%s = %s: %s', (left, right, expected) => {
  expect(isRight(left, right)).toBe(expected);
});

const scored = (answer: string) => score({ id: '', prompt: [], response: '', answer });

test('an answer scores the share of its steps that are right, and 0 without any', () => {
  expect(scored('First <<1+1=2>>2, then <<2*3=6>>6, then <<6-1=4>>4, <<8/2=4>>4.\n#### 4')).toBe(0.75);
  expect(scored('It is 4.\n#### 4')).toBe(0);
  expect(scored('')).toBe(0);
});
