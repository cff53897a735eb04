// safetensors: files from Python, every check of the reader by a hand-made file, truncations, bit flips, round trips.

import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  readSafetensorsHeader,
  readTensorF32,
  readTensorI32,
  type TensorToWrite,
  writeSafetensors,
} from '../../src/formats/index.ts';
import { SelfplayError } from '../../src/util/index.ts';
import { faultyIo } from '../util/faulty-io.ts';
import { tempDir } from '../util/temp.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/formats/', import.meta.url));

/** A file from a header text and a number of data bytes. */
function fileOf(header: string, dataBytes: number, headerLength?: bigint): Uint8Array {
  const text = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + text.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, headerLength ?? BigInt(text.length), true);
  bytes.set(text, 8);
  return bytes;
}

/** The header's fate: the tensors' names, or the error's message. */
async function fate(bytes: Uint8Array): Promise<string[] | string> {
  const file = join(await tempDir(), 'x.safetensors');
  await writeFile(file, bytes);
  try {
    return [...(await readSafetensorsHeader(file)).tensors.keys()];
  } catch (error) {
    expect(error).toBeInstanceOf(SelfplayError);
    expect(error).toMatchObject({ kind: 'failure', where: file });
    return (error as Error).message;
  }
}

const tensor = (shape: string, begin: number | string, end: number | string, dtype = 'F32') =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":[${begin},${end}]}`;

