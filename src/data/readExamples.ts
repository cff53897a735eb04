// A dataset file (JSON lines or one JSON array) -> examples. Rows that cannot be used are left out and reported; a file in which
// they are more than a few is refused, because then the format is probably not what the user thinks.

import { shownPath } from '../hub/index.ts';
import { canonicalJson, hashFile, sha256Hex, usageError } from '../util/index.ts';
import { readRows } from './readRows.ts';
import { type Columns, type Message, type RowFormat, recogniseFormat, type Turns } from './rows.ts';

/** A row that can be played on. */
export interface Example {
  /** Hash of the content, with "-2", "-3", ... for further rows of the same content: independent of row order and limits. */
  id: string;
  /** The file that it is from, and its line there, from 1. */
  file: string;
  line: number;
  /** Ends with a user message. */
  prompt: Message[];
  response: string;
}

/** A row that was left out. */
export interface SkippedRow {
  file: string;
  line: number;
  reason: string;
}

/** The outcome of reading a file. `rows` counts used and skipped rows; `sha256` is that of the whole file, in hex; of several files that of
 * their hashes, a line each. */
export interface Dataset {
  examples: Example[];
  /** "messages", or the columns as "prompt/completion". */
  format: string;
  rows: number;
  skipped: SkippedRow[];
  /** Rounds of chats that the rule for turns leaves out, and of how many rows they are. */
  unused: { answers: number; rows: number };
  sha256: string;
}

/** Share of rows that may be unusable before the file is refused. */
const MAX_SKIPPED_SHARE = 0.05;
/** Rows without known columns after which the search for the format is given up. */
const MAX_EARLY_ROWS = 100;
const SHOWN = 5;

/**
 * Reads dataset files, which count as one: all have the same format. The first row with a known set of columns decides the format: {"messages"},
 * {"prompt","completion"} (texts, or lists of messages), {"question","answer"}, {"conversations"} (ShareGPT),
 * {"instruction","input","output"} (Alpaca), the right one of {"real","generated"} or {"chosen","rejected"}, or the columns named; of chats
 * `turns` says which rounds count (rows.ts). Rows without a prompt or an
 * answer, with empty ones, wrong roles or invalid Unicode are skipped with line and reason.
 * With `lenient` any share of them may be.
 * Usage errors: no such file, unknown columns (those seen are listed), no usable row, more than 5 % skipped (the first five are
 * shown). Invalid JSON is a failure with file:line.
 */
export async function readExamples(
  given: string | readonly string[],
  options: { columns?: Columns; turns?: Turns; lenient?: boolean } = {},
): Promise<Dataset> {
  const files = typeof given === 'string' ? [given] : given;
  const name = filesInWords(files);
  const examples: Example[] = [];
  const skipped: SkippedRow[] = [];
  const unused = { answers: 0, rows: 0 };
  const seenColumns = new Set<string>();
  const occurrences = new Map<string, number>();
  const early: { file: string; line: number; row: Readonly<Record<string, unknown>> }[] = [];
  let format: RowFormat | undefined;
  let rows = 0;
  const use = (known: RowFormat, file: string, line: number, row: Readonly<Record<string, unknown>>): void => {
    const parsed = known.parse(row);
    if ('reason' in parsed) {
      skipped.push({ file, line, reason: parsed.reason });
      return;
    }
    if (parsed.unused > 0) {
      unused.answers += parsed.unused;
      unused.rows++;
    }
    for (const round of parsed.rounds) {
      const content = contentId(round.prompt, round.response);
      const count = (occurrences.get(content) ?? 0) + 1;
      occurrences.set(content, count);
      examples.push({ id: count === 1 ? content : `${content}-${count}`, file, line, ...round });
    }
  };
  for (const file of files) {
    for await (const { line, value } of await readRows(file)) {
      rows++;
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        skipped.push({ file, line, reason: 'the row is not a JSON object' });
        continue;
      }
      const row = value as Readonly<Record<string, unknown>>;
      if (format === undefined) {
        format = recogniseFormat(row, options.columns, options.turns);
        if (format === undefined) {
          for (const column of Object.keys(row)) seenColumns.add(column);
          early.push({ file, line, row });
          if (early.length === MAX_EARLY_ROWS) throw unknownColumns(name, seenColumns, options.columns);
          continue;
        }
        // Rows before the first one with all columns are read the same way; each lacks a column and says which.
        for (const one of early) use(format, one.file, one.line, one.row);
      }
      use(format, file, line, row);
    }
  }
  if (rows === 0) throw usageError({ what: 'the data file has no rows', where: name, fix: 'name a file with data' });
  if (format === undefined && early.length > 0) throw unknownColumns(name, seenColumns, options.columns);
  if (!(options.lenient === true && examples.length > 0)) refuseIfTooMany(name, rows, skipped, examples.length);
  return { examples, format: (format as RowFormat).name, rows, skipped, unused, sha256: await hashOf(files) };
}

/** Stable identity of an example's content: 64 bits of SHA-256, in hex. */
export function contentId(prompt: readonly Message[], response: string): string {
  return sha256Hex(canonicalJson({ prompt, response })).slice(0, 16);
}

/** A name for several files: the first one, and how many more there are. */
export function filesInWords(files: readonly string[]): string {
  const first = shownPath(files[0]!);
  return files.length === 1 ? first : `${first} and ${files.length - 1} more`;
}

/** SHA-256 of a file, or of the hashes of several, a line each; in hex. */
async function hashOf(files: readonly string[]): Promise<string> {
  const hashes: string[] = [];
  for (const file of files) hashes.push((await hashFile(file)).sha256);
  return hashes.length === 1 ? hashes[0]! : sha256Hex(hashes.join('\n'));
}

function unknownColumns(file: string, seen: ReadonlySet<string>, wanted: Columns | undefined): Error {
  const list = [...seen].map((name) => JSON.stringify(name)).join(', ') || '(none)';
  const missing =
    wanted === undefined ? 'none of the known sets of columns' : `not both "${wanted.prompt}" and "${wanted.response}"`;
  return usageError({
    what: `the rows have the columns ${list}: ${missing}`,
    where: file,
    fix:
      'name yours with --prompt-column and --response-column, or write "{column} and {column}" there (known without: messages; ' +
      'conversations; prompt and completion; question and answer; instruction and output; real and generated; chosen and rejected)',
  });
}

/** Whether so many rows are left out that a file is refused. */
export const isTooMany = (skipped: readonly SkippedRow[], rows: number): boolean =>
  skipped.length > rows * MAX_SKIPPED_SHARE;

function refuseIfTooMany(file: string, rows: number, skipped: readonly SkippedRow[], usable: number): void {
  if (usable > 0 && !isTooMany(skipped, rows)) return;
  const shown = skipped.slice(0, SHOWN).map((one) => `    ${one.file}:${one.line}: ${one.reason}`);
  const more = skipped.length > SHOWN ? [`    and ${skipped.length - SHOWN} more`] : [];
  throw usageError({
    what: [`${skipped.length} of ${rows} rows cannot be used (at most 5 % may be):`, ...shown, ...more].join('\n'),
    where: file,
    fix: 'correct or remove these rows, or name the right columns with --prompt-column and --response-column',
  });
}
