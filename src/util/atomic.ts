// Saving so that a reader, now or after a crash at any point, sees the old state or the new one, never half of one.
// A file: unique temporary beside it -> write -> fsync -> rename -> fsync of the parent. A directory likewise, with a manifest
// (files.json: size and SHA-256 of each file) written last. After any error, a failed fsync included, the save is given up.
// Notable choice: temporaries carry the identity of their process, so only those of dead processes are ever cleaned up.

import { createHash, randomBytes } from 'node:crypto';
import { basename, dirname, join, resolve } from 'node:path';
import { failure, SelfplayError, usageError } from './errors.ts';
import { diskIo, type Io, type IoFile, withFile, writeAll } from './io.ts';
import { currentProcess, isRunning } from './processes.ts';

export const MANIFEST_NAME = 'files.json';
const MANIFEST_SCHEMA = 1;
const TEMP_NAME = /^\.(.+)\.selfplay-(tmp|old)-(\d+)-([0-9a-f]+\.\d+|0)-[0-9a-f]{12}$/;

/** One file of a published directory: path with forward slashes relative to it, size in bytes, SHA-256 in hex. */
export interface ManifestFile {
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
}

/** A unique hidden name beside `path`; `tmp` is unfinished, `old` is a replaced directory on its way out. */
export function besides(path: string, role: 'tmp' | 'old'): string {
  const { pid, start } = currentProcess();
  const unique = randomBytes(6).toString('hex');
  return join(dirname(path), `.${basename(path)}.selfplay-${role}-${pid}-${start}-${unique}`);
}

/**
 * Replaces the file `path` by `data` (text as UTF-8, or a function that writes piece by piece), atomically and durably. On an
 * error the file is the old one, or, if only the last fsync failed, the new one; no temporary is left behind unless removing
 * it fails too.
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array | ((file: IoFile) => Promise<void>),
  io: Io = diskIo,
): Promise<void> {
  const target = resolve(path);
  const temporary = besides(target, 'tmp');
  try {
    await withFile(io, temporary, 'wx', async (file) => {
      if (typeof data === 'function') await data(file);
      else await writeAll(file, typeof data === 'string' ? new TextEncoder().encode(data) : data);
      await file.sync();
    });
    await io.rename(temporary, target);
    await syncDirectory(dirname(target), io);
  } catch (error) {
    await io.rm(temporary).catch(() => undefined);
    throw saveError(error, target);
  }
}

/** Finds out at the start whether `writeFileAtomic` can write the file `path` at the end. Throws a usage error if not. */
export async function checkWritable(path: string, io: Io = diskIo): Promise<void> {
  const target = resolve(path);
  const probe = besides(target, 'tmp');
  const cannot = (what: string, cause?: unknown) =>
    usageError({ what: `cannot write here: ${what}`, where: target, fix: 'give another file', cause });
  if ((await io.stat(target).catch(() => undefined))?.type === 'directory') throw cannot('it is a directory');
  try {
    await withFile(io, probe, 'wx', async () => undefined);
    await io.rm(probe);
  } catch (error) {
    throw cannot(messageOf(error), error);
  }
}

/**
 * Makes the directory `finalDir` appear at once with all that `fill` writes into the temporary directory it is given, plus
 * files.json. All of it is on the disk before the rename. If `finalDir` exists it is moved aside first and removed last; a crash
 * between the two renames leaves it aside, and `removeStaleTemps` puts it back. The parent directory must exist.
 */
export async function publishDirectory(
  finalDir: string,
  fill: (tempDir: string) => Promise<void>,
  io: Io = diskIo,
): Promise<void> {
  const target = resolve(finalDir);
  const temporary = besides(target, 'tmp');
  const aside = besides(target, 'old');
  try {
    await io.mkdir(temporary);
    await fill(temporary);
    const files = await manifestOf(temporary, io);
    await withFile(io, join(temporary, MANIFEST_NAME), 'wx', async (file) => {
      await writeAll(
        file,
        new TextEncoder().encode(`${JSON.stringify({ schema: MANIFEST_SCHEMA, files }, null, 2)}\n`),
      );
      await file.sync();
    });
    await syncDirectory(temporary, io);
    const replaces = (await io.stat(target)) !== undefined;
    if (replaces) await io.rename(target, aside);
    try {
      await io.rename(temporary, target);
    } catch (error) {
      if (replaces) await io.rename(aside, target);
      throw error;
    }
    await syncDirectory(dirname(target), io);
    if (replaces) await io.rm(aside);
  } catch (error) {
    await io.rm(temporary).catch(() => undefined);
    throw saveError(error, target);
  }
}

/** Size and hash of each file below `root`, in the order of their paths; brings files and inner directories to the disk. */
async function manifestOf(root: string, io: Io, below = ''): Promise<ManifestFile[]> {
  const files: ManifestFile[] = [];
  const entries = await io.readdir(join(root, below));
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = below === '' ? entry.name : `${below}/${entry.name}`;
    if (entry.type === 'directory') {
      files.push(...(await manifestOf(root, io, path)));
      await syncDirectory(join(root, path), io);
    } else if (entry.type === 'file') {
      files.push({ path, ...(await hashFile(join(root, path), io, true)) });
    } else {
      throw failure({ what: 'only plain files can be saved', where: join(root, path) });
    }
  }
  return files;
}

