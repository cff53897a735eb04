// Every architecture on the ONNX engine against transformers; what of it adapters, memory and saved directories see.
import { readFileSync } from 'node:fs';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel, mergeAdapter, readModelConfig, saveModel } from '../../src/checkpoint/index.ts';
import { type Engine, onnxEngine } from '../../src/engine/index.ts';
import { plannedBytes } from '../../src/engine/memory.ts';
import { holdingIn } from '../../src/engine/torch/engine.ts';
import { adaptedModules, modelFromConfig, withAdapter } from '../../src/models/index.ts';
import { trainingBytes } from '../../src/training/index.ts';
import { uniforms } from '../../src/util/index.ts';
import { tensors } from '../training/goldenModel.ts';
import { tempDir } from '../util/temp.ts';
import { architectures, architecturesSuite, fixtures } from './goldenArchitectures.ts';

architecturesSuite('onnx', () => onnxEngine({ threads: 1 }));

const lora = {
  rank: 2,
  alpha: 4,
  rankStabilized: false,
  dropout: 0,
  targets: 'all-linear',
  rankPattern: {},
  alphaPattern: {},
} as const;
const modelOf = (name: string) => {
  const file = join(fixtures, name, 'model/config.json');
  return modelFromConfig(JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>, file);
};

it('has a fixture of every model_type but llama, which has its own, and of every way to scale positions', () => {
  expect(architectures).toEqual([
    'gemma',
    'gemma2',
    'gpt2',
    ...['llama-biases', 'llama-dynamic', 'llama-linear', 'llama-llama3', 'llama-yarn'],
    'mistral',
    'olmo2',
    'phi3',
    'qwen2',
    'qwen3',
    'smollm3',
  ]);
});

describe('an adapter', () => {
  const usual = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'];
  it.each(architectures)('finds the layers of %s', (name) => {
    const ends = adaptedModules(modelOf(name), lora).map((module) => module.name.split('.').at(-1));
    const perLayer = ends.slice(0, ends.length / modelOf(name).layers);
    const own: Record<string, string[]> = {
      gpt2: ['c_attn', 'c_proj', 'c_fc', 'c_proj'],
      phi3: ['qkv_proj', 'o_proj', 'gate_up_proj', 'down_proj'],
    };
    expect(perLayer).toEqual(own[name] ?? usual);
  });

  it('says of the positions of GPT-2 what they are', () => {
    const wanted = () => adaptedModules(modelOf('gpt2'), { ...lora, targets: ['wpe'] });
    expect(wanted).toThrow(/adapter on transformer.wpe: it is a table of tokens and no layer of the blocks/);
  });
});

describe('the plan of memory', () => {
  it.each(architectures)('knows what training %s takes: less with gradient checkpointing', (name) => {
    const groups = Array.from({ length: 4 }, () => ({
      promptIds: new Int32Array(16),
      responses: [{ ids: new Int32Array(8) }, { ids: new Int32Array(9) }],
    }));
    const engine = {
      plannedBytes: (...given: [Parameters<typeof plannedBytes>[0], Parameters<typeof plannedBytes>[1]]) =>
        plannedBytes(...given, holdingIn('bf16')),
    };
    for (const model of [modelOf(name), withAdapter(modelOf(name), lora)]) {
      const bytes = trainingBytes(engine, model, { kind: 'spin', beta: 0.1, sftWeight: 0 });
      expect(bytes(groups, true)).toBeGreaterThan(0);
      expect(bytes(groups, true)).toBeLessThanOrEqual(bytes(groups, false));
    }
  });
});

describe('a saved directory', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await onnxEngine({ threads: 1 });
  });
  afterAll(() => engine.dispose());

  it.each(['gpt2', 'gemma2', 'phi3'])('of %s has config and tensors as they came', async (name) => {
    const from = join(fixtures, name, 'model');
    const to = join(await tempDir(), 'saved');
    await saveModel(engine, await loadModel(engine, from), to);
    const dtype = { dtype: 'float32', torch_dtype: 'float32' };
    expect(await readModelConfig(to)).toEqual({ ...(await readModelConfig(from)), ...dtype });
    expect(await tensors(join(to, 'model.safetensors'))).toEqual(await tensors(join(from, 'model.safetensors')));
  });

  it('of GPT-2 is read under the names of older files too, with their masks', async () => {
    const from = join(fixtures, 'gpt2/model');
    const { model } = await loadModel(engine, from);
    const weights = new Map<string, Float32Array>();
    for (const { name } of model.parameters) weights.set(name, await engine.readState(name));
    const old = await tempDir();
    const bytes = await readFile(join(from, 'model.safetensors'));
    const length = Number(bytes.readBigUInt64LE(0));
    const header = bytes
      .subarray(8, 8 + length)
      .toString()
      .replaceAll('"transformer.', '"')
      .replace('"wpe', '"h.0.attn.bias":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"wpe');
    const text = Buffer.from(header);
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(text.length));
    await copyFile(join(from, 'config.json'), join(old, 'config.json'));
    await writeFile(join(old, 'model.safetensors'), Buffer.concat([size, text, bytes.subarray(8 + length)]));
    await loadModel(engine, old);
    for (const [name, values] of weights) expect(await engine.readState(name), name).toEqual(values);
  });

  it('of a merged adapter of GPT-2 holds the sum the way files hold it', async () => {
    const from = join(fixtures, 'gpt2/model');
    const loaded = await loadModel(engine, from, { lora, seed: 1 });
    for (const { name, shape } of loaded.model.parameters) {
      if (!name.endsWith('lora_B.weight')) continue;
      await engine.writeState(
        name,
        uniforms(shape[0]! * shape[1]!, 2, name).map((u) => u - 0.5),
      );
    }
    const home = await tempDir();
    await saveModel(engine, loaded, join(home, 'adapter'));
    const { layers, difference, largest } = await mergeAdapter(engine, join(home, 'adapter'), join(home, 'merged'));
    expect(layers).toBe(8);
    expect(difference / largest).toBeLessThan(1e-5);
  });
});
