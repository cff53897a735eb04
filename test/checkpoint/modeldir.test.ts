// Model directories: config errors, saving under faults, identity.

import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hashModelDirectory, openWeights, readModelConfig, saveModelDirectory } from '../../src/checkpoint/index.ts';
import { verifyDirectory } from '../../src/util/index.ts';
import { faultyIo } from '../util/faulty-io.ts';
import { tempDir } from '../util/temp.ts';

const TENSORS = [
  { name: 'model.norm.weight', dtype: 'F32' as const, shape: [2], data: new Float32Array([1, 2]) },
  { name: 'a', dtype: 'F32' as const, shape: [1, 1], data: async () => new Float32Array([3]) },
];
const CONFIG = { model_type: 'llama', torch_dtype: 'bfloat16', hidden_size: 2 };

async function source(parent: string): Promise<string> {
  const dir = join(parent, 'source');
  await mkdir(dir);
  for (const name of ['tokenizer.json', 'generation_config.json', 'chat_template.jinja', 'README.md']) {
    await writeFile(join(dir, name), `content of ${name}`);
  }
  return dir;
}

describe('readModelConfig', () => {
  it('reads the object as it is', async () => {
    const dir = await tempDir();
    await writeFile(join(dir, 'config.json'), '{"model_type":"llama","rms_norm_eps":1e-05,"rope_scaling":null}\n');
    expect(await readModelConfig(dir)).toEqual({ model_type: 'llama', rms_norm_eps: 1e-5, rope_scaling: null });
  });

  it.each([
    ['truncated', '{"model_type": "lla', 'ends inside a string'],
    ['empty', '', 'expected a value'],
    ['a list', '[]', 'not an object'],
    ['NaN', '{"x": NaN}', 'expected a value'],
    ['a repeated key', '{"x": 1, "x": 2}', 'duplicate key "x"'],
    ['a byte order mark', '\ufeff{}', 'byte order mark'],
    ['deep nesting', `{"x": ${'['.repeat(100_000)}`, 'nested more than'],
    ['invalid UTF-8', Buffer.from([0x7b, 0xff, 0x7d]), 'not valid UTF-8'],
  ])('rejects a config that is %s', async (_, content, message) => {
    const dir = await tempDir();
    await writeFile(join(dir, 'config.json'), content);
    await expect(readModelConfig(dir)).rejects.toMatchObject({ kind: 'failure', where: join(dir, 'config.json') });
    await expect(readModelConfig(dir)).rejects.toThrow(message);
  });

  it('says that a directory is no model', async () => {
    await expect(readModelConfig(await tempDir())).rejects.toThrow('no config.json');
  });
});

describe('saveModelDirectory', () => {
  it('saves config in fp32, the companions unchanged, and the weights; all verified', async () => {
    const parent = await tempDir();
    const dir = join(parent, 'model');
    await saveModelDirectory(dir, { sourceDir: await source(parent), config: CONFIG, tensors: TENSORS });
    expect((await readdir(dir)).sort()).toEqual([
      'chat_template.jinja',
      'config.json',
      'files.json',
      'generation_config.json',
      'model.safetensors',
      'tokenizer.json',
    ]);
    expect((await verifyDirectory(dir)).length).toBe(5);
    const config = await readModelConfig(dir);
    expect(config).toEqual({ model_type: 'llama', hidden_size: 2, dtype: 'float32', torch_dtype: 'float32' });
    expect(await readFile(join(dir, 'tokenizer.json'), 'utf8')).toBe('content of tokenizer.json');
    const weights = await openWeights(dir, config);
    expect(weights.names()).toEqual(['model.norm.weight', 'a']);
    expect([...(await weights.read('a'))]).toEqual([3]);
    expect(await readFile(join(dir, 'model.safetensors'), 'latin1')).toContain('{"__metadata__":{"format":"pt"}');
  });

  it('shows no model at all whichever operation fails', async () => {
    const parent = await tempDir();
    const sourceDir = await source(parent);
    const dir = join(parent, 'model');
    let faults = 0;
    for (let n = 1; ; n++) {
      const { io, failed } = faultyIo(n);
      await saveModelDirectory(dir, { sourceDir, config: CONFIG, tensors: TENSORS }, io).catch(() => undefined);
      const present = (await readdir(parent)).filter((name) => name !== 'source');
      if (present.length > 0) {
        expect(present).toEqual(['model']);
        await verifyDirectory(dir);
      }
      if (!failed()) break;
      faults++;
      await rm(dir, { recursive: true, force: true });
    }
    expect(faults).toBeGreaterThan(50);
  });
});

describe('hashModelDirectory', () => {
  it('is the same for a copy with or without manifest, and changes with every part', async () => {
    const parent = await tempDir();
    const dir = join(parent, 'model');
    await saveModelDirectory(dir, { sourceDir: await source(parent), config: CONFIG, tensors: TENSORS });
    const hash = await hashModelDirectory(dir);
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
    const copy = join(parent, 'copy');
    await cp(dir, copy, { recursive: true });
    await rm(join(copy, 'files.json'));
    expect(await hashModelDirectory(copy)).toBe(hash);
    await writeFile(join(copy, 'README.md'), 'not part of the model');
    expect(await hashModelDirectory(copy)).toBe(hash);
    const hashes = new Set([hash]);
    for (const name of ['config.json', 'tokenizer.json', 'generation_config.json', 'model.safetensors']) {
      const bytes = await readFile(join(copy, name));
      await writeFile(join(copy, name), Buffer.concat([bytes.subarray(0, -1), Buffer.from('!')]));
      hashes.add(await hashModelDirectory(copy));
    }
    expect(hashes.size).toBe(5);
  });

  it('notices weights whose size differs from the manifest', async () => {
    const parent = await tempDir();
    const dir = join(parent, 'model');
    await saveModelDirectory(dir, { sourceDir: await source(parent), config: CONFIG, tensors: TENSORS });
    await writeFile(join(dir, 'model.safetensors'), 'short');
    await expect(hashModelDirectory(dir)).rejects.toThrow('damaged file');
  });
});
