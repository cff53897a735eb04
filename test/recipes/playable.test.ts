// `selfplay doctor --model`: whether a model can be played, in a sentence that names what keeps it from that.
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createModel, readModelConfig, saveModel } from '../../src/checkpoint/index.ts';
import { onnxEngine } from '../../src/engine/index.ts';
import { playable } from '../../src/recipes/playable.ts';
import { tempDir } from '../util/temp.ts';
import { listener, writeTinyTokenizer } from './tiny-game.ts';

const fixtures = join(import.meta.dirname, '../fixtures/architectures');

/** A copy of a fixture with a tokenizer, its config changed. */
async function modelWith(name: string, changes: Record<string, unknown>): Promise<string> {
  const dir = join(await tempDir(), name);
  await cp(join(fixtures, name, 'model'), dir, { recursive: true });
  await writeTinyTokenizer(dir, [{ question: '1+1', answer: '2' }]);
  const file = join(dir, 'config.json');
  const config = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  await writeFile(file, JSON.stringify({ ...config, ...changes }));
  return dir;
}

describe('whether a model can be played', () => {
  it('is said with its type, its size and its context', async () => {
    const [home, engine] = [await tempDir(), await onnxEngine({ threads: 1 })];
    const dir = join(home, 'model');
    await writeTinyTokenizer(join(home, 'tokenizer'), [{ question: '1+1', answer: '2' }]);
    const config = await readModelConfig(join(fixtures, 'phi3/model'));
    const loaded = await createModel(engine, { ...config, vocab_size: 272 }, 1, join(home, 'tokenizer'));
    await saveModel(engine, loaded, dir);
    await engine.dispose();
    expect(await playable(dir, listener().context)).toEqual({
      model: dir,
      playable: true,
      // Original length of LongRoPE: 64 of 256.
      sentence: expect.stringMatching(
        /^This model can be played: phi3, 0\.0126 million parameters, texts of up to 64 tokens\.$/,
      ),
    });
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ['mistral', { model_type: 'mixtral' }, /model_type "mixtral" is not supported \(.*config\.json:model_type\)\.$/],
    ['mistral', { hidden_act: 'relu' }, /hidden_act: is "relu", which is not supported; "silu" is\.$/],
    ['mistral', { num_hidden_layers: 3 }, /the weights do not fit config\.json: missing: model\.layers\.2\./],
    [
      'mistral',
      { quantization_config: { quant_method: 'gptq', bits: 4 } },
      /quantization_config: the weights are quantised \(gptq\), which is not supported\.$/,
    ],
    [
      'qwen3',
      { rope_parameters: { rope_type: 'proportional', rope_theta: 1e4 } },
      /rope_parameters\.rope_type: "proportional" is not supported; default, linear, llama3, yarn, dynamic, longrope are/,
    ],
    [
      'phi3',
      { rope_parameters: { rope_type: 'linear', factor: 2 } },
      /rope_type: "linear" is not supported; default, lo/,
    ],
    ['gemma2', { sliding_window: null }, /sliding_window: layer 0 has a window of no width\.$/],
    ['gpt2', { activation_function: 'relu', n_head: 3 }, /n_head 3; activation_function: is "relu"/],
  ])('%s %j: what keeps it from that is named', async (name, changes, reason) => {
    const { playable: can, sentence } = await playable(await modelWith(name, changes), listener().context);
    expect(sentence).toMatch(reason);
    expect(sentence).not.toContain('\n');
    expect(can).toBe(false);
  });

  it('needs a tokenizer that it knows', async () => {
    const dir = await modelWith('mistral', {});
    expect((await playable(dir, listener().context)).sentence).toMatch(
      /cannot be played: the model knows 64 tokens, its tokenizer needs \d+/,
    );
  });

  it('needs a tokenizer', async () => {
    const { sentence } = await playable(join(fixtures, 'mistral/model'), listener().context);
    expect(sentence).toMatch(/^This model cannot be played: .*tokenizer\.json/);
  });
});
