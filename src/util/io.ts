// Every write that must survive a crash goes through this layer, so that a test can fail operation N for every N.
// `Io` mirrors the system calls one to one (a write may be short); everything above it is in atomic.ts.

import { mkdir, open, readdir, rename, rm, stat, symlink, truncate } from 'node:fs/promises';

/** Largest single write: below the 2 GiB that one system call can move. */
const MAX_WRITE = 1 << 30;

/** An open file. Reads and writes continue where the last one ended. */
export interface IoFile {
  /** Writes some bytes from the start of `data` and returns how many; may be fewer than given. */
  write(data: Uint8Array): Promise<number>;
  /** Reads up to `into.length` bytes and returns how many; 0 at the end of the file. */
  read(into: Uint8Array): Promise<number>;
  /** Returns when the file's bytes are on the disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** What a path is. `other` covers links, sockets and devices inside a listing. */
export interface IoEntry {
  readonly name: string;
  readonly type: 'file' | 'directory' | 'other';
}

/** The file system operations that saving needs. */
export interface Io {
  /** r: read; r+: read and write; wx: create, fails if present; a: append, creating. */
  open(path: string, flags: 'r' | 'r+' | 'wx' | 'a'): Promise<IoFile>;
  rename(from: string, to: string): Promise<void>;
  /** Creates a symbolic link to a directory; nothing may lie at `path`. */
  symlink(target: string, path: string): Promise<void>;
  /** Cuts a file off after `size` bytes. */
  truncate(path: string, size: number): Promise<void>;
  /** Creates one directory; its parent must exist and it must not. */
  mkdir(path: string): Promise<void>;
  /** Removes a file or a directory with everything in it; nothing there is no error. */
  rm(path: string): Promise<void>;
  readdir(path: string): Promise<IoEntry[]>;
  /** Size in bytes (of the file a link points to), or undefined when nothing is there. */
  stat(path: string): Promise<{ size: number; type: IoEntry['type'] } | undefined>;
}

/** The real file system. */
export const diskIo: Io = {
  async open(path, flags) {
    const handle = await open(path, flags);
    return {
      write: async (data) => (await handle.write(data)).bytesWritten,
      read: async (into) => (await handle.read(into, 0, into.length)).bytesRead,
      sync: () => handle.sync(),
      close: () => handle.close(),
    };
  },
  rename,
  symlink: (target, path) => symlink(target, path, 'dir'),
  truncate: (path, size) => truncate(path, size),
  mkdir: (path) => mkdir(path),
  rm: (path) => rm(path, { recursive: true, force: true }),
  async readdir(path) {
    const entries = await readdir(path, { withFileTypes: true });
    return entries.map((entry) => ({ name: entry.name, type: typeOf(entry) }));
  },
  async stat(path) {
    try {
      const found = await stat(path);
      return { size: found.size, type: typeOf(found) };
    } catch (error) {
      // ENOTDIR: below a file there is nothing.
      if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
      throw error;
    }
  },
};

function typeOf(entry: { isFile(): boolean; isDirectory(): boolean }): IoEntry['type'] {
  return entry.isFile() ? 'file' : entry.isDirectory() ? 'directory' : 'other';
}

/** Writes all of `data`, continuing after short writes. */
export async function writeAll(file: IoFile, data: Uint8Array): Promise<void> {
  let done = 0;
  while (done < data.length) {
    const written = await file.write(data.subarray(done, done + MAX_WRITE));
    if (written <= 0) throw new Error('the file system accepted no bytes');
    done += written;
  }
}

/** Runs `body` with an open file and closes it whatever happens; an error of the body wins over one of the close. */
export async function withFile<T>(
  io: Io,
  path: string,
  flags: Parameters<Io['open']>[1],
  body: (file: IoFile) => Promise<T>,
): Promise<T> {
  const file = await io.open(path, flags);
  let result: T;
  try {
    result = await body(file);
  } catch (error) {
    await file.close().catch(() => undefined);
    throw error;
  }
  await file.close();
  return result;
}

/** Whether something lies at this path. */
export async function exists(path: string): Promise<boolean> {
  return (await diskIo.stat(path)) !== undefined;
}
