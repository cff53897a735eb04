// Data sets of the Hub: which files a config and a split are, by the README, by names, or by the Hub's own copy.
import { readFile, rm } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { dataConfigs, fitsPattern, missingShards } from '../../src/hub/configs.ts';
import { localData } from '../../src/hub/index.ts';
import type { SelfplayError } from '../../src/util/index.ts';
import { COMMIT, type FakeRepo, type Files, fakeHub, hubOptions, noise, OTHER_COMMIT } from './fakeHub.ts';

const readme = (yaml: string) => `---\nlicense: mit\n${yaml}---\n# Data\n`;
const CONFIGS = readme(`configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: [main/test-00000-of-00001.jsonl]
- config_name: socratic
  default: true
  data_files:
  - split: train
    path: socratic/*.jsonl
`);
const GSM: Files = {
  'README.md': CONFIGS,
  'main/train-00000-of-00002.jsonl': noise(50, 'a'),
  'main/train-00001-of-00002.jsonl': noise(50, 'b'),
  'main/test-00000-of-00001.jsonl': '{"question":"1","answer":"2"}\n',
  'socratic/one.jsonl': '{}',
  'notes.txt': 'x',
};

/** The files that a name comes to, relative to the snapshot, and the source. */
async function found(files: Files, behind: string, more: Partial<FakeRepo> = {}) {
  const hub = await fakeHub({ 'datasets/org/set': { files, ...more } });
  const { cache, options, said } = await hubOptions(hub.url);
  const data = await localData(`org/set${behind}`, options);
  const snapshots = join(cache, 'datasets--org--set/snapshots');
  return { names: data.files.map((file) => relative(snapshots, file)), source: data.source, said, hub, options, cache };
}

async function refusal(files: Files, behind: string, more: Partial<FakeRepo> = {}): Promise<SelfplayError> {
  return found(files, behind, more).then(
    () => expect.unreachable(),
    (error: unknown) => error as SelfplayError,
  );
}

