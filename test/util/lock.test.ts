// The lock between real processes, one of them killed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { lockDirectory } from '../../src/util/index.ts';
import { tempDir } from './temp.ts';

/** Starts a process that takes the lock and waits; resolves when it has the lock. */
async function holder(dir: string) {
  const module = new URL('../../src/util/index.ts', import.meta.url).href;
  const code = `const { lockDirectory } = await import(${JSON.stringify(module)});
    await lockDirectory(${JSON.stringify(dir)}); console.log('locked'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}

describe('lockDirectory', () => {
  it('refuses a second holder until the first releases', async () => {
    const dir = await tempDir();
    const first = await lockDirectory(dir);
    await expect(lockDirectory(dir)).rejects.toThrow(`run directory in use by process ${process.pid}`);
    await first.release();
    expect(await readdir(dir)).toEqual([]);
    await (await lockDirectory(dir)).release();
  });

  it('refuses while another process holds it and takes over when that one was killed', async () => {
    const dir = await tempDir();
    const child = await holder(dir);
    await expect(lockDirectory(dir)).rejects.toMatchObject({
      kind: 'usage',
      message: expect.stringContaining(`in use by process ${child.pid}`) as string,
    });
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
    const lock = await lockDirectory(dir);
    expect((await readdir(dir)).length).toBe(1);
    await lock.release();
  });

  it.runIf(process.platform === 'linux')('does not mistake a reused process id for the holder', async () => {
    const dir = await tempDir();
    await writeFile(join(dir, `lock-${process.ppid}-00000000.1`), '');
    await (await lockDirectory(dir)).release();
    expect(await readdir(dir)).toEqual([]);
  });

  it('fails with the path when the directory is missing, and can be asked again', async () => {
    const dir = join(await tempDir(), 'missing');
    await expect(lockDirectory(dir)).rejects.toMatchObject({ kind: 'failure', where: dir });
    await expect(lockDirectory(dir)).rejects.toMatchObject({ kind: 'failure' });
  });
});
