// A name that leads to a directory: whichever operation fails it leads to the old one or the new one; without links a file does it.

import { lstat, mkdir, readdir, readFile, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { diskIo, type Io, linkDirectory, linkedDirectory, SelfplayError } from '../../src/util/index.ts';
import { faultyIo } from './faulty-io.ts';
import { tempDir } from './temp.ts';

/** As on file systems without links. */
const without = (io: Io): Io => ({
  ...io,
  symlink: async () => Promise.reject(Object.assign(new Error('operation not permitted'), { code: 'EPERM' })),
});

async function home(): Promise<string> {
  const dir = await tempDir();
  for (const name of ['old/model', 'new/model', 'run']) await mkdir(join(dir, name), { recursive: true });
  return dir;
}

describe('linkDirectory', () => {
  it('makes a relative link, which moves with what it leads to', async () => {
    const dir = await home();
    const best = join(dir, 'run/best');
    await linkDirectory(best, join(dir, 'old/model'));
    expect(await readlink(best)).toBe('../old/model');
    await linkDirectory(best, join(dir, 'new/model'));
    expect(await readlink(best)).toBe('../new/model');
    await rename(dir, `${dir}-moved`);
    expect(await linkedDirectory(join(`${dir}-moved`, 'run/best'))).toBe(join(`${dir}-moved`, 'new/model'));
    await rename(`${dir}-moved`, dir);
  });

  it('finds its way when it is reached through another link', async () => {
    const dir = await home();
    await mkdir(join(dir, 'deep/down'), { recursive: true });
    await rename(join(dir, 'run'), join(dir, 'deep/down/run'));
    await symlink(join(dir, 'deep/down/run'), join(dir, 'run'));
    for (const io of [diskIo, without(diskIo)]) {
      await linkDirectory(join(dir, 'run/best'), join(dir, 'new/model'), io);
      expect(await linkedDirectory(join(dir, 'run/best'))).toBe(join(dir, 'new/model'));
    }
  });

  it('writes a text file where links are not possible, and replaces one by the other', async () => {
    const dir = await home();
    const best = join(dir, 'run/best');
    await linkDirectory(best, join(dir, 'old/model'), without(diskIo));
    expect(await readFile(best, 'utf8')).toBe('directory: ../old/model\n');
    expect(await linkedDirectory(best)).toBe(join(dir, 'old/model'));
    await linkDirectory(best, join(dir, 'new/model'));
    expect([(await lstat(best)).isSymbolicLink(), await linkedDirectory(best)]).toEqual([true, join(dir, 'new/model')]);
    await linkDirectory(best, join(dir, 'old/model'), without(diskIo));
    expect([(await lstat(best)).isFile(), await linkedDirectory(best)]).toEqual([true, join(dir, 'old/model')]);
    expect(await readdir(join(dir, 'run'))).toEqual(['best']);
  });

  it.each([
    ['links', (io: Io) => io],
    ['files', without],
  ])('leads to the old or the new directory whichever operation fails, with %s', async (_, kind) => {
    const dir = await home();
    const best = join(dir, 'run/best');
    let faults = 0;
    for (let n = 1; ; n++) {
      await linkDirectory(best, join(dir, 'old/model'), kind(diskIo));
      const { io, failed } = faultyIo(n);
      const error: unknown = await linkDirectory(best, join(dir, 'new/model'), kind(io)).catch((thrown) => thrown);
      expect([join(dir, 'old/model'), join(dir, 'new/model')]).toContain(await linkedDirectory(best));
      expect(await readdir(join(dir, 'run'))).toEqual(['best']);
      if (!failed()) break;
      // A fault at the link itself looks like a disk without links.
      if (error === undefined) expect((await lstat(best)).isFile()).toBe(true);
      else expect(error).toBeInstanceOf(SelfplayError);
      faults++;
    }
    // A link: symlink, rename, open, fsync, close. A file: open, write, fsync, close, rename, open, fsync, close.
    expect(faults).toBe(kind === without ? 8 : 5);
  });
});

it('cannot lead to a directory that is not there', async () => {
  const dir = await home();
  const best = join(dir, 'run/best');
  await expect(linkDirectory(best, join(dir, 'none'))).rejects.toMatchObject({ kind: 'failure', where: best });
  expect(await readdir(join(dir, 'run'))).toEqual([]);
});

describe('linkedDirectory', () => {
  it('leaves other paths as they are, there or not', async () => {
    const dir = await home();
    await writeFile(join(dir, 'model.gguf'), 'GGUF');
    for (const name of ['run', 'none', 'model.gguf'])
      expect(await linkedDirectory(join(dir, name))).toBe(join(dir, name));
  });

  it.each([
    ['link', diskIo],
    ['file', without(diskIo)],
  ])('refuses a %s that leads nowhere any more, and names it', async (_, io) => {
    const dir = await home();
    const best = join(dir, 'run/best');
    await linkDirectory(best, join(dir, 'old/model'), io);
    await rm(join(dir, 'old'), { recursive: true });
    await expect(linkedDirectory(best)).rejects.toMatchObject({ kind: 'usage', where: best });
  });
});
