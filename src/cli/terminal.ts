// What the user sees while a command works: sentences, progress and events on stderr, results on stdout.
import { styleText } from 'node:util';
import type { Paint } from '../recipes/index.ts';
import { type Progress, progress, type RunEvent } from '../report/index.ts';
import { describeError } from '../util/index.ts';
import type { CliIo } from './io.ts';

/** The flags that every command has. */
export interface OutputOptions {
  readonly json?: boolean | undefined;
  readonly quiet?: boolean | undefined;
  readonly verbose?: boolean | undefined;
}

export interface Terminal {
  /** A sentence; not under --quiet. */
  say(sentence: string): void;
  /** What the user must see, under --quiet as well. */
  insist(sentence: string): void;
  /** An error; with its stack under --verbose. */
  fail(error: unknown): void;
  /** An event of a run: a line of JSON under --verbose; a warning also under --quiet. */
  event(event: RunEvent): void;
  /** Progress of a stage; none under --quiet. */
  progress(label: string, total: number, unit: string): Progress;
  /** The outcome, on stdout: as JSON under --json where it has any, else as text. */
  result(outcome: { json: unknown; text: string }): void;
}

const CLEAR_LINE = '\r\u001b[K';
const SILENT: Progress = { advance: () => undefined, done: () => undefined };

const STYLES = { prompt: 'dim', response: 'green', end: ['black', 'bgYellow'] } as const;

/** How rows look on stdout: in colour on a terminal, and not with NO_COLOR; undefined without colour. */
export function paintFor({ stdout, env }: Pick<CliIo, 'stdout' | 'env'>): Paint | undefined {
  if (stdout.isTTY !== true || env['TERM'] === 'dumb' || (env['NO_COLOR'] ?? '') !== '') return undefined;
  return (part, text) => styleText([STYLES[part]].flat(), text, { validateStream: false });
}

/** The terminal of one command. Colour only on a terminal, and not with NO_COLOR. */
export function terminalOf(io: CliIo, { json = false, quiet = false, verbose = false }: OutputOptions): Terminal {
  const live = io.stderr.isTTY === true && io.env['TERM'] !== 'dumb';
  const colour = live && (io.env['NO_COLOR'] ?? '') === '';
  const styled = (style: Parameters<typeof styleText>[0], text: string): string =>
    colour ? styleText(style, text, { validateStream: false }) : text;
  /** Progress bars being drawn: a sentence between two drawings must clear the line first. */
  let bars = 0;
  const line = (text: string) => io.stderr.write(`${live && bars > 0 ? CLEAR_LINE : ''}${text}\n`);

  return {
    say(sentence) {
      if (!quiet) line(sentence);
    },
    insist: line,
    fail(error) {
      line(`${styled(['bold', 'red'], 'error:')} ${describeError(error)}`);
      if (verbose && error instanceof Error && error.stack !== undefined) line(styled('dim', error.stack));
    },
    event(event) {
      if (verbose) line(styled('dim', JSON.stringify(event)));
      else if (quiet && event.type === 'warning') line(`${styled('yellow', 'warning:')} ${event.message}`);
    },
    progress(label, total, unit) {
      if (quiet) return SILENT;
      const { advance, done } = progress({ label, total, unit, stream: io.stderr, env: io.env });
      let ended = false;
      bars++;
      return {
        advance,
        done() {
          if (!ended) bars--;
          ended = true;
          done();
        },
      };
    },
    result(outcome) {
      const text = json && outcome.json !== undefined ? JSON.stringify(outcome.json, null, 1) : outcome.text;
      if (text !== '') io.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
    },
  };
}
