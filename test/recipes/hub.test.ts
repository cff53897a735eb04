// A run on a model and data of the Hub: they come to lie in its cache, the commits are recorded, and a resume asks nobody.
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import {
  fineTune,
  generateAnswers,
  generateSchema,
  Interrupted,
  openTalk,
  readLock,
  resumeRun,
  talkSchema,
} from '../../src/recipes/index.ts';
import { playable } from '../../src/recipes/playable.ts';
import { COMMIT, fakeHub } from '../hub/fakeHub.ts';
import { listener, makeTinyGame, type TinyGame, tinySft } from './tiny-game.ts';

let home: string;
let game: TinyGame;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-hub-'));
  game = await makeTinyGame(home, 2, 1);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(home, { recursive: true, force: true });
});

it('of sft: fetched, recorded, resumed without a network, and brought back when the cache was emptied', async () => {
  const names = (await readdir(game.model)).filter((name) => name !== 'files.json');
  const model = Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readFile(join(game.model, name))] as const)),
  );
  const lines = game.rows.map((row) => `${JSON.stringify(row)}\n`);
  const files = {
    'data/train-00000-of-00002.jsonl': Buffer.from(lines.slice(0, 20).join('')),
    'data/train-00001-of-00002.jsonl': Buffer.from(lines.slice(20).join('')),
  };
  const hub = await fakeHub({ 'models/org/tiny': { files: model }, 'datasets/org/sums': { files } });
  vi.stubEnv('HF_HOME', join(home, 'hf'));
  vi.stubEnv('HF_ENDPOINT', hub.url);
  vi.stubEnv('HF_TOKEN', '');

  const out = join(home, 'out');
  const controller = new AbortController();
  const settings = tinySft(game, out, { model: 'org/tiny', data: 'org/sums' });
  const stopping = listener(({ type }) => type === 'train.step' && controller.abort(), controller.signal);
  await expect(fineTune(settings, stopping.context)).rejects.toThrow(Interrupted);
  const snapshot = join(home, 'hf/hub/models--org--tiny/snapshots', COMMIT);
  const sources = { model: `org/tiny@${COMMIT}`, data: [`org/sums@${COMMIT}:default:train`] };
  const manifest = JSON.parse(await readFile(join(out, 'manifest.json'), 'utf8'));
  expect(manifest).toMatchObject({ sources, settings: { model: snapshot } });
  expect(manifest.settings.data).toHaveLength(2);
  const lock = await readLock(join(out, 'lock.json'));
  expect([lock.model.revision, lock.sources]).toEqual([COMMIT, sources]);

  const asked = hub.asked.length;
  vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:1');
  const again = listener();
  await resumeRun(out, again.context);
  expect(hub.asked.length).toBe(asked);
  expect(again.said.join('\n')).toContain(
    'org/sums/data/train-00000-of-00002.jsonl and 1 more: 48 rows (question/answer)',
  );

  vi.stubEnv('HF_ENDPOINT', hub.url);
  await rm(join(home, 'hf/hub'), { recursive: true });
  await resumeRun(out, listener().context);
  expect(await readdir(snapshot)).toContain('config.json');

  const answers = await generateAnswers(
    generateSchema.parse({
      model: 'org/tiny',
      data: ['org/sums'],
      limit: 2,
      max_new_tokens: 2,
      engine: 'onnx',
      threads: 1,
    }),
    listener().context,
  );
  expect(answers.rows).toBe(2);

  // Commands that look or talk take the name as well.
  const { context, said } = listener();
  expect(await playable('org/tiny', context)).toMatchObject({ model: 'org/tiny', playable: true });
  expect((await playable('org/none', context)).sentence).toMatch(/cannot be played: there is no "org\/none" here/);
  const talk = await openTalk(talkSchema.parse({ model: 'org/tiny', engine: 'onnx', threads: 1 }), context);
  expect(talk.lineup.partners).toEqual([{ label: 'org/tiny', iteration: null, dir: snapshot }]);
  expect(said.join('\n')).toContain('org/tiny answers');
  await talk.close();
});
