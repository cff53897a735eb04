// Pairs for the tiny Llama of the generation tests, and one gradient of a batch of them.

import type { Engine } from '../../src/engine/index.ts';
import { type Group, packedLength, packGroups, splitByTokens } from '../../src/pairs/index.ts';
import { gradientName, type Objective, trainGraph, trainInputs } from '../../src/training/index.ts';
import { promptOf, tinyModel } from '../generation/tiny.ts';

/** Five pairs with prompts of 3 to 11 and answers of 1 to 6 tokens; references are off by up to 0.5 nats a token. */
export const tinyPairs: Group[] = [3, 5, 11, 4, 8].map((length, i) => ({
  promptIds: promptOf(length, i),
  responses: [1 + i, 6 - i].map((count, which) => ({
    ids: promptOf(count, 20 + 2 * i + which),
    reference: Float32Array.from({ length: count }, (_, t) => -2 - Math.sin(i + which + t) / 2),
  })),
}));

/** The real answers alone. */
export const tinyHumans: Group[] = tinyPairs.map(({ promptIds, responses }) => ({
  promptIds,
  responses: [responses[0]!],
}));

/** The same pairs without sharing: prompt | real and prompt | generated as two rows. */
export const unshared = (groups: readonly Group[]): Group[] =>
  groups.flatMap(({ promptIds, responses }) => responses.map((response) => ({ promptIds, responses: [response] })));

export interface BatchGradient {
  readonly loss: number;
  readonly gradients: ReadonlyMap<string, Float32Array>;
  readonly margins: number[];
}

/** Loss and gradient of a batch of pairs (or human answers), computed `budget` tokens at a time. */
export async function gradientOf(
  engine: Engine,
  objective: Objective,
  groups: readonly Group[],
  { budget = 1000, pairs = groups.length }: { budget?: number; pairs?: number } = {},
): Promise<BatchGradient> {
  const realTokens = groups
    .filter((_, i) => objective.kind === 'sft' || i % (groups.length / pairs) === 0)
    .reduce((n, { responses }) => n + responses[0]!.ids.length, 0);
  for (const { name, shape } of tinyModel.parameters) await engine.createState(gradientName(name), shape);
  const program = await engine.compile(trainGraph(tinyModel, objective));
  let loss = 0;
  const margins: number[] = [];
  for (const micro of splitByTokens(groups, packedLength, budget)) {
    const results = await program.run(trainInputs(packGroups(micro), objective, { pairs, realTokens }));
    loss += results['loss']!.data[0]!;
    const generated = results['generatedReward']?.data;
    margins.push(...Array.from(results['realReward']?.data ?? [], (reward, p) => reward - generated![p]!));
  }
  await program.dispose();
  const gradients = new Map<string, Float32Array>();
  for (const { name } of tinyModel.parameters) gradients.set(name, await engine.readState(gradientName(name)));
  return { loss, gradients, margins };
}

/** ‖got − expected‖ / ‖expected‖ */
export function relativeError(got: Float32Array, expected: Float32Array): number {
  const norm = (x: Float32Array) => Math.hypot(...x);
  return norm(got.map((x, i) => x - expected[i]!)) / norm(expected);
}
