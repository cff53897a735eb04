// SPIN's loss in a model: its start at ln 2, and what must not change it: packing and micro-batches. (losses.test.ts: its values.)

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Engine, floats, onnxEngine } from '../../src/engine/index.ts';
import { generate } from '../../src/generation/index.ts';
import { graphBuilder } from '../../src/graph/index.ts';
import type { Group } from '../../src/pairs/index.ts';
import { openScorer } from '../../src/training/index.ts';
import { crossEntropy } from '../../src/training/losses.ts';
import { tinyModel, tinyRequests, writeWeights } from '../generation/tiny.ts';
import { type BatchGradient, gradientOf, relativeError, tinyHumans, tinyPairs, unshared } from './tiny-pairs.ts';

const SAME = 1e-5;
let engine: Engine;

beforeAll(async () => {
  engine = await onnxEngine({ threads: 1 });
  await writeWeights(engine);
});
afterAll(() => engine.dispose());

function expectSame(got: BatchGradient, expected: BatchGradient): void {
  expect(Math.abs(got.loss / expected.loss - 1)).toBeLessThan(SAME);
  for (const [name, gradient] of expected.gradients) {
    expect(Math.hypot(...gradient), `${name} gets a gradient`).toBeGreaterThan(0);
    expect(relativeError(got.gradients.get(name)!, gradient), name).toBeLessThan(SAME);
  }
}

describe('crossEntropy', () => {
  it('is the weighted sum of −log p', async () => {
    const b = graphBuilder();
    b.output('loss', crossEntropy(b, b.input('logProbs', ['rows']), b.input('weights', ['rows'])));
    const program = await engine.compile(b.build());
    const { loss } = await program.run({
      logProbs: floats(Float32Array.of(-1, -4, -0.5)),
      weights: floats(Float32Array.of(0.5, 0, 0.25)),
    });
    await program.dispose();
    expect(loss!.shape).toEqual([1, 1]);
    expect(loss!.data[0]).toBeCloseTo(0.625, 6);
  });
});

describe('step 0', () => {
  it('starts at ln 2 with every margin exactly 0 when graph and packing are the same', async () => {
    const scorer = await openScorer(engine, tinyModel);
    for (const budget of [1000, 20]) {
      const scores = await scorer.score(tinyPairs, budget);
      const pairs: Group[] = tinyPairs.map(({ promptIds, responses }, i) => ({
        promptIds,
        responses: responses.map(({ ids }, j) => ({ ids, reference: scores[i]![j]! })),
      }));
      const { loss, margins } = await gradientOf(engine, { kind: 'spin', beta: 5, sftWeight: 0 }, pairs, { budget });
      expect(margins).toEqual(pairs.map(() => 0));
      expect(Math.abs(loss - Math.LN2)).toBeLessThan(1e-6);
    }
    await scorer.dispose();
  });

  it('starts within β·tokens·1e-4 of 0 with the log-probs of the sampler', async () => {
    const requests = tinyRequests(12);
    const answers = await generate(engine, tinyModel, requests, {
      batchSize: 5,
      sampling: { temperature: 1, topK: 0, topP: 1 },
      seed: 3,
      iteration: 0,
      maxNewTokens: 9,
      endIds: new Set([7]),
    });
    const scorer = await openScorer(engine, tinyModel);
    const humans = requests.map(({ promptIds }, i) => ({
      promptIds,
      responses: [{ ids: tinyPairs[i % 5]!.responses[0]!.ids }],
    }));
    const scores = await scorer.score(humans, 1000);
    await scorer.dispose();
    const beta = 0.7;
    const pairs: Group[] = humans.map(({ promptIds, responses }, i) => ({
      promptIds,
      responses: [
        { ids: responses[0]!.ids, reference: scores[i]![0]! },
        { ids: answers[i]!.ids, reference: answers[i]!.logProbs },
      ],
    }));
    const { loss, margins } = await gradientOf(engine, { kind: 'spin', beta, sftWeight: 0 }, pairs);
    margins.forEach((margin, i) => {
      const tokens = pairs[i]!.responses.reduce((n, { ids }) => n + ids.length, 0);
      expect(Math.abs(margin)).toBeLessThanOrEqual(beta * tokens * 1e-4);
    });
    expect(Math.abs(loss - Math.LN2)).toBeLessThan(1e-4);
  });
});

