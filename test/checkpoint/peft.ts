// Adapters of PEFT on any engine: logits, gradients of A and B, and what we write is what we read. Fixtures: scripts/fixtures/adapters.py.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel, saveModel } from '../../src/checkpoint/index.ts';
import type { Engine } from '../../src/engine/index.ts';
import { readSafetensorsHeader, readTensorF32 } from '../../src/formats/index.ts';
import { trainable } from '../../src/models/index.ts';
import { type Group, packGroups } from '../../src/pairs/index.ts';
import { gradientName, openScorer, trainGraph, trainInputs } from '../../src/training/index.ts';
import { relativeError } from '../training/tiny-pairs.ts';
import { tempDir } from '../util/temp.ts';

export const peftFixtures = new URL('../fixtures/peft/', import.meta.url).pathname;
export const sequences = (
  JSON.parse(readFileSync(join(peftFixtures, '../llama/untied/expected.json'), 'utf8')) as {
    sequences: { ids: number[] }[];
  }
).sequences.map(({ ids }) => ids);
const BOUND = 1e-5;
const PROMPT = 3;

async function tensors(file: string): Promise<Map<string, Float32Array>> {
  const read = new Map<string, Float32Array>();
  for (const [name, info] of (await readSafetensorsHeader(file)).tensors) read.set(name, await readTensorF32(info));
  return read;
}

/** log softmax(logits)[target] of rows 0, 1, … of logits [T,V]. */
export function logProbsOf(logits: Float32Array, targets: readonly number[]): number[] {
  const width = 64;
  return targets.map((target, row) => {
    const scores = logits.subarray(row * width, (row + 1) * width);
    const largest = Math.max(...scores);
    return scores[target]! - largest - Math.log(scores.reduce((sum, s) => sum + Math.exp(s - largest), 0));
  });
}

/** Call it at the top of a test file with a function that opens an engine in f32. */
export function peftSuite(name: string, open: () => Promise<Engine>): void {
  describe.each(['plain', 'rslora', 'regex'])(`PEFT's adapter "%s" on the ${name} engine`, (variant) => {
    const dir = join(peftFixtures, variant);
    let engine: Engine;
    beforeAll(async () => {
      engine = await open();
    });
    afterAll(() => engine.dispose());

    it('gives the logits that PEFT gets', async () => {
      const { model } = await loadModel(engine, dir);
      const scorer = await openScorer(engine, model);
      const expected = await tensors(join(dir, 'logits.safetensors'));
      for (const [i, ids] of sequences.entries()) {
        const group = {
          promptIds: Int32Array.from(ids.slice(0, 1)),
          responses: [{ ids: Int32Array.from(ids.slice(1)) }],
        };
        const [[got]] = (await scorer.score([group], 1000)) as [[Float32Array]];
        const wanted = Float32Array.from(logProbsOf(expected.get(`${i}`)!, ids.slice(1)));
        expect(relativeError(got, wanted)).toBeLessThan(BOUND);
      }
      await scorer.dispose();
    });

    it('has the gradients of A and B that PEFT has', async () => {
      const { model } = await loadModel(engine, dir);
      // PEFT's numbers are without dropout.
      const { dropout: _, ...without } = model;
      for (const { name, shape } of trainable(model)) await engine.createState(gradientName(name), shape);
      const groups: Group[] = sequences.map((ids) => ({
        promptIds: Int32Array.from(ids.slice(0, PROMPT)),
        responses: [{ ids: Int32Array.from(ids.slice(PROMPT)) }],
      }));
      const realTokens = groups.reduce((n, { responses }) => n + responses[0]!.ids.length, 0);
      const program = await engine.compile(trainGraph(without, { kind: 'sft' }));
      await program.run(trainInputs(packGroups(groups), { kind: 'sft' }, { pairs: 3, realTokens }));
      await program.dispose();
      const expected = await tensors(join(dir, 'grad.safetensors'));
      expect(
        trainable(model)
          .map(({ name }) => `base_model.model.${name}`)
          .sort(),
      ).toEqual([...expected.keys()].sort());
      for (const { name } of trainable(model)) {
        const got = await engine.readState(gradientName(name));
        expect(relativeError(got, expected.get(`base_model.model.${name}`)!), name).toBeLessThan(5 * BOUND);
      }
    });

    it('is written as it was read', async () => {
      const to = join(await tempDir(), 'adapter');
      await saveModel(engine, await loadModel(engine, dir), to);
      expect(await tensors(join(to, 'adapter_model.safetensors'))).toEqual(
        await tensors(join(dir, 'adapter_model.safetensors')),
      );
      const config = (from: string) => JSON.parse(readFileSync(join(from, 'adapter_config.json'), 'utf8'));
      const { r, lora_alpha, lora_dropout, use_rslora, rank_pattern, alpha_pattern } = config(dir);
      expect(config(to)).toMatchObject({ r, lora_alpha, lora_dropout, use_rslora, rank_pattern, alpha_pattern });
      expect((await loadModel(engine, to)).adapter!.modules).toEqual((await loadModel(engine, dir)).adapter!.modules);
    });
  });
}
