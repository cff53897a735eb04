// A GGUF file as a model: its config, weights, tokenizer and identity; a model written as one; and files that lie.

import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { configOfGguf, metadataOfConfig } from '../../src/checkpoint/gguf-config.ts';
import { ggufName, huggingFaceName, tensorLayout, toGguf, toHuggingFace } from '../../src/checkpoint/gguf-names.ts';
import {
  hashModelDirectory,
  hashModelFiles,
  loadModel,
  modelRevision,
  openWeights,
  openWholeModel,
  readModelConfig,
  saveModel,
  writeGgufModel,
} from '../../src/checkpoint/index.ts';
import { onnxEngine } from '../../src/engine/index.ts';
import { type GgufTensorToWrite, type GgufValue, readGguf, writeGguf } from '../../src/formats/index.ts';
import { loadTokenizer } from '../../src/tokens/index.ts';
import { linkDirectory, linkedDirectory, SelfplayError } from '../../src/util/index.ts';
import { tempDir } from '../util/temp.ts';
import { writeTinyLlama } from './tiny-llama.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/', import.meta.url));
const text = (value: string): GgufValue => ({ type: 'string', value });

describe('names of tensors', () => {
  it('are those of the Python package gguf, both ways', async () => {
    const known = JSON.parse(await readFile(join(FIXTURES, 'gguf/names.json'), 'utf8')) as object;
    for (const [architecture, names] of Object.entries(known) as [string, Record<string, string>][]) {
      const layout = tensorLayout(architecture, 'x');
      expect(Object.keys(names).length).toBeGreaterThanOrEqual(8);
      for (const [huggingFace, gguf] of Object.entries(names)) {
        expect([architecture, ggufName(layout, `${huggingFace}.weight`)]).toEqual([architecture, `${gguf}.weight`]);
        expect(huggingFaceName(layout, 'x', `${gguf}.weight`)).toBe(`${huggingFace}.weight`);
      }
    }
  });

  it('that do not exist are refused', () => {
    const layout = tensorLayout('llama', 'x');
    for (const name of [
      'blk.0.attn_q_norm.weight',
      'attn_q.weight',
      'blk.x.attn_q.weight',
      'blk.0.token_embd.weight',
    ]) {
      expect(() => huggingFaceName(layout, 'x', name)).toThrow(`unknown tensor "${name}"`);
    }
    expect(() => ggufName(layout, 'model.layers.0.self_attn.q_norm.weight')).toThrow('GGUF has no name');
    expect(() => ggufName(layout, 'model.layers.z.mlp.up_proj.weight')).toThrow('GGUF has no name');
  });
});

describe('tensors that are stored otherwise', () => {
  const values = Float32Array.from({ length: 8 }, (_, i) => i);
  it.each([
    // Two heads of four rows of one column: rows 0 2 | 1 3 of a head stand as 0 1 2 3 in the file.
    [{ what: 'permute', heads: 2 }, [8, 1], [0, 2, 1, 3, 4, 6, 5, 7]],
    [{ what: 'transpose' }, [2, 4], [0, 4, 1, 5, 2, 6, 3, 7]],
    [{ what: 'plus one' }, [8], [1, 2, 3, 4, 5, 6, 7, 8]],
    [undefined, [8], [0, 1, 2, 3, 4, 5, 6, 7]],
  ] as const)('%o', (change, shape, stored) => {
    expect([...toGguf(values, shape, change)]).toEqual(stored);
    const inFile = change?.what === 'transpose' ? [...shape].reverse() : shape;
    expect([...toHuggingFace(toGguf(values, shape, change), inFile, change)]).toEqual([...values]);
  });
});

/** Fields of a small config that all families have. */
const common = {
  vocab_size: 6,
  max_position_embeddings: 64,
  hidden_size: 8,
  num_hidden_layers: 2,
  intermediate_size: 12,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  rms_norm_eps: 1e-6,
  rope_theta: 50_000,
  head_dim: 4,
  tie_word_embeddings: true,
};
const silu = { hidden_act: 'silu' };
const gelu = { hidden_activation: 'gelu_pytorch_tanh' };
const sizes = { headDim: 4, contextLength: 64 };

