// Every architecture there and back: a model directory, written as a GGUF file, and that file alone as a model compute the same; and what
// such a file cannot say is refused.

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel, openWholeModel, writeGgufModel } from '../../src/checkpoint/index.ts';
import { logitsGraph } from '../../src/checkpoint/logits.ts';
import { type Engine, ints, onnxEngine } from '../../src/engine/index.ts';
import { relativeError } from '../training/goldenModel.ts';
import { tempDir } from '../util/temp.ts';
import { TINY } from './tiny-architectures.ts';
import { writeTinyModel } from './tiny-llama.ts';

const IDS = Int32Array.from({ length: 20 }, (_, i) => (i * 37 + 11) % 260);

describe('a GGUF file alone', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await onnxEngine({ threads: 1 });
  });
  afterAll(() => engine.dispose());

  async function logits(path: string): Promise<Float32Array> {
    const { model } = await loadModel(engine, path);
    const program = await engine.compile(logitsGraph(model));
    const T = IDS.length;
    const { logits: found } = await program.run({
      ids: ints(IDS.slice()),
      positions: ints(IDS.map((_, i) => i)),
      segments: ints([0, T, 0, T, 0, 0], [1, 6]),
    });
    await program.dispose();
    return found!.data as Float32Array;
  }

  it.each(Object.keys(TINY))('is the same %s', async (modelType) => {
    const model = await writeTinyModel(await tempDir(), TINY[modelType]!);
    const [exact, rounded] = [join(await tempDir(), 'f32.gguf'), join(await tempDir(), 'q8_0.gguf')];
    const whole = await openWholeModel(model);
    await writeGgufModel(whole, exact, 'F32', { name: 'x' });
    expect(await writeGgufModel(whole, rounded, 'Q8_0', { name: 'x' })).toMatchObject({ unblocked: 0 });
    const own = await logits(model);
    // Gemma's norms are stored as 1 + w, which rounds them.
    expect(relativeError(await logits(exact), own)).toBeLessThan(modelType.startsWith('gemma') ? 1e-6 : 1e-12);
    const error = relativeError(await logits(rounded), own);
    expect(error).toBeGreaterThan(1e-4);
    expect(error).toBeLessThan(0.2);
  });
});

describe('refuses to write', () => {
  it.each<[string, string, Record<string, unknown>]>([
    ['scale_attn_by_inverse_layer_idx', 'gpt2', { scale_attn_by_inverse_layer_idx: true }],
    ['scale_attn_weights', 'gpt2', { scale_attn_weights: false }],
    ['no_rope_layers', 'smollm3', { no_rope_layers: [1, 0, 1, 1] }],
    ['no_rope_layer_interval', 'smollm3', { no_rope_layer_interval: 3 }],
    ['layer_types', 'gemma2', { layer_types: Array(4).fill('sliding_attention') }],
    ['attention_bias', 'qwen3', { attention_bias: true }],
    ['final_logit_softcapping', 'gemma2', { final_logit_softcapping: null }],
  ])('%s of %s', async (field, modelType, change) => {
    const model = await openWholeModel(await writeTinyModel(await tempDir(), { ...TINY[modelType], ...change }));
    const written = writeGgufModel(model, join(await tempDir(), 'x.gguf'), 'F32', { name: 'x' });
    await expect(written).rejects.toThrow(field);
  });
});
