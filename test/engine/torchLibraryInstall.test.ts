// Installing torch from an index that misbehaves: what is fetched, resumed, refused, and never left half done.
import { spawn } from 'node:child_process';
import { readdir, readFile, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { findTorch } from '../../src/engine/torch/library/find.ts';
import { type InstallOptions, installTorch } from '../../src/engine/torch/library/install.ts';
import { installFolder, platformOf } from '../../src/engine/torch/library/locations.ts';
import { PINS, TORCH_VERSION } from '../../src/engine/torch/library/pins.ts';
import { tempDir } from '../util/temp.ts';
import { type Asked, CONTENT, type FakeIndex, fakeIndex, LIBRARY, pins, WHEEL_SIZE } from './fakeIndex.ts';

const platform = platformOf(process);
const BODY = CONTENT.get(`torch/lib/${LIBRARY}`)!;
const PACKED = pins()[0]!.files[0]!.packed;
/** Requests for the library itself, not for the zip's directory and headers. */
const isBody = ({ range }: Asked) => range !== undefined && range[1] - range[0] > 100_000 && range[1] < WHEEL_SIZE;
const bodies = (index: FakeIndex) => index.asked.filter(isBody).map(({ range }) => range![0]);

async function setting(index: FakeIndex, more: Partial<InstallOptions> = {}) {
  const cache = await tempDir();
  const env = { SELFPLAY_CACHE: cache, PIP_INDEX_URL: index.url };
  const pauses: number[] = [];
  const said: string[] = [];
  const options: InstallOptions = {
    env,
    pins: pins(),
    say: (sentence) => said.push(sentence),
    pause: async (ms) => void pauses.push(ms),
    ...more,
  };
  const folder = installFolder(env, TORCH_VERSION, platform!);
  return { env, options, folder, pauses, said, partial: `${folder}.partial` };
}

/** By equals: toEqual walks through the bytes one by one. */
const isInstalled = async (folder: string) =>
  expect((await readFile(join(folder, LIBRARY))).equals(BODY), LIBRARY).toBe(true);
const noInstall = async (folder: string) => expect(await stat(folder).catch(() => 'none')).toBe('none');

describe.skipIf(platform === undefined)('installTorch', () => {
  it('fetches the wanted members only, checks them, and is found', async () => {
    const index = await fakeIndex();
    const bars: { label: string; total: number; count: number }[] = [];
    const progress = (label: string, total: number) => {
      const bar = { label, total, count: 0 };
      bars.push(bar);
      return { advance: (count: number) => void (bar.count += count), done: () => undefined };
    };
    const { env, options, folder, said, partial } = await setting(index, { progress });
    expect(await installTorch(options)).toEqual({ directory: folder, fetched: true });
    expect((await readdir(folder)).sort()).toEqual(['files.json', LIBRARY, 'version.py'].sort());
    await isInstalled(folder);
    await noInstall(partial);
    // The directory is looked for in the last 64 KiB.
    expect(index.sent()).toBeLessThan(PACKED + 70_000);
    expect(said.join('\n')).toContain('MB to fetch from http://127.0.0.1');
    expect(said.join('\n')).toContain('BSD');
    expect(bars).toEqual([{ label: 'Fetching torch', total: 1, count: 1 }]);
    expect(await findTorch({ env })).toEqual({
      directory: folder,
      version: '2.15.0+test',
      cuda: false,
      source: 'installed',
    });
    const requests = index.asked.length;
    expect(await installTorch(options)).toEqual({ directory: folder, fetched: false });
    expect(index.asked.length).toBe(requests);
  });

  it('goes on where a connection broke', async () => {
    const index = await fakeIndex((asked) =>
      isBody(asked) && asked.range![0] < 100_000 ? { cutAfter: 150_000 } : undefined,
    );
    const { options, folder } = await setting(index);
    await installTorch(options);
    await isInstalled(folder);
    const [first, second] = bodies(index);
    expect(second! - first!).toBe(150_000);
    expect(index.sent()).toBeLessThan(PACKED + 70_000);
  });

  it('fetches the whole wheel where ranges are refused', async () => {
    const index = await fakeIndex((_, number) => ({ whole: true, ...(number === 1 ? { cutAfter: 1000 } : {}) }));
    const { options, folder, said } = await setting(index);
    await installTorch(options);
    await isInstalled(folder);
    expect(said.at(-1)).toMatch(/does not serve parts of files: the whole of torch-/);
  });

  it('fetches the whole wheel where ranges are refused with 416', async () => {
    const index = await fakeIndex(({ range }) => (range ? { status: 416 } : undefined));
    const { options, folder } = await setting(index);
    await installTorch(options);
    await isInstalled(folder);
  });

  it.each(['one wrong byte', 'another pin'])('refuses %s, and fetches anew when called again', async (what) => {
    let wrong = what === 'one wrong byte';
    const index = await fakeIndex((asked) => (wrong && isBody(asked) ? { corrupt: true } : undefined));
    const { options, folder } = await setting(index);
    const pinned = wrong ? pins() : pins({ sha256: '0'.repeat(64) });
    await expect(installTorch({ ...options, pins: pinned })).rejects.toMatchObject({
      kind: 'failure',
      what: expect.stringContaining(`torch/lib/${LIBRARY} is not what it should be: its SHA-256`) as string,
      where: expect.stringContaining('/files/torch-') as string,
    });
    await noInstall(folder);
    wrong = false;
    await installTorch(options);
    await isInstalled(folder);
  });

  it('says at once that there is no such file', async () => {
    const index = await fakeIndex(() => ({ status: 404 }));
    const { options, pauses } = await setting(index);
    await expect(installTorch(options)).rejects.toThrow(
      /refuses the file with status 404\n {2}where: .*\.whl\n {2}fix: /,
    );
    expect(pauses).toEqual([]);
  });

  it('says that the index does not list it', async () => {
    const { options } = await setting(await fakeIndex(undefined, 'empty'));
    await expect(installTorch(options)).rejects.toThrow(
      /does not list torch-2.15.0.*\n.*\/simple\/torch\/\n.*PIP_INDEX_URL/,
    );
  });

  it('waits as long as a busy server asks', async () => {
    const index = await fakeIndex((_, number) =>
      number === 0 ? { status: 429, headers: { 'retry-after': '3' } } : number === 2 ? { status: 503 } : undefined,
    );
    const { options, pauses } = await setting(index);
    await installTorch(options);
    expect(pauses).toEqual([3000, 500]);
  });

  it('gives up on a server that stays broken, and on one that is not there', async () => {
    const index = await fakeIndex(() => ({ status: 500 }));
    const { options, pauses } = await setting(index);
    await expect(installTorch(options)).rejects.toThrow('cannot fetch, tried 5 times: the server answers 500');
    expect(pauses).toEqual([500, 1000, 2000, 4000]);
    const env = { ...options.env, PIP_INDEX_URL: 'http://127.0.0.1:1/simple' };
    await expect(installTorch({ ...options, env })).rejects.toThrow(
      /cannot fetch, tried 5 times[\s\S]*selfplay engine use DIR/,
    );
  });

  it('follows redirects', async () => {
    const index = await fakeIndex(({ path }) =>
      path.startsWith('/files')
        ? { status: 302, headers: { location: path.replace('/files', '/elsewhere') } }
        : undefined,
    );
    const { options, folder } = await setting(index);
    await installTorch(options);
    await isInstalled(folder);
  });

  it('reads an index in HTML, and brings name and password along without showing them', async () => {
    const index = await fakeIndex(undefined, 'html');
    const { options, folder, said } = await setting(index);
    const PIP_INDEX_URL = `${index.url.replace('//', '//na%40me:secret@')}/`;
    await installTorch({ ...options, env: { ...options.env, PIP_INDEX_URL } });
    await isInstalled(folder);
    const basic = `Basic ${Buffer.from('na@me:secret').toString('base64')}`;
    expect(new Set(index.asked.map(({ authorization }) => authorization))).toEqual(new Set([basic]));
    expect(said.join()).not.toContain('secret');
  });

  it('leaves nothing half done when it is killed, and the next call goes on', async () => {
    let broken = true;
    const index = await fakeIndex((asked) => (broken && isBody(asked) ? { cutAfter: 200_000, hang: true } : undefined));
    const { options, folder, partial } = await setting(index);
    const module = new URL('../../src/engine/torch/library/install.ts', import.meta.url).href;
    const code = `const { installTorch } = await import(${JSON.stringify(module)});
      await installTorch(${JSON.stringify({ env: options.env, pins: pins() })});`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], { stdio: 'inherit' });
    onTestFinished(() => void child.kill('SIGKILL'));
    await index.hanging;
    const part = join(partial, `${LIBRARY}.part`);
    await expect.poll(async () => (await stat(part).catch(() => undefined))?.size, { timeout: 20_000 }).toBe(200_000);
    await expect(installTorch(options)).rejects.toThrow(`torch is being installed by process ${child.pid}`);
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
    await noInstall(folder);
    expect(await findTorch({ env: options.env! })).toBeUndefined();
    broken = false;
    const before = index.sent();
    await installTorch(options);
    expect(index.sent() - before).toBeLessThan(PACKED - 200_000 + 70_000);
    const [first, second] = bodies(index);
    expect(second! - first!).toBe(200_000);
    await isInstalled(folder);
  });

  it('stops when asked, and keeps what arrived', async () => {
    const index = await fakeIndex((asked) => (isBody(asked) ? { cutAfter: 200_000, hang: true } : undefined));
    const controller = new AbortController();
    const { options, folder, partial } = await setting(index, { signal: controller.signal });
    const installing = installTorch(options);
    void index.hanging.then(() => setTimeout(() => controller.abort(), 50));
    await expect(installing).rejects.toMatchObject({ what: 'stopped; what was fetched is kept', code: 'stopped' });
    await noInstall(folder);
    expect((await stat(join(partial, `${LIBRARY}.part`))).size).toBeGreaterThan(0);
  });

  it('says before it begins that the disk is too full', async () => {
    const index = await fakeIndex();
    const { options } = await setting(index, { pins: pins({ size: 1e18 }) });
    await expect(installTorch(options)).rejects.toThrow(
      /the disk is too full: [\d,]+ MB are needed, .*\n.*\n.*SELFPLAY_CACHE/,
    );
    expect(index.asked).toEqual([]);
  });

  it('finds a damaged library and installs it again', async () => {
    const { env, options, folder } = await setting(await fakeIndex());
    await installTorch(options);
    await truncate(join(folder, LIBRARY), 1000);
    await expect(findTorch({ env })).rejects.toThrow(/damaged file[\s\S]*selfplay engine install torch/);
    expect(await installTorch(options)).toEqual({ directory: folder, fetched: true });
    await isInstalled(folder);
    expect((await findTorch({ env }))?.source).toBe('installed');
  });
});

it('pins are complete', () => {
  for (const [name, wheels] of Object.entries(PINS)) {
    const files = wheels.flatMap((wheel) => wheel.files);
    expect(new Set(files.map((file) => file.name)).size, name).toBe(files.length);
    expect(files.some((file) => /torch_cpu\.(so|dylib|dll)$/.test(file.name))).toBe(true);
    for (const file of files) expect(file.sha256, file.member).toMatch(/^[0-9a-f]{64}$/);
    for (const { project, filename } of wheels) {
      if (project === 'torch') expect(filename).toContain(`torch-${TORCH_VERSION}-`);
    }
  }
});
