/**
 * Attention on torch: over packed tokens, chunk by chunk, and one new token per row against a KV cache. Nothing is kept
 * for the gradient, which computes the probabilities again.
 */
import type { Aten } from './aten.ts';
import type { Chunk, Heads } from './chunks.ts';
import { type Device, sizeOf, type Tensor } from './tensors.ts';

export function attentionOn(device: Device, aten: Aten) {
  const { view, dense, empty } = device;
  const one = () => device.scalar(1);

  /** Rows of heads: x [T,N·d] as [T·N,d] */
  const headRows = (x: Tensor, width: number) => view(x, [sizeOf(x.shape) / width, width]);
  /** q [T,H·d] -> [n·G, shared·lq, d]: the queries that read one key head stand below each other. */
  const readQueries = (q: Tensor, { n, lq, queries }: Chunk, { groups, shared, width }: Heads) =>
    view(aten.indexSelect(headRows(q, width), queries), [n * groups, shared * lq, width]);
  /** k [T,G·d] -> [n·G, lk, d] */
  const readKeys = (k: Tensor, { n, lk, keys }: Chunk, { groups, width }: Heads) =>
    view(aten.indexSelect(headRows(k, width), keys), [n * groups, lk, width]);
  /** The last two dimensions of a batch exchanged. */
  const flipped = (x: Tensor) =>
    view(x, [x.shape[0]!, x.shape[2]!, x.shape[1]!], [x.strides[0]!, x.strides[2]!, x.strides[1]!]);

  /** softmax(scale·q·kᵀ + mask) [n·G, shared·lq, lk]; with a cap also tanh of the scores before it. */
  function probabilities(
    q: Tensor,
    k: Tensor,
    { n, lq, lk, mask }: Chunk,
    { groups, shared, scale, softcap }: Heads,
  ): { p: Tensor; bent: Tensor | undefined } {
    const products = aten.baddbmm(empty([n * groups, shared * lq, lk], q.dtype), q, flipped(k), scale / (softcap ?? 1));
    const bent = softcap === undefined ? undefined : aten.tanh(products, products);
    const scores = bent ? aten.mulScalar(bent, softcap!) : products;
    const split = view(scores, [n, groups * shared, lq, lk]);
    const last = mask.shape[3]!;
    aten.addcmul(view(split, split.shape.with(3, last), split.strides, lk - last), mask, one(), 1);
    return { p: aten.softmax(scores, scores), bent };
  }
  /** The inverse of readQueries into rows of `to` [T+1, H·d]; padding goes to row T. */
  const writeQueries = (to: Tensor, x: Tensor, { written }: Chunk, { width }: Heads) =>
    aten.indexCopy(headRows(to, width), written, headRows(x, width));
  /** The inverse of readKeys, added to rows of `to` [T, G·d] in f32. */
  const addKeys = (to: Tensor, x: Tensor, { keys }: Chunk, { width }: Heads) =>
    aten.scatterAddRows(headRows(to, width), keys, headRows(dense(x, 'f32'), width));

  return {
    /** q [T,H·d], k and v [T,G·d] -> [T,H·d] */
    packed: (q: Tensor, k: Tensor, v: Tensor, chunks: readonly Chunk[], heads: Heads): Tensor => {
      const tokens = q.shape[0]!;
      const out = empty([tokens + 1, q.shape[1]!], q.dtype);
      for (const chunk of chunks) {
        device.scoped(() => {
          const queries = readQueries(q, chunk, heads);
          const keys = readKeys(k, chunk, heads);
          const values = readKeys(v, chunk, heads);
          writeQueries(out, aten.bmm(probabilities(queries, keys, chunk, heads).p, values), chunk, heads);
          return [];
        });
      }
      return device.rows(out, 0, tokens);
    },
    /**
     * dq, dk, dv. With P the probabilities: dV = Pᵀ·dO, dP = dO·Vᵀ, dS = P∘(dP − rowsum(P∘dP)), dQ = s·dS·K, dK = s·dSᵀ·Q; with
     * a cap dS is multiplied by 1 − t², t being tanh of the scores before it.
     */
    packedGrad: (
      dout: Tensor,
      [q, k, v]: readonly [Tensor, Tensor, Tensor],
      chunks: readonly Chunk[],
      heads: Heads,
    ): [Tensor, Tensor, Tensor] => {
      const tokens = q.shape[0]!;
      const dq = empty([tokens + 1, q.shape[1]!], q.dtype);
      const [dk, dv] = [empty(k.shape, 'f32'), empty(v.shape, 'f32')];
      aten.zero(dk);
      aten.zero(dv);
      for (const chunk of chunks) {
        device.scoped(() => {
          const queries = readQueries(q, chunk, heads);
          const keys = readKeys(k, chunk, heads);
          const values = readKeys(v, chunk, heads);
          const dmixed = readQueries(dout, chunk, heads);
          if (chunk.present) {
            const split = view(dmixed, [chunk.n, heads.groups * heads.shared, chunk.lq, heads.width]);
            aten.mul(split, chunk.present, split);
          }
          const { p, bent } = probabilities(queries, keys, chunk, heads);
          addKeys(dv, aten.bmm(flipped(p), dmixed), chunk, heads);
          const dcapped = aten.softmaxBackward(aten.bmm(dmixed, flipped(values)), p);
          const ds = bent ? aten.tanhBackward(dcapped, bent, dcapped) : dcapped;
          const scaled = (a: Tensor, b: Tensor) =>
            aten.baddbmm(empty([a.shape[0]!, a.shape[1]!, b.shape[2]!], a.dtype), a, b, heads.scale);
          writeQueries(dq, scaled(ds, keys), chunk, heads);
          addKeys(dk, scaled(flipped(ds), queries), chunk, heads);
          return [];
        });
      }
      return [device.rows(dq, 0, tokens), dense(dk, k.dtype), dense(dv, v.dtype)];
    },
    /**
     * q [B,H·d], k and v [B,G·d] of the newest token, caches [slots,G,C,d] -> [B,H·d]. The newest key and value stand in
     * their places of the caches while the products are computed; then what was there returns, unless they may `stay`:
     * writing to a cache is another op's task.
     */
    decode: (
      [q, k, v]: readonly [Tensor, Tensor, Tensor],
      [keys, values]: readonly [Tensor, Tensor],
      { at, hidden }: DecodePlaces,
      { groups, shared, width, scale, softcap }: Heads,
      stay: boolean,
    ): Tensor => {
      const batch = q.shape[0]!;
      const capacity = keys.shape[2]!;
      const stack = (cache: Tensor) => view(cache, [batch * groups, capacity, width]);
      const row = (x: Tensor) => view(x, [sizeOf(x.shape) / width, width]);
      const places = [row(keys), row(values)] as const;
      const before = stay ? [] : places.map((cache) => aten.indexSelect(cache, view(at, [batch * groups])));
      [k, v].forEach((x, i) => {
        aten.indexPut(places[i]!, at, view(x, [batch, groups, width], [x.strides[0]!, width, 1]));
      });
      const queries = view(q, [batch * groups, shared, width]);
      const products = empty([batch * groups, shared, capacity], q.dtype);
      if (softcap === undefined) aten.baddbmm(products, queries, flipped(stack(keys)), scale, hidden);
      else aten.baddbmm(products, queries, flipped(stack(keys)), scale / softcap);
      const scores = softcap === undefined ? products : aten.add(hidden, aten.tanh(products, products), softcap);
      const mixed = aten.bmm(aten.softmax(scores, scores), stack(values));
      before.forEach((x, i) => {
        aten.indexPut(places[i]!, at, view(x, [batch, groups, width]));
      });
      return view(mixed, [batch, groups * shared * width]);
    },
  };
}

