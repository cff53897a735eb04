// The cosine of two halves' gradients: against gradients read out of the engine, and its arithmetic by hand.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Engine, onnxEngine } from '../../src/engine/index.ts';
import type { Group } from '../../src/pairs/index.ts';
import { cosineOf, halvesOf, listsOf, noiseScale, openAgreement } from '../../src/training/agreement.ts';
import { tinyModel, writeWeights } from '../generation/tiny.ts';
import { gradientOf, tinyHumans, tinyPairs } from './tiny-pairs.ts';

const objective = { kind: 'spin', beta: 0.5, sftWeight: 0 } as const;
let engine: Engine;

beforeAll(async () => {
  engine = await onnxEngine({ threads: 1 });
  await writeWeights(engine);
});
afterAll(() => engine.dispose());

describe('halves', () => {
  it('have the same size, keep the order, and the second one is cut into eight', () => {
    const { first, parts } = halvesOf(Array.from({ length: 41 }, (_, i) => i));
    expect(first).toEqual([...Array(20).keys()]);
    expect(parts.flat()).toEqual([...Array(20).keys()].map((i) => i + 20));
    // Ends at 2.5, 5, 7.5 … rounded.
    expect(parts.map(({ length }) => length)).toEqual([3, 2, 3, 2, 3, 2, 3, 2]);
    expect(halvesOf([1, 2, 3])).toEqual({ first: [1], parts: [[2]] });
    expect(listsOf(halvesOf([1, 2, 3, 4]))).toEqual([[1, 2], [3], [4]]);
  });
});

describe('the cosine', () => {
  it('is ⟨a,b⟩ / |a||b|, its error √J times the deviation of the ⟨a,bⱼ⟩', () => {
    // |a| = 5, |b| = 2, ⟨a,bⱼ⟩ = 1, 2, 0, 1: mean 1, variance 2/3; √(4 · 2/3) = 1.63299
    const { cosine, standardError } = cosineOf({ aa: 25, bb: 4, ab: 4 }, [1, 2, 0, 1]);
    expect(cosine).toBeCloseTo(0.4, 12);
    expect(standardError).toBeCloseTo(1.632993 / 10, 6);
    expect(cosineOf({ aa: 25, bb: 4, ab: -10 }, [-10])).toEqual({ cosine: -1, standardError: null });
    expect(cosineOf({ aa: 0, bb: 4, ab: 0 }, [0, 0])).toEqual({ cosine: null, standardError: null });
  });

  it('says from which batch on a gradient is half signal: n·(1−c)/c', () => {
    expect(noiseScale(0.2, 50)).toBeCloseTo(200, 10);
    expect(noiseScale(1, 50)).toBe(0);
    expect(noiseScale(0, 50)).toBeNull();
    expect(noiseScale(-0.1, 50)).toBeNull();
    expect(noiseScale(null, 50)).toBeNull();
  });

  it.each([
    ['of the game', objective, tinyPairs, 1000],
    ['of the game, a few tokens at once', objective, tinyPairs, 15],
    ['of SFT', { kind: 'sft' } as const, tinyHumans, 1000],
  ])('%s is that of the gradients that the engine holds', async (_, what, groups, budget) => {
    const halves = halvesOf(groups);
    const second = halves.parts.flat();
    const flat = async (items: readonly Group[]) => {
      const share = what.kind === 'sft' ? tokens(items) / tokens(items.length < 2 ? second : items) : 1;
      const { gradients } = await gradientOf(engine, what, items, { pairs: what.kind === 'sft' ? items.length : 2 });
      return [...gradients.values()].flatMap((g) => [...g].map((x) => x * share));
    };
    const a = await flat(halves.first);
    const [b1, b2] = [await flat([second[0]!]), await flat([second[1]!])];
    const dot = (x: number[], y: number[]) => x.reduce((sum, v, i) => sum + v * y[i]!, 0);
    const b = b1!.map((x, i) => x + b2![i]!);
    const norm = Math.sqrt(dot(a, a) * dot(b, b));
    const along = [dot(a, b1!), dot(a, b2!)];
    const mean = (along[0]! + along[1]!) / 2;
    const error = Math.sqrt(2 * ((along[0]! - mean) ** 2 + (along[1]! - mean) ** 2)) / norm;

    const before = await engine.readState('model.norm.weight');
    const meter = await openAgreement(engine, tinyModel, what);
    for (let again = 0; again < 2; again++) {
      const found = await meter.measure(halves, budget);
      expect(found.cosine).toBeCloseTo(dot(a, b) / norm, 5);
      expect(found.standardError).toBeCloseTo(error, 5);
      expect(found.margins).toHaveLength(what.kind === 'sft' ? 0 : 4);
    }
    await meter.dispose();
    expect([...(await engine.states()).keys()].filter((name) => name.startsWith('kept/'))).toEqual([]);
    expect(await engine.readState('model.norm.weight')).toEqual(before);
  });

  it('of the same half twice is 1, and of a half and itself turned round −1 at step 0', async () => {
    // At step 0 the reference is the policy: what is turned round has the opposite gradient.
    const start = tinyPairs.slice(0, 2).map(({ promptIds, responses }) => ({ promptIds, responses }));
    const turned = start.map(({ promptIds, responses }) => ({ promptIds, responses: responses.toReversed() }));
    const linear = { ...objective, loss: { name: 'linear', lengthNormalization: false } } as const;
    const meter = await openAgreement(engine, tinyModel, linear);
    const same = await meter.measure({ first: start, parts: [start.slice(0, 1), start.slice(1)] }, 1000);
    const opposite = await meter.measure({ first: start, parts: [turned.slice(0, 1), turned.slice(1)] }, 1000);
    await meter.dispose();
    expect(same.cosine).toBeCloseTo(1, 5);
    expect(opposite.cosine).toBeCloseTo(-1, 5);
    // The margins of a pair and of the pair turned round are opposite, and so the linear losses 1 − t sum to 2.
    expect(opposite.margins[2]).toBeCloseTo(-opposite.margins[0]!, 5);
    expect(opposite.loss).toBeCloseTo(1, 5);
  });
});

const tokens = (groups: readonly Group[]) => groups.reduce((n, { responses }) => n + responses[0]!.ids.length, 0);
