// The bytes of a file piece by piece; what gzip has packed comes unpacked, whatever the file is called.
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { failure, usageError } from '../util/index.ts';

const PIECE_BYTES = 1 << 20;

/** The bytes, unpacked where they begin as gzip does. What is damaged, or ends too early, is a failure that names the file. */
export async function* fileBytes(file: string): AsyncGenerator<Uint8Array, void, undefined> {
  const isPacked = await beginsWith(file, [0x1f, 0x8b]);
  const source = createReadStream(file, { highWaterMark: PIECE_BYTES });
  const unpacking = createGunzip();
  const stream = isPacked ? source.on('error', (error) => unpacking.destroy(error)).pipe(unpacking) : source;
  try {
    for await (const piece of stream as AsyncIterable<Uint8Array>) yield piece;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    const what = isPacked ? 'the gzip data are damaged or cut off' : 'cannot read the file';
    throw failure({ what: `${what}: ${(error as Error).message}`, where: file, fix: 'fetch it again', cause: error });
  } finally {
    source.destroy();
  }
}

async function beginsWith(file: string, bytes: readonly number[]): Promise<boolean> {
  // What cannot be read is noticed by the one who reads all of it.
  const first = await firstBytes(file, bytes.length).catch(() => new Uint8Array(0));
  return bytes.every((byte, i) => first[i] === byte);
}

/** The first bytes of a file as they lie there, fewer if it is shorter. Usage error when it cannot be read. */
export async function firstBytes(file: string, count: number): Promise<Uint8Array> {
  try {
    const handle = await open(file, 'r');
    try {
      const into = new Uint8Array(count);
      const { bytesRead } = await handle.read(into, 0, count, 0);
      return into.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw usageError({
      what: missing ? 'no such data file' : `the data file cannot be read: ${(error as Error).message}`,
      where: file,
      fix: 'name a file (.jsonl, .json, .csv, .tsv, .parquet, the text ones also as .gz), or org/name of the Hub',
      cause: error,
    });
  }
}
