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

const isLive = (stream: { isTTY?: boolean }, env: CliIo['env']) => stream.isTTY === true && env['TERM'] !== 'dumb';

/** A text in colour. */
export type Styled = (style: Parameters<typeof styleText>[0], text: string) => string;

/** Colours for a stream: only on a terminal, and not with NO_COLOR; undefined without colour. */
function stylesFor(stream: { isTTY?: boolean }, env: CliIo['env']): Styled | undefined {
  if (!isLive(stream, env) || (env['NO_COLOR'] ?? '') !== '') return undefined;
  return (style, text) => styleText(style, text, { validateStream: false });
}

/** As `stylesFor`; without colour a text stays as it is. */
export const stylesOf = (stream: { isTTY?: boolean }, env: CliIo['env']): Styled =>
  stylesFor(stream, env) ?? ((_, text) => text);

/** How rows look on stdout; undefined without colour. */
export function paintFor({ stdout, env }: Pick<CliIo, 'stdout' | 'env'>): Paint | undefined {
  const styled = stylesFor(stdout, env);
  return styled && ((part, text) => styled([STYLES[part]].flat(), text));
}

/** C0 controls but tab and line feed, DEL, C1 controls; marks that reorder what is shown. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/**
 * A text that comes from a model or from data, as a terminal may show it: what would move the cursor, change its colours or
 * reorder the line is shown as a picture (U+241B for ESC) or a code instead.
 */
export function harmless(text: string): string {
  return text.replace(UNSAFE, (character) => {
    const code = character.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? '\u2421' : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}

/** The terminal of one command. Colour only on a terminal, and not with NO_COLOR. */
export function terminalOf(io: CliIo, { json = false, quiet = false, verbose = false }: OutputOptions): Terminal {
  const live = isLive(io.stderr, io.env);
  const styled = stylesOf(io.stderr, io.env);
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
