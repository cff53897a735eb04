// Models from a Hub that misbehaves: what is fetched, checked, resumed, refused, and found in the cache again.
import { spawn } from 'node:child_process';
import { lstat, mkdir, readdir, readFile, readlink, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { cachedModel, localModel } from '../../src/hub/index.ts';
import { hubName, shownPath } from '../../src/hub/names.ts';
import { isStopped, SelfplayError } from '../../src/util/index.ts';
import { tempDir } from '../util/temp.ts';
import {
  type Answer,
  type Asked,
  COMMIT,
  type FakeRepo,
  fakeHub,
  gitSha1,
  hubOptions,
  model,
  noise,
  OTHER_COMMIT,
  sha256,
} from './fakeHub.ts';

const SHARD = 'model-00001-of-00002.safetensors';
const BYTES = model[SHARD] as Buffer;
const NEEDED = Object.keys(model).filter((path) => !/README|pytorch|onnx/.test(path));

/** A hub with the model as org/tiny. */
const tiny = (answer?: (asked: Asked, number: number) => Answer | undefined, more: Partial<FakeRepo> = {}) =>
  fakeHub({ 'models/org/tiny': { files: model, ...more } }, answer);
const isShard = ({ path, method }: Asked) => method === 'GET' && path.includes(sha256(BYTES));

async function isWhole(directory: string, paths: readonly string[] = NEEDED): Promise<void> {
  for (const path of paths) {
    expect((await readFile(join(directory, path))).equals(Buffer.from(model[path]!)), path).toBe(true);
  }
}

async function refusal(work: Promise<unknown>): Promise<SelfplayError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SelfplayError);
  return error as SelfplayError;
}

describe('names', () => {
  it.each<[string, object | undefined]>([
    ['org/name', { id: 'org/name', revision: 'main', parts: [] }],
    ['org/name@v1.0', { id: 'org/name', revision: 'v1.0', parts: [] }],
    ['org/name@refs/pr/1', { id: 'org/name', revision: 'refs/pr/1', parts: [] }],
    ['meta-llama/Llama-3.2-1B', { id: 'meta-llama/Llama-3.2-1B' }],
    ['name', undefined],
    ['./org/name', undefined],
    ['/org/name', undefined],
    ['../name', undefined],
    ['org/name/more', undefined],
    ['org/..', undefined],
    ['org/a..b', undefined],
    ['org/name@../../x', undefined],
    ['org/name@a/../b', undefined],
    ['org/name:a-Q8_0.gguf', { id: 'org/name', parts: ['a-Q8_0.gguf'] }],
    ['org/name@v1:q8_0', { id: 'org/name', revision: 'v1', parts: ['q8_0'] }],
    ['org/name:', undefined],
    ['org/name:a:b', undefined],
    ['org/name:../a.gguf', undefined],
    ['data/train.jsonl', undefined],
    ['models/tiny.gguf', undefined],
    ['C:\\org\\name', undefined],
    ['org /name', undefined],
  ])('%s', (given, expected) => {
    const found = hubName('model', given);
    if (expected === undefined) expect(found).toBeUndefined();
    else expect(found).toMatchObject(expected);
  });

  it.each<[string, string, readonly string[]]>([
    ['org/name', 'main', []],
    ['org/name:main:test', 'main', ['main', 'test']],
    ['org/name@v1:socratic', 'v1', ['socratic']],
    ['org/name::test', 'main', ['', 'test']],
  ])('of data: %s', (given, revision, parts) => {
    expect(hubName('dataset', given)).toMatchObject({ id: 'org/name', revision, parts });
  });
});

it.each<[string, string]>([
  [`/home/me/hub/models--org--tiny/snapshots/${COMMIT}`, `org/tiny@${COMMIT}`],
  [`hub/models--org--tiny/snapshots/${COMMIT}/a-Q8_0.gguf`, `org/tiny@${COMMIT}:a-Q8_0.gguf`],
  [`C:\\hub\\datasets--org--sums\\snapshots\\${COMMIT}\\data\\train.jsonl`, 'org/sums/data/train.jsonl'],
  ['runs/models--org--tiny/model', 'runs/models--org--tiny/model'],
  ['train.jsonl', 'train.jsonl'],
])('%s is shown as %s', (path, shown) => {
  expect(shownPath(path)).toBe(shown);
});

