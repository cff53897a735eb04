// bf16 against f32 on the torch engine: a hundred steps of SPIN side by side, and the paper's learning rate, far below what a bf16
// weight could take in.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../../src/engine/index.ts';
import type { Group } from '../../src/pairs/index.ts';
import { openScorer, openTrainer, type StepFigures, type TrainerSettings } from '../../src/training/index.ts';
import { torchForTests } from '../engine/torchForTests.ts';
import { promptOf, tinyModel, writeWeights } from '../generation/tiny.ts';

const STEPS = 100;
/** Largest difference between the two losses at one step, and over the mean of all steps; the loss begins at ln 2. */
const BAND = { step: 0.03, mean: 0.01 };
const MICRO_BATCH_TOKENS = 64;

/** Sixteen pairs in one batch, with prompts of 3 to 12 and answers of 2 to 9 tokens. */
const groups: Group[] = Array.from({ length: 16 }, (_, i) => ({
  promptIds: promptOf(3 + ((i * 7) % 10), i),
  responses: [2 + (i % 8), 9 - ((i * 3) % 8)].map((count, which) => ({ ids: promptOf(count, 50 + 2 * i + which) })),
}));

const settings: TrainerSettings = {
  objective: { kind: 'spin', beta: 0.1, sftWeight: 0 },
  optimizer: { kind: 'rmsprop', alpha: 0.99, eps: 1e-8 },
  maxGradNorm: 1,
  microBatchTokens: MICRO_BATCH_TOKENS,
};

/** SPIN from the random model, which is its own opponent: figures of every step. */
async function play(engine: Engine, steps: number, learningRate: number): Promise<StepFigures[]> {
  await writeWeights(engine);
  const scorer = await openScorer(engine, tinyModel);
  const scores = await scorer.score(groups, MICRO_BATCH_TOKENS);
  await scorer.dispose();
  const batch = groups.map(({ promptIds, responses }, i) => ({
    promptIds,
    responses: responses.map(({ ids }, which) => ({ ids, reference: scores[i]![which]! })),
  }));
  const trainer = await openTrainer(engine, tinyModel, settings);
  const figures: StepFigures[] = [];
  for (let step = 1; step <= steps; step++) figures.push(await trainer.step(batch, step, learningRate));
  await trainer.dispose();
  return figures;
}

const torch = await torchForTests('bf16 beside f32');

describe.skipIf(!torch)('bf16', () => {
  let full: Engine;
  let half: Engine;
  beforeAll(async () => {
    [full, half] = [await torch!('f32'), await torch!('bf16')];
  });
  afterAll(async () => {
    await full?.dispose();
    await half?.dispose();
  });

  it(`follows the loss of f32 over ${STEPS} steps`, async () => {
    const [expected, got] = [await play(full, STEPS, 1e-3), await play(half, STEPS, 1e-3)];
    // What is followed must go somewhere.
    expect(expected[0]!.loss).toBeCloseTo(Math.LN2, 4);
    expect(expected.at(-1)!.loss).toBeLessThan(0.4);
    const differences = got.map(({ loss }, i) => Math.abs(loss - expected[i]!.loss));
    expect(Math.max(...differences)).toBeLessThan(BAND.step);
    expect(differences.reduce((a, b) => a + b) / STEPS).toBeLessThan(BAND.mean);
  });

  it('starts with every margin exactly 0', async () => {
    const [first] = await play(half, 1, 0);
    expect(first!.pairs).toMatchObject({ 'rewards/real': 0, 'rewards/generated': 0, 'rewards/accuracies': 0.5 });
    expect(first!.loss).toBeCloseTo(Math.LN2, 6);
  });

  it("learns at the paper's rate of 5e-7: the weights that move are f32", async () => {
    await writeWeights(half);
    const before = new Map<string, Float32Array>();
    for (const { name } of tinyModel.parameters) before.set(name, await half.readState(name));
    await play(half, 2, 5e-7);
    let moved = 0;
    let count = 0;
    for (const [name, weights] of before) {
      const after = await half.readState(name);
      weights.forEach((weight, i) => {
        count++;
        const step = Math.abs(after[i]! - weight);
        if (step > 0) moved++;
        // RMSProp's first step is at most rate / √(1 − α), ten times the rate; the second is smaller.
        expect(step).toBeLessThan(2e-5);
      });
    }
    expect(moved / count).toBeGreaterThan(0.9);
  });
});
