// Labelled pairs: where training starts, what the table says, forms of rows, and that it can be stopped and repeated.

import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel } from '../../src/checkpoint/index.ts';
import { onnxEngine } from '../../src/engine/index.ts';
import { mean } from '../../src/evaluation/index.ts';
import { type DpoInput, Interrupted, type RunOutcome, resumeRun, trainOnPairs } from '../../src/recipes/index.ts';
import { compareGames } from '../../src/recipes/proof/likeness.ts';
import { type PairRecord, readPairs } from '../../src/recipes/run/records.ts';
import { type RunEvent, readResults, readRunLog, textTable } from '../../src/report/index.ts';
import { loadTokenizer } from '../../src/tokens/index.ts';
import { openScorer } from '../../src/training/index.ts';
import { labelledRows, listener, makeTinyGame, type TinyGame, tinyDpo } from './tiny-game.ts';

let home: string;
let game: TinyGame;
let run: string;
let outcome: RunOutcome;
let log: RunEvent[];
let count = 0;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'selfplay-dpo-'));
  game = await makeTinyGame(home);
  run = join(home, 'run');
  outcome = await trainOnPairs(tinyDpo(game, run, { beta: 0.5 }), listener().context);
  log = await readRunLog(run);
});
afterAll(() => rm(home, { recursive: true, force: true }));

const fresh = () => join(home, `run-${count++}`);
const stepsIn = (events: readonly RunEvent[]) => events.flatMap((e) => (e.type === 'train.step' ? [e] : []));
const differing = async (a: string, b: string) =>
  (await compareGames(a, b)).filter(({ deviation }) => deviation !== null);

/** A file of one row that is in question, among enough good ones that it may be skipped. */
async function fileWith(row: object): Promise<string> {
  const file = join(home, `rows-${count++}.jsonl`);
  const rows = [row, ...labelledRows(game)];
  await writeFile(file, rows.map((one) => `${JSON.stringify(one)}\n`).join(''));
  return file;
}

