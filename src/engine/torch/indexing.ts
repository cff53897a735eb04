/** Rows and columns on torch: choosing, moving, adding up, searching. */
import { fits, type Operators, same } from './operators.ts';
import type { Device, Tensor } from './tensors.ts';

export function indexingOn(device: Device, { dispatch, change, into }: Operators) {
  const { library, adopt, kind } = device;
  return {
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
    /** Along one dimension, the first if not told. */
    cat: (tensors: readonly Tensor[], axis = 0) => {
      const first = tensors[0]!;
      const length = tensors.reduce((n, { shape }) => n + shape[axis]!, 0);
      const shape = first.shape.with(axis, length);
      for (const one of tensors)
        fits(same(one.shape.with(axis, length), shape) && one.dtype === first.dtype, 'cat', first, one);
      return adopt(dispatch('cat', '', [tensors, axis], 1)[0]!, shape, first.dtype);
    },
    zero: (x: Tensor) => library.call('aoti_torch_zero_', 'p', x.handle),
  };
}
