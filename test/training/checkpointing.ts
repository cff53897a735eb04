// Gradient checkpointing on an engine: bit for bit the training that it is without.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../../src/engine/index.ts';
import { trainable, withAdapter } from '../../src/models/index.ts';
import { type Objective, openTrainer } from '../../src/training/index.ts';
import { normals } from '../../src/util/index.ts';
import { tinyModel, writeWeights } from '../generation/tiny.ts';
import { tinyHumans, tinyPairs } from './tiny-pairs.ts';

const lora = { rank: 3, alpha: 6, rankStabilized: false, rankPattern: {}, alphaPattern: {} } as const;
const models = {
  'all weights': tinyModel,
  'an adapter': withAdapter(tinyModel, { ...lora, dropout: 0, targets: 'all-linear' }),
  'an adapter with dropout': withAdapter(tinyModel, { ...lora, dropout: 0.3, targets: 'all-linear' }),
  'an adapter on some layers': withAdapter(tinyModel, { ...lora, dropout: 0.3, targets: ['layers.1.*.v_proj'] }),
};
const spin: Objective = { kind: 'spin', beta: 0.5, sftWeight: 0.2 };

export function checkpointingSuite(open: () => Promise<Engine>): void {
  let engine: Engine;
  beforeAll(async () => {
    engine = await open();
  });
  afterAll(() => engine.dispose());

  /** Figures of three steps, and all that is learned after them. */
  async function train(model: typeof tinyModel, objective: Objective, gradientCheckpointing: boolean) {
    await writeWeights(engine);
    for (const { name, shape } of trainable(model)) {
      if (model === tinyModel) break;
      await engine.createState(name, shape);
      const values = normals(shape[0]! * shape[1]!, 1, name).map((x) => x / 3);
      await engine.writeState(name, values);
    }
    const trainer = await openTrainer(engine, model, {
      objective,
      optimizer: { kind: 'adamw', beta1: 0.9, beta2: 0.9, eps: 1, weightDecay: 0 },
      maxGradNorm: 1,
      microBatchTokens: 40,
      masks: { seed: 5, iteration: 1 },
      gradientCheckpointing,
    });
    const figures = [];
    for (const step of [1, 2, 3]) {
      figures.push(await trainer.step(objective.kind === 'sft' ? tinyHumans : tinyPairs, step, 0.01));
    }
    const learned = new Map<string, Float32Array>();
    for (const name of trainer.states) learned.set(name, await engine.readState(name));
    await trainer.dispose();
    return { figures, learned };
  }

  describe('gradient checkpointing', () => {
    it.each(Object.keys(models) as (keyof typeof models)[])('gives the same bits: %s', async (which) => {
      expect(await train(models[which], spin, true)).toEqual(await train(models[which], spin, false));
    });

    it('gives the same bits: SFT', async () => {
      expect(await train(tinyModel, { kind: 'sft' }, true)).toEqual(await train(tinyModel, { kind: 'sft' }, false));
    });
  });
}
