/**
 * Attention lowered to ONNX.
 *
 * Packed: a Loop over chunks of segments of like length (segments.ts), so that the cost is nearly the sum over segments
 * and the scores of a chunk fit into the cache; nothing is kept for the gradient, which computes the scores again.
 * Decoding: all rows at once against the cache, whose capacity is a multiple of a vector so that a row's sum does not
 * depend on how long the other rows are.
 */
import type { HeadAttributes } from '../../graph/index.ts';
import { CHUNK_COLUMNS } from '../segments.ts';
import type { Emitter } from './emitter.ts';

/** Tensors that describe a segment table to a loop; see segments.ts for their meaning. */
export interface SegmentTensors {
  readonly count: string;
  readonly chunks: string;
  readonly queryIds: string;
  readonly keyIds: string;
  readonly lengths: string;
  readonly queryStride: string;
  readonly keyStride: string;
  readonly queryRows: string;
  readonly keyRows: string;
}

interface Heads extends HeadAttributes {
  /** G */
  readonly groups: number;
  /** H/G, query heads that read one key head. */
  readonly shared: number;
}

export function headsOf(attributes: HeadAttributes, queryWidth: number, keyWidth: number): Heads {
  return { ...attributes, groups: keyWidth / attributes.headDim, shared: queryWidth / keyWidth };
}

/** c·tanh(s/c), from s/c; without a cap s as it is. */
const capped = (e: Emitter, { softcap }: HeadAttributes, scores: string): { bent: string; scores: string } => {
  if (softcap === undefined) return { bent: '', scores };
  const bent = e.op('Tanh', [scores]);
  return { bent, scores: e.op('Mul', [bent, e.scalar(softcap)]) };
};
/** Factor with which q·k goes into `capped`. */
const factor = ({ scale, softcap = 1 }: HeadAttributes) => scale / softcap;

const concat = (e: Emitter, parts: readonly string[]) => e.op('Concat', parts, { axis: 0n });

/** The chunk of one round: n segments of Lq queries and Lk keys, each size i64 [1], and its index ranges. */
function openChunk(e: Emitter, round: string, s: SegmentTensors, h: Heads) {
  const row = e.op('Gather', [s.chunks, round]);
  const [n, lq, lk, queryStart, queryEnd, keyStart, first] = e.many('Split', [row], CHUNK_COLUMNS, {
    axis: 0n,
    num_outputs: BigInt(CHUNK_COLUMNS),
  }) as [string, string, string, string, string, string, string];
  const slice = (tensor: string, from: string, to: string) => e.op('Slice', [tensor, from, to, e.i64(0)]);
  const queryIds = slice(s.queryIds, queryStart, queryEnd);
  const keyIds = slice(s.keyIds, keyStart, e.op('Add', [keyStart, e.op('Mul', [n, lk])]));
  const lengths = slice(s.lengths, first, e.op('Add', [first, n]));
  const { groups, shared, headDim } = h;

  return {
    /** [T+1, H·d] -> [n, G, shared·Lq, d]: the queries that read one key head stand below each other. */
    queries: (q: string): string => {
      const split = e.op('Reshape', [
        e.op('Gather', [q, queryIds]),
        concat(e, [n, lq, e.i64(groups, shared, headDim)]),
      ]);
      const turned = e.op('Transpose', [split], { perm: [0n, 2n, 3n, 1n, 4n] });
      return e.op('Reshape', [turned, concat(e, [n, e.i64(groups, -1, headDim)])]);
    },
    /** [T, G·d] -> [n, G, Lk, d] */
    keys: (k: string): string => {
      const split = e.op('Reshape', [e.op('Gather', [k, keyIds]), concat(e, [n, lk, e.i64(groups, headDim)])]);
      return e.op('Transpose', [split], { perm: [0n, 2n, 1n, 3n] });
    },
    /** [n, G, shared·Lq, d] -> [stride, H·d], filled up with zeros so that all rounds return one shape. */
    queryRows: (q: string): string => {
      const split = e.op('Reshape', [q, concat(e, [n, e.i64(groups, shared), lq, e.i64(headDim)])]);
      const turned = e.op('Transpose', [split], { perm: [0n, 3n, 1n, 2n, 4n] });
      return padRows(e, e.op('Reshape', [turned, e.i64(-1, groups * shared * headDim)]), s.queryStride);
    },
    /** [n, G, Lk, d] -> [stride, G·d] */
    keyRows: (k: string): string => {
      const turned = e.op('Transpose', [k], { perm: [0n, 2n, 1n, 3n] });
      return padRows(e, e.op('Reshape', [turned, e.i64(-1, groups * headDim)]), s.keyStride);
    },
    /** softmax(scale·q·kᵀ) [n, G, shared·Lq, Lk] of queries and keys, masked; with a cap also tanh of the scores before it. */
    probabilities: (queries: string, keys: string): { p: string; bent: string } => {
      // Query i sees key j when j < keys of its segment and j − i <= its surplus of keys.
      const i = e.op('Unsqueeze', [counting(e, lq), e.i64(1)]);
      const j = counting(e, lk);
      const [keyCount, surplus] = e
        .many('Split', [lengths], 2, { axis: 1n, num_outputs: 2n })
        .map((column) => e.op('Unsqueeze', [column, e.i64(2)])) as [string, string];
      const causal = e.op('And', [e.op('LessOrEqual', [e.op('Sub', [j, i]), surplus]), e.op('Less', [j, keyCount])]);
      const visible =
        h.window === undefined ? causal : e.op('And', [causal, inWindow(h.window, i, j, surplus, keyCount)]);
      const products = e.op('FusedMatMul', [queries, keys], { transB: 1n, alpha: factor(h) });
      const { bent, scores: flat } = capped(e, h, products);
      const scores = e.op('Reshape', [flat, concat(e, [n, e.i64(groups * shared), lq, lk])]);
      // One small mask for all heads, added: cheaper than choosing score by score.
      const mask = e.op('Where', [visible, e.scalar(0), e.scalar(Number.NEGATIVE_INFINITY)]);
      const soft = e.op('Softmax', [e.op('Add', [scores, e.op('Unsqueeze', [mask, e.i64(1)])])], { axis: -1n });
      return { p: e.op('Reshape', [soft, concat(e, [n, e.i64(groups, -1), lk])]), bent };
    },
  };

  /** Whether key j is one of the last `window` that query i sees; of what pads the queries, that its last key sees. */
  function inWindow(window: number, i: string, j: string, surplus: string, keyCount: string): string {
    const last = e.op('Min', [e.op('Add', [i, surplus]), e.op('Sub', [keyCount, e.i64(1)])]);
    return e.op('Greater', [j, e.op('Sub', [last, e.i64(window)])]);
  }
}

