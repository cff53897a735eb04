// What was written for GPUs of NVIDIA, as far as it can be tried without one: everything but the kernels themselves.

import { expect, it } from 'vitest';
import { findTorch } from '../../src/engine/index.ts';
import { type Aten, atenOn } from '../../src/engine/torch/aten.ts';
import { attentionOn } from '../../src/engine/torch/attention.ts';
import { chunksOf, type Heads } from '../../src/engine/torch/chunks.ts';
import { setSwitches } from '../../src/engine/torch/cuda.ts';
import { flashOn } from '../../src/engine/torch/flash.ts';
import type { Kept } from '../../src/engine/torch/head.ts';
import { libraryNames } from '../../src/engine/torch/library/locations.ts';
import { sequencesOf } from '../../src/engine/torch/sequences.ts';
import { type Device, openDevice, type Tensor } from '../../src/engine/torch/tensors.ts';

const library = await findTorch();
if (!library)
  process.stderr.write('WARNING: what GPUs need: skipped, because no torch is here (selfplay engine install torch)\n');

const device = library
  ? await openDevice(library.directory, libraryNames(process).cpu, 'cpu', 2, { tf32: false, deterministic: false })
  : undefined;

/** Segments as pairs have them: a prompt, two answers to it; then a short text; a row of one token. */
const TABLE = Int32Array.from([0, 9, 0, 9, 0, 0, 9, 14, 0, 5, 9, 14, 14, 17, 14, 17, 0, 0, 17, 18, 0, 0, 17, 18]);
const TOKENS = 18;
const heads: Heads = { groups: 2, shared: 3, width: 8, scale: 0.3 };

const values = (rows: number, columns: number, seed: number) =>
  Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(1.7 * i + seed));

/** FlashAttention on the host, in place of the kernel: each sequence's queries end where its keys end. */
function flashOnHost(device: Device, aten: Aten): Aten {
  const { groups, shared, width, scale } = heads;
  function each(
    q: Tensor,
    k: Tensor,
    at: Parameters<Aten['flashAttention']>[3],
    body: (query: number, keys: number[], head: number, p: number[]) => void,
  ): void {
    const [qs, ks] = [device.download(q), device.download(k)];
    const [queryStarts, keyStarts] = [at.queryStarts, at.keyStarts].map((one) => device.downloadIndices(one));
    for (let s = 0; s + 1 < queryStarts!.length; s++) {
      const [q0, q1, k0, k1] = [queryStarts![s]!, queryStarts![s + 1]!, keyStarts![s]!, keyStarts![s + 1]!];
      expect(q1 - q0).toBeLessThanOrEqual(at.mostQueries);
      expect(k1 - k0).toBeLessThanOrEqual(at.mostKeys);
      for (let query = q0; query < q1; query++) {
        const keys = Array.from({ length: k1 - k0 - (q1 - 1 - query) }, (_, i) => k0 + i);
        for (let head = 0; head < groups * shared; head++) {
          const group = Math.floor(head / shared);
          const scores = keys.map((key) => {
            let sum = 0;
            for (let d = 0; d < width; d++) {
              sum += qs[(query * groups * shared + head) * width + d]! * ks[(key * groups + group) * width + d]!;
            }
            return Math.exp(scale * sum);
          });
          const total = scores.reduce((a, b) => a + b, 0);
          body(
            query,
            keys,
            head,
            scores.map((score) => score / total),
          );
        }
      }
    }
  }
  const at = (row: number, count: number, head: number) => (row * count + head) * width;
  return {
    ...aten,
    flashAttention: (q, k, v, sequences) => {
      const out = new Float32Array(q.shape.reduce((a, b) => a * b));
      const vs = device.download(v);
      each(q, k, sequences, (query, keys, head, p) => {
        keys.forEach((key, i) => {
          for (let d = 0; d < width; d++) {
            out[at(query, groups * shared, head) + d]! += p[i]! * vs[at(key, groups, Math.floor(head / shared)) + d]!;
          }
        });
      });
      const rest = () => device.upload(new Float32Array(1), [1]);
      return [device.upload(out, q.shape), rest(), rest(), rest()];
    },
    flashAttentionGrad: (dout, q, k, v, _, sequences) => {
      const [dos, qs, ks, vs] = [dout, q, k, v].map((one) => device.download(one));
      const [dq, dk, dv] = [qs!, ks!, vs!].map((one) => new Float32Array(one.length));
      each(q, k, sequences, (query, keys, head, p) => {
        const group = Math.floor(head / shared);
        const row = at(query, groups * shared, head);
        const dp = keys.map((key) => {
          let sum = 0;
          for (let d = 0; d < width; d++) sum += dos![row + d]! * vs![at(key, groups, group) + d]!;
          return sum;
        });
        const mean = dp.reduce((sum, x, i) => sum + x * p[i]!, 0);
        keys.forEach((key, i) => {
          const ds = scale * p[i]! * (dp[i]! - mean);
          for (let d = 0; d < width; d++) {
            dq![row + d]! += ds * ks![at(key, groups, group) + d]!;
            dk![at(key, groups, group) + d]! += ds * qs![row + d]!;
            dv![at(key, groups, group) + d]! += p[i]! * dos![row + d]!;
          }
        });
      });
      return [device.upload(dq!, q.shape), device.upload(dk!, k.shape), device.upload(dv!, v.shape)];
    },
  };
}

