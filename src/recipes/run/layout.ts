/** Where things lie in a run directory. */
import { join } from 'node:path';

/** What would have to be the same for the same outcome: see lock.ts. */
export const LOCK = 'lock.json';
export const LOG = 'events.jsonl';
/** Lists the train rows whose prompts overlap with held-out ones; not there when none do. */
export const CONTAMINATION = 'contamination.jsonl';
/** What the preflight found; without it there was none, or it did not let the game begin. */
export const PREFLIGHT = 'preflight.json';

/** Leads to the model that is the best so far by the dev split. */
export const BEST = 'best';

/** In an iteration's folder, what the governor decided. */
export const DECISION = 'decision.json';

/** The directory name of iteration t. */
export const iterationName = (t: number) => `iteration-${t}`;

/** Where attempts at iterations lie that do not count. */
export const REJECTED = 'rejected';
export const rejectedName = (t: number, attempt: number) => join(REJECTED, `${iterationName(t)}-attempt-${attempt}`);

/** Where trial n of a probe lies, which is attempt n at its iteration 0. */
export const trialName = (n: number) => `trial-${n}`;

/** Where a stage of training keeps its checkpoints. */
export const CHECKPOINTS = 'checkpoints';

/** Where the controls of a game lie, each in a folder of its name. */
export const BASELINES = 'baselines';

/** What a person guessed who played the main player; not part of the game. */
export const TALLY = 'play.jsonl';
