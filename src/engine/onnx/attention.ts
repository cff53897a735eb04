/**
 * Attention lowered to ONNX.
 *
 * Packed: a Loop over the segments, each with its own lengths, so that the cost is the sum over segments and the
 * scores of one segment fit into the cache; nothing is kept for the gradient, which computes the scores again.
 * Decoding: all rows at once against the cache, whose capacity is a multiple of a vector so that a row's sum does not
 * depend on how long the other rows are.
 */
import type { HeadAttributes } from '../../graph/index.ts';
import type { Emitter } from './emitter.ts';

/** Tensors that describe a segment table to a loop; see segments.ts for their meaning. */
export interface SegmentTensors {
  readonly table: string;
  readonly count: string;
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

export function headsOf({ headDim, scale }: HeadAttributes, queryWidth: number, keyWidth: number): Heads {
  return { headDim, scale, groups: keyWidth / headDim, shared: queryWidth / keyWidth };
}

/** The six bounds of segment `round`, each i64 [1]. */
function boundsOf(e: Emitter, table: string, round: string): string[] {
  const row = e.op('Gather', [table, round]);
  return e.many('Split', [row], 6, { axis: 0n, num_outputs: 6n });
}

/** Rows [from, to) of a matrix. */
function rows(e: Emitter, matrix: string, from: string, to: string): string {
  return e.op('Slice', [matrix, from, to, e.i64(0)]);
}

function keyRange(e: Emitter, matrix: string, bounds: readonly string[]): string {
  const [, , ks, ke, ms, me] = bounds as [string, string, string, string, string, string];
  return e.op('Concat', [rows(e, matrix, ks, ke), rows(e, matrix, ms, me)], { axis: 0n });
}

/** [Lq, H·d] -> [G, shared·Lq, d]: the queries that read one key head stand below each other. */
function splitQueries(e: Emitter, q: string, h: Heads): string {
  const split = e.op('Reshape', [q, e.i64(-1, h.groups, h.shared, h.headDim)]);
  const turned = e.op('Transpose', [split], { perm: [1n, 2n, 0n, 3n] });
  return e.op('Reshape', [turned, e.i64(h.groups, -1, h.headDim)]);
}

/** [G, shared·Lq, d] -> [Lq, H·d] */
function joinQueries(e: Emitter, q: string, h: Heads): string {
  const split = e.op('Reshape', [q, e.i64(h.groups, h.shared, -1, h.headDim)]);
  const turned = e.op('Transpose', [split], { perm: [2n, 0n, 1n, 3n] });
  return e.op('Reshape', [turned, e.i64(-1, h.groups * h.shared * h.headDim)]);
}

/** [Lk, G·d] -> [G, Lk, d] */
function splitKeys(e: Emitter, k: string, h: Heads): string {
  const split = e.op('Reshape', [k, e.i64(-1, h.groups, h.headDim)]);
  return e.op('Transpose', [split], { perm: [1n, 0n, 2n] });
}

/** [G, Lk, d] -> [Lk, G·d] */
function joinKeys(e: Emitter, k: string, h: Heads): string {
  const turned = e.op('Transpose', [k], { perm: [1n, 0n, 2n] });
  return e.op('Reshape', [turned, e.i64(-1, h.groups * h.headDim)]);
}

/** One segment: its q [G, shared·Lq, d], k and v [G, Lk, d], and softmax(scale·q·kᵀ) [G, shared·Lq, Lk], masked. */
function segment(e: Emitter, round: string, [q, k, v]: readonly string[], table: string, h: Heads) {
  const bounds = boundsOf(e, table, round);
  const queries = splitQueries(e, rows(e, q!, bounds[0]!, bounds[1]!), h);
  const keys = splitKeys(e, keyRange(e, k!, bounds), h);
  const values = splitKeys(e, keyRange(e, v!, bounds), h);
  const queryCount = e.op('Sub', [bounds[1]!, bounds[0]!]);
  const keyCount = e.op('Shape', [keys], { start: 1n, end: 2n });
  // Query i sees key j when j - i <= Lk - Lq.
  const lag = e.op('Sub', [keyCount, queryCount]);
  const visible = e.op('LessOrEqual', [e.op('Sub', [counting(e, keyCount, 0), counting(e, queryCount, 1)]), lag]);
  const products = e.op('FusedMatMul', [queries, keys], { transB: 1n, alpha: h.scale });
  const perHead = e.op('Concat', [e.i64(h.groups * h.shared), queryCount, keyCount], { axis: 0n });
  const scores = e.op('Reshape', [products, perHead]);
  const masked = e.op('Where', [visible, scores, e.scalar(Number.NEGATIVE_INFINITY)]);
  const soft = e.op('Softmax', [masked], { axis: -1n });
  const perGroup = e.op('Concat', [e.i64(h.groups, -1), keyCount], { axis: 0n });
  return { bounds, queries, keys, values, probabilities: e.op('Reshape', [soft, perGroup]) };
}

/** 0, 1, … count-1 as a row (axis 0) or a column (axis 1). */
function counting(e: Emitter, count: string, axis: 0 | 1): string {
  const [zero, one] = [e.op('Squeeze', [e.i64(0)]), e.op('Squeeze', [e.i64(1)])];
  const range = e.op('Range', [zero, e.op('Squeeze', [count]), one]);
  return e.op('Unsqueeze', [range, e.i64(axis)]);
}

/** Appends zero rows up to `stride`, so that all rounds of a loop return one shape. */
function padRows(e: Emitter, matrix: string, stride: string): string {
  const missing = e.op('Sub', [stride, e.op('Shape', [matrix], { start: 0n, end: 1n })]);
  return e.op('Pad', [matrix, e.op('Concat', [e.i64(0, 0), missing, e.i64(0)], { axis: 0n })]);
}

/** [rounds, stride, width] -> [rounds·stride, width] */
function flattenRounds(e: Emitter, stacked: string, width: number): string {
  return e.op('Reshape', [stacked, e.i64(-1, width)]);
}

export function packedAttention(e: Emitter, qkv: readonly string[], s: SegmentTensors, h: Heads): string {
  const { scanned } = e.loop(s.count, [], (inner, round) => {
    const { probabilities, values } = segment(inner, round, qkv, s.table, h);
    const mixed = joinQueries(inner, inner.op('MatMul', [probabilities, values]), h);
    return { carried: [], scanned: [padRows(inner, mixed, s.queryStride)] };
  });
  const width = h.groups * h.shared * h.headDim;
  return e.op('Gather', [flattenRounds(e, scanned[0]!, width), s.queryRows]);
}

/** dq, dk, dv. With P the probabilities: dV = Pᵀ·dO, dP = dO·Vᵀ, dS = P∘(dP − rowsum(P∘dP)), dQ = s·dS·K, dK = s·dSᵀ·Q. */
export function packedAttentionGrad(
  e: Emitter,
  dout: string,
  qkv: readonly string[],
  s: SegmentTensors,
  h: Heads,
): [string, string, string] {
  const { scanned } = e.loop(s.count, [], (inner, round) => {
    const { bounds, queries, keys, values, probabilities } = segment(inner, round, qkv, s.table, h);
    const dmixed = splitQueries(inner, rows(inner, dout, bounds[0]!, bounds[1]!), h);
    const dvalues = inner.op('FusedMatMul', [probabilities, dmixed], { transA: 1n });
    const dprobabilities = inner.op('FusedMatMul', [dmixed, values], { transB: 1n });
    const weighted = inner.op('Mul', [dprobabilities, probabilities]);
    const sums = inner.op('ReduceSum', [weighted, inner.i64(-1)]);
    const dscores = inner.op('Sub', [weighted, inner.op('Mul', [probabilities, sums])]);
    const dqueries = inner.op('FusedMatMul', [dscores, keys], { alpha: h.scale });
    const dkeys = inner.op('FusedMatMul', [dscores, queries], { transA: 1n, alpha: h.scale });
    return {
      carried: [],
      scanned: [
        padRows(inner, joinQueries(inner, dqueries, h), s.queryStride),
        padRows(inner, joinKeys(inner, dkeys, h), s.keyStride),
        padRows(inner, joinKeys(inner, dvalues, h), s.keyStride),
      ],
    };
  });
  const keyWidth = h.groups * h.headDim;
  const collect = (stacked: string) =>
    e.op('ReduceSum', [e.op('Gather', [flattenRounds(e, stacked, keyWidth), s.keyRows]), e.i64(0)], { keepdims: 0n });
  const dq = e.op('Gather', [flattenRounds(e, scanned[0]!, keyWidth * h.shared), s.queryRows]);
  return [dq, collect(scanned[1]!), collect(scanned[2]!)];
}

/** The masks of a decoding step, shared by all layers: [B,1,1,C] each. */
export function decodeMasks(e: Emitter, lengths: string, cache: string): { isNew: string; isOld: string } {
  const capacity = e.op('Shape', [cache], { start: 2n, end: 3n });
  const places = counting(e, capacity, 0);
  const row = e.op('Unsqueeze', [e.op('Cast', [lengths], { to: 7n }), e.i64(1)]);
  const wide = (mask: string) => e.op('Unsqueeze', [mask, e.i64(1, 2)]);
  return { isNew: wide(e.op('Equal', [places, row])), isOld: wide(e.op('Less', [places, row])) };
}

export function decodeAttention(
  e: Emitter,
  [q, k, v]: readonly string[],
  [keys, values]: readonly string[],
  { isNew, isOld }: { isNew: string; isOld: string },
  h: Heads,
): string {
  const queries = e.op('Reshape', [q!, e.i64(-1, h.groups, h.shared, h.headDim)]);
  const newKey = e.op('Reshape', [k!, e.i64(-1, h.groups, 1, h.headDim)]);
  const newValue = e.op('Reshape', [v!, e.i64(-1, h.groups, 1, h.headDim)]);
  const oldScores = e.op('FusedMatMul', [queries, keys!], { transB: 1n, alpha: h.scale });
  const newScores = e.op('ReduceSum', [e.op('Mul', [e.op('Mul', [queries, e.scalar(h.scale)]), newKey]), e.i64(-1)]);
  const past = e.op('Where', [isOld, oldScores, e.scalar(Number.NEGATIVE_INFINITY)]);
  const probabilities = e.op('Softmax', [e.op('Where', [isNew, newScores, past])], { axis: -1n });
  const ofNew = e.op('ReduceSum', [e.op('Where', [isNew, probabilities, e.scalar(0)]), e.i64(-1)]);
  const ofOld = e.op('Where', [isOld, probabilities, e.scalar(0)]);
  const mixed = e.op('Add', [e.op('MatMul', [ofOld, values!]), e.op('Mul', [ofNew, newValue])]);
  return e.op('Reshape', [mixed, e.i64(-1, h.groups * h.shared * h.headDim)]);
}