/** 0, 1, … count−1 */
function counting(e: Emitter, count: string): string {
  const [zero, one] = [e.op('Squeeze', [e.i64(0)]), e.op('Squeeze', [e.i64(1)])];
  return e.op('Range', [zero, e.op('Squeeze', [count]), one]);
}

/** [T, width] -> [T+1, width]; what pads the queries of a chunk must not reach a gradient. */
function withZeroRow(e: Emitter, matrix: string): string {
  return e.op('Pad', [matrix, e.i64(0, 0, 1, 0)]);
}

function padRows(e: Emitter, matrix: string, stride: string): string {
  const missing = e.op('Sub', [stride, e.op('Shape', [matrix], { start: 0n, end: 1n })]);
  return e.op('Pad', [matrix, concat(e, [e.i64(0, 0), missing, e.i64(0)])]);
}

/** [rounds, stride, width] -> [rounds·stride, width] */
function flattenRounds(e: Emitter, stacked: string, width: number): string {
  return e.op('Reshape', [stacked, e.i64(-1, width)]);
}

export function packedAttention(e: Emitter, [q, k, v]: readonly string[], s: SegmentTensors, h: Heads): string {
  const qs = withZeroRow(e, q!);
  const { scanned } = e.loop(s.count, [], (inner, round) => {
    const chunk = openChunk(inner, round, s, h);
    const { p } = chunk.probabilities(chunk.queries(qs), chunk.keys(k!));
    const mixed = inner.op('MatMul', [p, chunk.keys(v!)]);
    return { carried: [], scanned: [chunk.queryRows(mixed)] };
  });
  const width = h.groups * h.shared * h.headDim;
  return e.op('Gather', [flattenRounds(e, scanned[0]!, width), s.queryRows]);
}

/**
 * dq, dk, dv. With P the probabilities: dV = Pᵀ·dO, dP = dO·Vᵀ, dS = P∘(dP − rowsum(P∘dP)), dQ = s·dS·K, dK = s·dSᵀ·Q; with
 * a cap dS is multiplied by 1 − t², t being tanh of the scores before it.
 */
