/** Goes on with a run directory, whichever recipe wrote it. */
import type { RecipeContext } from './context.ts';
import type { RunOutcome } from './outcome.ts';
import { reopenRun } from './run.ts';
import { tune } from './sft.ts';
import { play } from './spin.ts';

/** Throws a usage error when the directory holds no run, or its model or data have changed. */
export function resumeRun(directory: string, context: RecipeContext): Promise<RunOutcome> {
  return reopenRun(directory, context, { run: play, sft: tune });
}