/** Writes a file with the metadata of a config and an embedding, and reads the config back. */
async function throughFile(
  config: Record<string, unknown>,
  change: Record<string, GgufValue | undefined> = {},
  tensors: GgufTensorToWrite[] = [],
): Promise<Record<string, unknown>> {
  const { architecture, metadata, rope } = metadataOfConfig(config, sizes);
  const entries = new Map<string, GgufValue>([
    ['general.architecture', text(architecture)],
    ...metadata,
    ...rope.metadata,
  ]);
  for (const [key, value] of Object.entries(change)) {
    if (value === undefined) entries.delete(key);
    else entries.set(key, value);
  }
  const data = async () => new Float32Array(48);
  const all: GgufTensorToWrite[] = [{ name: 'token_embd.weight', type: 'F32', shape: [6, 8], data }, ...tensors];
  const { divisors } = rope;
  if (divisors) all.push({ name: 'rope_freqs.weight', type: 'F32', shape: [2], data: async () => divisors });
  const file = join(await tempDir(), 'x.gguf');
  await writeGguf(file, entries, all);
  return configOfGguf(file);
}

describe('config.json from metadata', () => {
  it.each<[string, Record<string, unknown>]>([
    ['llama', { ...silu, attention_bias: false, mlp_bias: false }],
    ['mistral', { ...silu, sliding_window: 64 }],
    ['smollm3', silu],
    ['qwen2', silu],
    ['qwen3', { ...silu, attention_bias: false }],
    ['gemma', gelu],
    [
      'gemma2',
      {
        ...gelu,
        sliding_window: 16,
        attn_logit_softcapping: 50,
        final_logit_softcapping: 30,
        query_pre_attn_scalar: 4,
      },
    ],
    ['phi3', { ...silu, partial_rotary_factor: 0.5 }],
    ['olmo2', silu],
  ])('%s comes back as it was', async (modelType, own) => {
    const config = { model_type: modelType, ...common, ...own };
    expect(await throughFile(config)).toMatchObject(config);
  });

  it('gpt2 comes back as it was', async () => {
    const config = {
      model_type: 'gpt2',
      vocab_size: 6,
      n_positions: 64,
      n_embd: 8,
      n_layer: 2,
      n_inner: 32,
      n_head: 2,
      layer_norm_epsilon: 1e-5,
      activation_function: 'gelu_new',
    };
    const found = await throughFile({ ...config, n_inner: null });
    expect(found).toMatchObject(config);
    expect(found).not.toHaveProperty('rope_theta');
  });

  it('a Mistral without a window is a Llama, and one with a short window has its context cut to that', async () => {
    const mistral = { model_type: 'mistral', ...common, ...silu };
    const without = await throughFile({ ...mistral, sliding_window: null });
    expect(without).toMatchObject({ model_type: 'llama', max_position_embeddings: 64 });
    const short = await throughFile({ ...mistral, sliding_window: 16 });
    expect(short).toMatchObject({ model_type: 'mistral', max_position_embeddings: 16, sliding_window: 16 });
  });

  const llama = { model_type: 'llama', ...common, ...silu };
  it.each<[string, Record<string, unknown>]>([
    ['linear', { rope_type: 'linear', factor: 4 }],
    ['yarn', { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32, beta_fast: 16, beta_slow: 2 }],
    [
      'llama3',
      {
        rope_type: 'llama3',
        factor: 32,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 8192,
      },
    ],
  ])('positions scaled by %s come back as they were', async (_, scaling) => {
    // With this θ the slower of the two frequencies is below those that llama3 stretches.
    const expected = { rope_theta: 5e6, rope_scaling: scaling };
    expect(await throughFile({ ...llama, ...expected })).toMatchObject(expected);
    const spelledNew = { ...llama, rope_theta: undefined, rope_parameters: { ...scaling, rope_theta: 5e6 } };
    expect(await throughFile(spelledNew)).toMatchObject(expected);
  });

  it('reads the factors of LongRoPE, and the old key of linear scaling', async () => {
    const tensor = (name: string, values: number[]): GgufTensorToWrite => ({
      name,
      type: 'F32',
      shape: [values.length],
      data: async () => Float32Array.from(values),
    });
    const phi3 = { model_type: 'phi3', ...common, ...silu };
    const change = {
      'phi3.rope.scaling.original_context_length': { type: 'u32', value: 32 },
      'phi3.rope.scaling.attn_factor': { type: 'f32', value: 1.19 },
    } as const;
    const factors = [tensor('rope_factors_long.weight', [1.1, 2.5]), tensor('rope_factors_short.weight', [1, 1.05])];
    expect(await throughFile(phi3, change, factors)).toMatchObject({
      rope_scaling: {
        rope_type: 'longrope',
        long_factor: [1.1, 2.5],
        short_factor: [1, 1.05],
        original_max_position_embeddings: 32,
        attention_factor: 1.19,
      },
    });
    expect(await throughFile(llama, { 'llama.rope.scale_linear': { type: 'f32', value: 2 } })).toMatchObject({
      rope_scaling: { rope_type: 'linear', factor: 2 },
    });
  });

  const number = (value: number): GgufValue => ({ type: 'u32', value });
  it.each<[string, Record<string, GgufValue | undefined>, string]>([
    ['no architecture', { 'general.architecture': undefined }, 'architecture undefined'],
    ['an unknown architecture', { 'general.architecture': text('mamba') }, 'architecture "mamba"'],
    ['one that is a property of objects', { 'general.architecture': text('constructor') }, '"constructor"'],
    ['no width', { 'llama.embedding_length': undefined }, 'llama.embedding_length is missing'],
    ['a width of text', { 'llama.embedding_length': text('8') }, 'llama.embedding_length is not a number'],
    ['experts', { 'llama.expert_count': number(8) }, 'mixture of experts'],
    [
      'heads of no whole width',
      { 'llama.attention.key_length': undefined, 'llama.attention.head_count': number(3) },
      'is 2.66',
    ],
    ['values of another width', { 'llama.attention.value_length': number(8) }, 'is 8 and not 4'],
    ['heads that turn in part', { 'llama.rope.dimension_count': number(2) }, 'is 2 of 4 columns'],
    ['an unknown rope type', { 'llama.rope.scaling.type': text('su') }, 'llama.rope.scaling.type is "su"'],
    [
      'a factor on attention',
      { 'llama.rope.scaling.yarn_attn_factor': { type: 'f32', value: 2 } },
      'yarn_attn_factor is 2',
    ],
    ['more tokens than rows', { 'tokenizer.ggml.tokens': { type: 'strings', value: [...'abcdefg'] } }, 'has 7 entries'],
    ['a piece of a split model', { 'split.count': number(3) }, 'one of 3 pieces'],
  ])('refuses %s', async (_, change, message) => {
    await expect(throughFile(llama, change)).rejects.toThrow(message);
  });

  it('refuses factors on frequencies that it cannot explain', async () => {
    const data = async () => Float32Array.of(1, 3.5);
    const tensors: GgufTensorToWrite[] = [{ name: 'rope_freqs.weight', type: 'F32', shape: [2], data }];
    await expect(throughFile(llama, {}, tensors)).rejects.toThrow('not those of Llama 3');
  });

  it.each<[string, Record<string, unknown>, string]>([
    ['another type', { model_type: 'mamba' }, '"mamba"'],
    ['another activation', { hidden_act: 'relu' }, 'hidden_act "relu"'],
    ['windows in some layers', { model_type: 'qwen2', use_sliding_window: true }, 'use_sliding_window'],
    ['dynamic positions', { rope_scaling: { type: 'dynamic', factor: 2 } }, 'rope type "dynamic"'],
    ['YaRN with a factor of its own', { rope_scaling: { type: 'yarn', factor: 2, mscale: 1 } }, 'rope_scaling.mscale'],
    ['an attention scale', { model_type: 'gemma2', ...gelu, query_pre_attn_scalar: 7 }, 'query_pre_attn_scalar 7'],
  ])('refuses to write %s', (_, change, message) => {
    expect(() => metadataOfConfig({ ...llama, ...change }, sizes)).toThrow(message);
  });
});

