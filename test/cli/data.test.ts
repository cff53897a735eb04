// `selfplay data`: what it says of a file, with and without a tokenizer.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { lengthsOf } from '../../src/recipes/dataReport.ts';
import { type DataReport, describeData } from '../../src/recipes/index.ts';
import { writeTinyTokenizer } from '../recipes/tiny-game.ts';
import { cli } from './fakes.ts';

let home: string;
const rows = Array.from({ length: 60 }, (_, i) => ({
  question: `${i % 50}+1`,
  answer: i < 55 ? `${(i % 50) + 1}` : 'other',
}));

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-data-'));
  await writeTinyTokenizer(join(home, 'model'), rows);
  const lines = [...rows, { question: 'x', answer: '' }];
  await writeFile(join(home, 'rows.jsonl'), lines.map((row) => `${JSON.stringify(row)}\n`).join(''));
});
afterAll(() => rm(home, { recursive: true, force: true }));

const run = (...argv: string[]) => cli(['data', ...argv], { recipes: { describeData } });

it('says format, faults with lines, duplicates, lengths, and shows three rows', async () => {
  const file = join(home, 'rows.jsonl');
  const { status, stdout, stderr } = await run(file);
  expect([status, stderr]).toEqual([0, '']);
  expect(stdout).toContain(`${file}: 61 rows, read as question/answer; 60 can be used\n`);
  expect(stdout).toContain(`1 cannot be used:\n  ${file}:61: the answer is empty\n`);
  expect(stdout).toContain('Duplicates: 5 say what an earlier one says, 5 have another answer to an earlier prompt.');
  expect(stdout).toMatch(
    /Prompts in characters: median 4, 90 % up to 4, longest 4\n {2}3–3 +█{16} +20\n {2}4–4 +█{32} +40\n/,
  );
  expect(stdout.match(/^row [0-9a-f]{16}/gm)).toHaveLength(3);
  expect(stdout).toMatch(/user: \d+\+1\nassistant: \[\[\d+\]\]\n/);
});

it('with a model: tokens, and the mask as it is trained on', async () => {
  const { stdout } = await run(join(home, 'rows.jsonl'), '--model', join(home, 'model'));
  expect(stdout).toContain('Answers in tokens: median ');
  expect(stdout).toMatch(/<\|user\|>\d+\+1<\|end\|><\|assistant\|>\[\[\d+\]\]\[\[END <\|end\|>\]\]/);
});

it('as JSON, with columns that the user names', async () => {
  const { stdout } = await run(
    join(home, 'rows.jsonl'),
    '--json',
    '--prompt-column',
    'Q: {question}',
    '--response-column',
    'answer',
  );
  const report = JSON.parse(stdout) as DataReport;
  expect(report).toMatchObject({
    format: 'Q: {question}/answer',
    rows: 61,
    examples: 60,
    lengths: { unit: 'characters', of: 60 },
  });
});

it('what is wrong is an error with a place', async () => {
  const { status, stderr } = await run(join(home, 'no.jsonl'));
  expect([status, stderr]).toEqual([2, expect.stringMatching(/no such data file\n {2}where: .*no\.jsonl/)]);
});

it('a file with many faults is described all the same, with status 1', async () => {
  const file = join(home, 'faulty.csv');
  await writeFile(file, 'instruction,input,output\nAdd,"1+2",3\nSay hi,,hi\nX,,\n');
  const { status, stdout } = await run(file);
  expect(status).toBe(1);
  expect(stdout).toContain('3 rows, read as instruction/input/output; 2 can be used');
  expect(stdout).toContain(
    `  ${file}:4: the answer is empty\nThese are more than 5 %: \`selfplay run\` refuses such a file.\n`,
  );
});

it('bins of whole numbers', () => {
  expect(lengthsOf([])).toMatchObject({ median: 0, longest: 0 });
  expect(lengthsOf([1, 1, 9, 16])).toEqual({
    median: 1,
    p90: 16,
    longest: 16,
    bins: [2, 0, 0, 0, 1, 0, 0, 1].map((count, i) => ({ from: 1 + 2 * i, to: 2 + 2 * i, rows: count })),
  });
});
