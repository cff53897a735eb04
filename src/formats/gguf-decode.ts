// Tensor data of GGUF files to fp32, bit for bit as the Python package gguf gives them. A type that is not in the table below is
// refused by name, never approximated.
// A block holds weights of one row. 32 weights: a scale d (fp16), in the _1 types a minimum m (fp16), then the q of the weights:
// w = d q + m. Four bits: byte i holds the q of weight i (low half) and i + 16 (high half); a fifth bit stands in a word of 32.
// 256 weights (the _K types): scales of scales. Q4_K and Q5_K have 8 groups of 32, w = (d s) q − (dmin t) with 6-bit s and t;
// Q6_K has 16 groups of 16, w = (d s) q with s an int8.
// Notable choice: products of these small integers with fp16 scales are exact in fp32, so computing in doubles and rounding once,
// at the store, gives the bits of fp32 arithmetic.

import { failure } from '../util/index.ts';
import type { GgufTensorInfo } from './gguf.ts';
import { blockType } from './gguf-types.ts';
import { decodeBf16, decodeF16, halfTable } from './half.ts';
import { readFully, readPieces, withHandle } from './ranges.ts';

/** Reads whole blocks and writes their weights to `out` from index `start` on. */
type Decode = (bytes: Uint8Array, out: Float32Array, start: number) => void;

const DECODERS: Readonly<Record<string, Decode>> = {
  F16: decodeF16,
  BF16: decodeBf16,
  Q4_0: decodeQ4x0,
  Q4_1: decodeQ4x1,
  Q5_0: decodeQ5x0,
  Q5_1: decodeQ5x1,
  Q8_0: decodeQ8x0,
  Q4_K: decodeQ4xK,
  Q5_K: decodeQ5xK,
  Q6_K: decodeQ6xK,
};

/** The types whose weights can be read. */
export const READABLE_TYPES: readonly string[] = ['F32', ...Object.keys(DECODERS)];

/** Reads a tensor of a type in READABLE_TYPES as fp32, row-major; a failure names any other type. */
export async function readGgufTensorF32(file: string, info: GgufTensorInfo): Promise<Float32Array> {
  const { name, type, offset, byteLength } = info;
  const decode = DECODERS[type];
  if (decode === undefined && type !== 'F32') {
    throw failure({
      what: `tensor ${name} has the type ${type}, which cannot be read`,
      where: file,
      fix: `use a file of the types ${READABLE_TYPES.join(', ')}, or the original safetensors`,
    });
  }
  const out = new Float32Array(info.shape.reduce((product, dimension) => product * dimension, 1));
  if (decode === undefined) {
    await withHandle(file, (handle) => readFully(handle, file, new Uint8Array(out.buffer), offset));
  } else {
    const { elements, bytes } = blockType(type);
    await readPieces(file, offset, byteLength, bytes, (piece, first) => decode(piece, out, first * elements));
  }
  return out;
}

/** What is read of values that were written as a tensor of a type: each rounded to one that the type has. */
export function decodeTensor(bytes: Uint8Array, type: string, count: number): Float32Array {
  if (type === 'F32') return new Float32Array(bytes.buffer, bytes.byteOffset, count);
  const out = new Float32Array(count);
  DECODERS[type]!(bytes, out, 0);
  return out;
}

/** The fp16 at `at`. */
function half(table: Float32Array, bytes: Uint8Array, at: number): number {
  return table[bytes[at]! | (bytes[at + 1]! << 8)]!;
}

/** The little-endian 32-bit word at `at`. */
function word(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

function decodeQ8x0(bytes: Uint8Array, out: Float32Array, start: number): void {
  const table = halfTable();
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = start;
  for (let block = 0; block < bytes.length; block += 34) {
    const d = half(table, bytes, block);
    for (let i = block + 2; i < block + 34; i++) out[at++] = d * signed[i]!;
  }
}

function decodeQ4x0(bytes: Uint8Array, out: Float32Array, start: number): void {
  const table = halfTable();
  let at = start;
  for (let block = 0; block < bytes.length; block += 18, at += 32) {
    const d = half(table, bytes, block);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[block + 2 + i]!;
      out[at + i] = d * ((pair & 15) - 8);
      out[at + i + 16] = d * ((pair >> 4) - 8);
    }
  }
}

function decodeQ4x1(bytes: Uint8Array, out: Float32Array, start: number): void {
  const table = halfTable();
  let at = start;
  for (let block = 0; block < bytes.length; block += 20, at += 32) {
    const d = half(table, bytes, block);
    const m = half(table, bytes, block + 2);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[block + 4 + i]!;
      out[at + i] = d * (pair & 15) + m;
      out[at + i + 16] = d * (pair >> 4) + m;
    }
  }
}

function decodeQ5x0(bytes: Uint8Array, out: Float32Array, start: number): void {
  const table = halfTable();
  let at = start;
  for (let block = 0; block < bytes.length; block += 22, at += 32) {
    const d = half(table, bytes, block);
    const fifth = word(bytes, block + 2);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[block + 6 + i]!;
      out[at + i] = d * (((pair & 15) | (((fifth >>> i) & 1) << 4)) - 16);
      out[at + i + 16] = d * (((pair >> 4) | (((fifth >>> (i + 16)) & 1) << 4)) - 16);
    }
  }
}

