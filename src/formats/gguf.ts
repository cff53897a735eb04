// GGUF, the single-file format of llama.cpp, versions 2 and 3, little-endian: metadata, a table of tensors, aligned data.
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
// Notable choices: every count is held against the bytes that are left before anything is allocated; shapes are turned into
// row-major order (GGUF stores the fastest dimension first). Decoding is in gguf-decode.ts.

import { isAscii } from 'node:buffer';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { failure, type SelfplayError } from '../util/index.ts';
import { BLOCK_TYPES, DEFAULT_ALIGNMENT, VALUE_BYTES, VALUE_TYPES } from './gguf-types.ts';

const MAX_ARRAY_DEPTH = 4;
const MAX_DIMENSIONS = 4;

/** One tensor: shape row-major (as in Hugging Face files), `offset` in bytes from the start of the file. */
export interface GgufTensorInfo {
  readonly name: string;
  readonly type: string;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly byteLength: number;
}

/** Metadata values are boolean, number, bigint (64-bit integers beyond 2^53), string or arrays of these. */
export interface GgufFile {
  readonly metadata: Map<string, unknown>;
  readonly tensors: Map<string, GgufTensorInfo>;
}

/** Reads and checks metadata and tensor table of a GGUF file. Throws a failure naming the file and what is wrong in it. */
export async function readGguf(file: string): Promise<GgufFile> {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch (error) {
    throw failure({ what: `cannot open the file: ${(error as Error).message}`, where: file, cause: error });
  }
  try {
    return readAll(new Cursor(file, descriptor));
  } finally {
    closeSync(descriptor);
  }
}

/** A window that moves over the file; every `take` is checked against the file's size. */
class Cursor {
  readonly file: string;
  readonly size: number;
  readonly #descriptor: number;
  #window = Buffer.alloc(0);
  #windowStart = 0;
  #at = 0;

  constructor(file: string, descriptor: number) {
    this.file = file;
    this.size = fstatSync(descriptor).size;
    this.#descriptor = descriptor;
  }

  get position(): number {
    return this.#at;
  }

  bad(what: string): SelfplayError {
    const fix = 'fetch the file again; it is truncated, damaged or not GGUF';
    return failure({ what: `invalid GGUF file: ${what}`, where: this.file, fix });
  }

  /** Fails unless `count` things of at least `bytes` bytes each can still follow. */
  expectRoom(count: number | bigint, bytes: number, what: () => string): void {
    const left = this.size - this.#at;
    const fits = typeof count === 'number' ? count * bytes <= left : count * BigInt(bytes) <= BigInt(left);
    if (!fits) {
      throw this.bad(`${what()} (${count}) runs past the end of the file, at byte ${this.#at}`);
    }
  }

