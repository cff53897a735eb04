// fp32 to the tensor types that are written to GGUF files, byte for byte as the Python package gguf quantises.
// Q8_0: d = max|w| / 127, q = w/d rounded, halves away from zero. Q4_0: d = m / −8 with m the weight of the largest magnitude,
// q = w/d + 8 rounded into 0..15. Both divide by multiplying with the fp32 of 1/d, every step rounded to fp32.

import { failure } from '../util/index.ts';
import { blockType } from './gguf-types.ts';
import { encodeBf16, encodeF16, halfBits } from './half.ts';

/** What can be written. */
export const WRITABLE_TYPES = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0'] as const;
export type WritableType = (typeof WRITABLE_TYPES)[number];

const BLOCK = 32;
const HALF_INFINITY = 0x7c00;

/**
 * The bytes of a tensor in this type; its rows must be whole blocks.
 * @param name of the tensor, for errors
 * @throws failure where a weight is beyond the type (F16, and the scales of blocks), or not finite in a block
 */
export function encodeTensor(values: Float32Array, type: WritableType, name: string): Uint8Array {
  switch (type) {
    case 'F32':
      return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    case 'F16':
      return checkedF16(values, name);
    case 'BF16':
      return encodeBf16(values);
    case 'Q8_0':
      return encodeBlocks(values, type, name, encodeQ8x0);
    case 'Q4_0':
      return encodeBlocks(values, type, name, encodeQ4x0);
  }
}

function checkedF16(values: Float32Array, name: string): Uint8Array {
  const bytes = encodeF16(values);
  const words = new Uint16Array(bytes.buffer);
  const lost = values.findIndex((value, i) => (words[i]! & 0x7fff) === HALF_INFINITY && Number.isFinite(value));
  if (lost >= 0) throw tooLarge(name, 'F16', values[lost]!);
  return bytes;
}

function tooLarge(name: string, type: string, value: number): Error {
  return failure({
    what: `tensor ${name} has the weight ${value}, which ${type} cannot hold`,
    fix: 'write BF16 or F32',
  });
}

/** Writes one block from `values[at]` on to `bytes[to]` on; d is its scale in fp32. */
type EncodeBlock = (values: Float32Array, at: number, bytes: Uint8Array, to: number) => number;

function encodeBlocks(values: Float32Array, type: 'Q8_0' | 'Q4_0', name: string, encode: EncodeBlock): Uint8Array {
  const size = blockType(type).bytes;
  const bytes = new Uint8Array((values.length / BLOCK) * size);
  for (let at = 0, to = 0; at < values.length; at += BLOCK, to += size) {
    const d = encode(values, at, bytes, to);
    const bits = halfBits(d);
    if ((bits & 0x7fff) >= HALF_INFINITY) {
      const block = values.subarray(at, at + BLOCK);
      const largest = block.reduce((most, weight) => (Math.abs(weight) > Math.abs(most) ? weight : most));
      throw tooLarge(name, type, block.find(Number.isNaN) ?? largest);
    }
    bytes[to] = bits;
    bytes[to + 1] = bits >> 8;
  }
  return bytes;
}

/** 1/d in fp32; 0 for blocks of nothing but zeros, or of weights so small that their scale is 0 in fp16 anyway. */
function inverse(d: number): number {
  const one = Math.fround(1 / d);
  return Number.isFinite(one) ? one : 0;
}

function encodeQ8x0(values: Float32Array, at: number, bytes: Uint8Array, to: number): number {
  let most = 0;
  for (let i = at; i < at + BLOCK; i++) {
    const magnitude = Math.abs(values[i]!);
    if (magnitude > most) most = magnitude;
    else if (Number.isNaN(magnitude)) return magnitude;
  }
  const d = Math.fround(most / 127);
  const id = inverse(d);
  for (let i = 0; i < BLOCK; i++) {
    const scaled = Math.fround(values[at + i]! * id);
    const rounded = Math.floor(Math.abs(scaled) + 0.5);
    bytes[to + 2 + i] = scaled < 0 ? -rounded : rounded;
  }
  return d;
}

function encodeQ4x0(values: Float32Array, at: number, bytes: Uint8Array, to: number): number {
  let extreme = 0;
  for (let i = at; i < at + BLOCK; i++) {
    const value = values[i]!;
    if (Math.abs(value) > Math.abs(extreme)) extreme = value;
    else if (Number.isNaN(value)) return value;
  }
  const d = Math.fround(extreme / -8);
  const id = inverse(d);
  const quantised = (i: number) => Math.min(15, Math.floor(Math.fround(Math.fround(values[at + i]! * id) + 8.5)));
  for (let i = 0; i < BLOCK / 2; i++) bytes[to + 2 + i] = quantised(i) | (quantised(i + BLOCK / 2) << 4);
  return d;
}
