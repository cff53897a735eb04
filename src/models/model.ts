/** What every model file provides: the shape of a causal language model, its parameters, and its forward graph. */
import type { GraphBuilder, Value } from '../graph/index.ts';

/** A tensor of weights, under its Hugging Face name. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  /** Other names under which files may carry the same tensor (a tied head). */
  readonly aliases: readonly string[];
  /**
   * How a random model starts: the norms' ones, everything else N(0, initializer_range²). Of an adapter's pair A [r,K]
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
export type Attend = (layer: number, q: Value, k: Value, v: Value) => Value;

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
  /** Longest sequence that the positions were made for. */
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
  /** The output matrix [V,D]: logits = hidden·headᵀ. */
  head(b: GraphBuilder): Value;
  /** Factor on q·k of `attend`. */
  readonly attentionScale: number;
}