describe('one of several GGUF files', () => {
  const files = {
    'a-Q4_K_M.gguf': noise(900),
    'a-Q4_K_S.gguf': noise(901),
    'a-Q8_0.gguf': noise(902),
    'config.json': '{}',
  };

  it.each(['a-Q8_0.gguf', 'q8_0'])('called %s is fetched alone, and found again without a network', async (called) => {
    const hub = await fakeHub({ 'models/org/ggufs': { files } });
    const { cache, options } = await hubOptions(hub.url);
    const found = await localModel(`org/ggufs:${called}`, options);
    const snapshot = join(cache, 'models--org--ggufs', 'snapshots', COMMIT);
    expect(found).toEqual({ directory: join(snapshot, 'a-Q8_0.gguf'), source: `org/ggufs@${COMMIT}:a-Q8_0.gguf` });
    expect(await readFile(found.directory)).toEqual(files['a-Q8_0.gguf']);
    expect(await readdir(snapshot)).toEqual(['a-Q8_0.gguf']);
    const offline = { ...options, env: { ...options.env, HF_HUB_OFFLINE: '1' } };
    expect(await localModel(found.source!, offline)).toEqual(found);
  });

  it.each<[string, RegExp]>([
    ['q4_k', /^2 GGUF files of org\/ggufs are called "q4_k"; it has a-Q4_K_M\.gguf, a-Q4_K_S\.gguf, a-Q8_0\.gguf$/],
    ['bf16', /^no GGUF files of org\/ggufs are called "bf16"; it has a-Q4/],
  ])('must be the only one called %s', async (called, expected) => {
    const hub = await fakeHub({ 'models/org/ggufs': { files } });
    const { cache, options } = await hubOptions(hub.url);
    const error = await refusal(localModel(`org/ggufs:${called}`, options));
    expect([error.kind, error.what]).toEqual(['usage', expect.stringMatching(expected)]);
    expect(await readdir(cache).catch(() => [])).not.toContain('blobs');
  });
});

describe('a model of the Hub', () => {
  it('lies in the cache as Python lays it, only with what is needed, and is found again', async () => {
    const hub = await tiny();
    const bars: [string, number, string, number[]][] = [];
    const { cache, options } = await hubOptions(hub.url);
    const progress = (label: string, total: number, unit: string) => {
      const counts: number[] = [];
      bars.push([label, total, unit, counts]);
      return { advance: (count: number) => void counts.push(count), done: () => undefined };
    };
    const found = await localModel('org/tiny', { ...options, progress });
    const folder = join(cache, 'models--org--tiny');
    expect(found).toEqual({
      directory: join(folder, 'snapshots', COMMIT),
      source: `org/tiny@${COMMIT}`,
    });
    await isWhole(found.directory);
    expect((await readdir(found.directory)).sort()).toEqual([...NEEDED].sort());
    expect(await readFile(join(folder, 'refs', 'main'), 'utf8')).toBe(COMMIT);
    expect(await readlink(join(found.directory, SHARD))).toBe(`../../blobs/${sha256(BYTES)}`);
    expect(await readlink(join(found.directory, 'config.json'))).toBe(`../../blobs/${gitSha1(model['config.json']!)}`);
    expect((await readdir(join(folder, 'blobs'))).length).toBe(NEEDED.length);
    expect(bars.map(([label, total, unit]) => [label, total, unit])).toEqual([
      ['Fetching org/tiny', 1, 'MB'],
      ['Fetching org/tiny', 1, 'MB'],
    ]);
    expect(bars[1]![3].reduce((a, b) => a + b, 0)).toBe(1);
    // Once more: one question, which commit main is.
    const before = hub.asked.length;
    expect(await localModel('org/tiny', options)).toEqual(found);
    expect(hub.asked.slice(before).map(({ path }) => path)).toEqual(['/api/models/org/tiny/revision/main']);
    // By its commit none at all.
    expect(await localModel(`org/tiny@${COMMIT}`, options)).toEqual(found);
    expect(hub.asked.length).toBe(before + 1);
  });

  it('an adapter comes with its base', async () => {
    const config = '{"base_model_name_or_path": "org/tiny"}';
    const adapter = { 'adapter_config.json': config, 'adapter_model.safetensors': noise(100) };
    const hub = await fakeHub({ 'models/org/adapter': { files: adapter }, 'models/org/tiny': { files: model } });
    const { options, cache } = await hubOptions(hub.url);
    const { directory } = await localModel('org/adapter', options);
    expect((await readdir(directory)).sort()).toEqual(Object.keys(adapter));
    const base = await cachedModel('org/tiny', options.env);
    expect(base).toBe(join(cache, 'models--org--tiny/snapshots', COMMIT));
    await isWhole(base!);
    expect(await cachedModel('org/other', options.env)).toBeUndefined();
  });

  it('at another revision has another commit, and shares what is the same', async () => {
    const other = { ...model, 'config.json': '{"model_type":"llama","x":1}' };
    const hub = await tiny(undefined, { revisions: { 'pr/1': { commit: OTHER_COMMIT, files: other } } });
    const { cache, options } = await hubOptions(hub.url);
    await localModel('org/tiny', options);
    const before = hub.sent();
    const { directory, source } = await localModel('org/tiny@pr/1', options);
    expect(source).toBe(`org/tiny@${OTHER_COMMIT}`);
    expect(await readFile(join(directory, 'config.json'), 'utf8')).toBe(other['config.json']);
    expect(hub.sent() - before).toBe(other['config.json'].length);
    expect(await readFile(join(cache, 'models--org--tiny/refs/pr/1'), 'utf8')).toBe(OTHER_COMMIT);
  });

  it('with a listing of several pages', async () => {
    const hub = await fakeHub({ 'models/org/tiny': { files: model } }, undefined, { page: 2 });
    const { options } = await hubOptions(hub.url);
    await isWhole((await localModel('org/tiny', options)).directory);
  });

  it('loses to a directory of the same name, and is not asked for when the name is a path', async () => {
    const { options } = await hubOptions('http://127.0.0.1:1');
    const home = await tempDir();
    await mkdir(join(home, 'org/tiny'), { recursive: true });
    const before = process.cwd();
    process.chdir(home);
    onTestFinished(() => process.chdir(before));
    expect(await localModel('org/tiny', options)).toEqual({ directory: 'org/tiny', source: null });
    expect(await localModel('./org/wrong', options)).toEqual({ directory: './org/wrong', source: null });
  });
});