describe('reading safetensors', () => {
  it('reads what Python wrote: names, shapes, metadata and values of every dtype', async () => {
    const { tensors, metadata } = await readSafetensorsHeader(join(FIXTURES, 'dtypes.safetensors'));
    expect(Object.fromEntries(metadata)).toEqual({ format: 'pt', note: 'é\n' });
    type Described = [string, { shape: number[]; values: string[] }];
    const described = JSON.parse(await readFile(join(FIXTURES, 'dtypes.json'), 'utf8')) as Described[];
    expect([...tensors.keys()].sort()).toEqual(described.map(([name]) => name).sort());
    for (const [name, { shape, values }] of described) {
      const info = tensors.get(name)!;
      expect(info.shape).toEqual(shape);
      if (info.dtype === 'I64' || info.dtype === 'BOOL') {
        await expect(readTensorF32(info)).rejects.toThrow(`tensor ${name} has dtype ${info.dtype}`);
        continue;
      }
      const read = info.dtype === 'I32' ? await readTensorI32(info) : await readTensorF32(info);
      expect([name, [...read]]).toEqual([name, values.map((v) => Number(v.replace('inf', 'Infinity')))]);
    }
  });

  it.each([
    ['{}', 0],
    ['{}   ', 0],
    ['{"__metadata__":{}}', 0],
    [`{"a":${tensor('[]', 0, 4)}}`, 4],
    [`{"a":${tensor('[0,9007199254740991]', 0, 0)}}`, 0],
    [`{"b":${tensor('[1]', 4, 8)},"a":${tensor('[1]', 0, 4)},"e":${tensor('[0]', 4, 4)}}`, 8],
    [`{"a":${tensor('[2]', 0, 1, 'F4')}}`, 1],
    [`{"__proto__":${tensor('[1]', 0, 4)},"constructor":${tensor('[1]', 4, 8)}}`, 8],
  ])('accepts %s', async (header, dataBytes) => {
    expect(await fate(fileOf(header, dataBytes))).toBeInstanceOf(Array);
  });

  it.each([
    ['a header above the limit', fileOf('{}', 0, 100_000_001n), 'above the limit'],
    ['a header past the end', fileOf('{}', 0, 3n), 'ends past'],
    ['a huge header length', fileOf('{}', 0, 2n ** 64n - 1n), 'above the limit'],
    ['an empty header', fileOf('', 0), "start with '{'"],
    ['a leading space', fileOf(' {}', 0), "start with '{'"],
    ['a byte order mark', fileOf('\ufeff{}', 0), "start with '{'"],
    ['invalid UTF-8', fileOf('{}', 0).with(9, 0xff), 'not UTF-8'],
    ['broken JSON', fileOf('{"a":', 0), 'not valid JSON'],
    ['text after the object', fileOf('{}{}', 0), 'not valid JSON'],
    ['deep nesting', fileOf(`{"a":${'['.repeat(50_000)}`, 0), 'nested'],
    ['a duplicate tensor', fileOf(`{"a":${tensor('[1]', 0, 4)},"a":${tensor('[1]', 0, 4)}}`, 4), 'duplicate key "a"'],
    [
      'a duplicate in disguise',
      fileOf(`{"a":${tensor('[1]', 0, 4)},"\\u0061":${tensor('[1]', 0, 4)}}`, 4),
      'duplicate',
    ],
    [
      'a duplicate field',
      fileOf('{"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}', 4),
      'duplicate',
    ],
    ['an unknown dtype', fileOf(`{"a":${tensor('[1]', 0, 4, 'F33')}}`, 4), 'unknown dtype F33'],
    ['an inherited dtype', fileOf(`{"a":${tensor('[1]', 0, 4, 'toString')}}`, 4), 'unknown dtype'],
    ['a missing dtype', fileOf('{"a":{"shape":[1],"data_offsets":[0,4]}}', 4), 'unknown dtype undefined'],
    ['a missing shape', fileOf('{"a":{"dtype":"F32","data_offsets":[0,4]}}', 4), 'shape is missing'],
    ['missing offsets', fileOf('{"a":{"dtype":"F32","shape":[1]}}', 4), 'data_offsets is missing'],
    ['a negative dimension', fileOf(`{"a":${tensor('[-1]', 0, 4)}}`, 4), 'shape holds -1'],
    ['a fractional dimension', fileOf(`{"a":${tensor('[1.0]', 0, 4)}}`, 4), 'shape holds 1'],
    [
      'a dimension beyond 2^53',
      fileOf(`{"a":${tensor('[9007199254740992]', 0, 4)}}`, 4),
      'shape holds 9007199254740992',
    ],
    ['a text dimension', fileOf(`{"a":${tensor('["1"]', 0, 4)}}`, 4), 'shape holds 1'],
    ['three offsets', fileOf(`{"a":${tensor('[1]', 0, '4,8')}}`, 4), 'not a pair'],
    ['one offset', fileOf('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}', 4), 'not a pair'],
    ['a reversed range', fileOf(`{"a":${tensor('[1]', 4, 0)}}`, 4), 'end (0) before'],
    ['numbers as metadata', fileOf('{"__metadata__":{"a":1}}', 0), 'value of "a" is not a string'],
    ['metadata that is no object', fileOf('{"__metadata__":[]}', 0), 'not an object'],
    ['a tensor that is no object', fileOf('{"a":3}', 0), 'not an object'],
    ['data that start late', fileOf(`{"a":${tensor('[1]', 4, 8)}}`, 8), 'expected 0'],
    ['a hole', fileOf(`{"a":${tensor('[1]', 0, 4)},"b":${tensor('[1]', 8, 12)}}`, 12), 'expected 4'],
    ['an overlap', fileOf(`{"a":${tensor('[2]', 0, 8)},"b":${tensor('[1]', 4, 8)}}`, 8), 'expected 8'],
    ['an overflowing shape', fileOf(`{"a":${tensor('[4294967296,4294967296,4294967296]', 0, 0)}}`, 0), 'overflows'],
    [
      'an overflow times zero',
      fileOf(`{"a":${tensor('[9007199254740991,9007199254740991,0]', 0, 0)}}`, 0),
      'overflows',
    ],
    ['too few bytes', fileOf(`{"a":${tensor('[2]', 0, 4)}}`, 4), 'do not fit'],
    ['half a byte', fileOf(`{"a":${tensor('[3]', 0, 1, 'F4')}}`, 1), 'do not fit'],
    ['appended bytes', fileOf(`{"a":${tensor('[1]', 0, 4)}}`, 5), 'its header describes'],
    ['missing data', fileOf(`{"a":${tensor('[1]', 0, 4)}}`, 3), 'its header describes'],
  ])('rejects %s', async (_, bytes, message) => {
    expect(await fate(bytes)).toContain(message);
  });

  it('rejects every truncation and every longer version of a file', async () => {
    const whole = await readFile(join(FIXTURES, 'dtypes.safetensors'));
    const file = join(await tempDir(), 'x.safetensors');
    await writeFile(file, whole);
    for (let length = whole.length - 1; length >= 0; length--) {
      await truncate(file, length);
      await expect(readSafetensorsHeader(file)).rejects.toThrow('invalid safetensors file');
    }
    expect(await fate(Buffer.concat([whole, Buffer.alloc(1)]))).toContain('invalid safetensors file');
  });

  it('survives every flipped bit of a header: an error of ours, or tensors that stay inside the file', async () => {
    const whole = fileOf(
      `{"__metadata__":{"k":"v"},"a":${tensor('[2,1]', 0, 8)},"b":${tensor('[2]', 8, 12, 'F16')}}`,
      12,
    );
    const file = join(await tempDir(), 'x.safetensors');
    for (let bit = 0; bit < (whole.length - 12) * 8; bit++) {
      await writeFile(file, whole.with(bit >> 3, (whole[bit >> 3] as number) ^ (1 << (bit & 7))));
      const header = await readSafetensorsHeader(file).catch((error: unknown) => error);
      if (header instanceof Error) {
        expect(header).toBeInstanceOf(SelfplayError);
        continue;
      }
      for (const info of (header as Awaited<ReturnType<typeof readSafetensorsHeader>>).tensors.values()) {
        expect(info.offset + info.byteLength).toBeLessThanOrEqual(whole.length);
      }
    }
  });

  it('reads a header of 99 MB, and one that never ends within it is an error', async () => {
    const length = 99_000_000;
    const bytes = Buffer.alloc(8 + length, ' ');
    bytes.writeBigUInt64LE(BigInt(length));
    bytes.write('{}', 8);
    const file = join(await tempDir(), 'x.safetensors');
    await writeFile(file, bytes);
    expect((await readSafetensorsHeader(file)).tensors.size).toBe(0);
    bytes.write('{"', 8);
    await writeFile(file, bytes);
    await expect(readSafetensorsHeader(file)).rejects.toThrow('ends inside a string');
  });

  it('reads a header of 100,000 tensors', async () => {
    const entries = Array.from({ length: 100_000 }, (_, i) => `"layer.${i}.weight":${tensor('[1]', 4 * i, 4 * i + 4)}`);
    const names = await fate(fileOf(`{${entries.join(',')}}`, 400_000));
    expect(names.length).toBe(100_000);
    expect(names.at(-1)).toBe('layer.99999.weight');
  });

  it('fails with the path of a file that is not there', async () => {
    const file = join(await tempDir(), 'none.safetensors');
    await expect(readSafetensorsHeader(file)).rejects.toMatchObject({ kind: 'failure', where: file });
  });
});

