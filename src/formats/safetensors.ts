// safetensors: 8 bytes of header length, a JSON header, then the tensors' bytes without gaps.
// Notable choices: the reader checks everything the header says against the file's size before any allocation that depends on
// it, in the order of the reference implementation (https://github.com/huggingface/safetensors), and is stricter about
// duplicate keys; the writer holds one tensor at a time and keeps the order given. Numbers are little-endian, as the machine's.

import { diskIo, failure, type Io, writeAll, writeFileAtomic } from '../util/index.ts';
import { encodeTensor } from './gguf-encode.ts';
import { decodeBf16, decodeF16 } from './half.ts';
import { readFully, readPieces, withHandle } from './ranges.ts';
import { parseStrictJson, type StrictJson } from './strict-json.ts';

const MAX_HEADER_BYTES = 100_000_000;

/** Bits per element of every dtype of the format. */
const DTYPE_BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

export type SafetensorsDtype = keyof typeof DTYPE_BITS;

/** One tensor of a file: `offset` counts bytes from the start of the file; the shape is row-major and may be empty (a scalar). */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly file: string;
  readonly offset: number;
  readonly byteLength: number;
}

/** Tensors in the order of the header, and the header's `__metadata__` (empty if absent). */
export interface SafetensorsHeader {
  readonly tensors: Map<string, TensorInfo>;
  readonly metadata: Map<string, string>;
}

/** Reads and checks a file's header. Throws a failure naming file and tensor for every violation of the format. */
export async function readSafetensorsHeader(file: string): Promise<SafetensorsHeader> {
  const { text, size } = await withHandle(file, async (handle) => {
    const size = (await handle.stat()).size;
    if (size < 8) throw damaged(file, `${size} bytes cannot hold the 8 bytes of header length`);
    const prefix = new Uint8Array(8);
    await readFully(handle, file, prefix, 0);
    const length = new DataView(prefix.buffer).getBigUint64(0, true);
    if (length > BigInt(MAX_HEADER_BYTES)) {
      throw damaged(file, `header length ${length} is above the limit of ${MAX_HEADER_BYTES}`);
    }
    if (8 + Number(length) > size)
      throw damaged(file, `the header of ${length} bytes ends past the file's ${size} bytes`);
    const bytes = new Uint8Array(Number(length));
    await readFully(handle, file, bytes, 8);
    try {
      return { text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes), size };
    } catch {
      throw damaged(file, 'the header is not UTF-8');
    }
  });
  if (!text.startsWith('{')) throw damaged(file, "the header does not start with '{'");
  let header: StrictJson;
  try {
    header = parseStrictJson(text);
  } catch (error) {
    throw damaged(file, `the header is not valid JSON: ${(error as Error).message}`);
  }
  const dataStart = 8 + Buffer.byteLength(text);
  const tensors = new Map<string, TensorInfo>();
  let metadata = new Map<string, string>();
  for (const [name, value] of header as Map<string, StrictJson>) {
    if (name === '__metadata__') metadata = checkMetadata(file, value);
    else tensors.set(name, checkTensor(file, dataStart, name, value));
  }
  checkLayout(file, dataStart, size, tensors);
  return { tensors, metadata };
}

function checkMetadata(file: string, value: StrictJson): Map<string, string> {
  if (!(value instanceof Map)) throw damaged(file, '__metadata__ is not an object');
  const metadata = new Map<string, string>();
  for (const [key, text] of value) {
    if (typeof text !== 'string') throw damaged(file, `__metadata__ value of ${JSON.stringify(key)} is not a string`);
    metadata.set(key, text);
  }
  return metadata;
}

function checkTensor(file: string, dataStart: number, name: string, value: StrictJson): TensorInfo {
  const bad = (what: string) => damaged(file, `tensor ${JSON.stringify(name)}: ${what}`);
  if (!(value instanceof Map)) throw bad('not an object');
  const dtype = value.get('dtype');
  if (typeof dtype !== 'string' || !Object.hasOwn(DTYPE_BITS, dtype)) throw bad(`unknown dtype ${String(dtype)}`);
  const integers = (key: string): number[] => {
    const list = value.get(key);
    if (!Array.isArray(list)) throw bad(`${key} is missing or not a list`);
    return list.map((item) => {
      if (typeof item !== 'bigint' || item < 0n || item > BigInt(Number.MAX_SAFE_INTEGER)) {
        throw bad(`${key} holds ${String(item)}, not an integer from 0 to 2^53 - 1`);
      }
      return Number(item);
    });
  };
  const shape = integers('shape');
  const offsets = integers('data_offsets');
  const [begin, end] = offsets;
  if (begin === undefined || end === undefined || offsets.length !== 2) throw bad('data_offsets is not a pair');
  if (end < begin) throw bad(`data_offsets end (${end}) before they begin (${begin})`);
  return { name, dtype: dtype as SafetensorsDtype, shape, file, offset: dataStart + begin, byteLength: end - begin };
}

