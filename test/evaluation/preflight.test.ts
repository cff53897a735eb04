// Every check of the preflight, both ways: facts that it must object to, and the nearest that it must let pass.

import { describe, expect, it } from 'vitest';
import { type CheckName, checkOf, type PreflightFacts } from '../../src/evaluation/preflight.ts';

const HASH = 'a'.repeat(64);
const estimate = (mean: number) => ({ mean, standardError: 0.01, n: 32 });
const foreign = (isForeign: boolean) => ({
  human: estimate(2),
  own: estimate(1),
  difference: 1,
  standardError: 0.014,
  foreign: isForeign,
  sentence: '',
});
const signal = (changes: Partial<NonNullable<PreflightFacts['signal']>> = {}) => ({
  pairs: 200,
  game: { cosine: 0.21, standardError: 0.1 },
  sft: { cosine: 0.3, standardError: 0.1 },
  swapped: { cosine: 0.05, standardError: 0.1 },
  noiseScale: 376.2,
  batchSize: 64,
  ...changes,
});

type Case = {
  [K in CheckName]: [
    name: K,
    what: string,
    bad: PreflightFacts[K],
    result: 'warning' | 'failure',
    fine: PreflightFacts[K],
  ];
}[CheckName];

const cases: Case[] = [
  // ln 2 = 0.693147; one per cent more is 0.700079.
  [
    'start',
    'another loss than ℓ(0)',
    { loss: 0.7002, expected: Math.LN2 },
    'failure',
    { loss: 0.7, expected: Math.LN2 },
  ],
  ['start', 'a loss below ℓ(0)', { loss: 0.686, expected: Math.LN2 }, 'failure', { loss: 0.687, expected: Math.LN2 }],
  ['start', 'a loss that is no number', { loss: Number.NaN, expected: 1 }, 'failure', { loss: 9, expected: null }],
  ['start', 'no number without a reference', { loss: Number.NaN, expected: null }, 'failure', { loss: 1, expected: 1 }],
  [
    'margins',
    'margins that are not 0',
    { largest: 0.0021, allowed: 0.002 },
    'failure',
    { largest: 0.002, allowed: 0.002 },
  ],
  [
    'ends',
    'two end tokens',
    { rows: 9, wrong: 1, first: 'row a has 2' },
    'failure',
    { rows: 9, wrong: 0, first: null },
  ],
  [
    'prefix',
    'a prompt that is no prefix',
    { rows: 9, wrong: 9, first: 'row a' },
    'failure',
    { rows: 9, wrong: 0, first: null },
  ],
  [
    'players',
    'an opponent that the main player does not begin as',
    { policy: { name: 'm', hash: HASH }, opponent: { name: 'n', hash: 'b'.repeat(64) } },
    'failure',
    { policy: { name: 'm', hash: HASH }, opponent: { name: 'm', hash: HASH } },
  ],
  ['foreign', 'answers in another style', foreign(true), 'warning', foreign(false)],
  [
    'identical',
    'half of the samples',
    { answers: 32, identical: 16, kept: 16 },
    'warning',
    { answers: 32, identical: 15, kept: 17 },
  ],
  [
    'identical',
    'all of the samples',
    { answers: 32, identical: 32, kept: 0 },
    'failure',
    { answers: 32, identical: 0, kept: 1 },
  ],
  [
    'truncated',
    'three in ten',
    { answers: 30, truncated: 9, limit: 256 },
    'warning',
    { answers: 30, truncated: 8, limit: 256 },
  ],
  ['signal', 'too few pairs', null, 'warning', signal()],
  [
    'signal',
    'a cosine within two standard errors',
    signal({ game: { cosine: 0.2, standardError: 0.1 } }),
    'warning',
    signal(),
  ],
  ['signal', 'a cosine without an error', signal({ game: { cosine: 0.9, standardError: null } }), 'warning', signal()],
  ['signal', 'no gradient', signal({ game: { cosine: null, standardError: null } }), 'warning', signal()],
  [
    'signal',
    'swapped labels that agree as well',
    signal({ swapped: { cosine: 0.22, standardError: 0.1 } }),
    'warning',
    signal({ swapped: { cosine: 0.2, standardError: 0.1 } }),
  ],
  // 1.96 · √(0.15 / n) is 5.01 points for 230 rows and 5.00 for 231.
  ['detectable', 'a gain of five points', { rows: 230 }, 'warning', { rows: 231 }],
  ['detectable', 'no rows', { rows: 0 }, 'warning', { rows: 4000 }],
  [
    'memory',
    'a pair that does not fit',
    { tokens: 900, problem: 'out of memory', atOnce: { asked: 2048, fit: 2048 } },
    'failure',
    { tokens: 900, problem: null, atOnce: { asked: 2048, fit: 2048 } },
  ],
  [
    'memory',
    'smaller micro-batches',
    { tokens: 900, problem: null, atOnce: { asked: 2048, fit: 1024 } },
    'warning',
    { tokens: 900, problem: null, atOnce: { asked: 2048, fit: 2048 } },
  ],
  ['disk', 'more than is free', { needed: 101, free: 100 }, 'failure', { needed: 80, free: 100 }],
  ['disk', 'most of what is free', { needed: 81, free: 100 }, 'warning', { needed: 80, free: 100 }],
];

describe('the preflight', () => {
  it.each(cases)('%s: objects to %s', (name, _, bad, result, fine) => {
    const check = checkOf<CheckName>(name, bad);
    expect(check.result).toBe(result);
    expect(check.fix).toEqual(expect.stringMatching(/.{20}/));
    expect(checkOf<CheckName>(name, fine)).toMatchObject({ name, result: 'ok', fix: null });
  });

  it('says what it found in figures', () => {
    expect(checkOf('detectable', { rows: 500 }).found).toContain('3.4 points');
    // 3 points: 500 · (0.033947 / 0.03)² = 640.2
    expect(checkOf('detectable', { rows: 200 }).fix).toContain('3 points take 641 rows');
    expect(checkOf('signal', signal())).toMatchObject({
      found:
        'cosine of the gradients of two halves of 200 pairs: 0.210 ± 0.100; SFT on the same answers 0.300 ± 0.100; half ' +
        'of the labels swapped 0.050 ± 0.100; a gradient is half signal from 377 pairs a batch on (64)',
      figures: { pairs: 200, cosine: 0.21, standardError: 0.1, sft: 0.3, swapped: 0.05, noiseScale: 376.2 },
    });
    // What is no signal has no scale.
    expect(checkOf('signal', signal({ game: { cosine: 0.1, standardError: 0.1 } })).found).not.toContain('half signal');
    expect(checkOf('truncated', { answers: 32, truncated: 8, limit: 64 })).toMatchObject({
      found: '8 of 32 samples (25.0 %) are cut at 64 tokens',
      figures: { share: 0.25 },
    });
    expect(checkOf('disk', { needed: 2.5e9, free: 4e10 }).found).toBe(
      'the run takes up to 2.5 GB of disk, 40.0 GB are free',
    );
  });
});