describe('writing safetensors', () => {
  it('reads back bit for bit, in the order given', async () => {
    const file = join(await tempDir(), 'x.safetensors');
    const name = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => text !== '__metadata__');
    const shape = fc.array(fc.nat(4), { maxLength: 3 });
    const made = fc.record({ name, shape, bits: fc.nat(), integers: fc.boolean(), lazy: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(made, { selector: (tensor) => tensor.name, maxLength: 5 }),
        fc.dictionary(
          fc.string({ unit: 'grapheme' }).filter((key) => key !== '__proto__'),
          fc.string({ unit: 'grapheme' }),
        ),
        async (list, metadata) => {
          const bitsOf = new Map<string, number[]>();
          const tensors = list.map(({ name, shape, bits, integers, lazy }): TensorToWrite => {
            const count = shape.reduce((product, n) => product * n, 1);
            const raw = Int32Array.from({ length: count }, (_, i) => Math.imul(bits + i, 0x9e3779b1));
            bitsOf.set(name, [...raw]);
            const values = integers ? raw : new Float32Array(raw.buffer);
            return { name, shape, dtype: integers ? 'I32' : 'F32', data: lazy ? async () => values : values };
          });
          await writeSafetensors(file, tensors, metadata);
          const header = await readSafetensorsHeader(file);
          expect([...header.tensors.keys()]).toEqual(tensors.map((tensor) => tensor.name));
          expect(Object.fromEntries(header.metadata)).toEqual(metadata);
          for (const info of header.tensors.values()) {
            const values = info.dtype === 'I32' ? await readTensorI32(info) : await readTensorF32(info);
            expect([...new Int32Array(values.buffer)]).toEqual(bitsOf.get(info.name));
            if (info.byteLength > 0) expect(info.offset % 4).toBe(0);
          }
        },
      ),
      { numRuns: 60 },
    );
    expect((await readFile(file)).readBigUInt64LE(0) % 8n).toBe(0n);
  });

  it('holds one lazy tensor at a time and survives short writes', async () => {
    const file = join(await tempDir(), 'x.safetensors');
    let alive = 0;
    const lazy = (name: string) => ({
      name,
      dtype: 'F32' as const,
      shape: [3],
      data: async () => new Float32Array([++alive, 2, 3]),
    });
    await writeSafetensors(file, [lazy('a'), lazy('b')], {}, faultyIo(0, { shortWrites: true }).io);
    const { tensors } = await readSafetensorsHeader(file);
    expect([...(await readTensorF32(tensors.get('b')!))]).toEqual([2, 2, 3]);
  });

  it.each([
    ['the wrong length', [{ name: 'a', dtype: 'F32' as const, shape: [2], data: new Float32Array(3) }]],
    ['the wrong dtype', [{ name: 'a', dtype: 'F32' as const, shape: [2], data: new Int32Array(2) }]],
    ['a negative dimension', [{ name: 'a', dtype: 'F32' as const, shape: [-2], data: new Float32Array(2) }]],
    ['the reserved name', [{ name: '__metadata__', dtype: 'F32' as const, shape: [], data: new Float32Array(1) }]],
    [
      'a repeated name',
      ['a', 'a'].map((name) => ({ name, dtype: 'F32' as const, shape: [], data: new Float32Array(1) })),
    ],
  ])('refuses %s and keeps the old file', async (_, tensors) => {
    const file = join(await tempDir(), 'x.safetensors');
    await writeFile(file, 'old');
    await expect(writeSafetensors(file, tensors)).rejects.toThrow(`cannot write tensor ${tensors[0]?.name}`);
    expect(await readFile(file, 'utf8')).toBe('old');
  });
});
