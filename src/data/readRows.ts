// The rows of a file, whatever kind it is: JSON lines, one JSON array, CSV, TSV (each also packed with gzip) or parquet. The kind
// is told by the first bytes, and by the name only where these do not say.
import { fileBytes, firstBytes, type JsonLine, readJsonLines, readParquet, readSeparated } from '../formats/index.ts';
import { failure, usageError } from '../util/index.ts';
import { parseJsonArray } from './jsonArray.ts';

/** Largest JSON array that is read at once, unpacked. */
const MAX_ARRAY_BYTES = 500_000_000;
const PEEK_BYTES = 4096;
const KINDS = 'JSON lines (.jsonl), a JSON array (.json), CSV, TSV, each also as .gz, or parquet';

/**
 * The rows of a file with their lines (of parquet: numbers), from 1. Usage error: no such file, or one of a kind that is no data.
 * What is damaged is a failure with file:line.
 */
export async function readRows(file: string): Promise<AsyncIterable<JsonLine> | Iterable<JsonLine>> {
  const magic = Buffer.from(await firstBytes(file, 4)).toString('latin1');
  if (magic === 'PAR1') return readParquet(file);
  const name = file.toLowerCase().replace(/\.gz$/, '');
  if (name.endsWith('.parquet')) {
    throw failure({ what: 'not a parquet file: it does not begin with PAR1', where: file, fix: 'fetch it again' });
  }
  const begin = await firstText(file);
  const wrong = (what: string, fix: string) => usageError({ what, where: file, fix });
  if (begin.startsWith('version https://git-lfs')) {
    throw wrong('only a pointer of Git LFS: the data themselves are not here', 'fetch them: git lfs pull');
  }
  if (begin.startsWith('PK\x03\x04')) throw wrong('a zip archive', `unpack it, and give one of: ${KINDS}`);
  if (/^<(!doctype|html|\?xml)/i.test(begin)) throw wrong('a page in HTML or XML, not data', `give one of: ${KINDS}`);
  if (name.endsWith('.csv')) return readSeparated(file, ',');
  if (name.endsWith('.tsv')) return readSeparated(file, '\t');
  if (begin.startsWith('[')) return readArray(file);
  if (/\.(txt|arrow|feather|xlsx?|ods|md|yaml|yml|pkl|npz|tar|zip|py)$/.test(name) && !begin.startsWith('{')) {
    throw wrong('not a kind of file that holds rows', `give one of: ${KINDS}`);
  }
  return readJsonLines(file);
}

/** The beginning of the text, unpacked, without spaces before it. */
async function firstText(file: string): Promise<string> {
  for await (const piece of fileBytes(file)) {
    const text = Buffer.from(piece.subarray(0, PEEK_BYTES)).toString('utf8');
    return text.replace(/^\ufeff/, '').trimStart();
  }
  return '';
}

async function readArray(file: string): Promise<JsonLine[]> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of fileBytes(file)) {
    pieces.push(piece);
    size += piece.length;
    if (size > MAX_ARRAY_BYTES) {
      throw usageError({
        what: 'JSON array too large to be read at once',
        where: file,
        fix: 'convert it to JSON lines',
      });
    }
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(pieces));
  } catch (error) {
    throw failure({ what: 'not valid UTF-8', where: file, fix: 'save the file as UTF-8', cause: error });
  }
  return parseJsonArray(text, file);
}
