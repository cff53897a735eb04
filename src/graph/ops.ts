/**
 * The closed table of ops: attributes, and the rule that gives the types of the results from the types of the inputs.
 *
 * Ops stand at the level at which engines are fast. Notation: T tokens (or rows), R response rows, B decode rows,
 * D width, V vocabulary, H query heads, G key-value heads, d head width, S segments. Every pass over graphs is a total
 * table over OpName, so adding an op means following the compile errors.
 *
 * Segment table (attention): int32 [S, 6], one row per segment: queryStart, queryEnd, keyStart, keyEnd, moreStart,
 * moreEnd. The queries [queryStart, queryEnd) see the keys [keyStart, keyEnd) followed by [moreStart, moreEnd)
 * (possibly empty), causally aligned to the end: query i of Lq sees the keys j <= i + Lk - Lq. Every token is the
 * query of exactly one segment and the segments are in the order of their queries. A pair
 * packed as prompt|real|generated is two segments: [prompt+real) over itself, and generated over prompt, generated.
 */
import { failure } from '../util/index.ts';
import type { Dim, DType, Shape, TensorType } from './types.ts';

type None = Record<never, never>;

export interface HeadAttributes {
  /** d; the number of heads is the width divided by it. */
  readonly headDim: number;
  /** Factor on q·k before the softmax. */
  readonly scale: number;
  /** A query sees at most so many of the last keys that it would see, itself among them; all where left out. */
  readonly window?: number | undefined;
  /** Scores s become c·tanh(s/c) before the softmax. */
  readonly softcap?: number | undefined;
}

/** f of `glu`; gelu_tanh is x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))). */
export type Activation = 'silu' | 'gelu_tanh';

interface Capped {
  /** Logits l become c·tanh(l/c) before the softmax. */
  readonly softcap?: number | undefined;
}

interface WeightGradient {
  /** Whether the gradient of the weight is asked for as well: a frozen one costs nothing. */
  readonly forWeight: boolean;
}