/** Size and SHA-256 of a file, read in pieces of 1 MiB; with `sync` it is also brought to the disk first. */
export async function hashFile(path: string, io: Io = diskIo, sync = false): Promise<{ size: number; sha256: string }> {
  return withFile(io, path, sync ? 'r+' : 'r', async (file) => {
    if (sync) await file.sync();
    const hash = createHash('sha256');
    const piece = new Uint8Array(1 << 20);
    let size = 0;
    for (let count = await file.read(piece); count > 0; count = await file.read(piece)) {
      hash.update(piece.subarray(0, count));
      size += count;
    }
    return { size, sha256: hash.digest('hex') };
  });
}

/** Brings the names in a directory to the disk. Windows cannot open directories and orders renames itself. */
export async function syncDirectory(path: string, io: Io): Promise<void> {
  if (process.platform === 'win32') return;
  await withFile(io, path, 'r', (file) => file.sync());
}

/**
 * The manifest of a published directory, after checking that each file listed is there with its size (not its hash: see
 * `verifyDirectory`). Returns undefined if there is no files.json. Files not listed are ignored.
 */
export async function readManifest(dir: string): Promise<ManifestFile[] | undefined> {
  const path = join(dir, MANIFEST_NAME);
  if ((await diskIo.stat(path)) === undefined) return undefined;
  const files = parseManifest(await readText(path), path);
  for (const file of files) {
    const found = await diskIo.stat(join(dir, file.path));
    const where = join(dir, file.path);
    if (found === undefined) throw failure({ what: `a file listed in ${MANIFEST_NAME} is missing`, where });
    if (found.type !== 'file' || found.size !== file.size) {
      throw failure({ what: `damaged file: ${found.size} bytes, ${MANIFEST_NAME} says ${file.size}`, where });
    }
  }
  return files;
}

/** Checks sizes and hashes of a published directory against its files.json; throws a failure that names the first bad file. */
export async function verifyDirectory(dir: string): Promise<ManifestFile[]> {
  const files = await readManifest(dir);
  if (files === undefined) {
    throw failure({ what: `not a complete saved directory: no ${MANIFEST_NAME}`, where: dir });
  }
  for (const file of files) {
    const { sha256 } = await hashFile(join(dir, file.path));
    if (sha256 !== file.sha256) {
      throw failure({ what: `damaged file: its SHA-256 differs from ${MANIFEST_NAME}`, where: join(dir, file.path) });
    }
  }
  return files;
}

async function readText(path: string): Promise<string> {
  return withFile(diskIo, path, 'r', async (file) => {
    const pieces: Uint8Array[] = [];
    const piece = new Uint8Array(1 << 16);
    for (let count = await file.read(piece); count > 0; count = await file.read(piece)) {
      pieces.push(piece.slice(0, count));
    }
    return Buffer.concat(pieces).toString('utf8');
  });
}

function parseManifest(text: string, where: string): ManifestFile[] {
  const bad = (what: string) => failure({ what: `damaged manifest: ${what}`, where });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw bad(messageOf(error));
  }
  const { schema, files } = (value ?? {}) as { schema?: unknown; files?: unknown };
  if (schema !== MANIFEST_SCHEMA) throw bad(`schema ${String(schema)}, expected ${MANIFEST_SCHEMA}`);
  if (!Array.isArray(files)) throw bad('no list of files');
  return files.map((entry: unknown) => {
    const { path, size, sha256 } = (entry ?? {}) as Record<string, unknown>;
    const plain = typeof path === 'string' && path.split('/').every((part) => !['', '.', '..'].includes(part));
    if (!plain || path.includes('\\') || path.includes('\0')) throw bad(`path ${JSON.stringify(path)}`);
    if (!Number.isSafeInteger(size) || typeof sha256 !== 'string') throw bad(`entry of ${path}`);
    return { path, size: size as number, sha256 };
  });
}

/**
 * Removes from `parentDir` what saves of dead processes left behind, and nothing else. A directory that was moved aside when
 * its replacement did not arrive any more gets its name back.
 */
export async function removeStaleTemps(parentDir: string, io: Io = diskIo): Promise<void> {
  for (const entry of await io.readdir(parentDir)) {
    const [, name, role, pid, start] = TEMP_NAME.exec(entry.name) ?? [];
    if (name === undefined || start === undefined) continue;
    if (isRunning({ pid: Number(pid), start })) continue;
    const path = join(parentDir, entry.name);
    const original = join(parentDir, name);
    if (role === 'old' && (await io.stat(original)) === undefined) await io.rename(path, original);
    else await io.rm(path);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const FIXES = new Map([
  ['ENOSPC', 'free disk space, then run the same command again: it continues'],
  ['EACCES', 'choose a directory that you may write to'],
  ['EROFS', 'choose a directory that you may write to'],
  ['ENOENT', 'create the parent directory first'],
]);

/** A failed write as a failure that names the path and, for the usual causes, the fix; a SelfplayError stays as it is. */
export function saveError(error: unknown, where: string): SelfplayError {
  if (error instanceof SelfplayError) return error;
  const fix = FIXES.get((error as NodeJS.ErrnoException).code ?? '');
  return failure({ what: `cannot save: ${messageOf(error)}`, where, fix, cause: error });
}
