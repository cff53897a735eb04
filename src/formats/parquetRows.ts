// The rows of a parquet file, row group by row group. Whatever sizes the file claims, reads stay inside it, pages have a limit,
// and what does not come out as the file says is an error. (Values that only a hostile file has can still take much memory:
// parquet.ts has this run in a process of its own.)
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import type { AsyncBuffer, Compressors, FileMetaData } from 'hyparquet';

/** Largest page, unpacked. */
const MAX_PAGE_BYTES = 512 * 1024 * 1024;
const MAX_GROUP_ROWS = 20_000_000;

/** A file as the reader wants it: any part of it, never beyond its ends. */
export function boundedFile(
  size: number,
  read: (start: number, length: number) => Promise<Uint8Array<ArrayBuffer>>,
): AsyncBuffer {
  return {
    byteLength: size,
    slice: async (start, end = size) => {
      if (!(Number.isSafeInteger(start) && Number.isSafeInteger(end) && 0 <= start && start <= end && end <= size)) {
        throw new Error(`it points to bytes ${start} to ${end} of ${size}`);
      }
      const bytes = await read(start, end - start);
      return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
    },
  };
}

/** The rows of each row group, by column, as JSON can hold them. Throws an error that says what is wrong. */
export async function* parquetRows(file: AsyncBuffer): AsyncGenerator<Record<string, unknown>[], void, undefined> {
  const { parquetMetadataAsync, parquetReadObjects } = await import('hyparquet');
  const magic = new Uint8Array(await file.slice(0, Math.min(4, file.byteLength)));
  if (String.fromCharCode(...magic) !== 'PAR1') throw new Error('it does not begin as parquet does');
  if (file.byteLength < 12) throw new Error(`it ends after ${file.byteLength} bytes`);
  const metadata: FileMetaData = await parquetMetadataAsync(file);
  const compressors = await boundedCompressors();
  let rowStart = 0;
  for (const { num_rows, columns } of metadata.row_groups) {
    const count = Number(num_rows);
    if (!(Number.isSafeInteger(count) && count >= 0 && count <= MAX_GROUP_ROWS)) {
      throw new Error(`a row group is said to have ${num_rows} rows; at most ${MAX_GROUP_ROWS} are read at once`);
    }
    if (columns.length === 0) throw new Error('a row group has no columns');
    const rows = await parquetReadObjects({ file, metadata, rowStart, rowEnd: rowStart + count, compressors });
    rowStart += count;
    if (rows.length !== count) throw new Error(`${rows.length} rows came out of a row group of ${count}`);
    const last = rows.at(-1);
    const short = Object.entries(last ?? {}).find(([, value]) => value === undefined);
    if (short !== undefined) throw new Error(`the column "${short[0]}" has fewer values than there are rows`);
    yield rows.map((row) => plain(row) as Record<string, unknown>);
  }
}

async function boundedCompressors(): Promise<Compressors> {
  const { compressors, decompressZstd } = await import('hyparquet-compressors');
  const known: Compressors = {
    ...compressors,
    GZIP: (input, length) => gunzipSync(input, { maxOutputLength: Math.max(1, length) }),
    BROTLI: (input, length) => brotliDecompressSync(input, { maxOutputLength: Math.max(1, length) }),
    ZSTD: (input, length) => decompressZstd(input, new Uint8Array(length)),
  };
  const bounded = Object.entries(known).map(([codec, unpack]) => [
    codec,
    (input: Uint8Array, length: number) => {
      if (!(length >= 0 && length <= MAX_PAGE_BYTES)) {
        throw new Error(`a page is said to have ${length} bytes; at most ${MAX_PAGE_BYTES} are unpacked`);
      }
      return unpack!(input, length);
    },
  ]);
  return Object.fromEntries(bounded) as Compressors;
}

/** A value as JSON has it: 64-bit integers as numbers where they fit, times as texts, bytes as null. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (ArrayBuffer.isView(value)) return null;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}
