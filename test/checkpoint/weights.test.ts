// Finding and opening weights: GGUF against transformers, shards, hostile indices, the list of all misfits.

import { copyFile, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { checkWeights, openWeights, readModelConfig } from '../../src/checkpoint/index.ts';
import { readSafetensorsHeader, readTensorF32, writeSafetensors } from '../../src/formats/index.ts';
import { tempDir } from '../util/temp.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/formats/', import.meta.url));
const INDEX = 'model.safetensors.index.json';

/** Writes a safetensors file of tensors with one number each. */
async function shard(path: string, tensors: Record<string, number>): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeSafetensors(
    path,
    Object.entries(tensors).map(([name, value]) => ({
      name,
      dtype: 'F32',
      shape: [1],
      data: new Float32Array([value]),
    })),
  );
}

async function index(dir: string, weightMap: Record<string, unknown>): Promise<void> {
  await writeFile(join(dir, INDEX), JSON.stringify({ metadata: { total_size: 8 }, weight_map: weightMap }));
}

describe('openWeights: GGUF', () => {
  it('gives the names, shapes and values that Python transformers loads, rows of q and k put back', async () => {
    const dir = join(FIXTURES, 'llama');
    const source = await openWeights(dir, await readModelConfig(dir));
    const { tensors } = await readSafetensorsHeader(join(FIXTURES, 'llama.safetensors'));
    expect(source.kind).toBe('gguf');
    expect(source.names().sort()).toEqual([...tensors.keys()].sort());
    for (const [name, info] of tensors) {
      expect(source.shape(name)).toEqual(info.shape);
      expect([name, await source.read(name)]).toEqual([name, await readTensorF32(info)]);
    }
  });

  it('leaves the rows alone for an architecture that is not reordered', async () => {
    const dir = await tempDir();
    const bytes = await readFile(join(FIXTURES, 'llama/model.gguf'));
    // "llama" -> "qwen2", five letters each, in the architecture and in the keys of the head counts.
    for (let at = bytes.indexOf('llama'); at >= 0; at = bytes.indexOf('llama', at)) bytes.write('qwen2', at);
    await writeFile(join(dir, 'model.gguf'), bytes);
    const source = await openWeights(dir, { num_attention_heads: 2, num_key_value_heads: 1 });
    const { tensors } = await readSafetensorsHeader(join(FIXTURES, 'llama.safetensors'));
    const [q, v] = ['model.layers.0.self_attn.q_proj.weight', 'model.layers.0.self_attn.v_proj.weight'];
    expect(await source.read(v as string)).toEqual(await readTensorF32(tensors.get(v as string)!));
    expect(await source.read(q as string)).not.toEqual(await readTensorF32(tensors.get(q as string)!));
  });

  it('refuses a config of other heads, another architecture, and a choice between two files', async () => {
    const dir = await tempDir();
    const model = join(FIXTURES, 'llama/model.gguf');
    await copyFile(model, join(dir, 'a.gguf'));
    const config = { num_attention_heads: 2, num_key_value_heads: 1 };
    await openWeights(dir, config);
    await expect(openWeights(dir, { num_attention_heads: 2 })).rejects.toThrow('2 query and 2 key-value heads');
    await copyFile(model, join(dir, 'b.gguf'));
    await expect(openWeights(dir, config)).rejects.toThrow('2 GGUF files (a.gguf, b.gguf)');
    await rm(join(dir, 'b.gguf'));
    const bytes = await readFile(model);
    bytes.write('bloom', bytes.indexOf('llama'));
    await writeFile(join(dir, 'a.gguf'), bytes);
    await expect(openWeights(dir, config)).rejects.toThrow('architecture "bloom"');
  });
});

