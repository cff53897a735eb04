/** Work on torch that goes through tensors element by element or row by row. */
import { broadcast, fits, type Operators, same, wider } from './operators.ts';
import { type Device, isDense, isOrdered, type Tensor } from './tensors.ts';

/** How `gelu` is computed. */
const BY_TANH = { text: 'tanh' };

export function elementwiseOn(device: Device, { dispatch, into, own }: Operators) {
  const { library, adopt } = device;
  const alike = (name: string) => (x: Tensor, out?: Tensor) => into(out, [name, 'out'], [x], x.shape, x.dtype);

  /** self[i] += scales[i]·a[i]·b[i], a and b broadcast to self */
  function addcmuls(
    self: readonly Tensor[],
    a: readonly Tensor[],
    b: readonly Tensor[],
    scales: readonly number[],
  ): void {
    self.forEach((one, i) => {
      for (const other of [a[i]!, b[i]!])
        fits(same(broadcast('addcmul', one, other), one.shape), 'addcmul', one, other);
    });
    dispatch('_foreach_addcmul_', 'Tensor', [self, a, b, device.numbers(scales)], 0);
  }

  return {
    /** a + alpha·b with broadcasting; of different dtypes in f32 */
    add: (a: Tensor, b: Tensor, alpha = 1) => {
      fits(isDense(a) && isDense(b), 'add', a, b); // or the result would not be dense
      const shape = broadcast('add', a, b);
      library.call(own('add_Tensor'), 'ppdp', a.handle, b.handle, alpha, library.results[0]);
      return adopt(library.written(), shape, wider(a, b));
    },
    addScalar: (a: Tensor, value: number) => {
      fits(isDense(a), 'add', a);
      library.call(own('add_Scalar'), 'pddp', a.handle, value, 1, library.results[0]);
      return adopt(library.written(), a.shape, a.dtype);
    },
    mulScalar: (a: Tensor, value: number) => {
      fits(isDense(a), 'mul', a);
      library.call(own('mul_Scalar'), 'pdp', a.handle, value, library.results[0]);
      return adopt(library.written(), a.shape, a.dtype);
    },
    /** a·b with broadcasting; of different dtypes in f32 */
    mul: (a: Tensor, b: Tensor, out?: Tensor) => {
      const shape = broadcast('mul', a, b);
      if (out) return into(out, ['mul', 'out'], [a, b], shape, out.dtype);
      fits(isOrdered(a) && isOrdered(b), 'mul', a, b); // or the result would not be dense
      library.call(own('mul_Tensor'), 'ppp', a.handle, b.handle, library.results[0]);
      return adopt(library.written(), shape, wider(a, b));
    },
    /** x·rstd·w and rstd = 1/√(mean(x²) + eps) [T,1] of x [T,D], w [D] */
    rmsNorm: (x: Tensor, w: Tensor, eps: number): [Tensor, Tensor] => {
      const [rows, width] = x.shape as [number, number];
      fits(x.shape.length === 2 && same(w.shape, [width]) && x.dtype === w.dtype && isDense(x), 'rms_norm', x, w);
      const [first, second] = library.results;
      const weight = library.sizes(1, [w.handle]);
      library.call(
        own('_fused_rms_norm'),
        'pplpppp',
        x.handle,
        library.sizes(0, [width]),
        1,
        weight,
        library.double(eps),
        first,
        second,
      );
      return [adopt(library.written(0), x.shape, x.dtype), adopt(library.written(1), [rows, 1], 'f32')];
    },
    div: (a: Tensor, b: Tensor, out?: Tensor) =>
      into(out, ['div', 'out'], [a, b], broadcast('div', a, b), out?.dtype ?? wider(a, b)),
    logaddexp: (a: Tensor, b: Tensor) => into(undefined, ['logaddexp', 'out'], [a, b], broadcast('', a, b), a.dtype),
    minimum: (a: Tensor, b: Tensor) => into(undefined, ['minimum', 'out'], [a, b], broadcast('', a, b), a.dtype),
    addcmul: (self: Tensor, a: Tensor, b: Tensor, scale: number) => addcmuls([self], [a], [b], [scale]),
    addcmuls,
    sigmoid: alike('sigmoid'),
    silu: alike('silu'),
    exp: alike('exp'),
    tanh: alike('tanh'),
    /** dy·(1 − t²), where t is a tanh */
    tanhBackward: (dy: Tensor, t: Tensor, out?: Tensor) => {
      fits(same(dy.shape, t.shape) && dy.dtype === t.dtype, 'tanh_backward', dy, t);
      return into(out, ['tanh_backward', 'grad_input'], [dy, t], t.shape, t.dtype);
    },
    /** By tanh; see `Activation` in graph/ops.ts. */
    gelu: (x: Tensor, out?: Tensor) => into(out, ['gelu', 'out'], [x, BY_TANH], x.shape, x.dtype),
    /** dy·gelu'(x) */
    geluBackward: (dy: Tensor, x: Tensor, out?: Tensor) => {
      fits(same(dy.shape, x.shape) && dy.dtype === x.dtype, 'gelu_backward', dy, x);
      return into(out, ['gelu_backward', 'grad_input'], [dy, x, BY_TANH], x.shape, x.dtype);
    },
    log: alike('log'),
    /** 0, `at0`, 1 where x is negative, 0, positive */
    heaviside: (x: Tensor, at0: Tensor) => into(undefined, ['heaviside', 'out'], [x, at0], x.shape, x.dtype),
    /** a >= b with broadcasting */
    atLeast: (a: Tensor, b: Tensor) => into(undefined, ['ge', 'Tensor_out'], [a, b], broadcast('ge', a, b), 'bool'),
    sqrt: alike('sqrt'),
    rsqrt: alike('rsqrt'),
    /** dy·silu'(x) */
    siluBackward: (dy: Tensor, x: Tensor, out?: Tensor) => {
      fits(same(dy.shape, x.shape) && dy.dtype === x.dtype, 'silu_backward', dy, x);
      return into(out, ['silu_backward', 'grad_input'], [dy, x], x.shape, x.dtype);
    },
    /** Over the last dimension; `out` may be `x`. */
    softmax: (x: Tensor, out?: Tensor) => into(out, ['_softmax', 'out'], [x, x.shape.length - 1, 0], x.shape, x.dtype),
    logSoftmax: (x: Tensor, out?: Tensor) =>
      into(out, ['_log_softmax', 'out'], [x, x.shape.length - 1, 0], x.shape, x.dtype),
    /** p∘(dp − rowsum(p∘dp)) over the last dimension, in the place of dp */
    softmaxBackward: (dp: Tensor, p: Tensor) => {
      fits(same(dp.shape, p.shape) && dp.dtype === p.dtype, '_softmax_backward_data', dp, p);
      const dtype = library.constant(
        p.dtype === 'f32' ? 'dtype_float32' : `dtype_${p.dtype === 'bf16' ? 'b' : ''}float16`,
      );
      return into(dp, ['_softmax_backward_data', 'out'], [dp, p, p.shape.length - 1, dtype], p.shape, p.dtype);
    },
  };
}
