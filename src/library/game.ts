/** Runs as something that a program holds in its hand: followed, paused, talked to, stopped. */
import { resolve } from 'node:path';
import {
  type AddedBaselines,
  addBaselines,
  addedBaselinesSchema,
  type DpoInput,
  defaultDirectory,
  dpoSchema,
  fineTune,
  Interrupted,
  type ProbeInput,
  playSpin,
  probe as probeGame,
  probeSchema,
  type RecipeContext,
  type ResumeChanges,
  type RunOutcome,
  resumeRun,
  resumeSchema,
  type SftInput,
  type SpinInput,
  sftSchema,
  spinSchema,
  trainOnPairs,
} from '../recipes/index.ts';
import { type RunEvent, tailRunLog } from '../report/index.ts';
import { type Control, openDesk } from './desk.ts';
import { follow, openBell } from './follow.ts';
import { checked, contextOf, type Options } from './options.ts';

/**
 * A run under way; it begins with the call that returns this. As an iterable it gives the run's events, from the first
 * one of this call on, and then ends as the outcome does: it throws what went wrong. A loop that is left early stops the
 * run, and has come to its end when that is done.
 *
 * Events are read from the run's own log, which has them before any reader hears of them. So the run waits for no reader,
 * none misses an event, and what is not read yet takes no memory.
 */
export interface Game extends AsyncIterable<RunEvent>, Control {
  /** The run directory, absolute: for `resume`, and for everything that reads runs. */
  readonly directory: string;
  /** Rejects with Interrupted when the run was stopped, and with what went wrong. */
  readonly outcome: Promise<RunOutcome>;
  /** Stops at the next safe point with everything on disk, as Ctrl-C does; `resume` goes on there. */
  stop(): void;
}

/** Plays SPIN, as `selfplay run`. Throws a usage error for wrong settings. */
export const spin = (settings: SpinInput, options: Options = {}): Game =>
  begin(checked(spinSchema, settings), options, playSpin);

/** Fine-tunes on the human answers, as `selfplay sft`. Throws a usage error for wrong settings. */
export const sft = (settings: SftInput, options: Options = {}): Game =>
  begin(checked(sftSchema, settings), options, fineTune);

/** Trains on labelled pairs, as `selfplay dpo`. Throws a usage error for wrong settings. */
export const dpo = (settings: DpoInput, options: Options = {}): Game =>
  begin(checked(dpoSchema, settings), options, trainOnPairs);

/** Tries learning rates, values of β and losses, as `selfplay probe`. Throws a usage error for wrong settings. */
export const probe = (settings: ProbeInput, options: Options = {}): Game =>
  begin(checked(probeSchema, settings), options, probeGame);

/**
 * Adds controls to a finished game, as `selfplay baselines`.
 * @param only the controls that it is to have; default: all
 */
export function baselines(directory: string, only: AddedBaselines = {}, options: Options = {}): Game {
  const given = checked(addedBaselinesSchema, only);
  return open(directory, options, (context) => addBaselines(directory, given.only, context));
}

/**
 * Goes on with a run of `spin`, `sft`, `dpo` or `probe`, as `selfplay resume`.
 * @param changes another engine than the run's
 */
export function resume(directory: string, changes: ResumeChanges = {}, options: Options = {}): Game {
  const given = checked(resumeSchema, changes);
  return open(directory, options, (context) => resumeRun(directory, context, given));
}

/** A new run, in the directory that its settings name or one of its own. */
function begin<S extends { readonly model: string; readonly out?: string | undefined }>(
  settings: S,
  options: Options,
  play: (settings: S, context: RecipeContext) => Promise<RunOutcome>,
): Game {
  const out = settings.out ?? defaultDirectory(settings);
  return open(out, options, (context) => play({ ...settings, out }, context));
}

function open(out: string, options: Options, play: (context: RecipeContext) => Promise<RunOutcome>): Game {
  const directory = resolve(out);
  const stopping = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stopping.signal]) : stopping.signal;
  const bell = openBell();
  const desk = openDesk(signal);
  /** Seq of the first event of this call; before there is one, whatever the log has is older. */
  let first = Number.POSITIVE_INFINITY;
  const onEvent = ({ seq }: RunEvent) => {
    first = Math.min(first, seq);
    bell.ring();
  };
  const outcome = play({ ...contextOf(options), onEvent, signal, atRest: desk.attend }).finally(desk.close);
  const leave = async () => {
    stopping.abort();
    await outcome.catch((error: unknown) => {
      if (!(error instanceof Interrupted)) throw error;
    });
  };
  async function* events(): AsyncGenerator<RunEvent, void, undefined> {
    const next = tailRunLog(directory);
    const read = () => {
      for (;;) {
        if (first === Number.POSITIVE_INFINITY) return [];
        const found = next();
        const ours = found.filter(({ seq }) => seq >= first);
        if (ours.length > 0 || found.length === 0) return ours;
      }
    };
    yield* follow({ bell, read, outcome, leave });
  }
  const { pause, continue: goOn, chat } = desk;
  return {
    directory,
    outcome,
    [Symbol.asyncIterator]: events,
    stop: () => stopping.abort(),
    pause,
    continue: goOn,
    chat,
  };
}
