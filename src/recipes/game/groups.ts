/** What an iteration learns from: its pairs and those that it replays, as groups of the loss. */
import { type Group, type Pair, pairGroup, type ScoredPair } from '../../pairs/index.ts';
import { usesInitial } from '../../training/index.ts';
import { iterationName } from '../run/layout.ts';
import { readPairs } from '../run/records.ts';
import type { Run } from '../run/run.ts';
import { normalized, replayedIn } from '../settings/schedules.ts';
import { lossOf } from '../settings/settings.ts';

/** The pairs of an earlier iteration, each of which counts `weight` times as much as a new one. */
export interface Replayed {
  readonly iteration: number;
  readonly weight: number;
  readonly pairs: readonly Pair[];
}

const pairsOf = ({ path }: Run<'run'>, t: number) => readPairs(path(iterationName(t), 'pairs.jsonl'));

/** What the settings replay in iteration t, the last iteration first. */
export function replayedPairs(run: Run<'run'>, t: number): Promise<Replayed[]> {
  return Promise.all(
    replayedIn(run.settings, t).map(async (earlier) => ({ ...earlier, pairs: await pairsOf(run, earlier.iteration) })),
  );
}

/**
 * The pairs that iteration t learns from as groups, with the weights of the replayed ones; without unequal weights no group
 * has any. Where the loss asks for it, each has the initial model's answer to the same row: of several that with the
 * pair's own number, else any. A pair to whose row none took part in iteration 0 is left out then.
 */
export async function groupsOf<P extends Pair | ScoredPair>(
  run: Run<'run'>,
  pairs: readonly P[],
  t: number,
): Promise<{ groups: Group[]; leftOut: number }> {
  const lined = usesInitial(lossOf(run.settings, t))
    ? withInitial(pairs, await pairsOf(run, 0))
    : pairs.map((pair) => ({ pair, group: pairGroup(pair) }));
  const weightOf = new Map(replayedIn(run.settings, t).map(({ iteration, weight }) => [iteration, weight]));
  const weights = normalized(lined.map(({ pair }) => weightOf.get(pair.iteration) ?? 1));
  const groups = lined.map(({ group }, i) => (weights[i] === 1 ? group : { ...group, weight: weights[i]! }));
  return { groups, leftOut: pairs.length - groups.length };
}

function withInitial<P extends Pair | ScoredPair>(pairs: readonly P[], initial: readonly Pair[]) {
  const answers = new Map<string, Pair[]>();
  for (const pair of initial) answers.set(pair.id, [...(answers.get(pair.id) ?? []), pair]);
  return pairs.flatMap((pair) => {
    const own = answers.get(pair.id) ?? [];
    const answer = own.find(({ sample }) => sample === pair.sample) ?? own[pair.sample % own.length];
    return answer ? [{ pair, group: pairGroup(pair, answer.generated) }] : [];
  });
}
