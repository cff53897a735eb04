/**
 * A tiny model against PyTorch and transformers, on any engine: log-probs, losses, every gradient, steps of the optimizers, a
 * greedy answer with cache; what of it a fixture has (scripts/fixtures/golden.py). Bound: relative L2 error 1e-4 per tensor.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LoadedModel, loadModel } from '../../src/checkpoint/index.ts';
import type { Engine } from '../../src/engine/index.ts';
import { readSafetensorsHeader, readTensorF32 } from '../../src/formats/index.ts';
import { generate, greedySampling } from '../../src/generation/index.ts';
import type { Parameter } from '../../src/models/index.ts';
import { type Group, packGroups } from '../../src/pairs/index.ts';
import {
  gradientName,
  type Objective,
  openScorer,
  openTrainer,
  trainGraph,
  trainInputs,
} from '../../src/training/index.ts';

export const BOUND = 1e-4;

interface Answer {
  ids: number[];
  logprobs: number[];
  opponentLogprobs: number[];
}
export interface Expected {
  sequences: { ids: number[]; logprobs: number[] }[];
  pairs: { prompt: number[]; real: Answer; generated: Answer }[];
  spin: {
    beta: number;
    gradients: string;
    loss: number;
    margins: number[];
    rewardsReal: number[];
    rewardsGenerated: number[];
  }[];
  sft?: { loss: number; gradients: string };
  training: {
    optimizer: 'adamw' | 'rmsprop';
    options: { lr: number; eps: number; weight_decay?: number; betas?: [number, number]; alpha?: number };
    clipNorm: number;
    beta: number;
    steps: { loss: number; gradNorm: number }[];
    weights: string;
  }[];
  greedy?: { prompt: number[]; ids: number[]; logprobs: number[] };
}

export async function tensors(file: string): Promise<Map<string, Float32Array>> {
  const { tensors: infos } = await readSafetensorsHeader(file);
  const read = new Map<string, Float32Array>();
  for (const [name, info] of infos) read.set(name, await readTensorF32(info));
  return read;
}

export function relativeError(got: Float32Array, expected: Float32Array): number {
  let difference = 0;
  let size = 0;
  expected.forEach((x, i) => {
    difference += (got[i]! - x) ** 2;
    size += x * x;
  });
  return Math.sqrt(difference / size);
}

export const ints = (ids: number[]) => Int32Array.from(ids);

/** The values of a file's tensor as the engine has them. */
function inLayout(values: Float32Array, { shape, transposed }: Parameter): Float32Array {
  if (!transposed) return values;
  const [N, K] = shape as [number, number];
  return values.map((_, i) => values[(i % K) * N + Math.floor(i / K)]!);
}

/**
 * @param dir holds the fixture
 * @param open opens an engine in f32
 * @param gradientCheckpointing in the steps of the optimizers
 */
