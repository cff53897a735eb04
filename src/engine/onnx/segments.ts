/**
 * From a segment table (graph/ops.ts) to what the lowered attention needs: padded places for the rows that its loop
 * returns. Round s of the loop returns its queries as rows s·queryStride + i and its keys' gradients as rows
 * s·keyStride + j, where the last row of each round's keys is always zero.
 */
import { failure } from '../../util/index.ts';

export interface SegmentLayout {
  readonly count: number;
  /** Longest query range. */
  readonly queryStride: number;
  /** Longest key range + 1. */
  readonly keyStride: number;
  /** [T]: the padded place of each token as a query. */
  readonly queryRows: Int32Array;
  /** [m, T]: the padded places of each token as a key, filled up with a place that holds zeros. */
  readonly keyRows: Int32Array;
  /** m: in how many segments the most used token is a key. */
  readonly uses: number;
}

/** Checks the table and lays it out. Throws a failure naming the segment. */
export function layoutSegments(table: Int32Array, tokens: number): SegmentLayout {
  const count = table.length / 6;
  const reject = (s: number, problem: string) =>
    failure({ what: `segment ${s} [${table.subarray(s * 6, s * 6 + 6)}] of ${tokens} tokens: ${problem}` });
  let queryStride = 1;
  let keyStride = 1;
  let next = 0;
  const uses = new Int32Array(tokens);
  for (let s = 0; s < count; s++) {
    const [qs, qe, ks, ke, ms, me] = table.subarray(s * 6, s * 6 + 6) as unknown as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    if (qs !== next || qe <= qs || qe > tokens) throw reject(s, 'queries must follow those of the segment before');
    for (const [a, b] of [
      [ks, ke],
      [ms, me],
    ] as const) {
      if (a < 0 || b < a || b > tokens) throw reject(s, 'keys lie outside');
      for (let t = a; t < b; t++) uses[t]!++;
    }
    const keys = ke - ks + me - ms;
    if (keys < qe - qs) throw reject(s, 'fewer keys than queries');
    queryStride = Math.max(queryStride, qe - qs);
    keyStride = Math.max(keyStride, keys + 1);
    next = qe;
  }
  if (next !== tokens) throw failure({ what: `the segments cover ${next} of ${tokens} tokens as queries` });

  const most = uses.reduce((a, b) => Math.max(a, b), 1);
  const queryRows = new Int32Array(tokens);
  const keyRows = new Int32Array(most * tokens).fill(keyStride - 1);
  uses.fill(0);
  for (let s = 0; s < count; s++) {
    const [qs, qe, ks, ke, ms, me] = table.subarray(s * 6, s * 6 + 6) as unknown as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    for (let t = qs; t < qe; t++) queryRows[t] = s * queryStride + t - qs;
    let place = s * keyStride;
    for (let t = ks; t < ke; t++) keyRows[uses[t]!++ * tokens + t] = place++;
    for (let t = ms; t < me; t++) keyRows[uses[t]!++ * tokens + t] = place++;
  }
  return { count, queryStride, keyStride, queryRows, keyRows, uses: most };
}
