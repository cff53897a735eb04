/** The longest pair that a game can come to train on: from the user's rows before there is a sample, or from given pairs. */
import type { LanguageModel } from '../models/index.ts';
import { type Group, packedLength, pairGroup } from '../pairs/index.ts';
import { usesInitial } from '../training/index.ts';
import { exists } from '../util/index.ts';
import { iterationName } from './layout.ts';
import { readPairs } from './records.ts';
import type { Row } from './rows.ts';
import type { Run } from './run.ts';
import { lossOf, type SpinSettings } from './settings.ts';

/** Undefined when there is neither a row nor a pair. References are all 0. */
export async function longestPair(
  run: Run<'run'>,
  model: LanguageModel,
  rows: readonly Row[],
): Promise<Group | undefined> {
  const { settings } = run;
  const initial = usesInitial(lossOf(settings, 1));
  const entered: Group[] = [];
  for (const t of [settings.start_iteration - 1, settings.start_iteration]) {
    const file = run.path(iterationName(t), 'pairs.jsonl');
    if (t < 0 || !(await exists(file))) continue;
    for (const pair of await readPairs(file)) entered.push(pairGroup(pair, initial ? pair.generated : undefined));
  }
  // Where all pairs come from files, the rows are not answered.
  const sampled =
    settings.pairs !== undefined && settings.iterations === 1
      ? []
      : rows.map((row) => pairOfRow(row, settings, model.contextLength, initial ? 2 : 1));
  const longest = longestOf([...entered, ...sampled]);
  return longest && { ...longest, responses: longest.responses.map(withReference) };
}

const withReference = ({ ids }: { readonly ids: Int32Array }) => ({ ids, reference: new Float32Array(ids.length) });

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