export interface OpAttributes {
  // Sources.
  input: { readonly name: string; readonly type: TensorType };
  state: { readonly name: string; readonly type: TensorType };
  constant: { readonly type: TensorType; readonly values: readonly number[] };
  // Arithmetic with numpy's broadcasting.
  add: None;
  sub: None;
  mul: None;
  /** x·scale + shift */
  affine: { readonly scale: number; readonly shift: number };
  sigmoid: None;
  /** log(1 + eˣ) */
  softplus: None;
  exp: None;
  log: None;
  tanh: None;
  /** 1 where x > 0, else 0. Flat almost everywhere: max(0, x) is x·step(x), and so is its gradient. */
  step: None;
  /** Sum over the dimensions that broadcasting from `shape` would have added or repeated. */
  sumTo: { readonly shape: Shape };
  broadcastTo: { readonly shape: Shape };
  reshape: { readonly shape: Shape };
  /** Σ x², a scalar. */
  sumSquares: None;
  // Products.
  matmul: { readonly transposeA: boolean; readonly transposeB: boolean };
  /** x [T,K], weights [Nᵢ,K] -> x·Wᵢᵀ [T,Nᵢ], one result per weight: projections that share an input. */
  linear: None;
  /** dy₁..dyₙ [T,Nᵢ], W₁..Wₙ [Nᵢ,K] -> Σ dyᵢ·Wᵢ [T,K] */
  linearGradInput: None;
  // Rows by index.
  /** table [V,D], ids [T] -> [T,D] */
  gatherRows: None;
  /** rows [T,D], ids [T] -> [count,D]: the sum of the rows that share an id. */
  scatterRows: { readonly count: Dim };
  // Transformer parts.
  // Columns.
  /** x [T,N] -> x cut between its columns, [T,Nᵢ] for the widths Nᵢ: projections that share a weight. */
  split: { readonly widths: readonly number[] };
  /** x₁..xₙ [T,Nᵢ] -> side by side, [T,ΣNᵢ] */
  join: None;
  /**
   * x [T,N], w [D] -> x·rstd·w [T,N], rstd = 1/√(mean x² + eps) [T,N/D]. The means are those of D columns each: of a row, or
   * of the heads in it.
   */
  rmsNorm: { readonly eps: number };
  /** dy, x, w, rstd -> dx [T,N], and dw [D] if `forWeight` */
  rmsNormGrad: WeightGradient;
  /**
   * Rotary position embedding, halves layout: x₁..xₙ [T,Hᵢ·d], positions [T] -> one result each; for each head
   * (a, b) -> m·(a·cos − b·sin, b·cos + a·sin) with angle = position·frequency and m = `scale`, 1 when left out. With fewer
   * frequencies than d/2 only the first columns of a head turn; the others stay. `inverse` turns the other way, which is the
   * gradient.
   */
  rope: {
    readonly headDim: number;
    readonly frequencies: readonly number[];
    readonly inverse: boolean;
    readonly scale?: number;
  };
  /**
   * q [T,H·d], k and v [T,G·d], segments [S,6] -> softmax(scale·q·kᵀ)·v [T,H·d]; query head h reads head h·G/H. A window is
   * counted along the keys of a segment, which is in positions: between them may lie tokens of other segments.
   */
  attention: HeadAttributes;
  /** dout, q, k, v, segments -> dq, dk, dv */
  attentionGrad: HeadAttributes;
  /** gate, up [T,F] -> f(gate)·up (Shazeer 2020); without `up` f(gate) alone */
  glu: { readonly activation: Activation };
  /** dy, gate, up -> dgate, dup; without `up` dgate alone */
  gluGrad: { readonly activation: Activation };
  /** h [R,D], w [V,D], targets [R] -> log softmax(h·wᵀ)[target] [R]; the R×V matrix never exists as a whole. */
  tokenLogProbs: Capped;
  /** dlogprobs [R], h, w, targets -> dh [R,D], and dw [V,D] if `forWeight` */
  tokenLogProbsGrad: WeightGradient & Capped;
  /**
   * x [T,D], keys [T] int32 -> x/(1−p) where a mask of key, salt and column keeps it (dropout.ts), else 0. The gradient is
   * the same op on dy.
   */
  dropout: { readonly probability: number; readonly salt: number };
  /**
   * x, after₁ … afterₙ -> x, not before all of these are there: what is computed from the result is computed later than they,
   * and is never taken for the same thing computed from x. Only backward passes have it.
   */
  barrier: None;
  // Generation.
  /**
   * q [B,H·d], k and v [B,G·d] of the newest token, caches [slots,G,C,d], lengths [B] -> [B,H·d]: row b attends to the
   * first lengths[b] < C positions of cache row b and to its own new key and value, which belong at position lengths[b].
   */
  decodeAttention: HeadAttributes;
  /**
   * logits [B,V], uniforms [B] in (0,1) -> ids [B], log-probs [B] of those ids under the untempered, unfiltered
   * distribution. temperature 0 is greedy (first of equals); topK 0 and topP 1 mean no filter. The uniform number is
   * looked up in the cumulative distribution in the order of ids; with a filter, from the most probable on. topP applies
   * to what topK left; the token that crosses topP is kept.
   */
  sample: { readonly temperature: number; readonly topK: number; readonly topP: number };
  // Effects on states. The states that change come first (4 of adamw, 3 of rmsprop, else 1) and are seen as earlier
  // effects of the run left them; every other input as it was when the run began.
  /** state += value */
  accumulate: None;
  /** state = 0 */
  zero: None;
  /** cache [slots,G,C,d], slots [T], positions [T], values [T,G·d]: cache[slot,:,position,:] = value */
  cacheWrite: None;
  /** cache, from [M], to [M]: cache[to] = cache[from], whole rows, in order. */
  cacheMove: None;
  /**
   * param, grad, m, v, scalars [4] = (learning rate, factor on the gradient, 1 − β₁ᵗ, 1 − β₂ᵗ). Decoupled weight decay:
   * p −= lr·decay·p; m = β₁m + (1−β₁)g; v = β₂v + (1−β₂)g²; p −= lr·(m/c₁) / (√(v/c₂) + eps)
   */
  adamw: { readonly beta1: number; readonly beta2: number; readonly eps: number; readonly weightDecay: number };
  /** param, grad, v, scalars [2] = (learning rate, factor on the gradient): v = αv + (1−α)g²; p −= lr·g / (√v + eps) */
  rmsprop: { readonly alpha: number; readonly eps: number };
}

