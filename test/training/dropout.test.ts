// Dropout in training: its random numbers belong to the run, not to how a batch happens to be computed.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Engine, onnxEngine } from '../../src/engine/index.ts';
import { trainable, withAdapter } from '../../src/models/index.ts';
import { gradientName, openScorer, openTrainer, type TrainerSettings } from '../../src/training/index.ts';
import { normals } from '../../src/util/index.ts';
import { tinyModel, writeWeights } from '../generation/tiny.ts';
import { relativeError, tinyPairs } from './tiny-pairs.ts';

const lora = {
  rank: 3,
  alpha: 6,
  rankStabilized: false,
  targets: 'all-linear',
  rankPattern: {},
  alphaPattern: {},
} as const;
const model = withAdapter(tinyModel, { ...lora, dropout: 0.3 });
const learned = trainable(model);
let engine: Engine;

beforeAll(async () => {
  engine = await onnxEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

/** Weights, loss and norm after one step. */
async function step(changes: Partial<TrainerSettings> = {}, number = 1, of = model) {
  await writeWeights(engine);
  for (const { name, shape } of learned) {
    await engine.createState(name, shape);
    await engine.writeState(
      name,
      normals(shape[0]! * shape[1]!, 1, name).map((x) => x / 3),
    );
  }
  const trainer = await openTrainer(engine, of, {
    objective: { kind: 'spin', beta: 0.5, sftWeight: 0 },
    optimizer: { kind: 'adamw', beta1: 0.9, beta2: 0.9, eps: 1, weightDecay: 0 },
    maxGradNorm: 1e9,
    microBatchTokens: 1000,
    masks: { seed: 5, iteration: 1 },
    ...changes,
  });
  const { loss, gradNorm } = await trainer.step(tinyPairs, number, 1);
  await trainer.dispose();
  const weights = new Map<string, Float32Array>();
  for (const { name } of learned) weights.set(name, await engine.readState(name));
  return { loss, gradNorm, weights };
}

describe('dropout', () => {
  it('is the same however the batch is split', async () => {
    const [whole, split] = [await step(), await step({ microBatchTokens: 20 })];
    expect(split.loss).toBeCloseTo(whole.loss, 6);
    for (const [name, values] of whole.weights) {
      expect(relativeError(split.weights.get(name)!, values), name).toBeLessThan(1e-5);
    }
  });

  it.each([
    ['seed', { masks: { seed: 6, iteration: 1 } }, 1],
    ['iteration', { masks: { seed: 5, iteration: 2 } }, 1],
    ['step', {}, 2],
  ])('is another one with another %s', async (_, changes, number) => {
    expect((await step(changes, number)).loss).not.toBeCloseTo((await step()).loss, 4);
  });

  it('repeats its bits', async () => {
    expect(await step()).toEqual(await step());
  });

  it('is not there in scoring', async () => {
    const { dropout: _, ...without } = model;
    const same = await step({}, 1, without);
    expect(same.loss).not.toBeCloseTo((await step()).loss, 4);
    const score = async (of: typeof model) => {
      const scorer = await openScorer(engine, of);
      const scores = await scorer.score(tinyPairs, 1000);
      await scorer.dispose();
      return scores;
    };
    expect(await score(model)).toEqual(await score(without));
  });

  it('without random numbers is refused, and leaves no gradients of frozen weights', async () => {
    const trainer = openTrainer(engine, model, {
      objective: { kind: 'sft' },
      optimizer: { kind: 'rmsprop', alpha: 0.9, eps: 1e-6 },
      maxGradNorm: 1,
      microBatchTokens: 1000,
    });
    await expect(trainer).rejects.toThrow(/trained without random numbers/);
    await step();
    const names = [...(await engine.states()).keys()];
    const frozen = model.parameters.filter((one) => !learned.includes(one)).map(({ name }) => gradientName(name));
    expect(names.filter((name) => frozen.includes(name))).toEqual([]);
  });
});