describe('packing and micro-batches', () => {
  const spin = { kind: 'spin', beta: 0.5, sftWeight: 0 } as const;

  it.each([0, 0.3])('a shared prompt gives the gradient of two plain rows (SFT weight %d)', async (sftWeight) => {
    const shared = await gradientOf(engine, { ...spin, sftWeight }, tinyPairs);
    const plain = await gradientOf(engine, { ...spin, sftWeight }, unshared(tinyPairs), { pairs: tinyPairs.length });
    expect(shared.margins.some((margin) => Math.abs(margin) > 0.1)).toBe(true);
    expectSame(shared, plain);
  });

  it.each([1, 25, 40])('a batch split at %d tokens gives the gradient of the whole', async (budget) => {
    expectSame(await gradientOf(engine, spin, tinyPairs, { budget }), await gradientOf(engine, spin, tinyPairs));
    const sft = { kind: 'sft' } as const;
    expectSame(await gradientOf(engine, sft, tinyHumans, { budget }), await gradientOf(engine, sft, tinyHumans));
  });

  it('the SFT mix-in adds exactly its weight times the cross-entropy per token', async () => {
    const weight = 0.3;
    const alone = await gradientOf(engine, spin, tinyPairs);
    const sft = await gradientOf(engine, { kind: 'sft' }, tinyHumans);
    const mixed = await gradientOf(engine, { ...spin, sftWeight: weight }, tinyPairs);
    const sum = [...alone.gradients].map(([name, gradient]): [string, Float32Array] => [
      name,
      gradient.map((x, i) => x + weight * sft.gradients.get(name)![i]!),
    ]);
    expectSame(mixed, { loss: alone.loss + weight * sft.loss, gradients: new Map(sum), margins: [] });
    expect(mixed.margins).toEqual(alone.margins);
  });

  it('a pair counts as often as its weight says, in the loss and in the SFT mix-in', async () => {
    const weights = [2, 0.5, 1, 0.25, 1.25];
    const mixed = { ...spin, sftWeight: 0.3 };
    const weighted = tinyPairs.map((group, i) => ({ ...group, weight: weights[i]! }));
    const got = await gradientOf(engine, mixed, weighted, { budget: 25 });
    // Alone a pair has 1/1 and its tokens' mean; of the batch it has w/5 and w·(its tokens)/(all tokens).
    const tokens = tinyPairs.map(({ responses }) => responses[0]!.ids.length);
    const all = tokens.reduce((sum, n) => sum + n, 0);
    const expected = { loss: 0, gradients: new Map<string, Float32Array>(), margins: [] };
    for (const [i, pair] of tinyPairs.entries()) {
      const parts = [
        [weights[i]! / tinyPairs.length, await gradientOf(engine, spin, [pair])],
        [(weights[i]! * 0.3 * tokens[i]!) / all, await gradientOf(engine, { kind: 'sft' }, [tinyHumans[i]!])],
      ] as const;
      for (const [share, { loss, gradients }] of parts) {
        expected.loss += share * loss;
        for (const [name, gradient] of gradients) {
          const sum = expected.gradients.get(name) ?? new Float32Array(gradient.length);
          expected.gradients.set(
            name,
            sum.map((x, k) => x + share * gradient[k]!),
          );
        }
      }
    }
    expectSame(got, expected);
  });

  it('normalises SFT by the tokens of the whole batch, and SPIN by its pairs', async () => {
    const scorer = await openScorer(engine, tinyModel);
    const scores = (await scorer.score(tinyHumans, 1000)).flatMap(([logProbs]) => [...logProbs!]);
    await scorer.dispose();
    const { loss } = await gradientOf(engine, { kind: 'sft' }, tinyHumans, { budget: 12 });
    expect(loss).toBeCloseTo(-scores.reduce((sum, x) => sum + x, 0) / scores.length, 5);
    const { loss: spinned, margins } = await gradientOf(engine, spin, tinyPairs, { budget: 12 });
    const mean = margins.reduce((sum, margin) => sum + Math.log1p(Math.exp(-margin)), 0) / margins.length;
    expect(spinned).toBeCloseTo(mean, 5);
  });
});
