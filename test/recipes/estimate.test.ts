// What a game will take, by hand; and how an estimate is held against what a run took.

import { describe, expect, it } from 'vitest';
import type { LoadedModel } from '../../src/checkpoint/index.ts';
import { comparison } from '../../src/recipes/preflight/beforehand.ts';
import {
  bytesNeeded,
  bytesOnDisk,
  flopsPace,
  preflightCost,
  secondsOf,
  totalSeconds,
} from '../../src/recipes/preflight/estimate.ts';
import { signalSize } from '../../src/recipes/preflight/preflight.ts';
import type { RunEvent } from '../../src/report/index.ts';

const work = { pairsAt: () => 100, heldOut: 10, kept: 0.8, prompt: 20, human: 30, own: 10 };
const pace = { open: 2, read: 0.001, write: 0.01, learn: 0.005, step: 0.5 };
const settings = {
  iterations: 2,
  start_iteration: 0,
  pairs: undefined,
  replay: 1,
  loss: 'logistic' as const,
  max_new_tokens: 25,
  num_train_epochs: 2,
  batch_size: 32,
};

describe('seconds', () => {
  it('of a game with replay', () => {
    const { evaluate, iterations } = secondsOf(settings, work, pace);
    // 2 + 10 · ((60 + 30 + 30) · 0.001 + 20 · 0.01)
    expect(evaluate).toBeCloseTo(5.2, 10);
    // 80 pairs of 20 + 25 + 10 tokens, in 2 · 3 steps; then 160 in 2 · 5.
    const [first, second] = iterations;
    expect(first!.generate).toBeCloseTo(100 * (0.02 + 0.1), 10);
    expect(first!.reference).toBeCloseTo(4.4, 10);
    expect(first!.train).toBeCloseTo(2 + 2 * 4400 * 0.005 + 6 * 0.5, 10);
    expect(second!.generate).toBeCloseTo(12, 10);
    expect(second!.train).toBeCloseTo(2 + 2 * 8800 * 0.005 + 10 * 0.5, 10);
    expect(totalSeconds({ evaluate, iterations })).toBeCloseTo(5.2 + (12 + 4.4 + 49 + 5.2) + (12 + 8.8 + 95 + 5.2), 8);
  });

  it('of a game that has its first pairs, and that begins later', () => {
    const [first, second] = secondsOf({ ...settings, pairs: ['p'], start_iteration: 1 }, work, pace).iterations;
    expect([first!.generate, second!.generate]).toEqual([0, expect.closeTo(12, 10)]);
    expect(first!.reference).toBeCloseTo(8.8, 10);
  });

  it('of a game whose settings differ between iterations', () => {
    const schedules = {
      ...settings,
      iterations: 3,
      replay: [0, 0, 2],
      replay_weights: [1, 0],
      num_train_epochs: [1, 3],
    };
    const growing = { ...work, pairsAt: (t: number) => [100, 200, 50][t]! };
    const { iterations } = secondsOf(schedules, growing, pace);
    expect(iterations.map(({ generate }) => generate)).toEqual([12, 24, 6].map((s) => expect.closeTo(s, 10)));
    // Pairs: 80; 160; 40 and the 160 of iteration 1, as those of iteration 0 have no weight. 55 tokens each.
    expect(iterations.map(({ reference }) => reference)).toEqual([4.4, 8.8, 11].map((s) => expect.closeTo(s, 10)));
    // One epoch of 3 steps, then three of 5 and of 7.
    expect(iterations.map(({ train }) => train)).toEqual(
      [2 + 22 + 1.5, 2 + 3 * 44 + 7.5, 2 + 3 * 55 + 10.5].map((s) => expect.closeTo(s, 10)),
    );
  });

  it('of a loss without a reference: nothing is scored', () => {
    const { iterations } = secondsOf({ ...settings, loss: 'simpo' }, work, pace);
    expect(iterations.map(({ reference }) => reference)).toEqual([0, 0]);
  });
});

describe('what the preflight may take', () => {
  const parameter = { aliases: [], initial: 'normal', name: 'w', shape: [10, 100] } as const;

  it('is counted in FLOPs: 2 a parameter and token that is read or written, 6 for one that is learned, 4 beside a frozen base', () => {
    expect(flopsPace({ parameters: [parameter] })).toEqual({ open: 0, read: 2000, write: 2000, learn: 6000, step: 0 });
    expect(flopsPace({ parameters: [{ ...parameter, frozen: 'layer' }] }).learn).toBe(4000);
  });

  it('of its checks and of a pair of the signal test', () => {
    const cost = preflightCost(work, pace, { few: 8, longest: 75 });
    // A pair: 20 read and 10 written, 60 scored; then 60 learned once, or two and a half times.
    expect(cost.checks).toBeCloseTo(8 * (0.02 + 0.1 + 0.06 + 0.3) + 75 * 0.005, 10);
    expect(cost.signalPair).toBeCloseTo(0.18 + 2.5 * 0.3, 10);
  });

  it('is a tenth of the game: within a run at least 16 pairs, or no signal test; by itself at least 32; 256 at most', () => {
    const cost = { checks: 10, signalPair: 2 };
    expect(signalSize(420, cost, true)).toEqual({ pairs: 16, leftOut: null });
    expect(signalSize(500, cost, true)).toEqual({ pairs: 20, leftOut: null });
    expect(signalSize(1e6, cost, true).pairs).toBe(256);
    const small = signalSize(419, cost, true);
    expect(small.pairs).toBe(0);
    expect(signalSize(84, cost, true).leftOut).toMatch(
      / would take 50 % of what the game takes, and it may take 10 %\. /,
    );
    expect(signalSize(84, cost, false)).toEqual({ pairs: 32, leftOut: null });
    expect(signalSize(1000, cost, false)).toEqual({ pairs: 45, leftOut: null });
  });
});

