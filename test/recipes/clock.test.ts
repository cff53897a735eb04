// Games whose chat template writes the date: the one of the day on which the game began, in every process and every repetition.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { Interrupted, playSpin, resumeRun } from '../../src/recipes/index.ts';
import { readPairs } from '../../src/recipes/run/records.ts';
import { loadTokenizer } from '../../src/tokens/index.ts';
import { listener, makeTinyGame, type TinyGame, tinySettings } from './tiny-game.ts';

let home: string;
let game: TinyGame;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-clock-'));
  game = await makeTinyGame(home, 1);
  await rm(join(game.model, 'files.json'));
  const file = join(game.model, 'tokenizer_config.json');
  const config = JSON.parse(await readFile(file, 'utf8'));
  await writeFile(
    file,
    JSON.stringify({ ...config, chat_template: `{{ strftime_now('%d') }}${config.chat_template}` }),
  );
});
afterAll(() => rm(home, { recursive: true, force: true }));
afterEach(() => void vi.useRealTimers());

const day = (n: number) => vi.useFakeTimers({ toFake: ['Date'], now: new Date(2026, 10, n, 12) });
const few = { stop_after: 'generate', limit: 30, dev_size: 2, test_size: 2 } as const;
const settings = (name: string, changes = {}) => tinySettings(game, join(home, name), { ...few, ...changes });

/** The prompts of the pairs as the model reads them, control tokens left out. */
async function promptsOf(name: string): Promise<string[]> {
  const { decode } = await loadTokenizer(game.model);
  return (await readPairs(join(home, name, 'iteration-0/pairs.jsonl'))).map(({ promptIds }) => decode(promptIds));
}
const json = async (...path: string[]) => JSON.parse(await readFile(join(home, ...path), 'utf8'));

it('writes the date of its beginning after a resume on another day, and in a repetition by its lock', async () => {
  day(11);
  await playSpin(settings('whole'), listener().context);
  const prompts = await promptsOf('whole');
  expect(prompts.length).toBeGreaterThan(5);
  expect(prompts.every((prompt) => /^11\d\+\d$/.test(prompt))).toBe(true);
  expect((await json('whole', 'lock.json')).model.template_time).toBe('2026-11-11T12:00:00');
  expect((await json('whole', 'manifest.json')).template_time).toBe('2026-11-11T12:00:00');

  const controller = new AbortController();
  const { context } = listener(({ type }) => type === 'shard.finished' && controller.abort(), controller.signal);
  await expect(playSpin(settings('resumed'), context)).rejects.toBeInstanceOf(Interrupted);
  day(12);
  await resumeRun(join(home, 'resumed'), listener().context);
  expect(await promptsOf('resumed')).toEqual(prompts);

  await playSpin(settings('repeated', { lock: join(home, 'whole/lock.json') }), listener().context);
  expect(await promptsOf('repeated')).toEqual(prompts);
  expect(await json('repeated', 'lock.json')).toEqual(await json('whole', 'lock.json'));

  await playSpin(settings('another'), listener().context);
  expect((await promptsOf('another')).every((prompt) => prompt.startsWith('12'))).toBe(true);
});
