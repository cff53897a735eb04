// One stage of training outside a run directory, for controls that the recipes do not offer (swapped labels, corrupted
// answers, another opponent). Same batches, schedule and optimizer as the game's.

import type { Engine } from '../../src/engine/index.ts';
import type { LanguageModel } from '../../src/models/index.ts';
import { type Group, packedLength } from '../../src/pairs/index.ts';
import { learningRateAt, type Objective, openScorer, openTrainer } from '../../src/training/index.ts';
import { shuffled } from '../../src/util/index.ts';
import { spin } from './settings.ts';

/** Trains the weights in the engine for `steps` steps (default: one pass) of linear decay. */
export async function teach(
  engine: Engine,
  model: LanguageModel,
  groups: readonly Group[],
  objective: Objective,
  { seed, learningRate = spin.learning_rate, steps }: { seed: number; learningRate?: number; steps?: number },
): Promise<void> {
  const perEpoch = Math.ceil(groups.length / spin.batch_size);
  const total = steps ?? perEpoch;
  const trainer = await openTrainer(engine, model, {
    objective,
    optimizer: { kind: 'adamw', beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 },
    maxGradNorm: 1,
    microBatchTokens: spin.micro_batch_tokens,
  });
  const schedule = { kind: 'linear', learningRate, warmupRatio: 0.1 } as const;
  for (let step = 0; step < total; step++) {
    const order = shuffled(groups, seed, `control epoch ${Math.floor(step / perEpoch)}`);
    const at = (step % perEpoch) * spin.batch_size;
    const batch = order.slice(at, at + spin.batch_size).sort((a, b) => packedLength(a) - packedLength(b));
    await trainer.step(batch, step + 1, learningRateAt(schedule, step, total));
  }
  await trainer.dispose();
}

/** The groups with log-probs under the weights that are in the engine. */
export async function withReference(engine: Engine, model: LanguageModel, groups: readonly Group[]): Promise<Group[]> {
  const scorer = await openScorer(engine, model);
  const scores = await scorer.score(groups, spin.micro_batch_tokens);
  await scorer.dispose();
  return groups.map(({ promptIds, responses }, g) => ({
    promptIds,
    responses: responses.map(({ ids }, r) => ({ ids, reference: scores[g]![r]! })),
  }));
}
