// Two models beside each other: mixed, and what a cast leaves of their difference.
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  castAll,
  castGguf,
  mixedModel,
  openWholeModel,
  swallowedUpdates,
  type WholeModel,
} from '../../src/checkpoint/index.ts';
import { castTensor } from '../../src/formats/index.ts';
import { uniforms } from '../../src/util/index.ts';
import { tempDir } from '../util/temp.ts';
import { writeTinyLlama } from './tiny-llama.ts';

/** The model with other weights, each made from its own values. */
function withWeights(whole: WholeModel, change: (values: Float32Array, name: string) => Float32Array): WholeModel {
  const read = async (name: string) => change(await whole.weights.read(name), name);
  return { ...whole, weights: { ...whole.weights, read } };
}

describe('the updates of training', () => {
  it('of 5e-5 on weights of 0.1 are for the most part swallowed by bf16, and by far less in f16', async () => {
    const model = await openWholeModel(await writeTinyLlama(await tempDir()));
    const start = withWeights(model, (values, name) => {
      const sizes = uniforms(values.length, 1, name);
      return values.map((x, i) => Math.sign(x) * (0.09 + 0.02 * sizes[i]!));
    });
    const end = withWeights(start, (values, name) => {
      const sides = uniforms(values.length, 2, name);
      return values.map((x, i) => x + (sides[i]! < 0.5 ? -5e-5 : 5e-5));
    });
    const bf16 = await swallowedUpdates(start, end, castAll('BF16'));
    expect(bf16.changed).toBe(bf16.weights);
    expect(bf16.swallowed / bf16.changed).toBeGreaterThan(0.88);
    expect(bf16.swallowed / bf16.changed).toBeLessThan(0.92);
    // Rounded up as often as down: what is swallowed here is made up for there.
    expect(Math.abs(bf16.kept - 1)).toBeLessThan(0.1);
    const f16 = await swallowedUpdates(start, end, castAll('F16'));
    expect(f16.swallowed / f16.changed).toBeLessThan(0.4);
    expect((await swallowedUpdates(start, end, castAll('F32'))).swallowed).toBe(0);
    expect(await swallowedUpdates(start, start, castAll('BF16'))).toMatchObject({ changed: 0, swallowed: 0 });
  });

  it('are lost altogether where the first model has weights of that type already', async () => {
    const model = await openWholeModel(await writeTinyLlama(await tempDir()));
    const start = withWeights(model, (values, name) =>
      castTensor(values, 'BF16', name).map((x) => (Math.abs(x) < 0.1 ? 0.1015625 : x)),
    );
    const end = withWeights(start, (values) => values.map((x) => x + 5e-5));
    const { changed, swallowed, kept } = await swallowedUpdates(start, end, castAll('BF16'));
    expect([swallowed, kept]).toEqual([changed, 0]);
    expect((await swallowedUpdates(start, end, castAll('F32'))).kept).toBe(1);
  });

  it('of norms stay in GGUF files, which hold them in f32', async () => {
    const start = await openWholeModel(await writeTinyLlama(await tempDir()));
    const end = withWeights(start, (values, name) => (/norm/.test(name) ? values.map((x) => x + 1e-6) : values));
    const { changed, swallowed } = await swallowedUpdates(start, end, castGguf('Q4_0'));
    expect([changed > 0, swallowed]).toEqual([true, 0]);
    expect((await swallowedUpdates(start, end, castAll('BF16'))).swallowed).toBeGreaterThan(0);
  });
});

it('models of other shapes are not mixed', async () => {
  const parent = await tempDir();
  const [a, b] = await Promise.all([
    openWholeModel(await writeTinyLlama(join(parent, 'a'))),
    openWholeModel(await writeTinyLlama(join(parent, 'b'), { intermediate_size: 64 })),
  ]);
  expect(() => mixedModel(a!, b!, 0.5)).toThrow('not the shapes');
});
