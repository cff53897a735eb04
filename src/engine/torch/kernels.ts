/**
 * The table of ops on torch: total over the graph's ops, like every pass. A kernel gets the op's operands and returns
 * its results as new tensors.
 *
 * Mixed precision. With a compute dtype of bf16 or f16 the products of the layers, attention and the gate are computed
 * and stored in it, and so are KV caches and the gradient of the head; what is summed over layers or tokens (the residual
 * stream, norms, losses, the head's logits and log-probs, and within torch's softmax its sums) is f32, and so are all
 * other states. A kernel asks for the dtype that it needs: `f32` and `low` convert where an operand has the other one.
 * With f32 nothing converts.
 */
import {
  type Dim,
  dropoutColumns,
  dropoutThreshold,
  type OpAttributes,
  type OpName,
  type Shape,
} from '../../graph/index.ts';
import { failure } from '../../util/index.ts';
import type { Aten } from './aten.ts';
import { attentionOn, decodePlaces } from './attention.ts';
import { type Chunk, chunksOf, type Heads, headsOf } from './chunks.ts';
import { flashFits, flashOn } from './flash.ts';
import { headOn, type Kept } from './head.ts';
import { type Sequences, sequencesOf } from './sequences.ts';
import { addProduct, type Sink } from './sink.ts';
import { areSideBySide, type Device, sizeOf, type Tensor, type TorchDtype } from './tensors.ts';

/** Whole numbers: they come from the host, and kernels look at them there, best within `RunContext.once`. */
export interface Indices {
  readonly name: string;
  readonly shape: readonly number[];
  readonly host: Int32Array;
}
/** What an op reads. A state that is wanted in the compute dtype has its copy in `low`. */
export type Operand = Tensor | Indices | StateOperand;
export interface StateOperand {
  readonly state: string;
  /** Its f32 values, or what it is stored in. */
  readonly tensor: () => Tensor;
  /** The same in the compute dtype. */
  readonly low: () => Tensor;
}

/** What kernels share during one run. */
export interface RunContext {
  /** A size that was bound when the run began. */
  readonly size: (dim: Dim) => number;
  /** See `States.packed`; undefined also where a state may change while the program lives. */
  readonly packed: (states: readonly string[], dtype: TorchDtype) => Tensor | undefined;
  /** Caches in which a kernel has already written what the next cacheWrite would write. */
  readonly written: Set<string>;
  /**
   * Makes something once per run; tensors in it live until the run ends. Their number and shapes depend on nothing but
   * the sizes that were bound, or the kernel says that it `varies`.
   */
  readonly once: <T>(key: string, make: () => T) => T;
  /** What the kernel does depends on values of its indices: it must not be repeated from a tape. */
  readonly varies: () => void;
  /** Whether an input of slots is 0, 1, 2 … */
  readonly areInOrder: (indices: Indices) => boolean;
}

type Kernel<K extends OpName> = (
  c: RunContext,
  operands: readonly Operand[],
  attributes: OpAttributes[K],
  /** Where result i is to be added to instead of being returned. */
  sinks: readonly (Sink | undefined)[],
  /** Shared by an op and its gradient; see KEEPS. */
  kept: Kept | undefined,
) => readonly (Tensor | undefined)[];

/** Ops whose result i can be added to a gradient as it is made, without existing on its own. */
export const SINKS: Partial<Record<OpName, number>> = { matmul: 0, scatterRows: 0, tokenLogProbsGrad: 1 };

/** Ops that keep something for their gradient, whose last operands are theirs. */
export const KEEPS: Partial<Record<OpName, OpName>> = {
  tokenLogProbs: 'tokenLogProbsGrad',
  attention: 'attentionGrad',
};

/** Ops that read weights in the compute dtype. */
export const READS_LOW: readonly OpName[] = ['linear', 'linearGradInput', 'tokenLogProbsGrad'];

