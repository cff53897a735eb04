/**
 * FlashAttention over packed tokens (GPUs of NVIDIA, bf16 and f16): all segments in one call, without padding, and a
 * gradient that needs only the output and one number per query and head. With different numbers of queries and keys its
 * causal mask ends at the last key, as ours does: query i sees all keys but the last (queries − 1 − i).
 */
import type { Aten } from './aten.ts';
import type { Heads } from './chunks.ts';
import type { Kept } from './head.ts';
import type { Sequences } from './sequences.ts';
import type { Device, Tensor, TorchDtype } from './tensors.ts';

/** What its kernels can do. */
export const flashFits = ({ kind }: Device, dtype: TorchDtype, { width, softcap }: Heads): boolean =>
  kind === 'cuda' && dtype !== 'f32' && width % 8 === 0 && width <= 256 && softcap === undefined;

/** Whether the window is as wide as the longest of the sequences. */
export const cutsNothing = ({ window = Number.POSITIVE_INFINITY }: Heads, { mostKeys }: Sequences): boolean =>
  mostKeys <= window;

/** Places in `Kept`. */
const OUTPUT = 0;
const REST = 1;

export function flashOn(device: Device, aten: Aten) {
  const { view } = device;
  /** [N, heads·d] -> [N, heads, d] */
  const perHead = (x: Tensor, width: number) => view(x, [x.shape[0]!, x.shape[1]! / width, width]);
  const flat = (x: Tensor) => view(x, [x.shape[0]!, x.shape[1]! * x.shape[2]!]);
  const operands = ([q, k, v]: readonly [Tensor, Tensor, Tensor], { keys }: Sequences, { width }: Heads) =>
    [perHead(q, width), perHead(aten.indexSelect(k, keys), width), perHead(aten.indexSelect(v, keys), width)] as const;

  return {
    /** q [T,H·d], k and v [T,G·d] -> [T,H·d]; what the gradient needs goes to `kept`. */
    packed: (inputs: readonly [Tensor, Tensor, Tensor], sequences: Sequences, heads: Heads, kept?: Kept): Tensor => {
      const [q, k, v] = operands(inputs, sequences, heads);
      const [out, ...rest] = aten.flashAttention(q, k, v, sequences, heads.scale);
      kept?.set(OUTPUT, device.keep(view(out, out.shape)));
      if (kept) for (const [i, one] of rest.entries()) kept.set(REST + i, device.keep(one));
      return flat(out);
    },
    /** dq [T,H·d], dk and dv [T,G·d] */
    packedGrad: (
      dout: Tensor,
      inputs: readonly [Tensor, Tensor, Tensor],
      sequences: Sequences,
      heads: Heads,
      kept: Kept | undefined,
    ): [Tensor, Tensor, Tensor] => {
      const [q, k, v] = operands(inputs, sequences, heads);
      const known = [...(kept ?? [])].sort(([a], [b]) => a - b).map(([, tensor]) => tensor);
      const forward = known.length > 0 ? known : aten.flashAttention(q, k, v, sequences, heads.scale);
      const [dq, dk, dv] = aten.flashAttentionGrad(
        perHead(dout, heads.width),
        q,
        k,
        v,
        forward,
        sequences,
        heads.scale,
      );
      for (const tensor of known) device.free(tensor);
      kept?.clear();
      /** A token is a key in several segments. */
      const summed = (x: Tensor, like: Tensor) => {
        const sum = device.empty(like.shape, 'f32');
        aten.zero(sum);
        aten.scatterAddRows(sum, sequences.keys, device.dense(flat(x), 'f32'));
        return device.dense(sum, like.dtype);
      };
      return [flat(dq), summed(dk, inputs[1]), summed(dv, inputs[2])];
    },
  };
}
