/**
 * What generation promises on any engine. Run it with a function that opens an engine: see generate.test.ts.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../../src/engine/index.ts';
import {
  type Completion,
  type GenerationRequest,
  type GenerationSettings,
  type GeneratorOptions,
  gameSampling,
  generate,
  greedySampling,
  openGenerator,
} from '../../src/generation/index.ts';
import { SelfplayError, shuffled } from '../../src/util/index.ts';
import {
  CONTEXT,
  forward,
  naive,
  promptOf,
  recording,
  tinyModel,
  tinyRequests,
  VOCABULARY,
  writeWeights,
} from './tiny.ts';

/**
 * @param tolerance largest difference between a sampled log-prob and the same token's scored one
 * @param sameBits whether a row's numbers do not depend on what is computed beside it; else answers are compared with
 * log-probs to the tolerance
 */
export function generationSuite(
  name: string,
  open: () => Promise<Engine> | Engine,
  tolerance: number,
  { sameBits = true }: { sameBits?: boolean } = {},
): void {
  describe(`generation on the ${name} engine`, () => {
    let engine: Engine;
    beforeAll(async () => {
      engine = await open();
      await writeWeights(engine);
    });
    afterAll(() => engine.dispose());

    const base = {
      maxNewTokens: 24,
      endIds: new Set([3, 17]),
      sampling: gameSampling,
      seed: 5,
      iteration: 2,
      batchSize: 4,
    } satisfies GeneratorOptions & GenerationSettings;
    const run = (
      requests: readonly GenerationRequest[],
      changes: Partial<GeneratorOptions & GenerationSettings> = {},
      on: Engine = engine,
    ) => generate(on, tinyModel, requests, { ...base, ...changes });
    const bits = (rows: readonly Completion[]) =>
      Object.fromEntries(
        rows.map(({ id, sample, ids, logProbs, finish }) => [
          `${id}/${sample}`,
          { ids: [...ids], bits: [...new Uint32Array(logProbs.buffer.slice(0))], finish },
        ]),
      );

    /** The same answers, whatever was computed beside them. */
    const expectSame = (got: readonly Completion[], expected: readonly Completion[]) => {
      if (sameBits) {
        expect(bits(got)).toEqual(bits(expected));
        return;
      }
      const answer = ({ id, sample }: Completion) => `${id}/${sample}`;
      const known = new Map(expected.map((row) => [answer(row), row]));
      expect(got.length).toBe(expected.length);
      for (const row of got) {
        const { ids, finish, logProbs } = known.get(answer(row))!;
        expect({ ids: row.ids, finish: row.finish }).toEqual({ ids, finish });
        row.logProbs.forEach((logProb, t) => {
          expect(Math.abs(logProb - logProbs[t]!)).toBeLessThan(tolerance);
        });
      }
    };

    const what = sameBits ? 'ids and log-prob bits' : 'ids';
    it(`gives each row the same ${what} at every batch size and in every order`, async () => {
      const requests = tinyRequests(17);
      const alone = await run(requests, { batchSize: 1 });
      expect(alone.map(({ id }) => id)).toEqual(requests.map(({ id }) => id));
      // The case is worth something: answers of many lengths, both ways to finish.
      expect(new Set(alone.map(({ ids }) => ids.length)).size).toBeGreaterThan(5);
      expect(new Set(alone.map(({ finish }) => finish)).size).toBe(2);
      for (const batchSize of [3, 7, 64]) expectSame(await run(requests, { batchSize }), alone);
      const mixed = shuffled(requests, 1, 'order');
      const answers = await run(mixed, { batchSize: 5 });
      expect(answers.map(({ id }) => id)).toEqual(mixed.map(({ id }) => id));
      expectSame(answers, alone);
      const shards = [...(await run(requests.slice(0, 6))), ...(await run(requests.slice(6)))];
      expectSame(shards, alone);
    });

    it('equals generation without cache or batch, also where the cache grows', async () => {
      const requests = [{ id: 'long', sample: 3, promptIds: promptOf(56) }, ...tinyRequests(2)];
      const rows = await run(requests, { maxNewTokens: 14, endIds: new Set() });
      for (const [i, request] of requests.entries()) {
        const expected = await naive(engine, request, { ...base, count: 14 });
        expect([...rows[i]!.ids]).toEqual(expected.ids);
        rows[i]!.logProbs.forEach((logProb, t) => {
          expect(Math.abs(logProb - expected.logProbs[t]!)).toBeLessThan(tolerance);
        });
      }
    });

    it('greedy takes the argmax of a whole forward pass, token by token', async () => {
      for (const row of await run(tinyRequests(5), { sampling: greedySampling })) {
        const prompt = tinyRequests(5).find(({ id }) => id === row.id)!.promptIds;
        const { logits } = await forward(engine, [...prompt, ...row.ids]);
        row.ids.forEach((id, t) => {
          const at = logits[prompt.length - 1 + t]!;
          expect(id).toBe(at.indexOf(Math.max(...at)));
        });
      }
    });

    it.each([1, 0.6, 1.7, 0])('gives the scored, untempered log-probs at temperature %s', async (temperature) => {
      const requests = tinyRequests(6);
      const rows = await run(requests, { sampling: { ...gameSampling, temperature } });
      for (const [i, { ids, logProbs }] of rows.entries()) {
        const prompt = requests[i]!.promptIds;
        const scored = (await forward(engine, [...prompt, ...ids])).logProbs.slice(prompt.length - 1);
        expect(scored.length).toBe(ids.length);
        logProbs.forEach((logProb, t) => {
          expect(Math.abs(logProb - scored[t]!)).toBeLessThan(tolerance);
        });
      }
    });

    it('temperature, seed, iteration, sample and row id change the choice', async () => {
      const promptIds = promptOf(9);
      const request = { id: 'a', promptIds };
      const variants = [
        await run([request], { sampling: { ...gameSampling, temperature: 3 } }),
        await run([request], { seed: 6 }),
        await run([request], { iteration: 3 }),
        await run([{ ...request, sample: 1 }]),
        await run([{ id: 'b', promptIds }]),
        await run([request]),
      ];
      expect(new Set(variants.map(([row]) => String(row!.ids))).size).toBe(variants.length);
      expect(bits(await run([{ ...request, sample: 0 }]))).toEqual(bits(variants.at(-1)!));
    });

    it('samples the first token with the probabilities of the model', async () => {
      const promptIds = promptOf(4);
      const count = 1500;
      const requests = Array.from({ length: count }, (_, sample) => ({ id: 'dice', sample, promptIds }));
      const rows = await run(requests, { maxNewTokens: 1, batchSize: 256 });
      const probabilities = softmax((await forward(engine, [...promptIds])).logits.at(-1)!);
      // Ids that are expected less than five times count as one.
      const common = probabilities.map((p) => count * p >= 5);
      const bins = new Map<number, { seen: number; expected: number }>();
      for (const [id, p] of probabilities.entries()) {
        const bin = bins.get(common[id]! ? id : -1) ?? { seen: 0, expected: 0 };
        bin.expected += count * p;
        bin.seen += rows.filter(({ ids }) => ids[0] === id).length;
        bins.set(common[id]! ? id : -1, bin);
      }
      const all = [...bins.values()];
      expect(all.length).toBeGreaterThan(10);
      const chiSquare = all.reduce((sum, { seen, expected }) => sum + (seen - expected) ** 2 / expected, 0);
      const freedom = all.length - 1;
      expect(chiSquare).toBeLessThan(freedom + 4 * Math.sqrt(2 * freedom));
    });

    it.each([
      ['topK', { ...gameSampling, topK: 3 }],
      ['topP', { ...gameSampling, topP: 0.5 }],
    ])('%s restricts what can be chosen', async (_, sampling) => {
      const requests = tinyRequests(8);
      /** Share of the tokens that stand outside of the three best, or of the smallest set with half the mass. */
      async function outside(rows: readonly Completion[]): Promise<number> {
        let tokens = 0;
        let strays = 0;
        for (const [i, { ids }] of rows.entries()) {
          const prompt = requests[i]!.promptIds;
          const { logits } = await forward(engine, [...prompt, ...ids]);
          ids.forEach((id, t) => {
            const p = softmax(logits[prompt.length - 1 + t]!);
            const better = p.filter((q) => q > p[id]!);
            tokens++;
            if (sampling.topK > 0 ? better.length >= 3 : better.reduce((a, b) => a + b, 0) >= 0.5 + 1e-5) strays++;
          });
        }
        return strays / tokens;
      }
      expect(await outside(await run(requests, { sampling }))).toBe(0);
      expect(await outside(await run(requests))).toBeGreaterThan(0.1);
    });

    it('stops at the first end id, keeps it, and nothing after', async () => {
      const [free] = await run([{ id: 'x', promptIds: promptOf(6) }], { endIds: new Set() });
      const first = (id: number) => free!.ids.indexOf(id);
      const [a, b] = [free!.ids[4]!, free!.ids[9]!];
      for (const ends of [[a], [b], [a, b], [VOCABULARY + 5, b]]) {
        const [row] = await run([{ id: 'x', promptIds: promptOf(6) }], { endIds: new Set(ends) });
        const at = Math.min(...ends.map(first).filter((place) => place >= 0));
        expect([...row!.ids]).toEqual([...free!.ids.slice(0, at + 1)]);
        expect(row!.logProbs).toEqual(free!.logProbs.slice(0, at + 1));
        expect(row!.finish).toBe('end');
      }
      expect(free!.finish).toBe('length');
      expect(free!.ids.length).toBe(24);
    });

    it('handles an end id as the very first token, on the last allowed token, and one new token', async () => {
      const requests = tinyRequests(9);
      const one = await run(requests, { maxNewTokens: 1, endIds: new Set() });
      expect(
        one.every(({ ids, logProbs, finish }) => ids.length === 1 && logProbs.length === 1 && finish === 'length'),
      ).toBe(true);
      const firsts = new Set(one.map(({ ids }) => ids[0]!));
      const ended = await run(requests, { endIds: firsts });
      expect(ended.map(({ ids }) => [...ids])).toEqual(one.map(({ ids }) => [...ids]));
      expect(ended.every(({ finish }) => finish === 'end')).toBe(true);
      expect((await run(requests, { maxNewTokens: 1, endIds: firsts })).every(({ finish }) => finish === 'end')).toBe(
        true,
      );
      expect(await run([])).toEqual([]);
    });

    it('generates up to the context and no further', async () => {
      const requests = [CONTEXT - 10, CONTEXT - 1, 4].map((length) => ({
        id: `${length}`,
        promptIds: promptOf(length),
      }));
      const rows = await run(requests, { endIds: new Set(), maxNewTokens: 30 });
      expect(rows.map(({ ids, finish }) => [ids.length, finish])).toEqual([
        [10, 'length'],
        [1, 'length'],
        [30, 'length'],
      ]);
    });

    it('names the row or setting that cannot run, before anything runs', async () => {
      const record = recording(engine);
      const good = tinyRequests(2);
      const bad = (promptIds: Int32Array, sample = 0) =>
        run([...good, { id: 'odd-one', sample, promptIds }], {}, record.engine);
      await expect(bad(promptOf(CONTEXT))).rejects.toThrow(/row "odd-one" has a prompt of 160 tokens/);
      await expect(bad(new Int32Array(0))).rejects.toThrow(/row "odd-one" has an empty prompt/);
      await expect(bad(Int32Array.of(1, VOCABULARY))).rejects.toThrow(/row "odd-one" has the prompt id 40/);
      await expect(bad(Int32Array.of(-1))).rejects.toThrow(/prompt id -1/);
      await expect(bad(promptOf(3), 65_536)).rejects.toThrow(/row "odd-one" sample is 65536/);
      const set = (changes: Partial<GeneratorOptions & GenerationSettings>) => run(good, changes, record.engine);
      await expect(set({ maxNewTokens: 0 })).rejects.toThrow(/maxNewTokens is 0/);
      await expect(set({ iteration: -1 })).rejects.toThrow(/iteration is -1/);
      await expect(set({ seed: 0.5 })).rejects.toThrow(/seed is 0.5/);
      await expect(set({ batchSize: 0 })).rejects.toThrow(/batchSize is 0/);
      const sampling = { temperature: -1, topK: 1.5, topP: 0 };
      await expect(set({ sampling })).rejects.toThrow(/temperature is -1.*topK is 1.5.*topP is 0/s);
      await expect(set({ sampling: { ...gameSampling, temperature: Number.NaN } })).rejects.toMatchObject({
        kind: 'usage',
      });
      expect(record.runs).toEqual([]);
      expect(record.live()).toBe(0);
    });

    it('throws the reason of an abort between steps, and stays usable', async () => {
      const requests = tinyRequests(10);
      const record = recording(engine);
      const generator = await openGenerator(record.engine, tinyModel, base);
      const expected = bits(await generator.generate(requests, base));
      const controller = new AbortController();
      const reason = new Error('enough');
      let steps = 0;
      record.runs.length = 0;
      const call = generator.generate(requests, {
        ...base,
        signal: controller.signal,
        onProgress: () => {
          if (++steps === 4) controller.abort(reason);
        },
      });
      await expect(call).rejects.toBe(reason);
      expect(record.runs.filter(({ kind }) => kind !== 'move').length).toBe(4);
      expect(bits(await generator.generate(requests, base))).toEqual(expected);
      await expect(generator.generate(requests, { ...base, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      await generator.dispose();
    });

    it('keeps slots 0..B-1 busy: refills while prompts wait, shrinks when none do', async () => {
      const record = recording(engine);
      await run(tinyRequests(14), { batchSize: 3 }, record.engine);
      const lastPrefill = record.runs.findLastIndex(({ kind }) => kind === 'prefill');
      const decodes = record.runs
        .map(({ kind, inputs }, at) => ({ kind, at, slots: inputs['slots']! }))
        .filter(({ kind }) => kind === 'decode');
      for (const { slots } of decodes) expect(slots).toEqual(slots.map((_, i) => i));
      const busy = decodes.filter(({ at }) => at < lastPrefill);
      expect(busy.length).toBeGreaterThan(5);
      for (const { slots } of busy) expect(slots.length).toBe(3);
      const tail = decodes.filter(({ at }) => at > lastPrefill).map(({ slots }) => slots.length);
      expect(tail).toEqual([...tail].sort((a, b) => b - a));
      expect(tail.at(-1)).toBeLessThan(3);
      expect(record.runs.some(({ kind }) => kind === 'move')).toBe(true);
    });

    it('reads prompts in groups: by an eighth of the slots, and up to 1024 tokens', async () => {
      const record = recording(engine);
      await run(tinyRequests(60), { batchSize: 32 }, record.engine);
      const groups = record.runs
        .filter(({ kind }) => kind === 'prefill')
        .map(({ inputs }) => inputs['lastRows']!.length);
      expect(groups[0]).toBe(32);
      expect(groups.reduce((a, b) => a + b, 0)).toBe(60);
      for (const size of groups.slice(0, -1)) expect(size).toBeGreaterThanOrEqual(4);

      record.runs.length = 0;
      const long = Array.from({ length: 25 }, (_, i) => ({ id: `${i}`, promptIds: promptOf(100, i) }));
      await run(long, { batchSize: 64, maxNewTokens: 1 }, record.engine);
      expect(record.runs.map(({ kind, inputs }) => [kind, inputs['ids']!.length])).toEqual(
        [1000, 1000, 500].map((tokens) => ['prefill', tokens]),
      );
    });

    it('grows the cache in steps of 64 positions and begins small again, all layers alike, and adds slots', async () => {
      const record = recording(engine);
      const generator = await openGenerator(record.engine, tinyModel, { ...base, batchSize: 100 });
      const settings = { ...base, endIds: new Set<number>(), maxNewTokens: 70 };
      const shape = async () =>
        [...(await engine.states())].filter(([state]) => state.startsWith('cache.')).map(([, dims]) => String(dims));
      const seen: string[] = [];
      const grown = [
        { id: 'a', promptIds: promptOf(60) },
        { id: 'b', promptIds: promptOf(5) },
      ];
      await generator.generate(grown, { ...settings, onCompletion: async () => void seen.push(...(await shape())) });
      // 60 prompt tokens and 69 cached answer tokens are 129 positions; the last token is never cached.
      expect([...new Set(seen)]).toEqual(['2,2,192,4']);
      expect(seen.length % 4).toBe(0);
      const capacities = record.resizes
        .filter(({ axis, name: state }) => axis === 2 && state === 'cache.k.0')
        .map(({ size }) => size);
      expect(capacities).toEqual([128, 192]);
      await generator.generate(tinyRequests(3), settings);
      expect(new Set(await shape())).toEqual(new Set(['3,2,128,4']));
      await generator.dispose();
      expect(await shape()).toEqual([]);
    });

    it('compiles once for many calls, counts what it does, and gives everything back', async () => {
      const record = recording(engine);
      const generator = await openGenerator(record.engine, tinyModel, base);
      await expect(openGenerator(engine, tinyModel, base)).rejects.toThrow(/open on this engine already/);
      const requests = tinyRequests(10);
      const progress: { rows: number; tokens: number }[] = [];
      const early: string[] = [];
      const sampled = new Map<string, number[]>();
      const pending = generator.generate(requests, {
        ...base,
        onProgress: (at) => progress.push(at),
        onToken: (token, id) => sampled.set(id, [...(sampled.get(id) ?? []), token]),
        onCompletion: ({ id }) => void early.push(id),
      });
      await expect(generator.generate(requests, base)).rejects.toThrow(/generating already/);
      const rows = await pending;
      const tokens = rows.reduce((sum, { ids }) => sum + ids.length, 0);
      for (const { id, ids } of rows) expect(sampled.get(id)).toEqual([...ids]);
      expect(progress.at(-1)).toEqual({ rows: 10, tokens });
      expect(progress.map((at) => at.tokens)).toEqual(
        [...new Set(progress.map((at) => at.tokens))].sort((a, b) => a - b),
      );
      expect([...early].sort()).toEqual(requests.map(({ id }) => id).sort());
      const runs = (kind: string) => record.runs.filter((entry) => entry.kind === kind).length;
      expect(generator.stats).toMatchObject({
        promptTokens: requests.reduce((sum, { promptIds }) => sum + promptIds.length, 0),
        generatedTokens: tokens,
        prefillRuns: runs('prefill'),
        decodeSteps: runs('decode'),
      });
      expect(generator.stats.prefillSeconds).toBeGreaterThan(0);
      expect(generator.stats.decodeSeconds).toBeGreaterThan(0);
      expect(bits(await generator.generate(requests, base))).toEqual(bits(rows));
      expect(record.compiled()).toBe(3);
      await generator.dispose();
      await generator.dispose();
      expect(record.live()).toBe(0);
      await writeWeights(engine); // free to change again
    });

    it('leaves the prompts of the caller alone', async () => {
      const promptIds = promptOf(7);
      await run([
        { id: 'a', promptIds },
        { id: 'b', promptIds },
      ]);
      expect(promptIds).toEqual(promptOf(7));
    });

    it('names the row when the weights are broken', async () => {
      const state = 'model.norm.weight';
      await engine.writeState(state, new Float32Array(16).fill(Number.NaN));
      const call = run([{ id: 'lost', promptIds: promptOf(3) }]);
      await expect(call).rejects.toThrow(/row "lost".*log-probability NaN/);
      await expect(call).rejects.toBeInstanceOf(SelfplayError);
      await engine.writeState(state, new Float32Array(16).fill(1));
    });
  });
}

function softmax(logits: readonly number[]): number[] {
  const top = Math.max(...logits);
  const weights = logits.map((x) => Math.exp(x - top));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((w) => w / sum);
}
