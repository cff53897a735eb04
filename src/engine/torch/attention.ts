/**
 * Attention on torch: over packed tokens, chunk by chunk of segments (engine/segments.ts), and one new token per row
 * against a KV cache. Nothing is kept for the gradient, which computes the probabilities again.
 */
import type { HeadAttributes } from '../../graph/index.ts';
import { layoutSegments } from '../segments.ts';
import type { Aten } from './aten.ts';
import { type Device, sizeOf, type Tensor } from './tensors.ts';

/** Longer segments are computed this many queries at a time: each block reads only the keys that it may see. */
const QUERY_BLOCK = 128;

/** Rows of a packed tensor: ranges, or an index per row (for padding row 0, and T where rows are written). */
type Rows =
  | { readonly ranges: readonly (readonly [number, number])[] }
  | { readonly ids: Tensor; readonly writeIds: Tensor };

/** n segments (one, where the rows are ranges) of lq queries and lk keys. */
interface Chunk {
  readonly n: number;
  readonly lq: number;
  readonly lk: number;
  readonly queries: Rows;
  readonly keys: Rows;
  /** [n,1,lq,m]: 0 where a query sees one of the last m keys, else −∞; it sees all keys before. */
  readonly mask: Tensor;
  /** [n·lq,1]: 1 for queries, 0 for padding; undefined where there is none. */
  readonly present: Tensor | undefined;
}

export interface SegmentChunks {
  readonly tokens: number;
  readonly chunks: readonly Chunk[];
}

interface Heads {
  /** G */
  readonly groups: number;
  /** H/G, query heads that read one key head. */
  readonly shared: number;
  /** d */
  readonly width: number;
  readonly scale: number;
}

export function headsOf({ headDim, scale }: HeadAttributes, q: Tensor, k: Tensor): Heads {
  const [queryWidth, keyWidth] = [q.shape[1]!, k.shape[1]!];
  return { groups: keyWidth / headDim, shared: queryWidth / keyWidth, width: headDim, scale };
}

/** The chunks of a segment table int32 [S,6], with their masks uploaded in the dtype of the scores. */
export function segmentChunks(
  device: Device,
  table: Int32Array,
  tokens: number,
  dtype: Tensor['dtype'],
): SegmentChunks {
  const { chunks: rows, count, lengths, queryIds, keyIds } = layoutSegments(table, tokens, 1);
  const indices = (ids: Int32Array) => {
    const upload = (list: Int32Array) => device.upload(BigInt64Array.from(list, BigInt), [list.length]);
    return { ids: upload(ids.map((id) => (id < tokens ? id : 0))), writeIds: upload(ids) };
  };
  const upload = (mask: Float32Array, shape: readonly number[]) => device.dense(device.upload(mask, shape), dtype);
  /** The triangle at the end of a block: query i sees i + 1 of its last keys. */
  const triangles = new Map<number, Tensor>();
  const causal = (size: number): Tensor => {
    let known = triangles.get(size);
    if (!known) {
      known = upload(maskOf([{ keys: size, surplus: 0 }], size, size), [1, 1, size, size]);
      triangles.set(size, known);
    }
    return known;
  };
  const chunks: Chunk[] = [];
  for (let c = 0; c < count; c++) {
    const [n, lq, lk, q0, q1, k0, first] = rows.subarray(c * 7, c * 7 + 7) as unknown as number[] & { length: 7 };
    const members = Array.from({ length: n! }, (_, i) => ({
      keys: lengths[2 * (first! + i)]!,
      surplus: lengths[2 * (first! + i) + 1]!,
    }));
    const [queries, keys] = [queryIds.subarray(q0!, q1!), keyIds.subarray(k0!, k0! + n! * lk!)];
    if (n === 1) {
      const { surplus } = members[0]!;
      for (let from = 0; from < lq!; from += QUERY_BLOCK) {
        const to = Math.min(from + QUERY_BLOCK, lq!);
        const seen = to + surplus;
        chunks.push({
          n: 1,
          lq: to - from,
          lk: seen,
          queries: { ranges: rangesOf(queries.subarray(from, to)) },
          keys: { ranges: rangesOf(keys.subarray(0, seen)) },
          mask: causal(to - from),
          present: undefined,
        });
      }
      continue;
    }
    const isPadded = queries.includes(tokens);
    chunks.push({
      n: n!,
      lq: lq!,
      lk: lk!,
      queries: indices(queries),
      keys: indices(keys),
      mask: upload(maskOf(members, lq!, lk!), [n!, 1, lq!, lk!]),
      present: isPadded
        ? upload(
            Float32Array.from(queries, (id) => (id < tokens ? 1 : 0)),
            [queries.length, 1],
          )
        : undefined,
    });
  }
  return { tokens, chunks };
}

