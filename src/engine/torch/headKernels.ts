/** Kernels of the head: log-probs of given tokens, their gradient, and sampling. */
import type { Aten } from './aten.ts';
import { headOn } from './head.ts';
import type { Kernels } from './kernel.ts';
import type { Operands } from './operands.ts';
import type { Sink } from './sink.ts';
import type { Device, TorchDtype } from './tensors.ts';

type HeadKernels = Pick<Kernels, 'tokenLogProbs' | 'tokenLogProbsGrad' | 'sample'>;

export function headKernels(
  device: Device,
  aten: Aten,
  dtype: TorchDtype,
  { f32, low, indices }: Operands,
): HeadKernels {
  const { empty } = device;
  const head = headOn(device, aten, dtype);
  return {
    tokenLogProbs: (c, [h, w, targets], { softcap }, _, kept) => {
      const weights = f32(w);
      return [head.logProbs(f32(h), weights, indices(c, targets, weights.shape[0]!), softcap, kept)];
    },
    tokenLogProbsGrad: (c, [dlogprobs, h, w, targets], { forWeight, softcap }, [, sink], kept) => {
      const lowW = low(w);
      const dw: Sink | undefined = forWeight ? (sink ?? { tensor: empty(lowW.shape, 'f32'), fresh: true }) : undefined;
      const at = indices(c, targets, lowW.shape[0]!);
      const dh = head.logProbsGrad(f32(dlogprobs), f32(h), () => f32(w), lowW, at, dw, kept, softcap);
      if (dw?.fresh) aten.zero(dw.tensor); // no rows at all
      return dw ? [dh, sink ? undefined : dw.tensor] : [dh];
    },
    sample: (_, [logits, uniforms], attributes) => head.sample(f32(logits), f32(uniforms), attributes),
  };
}
