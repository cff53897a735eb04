// Byte ranges of files, read straight into typed arrays. A file that ends early is an error, never a zero-filled tail.

import { type FileHandle, open } from 'node:fs/promises';
import { failure } from '../util/index.ts';

/** Largest single read: below the 2 GiB that one system call can move. */
const MAX_READ = 1 << 30;
const PIECE_BYTES = 4 << 20;

/** Opens `file` for reading, runs `body`, closes. A file that cannot be opened is a failure that names it. */
export async function withHandle<T>(file: string, body: (handle: FileHandle) => Promise<T>): Promise<T> {
  let handle: FileHandle;
  try {
    handle = await open(file, 'r');
  } catch (error) {
    throw failure({ what: `cannot open the file: ${(error as Error).message}`, where: file, cause: error });
  }
  try {
    return await body(handle);
  } finally {
    await handle.close();
  }
}

/** Fills `into` with the bytes from `offset` on. */
export async function readFully(handle: FileHandle, file: string, into: Uint8Array, offset: number): Promise<void> {
  let done = 0;
  while (done < into.length) {
    const wanted = Math.min(MAX_READ, into.length - done);
    const { bytesRead } = await handle.read(into, done, wanted, offset + done);
    if (bytesRead === 0)
      throw failure({ what: `the file ends at byte ${offset + done}, inside the data`, where: file });
    done += bytesRead;
  }
}

/**
 * Reads `byteLength` bytes from `offset` on in pieces of about 4 MiB, each a whole number of `unit` bytes, and hands each to
 * `consume` with its index of the first unit. The piece's memory is reused.
 */
export async function readPieces(
  file: string,
  offset: number,
  byteLength: number,
  unit: number,
  consume: (piece: Uint8Array, firstUnit: number) => void,
): Promise<void> {
  const pieceBytes = Math.floor(PIECE_BYTES / unit) * unit;
  const buffer = new Uint8Array(Math.min(pieceBytes, byteLength));
  await withHandle(file, async (handle) => {
    for (let done = 0; done < byteLength; done += pieceBytes) {
      const piece = buffer.subarray(0, Math.min(pieceBytes, byteLength - done));
      await readFully(handle, file, piece, offset + done);
      consume(piece, done / unit);
    }
  });
}
