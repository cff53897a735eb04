// Reading small text files with errors that name the file.

import { readFile, stat } from 'node:fs/promises';
import { failure } from '../util/index.ts';

const MAX_TEXT_BYTES = 256 * 1024 * 1024;

/** The file as text. A missing file, invalid UTF-8, or more than 256 MiB is a failure. A byte order mark is kept. */
export async function readText(file: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    const { size } = await stat(file);
    if (size > MAX_TEXT_BYTES) throw new Error(`${size} bytes are too many`);
    bytes = await readFile(file);
  } catch (error) {
    throw failure({ what: `cannot read the file: ${(error as Error).message}`, where: file, cause: error });
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw failure({ what: 'the file is not valid UTF-8', where: file });
  }
}
