// GGUF: a file from the Python package gguf with its own dequantised values, truncations, bit flips, broken tables.

import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { readGguf, readGgufTensorF32, readSafetensorsHeader, readTensorF32 } from '../../src/formats/index.ts';
import { SelfplayError } from '../../src/util/index.ts';
import { tempDir } from '../util/temp.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/formats/', import.meta.url));
const TYPES = join(FIXTURES, 'types.gguf');

describe('reading GGUF', () => {
  it('reads metadata of every kind, 64-bit integers exactly', async () => {
    const { metadata } = await readGguf(TYPES);
    expect(metadata.get('general.architecture')).toBe('llama');
    expect(metadata.get('test.big')).toBe(2n ** 63n + 1n);
    expect(metadata.get('test.negative')).toBe(-5);
    expect(metadata.get('test.flag')).toBe(true);
    expect(metadata.get('test.texts')).toEqual(['a', 'é', '']);
    expect(metadata.get('test.nested')).toEqual([[1, 2], [3]]);
  });

  it.each(['F32', 'F16', 'BF16', 'Q8_0', 'Q4_1'])(
    'decodes %s exactly as the Python package gguf does',
    async (type) => {
      const { tensors } = await readGguf(TYPES);
      const info = tensors.get(type)!;
      expect(info).toMatchObject({ name: type, type, shape: [4, 96] });
      const expected = (await readSafetensorsHeader(join(FIXTURES, 'types.safetensors'))).tensors.get(type)!;
      expect(await readGgufTensorF32(TYPES, info)).toEqual(await readTensorF32(expected));
    },
  );

  it('rejects every truncation', async () => {
    const whole = await readFile(TYPES);
    const file = join(await tempDir(), 'x.gguf');
    await writeFile(file, whole);
    const { tensors } = await readGguf(file);
    const end = Math.max(...[...tensors.values()].map((info) => info.offset + info.byteLength));
    for (let length = end - 1; length >= 0; length--) {
      await truncate(file, length);
      await expect(readGguf(file)).rejects.toThrow('invalid GGUF file');
    }
  });

  it('survives every flipped bit of header and tables', async () => {
    const whole = await readFile(TYPES);
    const { tensors } = await readGguf(TYPES);
    const start = Math.min(...[...tensors.values()].map((info) => info.offset));
    const file = join(await tempDir(), 'x.gguf');
    let rejected = 0;
    for (let bit = 0; bit < start * 8; bit++) {
      const byte = bit >> 3;
      await writeFile(file, new Uint8Array(whole).with(byte, (whole[byte] as number) ^ (1 << (bit & 7))));
      const result = await readGguf(file).catch((error: unknown) => error);
      if (result instanceof Error) {
        expect(result).toBeInstanceOf(SelfplayError);
        rejected++;
        continue;
      }
      for (const info of (result as Awaited<ReturnType<typeof readGguf>>).tensors.values()) {
        expect(info.offset + info.byteLength).toBeLessThanOrEqual(whole.length);
      }
    }
    expect(rejected).toBeGreaterThan(start * 2);
  });

  it.each([
    ['another magic', 0, [0x47, 0x47, 0x4d, 0x4c], 'does not start with "GGUF"'],
    ['version 1', 4, [1, 0, 0, 0], 'version 1, not 2 or 3'],
    ['a big-endian file', 4, [0, 0, 0, 3], 'big-endian'],
    ['an endless tensor table', 8, [255, 255, 255, 255, 255, 255, 255, 255], 'runs past the end'],
    ['endless metadata', 16, [0, 0, 0, 0, 0, 0, 0, 1], 'runs past the end'],
    ['an endless key', 24, [255, 255, 255, 255, 0, 0, 0, 0], 'runs past the end'],
  ])('rejects %s', async (_, at, bytes, message) => {
    const whole = await readFile(TYPES);
    whole.set(bytes, at);
    const file = join(await tempDir(), 'x.gguf');
    await writeFile(file, whole);
    await expect(readGguf(file)).rejects.toThrow(message);
  });

  it('rejects tensors that overlap, repeat, or are not aligned', async () => {
    const whole = await readFile(TYPES);
    const file = join(await tempDir(), 'x.gguf');
    // A row of the table: length of the name, name, rank, dimensions, type, offset.
    const offsetAt = whole.indexOf('Q8_0', whole.indexOf('BF16')) + 4 + 4 + 16 + 4;
    const changed = async (change: (bytes: Buffer) => void) => {
      const copy = Buffer.from(whole);
      change(copy);
      await writeFile(file, copy);
      return readGguf(file);
    };
    expect((await changed(() => undefined)).tensors.size).toBe(6);
    await expect(changed((bytes) => bytes.writeBigUInt64LE(0n, offsetAt))).rejects.toThrow('overlap');
    await expect(changed((bytes) => bytes.writeBigUInt64LE(1n, offsetAt))).rejects.toThrow('not a multiple of 32');
    await expect(changed((bytes) => bytes.write('Q4_1', whole.indexOf('Q8_0')))).rejects.toThrow(
      'duplicate tensor "Q4_1"',
    );
    await expect(changed((bytes) => bytes.writeUInt32LE(77, offsetAt - 4))).rejects.toThrow('unknown type 77');
  });
});
