/** FlashAttention of torch: its two functions per kind of device. */
import { fits, type Operators, same } from './operators.ts';
import type { Sequences } from './sequences.ts';
import type { Device, Tensor } from './tensors.ts';

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

export function flashOperatorsOn({ library, adopt }: Device, { own }: Operators) {
  return {
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
  };
}
