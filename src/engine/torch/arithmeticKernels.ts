/** Kernels of arithmetic: element by element, sums, rows of tables. */
import type { Aten } from './aten.ts';
import type { Kernels } from './kernel.ts';
import { BLOCK_VALUES, isState, type Operands, reject } from './operands.ts';
import { type Device, sizeOf } from './tensors.ts';

type ArithmeticKernels = Pick<
  Kernels,
  | 'constant'
  | 'add'
  | 'sub'
  | 'mul'
  | 'affine'
  | 'sigmoid'
  | 'softplus'
  | 'exp'
  | 'log'
  | 'tanh'
  | 'step'
  | 'sumTo'
  | 'broadcastTo'
  | 'reshape'
  | 'barrier'
  | 'sumSquares'
  | 'gatherRows'
  | 'scatterRows'
>;

export function arithmeticKernels(
  device: Device,
  aten: Aten,
  { tensor, f32, sizes, indices }: Operands,
): ArithmeticKernels {
  const { view, empty, dense, rows, scalar } = device;
  return {
    constant: (_, __, { type, values }) => {
      if (type.dtype === 'i32') throw reject('constants are floats');
      return [device.upload(Float32Array.from(values), type.shape as number[])];
    },
    // The residual stream is f32, and so is what is added to it; a layer's product plus its adapter's stays what they are, and
    // so does its product plus a bias.
    add: (_, [a, b]) => {
      const x = dense(tensor(a));
      return [aten.add(x, b && isState(b) && x.dtype !== 'f32' ? b.low() : dense(tensor(b)))];
    },
    sub: (_, [a, b]) => [aten.add(f32(a), f32(b), -1)],
    mul: (_, [a, b]) => [aten.mul(f32(a), f32(b))],
    affine: (_, [x], { scale, shift }) => {
      const scaled = scale === 1 && shift !== 0 ? f32(x) : aten.mulScalar(f32(x), scale);
      return [shift === 0 ? scaled : aten.addScalar(scaled, shift)];
    },
    sigmoid: (_, [x]) => [aten.sigmoid(f32(x))],
    softplus: (_, [x]) => [aten.logaddexp(f32(x), scalar(0))],
    exp: (_, [x]) => [aten.exp(f32(x))],
    log: (_, [x]) => [aten.log(f32(x))],
    tanh: (_, [x]) => [aten.tanh(f32(x))],
    step: (_, [x]) => [aten.heaviside(f32(x), scalar(0))],
    sumTo: (c, [x], { shape }) => {
      const value = f32(x);
      const target = sizes(c, shape);
      if (sizeOf(target) === 1) return [view(aten.sum(value), target)];
      const missing = value.shape.length - target.length;
      const summed = value.shape.map((dim, i) => i < missing || (target[i - missing] === 1 && dim !== 1));
      const count = sizeOf(value.shape) / Math.max(1, sizeOf(target));
      if (!summed.includes(true, summed.indexOf(false))) {
        const rowsBelow = view(dense(value), [count, sizeOf(target)]);
        return [view(aten.mm(device.transposed(device.ones(count)), rowsBelow), target)];
      }
      // The summed dimensions last, then a product with ones.
      const order = [...summed.keys()].sort((i, j) => Number(summed[i]) - Number(summed[j]) || i - j);
      const turned = view(
        value,
        order.map((i) => value.shape[i]!),
        order.map((i) => value.strides[i]!),
      );
      const flat = view(dense(turned), [sizeOf(target), count]);
      return [view(aten.mm(flat, device.ones(count)), target)];
    },
    broadcastTo: (c, [x], { shape }) => {
      const value = f32(x);
      const target = sizes(c, shape);
      const missing = target.length - value.shape.length;
      const strides = target.map((_, i) => {
        const dim = value.shape[i - missing];
        return dim === undefined || dim === 1 ? 0 : value.strides[i - missing]!;
      });
      const result = empty(target, 'f32');
      device.copy(result, view(value, target, strides));
      return [result];
    },
    // Steps are taken in the order of the graph.
    barrier: (_, [x]) => [tensor(x)],
    reshape: (c, [x], { shape }) => [view(dense(tensor(x)), sizes(c, shape))],
    // In blocks, each added up on its own: more exact than one long sum, and the squares stay in the cache.
    sumSquares: (_, [x]) => {
      const value = f32(x);
      const flat = view(value, [sizeOf(value.shape), 1]);
      const count = Math.ceil(flat.shape[0]! / BLOCK_VALUES);
      const sums = empty([Math.max(1, count)], 'f32');
      if (count === 0) aten.zero(sums);
      for (let i = 0; i < count; i++) {
        device.scoped(() => {
          const block = rows(flat, i * BLOCK_VALUES, Math.min((i + 1) * BLOCK_VALUES, flat.shape[0]!));
          device.copy(view(sums, [], [], i), aten.sum(aten.mul(block, block)));
          return [];
        });
      }
      return [aten.sum(sums)];
    },
    gatherRows: (c, [table, at]) => {
      const value = dense(tensor(table));
      return [aten.indexSelect(value, indices(c, at, value.shape[0]!))];
    },
    scatterRows: (c, [x, at], { count }, [sink]) => {
      const value = f32(x);
      const target = sink?.tensor ?? empty([c.size(count), value.shape[1]!], 'f32');
      if (!sink || sink.fresh) aten.zero(target);
      if (sink) sink.fresh = false;
      aten.scatterAddRows(target, indices(c, at, target.shape[0]!), value);
      return [sink ? undefined : target];
    },
  };
}