describe('a Hub that misbehaves', () => {
  it('cuts: goes on where the connection broke', async () => {
    const hub = await tiny((asked) => (isShard(asked) && asked.range! < 150_000 ? { cutAfter: 100_000 } : undefined));
    const { options } = await hubOptions(hub.url);
    await isWhole((await localModel('org/tiny', options)).directory);
    expect(hub.asked.filter(isShard).map(({ range }) => range)).toEqual([0, 100_000, 200_000]);
    expect(hub.sent()).toBe(NEEDED.reduce((sum, path) => sum + Buffer.byteLength(model[path]!), 0));
  });

  it('cuts every time: the next call goes on with the .incomplete file', async () => {
    let broken = true;
    const hub = await tiny((asked) =>
      broken && isShard(asked) ? (asked.range === 0 ? { cutAfter: 100_000 } : { status: 503 }) : undefined,
    );
    const { cache, options } = await hubOptions(hub.url);
    const error = await refusal(localModel('org/tiny', options));
    expect(error.message).toMatch(/cannot fetch, tried 5 times: the server answers 503\n.*resolve.*\n.*it continues/);
    const partial = join(cache, 'models--org--tiny/blobs', `${sha256(BYTES)}.incomplete`);
    expect((await stat(partial)).size).toBe(100_000);
    // No snapshot is half there: main is not known yet, and no shard has its name.
    expect(await stat(join(cache, 'models--org--tiny/refs')).catch(() => 'none')).toBe('none');
    broken = false;
    const before = hub.asked.length;
    await isWhole((await localModel('org/tiny', options)).directory);
    expect(
      hub.asked
        .slice(before)
        .filter(isShard)
        .map(({ range }) => range),
    ).toEqual([100_000]);
    expect(await stat(partial).catch(() => 'none')).toBe('none');
  });

  it('is busy: waits as long as 429 asks, in seconds or by a date', async () => {
    const hub = await tiny((_, number) =>
      number === 0
        ? { status: 429, headers: { 'retry-after': '7' } }
        : number === 1
          ? { status: 429, headers: { 'retry-after': new Date(Date.now() + 20_000).toUTCString() } }
          : undefined,
    );
    const { options, pauses } = await hubOptions(hub.url);
    await localModel('org/tiny', options);
    expect(pauses[0]).toBe(7000);
    expect(pauses[1]).toBeGreaterThan(15_000);
    expect(pauses[1]).toBeLessThanOrEqual(20_000);
  });

  it('fails with 5xx for a while', async () => {
    const hub = await tiny((_, number) => (number < 3 ? { status: 500 + number * 2 } : undefined));
    const { options, pauses } = await hubOptions(hub.url);
    await isWhole((await localModel('org/tiny', options)).directory);
    expect(pauses).toEqual([500, 1000, 2000]);
  });

  it('is silent: the connection is given up and asked for again', async () => {
    const hub = await tiny((asked) =>
      isShard(asked) && asked.range === 0 ? { cutAfter: 50_000, hang: true } : undefined,
    );
    const { options } = await hubOptions(hub.url);
    await isWhole((await localModel('org/tiny', { ...options, stall: 300 })).directory);
    expect(hub.asked.filter(isShard).map(({ range }) => range)).toEqual([0, 50_000]);
  });

  it('serves no parts of files: the whole is fetched', async () => {
    const hub = await tiny((asked) => (isShard(asked) ? { whole: true } : undefined));
    const { options } = await hubOptions(hub.url);
    await isWhole((await localModel('org/tiny', options)).directory);
  });

  it('sends wrong bytes once: fetched anew', async () => {
    let wrong = 0;
    const hub = await tiny((asked) => (isShard(asked) && wrong++ === 0 ? { corrupt: true } : undefined));
    const { options } = await hubOptions(hub.url);
    await isWhole((await localModel('org/tiny', options)).directory);
    expect(wrong).toBe(2);
  });

  it.each([
    ['LFS', SHARD, sha256(model[SHARD]!)],
    ['git', 'config.json', gitSha1(model['config.json']!)],
  ])('sends wrong bytes of a file in %s every time: refused, nothing of it kept', async (_, path, hash) => {
    const wrong = ({ path: asked, method }: Asked) =>
      method === 'GET' && (asked.endsWith(`/${path}`) || asked.endsWith(sha256(model[path]!)));
    const hub = await tiny((asked) => (wrong(asked) ? { corrupt: true } : undefined));
    const { cache, options } = await hubOptions(hub.url);
    // A redirect has no bytes to turn over.
    const error = await refusal(localModel('org/tiny', options));
    expect(error.kind).toBe('failure');
    expect(error.what).toMatch(new RegExp(`^${path} is not what the listing says: its hash is [0-9a-f]+, not ${hash}`));
    const blobs = await readdir(join(cache, 'models--org--tiny/blobs'));
    expect(blobs.filter((name) => name.includes(hash))).toEqual([]);
  });

  it('has not the file that it lists', async () => {
    const hub = await tiny((asked) =>
      asked.path.endsWith('config.json') ? { status: 404, headers: { 'x-error-code': 'EntryNotFound' } } : undefined,
    );
    const { options, pauses } = await hubOptions(hub.url);
    const error = await refusal(localModel('org/tiny', options));
    expect(error.message).toMatch(/in the listing of org\/tiny and is not there\n.*config\.json/);
    expect(pauses).toEqual([]);
  });

  it.each<[string, Record<string, string>]>([
    ['an absurd Content-Length', { 'content-length': '9007199254740991' }],
    ['another size in Content-Range', { 'content-range': 'bytes 0-9/99999999999999' }],
  ])('says %s: refused, and no memory or disk is taken for it', async (_, headers) => {
    const hub = await tiny((asked) => (isShard(asked) ? { headers, whole: 'content-length' in headers } : undefined));
    const { options } = await hubOptions(hub.url);
    const error = await refusal(localModel('org/tiny', options));
    expect(error.what).toMatch(/has a file of 9\d+ bytes here, not of 300000/);
  });

  it.each(['../../evil', 'a/../../evil', '/etc/evil', 'a\\..\\evil', 'C:evil'])(
    'lists a file as %s: refused',
    async (evil) => {
      const index = JSON.stringify({ weight_map: { a: evil } });
      const files = { 'config.json': '{}', 'model.safetensors.index.json': index, [evil]: noise(10) };
      const hub = await fakeHub({ 'models/org/evil': { files } });
      const { home, options } = await hubOptions(hub.url);
      const error = await refusal(localModel('org/evil', options));
      expect(error.what).toContain(`has a file outside of it: ${JSON.stringify(evil)}`);
      const written = await readdir(home, { recursive: true });
      expect(written.filter((name) => /evil$/.test(name) && !name.endsWith('--evil'))).toEqual([]);
    },
  );

  it.each<[string, string, RegExp]>([
    ['no commit', '{"sha":"../../x"}', /answers what the Hub does not: no commit/],
    ['a page in HTML', '<html>captive portal</html>', /no JSON/],
    ['an endless text', `"${'x'.repeat(65 * 1024 * 1024)}"`, /longer than 67108864 bytes/],
  ])('answers %s', async (_, body, expected) => {
    const hub = await tiny(() => ({ status: 200, body }));
    const { options } = await hubOptions(hub.url);
    expect((await refusal(localModel('org/tiny', options))).what).toMatch(expected);
  });

  it.each<[string, object]>([
    ['a size below 0', { size: -1 }],
    ['a size that is no number', { size: '10' }],
    ['a hash that is a path', { oid: '../../../x' }],
    ['a hash in LFS that is a path', { lfs: { oid: '../x', size: 10 } }],
    ['no path', { path: undefined }],
  ])('lists %s', async (_, wrong) => {
    const entry = { type: 'file', path: 'config.json', size: 10, oid: 'a'.repeat(40), ...wrong };
    const hub = await tiny((asked) =>
      asked.path.includes('/tree/') ? { status: 200, body: JSON.stringify([entry]) } : undefined,
    );
    const { options } = await hubOptions(hub.url);
    expect((await refusal(localModel('org/tiny', options))).what).toMatch(/a file without a size or a hash/);
  });

  it('redirects in a circle, to no web address, or nowhere', async () => {
    for (const location of ['/again', 'file:///etc/passwd', 'http://[']) {
      const hub = await tiny(() => ({ status: 302, headers: { location } }));
      const { options } = await hubOptions(hub.url);
      const error = await refusal(localModel('org/tiny', options));
      expect(error.what).toMatch(/redirects (more than 10 times|to no web address)/);
    }
  });
});