/** Query i of a member sees its key j when j < keys and j <= i + surplus. */
function maskOf(members: readonly { keys: number; surplus: number }[], lq: number, lk: number): Float32Array {
  const mask = new Float32Array(members.length * lq * lk).fill(Number.NEGATIVE_INFINITY);
  members.forEach(({ keys, surplus }, n) => {
    for (let i = 0; i < lq; i++) {
      const start = (n * lq + i) * lk;
      mask.fill(0, start, start + Math.min(keys, i + surplus + 1));
    }
  });
  return mask;
}

/** Maximal runs of consecutive ids. */
function rangesOf(ids: Int32Array): [number, number][] {
  const ranges: [number, number][] = [];
  for (const id of ids) {
    const last = ranges.at(-1);
    if (last && last[1] === id) last[1]++;
    else ranges.push([id, id + 1]);
  }
  return ranges;
}

export function attentionOn(device: Device, aten: Aten) {
  const { view, dense, empty } = device;
  const one = () => device.scalar(1);

  /** Rows of x [T,W] that a chunk reads; padding reads row 0. */
  function read(x: Tensor, rows: Rows): Tensor {
    if ('ids' in rows) return aten.indexSelect(x, rows.ids);
    const parts = rows.ranges.map(([from, to]) => device.rows(x, from, to));
    return parts.length === 1 ? parts[0]! : aten.cat(parts);
  }
  /** x [n·rows, heads·d] -> [n, heads, rows, d], without copying */
  const perHead = (x: Tensor, n: number, rows: number, heads: number, width: number) =>
    view(x, [n, heads, rows, width], [rows * x.strides[0]!, width, x.strides[0]!, 1]);
  /** [n·lq, H·d] -> [n·G, shared·lq, d]: the queries that read one key head stand below each other. */
  const stackQueries = (x: Tensor, { n, lq }: Chunk, { groups, shared, width }: Heads) =>
    view(dense(perHead(x, n, lq, groups * shared, width)), [n * groups, shared * lq, width]);
  /** [n·lk, G·d] -> [n·G, lk, d] */
  const stackKeys = (x: Tensor, { n, lk }: Chunk, { groups, width }: Heads) =>
    n === 1
      ? view(x, [groups, lk, width], [width, x.strides[0]!, 1])
      : view(dense(perHead(x, n, lk, groups, width)), [n * groups, lk, width]);
  /** The last two dimensions of a batch exchanged. */
  const flipped = (x: Tensor) =>
    view(x, [x.shape[0]!, x.shape[2]!, x.shape[1]!], [x.strides[0]!, x.strides[2]!, x.strides[1]!]);

  /** softmax(scale·q·kᵀ + mask) [n·G, shared·lq, lk] */
  function probabilities(q: Tensor, k: Tensor, { n, lq, lk, mask }: Chunk, { groups, shared, scale }: Heads): Tensor {
    const scores = aten.baddbmm(empty([n * groups, shared * lq, lk], q.dtype), q, flipped(k), 0, scale);
    const split = view(scores, [n, groups * shared, lq, lk]);
    const last = mask.shape[3]!;
    aten.addcmul(view(split, split.shape.with(3, last), split.strides, lk - last), mask, one(), 1);
    return aten.softmax(scores, scores);
  }
  /** The inverse of stackQueries into rows of `to` [T+1, H·d]; padding goes to row T. */
  function writeQueries(to: Tensor, x: Tensor, chunk: Chunk, { groups, shared, width }: Heads): void {
    const heads = groups * shared;
    const split = view(x, [chunk.n, heads, chunk.lq, width]);
    const [a, b, c, d] = split.strides as [number, number, number, number];
    const turned = view(split, [chunk.n, chunk.lq, heads, width], [a, c, b, d]);
    if ('ranges' in chunk.queries) {
      const [from, end] = chunk.queries.ranges[0]!;
      device.copy(view(device.rows(to, from, end), [1, chunk.lq, heads, width]), turned);
    } else {
      aten.indexCopy(to, chunk.queries.writeIds, view(dense(turned), [chunk.n * chunk.lq, heads * width]));
    }
  }
  /** The inverse of stackKeys, added to rows of `to` [T, G·d] in f32. */
  function addKeys(to: Tensor, x: Tensor, { n, lk, keys }: Chunk, { groups, width }: Heads): void {
    const split = view(x, [n, groups, lk, width]);
    const [a, b, c, d] = split.strides as [number, number, number, number];
    const rows = view(dense(view(split, [n, lk, groups, width], [a, c, b, d]), 'f32'), [n * lk, groups * width]);
    if ('ids' in keys) {
      aten.scatterAddRows(to, keys.ids, rows);
      return;
    }
    let at = 0;
    for (const [from, end] of keys.ranges) {
      aten.addcmul(device.rows(to, from, end), device.rows(rows, at, at + end - from), one(), 1);
      at += end - from;
    }
  }

  return {
    /** q [T,H·d], k and v [T,G·d] -> [T,H·d] */
    packed: (q: Tensor, k: Tensor, v: Tensor, { tokens, chunks }: SegmentChunks, heads: Heads): Tensor => {
      const out = empty([tokens + 1, q.shape[1]!], q.dtype);
      for (const chunk of chunks) {
        device.scoped(() => {
          const queries = stackQueries(read(q, chunk.queries), chunk, heads);
          const keys = stackKeys(read(k, chunk.keys), chunk, heads);
          const values = stackKeys(read(v, chunk.keys), chunk, heads);
          writeQueries(out, aten.bmm(probabilities(queries, keys, chunk, heads), values), chunk, heads);
          return [];
        });
      }
      return device.rows(out, 0, tokens);
    },
    /** dq, dk, dv. With P the probabilities: dV = Pᵀ·dO, dP = dO·Vᵀ, dS = P∘(dP − rowsum(P∘dP)), dQ = s·dS·K, dK = s·dSᵀ·Q. */
    packedGrad: (
      dout: Tensor,
      [q, k, v]: readonly [Tensor, Tensor, Tensor],
      { tokens, chunks }: SegmentChunks,
      heads: Heads,
    ): [Tensor, Tensor, Tensor] => {
      const dq = empty([tokens + 1, q.shape[1]!], q.dtype);
      const [dk, dv] = [empty(k.shape, 'f32'), empty(v.shape, 'f32')];
      aten.zero(dk);
      aten.zero(dv);
      for (const chunk of chunks) {
        device.scoped(() => {
          const queries = stackQueries(read(q, chunk.queries), chunk, heads);
          const keys = stackKeys(read(k, chunk.keys), chunk, heads);
          const values = stackKeys(read(v, chunk.keys), chunk, heads);
          const rows = read(dout, chunk.queries);
          const dmixed = stackQueries(chunk.present ? aten.mul(rows, chunk.present, rows) : rows, chunk, heads);
          const p = probabilities(queries, keys, chunk, heads);
          addKeys(dv, aten.bmm(flipped(p), dmixed), chunk, heads);
          const ds = aten.softmaxBackward(aten.bmm(dmixed, flipped(values)), p);
          const scaled = (a: Tensor, b: Tensor) =>
            aten.baddbmm(empty([a.shape[0]!, a.shape[1]!, b.shape[2]!], a.dtype), a, b, 0, heads.scale);
          writeQueries(dq, scaled(ds, keys), chunk, heads);
          addKeys(dk, scaled(flipped(ds), queries), chunk, heads);
          return [];
        });
      }
      return [device.rows(dq, 0, tokens), dense(dk, k.dtype), dense(dv, v.dtype)];
    },
    /**
     * q [B,H·d], k and v [B,G·d] of the newest token, caches [slots,G,C,d] -> [B,H·d]. The newest key and value stand in
     * their places of the caches while the products are computed; then what was there returns: writing to a cache is
     * another op's task.
     */
    decode: (
      [q, k, v]: readonly [Tensor, Tensor, Tensor],
      [keys, values]: readonly [Tensor, Tensor],
      { at, hidden }: DecodePlaces,
      { groups, shared, width, scale }: Heads,
    ): Tensor => {
      const batch = q.shape[0]!;
      const capacity = keys.shape[2]!;
      const stack = (cache: Tensor) => view(cache, [batch * groups, capacity, width]);
      const row = (x: Tensor) => view(x, [sizeOf(x.shape) / width, width]);
      const before = [keys, values].map((cache) => aten.indexSelect(row(cache), at));
      aten.indexCopy(row(keys), at, row(k));
      aten.indexCopy(row(values), at, row(v));
      const queries = view(q, [batch * groups, shared, width]);
      const scores = empty([batch * groups, shared, capacity], q.dtype);
      aten.baddbmm(scores, queries, flipped(stack(keys)), 0, scale);
      aten.addcmul(view(scores, [batch, groups, shared, capacity]), hidden, one(), 1);
      const mixed = aten.bmm(aten.softmax(scores, scores), stack(values));
      aten.indexCopy(row(keys), at, before[0]!);
      aten.indexCopy(row(values), at, before[1]!);
      return view(mixed, [batch, groups * shared * width]);
    },
  };
}

/** What all layers of a decoding step share. */
export interface DecodePlaces {
  /** Row of the caches [slots·G·C, d] for the newest key of each row and group, i64 [B·G]. */
  readonly at: Tensor;
  /** [B,1,1,C]: −∞ after the newest token, else 0 */
  readonly hidden: Tensor;
}

/** @param lengths cached tokens of each row [B] */
export function decodePlaces(
  device: Device,
  lengths: Int32Array,
  capacity: number,
  { groups }: Heads,
  dtype: Tensor['dtype'],
): DecodePlaces {
  const at = new BigInt64Array(lengths.length * groups);
  const hidden = new Float32Array(lengths.length * capacity);
  lengths.forEach((length, b) => {
    for (let g = 0; g < groups; g++) at[b * groups + g] = BigInt((b * groups + g) * capacity + length);
    hidden.fill(Number.NEGATIVE_INFINITY, b * capacity + length + 1, (b + 1) * capacity);
  });
  return {
    at: device.upload(at, [at.length]),
    hidden: device.dense(device.upload(hidden, [lengths.length, 1, 1, capacity]), dtype),
  };
}