function decodeQ5x1(bytes: Uint8Array, out: Float32Array, start: number): void {
  const table = halfTable();
  let at = start;
  for (let block = 0; block < bytes.length; block += 24, at += 32) {
    const d = half(table, bytes, block);
    const m = half(table, bytes, block + 2);
    const fifth = word(bytes, block + 4);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[block + 8 + i]!;
      out[at + i] = d * ((pair & 15) | (((fifth >>> i) & 1) << 4)) + m;
      out[at + i + 16] = d * ((pair >> 4) | (((fifth >>> (i + 16)) & 1) << 4)) + m;
    }
  }
}

/** The 6-bit scale of group j of Q4_K and Q5_K; 12 bytes from `at` on hold 8 scales and 8 minima. */
function scaleOf(bytes: Uint8Array, at: number, j: number): number {
  return j < 4 ? bytes[at + j]! & 63 : (bytes[at + 4 + j]! & 15) | ((bytes[at + j - 4]! >> 2) & 48);
}

/** The 6-bit minimum of group j, see `scaleOf`. */
function minimumOf(bytes: Uint8Array, at: number, j: number): number {
  return j < 4 ? bytes[at + 4 + j]! & 63 : (bytes[at + 4 + j]! >> 4) | ((bytes[at + j]! >> 2) & 48);
}

function decodeQ4xK(bytes: Uint8Array, out: Float32Array, start: number): void {
  const table = halfTable();
  let at = start;
  for (let block = 0; block < bytes.length; block += 144) {
    const d = half(table, bytes, block);
    const dmin = half(table, bytes, block + 2);
    // Each 32 bytes hold two groups, the first in the low halves.
    for (let j = 0; j < 8; j += 2, at += 64) {
      const low = d * scaleOf(bytes, block + 4, j);
      const lowMinimum = dmin * minimumOf(bytes, block + 4, j);
      const high = d * scaleOf(bytes, block + 4, j + 1);
      const highMinimum = dmin * minimumOf(bytes, block + 4, j + 1);
      const pairs = block + 16 + j * 16;
      for (let i = 0; i < 32; i++) {
        const pair = bytes[pairs + i]!;
        out[at + i] = low * (pair & 15) - lowMinimum;
        out[at + i + 32] = high * (pair >> 4) - highMinimum;
      }
    }
  }
}

function decodeQ5xK(bytes: Uint8Array, out: Float32Array, start: number): void {
  const table = halfTable();
  let at = start;
  for (let block = 0; block < bytes.length; block += 176) {
    const d = half(table, bytes, block);
    const dmin = half(table, bytes, block + 2);
    const fifths = block + 16;
    // As Q4_K; bit j of fifth byte i belongs to weight i of group j.
    for (let j = 0; j < 8; j += 2, at += 64) {
      const low = d * scaleOf(bytes, block + 4, j);
      const lowMinimum = dmin * minimumOf(bytes, block + 4, j);
      const high = d * scaleOf(bytes, block + 4, j + 1);
      const highMinimum = dmin * minimumOf(bytes, block + 4, j + 1);
      const pairs = block + 48 + j * 16;
      for (let i = 0; i < 32; i++) {
        const pair = bytes[pairs + i]!;
        const fifth = bytes[fifths + i]! >> j;
        out[at + i] = low * ((pair & 15) | ((fifth & 1) << 4)) - lowMinimum;
        out[at + i + 32] = high * ((pair >> 4) | ((fifth & 2) << 3)) - highMinimum;
      }
    }
  }
}

function decodeQ6xK(bytes: Uint8Array, out: Float32Array, start: number): void {
  const table = halfTable();
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = start;
  for (let block = 0; block < bytes.length; block += 210) {
    const d = half(table, bytes, block + 208);
    // Two halves of 128 weights: 64 bytes of low nibbles, 32 of high pairs of bits, 8 scales.
    for (let part = 0; part < 2; part++, at += 128) {
      const nibbles = block + part * 64;
      const highs = block + 128 + part * 32;
      const scales = block + 192 + part * 8;
      for (let i = 0; i < 32; i++) {
        const near = bytes[nibbles + i]!;
        const far = bytes[nibbles + 32 + i]!;
        const high = bytes[highs + i]!;
        const scale = scales + (i >> 4);
        out[at + i] = d * signed[scale]! * (((near & 15) | ((high & 3) << 4)) - 32);
        out[at + i + 32] = d * signed[scale + 2]! * (((far & 15) | ((high & 12) << 2)) - 32);
        out[at + i + 64] = d * signed[scale + 4]! * (((near >> 4) | (high & 48)) - 32);
        out[at + i + 96] = d * signed[scale + 6]! * (((far >> 4) | ((high & 192) >> 2)) - 32);
      }
    }
  }
}
