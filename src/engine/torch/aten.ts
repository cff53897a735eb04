/**
 * The operators of torch that the kernels are made of, with their shapes checked before every call: what lies behind
 * the C interface trusts its caller. Names are torch's. Operators with arguments of torch's type Scalar cannot be called
 * through the dispatcher; those that are needed have a function of their own per kind of device.
 */
import { failure } from '../../util/index.ts';
import { KernelError, type Slot } from './binding.ts';
import type { Sequences } from './sequences.ts';
import { type Device, describe, isDense, isOrdered, type Tensor, type TorchDtype } from './tensors.ts';

function fits(ok: boolean, what: string, ...tensors: readonly Tensor[]): void {
  if (!ok) throw failure({ what: `${what}: the shapes ${tensors.map(describe).join(', ')} do not fit` });
}

/** Shape of two broadcast shapes. */
function broadcast(what: string, a: Tensor, b: Tensor): number[] {
  const rank = Math.max(a.shape.length, b.shape.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a.shape[a.shape.length - rank + i] ?? 1;
    const y = b.shape[b.shape.length - rank + i] ?? 1;
    fits(x === y || x === 1 || y === 1, what, a, b);
    return x === 1 ? y : x;
  });
}

const same = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((dim, i) => dim === b[i]);

/** Arguments of FlashAttention's functions in C; torch 2.11 to 2.15 have these. */
const FLASH = 'pppppll' + 'dii' + 'ppppp' + 'ppppp';
const FLASH_GRAD = 'pppppppp' + 'll' + 'di' + 'pp' + 'ppp' + 'ppp';

function fitsFlash(q: Tensor, k: Tensor, v: Tensor, { queryStarts, keyStarts, keys }: Sequences): void {
  const [heads, width] = [q.shape[1]!, q.shape[2]!];
  const ok =
    [q, k, v].every((x) => x.shape.length === 3 && x.shape[2] === width && x.dtype === q.dtype) &&
    same(k.shape, v.shape) &&
    heads % k.shape[1]! === 0 &&
    k.shape[0] === keys.shape[0] &&
    same(queryStarts.shape, keyStarts.shape);
  fits(ok, 'flash_attention', q, k, v);
}

export type Aten = ReturnType<typeof atenOn>;