export type OpName = keyof OpAttributes;

type ShapeRule<K extends OpName> = (inputs: readonly TensorType[], attributes: OpAttributes[K]) => TensorType[];

const f32 = (...shape: Dim[]): TensorType => ({ dtype: 'f32', shape });

function reject(what: string): never {
  throw failure({ what, fix: 'this is a defect in how the graph was built, not in your input' });
}

/** The type of input i, checked for rank and for being a float (or i32 where asked). */
function operand(inputs: readonly TensorType[], i: number, rank: number | null, kind: 'float' | 'i32' = 'float') {
  const type = inputs[i] ?? reject(`input ${i} is missing`);
  const isFloat = type.dtype === 'f32' || type.dtype === 'bf16' || type.dtype === 'f16';
  if (kind === 'i32' ? type.dtype !== 'i32' : !isFloat) reject(`input ${i} is ${type.dtype}, expected ${kind}`);
  if (rank !== null && type.shape.length !== rank) reject(`input ${i} has rank ${type.shape.length}, expected ${rank}`);
  return type;
}

function same(what: string, got: Dim | undefined, expected: Dim | undefined): void {
  if (got === undefined || got !== expected) reject(`${what}: got ${got}, expected ${expected}`);
}

/** numpy's broadcasting of two shapes. */
function broadcast(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) reject(`shapes [${a}] and [${b}] do not broadcast`);
    return x === 1 ? y : x;
  });
}

function elementwise(inputs: readonly TensorType[]): TensorType[] {
  const a = operand(inputs, 0, null);
  const b = operand(inputs, 1, null);
  if (a.dtype !== b.dtype) reject(`${a.dtype} and ${b.dtype} do not mix`);
  return [{ dtype: a.dtype, shape: broadcast(a.shape, b.shape) }];
}

function sameAsFirst(inputs: readonly TensorType[]): TensorType[] {
  return [operand(inputs, 0, null)];
}

/** Two tensors of the same shape give `count` tensors of that shape. */
function alike(inputs: readonly TensorType[], operands: number, results: number): TensorType[] {
  const first = operand(inputs, 0, 2);
  for (let i = 1; i < operands; i++) {
    const other = operand(inputs, i, 2);
    same(`rows of input ${i}`, other.shape[0], first.shape[0]);
    same(`width of input ${i}`, other.shape[1], first.shape[1]);
  }
  return Array.from({ length: results }, () => first);
}

/** Into how many parts of its weight's width a row is normed. */
function groupsOf(x: TensorType, weight: TensorType): number {
  const [width, part] = [x.shape[1], weight.shape[0]];
  if (width === part) return 1;
  if (typeof width !== 'number' || typeof part !== 'number' || width % part !== 0) {
    reject(`a width of ${width} is not a multiple of the weight's ${part}`);
  }
  return width / part;
}

/** q, k, v starting at input `at`: checked widths. */
function heads(inputs: readonly TensorType[], at: number, { headDim }: HeadAttributes) {
  const q = operand(inputs, at, 2);
  const k = operand(inputs, at + 1, 2);
  const v = operand(inputs, at + 2, 2);
  for (const [name, type] of [
    ['q', q],
    ['k', k],
    ['v', v],
  ] as const) {
    const width = type.shape[1];
    if (typeof width !== 'number' || width % headDim !== 0) {
      reject(`width of ${name} is ${width}, not a multiple of the head width ${headDim}`);
    }
    same(`rows of ${name}`, type.shape[0], q.shape[0]);
  }
  same('width of v', v.shape[1], k.shape[1]);
  if ((q.shape[1] as number) % (k.shape[1] as number) !== 0) {
    reject(`query width ${q.shape[1]} is not a multiple of key width ${k.shape[1]}`);
  }
  return { q, k, v };
}

