/**
 * The table of ops on torch: total over the graph's ops, like every pass. A kernel gets the op's operands and returns
 * its results as new tensors.
 *
 * Mixed precision. With a compute dtype of bf16 or f16 the products of the layers, attention and the gate are computed
 * and stored in it, and so are KV caches and the gradient of the head; what is summed over layers or tokens (the residual
 * stream, norms, losses, the head's logits and log-probs, and within torch's softmax its sums) is f32, and so are all
 * other states. A kernel asks for the dtype that it needs: `f32` and `low` convert where an operand has the other one.
 * With f32 nothing converts.
 */
import { arithmeticKernels } from './arithmeticKernels.ts';
import type { Aten } from './aten.ts';
import { attentionKernels } from './attentionKernels.ts';
import { headKernels } from './headKernels.ts';
import type { Kernels } from './kernel.ts';
import { layerKernels } from './layerKernels.ts';
import { operandsOn } from './operands.ts';
import type { Device, TorchDtype } from './tensors.ts';

export function kernelsOn(device: Device, aten: Aten, dtype: TorchDtype): Kernels {
  const operands = operandsOn(device, dtype);
  return {
    // Operands and effects are the program's affair.
    input: null,
    state: null,
    accumulate: null,
    zero: null,
    cacheWrite: null,
    cacheMove: null,
    adamw: null,
    rmsprop: null,
    ...arithmeticKernels(device, aten, operands),
    ...layerKernels(device, aten, dtype, operands),
    ...attentionKernels(device, aten, dtype, operands),
    ...headKernels(device, aten, dtype, operands),
  };
}
