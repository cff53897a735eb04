// Tiny Llamas against PyTorch and transformers, on any engine: log-probs, losses, every gradient, ten steps of each optimizer.
// The fixtures are made by scripts/fixtures/llama.py. Bound: relative L2 error 1e-4 per tensor.
import { readFileSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadModel } from '../../src/checkpoint/index.ts';
import type { Engine } from '../../src/engine/index.ts';
import { openScorer } from '../../src/training/index.ts';
import { tempDir } from '../util/temp.ts';
import { BOUND, type Expected, goldenModel, ints, relativeError, tensors } from './goldenModel.ts';

const fixtures = new URL('../fixtures/llama/', import.meta.url).pathname;

/** Call it at the top of a test file with a function that opens an engine in f32. */
export function goldenSuite(name: string, open: () => Promise<Engine>): void {
  describe(`golden fixtures on the ${name} engine`, () => {
    for (const variant of ['tied', 'untied']) goldenModel(variant, join(fixtures, variant), open);

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