export function atenOn(device: Device) {
  const { library, adopt, empty, kind } = device;
  const fresh = (tensor: Tensor): number => {
    library.call('aoti_torch_new_tensor_handle', 'pp', tensor.handle, library.results[0]);
    return library.written();
  };
  /** Calls an operator whose first results are tensors; tensors among the arguments are handed over as new handles. */
  type Argument = Tensor | Slot | readonly Tensor[];
  const isTensor = (value: Argument): value is Tensor =>
    typeof value === 'object' && value !== null && 'handle' in value;
  function dispatch(name: string, overload: string, args: readonly Argument[], results: number): readonly number[] {
    const slots = args.map((value): Slot => {
      if (Array.isArray(value)) return { list: (value as readonly Tensor[]).map(fresh) };
      return isTensor(value) ? fresh(value) : (value as Slot);
    });
    return library.dispatch(name.includes('::') ? name : `aten::${name}`, overload, slots, results);
  }
  /** An operator that changes one of its arguments: the handle that it returns is of no use. */
  function change(name: string, overload: string, args: readonly Argument[]): void {
    for (const handle of dispatch(name, overload, args, 1))
      library.call('aoti_torch_delete_tensor_object', 'p', handle);
  }
  /** An operator with one result of this shape, into `out` or new memory. */
  function into(
    out: Tensor | undefined,
    [name, overload]: readonly [string, string],
    args: readonly Argument[],
    shape: readonly number[],
    dtype: TorchDtype,
  ): Tensor {
    const result = out ?? empty(shape, dtype);
    fits(same(result.shape, shape) && result.dtype === dtype, name, result);
    change(name, overload, [...args, result]);
    return result;
  }
  const own = (name: string) => `aoti_torch_${kind}_${name}`;
  const wider = (a: Tensor, b: Tensor): TorchDtype => (a.dtype === b.dtype ? a.dtype : 'f32');
  const alike = (name: string) => (x: Tensor, out?: Tensor) => into(out, [name, 'out'], [x], x.shape, x.dtype);

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
    /**
     * FlashAttention of sequences of different lengths, causal, scale·q·kᵀ: q [T,H,d], k and v [K,G,d] -> the output
     * [T,H,d], and what its gradient needs besides.
     */
    flashAttention: (
      q: Tensor,
      k: Tensor,
      v: Tensor,
      at: Sequences,
      scale: number,
    ): [Tensor, Tensor, Tensor, Tensor] => {
      fitsFlash(q, k, v, at);
      const [queries, keys] = [library.sizes(0, [at.queryStarts.handle]), library.sizes(1, [at.keyStarts.handle])];
      const lengths = [at.mostQueries, at.mostKeys] as const;
      library.call(
        own('_flash_attention_forward'),
        FLASH,
        q.handle,
        k.handle,
        v.handle,
        queries,
        keys,
        ...lengths,
        0,
        1,
        0,
        library.double(scale),
        0,
        0,
        0,
        0,
        ...library.results,
      );
      const [out, ...others] = [0, 1, 2, 3, 4].map((i) => library.written(i));
      // The last is only for debugging. What the others hold is torch's affair.
      if (others[3]) library.call('aoti_torch_delete_tensor_object', 'p', others[3]);
      const opaque = (handle: number) => adopt(handle, [], 'i64');
      return [adopt(out!, q.shape, q.dtype), opaque(others[0]!), opaque(others[1]!), opaque(others[2]!)];
    },
    /** dq [T,H,d], dk and dv [K,G,d], from what `flashAttention` returned. */
    flashAttentionGrad: (
      dout: Tensor,
      q: Tensor,
      k: Tensor,
      v: Tensor,
      forward: readonly Tensor[],
      at: Sequences,
      scale: number,
    ): [Tensor, Tensor, Tensor] => {
      fitsFlash(q, k, v, at);
      const [out, statistics, seed, unused] = forward as [Tensor, Tensor, Tensor, Tensor];
      fits(
        same(dout.shape, q.shape) && same(out.shape, q.shape) && dout.dtype === q.dtype,
        'flash_attention_backward',
        dout,
        out,
        q,
      );
      const [a, b, c] = library.results;
      library.call(
        own('_flash_attention_backward'),
        FLASH_GRAD,
        dout.handle,
        q.handle,
        k.handle,
        v.handle,
        out.handle,
        statistics.handle,
        at.queryStarts.handle,
        at.keyStarts.handle,
        at.mostQueries,
        at.mostKeys,
        0,
        1,
        seed.handle,
        unused.handle,
        library.double(scale),
        0,
        0,
        a,
        b,
        c,
      );
      const handles = [0, 1, 2].map((i) => library.written(i));
      return [q, k, v].map((x, i) => adopt(handles[i]!, x.shape, x.dtype)) as [Tensor, Tensor, Tensor];
    },
    /** All elements, without dimensions. */
    sum: (x: Tensor) => adopt(dispatch('sum', '', [x, null], 1)[0]!, [], x.dtype),
    /** Rows of x [N,…] at ids i64 [M] */
    indexSelect: (x: Tensor, ids: Tensor, out?: Tensor) => {
      fits(ids.shape.length === 1 && x.shape.length >= 1, 'index_select', x, ids);
      return into(out, ['index_select', 'out'], [x, 0, ids], x.shape.with(0, ids.shape[0]!), x.dtype);
    },
    /** to[ids[i]] = from[i], along the first dimension */
    indexCopy: (to: Tensor, ids: Tensor, from: Tensor) => {
      fits(same(from.shape, to.shape.with(0, ids.shape[0]!)) && from.dtype === to.dtype, 'index_copy_', to, ids, from);
      change('index_copy_', '', [to, 0, ids, from]);
    },
    /** The same for few rows, in one call: ids i64 of any shape, from [...ids,…] */
    indexPut: (to: Tensor, ids: Tensor, from: Tensor) => {
      fits(
        same(from.shape, [...ids.shape, ...to.shape.slice(1)]) && from.dtype === to.dtype,
        'index_put',
        to,
        ids,
        from,
      );
      const at = library.sizes(0, [ids.handle]);
      library.call('aoti_torch_index_put_out', 'pppipi', to.handle, to.handle, at, 1, from.handle, 0);
    },
    /** to[ids[i]] += from[i] for to [V,D], ids [T], from [T,D], in the order of i */
    scatterAddRows: (to: Tensor, ids: Tensor, from: Tensor) => {
      const [rows, width] = from.shape;
      fits(to.shape.length === 2 && ids.shape[0] === rows && to.shape[1] === width, 'scatter_add_', to, ids, from);
      if (rows === 0) return;
      if (kind === 'cuda') {
        // Sorted and added in order; scatter_add_ would add with atomics, in any order.
        library.call(
          'aoti_torch_index_put_out',
          'pppipi',
          to.handle,
          to.handle,
          library.sizes(0, [ids.handle]),
          1,
          from.handle,
          1,
        );
        return;
      }
      change('scatter_add_', '', [to, 0, device.view(ids, [rows!, width!], [1, 0]), from]);
    },
    /** x [N,M], columns i64 [N,1] -> [N,1] */
    gather: (x: Tensor, columns: Tensor) => {
      fits(x.shape.length === 2 && same(columns.shape, [x.shape[0]!, 1]), 'gather', x, columns);
      return into(undefined, ['gather', 'out'], [x, 1, columns, 0], columns.shape, x.dtype);
    },
    /** x[i, columns[i]] = values[i]; values [N,1] */
    scatter: (x: Tensor, columns: Tensor, values: Tensor) => {
      fits(x.shape.length === 2 && same(columns.shape, [x.shape[0]!, 1]), 'scatter_', x, columns);
      fits(same(values.shape, columns.shape) && values.dtype === x.dtype, 'scatter_', x, values);
      change('scatter_', 'src', [x, 1, columns, values]);
    },
    /** Along the last dimension. */
    cumsum: (x: Tensor) => adopt(dispatch('cumsum', '', [x, x.shape.length - 1, null], 1)[0]!, x.shape, x.dtype),
    /** First column of each row of sorted [N,M] that is above values [N,1], i64 [N,1] */
    searchAbove: (sorted: Tensor, values: Tensor) => {
      fits(sorted.shape[0] === values.shape[0] && values.shape[1] === 1, 'searchsorted', sorted, values);
      return adopt(dispatch('searchsorted', 'Tensor', [sorted, values, 0, 1, null, null], 1)[0]!, values.shape, 'i64');
    },
    /** Largest of each row and its first column, [N,1] */
    max: (x: Tensor) => {
      const [values, columns] = dispatch('max', 'dim', [x, x.shape.length - 1, 1], 2);
      const shape = x.shape.with(-1, 1);
      return { values: adopt(values!, shape, x.dtype), columns: adopt(columns!, shape, 'i64') };
    },
    /** The k largest of each row, falling. */
    topk: (x: Tensor, k: number) => {
      fits(k >= 1 && k <= x.shape.at(-1)!, 'topk', x);
      const [values, columns] = dispatch('topk', '', [x, k, x.shape.length - 1, 1, 1], 2);
      const shape = x.shape.with(-1, k);
      return { values: adopt(values!, shape, x.dtype), columns: adopt(columns!, shape, 'i64') };
    },
    cat: (tensors: readonly Tensor[]) => {
      const [first] = tensors;
      const rows = tensors.reduce((n, { shape }) => n + shape[0]!, 0);
      for (const one of tensors) fits(same(one.shape.slice(1), first!.shape.slice(1)), 'cat', first!, one);
      return adopt(dispatch('cat', '', [tensors, 0], 1)[0]!, first!.shape.with(0, rows), first!.dtype);
    },
    zero: (x: Tensor) => library.call('aoti_torch_zero_', 'p', x.handle),
  };

  function works(attempt: () => Tensor): boolean {
    try {
      device.scoped(() => [void attempt()]);
      return true;
    } catch (error) {
      if (error instanceof KernelError) return false;
      throw error;
    }
  }
}
