/** What a run that was killed has on disk for good: from there on a resume supersedes its events. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { newestVerified } from '../../checkpoint/index.ts';
import { type RunEvent, readRunLog, type Stage } from '../../report/index.ts';
import { BASELINES, CHECKPOINTS, DECISION, iterationName, PREFLIGHT, rejectedName, trialName } from './layout.ts';

type Leaves = Record<Stage, ((folder: string, t: number | null) => string) | null>;

/** What a finished stage leaves on disk; null where its shards are all. It is written after the stage's last event. */
const LEAVES: Leaves = {
  prepare: (folder) => join(folder, 'pairs.jsonl'),
  generate: (folder) => join(folder, 'pairs.jsonl'),
  reference: null,
  train: (folder, t) => (t === null ? 'results.json' : join(folder, 'model')),
  evaluate: (folder, t) => join(t === null ? 'baseline' : folder, 'evaluation.json'),
};

/** The same of a control, which has no other stages. */
const BASELINE_LEAVES: Leaves = {
  prepare: null,
  generate: null,
  reference: null,
  train: (folder) => join(folder, 'model'),
  evaluate: (folder) => join(folder, 'evaluation.json'),
};

/** Where the event's stage may have left something: an attempt that was rolled back has moved; a trial is one as well. */
function foldersOf({ baseline, iteration: t, attempt }: RunEvent): string[] {
  if (baseline !== undefined) return [join(BASELINES, baseline, t === null ? '.' : iterationName(t))];
  return t === null ? ['.'] : [iterationName(t), rejectedName(t, attempt ?? 0), trialName(attempt ?? 0)];
}

function isDurable(directory: string, event: RunEvent): boolean {
  if (event.type === 'run.started') return true;
  if (event.type === 'preflight') return existsSync(join(directory, PREFLIGHT));
  const isThere = (nameIn: (folder: string, t: number | null) => string) =>
    foldersOf(event).some((folder) => existsSync(join(directory, nameIn(folder, event.iteration))));
  const leaves = event.baseline === undefined ? LEAVES : BASELINE_LEAVES;
  const stage = event.stage === null ? null : leaves[event.stage];
  if (event.type === 'governor.decided') return isThere((folder) => join(folder, DECISION));
  // The shards of a stage go when it is over.
  if (event.type === 'shard.finished')
    return existsSync(join(directory, event.file)) || (stage !== null && isThere(stage));
  return event.type === 'stage.finished' && event.stage !== null && (stage === null || isThere(stage));
}

/**
 * The seq from which events are superseded by a resume: what came after the last thing that is on disk for good (a
 * shard, what a stage leaves, or the newest training checkpoint).
 */
export async function lastDurable(directory: string, end: number): Promise<number> {
  let from = 0;
  for (const event of await readRunLog(directory)) {
    if (isDurable(directory, event)) from = event.seq + 1;
  }
  const names = await readdir(directory, { recursive: true });
  for (const folder of names.filter((name) => basename(name) === CHECKPOINTS)) {
    const newest = await newestVerified(join(directory, folder), 'step');
    if (!newest) continue;
    const { state } = JSON.parse(await readFile(join(newest.path, 'state.json'), 'utf8')) as { state: { seq: number } };
    from = Math.max(from, state.seq);
  }
  return Math.min(from, end);
}
