/**
 * Builds graphs: one method per op, types inferred and checked at each call, so a wrong shape fails where it is written.
 */
import { failure } from '../util/index.ts';
import { appendNode, type Graph, type Node, type Value } from './nodes.ts';
import type { Activation, HeadAttributes, OpAttributes, OpName } from './ops.ts';
import type { Dim, DType, Shape } from './types.ts';

export type GraphBuilder = ReturnType<typeof graphBuilder>;

/** A new, empty graph to add to. Finish with `build()`. */
export function graphBuilder() {
  const nodes: Node[] = [];
  const outputs = new Map<string, Value>();
  const sources = new Map<string, Value>();
  const checkpoints: Value[] = [];

  const node = <K extends OpName>(op: K, inputs: readonly Value[], attributes: OpAttributes[K]): readonly Value[] =>
    appendNode(nodes, op, inputs, attributes).values;
  const one = <K extends OpName>(op: K, inputs: readonly Value[], attributes: OpAttributes[K]): Value =>
    node(op, inputs, attributes)[0]!;
  const two = <K extends OpName>(op: K, inputs: readonly Value[], attributes: OpAttributes[K]): [Value, Value] => {
    const [a, b] = node(op, inputs, attributes);
    return [a!, b!];
  };
  /** Inputs and states exist once per name; asking again returns the same value, asking otherwise fails. */
  function source(op: 'input' | 'state', name: string, shape: Shape, dtype: DType): Value {
    const known = sources.get(`${op}:${name}`);
    if (!known) {
      const made = one(op, [], { name, type: { dtype, shape } });
      sources.set(`${op}:${name}`, made);
      return made;
    }
    if (known.dtype !== dtype || String(known.shape) !== String(shape)) {
      throw failure({ what: `${op} "${name}" is ${known.dtype}[${known.shape}], asked again as ${dtype}[${shape}]` });
    }
    return known;
  }

  return {
    input: (name: string, shape: Shape, dtype: DType = 'f32') => source('input', name, shape, dtype),
    state: (name: string, shape: Shape, dtype: DType = 'f32') => source('state', name, shape, dtype),
    constant: (values: readonly number[], shape: Shape = [values.length], dtype: DType = 'f32') =>
      one('constant', [], { type: { dtype, shape }, values }),
    add: (a: Value, b: Value) => one('add', [a, b], {}),
    sub: (a: Value, b: Value) => one('sub', [a, b], {}),
    mul: (a: Value, b: Value) => one('mul', [a, b], {}),
    affine: (x: Value, scale: number, shift = 0) => one('affine', [x], { scale, shift }),
    sigmoid: (x: Value) => one('sigmoid', [x], {}),
    softplus: (x: Value) => one('softplus', [x], {}),
    exp: (x: Value) => one('exp', [x], {}),
    log: (x: Value) => one('log', [x], {}),
    tanh: (x: Value) => one('tanh', [x], {}),
    step: (x: Value) => one('step', [x], {}),
    sumTo: (x: Value, shape: Shape) => (String(x.shape) === String(shape) ? x : one('sumTo', [x], { shape })),
    broadcastTo: (x: Value, shape: Shape) =>
      String(x.shape) === String(shape) ? x : one('broadcastTo', [x], { shape }),
    reshape: (x: Value, shape: Shape) => one('reshape', [x], { shape }),
    sumSquares: (x: Value) => one('sumSquares', [x], {}),
    matmul: (a: Value, b: Value, { transposeA = false, transposeB = false } = {}) =>
      one('matmul', [a, b], { transposeA, transposeB }),
    linear: (x: Value, ...weights: Value[]) => node('linear', [x, ...weights], {}),
    linearGradInput: (gradients: readonly Value[], weights: readonly Value[]) =>
      one('linearGradInput', [...gradients, ...weights], {}),
    gatherRows: (table: Value, ids: Value) => one('gatherRows', [table, ids], {}),
    scatterRows: (rows: Value, ids: Value, count: Dim) => one('scatterRows', [rows, ids], { count }),
    split: (x: Value, widths: readonly number[]) => node('split', [x], { widths }),
    join: (xs: readonly Value[]) => one('join', xs, {}),
    rmsNorm: (x: Value, weight: Value, eps: number) => two('rmsNorm', [x, weight], { eps }),
    rmsNormGrad: (dy: Value, x: Value, weight: Value, rstd: Value, forWeight = true) =>
      node('rmsNormGrad', [dy, x, weight, rstd], { forWeight }),
    rope: (xs: readonly Value[], positions: Value, attributes: OpAttributes['rope']) =>
      node('rope', [...xs, positions], attributes),
    attention: (q: Value, k: Value, v: Value, segments: Value, attributes: HeadAttributes) =>
      one('attention', [q, k, v, segments], attributes),
    attentionGrad: (
      dout: Value,
      [q, k, v]: readonly [Value, Value, Value],
      segments: Value,
      attributes: HeadAttributes,
    ) => node('attentionGrad', [dout, q, k, v, segments], attributes),
    glu: (activation: Activation, gate: Value, up?: Value) => one('glu', up ? [gate, up] : [gate], { activation }),
    gluGrad: (activation: Activation, dy: Value, ...gateAndUp: Value[]) =>
      node('gluGrad', [dy, ...gateAndUp], { activation }),
    tokenLogProbs: (h: Value, head: Value, targets: Value, attributes: OpAttributes['tokenLogProbs'] = {}) =>
      one('tokenLogProbs', [h, head, targets], attributes),
    tokenLogProbsGrad: (
      dlogprobs: Value,
      [h, head, targets]: readonly [Value, Value, Value],
      attributes: OpAttributes['tokenLogProbsGrad'],
    ) => node('tokenLogProbsGrad', [dlogprobs, h, head, targets], attributes),
    dropout: (x: Value, keys: Value, attributes: OpAttributes['dropout']) => one('dropout', [x, keys], attributes),
    barrier: (x: Value, after: readonly Value[]) => one('barrier', [x, ...after], {}),
    decodeAttention: (
      [q, k, v]: readonly [Value, Value, Value],
      [keys, values]: readonly [Value, Value],
      lengths: Value,
      attributes: HeadAttributes,
    ) => one('decodeAttention', [q, k, v, keys, values, lengths], attributes),
    sample: (logits: Value, uniforms: Value, attributes: OpAttributes['sample']) =>
      two('sample', [logits, uniforms], attributes),
    accumulate: (state: Value, value: Value) => void node('accumulate', [state, value], {}),
    zero: (state: Value) => void node('zero', [state], {}),
    cacheWrite: (cache: Value, slots: Value, positions: Value, values: Value) =>
      void node('cacheWrite', [cache, slots, positions, values], {}),
    cacheMove: (cache: Value, from: Value, to: Value) => void node('cacheMove', [cache, from, to], {}),
    adamw: (states: readonly [Value, Value, Value, Value], scalars: Value, attributes: OpAttributes['adamw']) =>
      void node('adamw', [...states, scalars], attributes),
    rmsprop: (states: readonly [Value, Value, Value], scalars: Value, attributes: OpAttributes['rmsprop']) =>
      void node('rmsprop', [...states, scalars], attributes),
    /** Says that a block ends with this value and the next one begins with it; see `Graph.checkpoints`. */
    checkpoint: (x: Value): Value => {
      checkpoints.push(x);
      return x;
    },
    /** The checkpoints so far. */
    checkpoints: (): readonly Value[] => checkpoints,
    /** Names a value that leaves the engine. */
    output: (name: string, value: Value) => {
      if (outputs.has(name)) throw failure({ what: `output "${name}" is declared twice` });
      outputs.set(name, value);
    },
    build: (): Graph => ({ nodes: [...nodes], outputs: new Map(outputs), checkpoints: [...checkpoints] }),
  };
}
