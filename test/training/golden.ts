// Tiny Llamas against PyTorch and transformers, on any engine: log-probs, losses, every gradient, ten steps of each optimizer.
// The fixtures are made by scripts/fixtures/llama.py. Bound: relative L2 error 1e-4 per tensor.
import { readFileSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LoadedModel, loadModel } from '../../src/checkpoint/index.ts';
import type { Engine } from '../../src/engine/index.ts';
import { readSafetensorsHeader, readTensorF32 } from '../../src/formats/index.ts';
import { type Group, packGroups } from '../../src/pairs/index.ts';
import {
  gradientName,
  type Objective,
  openScorer,
  openTrainer,
  trainGraph,
  trainInputs,
} from '../../src/training/index.ts';
import { tempDir } from '../util/temp.ts';

const fixtures = new URL('../fixtures/llama/', import.meta.url).pathname;
const BOUND = 1e-4;

interface Answer {
  ids: number[];
  logprobs: number[];
  opponentLogprobs: number[];
}
interface Expected {
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
  sft: { loss: number; gradients: string };
  training: {
    optimizer: 'adamw' | 'rmsprop';
    options: { lr: number; eps: number; weight_decay?: number; betas?: [number, number]; alpha?: number };
    clipNorm: number;
    beta: number;
    steps: { loss: number; gradNorm: number }[];
    weights: string;
  }[];
}

async function tensors(file: string): Promise<Map<string, Float32Array>> {
  const { tensors: infos } = await readSafetensorsHeader(file);
  const read = new Map<string, Float32Array>();
  for (const [name, info] of infos) read.set(name, await readTensorF32(info));
  return read;
}

function relativeError(got: Float32Array, expected: Float32Array): number {
  let difference = 0;
  let size = 0;
  expected.forEach((x, i) => {
    difference += (got[i]! - x) ** 2;
    size += x * x;
  });
  return Math.sqrt(difference / size);
}

const ints = (ids: number[]) => Int32Array.from(ids);

/** Call it at the top of a test file with a function that opens an engine in f32. */
export function goldenSuite(name: string, open: () => Promise<Engine>): void {
  describe(`golden fixtures on the ${name} engine`, () => {
    describe.each(['tied', 'untied'])('%s', (variant) => {
      const dir = join(fixtures, variant);
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
        for (const [name, gradient] of known) {
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

      it('gives the SFT loss and every gradient', async () => {
        const { loss } = await gradientsOf({ kind: 'sft' }, humans);
        expect(loss).toBeCloseTo(expected.sft.loss, 5);
        await expectGradients(expected.sft.gradients);
      });

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
        });
        for (const [i, step] of run.steps.entries()) {
          const { loss, gradNorm } = await trainer.step(pairs, i + 1, lr);
          expect(Math.abs(loss / step.loss - 1)).toBeLessThan(BOUND);
          expect(Math.abs(gradNorm / step.gradNorm - 1)).toBeLessThan(BOUND);
        }
        for (const [name, weights] of await tensors(join(dir, run.weights))) {
          expect(relativeError(await engine.readState(name), weights), name).toBeLessThan(BOUND);
        }
        await trainer.dispose();
        await loadModel(engine, join(dir, 'model'));
      });
    });

    describe('other spellings and files', () => {
      const expected = JSON.parse(readFileSync(join(fixtures, 'tied/expected.json'), 'utf8')) as Expected;

      /** rope-parameters is only a config, for the weights of the tied model. */
      async function modelDirectory(variant: string): Promise<string> {
        if (variant !== 'rope-parameters') return join(fixtures, variant, 'model');
        const dir = await tempDir();
        await copyFile(join(fixtures, variant, 'config.json'), join(dir, 'config.json'));
        await copyFile(join(fixtures, 'tied/model/model.safetensors'), join(dir, 'model.safetensors'));
        return dir;
      }

      it.each(['wide-heads', 'sharded-bf16', 'sharded-f16', 'rope-parameters'])(
        '%s gives the logits of transformers',
        async (variant) => {
          const engine = await open();
          const { model } = await loadModel(engine, await modelDirectory(variant));
          const scorer = await openScorer(engine, model);
          const logits = await tensors(join(fixtures, variant, 'logits.safetensors'));
          for (const [i, { ids }] of expected.sequences.entries()) {
            const [[scores]] = (await scorer.score(
              [{ promptIds: ints(ids.slice(0, 1)), responses: [{ ids: ints(ids.slice(1)) }] }],
              1000,
            )) as [[Float32Array]];
            const row = logits.get(String(i))!;
            const known = ids.slice(1).map((id, t) => {
              const at = row.subarray(t * model.vocabSize, (t + 1) * model.vocabSize);
              const top = Math.max(...at);
              return at[id]! - top - Math.log(at.reduce((sum, x) => sum + Math.exp(x - top), 0));
            });
            expect(relativeError(scores, Float32Array.from(known))).toBeLessThan(BOUND);
          }
          await engine.dispose();
        },
      );
    });
  });
}
