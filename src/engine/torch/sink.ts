/** Gradients that are added to where they are collected as they are made: none exists twice. */
import type { Aten } from './aten.ts';
import type { Device, Tensor } from './tensors.ts';

/** What is added to, in f32; `fresh` says that what lies there is to be replaced. */
export interface Sink {
  readonly tensor: Tensor;
  fresh: boolean;
}

/** sink += a·b. A product of a lower dtype is rounded to it before it is added. */
export function addProduct({ dense, scalar, copy }: Device, aten: Aten, sink: Sink, a: Tensor, b: Tensor): void {
  if (a.dtype === 'f32') aten.addmm(sink.tensor, sink.tensor, a, b, sink.fresh ? 0 : 1);
  else {
    const product = aten.mm(a, b);
    if (sink.fresh) copy(sink.tensor, product);
    else aten.addcmul(sink.tensor, dense(product, 'f32'), scalar(1), 1);
  }
  sink.fresh = false;
}
