/** What every model file provides: the shape of a causal language model, its parameters, and its forward graph. */
import type { GraphBuilder, HeadAttributes, Value } from '../graph/index.ts';

/** A tensor of weights, under its Hugging Face name. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  /** Other names under which files may carry the same tensor (a tied head). */
  readonly aliases: readonly string[];
  /** Files hold the matrix the other way round, [K, N] of a layer from K to N. */
  readonly transposed?: true;
  /**
   * How a random model starts: norms as ones (zeros where 1 + w counts), biases as zeros, everything else N(0, initializer_range²). Of an adapter's pair A [r,K]
   * starts as U(−1/√K, 1/√K), which is PEFT's kaiming_uniform(a = √5), and B as zeros.
   */
  readonly initial: 'normal' | 'ones' | 'kaiming-uniform' | 'zeros';
  /** Not learned; 'layer' is read by linear layers alone, so an engine may hold it in the dtype that it computes with. */
  readonly frozen?: 'layer' | 'other';
}

/** The parameters that training changes: only they have gradients and moments. */
export function trainable({ parameters }: Pick<LanguageModel, 'parameters'>): readonly Parameter[] {
  return parameters.filter(({ frozen }) => frozen === undefined);
}

/**
 * Attention of one layer: q [T,H·d] and k, v [T,G·d], rotated already -> [T,H·d]. Training, prefill and decoding differ
 * only here.
 */
export type Attend = (layer: number, q: Value, k: Value, v: Value, heads: HeadAttributes) => Value;

export interface LanguageModel {
  readonly modelType: string;
  readonly vocabSize: number;
  /** D, the width of the residual stream. */
  readonly hiddenSize: number;
  readonly layers: number;
  /** d */
  readonly headDim: number;
  /** G */
  readonly keyValueHeads: number;
  /** Longest sequence for which the positions are as the config says. */
  readonly contextLength: number;
  readonly initializerRange: number;
  readonly parameters: readonly Parameter[];
  /** Probability of dropout in training; none when left out. */
  readonly dropout?: number;
  /**
   * ids [T] and positions [T], int32 -> hidden states after the last norm [T,D].
   * @param dropoutKeys [T] int32, one random number a token; only then is anything dropped
   */
  hidden(b: GraphBuilder, ids: Value, positions: Value, attend: Attend, dropoutKeys?: Value): Value;
  /** The output matrix [V,D]; see `logitsOf`. */
  head(b: GraphBuilder): Value;
  /** Logits l become c·tanh(l/c). */
  readonly logitSoftcap?: number | undefined;
}

/** hidden [R,D] -> logits [R,V] = hidden·headᵀ, capped where the model says so. */
export function logitsOf(b: GraphBuilder, model: LanguageModel, hidden: Value): Value {
  const products = b.matmul(hidden, model.head(b), { transposeB: true });
  const { logitSoftcap: cap } = model;
  return cap === undefined ? products : b.affine(b.tanh(b.affine(products, 1 / cap)), cap);
}
