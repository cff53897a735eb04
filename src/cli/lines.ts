// Lines that a person types, or that come through a pipe, one at a time. On a terminal they can be edited; what is typed while
// something else is being printed is not echoed in its midst, but shows up at the next prompt.

import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import type { CliIo } from './io.ts';

export interface Lines {
  /** Whether a person types at a terminal. */
  readonly isTyped: boolean;
  /** The next line; null when there are no more. The prompt is shown on a terminal only, and again after a remark. */
  readonly next: (prompt: () => string) => Promise<string | null>;
  /** Shows a remark above the line that is being typed, if one is. */
  readonly remark: (text: string) => void;
  /** No more lines are wanted; a `next` that waits gives null. */
  readonly close: () => void;
}

/** @param onInterrupt Ctrl-C, or the signal that it sends where there is no terminal */
export function openLines(
  { stdin, stdout, stderr, signals }: Pick<CliIo, 'stdin' | 'stdout' | 'stderr' | 'signals'>,
  onInterrupt: () => void,
): Lines {
  const isTyped = stdin.isTTY === true;
  const screen = stdout.isTTY === true ? stdout : stderr;
  let isMuted = true;
  const output = new Writable({
    decodeStrings: false,
    write: (text: string, _encoding, done) => {
      if (!isMuted) screen.write(text);
      done();
    },
  });
  Object.defineProperty(output, 'columns', { get: () => screen.columns ?? 80 });
  const reader = createInterface({ input: stdin, output, terminal: isTyped, crlfDelay: Number.POSITIVE_INFINITY });

  const lines: string[] = [];
  let waiting: ((line: string | null) => void) | undefined;
  let isOver = false;
  let showPrompt: () => void = () => undefined;
  const give = (line: string | null) => {
    isMuted = true;
    const resolve = waiting;
    waiting = undefined;
    resolve?.(line);
  };
  reader.on('line', (line) => {
    if (waiting) give(line);
    else lines.push(line);
  });
  reader.on('close', () => {
    isOver = true;
    // The cursor stands behind a prompt.
    if (waiting && isTyped) screen.write('\n');
    give(null);
  });
  reader.on('SIGINT', onInterrupt);
  signals.on('SIGINT', onInterrupt);
  reader.on('close', () => signals.off('SIGINT', onInterrupt));

  return {
    isTyped,
    next: (prompt) => {
      const typedAhead = lines.shift();
      if (typedAhead !== undefined) {
        if (isTyped) screen.write(`${prompt()}${typedAhead}\n`);
        return Promise.resolve(typedAhead);
      }
      if (isOver) return Promise.resolve(null);
      return new Promise((resolve) => {
        waiting = resolve;
        if (!isTyped) return;
        isMuted = false;
        showPrompt = () => {
          reader.setPrompt(prompt());
          reader.prompt(true);
        };
        showPrompt();
      });
    },
    remark: (text) => {
      const isAsking = waiting !== undefined && isTyped;
      screen.write(`${isAsking ? '\n' : ''}${text}\n`);
      if (isAsking) showPrompt();
    },
    close: () => reader.close(),
  };
}
