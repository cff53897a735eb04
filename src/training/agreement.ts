/**
 * Do two disjoint halves of the data pull the weights in the same direction? The cosine of their gradients says so
 * before time is spent: where a model has converged on its data, the gradient of the game is noise, and two halves have
 * nothing in common. Gradients stay in the engine; only sums of products leave it.
 */
import type { Engine } from '../engine/index.ts';
import { type GraphBuilder, graphBuilder, type Value } from '../graph/index.ts';
import { type LanguageModel, trainable } from '../models/index.ts';
import { type Group, packedLength, packGroups, splitByTokens } from '../pairs/index.ts';
import { gradientName, type Objective, totalsOf, trainGraph, trainInputs } from './programs.ts';

export interface Agreement {
  /** ⟨a,b⟩ / (|a|·|b|) for the gradients a, b of the two halves; null where one of them is 0. */
  readonly cosine: number | null;
  /**
   * Of the cosine, given a: b is the sum of the gradients bⱼ of J parts, and the ⟨a,bⱼ⟩ are J independent draws. So the
   * error of their sum is √J times their standard deviation. null for fewer than two parts.
   */
  readonly standardError: number | null;
  /** Means over both halves; margins r(y) − r(y') of every pair in its order, none in plain SFT. */
  readonly loss: number;
  readonly margins: readonly number[];
}

export interface AgreementMeter {
  /**
   * @param halves of at least one item each; references as for training
   * @param microBatchTokens tokens computed at once; the lists of `listsOf` are split as by a scorer
   * @param afterList called after each of these lists; may throw to stop
   */
  measure(halves: Halves<Group>, microBatchTokens: number, afterList?: () => void): Promise<Agreement>;
  /** Releases programs and states. */
  dispose(): Promise<void>;
}

/** Items in two halves, the second one in parts of the same size but for one item. */
export interface Halves<T> {
  readonly first: readonly T[];
  readonly parts: readonly (readonly T[])[];
}

/** Parts into which the second half is cut, if it has as many items. */
const PARTS = 8;

/** Two halves of the items, in their order; of an odd number one is left out. */
export function halvesOf<T>(items: readonly T[]): Halves<T> {
  const size = Math.floor(items.length / 2);
  const count = Math.min(PARTS, size);
  const at = (part: number) => size + Math.round((part * size) / count);
  return {
    first: items.slice(0, size),
    parts: Array.from({ length: count }, (_, part) => items.slice(at(part), at(part + 1))),
  };
}

/** The lists of items that are computed one after another, never together. */
export const listsOf = <T>({ first, parts }: Halves<T>): readonly (readonly T[])[] => [first, ...parts];

/** The state that keeps the gradient of the first half. */
const keptName = (parameter: string) => `kept/${parameter}`;

/** Compiles for weights that are in the engine; no dropout. They stay as they are. */
export async function openAgreement(
  engine: Engine,
  model: LanguageModel,
  objective: Objective,
): Promise<AgreementMeter> {
  const parameters = trainable(model);
  async function clear(): Promise<void> {
    for (const { name, shape } of parameters) {
      await engine.createState(gradientName(name), shape);
      await engine.createState(keptName(name), shape);
    }
  }
  await clear();
  const gradient = await engine.compile(trainGraph({ ...model, dropout: 0 }, objective));
  const [keeping, comparing] = [graphBuilder(), graphBuilder()];
  for (const { name, shape } of parameters) {
    const latest = keeping.state(gradientName(name), shape);
    keeping.accumulate(keeping.state(keptName(name), shape), keeping.affine(latest, 1));
    keeping.zero(latest);
    const [a, b] = [comparing.state(keptName(name), shape), comparing.state(gradientName(name), shape)];
    comparing.output(`aa ${name}`, comparing.sumSquares(a));
    comparing.output(`bb ${name}`, comparing.sumSquares(b));
    comparing.output(`ab ${name}`, dot(comparing, a, b));
  }
  const keep = await engine.compile(keeping.build());
  const compare = await engine.compile(comparing.build());

  /** |a|², |b|² and ⟨a,b⟩ of the gradients as they stand. */
  async function products(): Promise<{ aa: number; bb: number; ab: number }> {
    const sums = { aa: 0, bb: 0, ab: 0 };
    for (const [name, { data }] of Object.entries(await compare.run({}))) {
      sums[name.slice(0, 2) as keyof typeof sums] += data[0]!;
    }
    return sums;
  }

  return {
    measure: async ({ first, parts }, microBatchTokens, afterList) => {
      await clear();
      const found = { loss: 0, margins: [] as number[] };
      /** Adds the gradient of some items of a half to the gradient states. */
      const add = async (items: readonly Group[], half: readonly Group[]) => {
        for (const micro of splitByTokens(items, packedLength, microBatchTokens)) {
          const results = await gradient.run(trainInputs(packGroups(micro), objective, totalsOf(half)));
          found.loss += results['loss']!.data[0]! / 2;
          const generated = results['generatedReward']?.data;
          for (const [i, real] of [...(results['realReward']?.data ?? [])].entries()) {
            found.margins.push(real - generated![i]!);
          }
        }
        afterList?.();
      };
      const second = parts.flat();
      await add(first, first);
      await keep.run({});
      const along: number[] = [];
      let sums = { aa: 0, bb: 0, ab: 0 };
      for (const part of parts) {
        await add(part, second);
        const now = await products();
        along.push(now.ab - sums.ab);
        sums = now;
      }
      return { ...cosineOf(sums, along), ...found };
    },
    dispose: async () => {
      for (const program of [gradient, keep, compare]) await program.dispose();
      for (const { name } of parameters) {
        for (const state of [gradientName(name), keptName(name)]) await engine.dropState(state);
      }
    },
  };
}

/** Σ a·b, row by row first as `sumSquares` does it. */
function dot(b: GraphBuilder, x: Value, y: Value): Value {
  const product = b.mul(x, y);
  return b.sumTo(product.shape.length === 2 ? b.sumTo(product, [product.shape[0]!, 1]) : product, []);
}

/** @param along ⟨a,bⱼ⟩ of the parts */
export function cosineOf(
  { aa, bb, ab }: { readonly aa: number; readonly bb: number; readonly ab: number },
  along: readonly number[],
): Pick<Agreement, 'cosine' | 'standardError'> {
  const norm = Math.sqrt(aa * bb);
  if (!(norm > 0)) return { cosine: null, standardError: null };
  const parts = along.length;
  const mean = ab / parts;
  const variance = along.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (parts - 1);
  return { cosine: ab / norm, standardError: parts < 2 ? null : Math.sqrt(parts * variance) / norm };
}

/**
 * Pairs of a batch from which on signal and noise of its mean gradient are of one size: two halves of n pairs with the
 * cosine c have |μ|² / (|μ|² + σ²/n) = c, so σ²/|μ|² = n·(1−c)/c (McCandlish et al. 2018, the simple noise scale).
 * @returns null without a positive cosine
 */
export function noiseScale(cosine: number | null, half: number): number | null {
  return cosine === null || cosine <= 0 ? null : (half * (1 - cosine)) / cosine;
}
