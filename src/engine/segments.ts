/**
 * From a segment table (graph/ops.ts) to chunks, over which an engine's attention loops: segments of like length,
 * padded to each other, as many as keep the scores of a chunk in the cache; a long segment is a chunk of its own, so the
 * cost is nearly the sum over segments.
 */
import { failure } from '../util/index.ts';

/** Scores of one head in one chunk, at most, unless a single segment has more. */
const CHUNK_SCORES = 2 ** 16;

/** Columns of the chunk table. */
export const CHUNK_COLUMNS = 7;

export interface SegmentLayout {
  /** Number of chunks. */
  readonly count: number;
  /** [count, 7]: segments n, Lq, Lk, first and past-last of queryIds, first of keyIds, first of lengths. */
  readonly chunks: Int32Array;
  /** The tokens of all chunks as queries, n·Lq per chunk; padding is T, the row of zeros. */
  readonly queryIds: Int32Array;
  /** The tokens of all chunks as keys, n·Lk per chunk; padding is token 0, which is never visible. */
  readonly keyIds: Int32Array;
  /** [S, 2] in chunk order: keys of a segment; how many more keys than queries it has. */
  readonly lengths: Int32Array;
  /** Rows that each round of the loop returns: most queries; most keys + 1, whose last row is always zero. */
  readonly queryStride: number;
  readonly keyStride: number;
  /** [T]: where the loop's output holds each token as a query. */
  readonly queryRows: Int32Array;
  /** [m, T]: where it holds each token as a key, filled up with a place that holds zeros. */
  readonly keyRows: Int32Array;
  /** m: in how many segments the most used token is a key. */
  readonly uses: number;
}

export interface Segment {
  /** From, and past the last token. */
  readonly queries: readonly [number, number];
  /** Its keys are these tokens, then those of `more`; query i sees all but the last queryCount − 1 − i. */
  readonly keys: readonly [number, number];
  readonly more: readonly [number, number];
  readonly queryCount: number;
  readonly keyCount: number;
}

/**
 * Checks the table and lays it out. Throws a failure naming the segment.
 * @param keyMultiple to which the keys of a chunk are padded
 */
export function layoutSegments(table: Int32Array, tokens: number, keyMultiple: number): SegmentLayout {
  const segments = readSegments(table, tokens);
  const chunks = chunked(segments, keyMultiple);
  const queryStride = Math.max(...chunks.map(({ members, lq }) => members.length * lq));
  const keyStride = Math.max(...chunks.map(({ members, lk }) => members.length * lk)) + 1;
  const uses = new Int32Array(tokens);
  for (const { keys, more } of segments) {
    for (const [from, to] of [keys, more]) for (let t = from; t < to; t++) uses[t]!++;
  }
  const most = uses.reduce((a, b) => Math.max(a, b), 1);
  uses.fill(0);

  const rows: number[] = [];
  const lengths: number[] = [];
  const queryIds = new Int32Array(chunks.reduce((n, { members, lq }) => n + members.length * lq, 0)).fill(tokens);
  const keyIds = new Int32Array(chunks.reduce((n, { members, lk }) => n + members.length * lk, 0));
  const queryRows = new Int32Array(tokens);
  const keyRows = new Int32Array(most * tokens).fill(keyStride - 1);
  let queryAt = 0;
  let keyAt = 0;
  chunks.forEach(({ members, lq, lk }, c) => {
    const queryEnd = queryAt + members.length * lq;
    rows.push(members.length, lq, lk, queryAt, queryEnd, keyAt, lengths.length / 2);
    members.forEach(({ queries, keys, more, queryCount, keyCount }, n) => {
      lengths.push(keyCount, keyCount - queryCount);
      for (let t = queries[0]; t < queries[1]; t++) {
        const place = n * lq + t - queries[0];
        queryIds[queryAt + place] = t;
        queryRows[t] = c * queryStride + place;
      }
      let place = n * lk;
      for (const [from, to] of [keys, more]) {
        for (let t = from; t < to; t++, place++) {
          keyIds[keyAt + place] = t;
          keyRows[uses[t]!++ * tokens + t] = c * keyStride + place;
        }
      }
    });
    queryAt = queryEnd;
    keyAt += members.length * lk;
  });
  return {
    count: chunks.length,
    chunks: Int32Array.from(rows),
    queryIds,
    keyIds,
    lengths: Int32Array.from(lengths),
    queryStride,
    keyStride,
    queryRows,
    keyRows,
    uses: most,
  };
}

/** Checks the table int32 [S,6]. Throws a failure naming the segment. */
export function readSegments(table: Int32Array, tokens: number): Segment[] {
  const segments: Segment[] = [];
  let next = 0;
  for (let s = 0; s * 6 < table.length; s++) {
    const row = table.subarray(s * 6, s * 6 + 6);
    const [qs, qe, ks, ke, ms, me] = row as unknown as [number, number, number, number, number, number];
    const reject = (problem: string) => failure({ what: `segment ${s} [${row}] of ${tokens} tokens: ${problem}` });
    if (qs !== next || qe <= qs || qe > tokens) throw reject('queries must follow those of the segment before');
    if ([ks, ms].some((from) => from < 0) || ke < ks || me < ms || Math.max(ke, me) > tokens) {
      throw reject('keys lie outside');
    }
    const [queryCount, keyCount] = [qe - qs, ke - ks + me - ms];
    if (keyCount < queryCount) throw reject('fewer keys than queries');
    segments.push({ queries: [qs, qe], keys: [ks, ke], more: [ms, me], queryCount, keyCount });
    next = qe;
  }
  if (next !== tokens) throw failure({ what: `the segments cover ${next} of ${tokens} tokens as queries` });
  return segments;
}

interface Chunk {
  readonly members: Segment[];
  /** Padded numbers of queries and keys. */
  lq: number;
  lk: number;
}

/** Segments by falling length, joined while the padded scores stay within the budget. */
function chunked(segments: readonly Segment[], keyMultiple: number): Chunk[] {
  const chunks: Chunk[] = [];
  for (const segment of segments.toSorted((a, b) => b.keyCount - a.keyCount || b.queryCount - a.queryCount)) {
    const chunk = chunks.at(-1);
    const lq = Math.max(chunk?.lq ?? 0, segment.queryCount);
    if (chunk && (chunk.members.length + 1) * lq * chunk.lk <= CHUNK_SCORES) {
      chunk.members.push(segment);
      chunk.lq = lq;
    } else {
      const lk = Math.ceil(segment.keyCount / keyMultiple) * keyMultiple;
      chunks.push({ members: [segment], lq: segment.queryCount, lk });
    }
  }
  return chunks;
}
