/** The total table of reference kernels: what every op of the graph computes, in float64. */
import type { OpAttributes, OpName, Shape } from '../../src/graph/index.ts';
import { type Array64, array, map } from './array.ts';
import * as basic from './basic.ts';
import * as effects from './effects.ts';
import * as generation from './generation.ts';
import * as transformer from './transformer.ts';

/** What a kernel may ask about the run. */
export interface Surroundings {
  readonly input: (name: string) => Array64;
  readonly state: (name: string) => Array64;
  /** The shape with its symbols bound. */
  readonly bind: (shape: Shape) => number[];
}

/** Results of an op; for an effect: the new values of its leading inputs, the states. */
type Kernel<K extends OpName> = (x: readonly Array64[], attributes: OpAttributes[K], run: Surroundings) => Array64[];

const kernels = {
  input: (_, { name }, run) => [run.input(name)],
  state: (_, { name }, run) => [run.state(name)],
  constant: (_, { type, values }, run) => [array(values, run.bind(type.shape))],
  add: ([a, b]) => [basic.elementwise(a!, b!, (x, y) => x + y)],
  sub: ([a, b]) => [basic.elementwise(a!, b!, (x, y) => x - y)],
  mul: ([a, b]) => [basic.elementwise(a!, b!, (x, y) => x * y)],
  affine: ([x], { scale, shift }) => [map(x!, (value) => value * scale + shift)],
  sigmoid: ([x]) => [map(x!, basic.sigmoid)],
  softplus: ([x]) => [map(x!, basic.softplus)],
  exp: ([x]) => [map(x!, Math.exp)],
  log: ([x]) => [map(x!, Math.log)],
  tanh: ([x]) => [map(x!, Math.tanh)],
  step: ([x]) => [map(x!, (value) => (value > 0 ? 1 : 0))],
  sumTo: ([x], { shape }, run) => [basic.sumTo(x!, run.bind(shape))],
  broadcastTo: ([x], { shape }, run) => [basic.broadcastTo(x!, run.bind(shape))],
  reshape: ([x], { shape }, run) => [array(x!.data, run.bind(shape))],
  sumSquares: ([x]) => [basic.sumSquares(x!)],
  matmul: ([a, b], { transposeA, transposeB }) => [basic.matmul(a!, b!, transposeA, transposeB)],
  linear: ([x, ...weights]) => weights.map((w) => basic.timesTransposed(x!, w)),
  linearGradInput: (inputs) => {
    const count = inputs.length / 2;
    return [
      basic.sum(inputs.slice(0, count).map((dy, i) => basic.timesTransposed(dy, basic.transpose(inputs[count + i]!)))),
    ];
  },
  gatherRows: ([table, ids]) => [basic.gatherRows(table!, ids!)],
  scatterRows: ([rows, ids], { count }, run) => [basic.scatterRows(rows!, ids!, run.bind([count])[0]!)],
  split: ([x], { widths }) => basic.split(x!, widths),
  join: (xs) => [basic.join(xs)],
  rmsNorm: ([x, w], { eps }) => transformer.rmsNorm(x!, w!, eps),
  rmsNormGrad: ([dy, x, w, rstd], { forWeight }) =>
    transformer.rmsNormGrad(dy!, x!, w!, rstd!).slice(0, forWeight ? 2 : 1),
  rope: (inputs, attributes) => inputs.slice(0, -1).map((x) => transformer.rope(x, inputs.at(-1)!, attributes)),
  attention: ([q, k, v, segments], attributes) => [transformer.attention(q!, k!, v!, segments!, attributes)],
  attentionGrad: ([dy, q, k, v, segments], attributes) =>
    transformer.attentionGrad(dy!, [q!, k!, v!], segments!, attributes),
  glu: ([gate, up], { activation }) => [transformer.glu(activation, gate!, up)],
  gluGrad: ([dy, gate, up], { activation }) => transformer.gluGrad(activation, dy!, gate!, up),
  tokenLogProbs: ([h, w, targets], { softcap }) => [transformer.tokenLogProbs(h!, w!, targets!, softcap)],
  tokenLogProbsGrad: ([d, h, w, targets], { forWeight, softcap }) =>
    transformer.tokenLogProbsGrad(d!, h!, w!, targets!, softcap).slice(0, forWeight ? 2 : 1),
  dropout: ([x, keys], attributes) => [transformer.dropout(x!, keys!, attributes)],
  barrier: ([x]) => [x!],
  decodeAttention: ([q, k, v, keys, values, lengths], attributes) => [
    generation.decodeAttention([q!, k!, v!], [keys!, values!], lengths!, attributes),
  ],
  sample: ([logits, uniforms], attributes) => generation.sample(logits!, uniforms!, attributes),
  accumulate: ([state, value]) => [map(state!, (old, i) => old + value!.data[i]!)],
  zero: ([state]) => [map(state!, () => 0)],
  cacheWrite: ([cache, slots, positions, values]) => effects.cacheWrite(cache!, slots!, positions!, values!),
  cacheMove: ([cache, from, to]) => effects.cacheMove(cache!, from!, to!),
  adamw: ([p, g, m, v, scalars], attributes) => effects.adamw([p!, g!, m!, v!], scalars!, attributes),
  rmsprop: ([p, g, v, scalars], attributes) => effects.rmsprop([p!, g!, v!], scalars!, attributes),
} satisfies { [K in OpName]: Kernel<K> };

/** The kernel of any op. */
export function kernelOf(op: OpName): Kernel<OpName> {
  return kernels[op] as Kernel<OpName>;
}
