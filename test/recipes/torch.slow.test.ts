// Whole games on the torch engine: the same bytes after kill -9 and resume, margins that begin at 0, and a run that goes on with
// the other engine.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readRunLog } from '../../src/report/index.ts';
import { torchForTests } from '../engine/torchForTests.ts';
import { killed, playUndisturbed, removeAll, resumedWith, wholeRun } from './killing.ts';

const torch = await torchForTests('games on the torch engine');

const adapter = { lora_rank: 4, optimizer: 'adamw', learning_rate: 0.02 } as const;

describe.skipIf(!torch).each([
  ['f32', {}],
  ['bf16', {}],
  ['bf16', adapter],
] as const)('a game in %s %j', (dtype, changes) => {
  beforeAll(() => playUndisturbed({ engine: 'torch', device: 'cpu', dtype, threads: 2, ...changes }));
  afterAll(removeAll);

  it('is the same, bit for bit, after kill -9 in its generation, its scoring and its training', () =>
    killed('run', [
      'event shard.finished/generate/0/1',
      'event shard.finished/reference/1/0',
      'event train.step/train/1/3',
      'path .model.',
    ]));

  it('and so is a fine-tuning', () => killed('sft', ['event train.step/train/null/3']));

  it('begins every iteration with the loss of players that are the same', async () => {
    const steps = (await readRunLog(wholeRun())).filter((event) => event.type === 'train.step');
    const first = steps.filter(({ step }) => step === 1);
    expect(first.map(({ iteration }) => iteration)).toEqual([0, 1]);
    for (const { loss, ...figures } of first) {
      if (dtype === 'bf16') {
        expect(loss).toBe(Math.fround(Math.LN2));
        expect(figures).toMatchObject({ 'rewards/margins': 0, 'rewards/accuracies': 0.5 });
      } else expect(loss).toBeCloseTo(Math.LN2, 4);
    }
  });

  it('goes on with the other engine where the user says so', async () => {
    const { events, names } = await resumedWith({ engine: 'onnx' }, 'event train.step/train/0/2');
    expect(events.some(({ type }) => type === 'run.finished')).toBe(true);
    expect(names).toEqual(['torch', 'onnx']);
  });
});
