/** What a kernel is: from the operands of an op to its results, as new tensors. */
import type { Dim, OpAttributes, OpName } from '../../graph/index.ts';
import type { Kept } from './head.ts';
import type { Sink } from './sink.ts';
import type { Tensor, TorchDtype } from './tensors.ts';

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
  'split',
  'join',
  'rmsNorm',
  'rope',
  'attention',
  'attentionGrad',
  'glu',
  'gluGrad',
  'dropout',
];

export type Kernels = { readonly [K in OpName]: Kernel<K> | null };
