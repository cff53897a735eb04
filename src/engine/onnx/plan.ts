/**
 * What the main thread tells the worker about a compiled program: the ONNX model, where each of its inputs comes from,
 * and what happens to states afterwards. Plain data, so that it crosses threads.
 */

import type { Dim, EffectOp, OpAttributes } from '../../graph/index.ts';
import type { SegmentLayout } from '../segments.ts';
import type { SegmentTensors } from './attention.ts';

/** Parts of a segment table that its loops and gathers need; see segments.ts. */
export type SegmentPart = keyof SegmentLayout & keyof SegmentTensors;

/** Where a feed of the ONNX model comes from. */
export type FeedSource =
  | { readonly kind: 'input'; readonly name: string }
  /** The state; with `rows`, only its first rows (the slots in use of a KV cache). */
  | { readonly kind: 'state'; readonly name: string; readonly rows?: Dim }
  /** A size as an i64 tensor [1]. */
  | { readonly kind: 'size'; readonly dim: Dim }
  | { readonly kind: 'segments'; readonly input: string; readonly tokens: Dim; readonly part: SegmentPart };

/** Where an effect finds an operand when the model has run. */
export type OperandSource =
  | { readonly kind: 'input'; readonly name: string }
  | { readonly kind: 'state'; readonly name: string }
  | { readonly kind: 'tensor'; readonly name: string }
  /** Rows to be added at these ids, instead of a dense matrix (the gradient of a look-up). */
  | { readonly kind: 'rows'; readonly rows: OperandSource; readonly ids: OperandSource };

export interface EffectStep {
  readonly op: EffectOp;
  readonly operands: readonly OperandSource[];
  readonly attributes: OpAttributes[EffectOp];
}

export interface Plan {
  /** Serialised ONNX model; null when the graph only has effects. */
  readonly model: Uint8Array | null;
  readonly feeds: readonly { readonly tensor: string; readonly source: FeedSource }[];
  /** States that are built into the session: location within the model and state. */
  readonly weights: readonly { readonly location: string; readonly state: string }[];
  /** Graph output -> ONNX tensor. */
  readonly outputs: readonly { readonly name: string; readonly tensor: string }[];
  readonly effects: readonly EffectStep[];
  /** ONNX tensors to fetch. */
  readonly fetches: readonly string[];
}
