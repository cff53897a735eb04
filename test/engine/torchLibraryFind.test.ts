// Which torch is found: the order of the places, the layouts, and what is said of a folder that has none.
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { chooseTorch, findTorch, torchPlaces } from '../../src/engine/torch/library/find.ts';
import { inspectTorch } from '../../src/engine/torch/library/inspect.ts';
import { installFolder, libraryNames, platformOf } from '../../src/engine/torch/library/locations.ts';
import { TORCH_VERSION } from '../../src/engine/torch/library/pins.ts';
import { cacheFolder, publishDirectory } from '../../src/util/index.ts';
import { tempDir } from '../util/temp.ts';

const names = libraryNames(process);
const platform = platformOf(process);

async function put(path: string, text = ''): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}

/** A package folder of this version below `root`; returns the folder of its library. */
async function torchIn(root: string, version: string, { cuda = false } = {}): Promise<string> {
  await put(join(root, 'torch', 'lib', names.cpu));
  if (cuda) await put(join(root, 'torch', 'lib', names.cuda));
  await put(join(root, 'torch', 'version.py'), `from typing import Optional\n\n__version__ = '${version}'\n`);
  return join(root, 'torch', 'lib');
}

const environmentIn = (root: string, version: string, more = {}) =>
  torchIn(join(root, 'lib', 'python3.12', 'site-packages'), version, more);

describe('inspectTorch', () => {
  it('knows environments, site-packages, packages and plain folders', async () => {
    const root = await tempDir();
    const directory = await environmentIn(root, '2.12.1+cu130', { cuda: true });
    const found = { directory, version: '2.12.1+cu130', cuda: true };
    expect(await inspectTorch(root)).toEqual(found);
    expect(await inspectTorch(join(root, 'lib', 'python3.12', 'site-packages'))).toEqual(found);
    expect(await inspectTorch(dirname(directory))).toEqual(found);
    expect(await inspectTorch(directory)).toEqual(found);
  });

  it('knows the version of a C++ distribution, of dist-info, and of none', async () => {
    const root = await tempDir();
    const directory = join(root, 'site', 'torch', 'lib');
    await put(join(directory, names.cpu));
    expect(await inspectTorch(directory)).toMatchObject({ version: 'unknown', cuda: false });
    await mkdir(join(root, 'site', 'torch-2.13.0.dist-info'));
    expect(await inspectTorch(directory)).toMatchObject({ version: '2.13.0' });
    await put(join(root, 'site', 'torch', 'build-version'), '2.14.0+cpu\n');
    expect(await inspectTorch(directory)).toMatchObject({ version: '2.14.0+cpu' });
  });

  it('refuses versions before 2.11, and says what it found instead of a library', async () => {
    const root = await tempDir();
    expect(await inspectTorch(join(root, 'none'))).toMatchObject({ problem: 'there is no such folder' });
    expect(await inspectTorch(root)).toMatchObject({
      problem: `no ${names.cpu} in it or in its torch/lib (it is empty)`,
    });
    await put(join(root, 'pyvenv.cfg'));
    expect(await inspectTorch(root)).toMatchObject({
      problem: expect.stringContaining('(found pyvenv.cfg)') as string,
    });
    await environmentIn(root, '2.9.1');
    expect(await inspectTorch(root)).toEqual({ kind: 'too old', problem: 'it holds torch 2.9.1' });
  });
});

describe('findTorch', () => {
  it('finds nothing where there is nothing, and passes over an environment with an old torch', async () => {
    const env = { SELFPLAY_CACHE: await tempDir(), VIRTUAL_ENV: await tempDir(), CONDA_PREFIX: await tempDir() };
    expect(await findTorch({ env })).toBeUndefined();
    await environmentIn(env.CONDA_PREFIX, '2.10.0');
    expect(await findTorch({ env })).toBeUndefined();
    expect((await torchPlaces(env)).map(({ problem }) => problem?.what)).toEqual([
      'the active Python environment is a folder without torch 2.11 or newer: it holds torch 2.10.0',
    ]);
  });

  it.skipIf(platform === undefined)(
    'prefers SELFPLAY_TORCH, then the chosen, the installed, the environment',
    async () => {
      const cache = await tempDir();
      const environment = await tempDir();
      const env: Record<string, string> = { SELFPLAY_CACHE: cache, VIRTUAL_ENV: environment };
      const source = async () => (await findTorch({ env }))?.source;
      await environmentIn(environment, '2.12.0', { cuda: true });
      expect(await source()).toBe('environment');

      await mkdir(join(cache, 'torch'));
      await publishDirectory(installFolder(env, TORCH_VERSION, platform!), (folder) => put(join(folder, names.cpu)));
      expect(await source()).toBe('installed');
      expect((await findTorch({ env, cuda: true }))?.source).toBe('environment');

      const chosen = await tempDir();
      await chooseTorch(
        ((await inspectTorch(dirname(await torchIn(chosen, '2.13.0')))) as { directory: string }).directory,
        env,
      );
      expect(await source()).toBe('chosen');
      expect((await findTorch({ env, cuda: true }))?.source).toBe('chosen');

      env['SELFPLAY_TORCH'] = await torchIn(await tempDir(), '2.14.0');
      expect(await findTorch({ env })).toMatchObject({ source: 'SELFPLAY_TORCH', version: '2.14.0' });
      expect((await torchPlaces(env)).map((place) => place.source)).toEqual([
        'SELFPLAY_TORCH',
        'chosen',
        'installed',
        'environment',
      ]);

      env['SELFPLAY_TORCH'] = '';
      await chooseTorch(undefined, env);
      expect(await source()).toBe('installed');
    },
  );

  it('never passes over what the user named', async () => {
    const environment = await tempDir();
    await environmentIn(environment, '2.12.0');
    const empty = await tempDir();
    const env: Record<string, string> = { SELFPLAY_CACHE: await tempDir(), VIRTUAL_ENV: environment };
    await expect(findTorch({ env: { ...env, SELFPLAY_TORCH: empty } })).rejects.toMatchObject({
      kind: 'usage',
      what: `SELFPLAY_TORCH names a folder without torch 2.11 or newer: no ${names.cpu} in it or in its torch/lib (it is empty)`,
      where: `SELFPLAY_TORCH=${empty}`,
    });
    await expect(chooseTorch(empty, env)).rejects.toMatchObject({ kind: 'usage', where: empty });
    await put(join(env['SELFPLAY_CACHE']!, 'torch', 'chosen.json'), JSON.stringify({ directory: join(empty, 'gone') }));
    await expect(findTorch({ env })).rejects.toThrow(/there is no such folder\n.*gone\n.*selfplay engine use auto/);
    await put(join(env['SELFPLAY_CACHE']!, 'torch', 'chosen.json'), '{');
    await expect(findTorch({ env })).rejects.toThrow('the choice of a torch cannot be read');
  });
});

it('the cache folder is the one that the environment names', () => {
  expect(cacheFolder({ SELFPLAY_CACHE: '/a', XDG_CACHE_HOME: '/b' })).toMatch(/a$/);
  expect(cacheFolder({ XDG_CACHE_HOME: '/b' })).toMatch(/b.selfplay$/);
  expect(cacheFolder({})).toMatch(/\.cache.selfplay$/);
});
