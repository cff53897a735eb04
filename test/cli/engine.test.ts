// `selfplay engine …` as a user meets it: what it prints, keeps and refuses.
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { tempDir } from '../util/temp.ts';
import { cli } from './fakes.ts';

const LIBRARY = { linux: 'libtorch_cpu.so', darwin: 'libtorch_cpu.dylib', win32: 'torch_cpu.dll' }[
  process.platform as string
]!;

/** A folder with a torch of that version, as far as its files tell. */
async function torchFolder(version: string): Promise<string> {
  const folder = await tempDir();
  await mkdir(join(folder, 'lib'));
  await writeFile(join(folder, 'lib', LIBRARY), '');
  await writeFile(join(folder, 'version.py'), `__version__ = '${version}'\n`);
  return folder;
}

describe('selfplay engine', () => {
  it('lists, uses and forgets', async () => {
    const env: Record<string, string> = { SELFPLAY_CACHE: await tempDir() };
    const none = await cli(['engine', 'list'], { env });
    expect(none.status).toBe(0);
    expect(none.stdout).toBe('onnx   in fp32 on CPUs, always there\n');
    const folder = await torchFolder('2.12.0');

    const used = await cli(['engine', 'use', '.'], { env, directory: folder });
    expect(used.stderr).toContain(`torch 2.12.0 in ${join(folder, 'lib')} is used from now on.`);
    const list = await cli(['engine', 'list'], { env });
    expect(list.stdout).toBe(`torch  2.12.0 (chosen), ${join(folder, 'lib')}\nonnx   in fp32 on CPUs, always there\n`);

    const named = { ...env, SELFPLAY_TORCH: join(folder, 'nothing') };
    const both = JSON.parse((await cli(['engine', 'list', '--json'], { env: named })).stdout) as {
      torch: { source: string; problem: string | null }[];
    };
    expect(both.torch.map(({ source, problem }) => [source, problem === null])).toEqual([
      ['SELFPLAY_TORCH', false],
      ['chosen', true],
    ]);
    await cli(['engine', 'use', 'auto'], { env });
    expect((await cli(['engine', 'list'], { env })).stdout).toBe(none.stdout);
  });

  it('refuses what is no torch with status 2', async () => {
    const env = { SELFPLAY_CACHE: await tempDir() };
    const old = await cli(['engine', 'use', await torchFolder('2.3.0')], { env });
    expect(old.status).toBe(2);
    expect(old.stderr).toContain('this folder has no torch 2.11 or newer: it holds torch 2.3.0');
    const other = await cli(['engine', 'install', 'jax'], { env });
    expect(other.status).toBe(2);
    expect(other.stderr).toContain("'jax' is invalid");
  });

  it('says size and licences before it fetches, and where it failed', async () => {
    const server = createServer((_, response) => response.writeHead(404).end());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const index = `http://127.0.0.1:${(server.address() as AddressInfo).port}/simple`;
    const { status, stderr, stdout } = await cli(['engine', 'install', 'torch'], {
      env: { SELFPLAY_CACHE: await tempDir(), PIP_INDEX_URL: index },
    });
    expect(status).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toMatch(
      /MB to fetch from http[\s\S]*licence[\s\S]*status 404\n {2}where: http.*\/simple\/torch\/\n {2}fix: /,
    );
  });
});
