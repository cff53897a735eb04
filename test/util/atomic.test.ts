// Saving under faults: every I/O operation fails once, alone and with all later ones; the old or the new is there, never half.

import { mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  diskIo,
  type Io,
  MANIFEST_NAME,
  publishDirectory,
  removeStaleTemps,
  SelfplayError,
  sha256Hex,
  verifyDirectory,
  withFile,
  writeAll,
  writeFileAtomic,
} from '../../src/util/index.ts';
import { faultyIo } from './faulty-io.ts';
import { tempDir } from './temp.ts';

const OLD = 'the old content';
const NEW = 'the new content, which is longer';

/** Runs `attempt` with a fault at operation 1, 2, ... until an attempt gets through without meeting its fault. */
async function forEveryFault(
  attempt: (io: ReturnType<typeof faultyIo>, crash: boolean) => Promise<void>,
): Promise<number> {
  let faults = 0;
  for (const crash of [false, true]) {
    for (let n = 1; ; n++) {
      const faulty = faultyIo(n, { crash });
      await attempt(faulty, crash);
      if (!faulty.failed()) break;
      faults++;
    }
  }
  return faults;
}

/** Gives our temporaries the identity of a process that is gone, as after a crash. */
async function pretendDead(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const dead = name.replace(`-${process.pid}-`, '-999999999-');
    if (dead !== name) await rename(join(parent, name), join(parent, dead));
  }
}

function fillWith(text: string, io: Io) {
  return async (dir: string) => {
    const put = (path: string) => withFile(io, join(dir, path), 'wx', (file) => writeAll(file, Buffer.from(text)));
    await put('a.txt');
    await io.mkdir(join(dir, 'inner'));
    await put('inner/b.txt');
  };
}

async function contentOf(dir: string): Promise<string> {
  const [a, b] = await Promise.all([readFile(join(dir, 'a.txt'), 'utf8'), readFile(join(dir, 'inner/b.txt'), 'utf8')]);
  expect(a).toBe(b);
  return a;
}

describe('writeFileAtomic', () => {
  it('leaves the old or the new content whichever operation fails', async () => {
    const dir = await tempDir();
    const path = join(dir, 'file');
    const faults = await forEveryFault(async ({ io, failed }, crash) => {
      await writeFile(path, OLD);
      const outcome = await writeFileAtomic(path, NEW, io).then(
        () => undefined,
        (error: unknown) => error,
      );
      const content = await readFile(path, 'utf8');
      expect([OLD, NEW]).toContain(content);
      if (failed()) expect(outcome).toBeInstanceOf(SelfplayError);
      else expect([outcome, content]).toEqual([undefined, NEW]);
      if (!crash) expect(await readdir(dir)).toEqual(['file']);
      await pretendDead(dir);
      await removeStaleTemps(dir);
      expect(await readdir(dir)).toEqual(['file']);
    });
    // open, write, fsync, close, rename, open, fsync, close; the crashing round meets the same ones.
    expect(faults).toBe(16);
  });

  it('continues after short writes', async () => {
    const path = join(await tempDir(), 'file');
    await writeFileAtomic(path, NEW, faultyIo(0, { shortWrites: true }).io);
    expect(await readFile(path, 'utf8')).toBe(NEW);
  });

  it('names the path and the fix', async () => {
    const path = join(await tempDir(), 'missing', 'file');
    await expect(writeFileAtomic(path, NEW)).rejects.toMatchObject({
      where: path,
      fix: 'create the parent directory first',
    });
  });
});

