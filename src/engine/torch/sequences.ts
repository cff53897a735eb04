/** A segment table as FlashAttention wants it: sequences one after another, without padding. */
import { readSegments } from '../segments.ts';
import type { Device, Tensor } from './tensors.ts';

/** Segments one after another; queries are all tokens in their order. */
export interface Sequences {
  /** Where each segment's queries begin, and the end, i32 [S+1]. */
  readonly queryStarts: Tensor;
  /** Where its keys begin among `keys`, i32 [S+1]. */
  readonly keyStarts: Tensor;
  /** Tokens that are keys, segment by segment, i64 [K]. */
  readonly keys: Tensor;
  readonly mostQueries: number;
  readonly mostKeys: number;
}

/** The segments of a table int32 [S,6], uploaded. */
export function sequencesOf(device: Device, table: Int32Array, tokens: number): Sequences {
  const segments = readSegments(table, tokens);
  const starts = (counts: number[]) => {
    const sums = new Int32Array(counts.length + 1);
    counts.forEach((count, i) => {
      sums[i + 1] = sums[i]! + count;
    });
    return device.upload(sums, [sums.length]);
  };
  const range = ([from, to]: readonly [number, number]) =>
    Array.from({ length: to - from }, (_, i) => BigInt(from + i));
  const keys = BigInt64Array.from(segments.flatMap((one) => [...range(one.keys), ...range(one.more)]));
  return {
    queryStarts: starts(segments.map(({ queryCount }) => queryCount)),
    keyStarts: starts(segments.map(({ keyCount }) => keyCount)),
    keys: device.upload(keys, [keys.length]),
    mostQueries: Math.max(...segments.map(({ queryCount }) => queryCount)),
    mostKeys: Math.max(...segments.map(({ keyCount }) => keyCount)),
  };
}
