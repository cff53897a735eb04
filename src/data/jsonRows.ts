// The rows of a file, whether it is JSON lines or one JSON array, each with its line.

import { open, readFile } from 'node:fs/promises';
import { type JsonLine, readJsonLines } from '../formats/index.ts';
import { failure, usageError } from '../util/index.ts';
import { parseJsonArray } from './jsonArray.ts';

/** The rows of a file. Usage error: no such file. Invalid JSON and invalid UTF-8 are failures with file:line. */
export async function readJsonRows(file: string): Promise<AsyncIterable<JsonLine> | Iterable<JsonLine>> {
  return (await firstCharacter(file)) === '[' ? readArray(file) : readJsonLines(file);
}

async function firstCharacter(file: string): Promise<string> {
  try {
    const handle = await open(file, 'r');
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(4096), 0, 4096, 0);
      return buffer
        .toString('utf8', 0, bytesRead)
        .replace(/^\ufeff/, '')
        .trimStart()
        .slice(0, 1);
    } finally {
      await handle.close();
    }
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw usageError({
      what: missing ? 'no such data file' : `the data file cannot be read: ${(error as Error).message}`,
      where: file,
      fix: 'name a JSON lines file (.jsonl) or a JSON array (.json)',
      cause: error,
    });
  }
}

async function readArray(file: string): Promise<JsonLine[]> {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file));
  } catch (error) {
    throw failure({ what: 'not valid UTF-8', where: file, fix: 'save the file as UTF-8', cause: error });
  }
  return parseJsonArray(text, file);
}
