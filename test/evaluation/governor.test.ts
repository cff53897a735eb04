// Every rule of the governor, both ways: a reading that it must object to, and the nearest one that it must let pass.

import { describe, expect, it } from 'vitest';
import { decide, type Readings, type RuleName, rules } from '../../src/evaluation/governor.ts';

const at = (mean: number, standardError: number | null = 0.01, n = 400) => ({ mean, standardError, n });
const answers = { length: 40, repetition: 0.05, identical: 0.1, truncated: 0.02, identicalSamples: 0.1 };

/** An iteration that nothing speaks against. */
const good: Readings = {
  accuracy: at(0.7, 0.023),
  margin: at(1.2, 0.1),
  task: { name: 'number', better: 1, difference: at(0.01, 0.02) },
  humanDrift: at(-0.02),
  klToOpponent: at(0.05),
  klToBase: at(0.08),
  before: answers,
  after: answers,
};

const answering = (changes: Partial<Readings['after']>) => ({ after: { ...answers, ...changes } });

const cases: [RuleName, string, Partial<Readings>, Partial<Readings>][] = [
  ['degenerate', 'repeats', answering({ repetition: 0.26 }), answering({ repetition: 0.24 })],
  ['degenerate', 'does not end', answering({ truncated: 0.33 }), answering({ truncated: 0.31 })],
  // 41 → 82 is twice as long as 40, one token counted on both sides: 83 is too much.
  ['degenerate', 'grows', answering({ length: 82 }), answering({ length: 80 })],
  ['degenerate', 'vanishes', answering({ length: 19 }), answering({ length: 20 })],
  // −0.04 + 1.645 · 0.02 = −0.0071 < 0; −0.03 + 0.0329 > 0.
  [
    'worse',
    'more is better',
    { task: { name: 'number', better: 1, difference: at(-0.04, 0.02) } },
    { task: { name: 'number', better: 1, difference: at(-0.03, 0.02) } },
  ],
  [
    'worse',
    'less is better',
    { task: { name: 'nats/token', better: -1, difference: at(0.04, 0.02) } },
    { task: { name: 'nats/token', better: -1, difference: at(-0.04, 0.02) } },
  ],
  // 0.32 − 1.645 · 0.01 > 0.3, 0.31 − 0.01645 < 0.3
  ['drift', 'human answers', { humanDrift: at(-0.32) }, { humanDrift: at(-0.31) }],
  ['distance', 'KL', { klToOpponent: at(0.52) }, { klToOpponent: at(0.51) }],
  ['memorised', 'recites', answering({ identicalSamples: 0.5 }), answering({ identicalSamples: 0.49 })],
  // As many as before are no news; greedy answers may all be right.
  [
    'memorised',
    'more than before',
    { before: { ...answers, identicalSamples: 0.6 }, ...answering({ identicalSamples: 0.61 }) },
    { before: { ...answers, identicalSamples: 0.6 }, ...answering({ identicalSamples: 0.6, identical: 1 }) },
  ],
  // 0.53 − 1.645 · 0.023 = 0.492 ≤ 0.5; 0.54 gives 0.502.
  ['indistinguishable', 'guesses', { accuracy: at(0.53, 0.023) }, { accuracy: at(0.54, 0.023) }],
];

describe('the governor', () => {
  it('goes on when nothing speaks against it, and says with which figures', () => {
    expect(decide(good)).toMatchObject({ verdict: 'continue', rule: null, remedy: null });
    expect(decide(good).reason).toContain('number changed by 0.010 ± 0.020');
    expect(decide(good).reason).toContain('70.0 % of 400 rows');
  });

  it.each(cases)('%s: %s', (rule, _, bad, fine) => {
    const { verdict, remedy } = rules[rule];
    expect(decide({ ...good, ...bad })).toMatchObject({ verdict, rule, remedy });
    expect(decide({ ...good, ...fine }).verdict).toBe('continue');
  });

  it('has a case for every rule', () => {
    expect(new Set(cases.map(([rule]) => rule))).toEqual(new Set(Object.keys(rules)));
  });

  it('does not end a game for want of rows: a test that could not see 60 % says nothing', () => {
    // 1.645 · 0.07 > 0.1
    expect(decide({ ...good, accuracy: at(0.5, 0.07, 51) }).verdict).toBe('continue');
    expect(decide({ ...good, accuracy: at(0.5, null, 1) }).verdict).toBe('continue');
  });

  it('lets the first objection decide: a broken model is rolled back even when it can only guess', () => {
    const broken = { ...good, ...answering({ repetition: 0.9 }), accuracy: at(0.5, 0.02) };
    expect(decide(broken)).toMatchObject({ verdict: 'roll-back', rule: 'degenerate' });
  });

  it('says one number and where it came from', () => {
    expect(decide({ ...good, ...answering({ repetition: 0.9 }) }).reason).toBe(
      'repeated 4-grams rose from 5.0 % to 90.0 %',
    );
    expect(decide({ ...good, humanDrift: at(-0.4) }).reason).toBe(
      'human answers lost 0.400 ± 0.010 nats per token (at most 0.3)',
    );
  });
});
