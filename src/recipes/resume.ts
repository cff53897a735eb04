/** Goes on with a run directory, whichever recipe wrote it. */
import { usageError } from '../util/index.ts';
import type { RecipeContext } from './context.ts';
import type { RunOutcome } from './outcome.ts';
import { reopenRun } from './run.ts';
import { type BaselinesSettings, baselinesOf, type ResumeChanges } from './settings.ts';
import { tune } from './sft.ts';
import { play } from './spin.ts';

/**
 * Throws a usage error when the directory holds no run, when its model or data have changed, or when its engine is not
 * there any more and `changes` do not say to go on with another.
 */
export function resumeRun(directory: string, context: RecipeContext, changes: ResumeChanges = {}): Promise<RunOutcome> {
  return reopenRun(directory, context, changes, { run: play, sft: tune });
}

/**
 * Makes the controls that `wanted` names, for a game that is played; those that it has stay in the table. A game that is not
 * over is played to its end first. Throws a usage error for a run that is no game, or that lacks what a control needs.
 */
export function addBaselines(
  directory: string,
  wanted: BaselinesSettings,
  context: RecipeContext,
): Promise<RunOutcome> {
  const noGame = async (): Promise<never> => {
    throw usageError({
      what: 'baselines stand beside a game, and this is none',
      where: directory,
      fix: 'give the directory of a `selfplay run`',
    });
  };
  return reopenRun(directory, context, {}, {
    run: (run) => play(run, baselinesOf({ baselines: [...run.settings.baselines, ...wanted.baselines] })),
    sft: noGame,
  });
}
