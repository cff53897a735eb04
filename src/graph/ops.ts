/**
 * The closed table of ops with their attributes; shapeRules.ts has what they demand of their inputs and what they return.
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
import type { Dim, Shape, TensorType } from './types.ts';

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

export interface Capped {
  /** Logits l become c·tanh(l/c) before the softmax. */
  readonly softcap?: number | undefined;
}

export interface WeightGradient {
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

/** Ops that change states and return nothing, with how many of their inputs, the first, are those states. */
export const effectOps = { accumulate: 1, zero: 1, cacheWrite: 1, cacheMove: 1, adamw: 4, rmsprop: 3 } as const;
export type EffectOp = keyof typeof effectOps;

export function isEffect(op: OpName): op is EffectOp {
  return Object.hasOwn(effectOps, op);
}