describe('the token', () => {
  it('goes to the Hub and never to another origin', async () => {
    const hub = await tiny(undefined, { token: 'hf_secret' });
    const { options, said } = await hubOptions(hub.url, { HF_TOKEN: 'hf_secret' });
    await isWhole((await localModel('org/tiny', options)).directory);
    const seen = (server: Asked['server']) =>
      new Set(hub.asked.filter((asked) => asked.server === server).map(({ authorization }) => authorization));
    expect(seen('hub')).toEqual(new Set(['Bearer hf_secret']));
    expect(seen('cdn')).toEqual(new Set([undefined]));
    expect(said.join()).not.toContain('hf_secret');
  });

  it('does not go to another origin that a listing names as its next page', async () => {
    const hub = await tiny((asked) =>
      asked.server === 'hub' && asked.path.includes('/tree/')
        ? { status: 200, body: '[]', headers: { link: `<${hub.cdn}/more>; rel="next"` } }
        : undefined,
    );
    const { options } = await hubOptions(hub.url, { HF_TOKEN: 'hf_secret' });
    const error = await refusal(localModel('org/tiny', options));
    expect(error.message).not.toContain('hf_secret');
    expect(hub.asked.find(({ server }) => server === 'cdn')).toMatchObject({ path: '/more', authorization: undefined });
  });

  it('comes from the file that `hf auth login` writes, HF_TOKEN first', async () => {
    const hub = await tiny(undefined, { token: 'hf_file' });
    const { home, options } = await hubOptions(hub.url);
    await writeFile(join(home, 'token'), 'hf_file\n');
    await localModel('org/tiny', options);
    const { options: both } = await hubOptions(hub.url, { HF_TOKEN: 'hf_file', HF_TOKEN_PATH: join(home, 'none') });
    await localModel('org/tiny', both);
  });

  it('that cannot be one is refused without being shown', async () => {
    const { options } = await hubOptions('http://127.0.0.1:1', { HF_TOKEN: 'hf_sec\nret' });
    const error = await refusal(localModel('org/tiny', options));
    expect(error.message).toMatch(/characters that no token has/);
    expect(error.message).not.toContain('hf_sec');
  });
});

