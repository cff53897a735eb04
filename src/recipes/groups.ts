/** What an iteration learns from: its pairs and those that it replays, as groups of the loss. */
import { type Group, type Pair, pairGroup, type ScoredPair } from '../pairs/index.ts';
import { usesInitial } from '../training/index.ts';
import { readPairs } from './records.ts';
import { iterationName, type Run } from './run.ts';
import { lossOf } from './settings.ts';

/** The pairs of the iteration before, where the settings replay them. */
export async function replayedPairs({ settings, path }: Run<'run'>, t: number): Promise<Pair[]> {
  return settings.replay && t > 0 ? readPairs(path(iterationName(t - 1), 'pairs.jsonl')) : [];
}

/**
 * The pairs as groups, with the initial model's answer to the same prompt where the loss of iteration t asks for it. A
 * pair whose prompt that model took no part with in iteration 0 is left out then.
 */
export async function groupsOf<P extends Pair | ScoredPair>(
  { settings, path }: Run<'run'>,
  pairs: readonly P[],
  t: number,
): Promise<{ groups: Group[]; leftOut: number }> {
  if (!usesInitial(lossOf(settings, t))) return { groups: pairs.map((pair) => pairGroup(pair)), leftOut: 0 };
  const initial = new Map((await readPairs(path(iterationName(0), 'pairs.jsonl'))).map((p) => [p.id, p.generated]));
  const kept = pairs.filter(({ id }) => initial.has(id));
  return { groups: kept.map((pair) => pairGroup(pair, initial.get(pair.id))), leftOut: pairs.length - kept.length };
}