/** Ops whose results are in the compute dtype. */
export const MAKES_LOW: readonly OpName[] = [
  'linear',
  'linearGradInput',
  'rmsNorm',
  'rope',
  'attention',
  'attentionGrad',
  'swiglu',
  'swigluGrad',
  'dropout',
];

/** Values of a block of elementwise work: several tensors of that many stay in the cache between its calls. */
const BLOCK_VALUES = 2 ** 19;

export type Kernels = { readonly [K in OpName]: Kernel<K> | null };

export function kernelsOn(device: Device, aten: Aten, dtype: TorchDtype): Kernels {
  const { view, empty, dense, rows, transposed, scalar } = device;
  const attention = attentionOn(device, aten);
  const flash = flashOn(device, aten);
  const head = headOn(device, aten, dtype);

  const isState = (x: Operand): x is StateOperand => 'state' in x;
  const isIndices = (x: Operand): x is Indices => 'host' in x;
  const reject = (what: string) => failure({ what: `engine torch: ${what}` });
  const tensor = (x: Operand | undefined): Tensor => {
    if (!x || isIndices(x)) throw reject('an operand has no values');
    return isState(x) ? x.tensor() : x;
  };
  const f32 = (x: Operand | undefined): Tensor => dense(tensor(x), 'f32');
  const low = (x: Operand | undefined): Tensor => {
    if (x && isState(x)) return x.low();
    return dense(tensor(x), dtype);
  };
  /** In the compute dtype, perhaps columns of a wider matrix. */
  const inLow = (x: Operand | undefined): Tensor =>
    x && !isState(x) && tensor(x).dtype === dtype ? tensor(x) : low(x);
  const ids = (x: Operand | undefined): Indices => {
    if (!x || !isIndices(x)) throw reject('indices must be an input of the graph');
    return x;
  };
  const sizes = (c: RunContext, shape: Shape) => shape.map(c.size);
  /** Indices as an i64 tensor, checked against what they index. */
  const indices = (c: RunContext, x: Operand | undefined, limit: number): Tensor => {
    const input = ids(x);
    return c.once(`i64 ${limit} ${input.name}`, () => {
      const { host } = input;
      for (const id of host) if (id < 0 || id >= limit) throw reject(`index ${id} is outside 0..${limit - 1}`);
      return device.upload(BigInt64Array.from(host, BigInt), [host.length]);
    });
  };
  const chunks = (c: RunContext, table: Operand | undefined, tokens: number, heads: Heads): readonly Chunk[] => {
    const input = ids(table);
    c.varies();
    const key = `chunks ${heads.groups} ${heads.shared} ${input.name}`;
    return c.once(key, () => chunksOf(device, input.host, tokens, heads, dtype));
  };
  const sequences = (c: RunContext, table: Operand | undefined, tokens: number): Sequences => {
    const input = ids(table);
    c.varies();
    return c.once(`sequences ${input.name}`, () => sequencesOf(device, input.host, tokens));
  };

  /** Blocks of rows of matrices with this many columns. */
  function* blocks(count: number, columns: number): Generator<[number, number]> {
    const size = Math.max(1, Math.floor(BLOCK_VALUES / columns));
    for (let from = 0; from < count; from += size) yield [from, Math.min(from + size, count)];
  }
  /** A matrix [T,D] made block by block; `body` fills the block's rows of the results. */
  function byBlocks(shape: readonly number[], body: (block: (x: Tensor) => Tensor) => void): void {
    if (sizeOf(shape) <= BLOCK_VALUES) {
      body((x) => x);
      return;
    }
    for (const [from, to] of blocks(shape[0]!, shape[1]!)) {
      device.scoped(() => {
        body((x) => rows(x, from, to));
        return [];
      });
    }
  }
  /** Mean over the last dimension, [T,1] */
  const rowMean = (x: Tensor): Tensor => {
    const width = x.shape[1]!;
    return aten.mulScalar(aten.mm(x, device.ones(width)), 1 / width);
  };

  /** cos and sin of position·frequency for all positions up to the largest so far, [positions, d/2] each. */
  const turns = new Map<string, { count: number; cos: Tensor; sin: Tensor }>();
  function turnsUpTo(positions: number, frequencies: readonly number[]): { cos: Tensor; sin: Tensor } {
    const key = String(frequencies);
    let known = turns.get(key);
    if (!known || known.count < positions) {
      const count = 2 ** Math.ceil(Math.log2(Math.max(positions, 64)));
      const table = (f: (x: number) => number) => {
        const values = new Float32Array(count * frequencies.length);
        for (let p = 0, i = 0; p < count; p++) for (const w of frequencies) values[i++] = f(p * w);
        return device.keep(device.upload(values, [count, frequencies.length]));
      };
      if (known) for (const old of [known.cos, known.sin]) device.free(old);
      known = { count, cos: table(Math.cos), sin: table(Math.sin) };
      turns.set(key, known);
    }
    return known;
  }

  /** The columns' numbers of dropout, [1,D], kept for good. */
  const dropoutNumbers = new Map<string, Tensor>();
  function dropoutNumbersOf(salt: number, width: number): Tensor {
    const key = `${salt} ${width}`;
    let known = dropoutNumbers.get(key);
    if (!known) {
      known = device.keep(device.upload(dropoutColumns(salt, width), [1, width]));
      dropoutNumbers.set(key, known);
    }
    return known;
  }

  /** x·Wᵢᵀ [T,Nᵢ]: as one product, with the weights packed, where these will not change. */
  function timesTransposed(c: RunContext, x: Tensor, weights: readonly Operand[]): Tensor[] {
    const packed = weights.every(isState)
      ? c.packed(
          weights.map(({ state }) => state),
          x.dtype,
        )
      : undefined;
    if (!packed || x.shape[0] === 0) {
      return weights.map((w) => aten.timesTransposed(x, x.dtype === dtype ? low(w) : f32(w)));
    }
    const product = aten.timesTransposed(x, packed);
    return columns(
      product,
      weights.map((w) => (w as StateOperand).tensor().shape[0]!),
    );
  }
  /** A matrix cut between its columns. */
  function columns(x: Tensor, widths: readonly number[]): Tensor[] {
    if (widths.length === 1) return [x];
    let at = 0;
    return widths.map((width) => {
      at += width;
      return view(x, [x.shape[0]!, width], x.strides, at - width);
    });
  }

  return {
    input: null,
    state: null,
    constant: (_, __, { type, values }) => {
      if (type.dtype === 'i32') throw reject('constants are floats');
      return [device.upload(Float32Array.from(values), type.shape as number[])];
    },
    // The residual stream is f32, and so is what is added to it; a layer's product plus its adapter's stays what they are.
    add: (_, [a, b]) => [aten.add(dense(tensor(a)), dense(tensor(b)))],
    sub: (_, [a, b]) => [aten.add(f32(a), f32(b), -1)],
    mul: (_, [a, b]) => [aten.mul(f32(a), f32(b))],
    affine: (_, [x], { scale, shift }) => {
      const scaled = aten.mulScalar(f32(x), scale);
      return [shift === 0 ? scaled : aten.addScalar(scaled, shift)];
    },
    sigmoid: (_, [x]) => [aten.sigmoid(f32(x))],
    softplus: (_, [x]) => [aten.logaddexp(f32(x), scalar(0))],
    exp: (_, [x]) => [aten.exp(f32(x))],
    log: (_, [x]) => [aten.log(f32(x))],
    step: (_, [x]) => [aten.heaviside(f32(x), scalar(0))],
    sumTo: (c, [x], { shape }) => {
      const value = f32(x);
      const target = sizes(c, shape);
      if (sizeOf(target) === 1) return [view(aten.sum(value), target)];
      // The summed dimensions last, then a product with ones.
      const missing = value.shape.length - target.length;
      const summed = value.shape.map((dim, i) => i < missing || (target[i - missing] === 1 && dim !== 1));
      const order = [...summed.keys()].sort((i, j) => Number(summed[i]) - Number(summed[j]) || i - j);
      const turned = view(
        value,
        order.map((i) => value.shape[i]!),
        order.map((i) => value.strides[i]!),
      );
      const count = sizeOf(value.shape) / Math.max(1, sizeOf(target));
      const flat = view(dense(turned), [sizeOf(target), count]);
      return [view(aten.mm(flat, device.ones(count)), target)];
    },
    broadcastTo: (c, [x], { shape }) => {
      const value = f32(x);
      const target = sizes(c, shape);
      const missing = target.length - value.shape.length;
      const strides = target.map((_, i) => {
        const dim = value.shape[i - missing];
        return dim === undefined || dim === 1 ? 0 : value.strides[i - missing]!;
      });
      const result = empty(target, 'f32');
      device.copy(result, view(value, target, strides));
      return [result];
    },
    reshape: (c, [x], { shape }) => [view(dense(tensor(x)), sizes(c, shape))],
    // In blocks, each added up on its own: more exact than one long sum, and the squares stay in the cache.
    sumSquares: (_, [x]) => {
      const value = f32(x);
      const flat = view(value, [sizeOf(value.shape), 1]);
      const count = Math.ceil(flat.shape[0]! / BLOCK_VALUES);
      const sums = empty([Math.max(1, count)], 'f32');
      if (count === 0) aten.zero(sums);
      for (let i = 0; i < count; i++) {
        device.scoped(() => {
          const block = rows(flat, i * BLOCK_VALUES, Math.min((i + 1) * BLOCK_VALUES, flat.shape[0]!));
          device.copy(view(sums, [], [], i), aten.sum(aten.mul(block, block)));
          return [];
        });
      }
      return [aten.sum(sums)];
    },
    matmul: (c, [a, b], { transposeA, transposeB }, [sink]) => {
      // A gradient of a layer's weights is in the compute dtype, as its operands are; everything else is f32.
      if (!sink && !transposeA && transposeB) return timesTransposed(c, f32(a), [b!]);
      const [x, y] = sink ? [low(a), low(b)] : [f32(a), f32(b)];
      const [left, right] = [transposeA ? transposed(x) : x, transposeB ? transposed(y) : y];
      if (!sink) return [aten.mm(left, right)];
      addProduct(device, aten, sink, left, right);
      return [undefined];
    },
    linear: (c, [x, ...weights]) => timesTransposed(c, low(x), weights),
    linearGradInput: (_, operands) => {
      const count = operands.length / 2;
      const [dy, w] = [operands.slice(0, count).map(low), operands.slice(count).map(low)];
      let sum = aten.timesTransposed(dy[0]!, transposed(w[0]!));
      for (let i = 1; i < count; i++) sum = aten.addTimesTransposed(sum, dy[i]!, transposed(w[i]!));
      return [sum];
    },
    gatherRows: (c, [table, at]) => {
      const value = dense(tensor(table));
      return [aten.indexSelect(value, indices(c, at, value.shape[0]!))];
    },
    scatterRows: (c, [x, at], { count }, [sink]) => {
      const value = f32(x);
      const target = sink?.tensor ?? empty([c.size(count), value.shape[1]!], 'f32');
      if (!sink || sink.fresh) aten.zero(target);
      if (sink) sink.fresh = false;
      aten.scatterAddRows(target, indices(c, at, target.shape[0]!), value);
      return [sink ? undefined : target];
    },
    rmsNorm: (_, [x, w], { eps }) => {
      const [result, rstd] = aten.rmsNorm(f32(x), f32(w), eps);
      return [dense(result, dtype), rstd];
    },
    // With n = x·rstd and g = dy·w: dx = rstd·(g − n·mean(g·n)), dw = Σ dy·n
    rmsNormGrad: (_, [dy, x, w, rstd], { forWeight }) => {
      const [value, weight, scale, dout] = [f32(x), f32(w), f32(rstd), tensor(dy)];
      const dx = empty(value.shape, 'f32');
      const dw = forWeight ? empty([1, value.shape[1]!], 'f32') : undefined;
      if (dw) aten.zero(dw);
      byBlocks(value.shape, (block) => {
        const d = dense(block(dout), 'f32');
        const n = aten.mul(block(value), block(scale));
        const g = aten.mul(d, weight);
        const products = aten.mul(g, n);
        const mean = rowMean(products);
        if (dw) aten.addmm(dw, dw, transposed(device.ones(d.shape[0]!)), aten.mul(d, n, products));
        aten.addcmul(g, n, mean, -1);
        aten.mul(g, block(scale), block(dx));
      });
      return dw ? [dx, view(dw, weight.shape)] : [dx];
    },
    rope: (c, operands, { headDim, frequencies, inverse }) => {
      const positions = operands.at(-1);
      const input = ids(positions);
      const all = operands.slice(0, -1).map(tensor);
      const [tokens] = input.shape as [number];
      const { cos, sin } = c.once(`turns ${all[0]!.dtype} ${frequencies} ${input.name}`, () => {
        const table = turnsUpTo(input.host.reduce((a, b) => Math.max(a, b), 0) + 1, frequencies);
        const at = indices(c, positions, table.cos.shape[0]!);
        const turn = (full: Tensor) => {
          const chosen = dense(aten.indexSelect(full, at), all[0]!.dtype);
          return view(chosen, [tokens, 1, headDim / 2]);
        };
        return { cos: turn(table.cos), sin: turn(table.sin) };
      });
      const turn = inverse ? -1 : 1;
      const turned = (x: Tensor, width: number): Tensor => {
        const heads = width / headDim;
        const [row] = x.strides as [number];
        const half = (of: Tensor, stride: number, which: 0 | 1) =>
          view(of, [tokens, heads, headDim / 2], [stride, headDim, 1], (which * headDim) / 2);
        const result = aten.mul(view(x, [tokens, 2 * heads, headDim / 2], [row, headDim / 2, 1]), cos);
        const halves = [half(result, width, 0), half(result, width, 1)];
        aten.addcmuls(halves, [half(x, row, 1), half(x, row, 0)], [sin, sin], [-turn, turn]);
        return view(result, [tokens, width]);
      };
      // Queries and keys of packed weights are columns of one matrix.
      const widths = all.map(({ shape }) => shape[1]!);
      return areSideBySide(all)
        ? columns(
            turned(
              all[0]!,
              widths.reduce((sum, width) => sum + width),
            ),
            widths,
          )
        : all.map((x, i) => turned(x, widths[i]!));
    },
    attention: (c, [q, k, v, table], attributes, _, kept) => {
      const [queries, keys, values] = [low(q), low(k), low(v)];
      const [tokens, heads] = [queries.shape[0]!, headsOf(attributes, queries, keys)];
      if (flashFits(device, dtype, heads)) {
        return [flash.packed([queries, keys, values], sequences(c, table, tokens), heads, kept)];
      }
      return [attention.packed(queries, keys, values, chunks(c, table, tokens, heads), heads)];
    },
    attentionGrad: (c, [dout, q, k, v, table], attributes, _, kept) => {
      const all = [low(q), low(k), low(v)] as const;
      const [tokens, heads] = [all[0].shape[0]!, headsOf(attributes, all[0], all[1])];
      if (flashFits(device, dtype, heads)) {
        return flash.packedGrad(low(dout), all, sequences(c, table, tokens), heads, kept);
      }
      return attention.packedGrad(low(dout), all, chunks(c, table, tokens, heads), heads);
    },
    swiglu: (_, [gate, up]) => {
      const [g, u] = [inLow(gate), inLow(up)];
      const result = empty(g.shape, g.dtype);
      byBlocks(g.shape, (block) => void aten.mul(aten.silu(block(g)), block(u), block(result)));
      return [result];
    },
    // dup = dy·silu(gate), dgate = dy·up·silu'(gate)
    swigluGrad: (_, [dy, gate, up]) => {
      const [d, g, u] = [low(dy), low(gate), low(up)];
      const [dgate, dup] = [empty(g.shape, g.dtype), empty(g.shape, g.dtype)];
      byBlocks(g.shape, (block) => {
        aten.mul(block(d), aten.silu(block(g)), block(dup));
        aten.siluBackward(aten.mul(block(d), block(u)), block(g), block(dgate));
      });
      return [dgate, dup];
    },
    tokenLogProbs: (c, [h, w, targets], _, __, kept) => {
      const weights = f32(w);
      return [head.logProbs(f32(h), weights, indices(c, targets, weights.shape[0]!), kept)];
    },
    tokenLogProbsGrad: (c, [dlogprobs, h, w, targets], { forWeight }, [, sink], kept) => {
      const lowW = low(w);
      const dw: Sink | undefined = forWeight ? (sink ?? { tensor: empty(lowW.shape, 'f32'), fresh: true }) : undefined;
      const at = indices(c, targets, lowW.shape[0]!);
      const dh = head.logProbsGrad(f32(dlogprobs), f32(h), () => f32(w), lowW, at, dw, kept);
      if (dw?.fresh) aten.zero(dw.tensor); // no rows at all
      return dw ? [dh, sink ? undefined : dw.tensor] : [dh];
    },
    dropout: (c, [x, keys], attributes) => {
      const value = dense(tensor(x));
      const input = ids(keys);
      const odd = c.once(`odd keys ${input.name}`, () =>
        device.upload(
          input.host.map((key) => key | 1),
          [input.host.length, 1],
        ),
      );
      const numbers = dropoutNumbersOf(attributes.salt, value.shape[1]!);
      const threshold = c.once(`threshold ${attributes.probability}`, () =>
        device.upload(Int32Array.of(dropoutThreshold(attributes)), [1]),
      );
      const result = empty(value.shape, value.dtype);
      byBlocks(value.shape, (block) => {
        const stays = aten.atLeast(aten.mul(block(odd), numbers), threshold);
        const kept = aten.mul(block(value), stays, block(result));
        aten.mul(kept, scalar(1 / (1 - attributes.probability)), kept);
      });
      return [result];
    },
    // Steps are taken in the order of the graph.
    barrier: (_, [x]) => [tensor(x)],
    decodeAttention: (c, [q, k, v, keys, values, lengths, slots], attributes) => {
      const [queries, newKeys, newValues] = [low(q), inLow(k), inLow(v)];
      const [keyCache, valueCache] = [tensor(keys), tensor(values)];
      const [count, , capacity] = keyCache.shape as [number, number, number];
      const input = ids(lengths);
      const [rowCount] = input.shape as [number];
      if (rowCount > count) throw reject(`${rowCount} rows and only ${count} slots in the cache`);
      const heads = headsOf(attributes, queries, newKeys);
      const places = c.once(`decode ${heads.groups} ${capacity} ${input.name}`, () => {
        const { host } = input;
        for (const length of host) {
          if (length < 0 || length >= capacity) throw reject(`row of ${length} tokens in a cache for ${capacity}`);
        }
        return decodePlaces(device, host, capacity, heads, dtype);
      });
      const caches = [dense(keyCache, dtype), dense(valueCache, dtype)] as const;
      // The next effects write these rows into these caches: they may stay, where every row is in its own slot.
      const stay = slots !== undefined && keyCache.dtype === dtype && c.areInOrder(ids(slots));
      if (stay) for (const cache of [keys, values]) if (cache && isState(cache)) c.written.add(cache.state);
      return [attention.decode([queries, newKeys, newValues], caches, places, heads, stay)];
    },
    sample: (_, [logits, uniforms], attributes) => head.sample(f32(logits), f32(uniforms), attributes),
    accumulate: null,
    zero: null,
    cacheWrite: null,
    cacheMove: null,
    adamw: null,
    rmsprop: null,
  };
}