describe('a data set with configs in its README', () => {
  it.each([
    ['', 'socratic:train', ['socratic/one.jsonl']],
    [':socratic', 'socratic:train', ['socratic/one.jsonl']],
    [':main', 'main:train', ['main/train-00000-of-00002.jsonl', 'main/train-00001-of-00002.jsonl']],
    [':main:test', 'main:test', ['main/test-00000-of-00001.jsonl']],
    ['::train', 'socratic:train', ['socratic/one.jsonl']],
    [':train', 'socratic:train', ['socratic/one.jsonl']],
    [`@${COMMIT}:main:test`, 'main:test', ['main/test-00000-of-00001.jsonl']],
  ])('org/set%s', async (behind, source, names) => {
    const data = await found(GSM, behind);
    expect(data.names).toEqual(names.map((name) => `${COMMIT}/${name}`));
    expect(data.source).toBe(`org/set@${COMMIT}:${source}`);
    const fetched = new Set(data.hub.asked.filter(({ path }) => path.includes('/resolve/')).map(({ path }) => path));
    expect(fetched.size).toBe(1 + names.length);
  });

  it('is found again without a network, by its revision and by what the run recorded', async () => {
    const { options, cache, source } = await found(GSM, ':main');
    const offline = { ...options, env: { ...options.env, HF_HUB_OFFLINE: '1' } };
    const again = await localData('org/set:main', offline);
    expect(again.files).toHaveLength(2);
    expect(await localData(source!, offline)).toEqual(again);
    expect(await readFile(again.files[0]!)).toEqual(GSM['main/train-00000-of-00002.jsonl']);
    const test = await localData('org/set:main:test', offline).catch((error: unknown) => error);
    expect((test as SelfplayError).what).toMatch(/has not all of org\/set: main\/test-00000/);
    // An older huggingface_hub leaves no listing: then the names say that a part is missing.
    await rm(join(cache, 'datasets--org--set/trees'), { recursive: true });
    await rm(again.files[1]!);
    const half = await localData('org/set:main', offline).catch((error: unknown) => error);
    expect((half as SelfplayError).what).toMatch(/not all parts of main\/train: main\/train-00001-of-00002/);
  });

  it.each<[string, RegExp, RegExp]>([
    [
      ':other',
      /neither a config nor a split "other" \(configs: main, socratic\); there are train/,
      /org\/set:socratic:SPLIT/,
    ],
    [':other:test', /no config "other"; there are main, socratic$/, /org\/set:CONFIG/],
    [':main:validation', /main of org\/set has no split "validation"; there are train, test$/, /org\/set:main:SPLIT/],
  ])('org/set%s: says what there is', async (behind, what, fix) => {
    const error = await refusal(GSM, behind);
    expect([error.kind, error.what]).toEqual(['usage', expect.stringMatching(what)]);
    expect(error.fix).toMatch(fix);
  });

  it('without a default one: one must be named', async () => {
    const files = { ...GSM, 'README.md': CONFIGS.replace('  default: true\n', '') };
    expect((await refusal(files, '')).what).toBe('org/set has 2 configs; there are main, socratic');
    expect((await refusal(files, ':test')).what).toMatch(/2 configs, and none of them is "test"; there are/);
  });

  it.each<[string, RegExp]>([
    [readme('configs: 5\n'), /configs is no list/],
    [readme('configs:\n- data_files: x\n'), /no config_name/],
    [readme('configs:\n- config_name: a\n  data_files: [{split: 1, path: x}]\n'), /data_files has {"split":1/],
    [readme('configs: [\n'), /not valid YAML/],
    [
      readme(
        `a: &a [x]\n${Array.from({ length: 12 }, (_, i) => `b${i}: &b${i} [${Array(9).fill(i ? `*b${i - 1}` : '*a')}]\n`).join('')}`,
      ),
      /not valid YAML.*alias/i,
    ],
  ])('%j is refused', async (text, what) => {
    const error = await refusal({ ...GSM, 'README.md': text }, '');
    expect(error.what).toMatch(what);
    expect(error.where).toMatch(/README\.md/);
  });
});

describe('a data set without configs', () => {
  const splits = (...paths: string[]) =>
    Object.fromEntries(dataConfigs(paths, undefined, 'README.md').flatMap((config) => [...config.splits]));
  it.each<[string[], Record<string, string[]>]>([
    [['train.jsonl', 'test.jsonl'], { train: ['train.jsonl'], test: ['test.jsonl'] }],
    [['data.csv'], { train: ['data.csv'] }],
    [['b.json', 'a.json'], { train: ['a.json', 'b.json'] }],
    [['my-dev-set.csv', 'training.csv'], { validation: ['my-dev-set.csv'], train: ['training.csv'] }],
    [
      ['test/x.parquet', 'train/1.parquet', 'train/2.parquet'],
      { test: ['test/x.parquet'], train: ['train/1.parquet', 'train/2.parquet'] },
    ],
    [
      [
        'data/train_sft-00000-of-00002-abc.parquet',
        'data/train_sft-00001-of-00002-def.parquet',
        'data/test-00000-of-00001.parquet',
      ],
      {
        train_sft: ['data/train_sft-00000-of-00002-abc.parquet', 'data/train_sft-00001-of-00002-def.parquet'],
        test: ['data/test-00000-of-00001.parquet'],
      },
    ],
    [['train.csv', 'train.parquet', 'README.md'], { train: ['train.parquet'] }],
    [['train.jsonl.gz', 'dataset_infos.json', '.hidden.json', 'a/.git/x.json'], { train: ['train.jsonl.gz'] }],
    [['loader.py', 'x.arrow', 'y.txt'], {}],
    [['strained.csv'], { train: ['strained.csv'] }],
  ])('%j', (paths, expected) => {
    expect(splits(...paths)).toEqual(expected);
  });

  it('only a program: taken from the parquet that the Hub makes of it, at that commit', async () => {
    const files = { 'README.md': '# no front matter', 'set.py': 'import datasets' };
    const converted = {
      'default/train/0000.parquet': noise(10, 'x'),
      'default/train/0001.parquet': noise(10, 'y'),
      'default/partial-test/0000.parquet': noise(10, 'z'),
    };
    const revisions = { 'refs/convert/parquet': { commit: OTHER_COMMIT, files: converted } };
    const data = await found(files, '', { revisions });
    expect(data.names).toEqual([0, 1].map((i) => `${OTHER_COMMIT}/default/train/000${i}.parquet`));
    expect(data.source).toBe(`org/set@${OTHER_COMMIT}:default:train`);
    expect(data.said).toEqual([
      "org/set has no data in files that can be read: taken from the Hub's own copy as parquet.",
    ]);
    expect((await localData(data.source!, data.options)).files).toHaveLength(2);
    expect((await found(files, ':default:test', { revisions })).said[1]).toMatch(
      /^Warning: .* only the first part of default\/test/,
    );
    const none = await refusal(files, '');
    expect([none.kind, none.what]).toEqual(['usage', expect.stringMatching(/no data that can be read/)]);
  });
});

it('a file that lies here wins', async () => {
  const { options } = await hubOptions('http://127.0.0.1:1');
  expect(await localData(import.meta.filename, options)).toEqual({ files: [import.meta.filename], source: null });
  expect(await localData('data/no.jsonl', options)).toEqual({ files: ['data/no.jsonl'], source: null });
});

describe('patterns', () => {
  it.each<[string, string, boolean]>([
    ['data/train-*', 'data/train-0.parquet', true],
    ['data/train-*', 'data/train-0/x.parquet', true], // a folder stands for what is in it
    ['data/*.csv', 'data/a/b.csv', false],
    ['data', 'data/a/b.csv', true],
    ['dat', 'data/a/b.csv', false],
    ['./data/a.csv', 'data/a.csv', true],
    ['**/train.csv', 'train.csv', true],
    ['**/train.csv', 'a/b/train.csv', true],
    ['**/train.csv', 'atrain.csv', false],
    ['a/**', 'a/b/c', true],
    ['a/**/c', 'a/c', true],
    ['?.csv', 'x.csv', true],
    ['?.csv', '/.csv', false],
    ['[ab]*.csv', 'b1.csv', true],
    ['[!ab].csv', 'a.csv', false],
    ['[0-9].csv', '7.csv', true],
    ['{train,valid}-{a,b}.csv', 'valid-b.csv', true],
    ['{train,valid}.csv', 'test.csv', false],
    ['a{b.csv', 'a{b.csv', true],
    ['a+(b).csv', 'a+(b).csv', true],
    ['a.csv', 'axcsv', false],
  ])('%s on %s: %s', (pattern, path, expected) => {
    expect(fitsPattern(path, pattern)).toBe(expected);
  });

  it('that a stranger wrote takes no time', () => {
    expect(fitsPattern(`${'a/'.repeat(400)}b`, `${'**/*a*'.repeat(80)}c`)).toBe(false);
    expect(fitsPattern('x', '{a,b}'.repeat(40))).toBe(false);
  });
});

it('numbers of parts that are missing', () => {
  expect(missingShards(['a/t-00000-of-00003.x', 'a/t-00002-of-00003.x', 'b/t-00000-of-00001.x'])).toEqual([
    'a/t-00001-of-00003',
  ]);
  expect(missingShards(['t-00000-of-99999.x'])).toHaveLength(5);
});
