/** Products of matrices on torch. */
import { broadcast, fits, type Operators, same } from './operators.ts';
import type { Device, Tensor, TorchDtype } from './tensors.ts';

export function productsOn(device: Device, { dispatch, own, works }: Operators) {
  const { library, adopt, empty, kind } = device;
  const pointwise = (x: Tensor, w: Tensor, columns: number): Tensor => {
    const none = library.text('none');
    library.call(own('_linear_pointwise'), 'ppppplpp', x.handle, w.handle, 0, none, 0, 0, 0, library.results[0]);
    return adopt(library.written(), [x.shape[0]!, columns], x.dtype);
  };
  const reordered = (w: Tensor): Tensor =>
    adopt(dispatch('mkldnn::_reorder_linear_weight', '', [w, null], 1)[0]!, w.shape, w.dtype);
  /**
   * Dtypes in which oneDNN multiplies here. It is in most builds for CPUs, and on AMD its products of this form are up
   * to 1.4 times as fast as MKL's; in bf16 it refuses processors without AVX512.
   */
  const hasOneDnn: ReadonlySet<TorchDtype> = new Set(
    kind !== 'cpu'
      ? []
      : [
          ...(works(() => pointwise(device.ones(1), device.ones(1), 1)) ? (['f32'] as const) : []),
          ...(works(() => reordered(empty([1, 1], 'bf16'))) ? (['bf16'] as const) : []),
        ],
  );

  /** a [M,K], b [K,N] -> [M,N] */
  function mm(a: Tensor, b: Tensor): Tensor {
    fits(a.shape.length === 2 && b.shape.length === 2 && a.shape[1] === b.shape[0], 'mm', a, b);
    fits(a.dtype === b.dtype, 'mm', a, b);
    const out = empty([a.shape[0]!, b.shape[1]!], a.dtype);
    library.call(own('mm_out'), 'ppp', out.handle, a.handle, b.handle);
    return out;
  }
  /** out = beta·self + alpha·a·b; `self` may be `out`. */
  function addmm(out: Tensor, self: Tensor, a: Tensor, b: Tensor, beta = 1, alpha = 1): Tensor {
    const shape = [a.shape[0]!, b.shape[1]!];
    fits(a.shape.length === 2 && b.shape.length === 2 && a.shape[1] === b.shape[0], 'addmm', a, b);
    fits(same(out.shape, shape) && same(self.shape, shape), 'addmm', out, self, a, b);
    fits(
      [out, self, b].every(({ dtype }) => dtype === a.dtype),
      'addmm',
      out,
      self,
      a,
      b,
    );
    library.call(own('addmm_out'), 'ppppdd', out.handle, self.handle, a.handle, b.handle, beta, alpha);
    return out;
  }

  return {
    /**
     * x [M,K], w [N,K] -> x·wᵀ [M,N]
     * @param w or what `pack` made of it, if there are rows
     */
    timesTransposed: (x: Tensor, w: Tensor) => {
      fits(x.shape.length === 2 && w.shape.length === 2 && x.shape[1] === w.shape[1], 'linear', x, w);
      fits(x.dtype === w.dtype, 'linear', x, w);
      if (hasOneDnn.has(x.dtype) && x.shape[0]! > 0) return pointwise(x, w, w.shape[0]!);
      return mm(x, device.transposed(w));
    },
    /** `sum` += x·wᵀ: returned, in the place of `sum` or in new memory. */
    addTimesTransposed: (sum: Tensor, x: Tensor, w: Tensor): Tensor => {
      fits(x.shape.length === 2 && w.shape.length === 2 && x.shape[1] === w.shape[1], 'linear', x, w);
      const shape = [x.shape[0]!, w.shape[0]!];
      fits(x.dtype === w.dtype && sum.dtype === x.dtype && same(sum.shape, shape), 'linear', sum, x, w);
      if (!hasOneDnn.has(x.dtype) || x.shape[0] === 0) return addmm(sum, sum, x, device.transposed(w));
      const add = library.text('add');
      library.call(
        own('_linear_pointwise_binary'),
        'pppppp',
        x.handle,
        sum.handle,
        w.handle,
        0,
        add,
        library.results[0],
      );
      return adopt(library.written(), shape, x.dtype);
    },
    /** w [N,K] in the order in which `timesTransposed` reads it fastest: opaque, of the same size. Undefined where there is none. */
    pack: (w: Tensor): Tensor | undefined => (hasOneDnn.has(w.dtype) ? reordered(w) : undefined),
    mm,
    addmm,
    /** a [N,M,K], b [N,K,P] -> [N,M,P] */
    bmm: (a: Tensor, b: Tensor) => {
      const [n, m, k] = a.shape;
      fits(a.shape.length === 3 && b.shape.length === 3 && b.shape[0] === n && b.shape[1] === k, 'bmm', a, b);
      fits(a.dtype === b.dtype, 'bmm', a, b);
      const out = empty([n!, m!, b.shape[2]!], a.dtype);
      library.call(own('bmm_out'), 'ppp', out.handle, a.handle, b.handle);
      return out;
    },
    /** out = self + alpha·a·b, of batches; self is broadcast, and nothing when left out */
    baddbmm: (out: Tensor, a: Tensor, b: Tensor, alpha: number, self?: Tensor) => {
      const [n, m, k] = a.shape;
      fits(a.shape.length === 3 && b.shape.length === 3 && b.shape[0] === n && b.shape[1] === k, 'baddbmm', a, b);
      fits(same(out.shape, [n!, m!, b.shape[2]!]), 'baddbmm', out, a, b);
      fits(a.dtype === b.dtype && out.dtype === a.dtype, 'baddbmm', out, a, b);
      if (self)
        fits(same(broadcast('baddbmm', out, self), out.shape) && self.dtype === out.dtype, 'baddbmm', out, self);
      const [added, beta] = self ? [self, 1] : [out, 0];
      library.call(own('baddbmm_out'), 'ppppdd', out.handle, added.handle, a.handle, b.handle, beta, alpha);
      return out;
    },
  };
}
