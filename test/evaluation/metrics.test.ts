// Built-in scorers on the spellings that models and people use for numbers, and the hook for a user's scorer.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  lastNumber,
  loadChecker,
  loadScorer,
  pickScorers,
  type ScoredRow,
  scorers,
} from '../../src/evaluation/index.ts';

const row = (response: string, answer: string): ScoredRow => ({ id: 'r1', prompt: [], response, answer });

describe('lastNumber', () => {
  it.each([
    ['She pays 3 + 15 = 18', '18'],
    ['The total is $18.00.', '18'],
    ['18.50 dollars', '18.5'],
    ['#### 72', '72'],
    ['#### 1,080\n', '1080'],
    ['about 1,234,567.80 people', '1234567.8'],
    ['#### 72\n\nQuestion: what about 9?', '72'],
    ['####\nthe answer is 5', '5'],
    ['first #### 3 then #### 4', '4'],
    ['it is -5', '-5'],
    ['it is −5', '-5'],
    ['a debt of -$1,500.00', '-1500'],
    ['a debt of $-15', '-15'],
    ['x=-7', '-7'],
    ['**-7**', '-7'],
    ['10-5', '5'],
    ['(3)-5', '5'],
    ['10 - 5', '5'],
    ['7 pages 3–5', '5'],
    ['- 4', '4'],
    ['1, 2, 3', '3'],
    ['1,2', '2'],
    ['1234,567', '567'],
    ['.5', '0.5'],
    ['0.50', '0.5'],
    ['007', '7'],
    ['-0.0', '0'],
    ['50%', '50'],
    ['<<48/2=24>>24 clips.', '24'],
    ['\\boxed{42}', '42'],
    ['9007199254740993', '9007199254740993'],
    ['version 1.2.3', '3'],
  ])('%j gives %s', (text, expected) => {
    expect(lastNumber(text)).toBe(expected);
  });

  it('is null without a digit', () => {
    expect(lastNumber('none. $ - , #### none')).toBeNull();
  });

  it('takes a long text in linear time', () => {
    expect(lastNumber(`${'1,'.repeat(200_000)}x`)).toBe('1');
    expect(lastNumber('9'.repeat(200_000))).toHaveLength(200_000);
  });
});

describe('scorers', () => {
  it('number compares values, not spellings', () => {
    expect(scorers.number(row('#### 18', 'So she makes $18.00.'))).toBe(1);
    expect(scorers.number(row('#### 1,080', '1080'))).toBe(1);
    expect(scorers.number(row('#### 18', '18.5'))).toBe(0);
    expect(scorers.number(row('#### 5', '-5'))).toBe(0);
    expect(scorers.number(row('#### 9007199254740992', '9007199254740993'))).toBe(0);
    expect(scorers.number(row('#### 18', 'eighteen'))).toBe(0);
    expect(scorers.number(row('none', 'none'))).toBe(0);
  });

  it('exact-match forgives white space and nothing else', () => {
    expect(scorers['exact-match'](row(' a  b\nc ', 'a b c'))).toBe(1);
    expect(scorers['exact-match'](row('a b', 'ab'))).toBe(0);
    expect(scorers['exact-match'](row('Paris', 'paris'))).toBe(0);
  });
});

describe('pickScorers', () => {
  const answers = (numeric: number, other: number) => [
    ...Array.from({ length: numeric }, () => ({ response: 'thus\n#### 72' })),
    ...Array.from({ length: other }, () => ({ response: 'It has 3 legs in all' })),
  ];

  it('offers number from 80 % on', () => {
    expect(pickScorers(answers(8, 2))).toEqual(['exact-match', 'number']);
    expect(pickScorers(answers(79, 21))).toEqual(['exact-match']);
    expect(pickScorers([])).toEqual(['exact-match']);
  });

  it('sees a number behind punctuation and symbols', () => {
    expect(pickScorers([{ response: 'It costs **$5.**' }, { response: '50 %' }])).toContain('number');
  });
});

describe('on GSM8K', () => {
  const folder = process.env['SELFPLAY_DATA'] ?? '../shared/data';
  const file = join(folder, 'gsm8k', 'test.jsonl');
  const missing = !existsSync(file);
  if (missing) console.warn(`SKIPPED: ${file} is not there; set SELFPLAY_DATA to the folder of real data`);

  it.skipIf(missing)('reads every human answer as the number behind its marker', () => {
    const rows = readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { answer: string });
    expect(rows.length).toBe(1319);
    for (const { answer } of rows) expect(lastNumber(answer)).toBe(answer.split('#### ')[1]!.replaceAll(',', ''));
    expect(pickScorers(rows.map(({ answer }) => ({ response: answer })))).toContain('number');
  });
});