/** Offsets must tile the data exactly, and each tensor's bytes must fit its shape and dtype. */
function checkLayout(file: string, dataStart: number, size: number, tensors: Map<string, TensorInfo>): void {
  let expected = dataStart;
  const sorted = [...tensors.values()].sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  for (const info of sorted) {
    const bad = (what: string) => damaged(file, `tensor ${JSON.stringify(info.name)}: ${what}`);
    if (info.offset !== expected) {
      throw bad(`its data begin at ${info.offset - dataStart}, expected ${expected - dataStart} (hole or overlap)`);
    }
    let bits = BigInt(DTYPE_BITS[info.dtype]);
    for (const dimension of info.shape) {
      bits *= BigInt(dimension);
      if (bits > 2n ** 64n) throw bad(`the size of shape [${info.shape.join(', ')}] overflows`);
    }
    if (bits !== 8n * BigInt(info.byteLength)) {
      throw bad(`${info.byteLength} bytes do not fit ${info.dtype} of shape [${info.shape.join(', ')}]`);
    }
    expected += info.byteLength;
  }
  if (expected !== size) throw damaged(file, `the file has ${size} bytes, its header describes ${expected}`);
}

function damaged(file: string, what: string): Error {
  return failure({
    what: `invalid safetensors file: ${what}`,
    where: file,
    fix: 'fetch or save the file again; it is truncated or damaged',
  });
}

/** The number of elements of a shape. */
function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dimension) => product * dimension, 1);
}

/** Reads an F32, F16 or BF16 tensor as fp32; fails for other dtypes. */
export async function readTensorF32(info: TensorInfo): Promise<Float32Array> {
  const out = new Float32Array(elementCount(info.shape));
  if (info.dtype === 'F32') {
    await readInto(info, new Uint8Array(out.buffer));
  } else if (info.dtype === 'F16' || info.dtype === 'BF16') {
    const decode = info.dtype === 'F16' ? decodeF16 : decodeBf16;
    await readPieces(info.file, info.offset, info.byteLength, 2, (piece, first) => decode(piece, out, first));
  } else {
    throw wrongDtype(info, 'F32, F16 or BF16');
  }
  return out;
}

/** Reads an I32 tensor; fails for other dtypes. */
export async function readTensorI32(info: TensorInfo): Promise<Int32Array> {
  if (info.dtype !== 'I32') throw wrongDtype(info, 'I32');
  const out = new Int32Array(elementCount(info.shape));
  await readInto(info, new Uint8Array(out.buffer));
  return out;
}

async function readInto(info: TensorInfo, bytes: Uint8Array): Promise<void> {
  await withHandle(info.file, (handle) => readFully(handle, info.file, bytes, info.offset));
}

function wrongDtype(info: TensorInfo, wanted: string): Error {
  return failure({ what: `tensor ${info.name} has dtype ${info.dtype}, expected ${wanted}`, where: info.file });
}

/**
 * A tensor to write; `data` may be a function that makes it when its turn comes. Its length must be the shape's product. F16 and BF16
 * are given as fp32, and rounded when they are written.
 */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: 'F32' | 'F16' | 'BF16' | 'I32';
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array | (() => Promise<Float32Array | Int32Array>);
}

/** Bytes of a tensor's data in a file. */
export function tensorBytes({ dtype, shape }: Pick<TensorToWrite, 'dtype' | 'shape'>): number {
  return (DTYPE_BITS[dtype] / 8) * elementCount(shape);
}

/**
 * Writes a safetensors file atomically (temporary, fsync, rename), tensors in the order given, the header padded with spaces
 * to a multiple of 8 bytes. Replaces an existing file. Throws a failure if a tensor's data do not fit its shape and dtype, or a
 * weight is beyond F16.
 */
export async function writeSafetensors(
  file: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> = {},
  io: Io = diskIo,
): Promise<void> {
  const bad = (name: string, what: string) => failure({ what: `cannot write tensor ${name}: ${what}`, where: file });
  const header = new Map<string, unknown>();
  if (Object.keys(metadata).length > 0) header.set('__metadata__', metadata);
  let offset = 0;
  for (const { name, dtype, shape } of tensors) {
    if (name === '__metadata__' || header.has(name)) throw bad(name, 'the name is taken');
    const end = offset + tensorBytes({ dtype, shape });
    if (!Number.isSafeInteger(end) || shape.some((n) => !Number.isInteger(n) || n < 0)) {
      throw bad(name, `impossible shape [${shape.join(', ')}]`);
    }
    header.set(name, { dtype, shape, data_offsets: [offset, end] });
    offset = end;
  }
  const entries = [...header].map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  const text = new TextEncoder().encode(`{${entries.join(',')}}`);
  const prefix = new Uint8Array(8 + Math.ceil(text.length / 8) * 8).fill(0x20);
  new DataView(prefix.buffer).setBigUint64(0, BigInt(prefix.length - 8), true);
  prefix.set(text, 8);
  await writeFileAtomic(
    file,
    async (out) => {
      await writeAll(out, prefix);
      for (const { name, dtype, shape, data } of tensors) {
        const values = typeof data === 'function' ? await data() : data;
        if (values.length !== elementCount(shape)) {
          throw bad(name, `${values.length} numbers do not fit shape [${shape.join(', ')}]`);
        }
        const bytes = bytesOf(values, dtype, name);
        if (bytes === undefined) throw bad(name, `its data are not ${dtype}`);
        await writeAll(out, bytes);
      }
    },
    io,
  );
}

/** The bytes of a tensor; undefined for numbers of another kind. */
function bytesOf(
  values: Float32Array | Int32Array,
  dtype: TensorToWrite['dtype'],
  name: string,
): Uint8Array | undefined {
  if (dtype !== 'I32') return values instanceof Float32Array ? encodeTensor(values, dtype, name) : undefined;
  return values instanceof Int32Array ? new Uint8Array(values.buffer, values.byteOffset, values.byteLength) : undefined;
}
