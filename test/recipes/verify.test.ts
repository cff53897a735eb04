// verify-resume: what it compares, and where it kills. verify.slow.test.ts has it at work.

import { readdirSync, rmSync } from 'node:fs';
import { appendFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readSafetensorsHeader } from '../../src/formats/index.ts';
import { playSpin, type SpinInput } from '../../src/recipes/index.ts';
import { killPoints } from '../../src/recipes/kills.ts';
import { compareGames } from '../../src/recipes/likeness.ts';
import { readRunLog } from '../../src/report/index.ts';
import { listener, makeTinyGame, type TinyGame, tinySettings } from './tiny-game.ts';

let home: string;
let game: TinyGame;
/** A whole game, and the same one played again elsewhere. */
let whole: string;
let again: string;
const governed: Partial<SpinInput> = { governor: true, dev_size: 20, test_size: 4, learning_rate: 1e-4, batch_size: 4 };

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-verify-test-'));
  game = await makeTinyGame(home);
  [whole, again] = [join(home, 'whole'), join(home, 'again')];
  for (const out of [whole, again]) await playSpin(tinySettings(game, out, governed), listener().context);
});
afterAll(() => rm(home, { recursive: true, force: true }));

describe('two games', () => {
  const unequal = async (b: string) => (await compareGames(whole, b)).filter(({ deviation }) => deviation !== null);

  /** What is found in a copy of the second game that `change` has changed. */
  async function changedBy(change: (copy: string) => Promise<void>) {
    const copy = join(home, 'copy');
    await cp(again, copy, { recursive: true });
    await change(copy);
    const found = await unequal(copy);
    rmSync(copy, { recursive: true });
    return found;
  }

  it('are equal wherever and whenever they were played', async () => {
    const compared = await compareGames(whole, again);
    expect(compared.filter(({ deviation }) => deviation !== null)).toEqual([]);
    const files = compared.map(({ file }) => file);
    for (const file of [
      'iteration-1/model/model.safetensors',
      'iteration-0/pairs.jsonl',
      'iteration-1/decision.json',
    ]) {
      expect(files).toContain(file);
    }
    for (const file of ['results.json', 'manifest.json', 'lock.json']) expect(files).toContain(file);
    expect(compared.map(({ part }) => part).slice(0, 1)).toEqual(['SFT model: evaluate']);
    expect(files.at(-1)).toBe('results.json');
  });

  it('differ in the last bit of one weight: the file, tensor and element are named', async () => {
    const file = 'iteration-0/model/model.safetensors';
    const found = await changedBy(async (copy) => {
      const { tensors } = await readSafetensorsHeader(join(copy, file));
      const bytes = await readFile(join(copy, file));
      const { offset } = tensors.get('model.norm.weight')!;
      bytes[offset + 4 * 5]! ^= 1;
      await writeFile(join(copy, file), bytes);
    });
    expect(found).toEqual([
      {
        part: 'iteration 0: train',
        file,
        deviation: { where: 'model.norm.weight, element 5', a: expect.any(String), b: expect.any(String) },
      },
    ]);
    const { a, b } = found[0]!.deviation!;
    expect(Math.abs(Number(a) - Number(b))).toBeLessThan(1e-6);
    expect(a).not.toBe(b);
  });

  it.each<[string, string, (text: string) => string, string, string]>([
    [
      'a pair',
      'iteration-1/pairs.jsonl',
      (text) => text.replace('"excluded":null', '"excluded":"empty"'),
      'iteration 1: generate',
      'line \\d+, excluded',
    ],
    [
      'a judgement',
      'iteration-0/evaluation.json',
      (text) => text.replace('"finish":"', '"finish":"x'),
      'iteration 0: evaluate',
      'dev\\.\\d+\\.(greedy|sample)\\.finish',
    ],
    ['the table', 'results.json', (text) => text.replace('"n": 4', '"n": 5'), 'table, lock, settings', 'rows\\..*\\.n'],
    ['the lock', 'lock.json', (text) => text.replace('"seed": 0', '"seed": 1'), 'table, lock, settings', 'seed'],
    [
      'the figures of a step',
      'events.jsonl',
      (text) => text.replace('"loss":0', '"loss":1'),
      'iteration 0: train',
      'train.step 1, loss',
    ],
  ])('differ in %s', async (_, file, change, part, where) => {
    const found = await changedBy(async (copy) => {
      const text = await readFile(join(copy, file), 'utf8');
      expect(change(text)).not.toBe(text);
      await writeFile(join(copy, file), change(text));
    });
    expect(found).toEqual([{ part, file, deviation: expect.anything() }]);
    expect(found[0]!.deviation!.where).toMatch(new RegExp(`^${where}$`));
  });

  it('differ in what lies there, and in a step that is logged twice', async () => {
    const found = await changedBy(async (copy) => {
      await rm(join(copy, 'iteration-1/flagged.jsonl'));
      await mkdir(join(copy, 'iteration-1/checkpoints'));
      const log = await readRunLog(copy);
      const step = log.findLast(({ type }) => type === 'train.step')!;
      await appendFile(join(copy, 'events.jsonl'), `${JSON.stringify({ ...step, seq: log.at(-1)!.seq + 1 })}\n`);
    });
    expect(found.map(({ file, deviation }) => [file, deviation])).toEqual([
      ['iteration-1/flagged.jsonl', { where: 'the file itself', a: 'there', b: 'not there' }],
      ['events.jsonl', { where: expect.stringMatching(/^train.step \d+, all of it$/), a: 'none', b: 'there' }],
      ['iteration-1/checkpoints', { where: 'the file itself', a: 'not there', b: 'there' }],
    ]);
  });
});

describe('the kills', () => {
  it('come into every stage in its order, in training twice and behind the first checkpoint', async () => {
    const log = await readRunLog(whole);
    for (const seed of [0, 1, 2, 3]) {
      const points = killPoints(log, seed);
      expect(points.map(({ part }) => part)).toEqual([
        'SFT model: evaluate',
        ...[0, 1].flatMap((t) =>
          ['generate', 'reference', 'train', 'train', 'evaluate'].map((stage) => `iteration ${t}: ${stage}`),
        ),
      ]);
      for (const { event, delay } of points) {
        expect(event).not.toMatch(/train.step 1$/);
        expect(delay).toBeGreaterThanOrEqual(0);
      }
    }
    expect(killPoints(log, 0)).toEqual(killPoints(log, 0));
    expect(killPoints(log, 0)).not.toEqual(killPoints(log, 1));
  });
});

it('with checkpoint_seconds 0 every step but the last leaves a checkpoint', async () => {
  const out = join(home, 'steps');
  const newest: string[] = [];
  const { context } = listener((event) => {
    if (event.type === 'train.step') newest.push(...readdirSync(join(out, 'iteration-0/checkpoints')));
  });
  await playSpin(tinySettings(game, out, { iterations: 1 }), context);
  expect(newest).toEqual(['step-000001', 'step-000002']);
});
