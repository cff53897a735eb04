// A dataset file (JSON lines or one JSON array) -> examples. Rows that cannot be used are left out and reported; a file in which
// they are more than a few is refused, because then the format is probably not what the user thinks.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { canonicalJson, sha256Hex, usageError } from '../util/index.ts';
import { readJsonRows } from './jsonRows.ts';
import { type Columns, type Message, type RowFormat, recogniseFormat } from './rows.ts';

/** A row that can be played on. */
export interface Example {
  /** Hash of the content, with "-2", "-3", ... for further rows of the same content: independent of row order and limits. */
  id: string;
  /** Line of the file, from 1. */
  line: number;
  /** Ends with a user message. */
  prompt: Message[];
  response: string;
}

/** A row that was left out. */
export interface SkippedRow {
  line: number;
  reason: string;
}

/** The outcome of reading a file. `rows` counts used and skipped rows; `sha256` is that of the whole file, in hex. */
export interface Dataset {
  examples: Example[];
  /** "messages", or the two columns as "prompt/completion". */
  format: string;
  rows: number;
  skipped: SkippedRow[];
  sha256: string;
}

/** Share of rows that may be unusable before the file is refused. */
const MAX_SKIPPED_SHARE = 0.05;
/** Rows without known columns after which the search for the format is given up. */
const MAX_EARLY_ROWS = 100;
const SHOWN = 5;

/**
 * Reads a dataset file. The first row with a known set of columns decides the format: {"messages"} (of each chat the first
 * round: a leading system message and the first user message are the prompt, the assistant's answer to it the response),
 * {"prompt","completion"} (texts, or lists of messages), {"question","answer"}, or the columns named. Rows without a prompt or an
 * answer, with empty ones, wrong roles or invalid Unicode are skipped with line and reason.
 * Usage errors: no such file, unknown columns (those seen are listed), no usable row, more than 5 % skipped (the first five are
 * shown). Invalid JSON is a failure with file:line.
 */
export async function readExamples(file: string, options: { columns?: Columns } = {}): Promise<Dataset> {
  const source = await readJsonRows(file);
  const examples: Example[] = [];
  const skipped: SkippedRow[] = [];
  const seenColumns = new Set<string>();
  const occurrences = new Map<string, number>();
  const early: { line: number; row: Readonly<Record<string, unknown>> }[] = [];
  let format: RowFormat | undefined;
  let rows = 0;
  const use = (known: RowFormat, line: number, row: Readonly<Record<string, unknown>>): void => {
    const parsed = known.parse(row);
    if ('reason' in parsed) {
      skipped.push({ line, reason: parsed.reason });
      return;
    }
    const content = contentId(parsed.prompt, parsed.response);
    const count = (occurrences.get(content) ?? 0) + 1;
    occurrences.set(content, count);
    examples.push({ id: count === 1 ? content : `${content}-${count}`, line, ...parsed });
  };
  for await (const { line, value } of source) {
    rows++;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      skipped.push({ line, reason: 'the row is not a JSON object' });
      continue;
    }
    const row = value as Readonly<Record<string, unknown>>;
    if (format === undefined) {
      format = recogniseFormat(row, options.columns);
      if (format === undefined) {
        for (const name of Object.keys(row)) seenColumns.add(name);
        early.push({ line, row });
        if (early.length === MAX_EARLY_ROWS) throw unknownColumns(file, seenColumns, options.columns);
        continue;
      }
      // Rows before the first one with all columns are read the same way; each lacks a column and says which.
      for (const one of early) use(format, one.line, one.row);
    }
    use(format, line, row);
  }
  if (rows === 0) throw usageError({ what: 'the data file has no rows', where: file, fix: 'name a file with data' });
  if (format === undefined && early.length > 0) throw unknownColumns(file, seenColumns, options.columns);
  refuseIfTooMany(file, rows, skipped, examples.length);
  return { examples, format: (format as RowFormat).name, rows, skipped, sha256: await hashOf(file) };
}

/** Stable identity of an example's content: 64 bits of SHA-256, in hex. */
export function contentId(prompt: readonly Message[], response: string): string {
  return sha256Hex(canonicalJson({ prompt, response })).slice(0, 16);
}

async function hashOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file) as AsyncIterable<Uint8Array>) hash.update(chunk);
  return hash.digest('hex');
}

function unknownColumns(file: string, seen: ReadonlySet<string>, wanted: Columns | undefined): Error {
  const list = [...seen].map((name) => JSON.stringify(name)).join(', ') || '(none)';
  const missing =
    wanted === undefined ? 'none of the known sets of columns' : `not both "${wanted.prompt}" and "${wanted.response}"`;
  return usageError({
    what: `the rows have the columns ${list}: ${missing}`,
    where: file,
    fix: 'name yours with --prompt-column and --response-column (known without: prompt and completion; messages; question and answer)',
  });
}

function refuseIfTooMany(file: string, rows: number, skipped: readonly SkippedRow[], usable: number): void {
  if (usable > 0 && skipped.length <= rows * MAX_SKIPPED_SHARE) return;
  const shown = skipped.slice(0, SHOWN).map(({ line, reason }) => `    ${file}:${line}: ${reason}`);
  const more = skipped.length > SHOWN ? [`    and ${skipped.length - SHOWN} more`] : [];
  throw usageError({
    what: [`${skipped.length} of ${rows} rows cannot be used (at most 5 % may be):`, ...shown, ...more].join('\n'),
    where: file,
    fix: 'correct or remove these rows, or name the right columns with --prompt-column and --response-column',
  });
}
