// Weights of GGUF files, both ways, against what the Python package gguf makes of the same bytes and numbers.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import {
  READABLE_TYPES,
  readGguf,
  readGgufTensorF32,
  readSafetensorsHeader,
  readTensorF32,
  WRITABLE_TYPES,
  writeGguf,
} from '../../src/formats/index.ts';
import { tempDir } from '../util/temp.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/gguf/', import.meta.url));
const BLOCKS = join(FIXTURES, 'blocks.gguf');

const bits = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('hex');

async function valuesOf(name: string): Promise<Float32Array> {
  const header = await readSafetensorsHeader(join(FIXTURES, 'quantized.safetensors'));
  return readTensorF32(header.tensors.get(name)!);
}

async function tensorBytes(file: string, name: string): Promise<string> {
  const { offset, byteLength } = (await readGguf(file)).tensors.get(name)!;
  return (await readFile(file)).subarray(offset, offset + byteLength).toString('hex');
}

describe('reading weights', () => {
  it('knows these types', () => {
    expect([...READABLE_TYPES].sort()).toEqual(
      ['BF16', 'F16', 'F32', 'Q4_0', 'Q4_1', 'Q4_K', 'Q5_0', 'Q5_1', 'Q5_K', 'Q6_K', 'Q8_0'].sort(),
    );
  });

  it.each(READABLE_TYPES)('%s is bit for bit what the Python package gguf reads', async (type) => {
    const info = (await readGguf(BLOCKS)).tensors.get(type)!;
    expect(info).toMatchObject({ name: type, type, shape: [2, 256] });
    const expected = (await readSafetensorsHeader(join(FIXTURES, 'blocks.safetensors'))).tensors.get(type)!;
    expect(bits(await readGgufTensorF32(BLOCKS, info))).toBe(bits(await readTensorF32(expected)));
  });

  it('names tensor and type when it cannot read them', async () => {
    const info = (await readGguf(BLOCKS)).tensors.get('Q4_K')!;
    await expect(readGgufTensorF32(BLOCKS, { ...info, name: 'x', type: 'IQ4_XS' })).rejects.toThrow(
      'tensor x has the type IQ4_XS, which cannot be read',
    );
  });
});

describe('writing weights', () => {
  it.each(WRITABLE_TYPES)('%s is byte for byte what the Python package gguf writes', async (type) => {
    const values = await valuesOf('values');
    const file = join(await tempDir(), 'x.gguf');
    await writeGguf(file, new Map(), [{ name: type, type, shape: [12, 64], data: async () => values }]);
    expect(await tensorBytes(file, type)).toBe(await tensorBytes(join(FIXTURES, 'quantized.gguf'), type));
  });

  it('keeps metadata, shapes and order, and fills up to multiples of 32 bytes', async () => {
    const file = join(await tempDir(), 'x.gguf');
    await writeGguf(
      file,
      new Map([
        ['general.architecture', { type: 'string', value: 'llama' }],
        ['a.count', { type: 'u32', value: 2 ** 32 - 1 }],
        ['a.negative', { type: 'i32', value: -5 }],
        ['a.real', { type: 'f32', value: 0.5 }],
        ['a.flag', { type: 'bool', value: true }],
        ['a.texts', { type: 'strings', value: ['é', ''] }],
        ['a.kinds', { type: 'i32s', value: [1, -2] }],
        ['a.scores', { type: 'f32s', value: [0.25, -1] }],
      ]),
      [
        { name: 'z', type: 'F32', shape: [3], data: async () => Float32Array.of(1, 2, 3) },
        { name: 'a', type: 'F16', shape: [2, 1], data: async () => Float32Array.of(4, 5) },
      ],
    );
    const { metadata, tensors } = await readGguf(file);
    expect(Object.fromEntries(metadata)).toEqual({
      'general.architecture': 'llama',
      'a.count': 2 ** 32 - 1,
      'a.negative': -5,
      'a.real': 0.5,
      'a.flag': true,
      'a.texts': ['é', ''],
      'a.kinds': [1, -2],
      'a.scores': [0.25, -1],
    });
    expect([...tensors.keys()]).toEqual(['z', 'a']);
    expect(tensors.get('a')).toMatchObject({ type: 'F16', shape: [2, 1] });
    expect(tensors.get('a')!.offset - tensors.get('z')!.offset).toBe(32);
    expect([...(await readGgufTensorF32(file, tensors.get('a')!))]).toEqual([4, 5]);
    expect((await readFile(file)).length % 32).toBe(0);
  });

  const refusals = [
    ['rows that are not whole blocks', 'Q8_0', [33], 'rows of 33 weights are not whole Q8_0 blocks of 32'],
    ['data of another size', 'F32', [2], '1 numbers do not fit shape [2]'],
    ['a weight beyond F16', 'F16', [1], 'has the weight 70000, which F16 cannot hold'],
    [
      'a weight beyond the scale of a block',
      'Q4_0',
      [32],
      'has the weight -1.2676506002282294e+30, which Q4_0 cannot hold',
    ],
    ['an infinite weight in a block', 'Q8_0', [32], 'has the weight Infinity, which Q8_0 cannot hold'],
    ['a NaN in a block', 'Q4_0', [32], 'has the weight NaN, which Q4_0 cannot hold'],
  ] as const;
  const special = { Q4_0: -(2 ** 100), Q8_0: Infinity };
  it.each(refusals)('refuses %s and leaves no file', async (what, type, shape, message) => {
    const values = new Float32Array(what.startsWith('data') ? 1 : shape[0]).fill(type === 'F16' ? 70000 : 1);
    if (type in special) values[7] = what.includes('NaN') ? Number.NaN : special[type as keyof typeof special];
    const file = join(await tempDir(), 'x.gguf');
    const tensor = { name: 'w', type, shape, data: async () => values };
    await expect(writeGguf(file, new Map(), [tensor])).rejects.toThrow(message);
    await expect(readFile(file)).rejects.toThrow('ENOENT');
  });
});