describe('what is not there, or may not be seen', () => {
  it('a name that is nothing: both possibilities are said', async () => {
    const { options, pauses } = await hubOptions((await tiny()).url);
    const error = await refusal(localModel('org/tini', options));
    expect(error.kind).toBe('usage');
    expect(error.what).toMatch(
      /^there is no "org\/tini" here, and no model org\/tini on 127\.0\.0\.1:\d+ that may be seen/,
    );
    expect(error.fix).toBe('check the name or the path; for a private or gated one set HF_TOKEN');
    expect(pauses).toEqual([]);
    const { options: known } = await hubOptions((await tiny()).url, { HF_TOKEN: 'hf_x' });
    expect((await refusal(localModel('org/tini', known))).fix).toMatch(/use a token that has access/);
  });

  it.each([
    [{}, /accept them on http.*\/org\/tiny, then set HF_TOKEN to a token of that account$/],
    [{ HF_TOKEN: 'hf_other' }, /\(the one that is set has no access\)$/],
  ])('a gated one, with %j', async (env, fix) => {
    const hub = await tiny(undefined, { gated: true, token: 'hf_right' });
    const { options } = await hubOptions(hub.url, env);
    const error = await refusal(localModel('org/tiny', options));
    expect([error.kind, error.what]).toEqual(['usage', expect.stringMatching(/for those who accepted its terms/)]);
    expect(error.fix).toMatch(fix);
  });

  it('a token that is not valid', async () => {
    const hub = await tiny(() => ({
      status: 401,
      headers: { 'x-error-message': 'Invalid credentials in Authorization header' },
    }));
    const { options } = await hubOptions(hub.url, { HF_TOKEN: 'hf_old' });
    expect((await refusal(localModel('org/tiny', options))).what).toMatch(/does not accept the token/);
  });

  it('a revision', async () => {
    const { options } = await hubOptions((await tiny()).url);
    const error = await refusal(localModel('org/tiny@v9', options));
    expect(error.what).toMatch(/org\/tiny on .* has no revision "v9"/);
  });

  it.each<[string, Record<string, string | Buffer>, RegExp]>([
    ['a data set', { 'train.jsonl': '{}' }, /no model of a language: it has no config\.json/],
    ['pickled weights', { 'config.json': '{}', 'pytorch_model.bin': noise(9) }, /only as pytorch_model\.bin: pickled/],
    ['no weights', { 'config.json': '{}' }, /has no weights/],
    ['two GGUF files', { 'a.gguf': noise(9), 'b.gguf': noise(9) }, /has 2 GGUF files \(a\.gguf, b\.gguf\)/],
    [
      'a shard missing',
      { 'config.json': '{}', 'model.safetensors.index.json': '{"weight_map":{"a":"gone.safetensors"}}' },
      /names a file that org\/odd has not: "gone\.safetensors"/,
    ],
    ['an index without a map', { 'config.json': '{}', 'model.safetensors.index.json': '[]' }, /no object weight_map/],
  ])('a repository with %s', async (_, files, expected) => {
    const hub = await fakeHub({ 'models/org/odd': { files } });
    const { options } = await hubOptions(hub.url);
    expect((await refusal(localModel('org/odd', options))).what).toMatch(expected);
  });
});