describe('bytes', () => {
  const parameter = { aliases: [], initial: 'normal' } as const;
  const parameters = [
    { ...parameter, name: 'w', shape: [10, 100], frozen: 'layer' as const },
    { ...parameter, name: 'a', shape: [5, 10] },
  ];
  const adapted = { model: { parameters }, adapter: {} } as unknown as LoadedModel;
  const whole = { model: { parameters: [{ ...parameter, name: 'w', shape: [10, 100] }] } } as unknown as LoadedModel;

  it('of models and checkpoints: of an adapter nothing else is kept', () => {
    expect(bytesOnDisk(whole, { optimizer: 'adamw' })).toEqual({ model: 4000, checkpoint: 12_000 });
    expect(bytesOnDisk(whole, { optimizer: 'rmsprop' })).toEqual({ model: 4000, checkpoint: 8000 });
    expect(bytesOnDisk(adapted, { optimizer: 'rmsprop' })).toEqual({ model: 200, checkpoint: 400 });
  });

  it('of a run directory', () => {
    const given = {
      optimizer: 'rmsprop' as const,
      ...{ iterations: 2, start_iteration: 0, governor: true, max_attempts: 3, baselines: [] },
    };
    // Tokens: 2 · 100 · 60 + 3 · 10 · 50 = 13,500.
    expect(bytesNeeded(whole, given, work)).toBe((2 + 2) * 4000 + 2 * 8000 + 24 * 13_500);
    expect(bytesNeeded(whole, { ...given, governor: false }, work)).toBe(2 * 4000 + 2 * 8000 + 24 * 13_500);
    // Two that continue leave a model, one that is reweighted a model for each iteration; all four are judged.
    const controls = { ...given, governor: false, baselines: ['all' as const] };
    expect(bytesNeeded(whole, controls, work)).toBe((2 + 4) * 4000 + 2 * 8000 + 24 * (13_500 + 4 * 10 * 50));
  });
});

describe('an estimate against what it took', () => {
  const at = (seconds: number, iteration: number | null, stage: string | null, type: string, attempt = 0) =>
    ({
      time: new Date(seconds * 1000).toISOString(),
      iteration,
      attempt: iteration === null ? null : attempt,
      stage,
      type,
    }) as unknown as RunEvent;
  const iteration = { generate: 10, reference: 20, train: 40, evaluate: 5 };

  it('counts finished stages of the game, every attempt, and what each process spent on them', () => {
    const events = [
      at(0, null, null, 'run.started'),
      at(1, null, 'evaluate', 'stage.started'),
      at(7, null, 'evaluate', 'stage.finished'),
      at(10, 0, 'generate', 'stage.started'),
      at(12, 0, 'generate', 'shard.finished'),
      // A night later: only what came of it counts.
      at(5000, null, null, 'run.resumed'),
      at(5001, 0, 'generate', 'shard.finished'),
      at(5004, 0, 'generate', 'stage.finished'),
      at(5004, 0, 'train', 'stage.started'),
      at(5034, 0, 'train', 'stage.finished'),
      at(5034, 0, 'train', 'stage.started', 1),
      at(5064, 0, 'train', 'stage.finished', 1),
      at(5064, 0, 'evaluate', 'stage.started', 1),
      at(5065, 0, 'evaluate', 'note', 1),
      { ...at(5070, 0, 'train', 'stage.started'), baseline: 'sft-reweighted' },
      { ...at(5090, 0, 'train', 'stage.finished'), baseline: 'sft-reweighted' },
    ];
    // Estimated 4 + 10 + 40 + 40; took 6 + (2 + 3) + 30 + 30.
    expect(comparison({ seconds: 0, evaluate: 4, iterations: [iteration] }, events, 0)).toEqual({
      estimated: 94,
      took: 71,
    });
  });

  it('of a game that began later', () => {
    const events = [at(0, 3, 'train', 'stage.started'), at(2, 3, 'train', 'stage.finished')];
    expect(comparison({ seconds: 0, evaluate: 4, iterations: [iteration] }, events, 3)).toEqual({
      estimated: 40,
      took: 2,
    });
  });
});