function segmentTable(inputs: readonly TensorType[], i: number): void {
  same('columns of the segment table', operand(inputs, i, 2, 'i32').shape[1], 6);
}

function stateOf(inputs: readonly TensorType[], i: number, like?: TensorType): TensorType {
  const type = inputs[i] ?? reject(`input ${i} is missing`);
  if (like) {
    if (type.dtype !== like.dtype) reject(`input ${i} is ${type.dtype}, expected ${like.dtype}`);
    same(`rank of input ${i}`, type.shape.length, like.shape.length);
    type.shape.forEach((dim, axis) => {
      same(`dimension ${axis} of input ${i}`, dim, like.shape[axis]);
    });
  }
  return type;
}

/** What each op returns, and what it demands of its inputs. */
export const shapeRules = {
  input: (_, { type }) => [type],
  state: (_, { type }) => [type],
  constant: (_, { type, values }) => {
    const size = type.shape.reduce<number>((n, dim) => n * Number(dim), 1);
    if (size !== values.length) reject(`constant of shape [${type.shape}] has ${values.length} values`);
    return [type];
  },
  add: elementwise,
  sub: elementwise,
  mul: elementwise,
  affine: sameAsFirst,
  sigmoid: sameAsFirst,
  softplus: sameAsFirst,
  exp: sameAsFirst,
  log: sameAsFirst,
  tanh: sameAsFirst,
  step: sameAsFirst,
  sumTo: (inputs, { shape }) => {
    const x = operand(inputs, 0, null);
    const wide = broadcast(x.shape, shape);
    wide.forEach((dim, i) => {
      same(`dimension ${i} of sumTo`, x.shape[i], dim);
    });
    return [{ dtype: x.dtype, shape }];
  },
  broadcastTo: (inputs, { shape }) => {
    const x = operand(inputs, 0, null);
    broadcast(x.shape, shape).forEach((dim, i) => {
      same(`dimension ${i} of broadcastTo`, dim, shape[i]);
    });
    return [{ dtype: x.dtype, shape }];
  },
  reshape: (inputs, { shape }) => {
    const x = operand(inputs, 0, null);
    const symbols = (s: Shape) => s.filter((dim) => typeof dim === 'string').sort();
    const size = (s: Shape) => s.reduce<number>((n, dim) => (typeof dim === 'number' ? n * dim : n), 1);
    if (size(x.shape) !== size(shape) || String(symbols(x.shape)) !== String(symbols(shape))) {
      reject(`cannot reshape [${x.shape}] to [${shape}]`);
    }
    return [{ dtype: x.dtype, shape }];
  },
  sumSquares: (inputs) => {
    operand(inputs, 0, null);
    return [f32()];
  },
  matmul: (inputs, { transposeA, transposeB }) => {
    const a = operand(inputs, 0, 2);
    const b = operand(inputs, 1, 2);
    const [m, ka] = transposeA ? [a.shape[1], a.shape[0]] : a.shape;
    const [kb, n] = transposeB ? [b.shape[1], b.shape[0]] : b.shape;
    same('inner dimension', kb, ka);
    return [{ dtype: a.dtype, shape: [m!, n!] }];
  },
  linear: (inputs) => {
    const x = operand(inputs, 0, 2);
    return inputs.slice(1).map((_, i) => {
      const w = operand(inputs, i + 1, 2);
      same(`inner dimension of weight ${i}`, w.shape[1], x.shape[1]);
      return { dtype: x.dtype, shape: [x.shape[0]!, w.shape[0]!] };
    });
  },
  linearGradInput: (inputs) => {
    const count = inputs.length / 2;
    if (!Number.isInteger(count)) reject('as many gradients as weights are needed');
    const first = operand(inputs, 0, 2);
    const width = operand(inputs, count, 2).shape[1]!;
    for (let i = 0; i < count; i++) {
      const dy = operand(inputs, i, 2);
      const w = operand(inputs, count + i, 2);
      same(`rows of gradient ${i}`, dy.shape[0], first.shape[0]);
      same(`inner dimension of weight ${i}`, w.shape[0], dy.shape[1]);
      same(`width of weight ${i}`, w.shape[1], width);
    }
    return [{ dtype: first.dtype, shape: [first.shape[0]!, width] }];
  },
  gatherRows: (inputs) => {
    const table = operand(inputs, 0, 2);
    const ids = operand(inputs, 1, 1, 'i32');
    return [{ dtype: table.dtype, shape: [ids.shape[0]!, table.shape[1]!] }];
  },
  scatterRows: (inputs, { count }) => {
    const rows = operand(inputs, 0, 2);
    same('ids', operand(inputs, 1, 1, 'i32').shape[0], rows.shape[0]);
    return [{ dtype: rows.dtype, shape: [count, rows.shape[1]!] }];
  },
  split: (inputs, { widths }) => {
    const x = operand(inputs, 0, 2);
    same(
      'sum of the widths',
      widths.reduce((sum, width) => sum + width, 0),
      x.shape[1],
    );
    return widths.map((width) => ({ dtype: x.dtype, shape: [x.shape[0]!, width] }));
  },
  join: (inputs) => {
    const first = operand(inputs, 0, 2);
    const widths = inputs.map((_, i) => {
      const { shape } = operand(inputs, i, 2);
      same(`rows of input ${i}`, shape[0], first.shape[0]);
      return typeof shape[1] === 'number' ? shape[1] : reject(`the width ${shape[1]} is not a number`);
    });
    return [{ dtype: first.dtype, shape: [first.shape[0]!, widths.reduce((sum, width) => sum + width)] }];
  },
  rmsNorm: (inputs) => {
    const x = operand(inputs, 0, 2);
    return [x, f32(x.shape[0]!, groupsOf(x, operand(inputs, 1, 1)))];
  },
  rmsNormGrad: (inputs, { forWeight }) => {
    const [dx] = alike(inputs, 2, 1);
    const w = operand(inputs, 2, 1);
    const rstd = operand(inputs, 3, 2);
    same('rows of rstd', rstd.shape[0], dx!.shape[0]);
    same('width of rstd', rstd.shape[1], groupsOf(dx!, w));
    return forWeight ? [dx!, w] : [dx!];
  },
  rope: (inputs, { headDim, frequencies }) => {
    const count = inputs.length - 1;
    const positions = operand(inputs, count, 1, 'i32');
    if (frequencies.length * 2 > headDim) reject(`${frequencies.length} frequencies for heads of ${headDim}`);
    return inputs.slice(0, count).map((_, i) => {
      const x = operand(inputs, i, 2);
      same('positions', positions.shape[0], x.shape[0]);
      const width = x.shape[1];
      if (typeof width !== 'number' || width % headDim !== 0) reject(`width ${width} is not whole heads`);
      return x;
    });
  },
  attention: (inputs, attributes) => {
    const { q } = heads(inputs, 0, attributes);
    segmentTable(inputs, 3);
    return [q];
  },
  attentionGrad: (inputs, attributes) => {
    const { q, k, v } = heads(inputs, 1, attributes);
    const dout = operand(inputs, 0, 2);
    same('rows of the gradient', dout.shape[0], q.shape[0]);
    same('width of the gradient', dout.shape[1], q.shape[1]);
    segmentTable(inputs, 4);
    return [q, k, v];
  },
  glu: (inputs) => alike(inputs, inputs.length, 1),
  gluGrad: (inputs) => alike(inputs, inputs.length, inputs.length - 1),
  tokenLogProbs: (inputs) => {
    const h = operand(inputs, 0, 2);
    same('width of the head', operand(inputs, 1, 2).shape[1], h.shape[1]);
    same('targets', operand(inputs, 2, 1, 'i32').shape[0], h.shape[0]);
    return [f32(h.shape[0]!)];
  },
  tokenLogProbsGrad: (inputs, { forWeight }) => {
    const h = operand(inputs, 1, 2);
    const w = operand(inputs, 2, 2);
    same('gradients', operand(inputs, 0, 1).shape[0], h.shape[0]);
    same('width of the head', w.shape[1], h.shape[1]);
    same('targets', operand(inputs, 3, 1, 'i32').shape[0], h.shape[0]);
    return forWeight ? [h, w] : [h];
  },
  dropout: (inputs, { probability }) => {
    const x = operand(inputs, 0, 2);
    same('keys', operand(inputs, 1, 1, 'i32').shape[0], x.shape[0]);
    if (typeof x.shape[1] !== 'number') reject(`the width ${x.shape[1]} is not a number`);
    if (!(probability >= 0 && probability < 1)) reject(`the probability ${probability} is not in [0, 1)`);
    return [x];
  },
  barrier: (inputs) => {
    if (inputs.length < 2) reject('nothing to wait for');
    return sameAsFirst(inputs);
  },
  decodeAttention: (inputs, attributes) => {
    const { q, k } = heads(inputs, 0, attributes);
    const cache = operand(inputs, 3, 4);
    const values = operand(inputs, 4, 4);
    same('cached heads', cache.shape[1], (k.shape[1] as number) / attributes.headDim);
    same('cached head width', cache.shape[3], attributes.headDim);
    values.shape.forEach((dim, axis) => {
      same(`dimension ${axis} of the value cache`, dim, cache.shape[axis]);
    });
    same('lengths', operand(inputs, 5, 1, 'i32').shape[0], q.shape[0]);
    return [q];
  },
  sample: (inputs) => {
    const rows = operand(inputs, 0, 2).shape[0]!;
    same('uniforms', operand(inputs, 1, 1).shape[0], rows);
    return [{ dtype: 'i32', shape: [rows] }, f32(rows)];
  },
  accumulate: (inputs) => {
    stateOf(inputs, 1, stateOf(inputs, 0));
    return [];
  },
  zero: (inputs) => {
    stateOf(inputs, 0);
    return [];
  },
  cacheWrite: (inputs) => {
    const cache = operand(inputs, 0, 4);
    const values = operand(inputs, 3, 2);
    same('slots', operand(inputs, 1, 1, 'i32').shape[0], values.shape[0]);
    same('positions', operand(inputs, 2, 1, 'i32').shape[0], values.shape[0]);
    same('width of the values', values.shape[1], (cache.shape[1] as number) * (cache.shape[3] as number));
    return [];
  },
  cacheMove: (inputs) => {
    operand(inputs, 0, 4);
    same('targets', operand(inputs, 2, 1, 'i32').shape[0], operand(inputs, 1, 1, 'i32').shape[0]);
    return [];
  },
  adamw: (inputs) => {
    const parameter = stateOf(inputs, 0);
    for (let i = 1; i <= 3; i++) stateOf(inputs, i, parameter);
    same('scalars', operand(inputs, 4, 1).shape[0], 4);
    return [];
  },
  rmsprop: (inputs) => {
    const parameter = stateOf(inputs, 0);
    for (let i = 1; i <= 2; i++) stateOf(inputs, i, parameter);
    same('scalars', operand(inputs, 3, 1).shape[0], 2);
    return [];
  },
} satisfies { [K in OpName]: ShapeRule<K> };

/** Ops that change states and return nothing, with how many of their inputs, the first, are those states. */
export const effectOps = { accumulate: 1, zero: 1, cacheWrite: 1, cacheMove: 1, adamw: 4, rmsprop: 3 } as const;
export type EffectOp = keyof typeof effectOps;

export function isEffect(op: OpName): op is EffectOp {
  return Object.hasOwn(effectOps, op);
}

/** Result types of `op`. Throws with the op's name when the inputs do not fit. */
export function inferTypes<K extends OpName>(
  op: K,
  inputs: readonly TensorType[],
  attributes: OpAttributes[K],
): TensorType[] {
  const rule = shapeRules[op] as ShapeRule<K>;
  try {
    return rule(inputs, attributes);
  } catch (error) {
    const given = inputs.map(({ dtype, shape }: { dtype: DType; shape: Shape }) => `${dtype}[${shape}]`).join(', ');
    throw failure({ what: `${op}(${given}): ${(error as Error).message}`, cause: error });
  }
}
