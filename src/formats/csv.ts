// CSV and TSV as RFC 4180 has them: quoted fields may hold separators, quotes (doubled) and line ends. The first record names
// the columns. What breaks these rules is a failure with file:line; lines are counted as an editor does.
import { Readable } from 'node:stream';
import { failure, usageError } from '../util/index.ts';
import { fileBytes } from './bytes.ts';
import type { JsonLine } from './jsonl.ts';

/** Longest record that is read, in characters. */
const MAX_RECORD = 64 * 1024 * 1024;

/** What csv-parse gives with `raw`: the record as it stands in the file, with blank lines before it and its line end. */
interface Parsed {
  readonly record: readonly string[];
  readonly raw: string;
}

const LINE_END = /\r\n|\n|\r/g;

/** The records as objects by column, all values texts; `line` is the one on which a record begins. */
export async function* readSeparated(file: string, separator: ',' | '\t'): AsyncGenerator<JsonLine, void, undefined> {
  const { CsvError, parse } = await import('csv-parse');
  const parser = parse({
    delimiter: separator,
    bom: true,
    raw: true,
    skip_empty_lines: true,
    relax_column_count: true,
    max_record_size: MAX_RECORD,
  });
  const source = Readable.from(texts(file), { objectMode: true });
  source.on('error', (error) => parser.destroy(error)).pipe(parser);
  let columns: readonly string[] | undefined;
  let before = 0;
  try {
    for await (const { record, raw } of parser as AsyncIterable<Parsed>) {
      const blank = /^[\r\n]*/.exec(raw.replace(/^\ufeff/, ''))![0];
      const line = before + (blank.match(LINE_END)?.length ?? 0) + 1;
      before += raw.match(LINE_END)?.length ?? 0;
      if (columns === undefined) {
        columns = named(record, file, line);
        continue;
      }
      if (record.length !== columns.length) {
        throw failure({
          what: `the record has ${record.length} fields, and there are ${columns.length} columns (${columns.join(', ')})`,
          where: `${file}:${line}`,
          fix: `correct it; a field with ${separator === ',' ? 'commas' : 'tabs'}, quotes or line ends stands in double quotes`,
        });
      }
      yield { line, value: Object.fromEntries(columns.map((name, i) => [name, record[i]])) };
    }
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    // The bytes of the records before the one that is wrong.
    const { bytes } = error as unknown as { bytes: number };
    const reason = error.message.replace(/ at line \d+/, '');
    throw failure({
      what: `not valid ${separator === ',' ? 'CSV' : 'TSV'}, in the record that begins here: ${reason}`,
      where: `${file}:${await lineAfter(file, bytes)}`,
      fix: 'a quote inside a quoted field is doubled ("")',
      cause: error,
    });
  } finally {
    source.destroy();
    parser.destroy();
  }
}

/** The line on which the text behind so many bytes begins. */
async function lineAfter(file: string, bytes: number): Promise<number> {
  let line = 1;
  let left = bytes;
  for await (const piece of fileBytes(file)) {
    const part = piece.subarray(0, left);
    for (let i = part.indexOf(10); i >= 0; i = part.indexOf(10, i + 1)) line++;
    left -= part.length;
    if (left === 0) break;
  }
  return line;
}

function named(record: readonly string[], file: string, line: number): readonly string[] {
  const twice = record.find((name, i) => record.indexOf(name) !== i);
  if (twice === undefined) return record;
  throw usageError({
    what: twice === '' ? 'several columns have no name' : `two columns are called "${twice}"`,
    where: `${file}:${line}`,
    fix: 'the first line names the columns: give each a name of its own',
  });
}

/** The file as texts. What is not UTF-8 is a failure with its line. */
async function* texts(file: string): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let line = 1;
  const decode = (bytes?: Uint8Array) => {
    try {
      return bytes === undefined ? decoder.decode() : decoder.decode(bytes, { stream: true });
    } catch (cause) {
      const where = `${file}:${line}`;
      throw failure({
        what: 'not valid UTF-8, on this line or one after',
        where,
        fix: 'save the file as UTF-8',
        cause,
      });
    }
  };
  for await (const bytes of fileBytes(file)) {
    // Line by line in small steps, so that an error is near its line.
    for (let at = 0; at < bytes.length; at += 4096) {
      const text = decode(bytes.subarray(at, at + 4096));
      yield text;
      for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) line++;
    }
  }
  const rest = decode();
  if (rest !== '') yield rest;
}