it.skipIf(!device)('attention through FlashAttention is attention by chunks, gradient too', () => {
  const aten = atenOn(device!);
  const flash = flashOn(device!, flashOnHost(device!, aten));
  const chunked = attentionOn(device!, aten);
  device!.scoped(() => {
    const { groups, shared, width } = heads;
    const q = device!.upload(values(TOKENS, groups * shared * width, 1), [TOKENS, groups * shared * width]);
    const [k, v] = [2, 3].map((seed) => device!.upload(values(TOKENS, groups * width, seed), [TOKENS, groups * width]));
    const dout = device!.upload(values(TOKENS, groups * shared * width, 4), q.shape);
    const sequences = sequencesOf(device!, TABLE, TOKENS);
    const chunks = chunksOf(device!, TABLE, TOKENS, heads, 'f32');
    const kept: Kept = new Map();
    const close = (got: Tensor, expected: Tensor) => {
      expect(got.shape).toEqual(expected.shape);
      const [a, b] = [device!.download(got), device!.download(expected)];
      a.forEach((x, i) => {
        expect(x).toBeCloseTo(b[i]!, 5);
      });
    };
    close(flash.packed([q, k!, v!], sequences, heads, kept), chunked.packed(q, k!, v!, chunks, heads));
    expect(kept.size).toBe(4);
    const expected = chunked.packedGrad(dout, [q, k!, v!], chunks, heads);
    for (const from of [kept, undefined]) {
      const got = flash.packedGrad(dout, [q, k!, v!], sequences, heads, from);
      for (const [i, one] of got.entries()) close(one, expected[i]!);
    }
    expect(kept.size).toBe(0);
    return [];
  });
});

it.skipIf(!device)('rows are added through index_put_, the order of which is fixed on GPUs', () => {
  const aten = atenOn({ ...device!, kind: 'cuda' });
  device!.scoped(() => {
    const to = device!.upload(Float32Array.of(1, 2, 3, 4), [2, 2]);
    const from = device!.upload(Float32Array.of(10, 20, 30, 40, 50, 60), [3, 2]);
    aten.scatterAddRows(to, device!.upload(BigInt64Array.of(1n, 0n, 1n), [3]), from);
    expect(device!.download(to)).toEqual(Float32Array.of(31, 42, 63, 84));
    return [];
  });
});

it.skipIf(!device)('the switches reach torch', () => {
  // It looks whether torch has taken them, and throws otherwise.
  setSwitches(device!.library, { tf32: true, deterministic: true });
  setSwitches(device!.library, { tf32: false, deterministic: false });
  const deaf = { ...device!.library, invoke: () => undefined };
  expect(() => setSwitches(deaf, { tf32: true, deterministic: false })).toThrow(/does not take/);
});
