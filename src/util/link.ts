// A name that leads to a directory and is changed atomically: a relative symbolic link, or, where the file system has none (or
// Windows allows none), a text file of one line with the same relative path. Whoever reads such a name gets the directory
// itself, so that what stands on it does not move when the name does.

import { lstat, readFile, realpath } from 'node:fs/promises';
import { dirname, relative, resolve } from 'node:path';
import { besides, saveError, syncDirectory, writeFileAtomic } from './atomic.ts';
import { usageError } from './errors.ts';
import { diskIo, type Io } from './io.ts';

const LINE = /^directory: ([^\0\r\n]+)\n$/;
const LONGEST = 5000;

/** Makes `path` lead to a directory that is there; a link or file in its place is replaced at once. */
export async function linkDirectory(path: string, directory: string, io: Io = diskIo): Promise<void> {
  const [from, to] = await Promise.all([dirname(path), directory].map((one) => realpath(one))).catch((error: unknown) =>
    Promise.reject(saveError(error, path)),
  );
  const target = relative(from!, to!);
  const temporary = besides(resolve(path), 'tmp');
  try {
    await io.symlink(target, temporary);
  } catch {
    await writeFileAtomic(path, `directory: ${target.replaceAll('\\', '/')}\n`, io);
    return;
  }
  try {
    await io.rename(temporary, path);
    await syncDirectory(dirname(resolve(path)), io);
  } catch (error) {
    await io.rm(temporary).catch(() => undefined);
    throw saveError(error, path);
  }
}

/**
 * The directory to which `path` leads, if it is a link or a file that `linkDirectory` wrote; else `path` as it is, there or
 * not. A link to a file keeps its name. Throws a usage error when it leads nowhere.
 */
export async function linkedDirectory(path: string): Promise<string> {
  const found = await lstat(path).catch(() => undefined);
  const nowhere = (cause?: unknown) =>
    usageError({
      what: 'it leads to a directory that is not there any more',
      where: path,
      fix: 'bring it back, or give the directory of a model',
      cause,
    });
  if (found?.isSymbolicLink()) {
    const to = await realpath(path).catch((cause) => Promise.reject(nowhere(cause)));
    return (await diskIo.stat(to))?.type === 'directory' ? to : path;
  }
  if (!found?.isFile() || found.size > LONGEST) return path;
  const [, target] = LINE.exec(await readFile(path, 'utf8')) ?? [];
  if (target === undefined) return path;
  return realpath(resolve(await realpath(dirname(path)), target)).catch((cause) => Promise.reject(nowhere(cause)));
}