describe('a model written as a GGUF file', () => {
  it('is the same model: config, weights, tokenizer; and what is saved of it is a whole directory', async () => {
    const model = await writeTinyLlama(await tempDir());
    const folder = await tempDir();
    const file = join(folder, 'tiny.gguf');
    expect(await writeGgufModel(await openWholeModel(model), file, 'F32', { name: 'x' })).toEqual({
      tensors: 12 + 9,
      unblocked: 0,
    });

    const config = await readModelConfig(file);
    const { dtype, torch_dtype, ...original } = await readModelConfig(model);
    expect([dtype, torch_dtype]).toEqual(['float32', 'float32']);
    expect(config).toMatchObject({ ...original, rope_theta: 10_000 });
    const [source, weights] = [await openWeights(file, config), await openWeights(model, original)];
    expect(source.names().sort()).toEqual(weights.names().sort());
    for (const name of weights.names()) {
      expect(source.shape(name)).toEqual(weights.shape(name));
      expect([name, await source.read(name)]).toEqual([name, await weights.read(name)]);
    }
    const [tokenizer, own] = [await loadTokenizer(file), await loadTokenizer(model)];
    const messages = [{ role: 'user', content: '3+4' }] as const;
    expect(tokenizer.encodePrompt(messages)).toEqual(own.encodePrompt(messages));
    expect([tokenizer.name, tokenizer.endId]).toEqual(['tiny.gguf', own.endId]);
    expect(await modelRevision(file)).toBeNull();

    const engine = await onnxEngine({ threads: 1 });
    const saved = join(folder, 'saved');
    await saveModel(engine, await loadModel(engine, file), saved);
    await engine.dispose();
    for (const name of ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'generation_config.json']) {
      expect(JSON.parse(await readFile(join(saved, name), 'utf8'))).toBeTypeOf('object');
    }
    expect((await loadTokenizer(saved)).hash).toBe(tokenizer.hash);
    const again = await openWeights(saved, await readModelConfig(saved));
    for (const name of weights.names()) expect(await again.read(name)).toEqual(await weights.read(name));
  });

  it('has the identity of its bytes, alone, in a directory of its own, and behind a link', async () => {
    const folder = await tempDir();
    const file = join(folder, 'model.gguf');
    await writeGgufModel(await openWholeModel(await writeTinyLlama(await tempDir())), file, 'F32', { name: 'x' });
    expect(Object.keys(await hashModelFiles(file))).toEqual(['model.gguf']);
    const link = join(await tempDir(), 'best');
    await linkDirectory(link, file);
    const led = await linkedDirectory(link);
    expect(await hashModelDirectory(led)).toBe(await hashModelDirectory(file));
    expect(await readModelConfig(led)).toEqual(await readModelConfig(file));
    expect((await loadTokenizer(led)).hash).toBe((await loadTokenizer(file)).hash);
    const identity = await hashModelDirectory(file);
    expect(await hashModelDirectory(folder)).toBe(identity);
    expect(await readModelConfig(folder)).toEqual(await readModelConfig(file));
    expect((await loadTokenizer(folder)).hash).toBe((await loadTokenizer(file)).hash);
    const bytes = await readFile(file);
    bytes[bytes.length - 64]! ^= 1;
    await writeFile(file, bytes);
    expect(await hashModelDirectory(file)).not.toBe(identity);
  });

  it('keeps norms F32, and says how many matrices are not whole blocks', async () => {
    const file = join(await tempDir(), 'tiny.gguf');
    const model = await writeTinyLlama(await tempDir(), { intermediate_size: 24 });
    expect(await writeGgufModel(await openWholeModel(model), file, 'Q8_0', { name: 'x' })).toEqual({
      tensors: 21,
      unblocked: 2,
    });
    const { tensors, metadata } = await readGguf(file);
    expect(tensors.get('blk.0.attn_norm.weight')?.type).toBe('F32');
    expect(tensors.get('blk.0.ffn_up.weight')?.type).toBe('Q8_0');
    expect(tensors.get('blk.0.ffn_down.weight')?.type).toBe('F32');
    expect(metadata.get('general.file_type')).toBe(7);
  });

  it('cut at any length gives one clear error', async () => {
    const file = join(await tempDir(), 'tiny.gguf');
    await writeGgufModel(await openWholeModel(await writeTinyLlama(await tempDir())), file, 'Q4_0', { name: 'x' });
    const { size } = { size: (await readFile(file)).length };
    // Every 61st byte: header, texts of the tokenizer, table and data are all cut in the middle.
    for (let length = size - 33; length >= 0; length -= 61) {
      await truncate(file, length);
      const error = await readModelConfig(file).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(SelfplayError);
      expect((error as Error).message).toContain('invalid GGUF file');
    }
  });
});

it('says that there is no such model', async () => {
  await expect(readModelConfig(join(await tempDir(), 'x.gguf'))).rejects.toThrow('there is no such model');
});
