// Tensor data of GGUF files to fp32: plain floats, Q8_0 and Q4_1. Other block types are refused by name, never approximated.
// A block is 32 weights of a row: Q8_0 holds a scale d (fp16) and 32 int8 q, w = d q; Q4_1 holds d, a minimum m (fp16) and
// 16 bytes whose low halves are the q of the first 16 weights and high halves those of the last 16, w = d q + m.

import { failure } from '../util/index.ts';
import type { GgufTensorInfo } from './gguf.ts';
import { decodeBf16, decodeF16, halfTable } from './half.ts';
import { readFully, readPieces, withHandle } from './ranges.ts';

const BLOCK = 32;
const Q8_0_BYTES = 34;
const Q4_1_BYTES = 20;

/** Reads a tensor of type F32, F16, BF16, Q8_0 or Q4_1 as fp32, row-major; a failure names any other type. */
export async function readGgufTensorF32(file: string, info: GgufTensorInfo): Promise<Float32Array> {
  const decoder = decoderOf(info, file);
  const out = new Float32Array(info.shape.reduce((product, dimension) => product * dimension, 1));
  if (decoder === 'copy') {
    await withHandle(file, (handle) => readFully(handle, file, new Uint8Array(out.buffer), info.offset));
  } else {
    const { unit, elements, decode } = decoder;
    await readPieces(file, info.offset, info.byteLength, unit, (piece, first) => decode(piece, out, first * elements));
  }
  return out;
}

interface Decoder {
  /** Bytes per block. */
  readonly unit: number;
  /** Weights per block. */
  readonly elements: number;
  readonly decode: (bytes: Uint8Array, out: Float32Array, start: number) => void;
}

function decoderOf(info: GgufTensorInfo, file: string): Decoder | 'copy' {
  switch (info.type) {
    case 'F32':
      return 'copy';
    case 'F16':
      return { unit: 2, elements: 1, decode: decodeF16 };
    case 'BF16':
      return { unit: 2, elements: 1, decode: decodeBf16 };
    case 'Q8_0':
      return { unit: Q8_0_BYTES, elements: BLOCK, decode: decodeQ8 };
    case 'Q4_1':
      return { unit: Q4_1_BYTES, elements: BLOCK, decode: decodeQ4 };
    default:
      throw failure({
        what: `tensor ${info.name} has the type ${info.type}, which cannot be read`,
        where: file,
        fix: 'use a file of type F32, F16, BF16, Q8_0 or Q4_1, or the original safetensors',
      });
  }
}

function decodeQ8(bytes: Uint8Array, out: Float32Array, start: number): void {
  const half = halfTable();
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = start;
  for (let block = 0; block < bytes.length; block += Q8_0_BYTES) {
    const scale = half[(bytes[block] as number) | ((bytes[block + 1] as number) << 8)] as number;
    for (let i = block + 2; i < block + Q8_0_BYTES; i++) out[at++] = scale * (signed[i] as number);
  }
}

function decodeQ4(bytes: Uint8Array, out: Float32Array, start: number): void {
  const half = halfTable();
  let at = start;
  for (let block = 0; block < bytes.length; block += Q4_1_BYTES, at += BLOCK) {
    const scale = half[(bytes[block] as number) | ((bytes[block + 1] as number) << 8)] as number;
    const minimum = half[(bytes[block + 2] as number) | ((bytes[block + 3] as number) << 8)] as number;
    for (let i = 0; i < BLOCK / 2; i++) {
      const pair = bytes[block + 4 + i] as number;
      out[at + i] = scale * (pair & 15) + minimum;
      out[at + i + BLOCK / 2] = scale * (pair >> 4) + minimum;
    }
  }
}
