// One command from its preparation to its exit status: errors, signals, and what is printed at the end.
import type { RecipeContext } from '../recipes/index.ts';
import { describeError, exitCode, isStopped } from '../util/index.ts';
import type { Outcome } from './commands.ts';
import type { CliIo } from './io.ts';
import type { Recipes } from './recipes.ts';
import { listenForStop, type Stop } from './stop.ts';
import { type OutputOptions, type Terminal, terminalOf } from './terminal.ts';
import type { Words } from './words.ts';

/** What a command does once nothing is found wrong with what it was given. */
export type Work = (context: RecipeContext) => Promise<Outcome>;

/** What a command that a person talks with does it on. */
export interface Stage {
  readonly io: CliIo;
  readonly terminal: Terminal;
  readonly output: OutputOptions;
  readonly recipes: Recipes;
}

interface Command {
  readonly io: CliIo;
  readonly words: Words;
  readonly output: OutputOptions;
}

/** Prepares and does the work, and prints what came of it. Never throws. @returns exit status */
export async function performWork(
  { io, words, output }: Command,
  prepare: (terminal: Terminal) => Promise<Work>,
): Promise<number> {
  const terminal = terminalOf(io, output);
  let stop: Stop | undefined;
  try {
    const work = await prepare(terminal);
    const stopping = words.saves ? 'finishing the step and saving' : 'stopping';
    if (!words.talks) stop = listenForStop(io, () => terminal.insist(`${stopping} (Ctrl-C again to stop at once)`));
    const { progress, say, event } = terminal;
    const outcome = await work({ progress, say, onEvent: event, ...(stop ? { signal: stop.signal } : {}) });
    terminal.result(outcome);
    outcome.sentences.forEach(say);
    return outcome.status ?? 0;
  } catch (error) {
    const stopped = stop?.status();
    // Where there is something to save, not every error says that it was saved.
    if (stopped !== undefined && (!words.saves || isStopped(error))) {
      terminal.insist(describeError(error));
      return stopped;
    }
    terminal.fail(error);
    return exitCode(error);
  } finally {
    stop?.release();
  }
}
