/** The tensor graph: types, the closed op table, builder, verifier, printer. */

export { type GraphBuilder, graphBuilder } from './builder.ts';
export { dropoutColumns, dropoutThreshold } from './dropout.ts';
export { appendNode, type Graph, isNode, type Node, type Value } from './nodes.ts';
export {
  type Activation,
  type EffectOp,
  effectOps,
  type HeadAttributes,
  isEffect,
  type OpAttributes,
  type OpName,
} from './ops.ts';
export { printGraph } from './print.ts';
export type { Dim, DType, Shape, TensorType } from './types.ts';
export { bindShape, verifyGraph } from './verify.ts';