describe('loadScorer', () => {
  const folder = mkdtempSync(join(tmpdir(), 'selfplay-scorer-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const scorerFile = (name: string, source: string): string => {
    const path = join(folder, name);
    writeFileSync(path, source);
    return path;
  };

  it('runs the default export, asynchronous or not', async () => {
    const path = scorerFile('good.mjs', 'export default async ({ answer }) => answer.length / 10');
    expect(await (await loadScorer(path))(row('', 'abc'))).toBeCloseTo(0.3);
  });

  it('names the file when there is no scorer in it', async () => {
    await expect(loadScorer(join(folder, 'none.mjs'))).rejects.toMatchObject({
      kind: 'usage',
      where: expect.stringContaining('none.mjs'),
    });
    const named = scorerFile('named.mjs', 'export const score = () => 1');
    await expect(loadScorer(named)).rejects.toThrow(/default export is missing/);
    await expect(loadScorer(scorerFile('value.mjs', 'export default 1'))).rejects.toThrow(/not a function/);
    await expect(loadScorer(scorerFile('broken.mjs', 'export default ('))).rejects.toThrow(/cannot be loaded/);
  });

  it.each([
    ['NaN', 'NaN'],
    ['a boolean', 'true'],
    ['too large', '1.01'],
    ['negative', '-1'],
    ['nothing', 'undefined'],
  ])('refuses a score that is %s and names the row', async (name, value) => {
    const scorer = await loadScorer(scorerFile(`${name.replaceAll(' ', '-')}.mjs`, `export default () => ${value}`));
    await expect(scorer(row('', ''))).rejects.toThrow(/row r1/);
  });

  it('reports a scorer that throws', async () => {
    const scorer = await loadScorer(scorerFile('throws.mjs', 'export default () => { throw new Error("no luck") }'));
    await expect(scorer(row('', ''))).rejects.toThrow(/row r1: no luck/);
  });
});

describe('loadChecker', () => {
  const folder = mkdtempSync(join(tmpdir(), 'selfplay-checker-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const checkerFile = (name: string, source: string): string => {
    const path = join(folder, name);
    writeFileSync(path, source);
    return path;
  };

  it('knows none and the built-in scorers', async () => {
    expect(await loadChecker('none')).toBeNull();
    const [text, number] = [(await loadChecker('exact-match'))!, (await loadChecker('number'))!];
    expect(await text(row('so  5', ' so 5 '))).toBe(true);
    expect(await text(row('so 5', '5'))).toBe(false);
    expect(await number(row('so 5', '5.0'))).toBe(true);
    expect(await number(row('so 5', '6'))).toBe(false);
    expect(await number(row('so', 'so'))).toBe(false);
  });

  it('runs the default export of a module, asynchronous or not', async () => {
    const same = 'row.answer.toLowerCase() === row.response.toLowerCase()';
    for (const [name, source] of [
      ['plain.mjs', `export default (row) => ${same}`],
      ['async.js', `export default async (row) => ${same}`],
    ] as const) {
      const checker = (await loadChecker(checkerFile(name, source)))!;
      expect(await checker(row('Yes', 'YES'))).toBe(true);
      expect(await checker(row('Yes', 'no'))).toBe(false);
    }
  });

  it('names the file when there is no checker in it, and the row when it fails', async () => {
    await expect(loadChecker(join(folder, 'none.mjs'))).rejects.toMatchObject({
      kind: 'usage',
      what: expect.stringMatching(/^the checker cannot be loaded/),
      where: expect.stringContaining('none.mjs'),
    });
    await expect(loadChecker(checkerFile('value.mjs', 'export default 1'))).rejects.toThrow(/checker's default export/);
    const score = (await loadChecker(checkerFile('score.mjs', 'export default () => 1')))!;
    await expect(score(row('', ''))).rejects.toThrow(/the checker gave 1 for row r1/);
    const broken = (await loadChecker(
      checkerFile('throws.mjs', 'export default () => { throw new Error("no luck") }'),
    ))!;
    await expect(broken(row('', ''))).rejects.toThrow(/the checker failed on row r1: no luck/);
  });
});