  /** The next `count` bytes and the index of the first of them. */
  take(count: number): { bytes: Buffer; index: number } {
    this.expectRoom(1, count, aField);
    let index = this.#at - this.#windowStart;
    if (index + count > this.#window.length) {
      const wanted = Math.min(Math.max(count, 1 << 20), this.size - this.#at);
      this.#window = Buffer.alloc(wanted);
      this.#windowStart = this.#at;
      index = 0;
      for (let done = 0; done < wanted; ) {
        const got = readSync(this.#descriptor, this.#window, done, wanted - done, this.#at + done);
        if (got === 0) throw this.bad('the file became shorter while it was read');
        done += got;
      }
    }
    this.#at += count;
    return { bytes: this.#window, index };
  }

  u32(): number {
    const { bytes, index } = this.take(4);
    return bytes.readUInt32LE(index);
  }

  u64(): bigint {
    const { bytes, index } = this.take(8);
    return bytes.readBigUInt64LE(index);
  }

  text(what: () => string): string {
    const { bytes: prefix, index: at } = this.take(8);
    // Most texts are tokens: short.
    const short = prefix.readUInt32LE(at + 4) === 0;
    const length = short ? prefix.readUInt32LE(at) : prefix.readBigUInt64LE(at);
    this.expectRoom(length, 1, () => `the length of ${what()}`);
    const { bytes, index } = this.take(Number(length));
    const text = bytes.subarray(index, index + Number(length));
    if (isAscii(text)) return bytes.toString('latin1', index, index + Number(length));
    try {
      return UTF8.decode(text);
    } catch {
      throw this.bad(`${what()} is not UTF-8`);
    }
  }
}

const aField = () => 'a field';
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function readAll(cursor: Cursor): GgufFile {
  if (cursor.size < 24) throw cursor.bad(`${cursor.size} bytes cannot hold its header`);
  if (cursor.u32() !== 0x46554747) throw cursor.bad('it does not start with "GGUF"');
  const version = cursor.u32();
  if (version !== 2 && version !== 3) {
    throw cursor.bad(version % 0x10000 === 0 ? 'big-endian files are not supported' : `version ${version}, not 2 or 3`);
  }
  const tensorCount = cursor.u64();
  const metadataCount = cursor.u64();
  cursor.expectRoom(metadataCount, 13, () => 'the number of metadata entries');
  const metadata = new Map<string, unknown>();
  for (let i = 0; i < Number(metadataCount); i++) {
    const key = cursor.text(() => 'a metadata key');
    if (metadata.has(key)) throw cursor.bad(`duplicate metadata key ${JSON.stringify(key)}`);
    metadata.set(key, readValue(cursor, key, cursor.u32(), 0));
  }
  const alignment = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT;
  if (typeof alignment !== 'number' || alignment < 1 || alignment > 1 << 20 || (alignment & (alignment - 1)) !== 0) {
    throw cursor.bad(`general.alignment is ${String(alignment)}, not a power of two`);
  }
  cursor.expectRoom(tensorCount, 24, () => 'the number of tensors');
  const tensors = new Map<string, GgufTensorInfo>();
  for (let i = 0; i < Number(tensorCount); i++) {
    const info = readTensorInfo(cursor, alignment);
    if (tensors.has(info.name)) throw cursor.bad(`duplicate tensor ${JSON.stringify(info.name)}`);
    tensors.set(info.name, info);
  }
  const dataStart = Math.ceil(cursor.position / alignment) * alignment;
  return { metadata, tensors: placeTensors(cursor, dataStart, tensors) };
}

/** Reads one row of the table; its offset is still relative to the data section. */
function readTensorInfo(cursor: Cursor, alignment: number): GgufTensorInfo {
  const name = cursor.text(() => 'a tensor name');
  const bad = (what: string) => cursor.bad(`tensor ${JSON.stringify(name)}: ${what}`);
  const rank = cursor.u32();
  if (rank > MAX_DIMENSIONS) throw bad(`${rank} dimensions, at most ${MAX_DIMENSIONS} are possible`);
  const dimensions = Array.from({ length: rank }, () => cursor.u64());
  const typeNumber = cursor.u32();
  const offset = cursor.u64();
  const type = BLOCK_TYPES.get(typeNumber);
  if (type === undefined) throw bad(`unknown type ${typeNumber}`);
  const { name: typeName, elements, bytes } = type;
  const count = dimensions.reduce((product, dimension) => product * dimension, 1n);
  if ((dimensions[0] ?? 1n) % BigInt(elements) !== 0n) {
    throw bad(`rows of ${dimensions[0]} elements are not whole ${typeName} blocks of ${elements}`);
  }
  const byteLength = (count / BigInt(elements)) * BigInt(bytes);
  if (byteLength + offset > BigInt(cursor.size) || dimensions.some((n) => n > BigInt(Number.MAX_SAFE_INTEGER))) {
    throw bad(`its data (${byteLength} bytes from ${offset} on) end past the file's ${cursor.size} bytes`);
  }
  if (offset % BigInt(alignment) !== 0n) throw bad(`offset ${offset} is not a multiple of ${alignment}`);
  const shape = dimensions.map(Number).reverse();
  return { name, type: typeName, shape, offset: Number(offset), byteLength: Number(byteLength) };
}

/** Makes offsets absolute and checks that tensors lie within the file and do not overlap. */
function placeTensors(
  cursor: Cursor,
  dataStart: number,
  tensors: Map<string, GgufTensorInfo>,
): Map<string, GgufTensorInfo> {
  const placed = new Map<string, GgufTensorInfo>();
  for (const [name, info] of tensors) placed.set(name, { ...info, offset: dataStart + info.offset });
  let end = dataStart;
  for (const info of [...placed.values()].sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength)) {
    const bad = (what: string) => cursor.bad(`tensor ${JSON.stringify(info.name)}: ${what}`);
    if (info.offset < end) throw bad('its data overlap those of another tensor');
    end = info.offset + info.byteLength;
    if (end > cursor.size) throw bad(`its data end at byte ${end}, past the file's ${cursor.size} bytes`);
  }
  return placed;
}

function readValue(cursor: Cursor, key: string, type: number, depth: number): unknown {
  if (type === VALUE_TYPES.string) return cursor.text(() => `the value of ${JSON.stringify(key)}`);
  if (type === VALUE_TYPES.array) {
    if (depth === MAX_ARRAY_DEPTH) throw cursor.bad(`${JSON.stringify(key)} nests arrays more than ${depth} deep`);
    const itemType = cursor.u32();
    const count = cursor.u64();
    const itemBytes =
      itemType === VALUE_TYPES.string ? 8 : itemType === VALUE_TYPES.array ? 12 : (VALUE_BYTES[itemType] ?? 1);
    cursor.expectRoom(count, itemBytes, () => `the length of ${JSON.stringify(key)}`);
    const items: unknown[] = [];
    for (let i = 0; i < Number(count); i++) items.push(readValue(cursor, key, itemType, depth + 1));
    return items;
  }
  const size = VALUE_BYTES[type];
  if (size === undefined) throw cursor.bad(`${JSON.stringify(key)} has the unknown value type ${type}`);
  const { bytes, index } = cursor.take(size);
  return readScalar(cursor, key, type, bytes, index);
}

function readScalar(cursor: Cursor, key: string, type: number, bytes: Buffer, index: number): unknown {
  switch (type) {
    case 0:
      return bytes.readUInt8(index);
    case 1:
      return bytes.readInt8(index);
    case 2:
      return bytes.readUInt16LE(index);
    case 3:
      return bytes.readInt16LE(index);
    case 4:
      return bytes.readUInt32LE(index);
    case 5:
      return bytes.readInt32LE(index);
    case 6:
      return bytes.readFloatLE(index);
    case 7: {
      const byte = bytes.readUInt8(index);
      if (byte > 1) throw cursor.bad(`${JSON.stringify(key)} is a boolean with the value ${byte}`);
      return byte === 1;
    }
    case 10:
      return safeNumber(bytes.readBigUInt64LE(index));
    case 11:
      return safeNumber(bytes.readBigInt64LE(index));
    default:
      return bytes.readDoubleLE(index);
  }
}

function safeNumber(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
