/** Gradients that are added to where they are collected as they are made: none exists twice. */
import type { Aten } from './aten.ts';
import type { Device, Tensor } from './tensors.ts';

/** Values that are converted at a time, in the cache. */
const BLOCK_VALUES = 2 ** 18;

/** What is added to, in f32; `fresh` says that what lies there is to be replaced. */
export interface Sink {
  readonly tensor: Tensor;
  fresh: boolean;
}

/** sink += a·b. A product of a lower dtype is rounded to it before it is added. */
export function addProduct(device: Device, aten: Aten, sink: Sink, a: Tensor, b: Tensor): void {
  if (a.dtype === 'f32') aten.addmm(sink.tensor, sink.tensor, a, b, sink.fresh ? 0 : 1);
  else {
    const product = aten.mm(a, b);
    if (sink.fresh) device.copy(sink.tensor, product);
    else addInBlocks(device, aten, sink.tensor, product);
  }
  sink.fresh = false;
}

/** to += from, matrices, `from` of a lower dtype. */
function addInBlocks(device: Device, aten: Aten, to: Tensor, from: Tensor): void {
  const [count, width] = from.shape as [number, number];
  const size = Math.max(1, Math.floor(BLOCK_VALUES / width));
  for (let at = 0; at < count; at += size) {
    device.scoped(() => {
      const end = Math.min(at + size, count);
      aten.addcmul(device.rows(to, at, end), device.dense(device.rows(from, at, end), to.dtype), device.scalar(1), 1);
      return [];
    });
  }
}