describe('without a network', () => {
  it('HF_HUB_OFFLINE takes what the cache has, and asks nobody', async () => {
    const hub = await tiny();
    const { options } = await hubOptions(hub.url);
    const found = await localModel('org/tiny', options);
    const before = hub.asked.length;
    const offline = { ...options, env: { ...options.env, HF_HUB_OFFLINE: '1' } };
    expect(await localModel('org/tiny', offline)).toEqual(found);
    expect(hub.asked.length).toBe(before);
    const absent = await refusal(localModel('org/other', offline));
    expect(absent.kind).toBe('usage');
    expect(absent.what).toBe(
      'there is no "org/other" here, and the model org/other@main is not in the cache (HF_HUB_OFFLINE is set)',
    );
    await rm(join(found.directory, SHARD));
    const half = await refusal(localModel('org/tiny', offline));
    expect(half.what).toBe(`HF_HUB_OFFLINE is set, and the cache has not all of org/tiny: ${SHARD}`);
  });

  it('a Hub that cannot be reached gives way to the cache, with a sentence', async () => {
    const { options } = await hubOptions((await tiny()).url);
    const found = await localModel('org/tiny', options);
    const said: string[] = [];
    const env = { ...options.env, HF_ENDPOINT: 'http://127.0.0.1:1' };
    expect(await localModel('org/tiny', { ...options, env, say: (one) => said.push(one) })).toEqual(found);
    expect(said).toEqual(['127.0.0.1:1 cannot be reached: the cache has org/tiny@c0ffee000000, which is used.']);
    const absent = await refusal(localModel('org/other', { ...options, env }));
    expect(absent.what).toContain(
      'there is no "org/other" here, and the model org/other@main is not in the cache (127.0.0.1:1 cannot be',
    );
  });

  it('takes a snapshot without a listing, as older versions of huggingface_hub leave it', async () => {
    const { options, cache } = await hubOptions((await tiny()).url);
    const found = await localModel('org/tiny', options);
    await rm(join(cache, 'models--org--tiny/trees'), { recursive: true });
    const offline = { ...options, env: { ...options.env, HF_HUB_OFFLINE: 'true' } };
    expect(await localModel('org/tiny', offline)).toEqual(found);
  });

  it('a file of the cache that was cut is fetched again with a network', async () => {
    const hub = await tiny();
    const { options, cache } = await hubOptions(hub.url);
    const { directory } = await localModel('org/tiny', options);
    await truncate(join(cache, 'models--org--tiny/blobs', sha256(BYTES)), 1000);
    await isWhole((await localModel('org/tiny', options)).directory);
    expect((await lstat(join(directory, SHARD))).isSymbolicLink()).toBe(true);
  });
});

