// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// A number is a pure function of its address, so results depend neither on batch composition nor on order nor on resumes.
//
// Packing of an address into the 192 bits of counter and key (no two distinct addresses within the limits collide,
// except through the 64-bit hash of the row id):
//   key     [seed bits 0..31, seed bits 32..52 | stream << 21]       seed < 2^53, stream < 2045 (the rest is kept for below)
//   counter [position, sample | iteration << 16, row key word 0, row key word 1]     position < 2^32, sample and iteration < 2^16
// `words`, `normals` and `shuffled` take streams by name: they use the streams 2045 to 2047, the name's 64-bit hash in place of the row
// key and a running block number in place of the position.

import { createHash } from 'node:crypto';

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;
const WORDS_STREAM = 2045;
const NORMALS_STREAM = 2046;
const SHUFFLE_STREAM = 2047;

export type Words4 = readonly [number, number, number, number];

/** 64-bit hash of a row id as two 32-bit words, made by `rowKey`. */
export type RowKey = readonly [number, number];

/** High 32 bits of the 64-bit product of two uint32; every intermediate stays below 2^53. */
function multiplyHigh(a: number, b: number): number {
  const upper = (a >>> 16) * b;
  const lower = (a & 0xffff) * b;
  return Math.floor((upper + Math.floor(lower / 65536)) / 65536);
}

/** One block of Philox4x32 with 10 rounds: four uint32 from a counter of four and a key of two uint32. */
export function philox4x32(counter: Words4, key: readonly [number, number]): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const low0 = Math.imul(MULTIPLIER_0, c0) >>> 0;
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low1 = Math.imul(MULTIPLIER_1, c2) >>> 0;
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0;
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** 64-bit hash of a row id (the first words of SHA-256 over its UTF-16 code units). Compute it once per row. */
export function rowKey(id: string): RowKey {
  const digest = createHash('sha256').update(Buffer.from(id, 'utf16le')).digest();
  return [digest.readUInt32LE(0), digest.readUInt32LE(4)];
}

/** A 32-bit hash of a text, evenly distributed and the same on every machine. */
export function hash32(text: string): number {
  return rowKey(text)[0];
}

function keyOf(seed: number, stream: number): [number, number] {
  checkInteger('seed', seed, Number.MAX_SAFE_INTEGER);
  return [seed >>> 0, (Math.floor(seed / 2 ** 32) | (stream << 21)) >>> 0];
}

function checkInteger(name: string, value: number, maximum: number): void {
  if (!Number.isInteger(value) || value < 0 || value > maximum) {
    throw new RangeError(`${name} must be an integer from 0 to ${maximum}, got ${value}`);
  }
}

/**
 * A uniform number in the open interval (0, 1), exactly representable in fp32 (an odd multiple of 2^-24). It depends only on
 * the arguments: seed (< 2^53), stream (< 2045, one per purpose), iteration (< 2^16), row (`rowKey` of the row's id),
 * sample (< 2^16, which of the row's answers) and position (< 2^32, which token). Throws RangeError outside these limits.
 */
export function uniform(
  seed: number,
  stream: number,
  iteration: number,
  row: RowKey,
  sample: number,
  position: number,
): number {
  checkInteger('stream', stream, WORDS_STREAM - 1);
  checkInteger('iteration', iteration, 0xffff);
  checkInteger('sample', sample, 0xffff);
  checkInteger('position', position, 0xffffffff);
  const counter: Words4 = [position, (sample | (iteration << 16)) >>> 0, row[0], row[1]];
  return openUnit(philox4x32(counter, keyOf(seed, stream))[0]);
}

/** `count` random 32-bit numbers, determined by the seed and the stream's name. The first n of a longer run equal a run of n. */
export function words(count: number, seed: number, stream: string): Int32Array {
  const key = keyOf(seed, WORDS_STREAM);
  const [row0, row1] = rowKey(stream);
  const result = new Int32Array(count);
  for (let start = 0; start < count; start += 4) {
    const block = philox4x32([start / 4, 0, row0, row1], key);
    for (let i = start; i < Math.min(start + 4, count); i++) result[i] = block[i - start]!;
  }
  return result;
}

/** `count` uniform numbers in (0, 1) as those of `uniform`, by the stream's name. */
export function uniforms(count: number, seed: number, stream: string): Float32Array {
  return Float32Array.from(words(count, seed, stream), openUnit);
}

/** uint32 -> (0, 1): the top 23 bits, centred in their interval, so that neither end is ever reached in fp32. */
function openUnit(word: number): number {
  return ((word >>> 9) + 0.5) * 2 ** -23;
}

/** A shuffled copy (Fisher-Yates), determined by the seed, the stream's name and the number of items. */
export function shuffled<T>(items: readonly T[], seed: number, stream: string): T[] {
  const key = keyOf(seed, SHUFFLE_STREAM);
  const [row0, row1] = rowKey(stream);
  const result = items.slice();
  for (let last = result.length - 1; last > 0; last--) {
    // 53 random bits: the bias of the floor is below length / 2^53.
    const block = philox4x32([last, 0, row0, row1], key);
    const fraction = (block[0] * 2 ** 21 + (block[1] >>> 11)) * 2 ** -53;
    const other = Math.floor(fraction * (last + 1));
    const item = result[last] as T;
    result[last] = result[other] as T;
    result[other] = item;
  }
  return result;
}

/**
 * `count` standard normal numbers (fp32) by Box-Muller, for initial weights; determined by the seed and the stream's name.
 * The first n of a longer run equal a run of n. Bits may differ between JavaScript engines (Math.log, Math.cos, Math.sin).
 */
export function normals(count: number, seed: number, stream: string): Float32Array {
  const key = keyOf(seed, NORMALS_STREAM);
  const [row0, row1] = rowKey(stream);
  const result = new Float32Array(count);
  for (let start = 0; start < count; start += 4) {
    const block = philox4x32([start / 4, 0, row0, row1], key);
    for (let half = 0; half < 4; half += 2) {
      // (word + 0.5) / 2^32 keeps the logarithm finite.
      const radius = Math.sqrt(-2 * Math.log(((block[half] as number) + 0.5) * 2 ** -32));
      const angle = 2 * Math.PI * (block[half + 1] as number) * 2 ** -32;
      result[start + half] = radius * Math.cos(angle);
      result[start + half + 1] = radius * Math.sin(angle);
    }
  }
  return result;
}
