// Reading the small files of a model, whatever holds them.

import { readFile } from 'node:fs/promises';
import { usageError } from '../util/index.ts';

/** The small files of a model by name. */
export interface Companions {
  /** Name of the model, for people. */
  readonly name: string;
  /** Where a file of this name is, or which metadata stand for it: for messages. */
  where(name: string): string;
  /** The text of the file of this name, undefined if there is none. */
  read(name: string): Promise<string | undefined>;
}

/** What to do about a small file that is not as it should be. */
export const BAD_FILE = 'download the file again, or take it from the model that this one was made from';

/** The text of a file without byte order mark, or undefined if there is none. Throws a usage error if it cannot be read. */
export async function readOptionalText(path: string): Promise<string | undefined> {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(path));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    const what = error instanceof TypeError ? 'not UTF-8 text' : `cannot be read: ${(error as Error).message}`;
    throw usageError({ what, where: path, fix: BAD_FILE, cause: error });
  }
}
