/** The types of an op's results from the types of its inputs: a total table over the ops (ops.ts). */
import { failure } from '../util/index.ts';
import { alike, broadcast, f32, groupsOf, heads, operand, reject, same, segmentTable, stateOf } from './operands.ts';
import type { OpAttributes, OpName } from './ops.ts';
import type { DType, Shape, TensorType } from './types.ts';

type ShapeRule<K extends OpName> = (inputs: readonly TensorType[], attributes: OpAttributes[K]) => TensorType[];

function elementwise(inputs: readonly TensorType[]): TensorType[] {
  const a = operand(inputs, 0, null);
  const b = operand(inputs, 1, null);
  if (a.dtype !== b.dtype) reject(`${a.dtype} and ${b.dtype} do not mix`);
  return [{ dtype: a.dtype, shape: broadcast(a.shape, b.shape) }];
}

function sameAsFirst(inputs: readonly TensorType[]): TensorType[] {
  return [operand(inputs, 0, null)];
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