describe('openWeights: safetensors', () => {
  it('prefers one file, and reads shards through their index', async () => {
    const dir = await tempDir();
    await shard(join(dir, 'one.safetensors'), { a: 1 });
    await shard(join(dir, 'two.safetensors'), { b: 2 });
    await index(dir, { a: 'one.safetensors', b: 'two.safetensors' });
    const sharded = await openWeights(dir, {});
    expect(sharded.files).toEqual([join(dir, 'one.safetensors'), join(dir, 'two.safetensors')]);
    expect(sharded.names()).toEqual(['a', 'b']);
    expect([...(await sharded.read('b'))]).toEqual([2]);
    await expect(sharded.read('c')).rejects.toThrow('no tensor c');
    await shard(join(dir, 'model.safetensors'), { whole: 3 });
    expect((await openWeights(dir, {})).names()).toEqual(['whole']);
  });

  it.each(['../other/one.safetensors', 'sub/../../other/one.safetensors', '', 'C\0'])(
    'refuses the shard %j',
    async (path) => {
      const root = await tempDir();
      await shard(join(root, 'other/one.safetensors'), { a: 1 });
      await mkdir(join(root, 'model'));
      await index(join(root, 'model'), { a: path });
      await expect(openWeights(join(root, 'model'), {})).rejects.toThrow('not a path inside the directory');
    },
  );

  it('refuses absolute and linked shards outside the directory, but follows those of a Hugging Face cache', async () => {
    const root = await tempDir();
    const outside = join(root, 'other/one.safetensors');
    await shard(outside, { a: 1 });
    const dir = join(root, 'model');
    await mkdir(dir);
    await index(dir, { a: outside });
    await expect(openWeights(dir, {})).rejects.toThrow('not a path inside the directory');
    await symlink(outside, join(dir, 'one.safetensors'));
    await index(dir, { a: 'one.safetensors' });
    await expect(openWeights(dir, {})).rejects.toThrow('link to a place outside');

    const snapshot = join(root, 'models--x--y/snapshots/abc');
    await shard(join(root, 'models--x--y/blobs/123'), { a: 5 });
    await mkdir(snapshot, { recursive: true });
    await symlink('../../blobs/123', join(snapshot, 'one.safetensors'));
    await index(snapshot, { a: 'one.safetensors' });
    expect([...(await (await openWeights(snapshot, {})).read('a'))]).toEqual([5]);
    await rm(join(snapshot, 'one.safetensors'));
    await symlink(outside, join(snapshot, 'one.safetensors'));
    await expect(openWeights(snapshot, {})).rejects.toThrow('link to a place outside');
  });

  it('refuses a missing shard, a tensor in the wrong shard, one not listed and one not there', async () => {
    const dir = await tempDir();
    await shard(join(dir, 'one.safetensors'), { a: 1 });
    await shard(join(dir, 'two.safetensors'), { b: 2 });
    const attempt = async (map: Record<string, unknown>) => {
      await index(dir, map);
      return openWeights(dir, {});
    };
    await expect(attempt({ a: 'one.safetensors', b: 'three.safetensors' })).rejects.toThrow(
      '"three.safetensors" is missing',
    );
    await expect(attempt({ a: 'two.safetensors', b: 'one.safetensors' })).rejects.toThrow('but the index says');
    await expect(attempt({ a: 'one.safetensors', c: 'two.safetensors' })).rejects.toThrow('no shard');
    const all = { a: 'one.safetensors', b: 'two.safetensors', c: 'two.safetensors' };
    await expect(attempt(all)).rejects.toThrow('holds the tensor c, but it does not');
    await expect(attempt({ a: 7 })).rejects.toThrow('weight_map value of "a"');
    await writeFile(join(dir, INDEX), '{"weight_map": {"a": "one.safetensors", "a": "two.safetensors"}}');
    await expect(openWeights(dir, {})).rejects.toThrow('duplicate key "a"');
  });

  it('never opens pickles, and names what is missing', async () => {
    const dir = await tempDir();
    await expect(openWeights(dir, {})).rejects.toThrow('no weights');
    await writeFile(join(dir, 'pytorch_model.bin'), 'x');
    await expect(openWeights(dir, {})).rejects.toMatchObject({
      kind: 'usage',
      message: expect.stringContaining('never opened') as string,
    });
    await expect(openWeights(join(dir, 'none'), {})).rejects.toMatchObject({ kind: 'usage' });
  });
});

describe('checkWeights', () => {
  it('lists all that is missing, extra or misshaped at once, and tolerates tied heads and computed buffers', async () => {
    const dir = await tempDir();
    const names = ['embed', 'lm_head.weight', 'model.layers.0.self_attn.rotary_emb.inv_freq', 'odd'];
    await shard(join(dir, 'model.safetensors'), Object.fromEntries(names.map((name) => [name, 1])));
    const source = await openWeights(dir, {});
    checkWeights(source, [
      { name: 'embed', shape: [1] },
      { name: 'odd', shape: [1] },
    ]);
    let message = '';
    try {
      checkWeights(source, [
        { name: 'embed', shape: [1, 1] },
        { name: 'norm', shape: [3] },
        { name: 'up', shape: [3, 4] },
      ]);
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).toContain('missing: norm [3]\n');
    expect(message).toContain('missing: up [3, 4]\n');
    expect(message).toContain('misshaped: embed [1], expected [1, 1]\n');
    expect(message).toContain('extra: odd [1]\n');
    expect(message).not.toContain('inv_freq');
    expect(message).not.toContain('lm_head');
  });
});