describe('publishDirectory', () => {
  it.each([
    ['a first save', false],
    ['a replacement', true],
  ])('%s is whole or absent whichever operation fails', async (_, replaces) => {
    const parent = await tempDir();
    const target = join(parent, 'model');
    const faults = await forEveryFault(async ({ io, failed }, crash) => {
      await rm(target, { recursive: true, force: true });
      if (replaces) await publishDirectory(target, fillWith(OLD, diskIo));
      const outcome = await publishDirectory(target, fillWith(NEW, io), io).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (failed()) expect(outcome).toBeInstanceOf(SelfplayError);
      await pretendDead(parent);
      // Only a crash between the two renames of a replacement leaves the name free, until this puts the old one back.
      if (crash || !replaces) await removeStaleTemps(parent);
      const present = (await readdir(parent)).includes('model');
      if (replaces) expect(present).toBe(true);
      if (present) {
        await verifyDirectory(target);
        const content = await contentOf(target);
        if (!failed()) expect([outcome, content]).toEqual([undefined, NEW]);
        else expect(replaces ? [OLD, NEW] : [NEW]).toContain(content);
      }
      await removeStaleTemps(parent);
      expect(await readdir(parent)).toEqual(present ? ['model'] : []);
    });
    expect(faults).toBeGreaterThan(60);
  });

  it('writes a manifest with size and hash of every file', async () => {
    const target = join(await tempDir(), 'model');
    await publishDirectory(target, fillWith(NEW, diskIo));
    const sha256 = sha256Hex(NEW);
    expect(JSON.parse(await readFile(join(target, MANIFEST_NAME), 'utf8'))).toEqual({
      schema: 1,
      files: [
        { path: 'a.txt', size: NEW.length, sha256 },
        { path: 'inner/b.txt', size: NEW.length, sha256 },
      ],
    });
  });

  it('publishes nothing when filling fails or leaves a link', async () => {
    const parent = await tempDir();
    const target = join(parent, 'model');
    const broken = publishDirectory(target, async () => {
      throw new Error('no weights');
    });
    await expect(broken).rejects.toThrow('no weights');
    const linked = publishDirectory(target, (dir) => symlink('/etc/hostname', join(dir, 'link')));
    await expect(linked).rejects.toThrow('only plain files');
    expect(await readdir(parent)).toEqual([]);
  });
});

describe('verifyDirectory', () => {
  async function published(): Promise<string> {
    const target = join(await tempDir(), 'model');
    await publishDirectory(target, fillWith(NEW, diskIo));
    return target;
  }

  it.each([
    ['a missing file', 'inner/b.txt', (path: string) => rm(path)],
    ['a shorter file', 'a.txt', (path: string) => writeFile(path, 'short')],
    ['a changed byte', 'inner/b.txt', (path: string) => writeFile(path, NEW.replace('new', 'neW'))],
    ['a missing manifest', '', (path: string) => rm(join(path, MANIFEST_NAME))],
    ['a truncated manifest', MANIFEST_NAME, (path: string) => writeFile(path, '{"schema": 1, "files": [')],
    ['an unknown schema', MANIFEST_NAME, (path: string) => writeFile(path, '{"schema": 2, "files": []}')],
  ])('rejects %s and names the place', async (_, place, damage) => {
    const target = await published();
    await verifyDirectory(target);
    await damage(join(target, place));
    await expect(verifyDirectory(target)).rejects.toMatchObject({ kind: 'failure', where: join(target, place) });
  });

  it.each(['../a.txt', '/etc/hostname', 'inner/../a.txt', '', 'a\\b'])(
    'refuses a manifest that lists %j',
    async (path) => {
      const target = await published();
      const files = [{ path, size: 1, sha256: '0' }];
      await writeFile(join(target, MANIFEST_NAME), JSON.stringify({ schema: 1, files }));
      await expect(verifyDirectory(target)).rejects.toThrow('damaged manifest');
    },
  );
});

describe('removeStaleTemps', () => {
  it('removes only leftovers of dead processes', async () => {
    const parent = await tempDir();
    const target = join(parent, 'model');
    let temporary = '';
    await publishDirectory(target, async (dir) => {
      temporary = basename(dir);
      await removeStaleTemps(dirname(dir));
      await writeFile(join(dir, 'x'), 'still here');
    });
    const dead = temporary.replace(`-${process.pid}-`, '-999999999-');
    const others = ['.hidden', '.x.tmp', '.model.selfplay-tmp-1', 'model'];
    for (const name of [dead, '.hidden', '.x.tmp', '.model.selfplay-tmp-1']) await mkdir(join(parent, name));
    await removeStaleTemps(parent);
    expect((await readdir(parent)).sort()).toEqual(others.sort());
  });
});