describe('two at once', () => {
  it('in one process: fetched once', async () => {
    const hub = await tiny();
    const { options } = await hubOptions(hub.url);
    const both = await Promise.all([1, 2].map(() => localModel('org/tiny', { ...options, pause: undefined })));
    await isWhole(both[0]!.directory);
    expect(hub.asked.filter(isShard)).toHaveLength(1);
  });

  it('in two processes, one of which is killed: the other goes on with what is there', async () => {
    let hang = true;
    const hub = await tiny((asked) => (hang && isShard(asked) ? { cutAfter: 200_000, hang: true } : undefined));
    const { options, cache, said } = await hubOptions(hub.url);
    const module = new URL('../../src/hub/index.ts', import.meta.url).href;
    const code = `const { localModel } = await import(${JSON.stringify(module)});
      await localModel('org/tiny', ${JSON.stringify({ env: options.env })});`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], { stdio: 'inherit' });
    onTestFinished(() => void child.kill('SIGKILL'));
    const partial = join(cache, 'models--org--tiny/blobs', `${sha256(BYTES)}.incomplete`);
    await expect
      .poll(async () => (await stat(partial).catch(() => undefined))?.size, { timeout: 30_000 })
      .toBe(200_000);
    hang = false;
    const waiting = localModel('org/tiny', { ...options, pause: undefined });
    await expect
      .poll(() => said.join(), { timeout: 10_000 })
      .toBe(`Waiting for process ${child.pid}, which fetches from org/tiny as well.`);
    child.kill('SIGKILL');
    await isWhole((await waiting).directory);
    expect(hub.asked.filter(isShard).map(({ range }) => range)).toEqual([0, 200_000]);
  });

  it('stops waiting when asked', async () => {
    const hub = await tiny((asked) => (isShard(asked) ? { cutAfter: 10, hang: true } : undefined));
    const { options } = await hubOptions(hub.url);
    const controller = new AbortController();
    const first = localModel('org/tiny', { ...options, signal: controller.signal });
    await expect.poll(() => hub.asked.some(isShard)).toBe(true);
    const second = refusal(localModel('org/tiny', { ...options, signal: controller.signal, pause: undefined }));
    setTimeout(() => controller.abort(), 100);
    const ends = [await refusal(first), await second];
    expect(ends[0]!.what).toMatch(/stopped; what was fetched is kept/);
    expect(ends[1]!.what).toMatch(/^stopped/);
    expect(ends.every(isStopped)).toBe(true);
  });
});