export function packedAttentionGrad(
  e: Emitter,
  dout: string,
  [q, k, v]: readonly string[],
  s: SegmentTensors,
  h: Heads,
): [string, string, string] {
  const [qs, douts] = [withZeroRow(e, q!), withZeroRow(e, dout)];
  const { scanned } = e.loop(s.count, [], (inner, round) => {
    const chunk = openChunk(inner, round, s, h);
    const [queries, keys, values] = [chunk.queries(qs), chunk.keys(k!), chunk.keys(v!)];
    const dmixed = chunk.queries(douts);
    const { p, bent } = chunk.probabilities(queries, keys);
    const dvalues = inner.op('FusedMatMul', [p, dmixed], { transA: 1n });
    const dprobabilities = inner.op('FusedMatMul', [dmixed, values], { transB: 1n });
    const weighted = inner.op('Mul', [dprobabilities, p]);
    const sums = inner.op('ReduceSum', [weighted, inner.i64(-1)]);
    const dcapped = inner.op('Sub', [weighted, inner.op('Mul', [p, sums])]);
    const dscores = bent === '' ? dcapped : timesSlope(inner, dcapped, bent);
    const dqueries = inner.op('FusedMatMul', [dscores, keys], { alpha: h.scale });
    const dkeys = inner.op('FusedMatMul', [dscores, queries], { transA: 1n, alpha: h.scale });
    return { carried: [], scanned: [chunk.queryRows(dqueries), chunk.keyRows(dkeys), chunk.keyRows(dvalues)] };
  });
  const keyWidth = h.groups * h.headDim;
  const collect = (stacked: string) =>
    e.op('ReduceSum', [e.op('Gather', [flattenRounds(e, stacked, keyWidth), s.keyRows]), e.i64(0)], { keepdims: 0n });
  const dq = e.op('Gather', [flattenRounds(e, scanned[0]!, keyWidth * h.shared), s.queryRows]);
  return [dq, collect(scanned[1]!), collect(scanned[2]!)];
}

/** What all layers of a decoding step share; C is the capacity of the cache. */
interface DecodeMasks {
  /** [B,1,1,C] whether a place is the new token's */
  readonly isNew: string;
  /** [B,1,1,C] −inf for places after the new token, and before its window */
  readonly hidden: string;
  /** [B,1,1,C] 1 for places before the new token, else 0 */
  readonly kept: string;
  /** [B,G,shared,1] the new token's place */
  readonly places: string;
}

/** x·(1 − t²), where t is a tanh. */
export function timesSlope(e: Emitter, x: string, t: string): string {
  return e.op('Mul', [x, e.op('Sub', [e.scalar(1), e.op('Mul', [t, t])])]);
}

export function decodeMasks(e: Emitter, lengths: string, cache: string, h: Heads): DecodeMasks {
  const capacity = e.op('Shape', [cache], { start: 2n, end: 3n });
  const all = counting(e, capacity);
  const row = e.op('Unsqueeze', [e.op('Cast', [lengths], { to: 7n }), e.i64(1)]);
  const wide = (mask: string) => e.op('Unsqueeze', [mask, e.i64(1, 2)]);
  const rowCount = e.op('Shape', [lengths]);
  const later = e.op('Greater', [all, row]);
  const outside =
    h.window === undefined
      ? later
      : e.op('Or', [later, e.op('LessOrEqual', [all, e.op('Sub', [row, e.i64(h.window)])])]);
  return {
    isNew: wide(e.op('Equal', [all, row])),
    hidden: wide(e.op('Where', [outside, e.scalar(Number.NEGATIVE_INFINITY), e.scalar(0)])),
    kept: wide(e.op('Cast', [e.op('Less', [all, row])], { to: 1n })),
    places: e.op('Expand', [wide(row), concat(e, [rowCount, e.i64(h.groups, h.shared, 1)])]),
  };
}

export function decodeAttention(
  e: Emitter,
  [q, k, v]: readonly string[],
  [keys, values]: readonly string[],
  { isNew, hidden, kept, places }: DecodeMasks,
  h: Heads,
): string {
  const queries = e.op('Reshape', [q!, e.i64(-1, h.groups, h.shared, h.headDim)]);
  const newKey = e.op('Reshape', [k!, e.i64(-1, h.groups, 1, h.headDim)]);
  const newValue = e.op('Reshape', [v!, e.i64(-1, h.groups, 1, h.headDim)]);
  const oldScores = e.op('FusedMatMul', [queries, keys!], { transB: 1n, alpha: factor(h) });
  const newScores = e.op('ReduceSum', [e.op('Mul', [e.op('Mul', [queries, e.scalar(factor(h))]), newKey]), e.i64(-1)]);
  const { scores: visible } = capped(e, h, e.op('Where', [isNew, newScores, oldScores]));
  const scores = e.op('Add', [visible, hidden]);
  const probabilities = e.op('Softmax', [scores], { axis: -1n });
  const ofNew = e.op('GatherElements', [probabilities, places], { axis: 3n });
  const ofOld = e.op('Mul', [probabilities, kept]);
  const mixed = e.op('Add', [e.op('MatMul', [ofOld, values!]), e.op('Mul', [ofNew, newValue])]);
  return e.op('Reshape', [mixed, e.i64(-1, h.groups * h.shared * h.headDim)]);
}
