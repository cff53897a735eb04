// Weights in files of a bounded size, and in fewer bits.
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  castTensor,
  readSafetensorsHeader,
  readTensorF32,
  WRITABLE_TYPES,
  writeShards,
} from '../../src/formats/index.ts';
import { tempDir } from '../util/temp.ts';

const tensor = (name: string, count: number, dtype: 'F32' | 'F16' | 'BF16' = 'F32') => ({
  name,
  dtype,
  shape: [count],
  data: Float32Array.from({ length: count }, (_, i) => i / 7),
});

describe('shards', () => {
  it('are named and indexed as Hugging Face does, none above the limit but for a tensor that is', async () => {
    const dir = await tempDir();
    const tensors = [tensor('a', 500), tensor('b', 400), tensor('c', 2000), tensor('d', 100)];
    await writeShards(dir, tensors, 4000);
    const names = [1, 2, 3].map((i) => `model-0000${i}-of-00003.safetensors`);
    expect((await readdir(dir)).sort()).toEqual([...names, 'model.safetensors.index.json']);
    expect(JSON.parse(await readFile(join(dir, 'model.safetensors.index.json'), 'utf8'))).toEqual({
      metadata: { total_size: 12_000 },
      weight_map: { a: names[0], b: names[0], c: names[1], d: names[2] },
    });
    const sizes = await Promise.all(names.map(async (name) => (await stat(join(dir, name))).size));
    expect(sizes.filter((size) => size > 4000)).toEqual([sizes[1]]);
    const { tensors: read } = await readSafetensorsHeader(join(dir, names[0]!));
    expect(await readTensorF32(read.get('b')!)).toEqual(tensors[1]!.data);
  });

  it('are one file without an index where that is enough, the header counted', async () => {
    const dir = await tempDir();
    await writeShards(dir, [tensor('a', 500), tensor('b', 400)], 4000);
    expect(await readdir(dir)).toEqual(['model.safetensors']);
    expect((await stat(join(dir, 'model.safetensors'))).size).toBeLessThanOrEqual(4000);
  });
});

describe('casts', () => {
  it('are what is read of a file in that type', async () => {
    for (const dtype of ['F16', 'BF16'] as const) {
      const dir = await tempDir();
      const written = tensor('a', 64, dtype);
      await writeShards(dir, [written]);
      const { tensors } = await readSafetensorsHeader(join(dir, 'model.safetensors'));
      expect(tensors.get('a')).toMatchObject({ dtype, byteLength: 128 });
      const read = await readTensorF32(tensors.get('a')!);
      expect(castTensor(written.data, dtype, 'a')).toEqual(read);
      expect(read).not.toEqual(written.data);
    }
  });

  it('change nothing the second time', () => {
    const values = tensor('a', 64).data;
    for (const type of WRITABLE_TYPES) {
      const once = castTensor(values, type, 'a');
      expect(Math.max(...once.map((x, i) => Math.abs(x - values[i]!)))).toBeLessThan(type === 'Q4_0' ? 0.6 : 0.04);
      expect(castTensor(once, type, 'a')).toEqual(once);
    }
  });
});
