// Ctrl-C in a conversation: the first one stops the answer that is being written, a second one leaves.
import type { CliIo } from './io.ts';
import { type Lines, openLines } from './lines.ts';

/** Exit status of a command that SIGINT ended. */
const STATUS = 130;
const HOW_TO_LEAVE = '(Ctrl-C again, Ctrl-D or /exit leaves)';

export interface Leaving {
  readonly lines: Lines;
  /** Does work that Ctrl-C stops by its signal. */
  readonly stoppable: <T>(work: (signal: AbortSignal) => Promise<T>) => Promise<T>;
  /** Exit status: 130 when Ctrl-C ended it. */
  readonly status: () => number;
}

/** @param onFirst what the first Ctrl-C does where nothing is to be stopped, in a word for the user; undefined: nothing */
export function openLeaving(io: CliIo, onFirst: () => string | undefined = () => undefined): Leaving {
  let working: AbortController | undefined;
  let isSecond = false;
  let hasLeft = false;
  const interrupt = () => {
    if (!isSecond) {
      const done = working ? undefined : onFirst();
      isSecond = done === undefined;
      if (working) working.abort();
      else lines.remark(done ?? HOW_TO_LEAVE);
      return;
    }
    hasLeft = true;
    lines.close();
    // What does not stop at once is not waited for: there is nothing to be lost.
    if (working) io.exit(STATUS);
  };
  const lines = openLines(io, interrupt);
  return {
    lines: {
      ...lines,
      next: async (prompt) => {
        const line = await lines.next(prompt);
        // Lines of a file come by themselves.
        if (lines.isTyped) isSecond = false;
        return line;
      },
    },
    stoppable: async (work) => {
      working = new AbortController();
      try {
        return await work(working.signal);
      } finally {
        working = undefined;
      }
    },
    status: () => (hasLeft ? STATUS : 0),
  };
}