export function goldenModel(
  title: string,
  dir: string,
  open: () => Promise<Engine>,
  gradientCheckpointing = false,
): void {
  describe(title, () => {
    const expected = JSON.parse(readFileSync(join(dir, 'expected.json'), 'utf8')) as Expected;
    const pairs: Group[] = expected.pairs.map(({ prompt, real, generated }) => ({
      promptIds: ints(prompt),
      responses: [real, generated].map(({ ids, opponentLogprobs }) => ({
        ids: ints(ids),
        reference: Float32Array.from(opponentLogprobs),
      })),
    }));
    const humans: Group[] = pairs.map(({ promptIds, responses }) => ({ promptIds, responses: [responses[0]!] }));
    let engine: Engine;
    let loaded: LoadedModel;

    beforeAll(async () => {
      engine = await open();
      loaded = await loadModel(engine, join(dir, 'model'));
    });
    afterAll(() => engine?.dispose());

    it('gives the log-probs of transformers, for sequences and for packed pairs', async () => {
      const scorer = await openScorer(engine, loaded.model);
      const sequences: Group[] = expected.sequences.map(({ ids }) => ({
        promptIds: ints(ids.slice(0, 1)),
        responses: [{ ids: ints(ids.slice(1)) }],
      }));
      const scores = await scorer.score([...sequences, ...pairs], 1000);
      const known = [
        ...expected.sequences.map(({ logprobs }) => [logprobs]),
        ...expected.pairs.map(({ real, generated }) => [real.logprobs, generated.logprobs]),
      ];
      expect(scores.length).toBe(known.length);
      known.forEach((answers, i) => {
        answers.forEach((logprobs, j) => {
          expect(relativeError(scores[i]![j]!, Float32Array.from(logprobs))).toBeLessThan(BOUND);
        });
      });
      await scorer.dispose();
    });

    async function gradientsOf(objective: Objective, groups: readonly Group[]) {
      const realTokens = groups.reduce((n, { responses }) => n + responses[0]!.ids.length, 0);
      for (const { name, shape } of loaded.model.parameters) await engine.createState(gradientName(name), shape);
      const program = await engine.compile(trainGraph(loaded.model, objective));
      // One micro-batch per group: accumulation must give the gradient of the whole batch.
      let loss = 0;
      const rewards: { real: number[]; generated: number[] } = { real: [], generated: [] };
      for (const group of groups) {
        const totals = { pairs: groups.length, realTokens };
        const results = await program.run(trainInputs(packGroups([group]), objective, totals));
        loss += results['loss']!.data[0]!;
        rewards.real.push(...(results['realReward']?.data ?? []));
        rewards.generated.push(...(results['generatedReward']?.data ?? []));
      }
      await program.dispose();
      return { loss, rewards };
    }
    async function expectGradients(file: string) {
      const known = await tensors(join(dir, file));
      expect([...known.keys()].sort()).toEqual(loaded.model.parameters.map(({ name }) => name).sort());
      for (const parameter of loaded.model.parameters) {
        const { name } = parameter;
        const gradient = inLayout(known.get(name)!, parameter);
        expect(relativeError(await engine.readState(gradientName(name)), gradient), name).toBeLessThan(BOUND);
      }
    }

    it.each(expected.spin)('gives the SPIN loss, rewards and every gradient at beta $beta', async (spin) => {
      const objective: Objective = { kind: 'spin', beta: spin.beta, sftWeight: 0 };
      const { loss, rewards } = await gradientsOf(objective, pairs);
      expect(loss).toBeCloseTo(spin.loss, 5);
      expect(relativeError(Float32Array.from(rewards.real), Float32Array.from(spin.rewardsReal))).toBeLessThan(BOUND);
      expect(
        relativeError(Float32Array.from(rewards.generated), Float32Array.from(spin.rewardsGenerated)),
      ).toBeLessThan(BOUND);
      await expectGradients(spin.gradients);
    });

    const { sft, greedy } = expected;
    if (sft) {
      it('gives the SFT loss and every gradient', async () => {
        const { loss } = await gradientsOf({ kind: 'sft' }, humans);
        expect(loss).toBeCloseTo(sft.loss, 5);
        await expectGradients(sft.gradients);
      });
    }

    it.each(expected.training)('takes the ten steps of torch with $optimizer', async (run) => {
      const { lr, eps, weight_decay = 0, betas = [0, 0], alpha = 0 } = run.options;
      await loadModel(engine, join(dir, 'model'));
      const trainer = await openTrainer(engine, loaded.model, {
        objective: { kind: 'spin', beta: run.beta, sftWeight: 0 },
        optimizer:
          run.optimizer === 'adamw'
            ? { kind: 'adamw', beta1: betas[0], beta2: betas[1], eps, weightDecay: weight_decay }
            : { kind: 'rmsprop', alpha, eps },
        maxGradNorm: run.clipNorm,
        microBatchTokens: 40,
        gradientCheckpointing,
      });
      for (const [i, step] of run.steps.entries()) {
        const { loss, gradNorm } = await trainer.step(pairs, i + 1, lr);
        expect(Math.abs(loss / step.loss - 1)).toBeLessThan(BOUND);
        expect(Math.abs(gradNorm / step.gradNorm - 1)).toBeLessThan(BOUND);
      }
      const known = await tensors(join(dir, run.weights));
      for (const parameter of loaded.model.parameters) {
        const { name } = parameter;
        const weights = inLayout(known.get(name)!, parameter);
        expect(relativeError(await engine.readState(name), weights), name).toBeLessThan(BOUND);
      }
      await trainer.dispose();
      await loadModel(engine, join(dir, 'model'));
    });

    if (greedy) {
      it('writes the greedy answer of transformers, with its cache', async () => {
        const { prompt, ids, logprobs } = greedy;
        // Beside another row, so that the cache has more than one slot and rows of different lengths.
        const others = expected.sequences[2]!.ids;
        const [answer] = await generate(
          engine,
          loaded.model,
          [
            { id: 'answer', promptIds: ints(prompt) },
            { id: 'other', promptIds: ints(others) },
          ],
          {
            maxNewTokens: ids.length,
            endIds: new Set(),
            sampling: greedySampling,
            seed: 0,
            iteration: 0,
            batchSize: 2,
          },
        );
        expect([...answer!.ids]).toEqual(ids);
        expect(relativeError(answer!.logProbs, Float32Array.from(logprobs))).toBeLessThan(BOUND);
      });
    }
  });
}