/** What all layers of a decoding step share. */
export interface DecodePlaces {
  /** Row of the caches [slots·G·C, d] for the newest key of each row and group, i64 [B,G]. */
  readonly at: Tensor;
  /** [B·G,1,C]: −∞ after the newest token and before its window, else 0 */
  readonly hidden: Tensor;
}

/** @param lengths cached tokens of each row [B] */
export function decodePlaces(
  device: Device,
  lengths: Int32Array,
  capacity: number,
  { groups, window = Number.POSITIVE_INFINITY }: Heads,
  dtype: Tensor['dtype'],
): DecodePlaces {
  const at = new BigInt64Array(lengths.length * groups);
  const hidden = new Float32Array(lengths.length * groups * capacity);
  lengths.forEach((length, b) => {
    for (let row = b * groups; row < (b + 1) * groups; row++) {
      at[row] = BigInt(row * capacity + length);
      hidden.fill(Number.NEGATIVE_INFINITY, row * capacity + length + 1, (row + 1) * capacity);
      hidden.fill(Number.NEGATIVE_INFINITY, row * capacity, row * capacity + Math.max(0, length + 1 - window));
    }
  });
  return {
    at: device.upload(at, [lengths.length, groups]),
    hidden: device.dense(device.upload(hidden, [at.length, 1, capacity]), dtype),
  };
}
