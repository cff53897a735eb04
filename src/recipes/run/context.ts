/** What a recipe is given besides its settings: where to report, and how to be stopped. */
import type { Progress, RunEvent } from '../../report/index.ts';
import { failure, SelfplayError } from '../../util/index.ts';
import type { OpenEngine } from './engines.ts';
import type { Seat } from './rest.ts';

export interface RecipeContext {
  /** Starts a progress display for a long stage. */
  readonly progress: (label: string, total: number, unit: string) => Progress;
  /** A sentence for the user, as the recipe reaches it (also in the log as an event). */
  readonly say: (sentence: string) => void;
  /** Every event, after it is on disk. */
  readonly onEvent?: (event: RunEvent) => void;
  /** Aborted: the recipe finishes its step, saves and throws Interrupted. */
  readonly signal?: AbortSignal;
  /** Called at every safe point of a run, which goes on when it resolves and fails when it throws. */
  readonly atRest?: (seat: Seat) => Promise<void>;
  /** Opens engines in place of the usual ones. */
  readonly openEngine?: OpenEngine;
}

/** Thrown when a signal stopped a recipe; everything done so far is on disk. */
export class Interrupted extends SelfplayError {
  constructor(runDirectory: string) {
    const fix = `selfplay resume ${runDirectory}`;
    super('failure', { what: 'stopped as asked; nothing is lost', fix, code: 'stopped' });
  }
}

/** For work that leaves nothing to go on with. Throws when the user has asked for the end. */
export function stopIfAsked(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw failure({ what: 'stopped as asked', fix: 'run the command again', code: 'stopped' });
  }
}
