/** Goes on with a run directory, whichever recipe wrote it. */
import type { RecipeContext } from './context.ts';
import type { RunOutcome } from './outcome.ts';
import { tryAll } from './probe.ts';
import { reopenRun } from './run.ts';
import type { ResumeChanges } from './settings.ts';
import { tune } from './sft.ts';
import { play } from './spin.ts';

/**
 * Throws a usage error when the directory holds no run, when its model or data have changed, or when its engine is not
 * there any more and `changes` do not say to go on with another.
 */
export function resumeRun(directory: string, context: RecipeContext, changes: ResumeChanges = {}): Promise<RunOutcome> {
  return reopenRun(directory, context, changes, { run: play, sft: tune, probe: tryAll });
}