describe('training on labelled pairs', () => {
  it('starts at ln 2 with margins of exactly 0, and learns to prefer the chosen answers', () => {
    const steps = stepsIn(log);
    // 36 pairs, 12 a step, 2 epochs.
    expect(steps).toHaveLength(6);
    expect(steps[0]!.loss).toBeCloseTo(Math.LN2, 6);
    expect([steps[0]!['rewards/margins'], steps[0]!['rewards/accuracies']]).toEqual([0, 0.5]);
    expect(steps.at(-1)!['rewards/margins']).toBeGreaterThan(0.05);
    expect(steps.at(-1)!.loss).toBeLessThan(Math.LN2);
  });

  it('tabulates held-out pairs: the margins are β times the change of log p, nothing before training', async () => {
    const results = await readResults(join(run, 'results.json'));
    expect(results).toEqual(outcome.results);
    const [given, trained] = results.rows;
    expect(given!.metrics['rewards/margins']!.mean).toBe(0);
    expect(given!.metrics['rewards/accuracies']!.mean).toBe(0.5);
    expect(trained!.model).toBe('iteration-0/model');
    expect(trained!.items).toHaveLength(12);
    // The same pairs scored here under both models.
    const tokenizer = await loadTokenizer(game.model);
    const held = new Set(trained!.items.map(({ id }) => id));
    const trainedOn = new Set((await readPairs(join(run, 'iteration-0/pairs.jsonl'))).map(({ id }) => id));
    expect([...held].some((id) => trainedOn.has(id))).toBe(false);
    const records = (await readFile(join(run, 'iteration-0/pairs.jsonl'), 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as PairRecord);
    const trainPrompts = new Set(records.map(({ prompt }) => prompt.at(-1)!.content));
    const rows = labelledRows(game).filter(({ prompt }) => !trainPrompts.has(prompt));
    expect(rows).toHaveLength(12);
    const engine = await onnxEngine({ threads: 1 });
    const sums = async (dir: string) => {
      const scorer = await openScorer(engine, (await loadModel(engine, dir)).model);
      const groups = rows.map(({ prompt, chosen, rejected }) => {
        const message = [{ role: 'user' as const, content: prompt }];
        const pair = (response: string) => tokenizer.encodePair({ prompt: message, response });
        const ids = [chosen, rejected].map((text) => ({ ids: pair(text).responseIds }));
        return { promptIds: pair(chosen).promptIds, responses: ids };
      });
      const scores = await scorer.score(groups, 100);
      await scorer.dispose();
      return scores.map((answers) => answers.map((values) => values.reduce((a, b) => a + b, 0)));
    };
    const [before, after] = [await sums(game.model), await sums(join(run, 'iteration-0/model'))];
    await engine.dispose();
    const margins = after.map(([c, r], i) => 0.5 * (c! - before[i]![0]! - (r! - before[i]![1]!)));
    expect(trained!.metrics['rewards/margins']!.mean).toBeCloseTo(mean(margins), 4);
    expect(trained!.metrics['rewards/accuracies']!.mean).toBe(mean(margins.map((m) => (m > 0 ? 1 : m < 0 ? 0 : 0.5))));
    expect(textTable(results)).toContain('rewards/margins: nats times β, against the given model.');
  });

  it('has the losses of the game and their start', async () => {
    const out = fresh();
    await trainOnPairs(tinyDpo(game, out, { loss: 'ipo', beta: 0.5, num_train_epochs: 1 }), listener().context);
    // (0 − 1/(2β))² = 1.
    expect(stepsIn(await readRunLog(out))[0]!.loss).toBeCloseTo(1, 6);
  });

  it('learns an adapter, whose reference is the model without it', async () => {
    const out = fresh();
    await trainOnPairs(tinyDpo(game, out, { lora_rank: 4, learning_rate: 1e-2 }), listener().context);
    const [first, ...later] = stepsIn(await readRunLog(out));
    expect(first!['rewards/margins']).toBe(0);
    expect(later.at(-1)!['rewards/margins']).toBeGreaterThan(0);
    expect(existsSync(join(out, 'iteration-0/model/adapter_config.json'))).toBe(true);
    expect((await readResults(join(out, 'results.json'))).rows[0]!.metrics['rewards/margins']!.mean).toBe(0);
  });
});

describe('the run directory', () => {
  it('resumed after an interruption holds the same bytes', async () => {
    const out = fresh();
    const controller = new AbortController();
    const { context } = listener(
      (event) => event.type === 'train.step' && event.step === 4 && controller.abort(),
      controller.signal,
    );
    await expect(trainOnPairs(tinyDpo(game, out, { beta: 0.5 }), context)).rejects.toBeInstanceOf(Interrupted);
    const { results } = await resumeRun(out, listener().context);
    expect(results.rows).toEqual(outcome.results.rows);
    expect(await differing(run, out)).toEqual([]);
  });

  it('has a lock that another run is held to', async () => {
    const lock = join(run, 'lock.json');
    const out = fresh();
    await trainOnPairs(tinyDpo(game, out, { beta: 0.5, lock }), listener().context);
    expect(
      (await differing(run, out)).filter(({ file }) => file !== 'manifest.json' && file !== 'results.json'),
    ).toEqual([]);
    const other = fresh();
    await expect(trainOnPairs(tinyDpo(game, other, { beta: 0.4, lock }), listener().context)).rejects.toMatchObject({
      kind: 'usage',
      what: expect.stringContaining('settings.beta: locked 0.5, here 0.4'),
    });
    expect(existsSync(other)).toBe(false);
  });
});

describe('rows', () => {
  const user = { role: 'user', content: '1+1' };
  const assistant = (content: string) => ({ role: 'assistant', content });
  const pairsOf = async (row: object, changes: Partial<DpoInput> = {}) => {
    const out = fresh();
    const data = await fileWith(row);
    const settings = tinyDpo(game, out, { data, test_size: 0, num_train_epochs: 1, limit: 2, ...changes });
    const { results } = await trainOnPairs(settings, listener().context);
    const [first] = (await readFile(join(out, 'iteration-0/pairs.jsonl'), 'utf8')).split('\n');
    const { prompt, responses } = JSON.parse(first!) as PairRecord;
    return { prompt, texts: responses.map(({ text }) => text), results };
  };

  it('may be messages, with or without a prompt of their own; without held-out pairs the table has no figures', async () => {
    const expected = { prompt: [user], texts: ['2', '3'] };
    const chats = { chosen: [user, assistant('2')], rejected: [user, assistant('3')] };
    const { results, ...read } = await pairsOf(chats);
    expect(read).toEqual(expected);
    expect(results.rows.map(({ metrics }) => metrics)).toEqual([{}, {}]);
    expect(await pairsOf({ prompt: '1+1', chosen: [assistant('2')], rejected: [assistant('3')] })).toMatchObject(
      expected,
    );
    expect(await pairsOf({ prompt: '1+1', ...chats, score_chosen: 4 })).toMatchObject(expected);
  });

  it.each<[string, object, string, string]>([
    ['no rejected answer', { prompt: '1+1', chosen: '2' }, ':1:rejected', 'no such key'],
    [
      'two prompts',
      {
        chosen: [user, { role: 'assistant', content: '2' }],
        rejected: [
          { ...user, content: '1+2' },
          { role: 'assistant', content: '3' },
        ],
      },
      ':1:rejected',
      'the prompt is not that of "chosen"',
    ],
    [
      'a chat with another prompt',
      {
        prompt: '1+1',
        chosen: '2',
        rejected: [
          { ...user, content: '1+2' },
          { role: 'assistant', content: '3' },
        ],
      },
      ':1:rejected',
      'not that of "prompt"',
    ],
    ['pairs of the game', { prompt: '1+1', real: '2', generated: '3' }, ':1:chosen', 'no such key'],
    ['a number for an answer', { prompt: '1+1', chosen: 2, rejected: '3' }, ':1:chosen', 'must be a text or messages'],
  ])('of another form are refused with file, line and key: %s', async (_, row, where, what) => {
    const data = await fileWith(row);
    const out = fresh();
    await expect(trainOnPairs(tinyDpo(game, out, { data }), listener().context)).rejects.toMatchObject({
      kind: 'usage',
      where: `${data}${where}`,
      what: expect.stringContaining(what),
    });
    expect(existsSync(out)).toBe(false);
  });

  it('that cannot be used are skipped, and pairs of two equal answers are left out', async () => {
    const out = fresh();
    const data = await fileWith({ prompt: '1+1', chosen: '', rejected: '3' });
    const { context, said } = listener();
    await trainOnPairs(tinyDpo(game, out, { data, num_train_epochs: 1 }), context);
    expect(said.join('\n')).toContain(`skipped ${data}:1: the answer is empty`);
    const same = join(home, 'same.jsonl');
    await writeFile(same, `${JSON.stringify({ prompt: '1+1', chosen: '2', rejected: '2' })}\n`);
    const work = trainOnPairs(tinyDpo(game, fresh(), { data: same, test_size: 0 }), listener().context);
    await expect(work).rejects.toMatchObject({ kind: 'usage', what: 'no pair is left to train on' });
  });
});
