/** Goes on with a run directory, whichever recipe wrote it. */
import { usageError } from '../util/index.ts';
import { prefer } from './dpo.ts';
import type { RunOutcome } from './game/outcome.ts';
import { tryAll } from './probe.ts';
import type { RecipeContext } from './run/context.ts';
import { readManifest } from './run/manifest.ts';
import { type Run, reopenRun } from './run/run.ts';
import { type BaselineChoice, baselinesOf, type ResumeChanges } from './settings/settings.ts';
import { tune } from './sft.ts';
import { play } from './spin.ts';

const bodies = { run: (run: Run<'run'>) => play(run), sft: tune, dpo: prefer, probe: tryAll };

/**
 * Throws a usage error when the directory holds no run, when its model or data have changed, or when its engine is not
 * there any more and `changes` do not say to go on with another.
 */
export function resumeRun(directory: string, context: RecipeContext, changes: ResumeChanges = {}): Promise<RunOutcome> {
  return reopenRun(directory, context, changes, bodies);
}

/**
 * Makes the controls that `wanted` names, for a game that is played; those that it has stay in the table. A game that is not
 * over is played to its end first. Throws a usage error for a run that is no game, or that lacks what a control needs.
 */
export async function addBaselines(
  directory: string,
  wanted: readonly BaselineChoice[],
  context: RecipeContext,
): Promise<RunOutcome> {
  const { command } = await readManifest(directory);
  if (command !== 'run') {
    throw usageError({
      what: `baselines stand beside a game, and this is a run of \`selfplay ${command}\``,
      where: directory,
      fix: 'give the directory of a `selfplay run`',
    });
  }
  const withBaselines = (run: Run<'run'>) =>
    play(run, { baselines: baselinesOf([...run.settings.baselines, ...wanted]) });
  return reopenRun(directory, context, {}, { ...bodies, run: withBaselines });
}
