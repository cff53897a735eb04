/**
 * The longest pair that a game can come to train on: from the user's rows before there is a sample, or from given pairs; and
 * the memory that it needs.
 */
import type { LanguageModel } from '../../models/index.ts';
import { type Group, packedLength, pairGroup } from '../../pairs/index.ts';
import { type Objective, usesInitial } from '../../training/index.ts';
import { exists } from '../../util/index.ts';
import { iterationName } from '../run/layout.ts';
import { planMemory } from '../run/plan.ts';
import { readPairs } from '../run/records.ts';
import type { Row } from '../run/rows.ts';
import type { Run } from '../run/run.ts';
import { at } from '../settings/schedules.ts';
import { lossOf, type SpinSettings } from '../settings/settings.ts';

/**
 * Finds out how training on pairs fits into memory, once (plan.ts). Without a pair there is nothing to find out.
 * @param pairs that can come, or the longest of them; references do not matter
 */
export async function planPairs(
  run: Run,
  model: LanguageModel,
  pairs: readonly Group[],
  objective: Objective,
): Promise<void> {
  const longest = longestOf(pairs);
  if (!longest) return;
  const responses = longest.responses.map(({ ids }) => ({ ids, reference: new Float32Array(ids.length) }));
  await planMemory(run, { model, longest: { ...longest, responses }, objective });
}

/** The same for a game, whose last iteration has the most answers beside each other. */
export async function planGame(run: Run<'run'>, model: LanguageModel, rows: readonly Row[]): Promise<void> {
  const { settings } = run;
  const { beta, sft_weight: sftWeight, start_iteration: first, iterations, pairs } = settings;
  const loss = lossOf(settings, first + iterations - 1);
  const initial = usesInitial(loss);
  const entered: Group[] = [];
  for (const t of [first - 1, first]) {
    const file = run.path(iterationName(t), 'pairs.jsonl');
    if (t < 0 || !(await exists(file))) continue;
    for (const pair of await readPairs(file)) entered.push(pairGroup(pair, initial ? pair.generated : undefined));
  }
  // Where all pairs come from files, the rows are not answered.
  const sampled =
    pairs !== undefined && iterations === 1
      ? []
      : rows.map((row) => pairOfRow(row, settings, model.contextLength, initial ? 2 : 1));
  await planPairs(run, model, [...entered, ...sampled], { kind: 'spin', beta: at(beta, 0), sftWeight, loss });
}

/** Undefined of none. */
export function longestOf(groups: readonly Group[]): Group | undefined {
  return groups.reduce<Group | undefined>(
    (a, b) => (a === undefined || packedLength(b) > packedLength(a) ? b : a),
    undefined,
  );
}

/** A row with the longest answers that the opponent may give and that take part: the human's words, again and again. */
export function pairOfRow(
  { promptIds, responseIds }: Pick<Row, 'promptIds' | 'responseIds'>,
  { max_new_tokens, max_length, drop }: Pick<SpinSettings, 'max_new_tokens' | 'max_length' | 'drop'>,
  contextLength: number,
  answers: number,
): Group {
  const room = drop.includes('over-long') ? Math.min(max_length ?? contextLength, contextLength) : contextLength;
  const length = Math.max(1, Math.min(max_new_tokens, room - promptIds.length));
  const ids = Int32Array.from({ length }, (_, i) => responseIds[i % responseIds.length]!);
  return { promptIds, responses: [{ ids: responseIds }, ...Array.from({ length: answers }, () => ({ ids }))] };
}
