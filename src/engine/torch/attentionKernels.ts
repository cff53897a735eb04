/** Kernels of attention: over packed tokens, by FlashAttention where it fits, and of new tokens against a KV cache. */
import type { Aten } from './aten.ts';
import { attentionOn, decodePlaces } from './attention.ts';
import { headsOf } from './chunks.ts';
import { cutsNothing, flashFits, flashOn } from './flash.ts';
import type { Kernels } from './kernel.ts';
import { isState, type Operands, reject } from './operands.ts';
import type { Device, TorchDtype } from './tensors.ts';

type AttentionKernels = Pick<Kernels, 'attention' | 'attentionGrad' | 'decodeAttention'>;

export function attentionKernels(device: Device, aten: Aten, dtype: TorchDtype, operands: Operands): AttentionKernels {
  const { dense } = device;
  const { tensor, low, inLow, ids, chunks, sequences } = operands;
  const attention = attentionOn(device, aten);
  const flash = flashOn(device, aten);
  return {
    attention: (c, [q, k, v, table], attributes, _, kept) => {
      const [queries, keys, values] = [low(q), low(k), low(v)];
      const [tokens, heads] = [queries.shape[0]!, headsOf(attributes, queries, keys)];
      const usual = flashFits(device, dtype, heads) ? sequences(c, table, tokens) : undefined;
      if (usual && cutsNothing(heads, usual)) return [flash.packed([queries, keys, values], usual, heads, kept)];
      return [attention.packed(queries, keys, values, chunks(c, table, tokens, heads), heads)];
    },
    attentionGrad: (c, [dout, q, k, v, table], attributes, _, kept) => {
      const all = [low(q), low(k), low(v)] as const;
      const [tokens, heads] = [all[0].shape[0]!, headsOf(attributes, all[0], all[1])];
      const usual = flashFits(device, dtype, heads) ? sequences(c, table, tokens) : undefined;
      if (usual && cutsNothing(heads, usual)) return flash.packedGrad(low(dout), all, usual, heads, kept);
      return attention.packedGrad(low(dout), all, chunks(c, table, tokens, heads), heads);
    },
    decodeAttention: (c, [q, k, v, keys, values, lengths, slots], attributes) => {
      const [queries, newKeys, newValues] = [low(q), inLow(k), inLow(v)];
      const [keyCache, valueCache] = [tensor(keys), tensor(values)];
      const [count, , capacity] = keyCache.shape as [number, number, number];
      const input = ids(lengths);
      const [rowCount] = input.shape as [number];
      if (rowCount > count) throw reject(`${rowCount} rows and only ${count} slots in the cache`);
      const heads = headsOf(attributes, queries, newKeys);
      const places = c.once(`decode ${heads.groups} ${capacity} ${heads.window} ${input.name}`, () => {
        const { host } = input;
        for (const length of host) {
          if (length < 0 || length >= capacity) throw reject(`row of ${length} tokens in a cache for ${capacity}`);
        }
        return decodePlaces(device, host, capacity, heads, dtype);
      });
      const caches = [dense(keyCache, dtype), dense(valueCache, dtype)] as const;
      // The next effects write these rows into these caches: they may stay, where every row is in its own slot.
      const stay = slots !== undefined && keyCache.dtype === dtype && c.areInOrder(ids(slots));
      if (stay) for (const cache of [keys, values]) if (cache && isState(cache)) c.written.add(cache.state);
      return [attention.decode([queries, newKeys, newValues], caches, places, heads, stay)];
    },
  };
}
