// The commands without a run directory: answers of a model, and its figures.

import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { evalSchema, evaluateModel, generateAnswers, generateSchema } from '../../src/recipes/index.ts';
import { diskIo, linkDirectory } from '../../src/util/index.ts';
import { listener, makeTinyGame, type TinyGame } from './tiny-game.ts';

let home: string;
let game: TinyGame;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-single-'));
  game = await makeTinyGame(home);
});
afterAll(() => rm(home, { recursive: true, force: true }));

const base = () => ({ model: game.model, data: game.data, max_new_tokens: 6, engine: 'onnx' as const, threads: 1 });
interface Line {
  id: string;
  prompt: { role: string; content: string }[];
  human: string;
  answer: string;
  finish: string;
}

async function answersOf(name: string, changes: object = {}): Promise<Line[]> {
  const out = join(home, name);
  const { rows, file } = await generateAnswers(
    generateSchema.parse({ ...base(), out, ...changes }),
    listener().context,
  );
  expect(file).toBe(out);
  const lines = (await readFile(out, 'utf8')).trimEnd().split('\n');
  expect(lines).toHaveLength(rows);
  return lines.map((line) => JSON.parse(line) as Line);
}

describe('generateAnswers', () => {
  it('answers the rows in file order, greedily unless asked otherwise', async () => {
    const answers = await answersOf('all.jsonl');
    expect(answers.map(({ prompt, human }) => [prompt[0]!.content, human])).toEqual(
      game.rows.map(({ question, answer }) => [question, answer]),
    );
    for (const { finish } of answers) expect(['end', 'length']).toContain(finish);
    expect(await answersOf('seed.jsonl', { seed: 9, generation_batch_size: 3 })).toEqual(answers);
    const sampled = await answersOf('warm.jsonl', { temperature: 1, seed: 9 });
    expect(sampled).not.toEqual(answers);
    expect(await answersOf('warm2.jsonl', { temperature: 1, seed: 9, generation_batch_size: 5 })).toEqual(sampled);
    expect(await answersOf('limit.jsonl', { limit: 7 })).toEqual(answers.slice(0, 7));
  });

  it('takes the link to the best model of a run, or the file in its place', async () => {
    const answers = await answersOf('directory.jsonl', { limit: 3 });
    const best = join(home, 'best');
    await linkDirectory(best, game.model);
    expect(await answersOf('link.jsonl', { limit: 3, model: best })).toEqual(answers);
    const noLinks = { ...diskIo, symlink: () => Promise.reject(new Error('no links here')) };
    await linkDirectory(best, game.model, noLinks);
    expect(await answersOf('file.jsonl', { limit: 3, model: best })).toEqual(answers);
  });

  it('finds out first whether the answers can be written, and leaves nothing', async () => {
    for (const out of [home, join(home, 'nowhere/answers.jsonl'), join(game.data, 'answers.jsonl')]) {
      const { context, said } = listener();
      const error: unknown = await generateAnswers(generateSchema.parse({ ...base(), out }), context).catch((e) => e);
      expect(error).toMatchObject({ kind: 'usage', where: out, what: expect.stringContaining('cannot write here') });
      await expect(evaluateModel(evalSchema.parse({ ...base(), out }), context)).rejects.toMatchObject({ where: out });
      expect(said).toEqual([]);
    }
    expect((await readdir(home)).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('writes no file when it was stopped', async () => {
    const out = join(home, 'stopped.jsonl');
    const controller = new AbortController();
    controller.abort();
    const { context } = listener(undefined, controller.signal);
    const work = generateAnswers(generateSchema.parse({ ...base(), out }), context);
    await expect(work).rejects.toMatchObject({ kind: 'failure', what: 'stopped as asked' });
    expect(existsSync(out)).toBe(false);
  });
});

describe('evaluateModel', () => {
  it('gives each row its scores and the means over them, and keeps the answers', async () => {
    const out = join(home, 'eval.json');
    const { row } = await evaluateModel(evalSchema.parse({ ...base(), out, limit: 20 }), listener().context);
    const answers = await answersOf('greedy.jsonl', { limit: 20 });
    expect(row.items.map(({ id }) => id)).toEqual(answers.map(({ id }) => id));
    const right = answers.filter(({ answer, human }) => answer === human).length;
    expect(right).toBeGreaterThan(0);
    expect(row.metrics['exact-match']!.mean).toBeCloseTo(right / 20, 10);
    expect(Object.keys(row.metrics).sort()).toEqual(
      ['exact-match', 'exact-match (T=1)', 'nats/token', 'number', 'number (T=1)'].sort(),
    );
    const nats = row.items.map(({ scores }) => scores['nats/token']!);
    expect(Math.min(...nats)).toBeGreaterThan(0);
    expect(row.metrics['nats/token']!.mean).toBeCloseTo(nats.reduce((a, b) => a + b) / 20, 10);
    const file = JSON.parse(await readFile(out, 'utf8')) as { v: number; row: unknown; answers: { greedy: string }[] };
    expect(file.v).toBe(1);
    expect(file.row).toEqual(JSON.parse(JSON.stringify(row)));
    expect(file.answers.map(({ greedy }) => greedy)).toEqual(answers.map(({ answer }) => answer));
  });

  it('calls the scorer of the user', async () => {
    const scorer = join(home, 'scorer.mjs');
    await writeFile(scorer, 'export default (row) => row.answer.length > 1 ? 0.25 : 1;\n');
    const { row } = await evaluateModel(evalSchema.parse({ ...base(), scorer, limit: 6 }), listener().context);
    const answers = await answersOf('six.jsonl', { limit: 6 });
    expect(row.items.map(({ scores }) => scores['score'])).toEqual(
      answers.map(({ answer }) => (answer.length > 1 ? 0.25 : 1)),
    );
  });
});
