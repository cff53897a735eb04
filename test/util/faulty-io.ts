// A disk that fails: wraps the real one, counts its operations and lets operation N (or N and all later ones, as after a crash)
// fail. A failing write leaves half of its bytes behind; with `shortWrites` every write takes at most 7 bytes.

import { diskIo, type Io, type IoFile } from '../../src/util/index.ts';

export interface FaultyIo {
  readonly io: Io;
  /** Operations so far. */
  count(): number;
  /** Whether the fault has happened. */
  failed(): boolean;
}

export function faultyIo(failAt: number, options: { crash?: boolean; shortWrites?: boolean } = {}): FaultyIo {
  let count = 0;
  let failed = false;
  const fails = (): boolean => {
    count++;
    const now = count === failAt || (options.crash === true && count > failAt);
    failed ||= now;
    return now;
  };
  const fault = () => Object.assign(new Error(`injected fault at operation ${count}`), { code: 'ENOSPC' });
  const step = async <T>(work: () => Promise<T>): Promise<T> => {
    if (fails()) throw fault();
    return work();
  };
  const wrap = (file: IoFile): IoFile => ({
    async write(data) {
      if (fails()) {
        await file.write(data.subarray(0, data.length >> 1));
        throw fault();
      }
      return file.write(options.shortWrites === true ? data.subarray(0, 7) : data);
    },
    read: (into) => step(() => file.read(into)),
    sync: () => step(() => file.sync()),
    async close() {
      await file.close();
      if (fails()) throw fault();
    },
  });
  const io: Io = {
    open: (path, flags) => step(async () => wrap(await diskIo.open(path, flags))),
    rename: (from, to) => step(() => diskIo.rename(from, to)),
    symlink: (target, path) => step(() => diskIo.symlink(target, path)),
    truncate: (path, size) => step(() => diskIo.truncate(path, size)),
    mkdir: (path) => step(() => diskIo.mkdir(path)),
    rm: (path) => step(() => diskIo.rm(path)),
    readdir: (path) => step(() => diskIo.readdir(path)),
    stat: (path) => step(() => diskIo.stat(path)),
  };
  return { io, count: () => count, failed: () => failed };
}
