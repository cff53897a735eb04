// verify-resume: what it compares, and where it kills. verify.slow.test.ts has it at work.

import { readdirSync, rmSync } from 'node:fs';
import { appendFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readSafetensorsHeader } from '../../src/formats/index.ts';
import { playSpin, type SpinInput, trainOnPairs } from '../../src/recipes/index.ts';
import { killPoints } from '../../src/recipes/proof/kills.ts';
import { compareGames } from '../../src/recipes/proof/likeness.ts';
import { miniatureGame, miniaturePairs } from '../../src/recipes/proof/miniature.ts';
import { readRunLog } from '../../src/report/index.ts';
import { listener, makeTinyGame, type TinyGame, tinyDpo, tinySettings } from './tiny-game.ts';

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
    expect(compared.map(({ part }) => part).slice(0, 1)).toEqual(['given model: evaluate']);
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
        'given model: evaluate',
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

describe('labelled pairs', () => {
  it('are hit wherever something is computed, and what was prepared counts as that', async () => {
    const out = join(home, 'dpo');
    await trainOnPairs(tinyDpo(game, out), listener().context);
    const points = killPoints(await readRunLog(out), 0);
    expect(points.map(({ part }) => part)).toEqual([
      'given model: evaluate',
      ...['reference', 'train', 'train', 'evaluate'].map((stage) => `iteration 0: ${stage}`),
    ]);
    const compared = await compareGames(out, out);
    const partOf = (name: string) => compared.find(({ file }) => file === name)!.part;
    expect(partOf('iteration-0/pairs.jsonl')).toBe('iteration 0: prepare');
    expect(partOf('iteration-0/model/model.safetensors')).toBe('iteration 0: train');
    expect(partOf('iteration-0/evaluation.json')).toBe('iteration 0: evaluate');
    expect(partOf('baseline/evaluation.json')).toBe('given model: evaluate');
  });
});

describe('the small run', () => {
  it('of labelled pairs keeps what they are trained with, and has several of everything', async () => {
    const given = tinyDpo(game, 'not-used', { loss: 'ipo', beta: 0.3, num_train_epochs: 5, lora_rank: 2 });
    const { settings, size, ungoverned } = await miniaturePairs(given, 0, listener().context);
    expect(settings).toMatchObject({ loss: 'ipo', beta: 0.3, lora_rank: 2, test_size: 2, num_train_epochs: 2 });
    expect(settings).not.toHaveProperty('out');
    // How many that are is a matter of time; of the 48 rows 12 are for the table.
    const n = settings.limit!;
    expect([36, 32, 24, 16, 12, 6]).toContain(n);
    expect(settings).toMatchObject({ batch_size: n / 2, shard_size: Math.ceil(n / 3), checkpoint_seconds: 0 });
    expect([size, ungoverned]).toEqual([`${n} train and 2 test pairs`, null]);
    // A process that takes minutes to start leaves no time for more than the fewest rows.
    const slow = await miniaturePairs(given, 100, listener().context);
    expect(slow.settings.limit).toBe(6);
    expect(slow.seconds).toBeGreaterThan(5 * 100);
  });

  it('of a game has the controls of the game, which take their time and their room; once is enough', async () => {
    const of = (baselines: SpinInput['baselines'] & object) =>
      miniatureGame(tinySettings(game, 'not-used', { ...governed, baselines }), 10, listener().context);
    const [without, one] = [await of([]), await of(['sft-reweighted'])];
    expect(one.settings.baselines).toEqual(['sft-reweighted']);
    expect(one.ungoverned!.baselines).toEqual([]);
    // Two models beside the two of the game, which are resumed four times each.
    expect(one.seconds - without.seconds).toBeGreaterThan(8 * 10);
    expect([without.stages, one.stages]).toEqual([9, 13]);
    expect(one.bytes).toBeGreaterThan(1.3 * without.bytes);
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
